"""Rules of a site: what they fit, and what is said of those that cannot be."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from dasanom_assets.recordings.site_rules import SITES, Site, SitesError, in_utc, read_sites, sites_digest
from dasanom_assets.tables.store import Store


def test_all_that_a_rule_gives_must_fit() -> None:
    rule = Site(fibre="f", pattern="rec_*.h5", folder="box A", attribute={"channel": 2})
    assert rule.fits("x/box  A/y/rec_1.h5", {"channel": "2"})
    assert not rule.fits("box A/rec_1.bin", {"channel": 2})
    assert not rule.fits("box/rec_1.h5", {"channel": 2})
    assert not rule.fits("box A/rec_1.h5", {"channel": 3})
    assert not rule.fits("box A/rec_1.h5", {})
    assert Site(fibre="f", pattern="x/*").fits("x/y.h5", {})
    assert Site(fibre="f").fits("anything.h5", {})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[[site]", "not TOML"),
        ("[[sites]]\nfibre = 'f'", "has sites; it may have rules"),
        ("[[site]]\nfolder = 'f'", "rule 1 .* fibre: Field required"),
        ("[[site]]\nfibre = 'f'\nspaceing_m = 2", "spaceing_m: Extra inputs"),
        ("[[site]]\nfibre = 'f'\n[[site]]\nfibre = 'f'\nspacing_m = -2", "rule 2 .* spacing_m: .* greater than 0"),
        ("[[site]]\nfibre = 'f'\ntime_zone = 'Istanbul'", "'Istanbul' is no time zone"),
        ("[[site]]\nfibre = '  '", "rule 1 .* is blank"),
        ("site = 3", "site must be"),
    ],
)
def test_a_rule_that_cannot_be_is_named(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / SITES).write_text(content)
    with pytest.raises(SitesError, match=reason):
        read_sites(Store(str(tmp_path)))


@pytest.mark.parametrize("kind", ["pipe", "link to nothing", "folder"])
def test_what_is_no_file_is_named_and_not_opened(tmp_path: Path, kind: str) -> None:
    store, path = Store(str(tmp_path)), tmp_path / SITES
    make = {"pipe": lambda: os.mkfifo(path), "folder": path.mkdir}
    make.get(kind, lambda: path.symlink_to("nothing"))()
    with pytest.raises(SitesError, match=r"sites.toml in the data root is no file"):
        read_sites(store)
    assert sites_digest(store) == "that of no readable file"


def test_a_byte_order_mark_of_an_editor_is_no_part_of_the_rules(tmp_path: Path) -> None:
    (tmp_path / SITES).write_bytes(b"\xef\xbb\xbf[[site]]\r\nfibre = 'f'\r\n")
    assert [rule.fibre for rule in read_sites(Store(str(tmp_path)))] == ["f"]


def test_no_rules_are_none_and_a_change_of_them_is_seen(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert read_sites(store) == ()
    before = sites_digest(store)
    (tmp_path / SITES).write_text("")
    assert sites_digest(store) != before


def test_times_of_a_zone_are_utc_with_and_without_summer_time() -> None:
    hour = 3_600_000_000_000
    assert in_utc(10 * hour + 5, "Europe/Berlin") == 9 * hour + 5  # January 1970
    summer = 1_751_364_000_000_000_000  # 2025-07-01 10:00
    assert in_utc(summer, "Europe/Berlin") == summer - 2 * hour


def test_the_docs_show_every_key_of_a_rule_and_it_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "engineers.md").read_text()
    (shown,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (rule,) = tomllib.loads(shown)["site"]
    assert rule.keys() == Site.model_fields.keys()
    Site.model_validate(rule)
