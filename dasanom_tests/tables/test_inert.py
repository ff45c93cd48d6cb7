"""What a file says of itself is text, wherever it is shown."""

import dagster as dg

from dasanom_assets.recordings.assets import _file_list
from dasanom_assets.tables.metadata import inert

HOSTILE = "![x](/graphql?query=mutation%7B) <img src=x onerror=alert(1)> [y]: http://a.example `a` www.a.example"


def test_nothing_in_a_description_is_a_picture_a_link_or_html() -> None:
    import markdown

    page = markdown.markdown(inert(HOSTILE))
    assert "<img" not in page
    assert "<a " not in page
    assert "<code" not in page
    assert "http://" not in page


def test_the_files_of_a_day_are_a_table_of_plain_cells() -> None:
    names = ("path", "fibre", "format", "start", "sampling_rate_hz", "n_channels", "issues")
    listed = _file_list({name: [] for name in names}, [[f"landing/{HOSTILE}", HOSTILE]])
    assert isinstance(listed, dg.TableMetadataValue)
    assert listed.records[0].data["remarks"] == HOSTILE
