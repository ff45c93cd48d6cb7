"""An axis of metres lies along that of channels, wherever these lie."""

import pytest

from dasanom_assets.comparison.metres import metres_axis, reach
from dasanom_assets.recordings.fibres import Places
from dasanom_assets.tables.schemas import empty
from dasanom_tests.recordings.test_fibres import fibres_of


def lying(metres: list[float], first: int = 100) -> Places:
    return Places(fibres_of({("north", first + i): value for i, value in enumerate(metres)}))


@pytest.mark.parametrize(
    ("metres", "title", "ends"),
    [
        ([510.0, 512.0, 514.0], "distance (m)", [509.0, 515.0]),  # an origin of its own, not channel × spacing
        ([514.0, 512.0, 510.0], "distance (m)", [515.0, 509.0]),
        ([-4.0, -2.0, 0.0], "distance (m)", [-5.0, 1.0]),
        ([6000.0, 6002.0, 6004.0], "distance (km)", [5.999, 6.005]),
    ],
)
def test_even_channels_have_an_axis_of_numbers(metres: list[float], title: str, ends: list[float]) -> None:
    axis = metres_axis(lying(metres), "north", (99.5, 102.5))
    assert axis == {"title": title, "range": pytest.approx(ends)}


def test_uneven_channels_are_labelled_with_their_own_distance() -> None:
    axis = metres_axis(lying([10.0, 12.0, 80.0, 82.0]), "north", (99.5, 103.5))
    assert axis is not None
    assert axis["range"] == [99.5, 103.5]
    assert dict(zip(axis["tickvals"], axis["ticktext"], strict=True)) == {
        100: "10", 101: "12", 102: "80", 103: "82",
    }  # fmt: skip


def test_without_metres_there_is_no_axis_and_no_reach() -> None:
    assert metres_axis(Places(empty("fibres")), "north", (0, 9)) is None
    assert reach(Places(empty("fibres")), "north", 0, 9) == ""


def test_the_reach_of_an_event_is_told_in_metres() -> None:
    places = lying([510.0, 512.0, 514.0])
    assert reach(places, "north", 100, 101) == "510–512 m"
    assert reach(places, "north", 102, 102) == "514 m"
    assert reach(lying([-4.0, -2.0]), "north", 100, 101) == "-4 to -2 m"
