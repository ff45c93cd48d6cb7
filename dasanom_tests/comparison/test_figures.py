"""Figures show each side where its alarms are, on one scale, with gaps left blank."""

import json
from typing import Any

import numpy as np
import pytest

from dasanom_assets.comparison.alarms import alarms_of
from dasanom_assets.comparison.figures import histogram_figure, waterfall_figure
from dasanom_assets.comparison.report import Findings
from dasanom_assets.comparison.waterfall import centred, colour_range, masked
from dasanom_assets.recordings.fibres import Places
from dasanom_tests.comparison.made_days import START, findings, rows, waterfall_of
from dasanom_tests.recordings.test_fibres import fibres_of

NORTH = Places(fibres_of({("north", channel): 10.0 * channel for channel in range(100, 140)}))


@pytest.fixture(scope="module")
def day() -> Findings:
    return findings(("north", "south <b>&"))


def test_three_waterfalls_share_one_colour_scale_and_axes(day: Findings) -> None:
    figure = drawn(day)
    maps = [trace for trace in figure["data"] if trace["type"] == "heatmap"]
    assert [trace["coloraxis"] for trace in maps] == ["coloraxis"] * 3
    assert not any("zmin" in trace or "zmax" in trace for trace in maps)
    assert figure["layout"]["coloraxis"]["cmin"] < figure["layout"]["coloraxis"]["cmax"]
    assert {(t["x0"], t["dx"], t["y0"], t["dy"]) for t in maps} == {(START / 1e6 + 500, 1000, 100, 1)}
    assert all(figure["layout"][f"xaxis{i}"]["matches"] == "x3" for i in ("", 2))
    assert all(figure["layout"][f"yaxis{i}"]["matches"] == "y" for i in (3, 5))
    assert figure["layout"]["yaxis2"]["range"] == [995.0, 1395.0]  # metres, at 10 m a channel


def test_gaps_and_unflagged_cells_are_blank(day: Findings) -> None:
    power, contractor, us = (
        trace.z for trace in waterfall_figure(day.panels[0], [], (0, 6)).data if trace.type == "heatmap"
    )
    assert np.isnan(power[:, 510:528]).all()
    assert np.isnan(power[16]).all()
    assert np.isfinite(power).sum() == 39 * (600 - 18)
    assert np.isfinite(us).sum() == 5 * 36 + 3 * 12
    np.testing.assert_array_equal(us[8:13, 180:216], power[8:13, 180:216])
    np.testing.assert_array_equal(contractor[7:12, 186:222], power[7:12, 186:222])


def test_boxes_show_each_side_its_own_events(day: Findings) -> None:
    figure = drawn(day)
    marks = [t for t in figure["data"] if t.get("mode") == "markers"]
    on = {axis: [(t["name"], len(t["text"])) for t in marks if t["xaxis"] == axis] for axis in ("x", "x2", "x3")}
    assert on["x"] == [("both", 1), ("only us", 1), ("only contractor", 2)]
    assert on["x2"] == [("both", 1), ("only contractor", 2)]
    assert on["x3"] == [("both", 1), ("only us", 1)]
    assert [t["showlegend"] for t in marks] == [True] * 3 + [False] * 4


def drawn(day: Findings) -> dict[str, Any]:
    alarms = alarms_of(day.events, day.contractor_events, day.matches, day.km_days)
    alarms = [alarm for alarm in alarms if alarm.fibre == "north"]
    levels = colour_range(panels.power for panels in day.panels)
    return json.loads(waterfall_figure(day.panels[0], alarms, levels, NORTH).to_json())


def test_a_planted_block_is_marked_where_it_is_by_both_sides() -> None:
    """Channel 12, seconds 100 to 109: neither side shows it a second late or a channel off."""
    power = waterfall_of("north", 40, 600, first=100, seed=0)
    tenths = np.arange(100 * 5, 110 * 5)
    theirs = {"fibre": ["north"] * 50, "channel": [112] * 50, "start": tenths / 5, "end": (tenths + 1) / 5}
    begins = np.arange(96, 106)  # windows of 8 s whose middle lies on a second of the block
    ours = {"fibre": ["north"] * 10, "channel": [112] * 10, "start": begins, "end": begins + 8}
    for table in (rows("embeddings", theirs), centred(rows("embeddings", ours), 1.0)):
        channel, second = np.nonzero(np.isfinite(masked(power, table).values))
        assert set(channel) == {12}
        assert {100, 109} <= set(second) <= set(range(99, 111))


def test_the_histogram_shows_anomalies_among_all_windows_and_the_threshold() -> None:
    scores, flagged = np.array([-1.0, 0, 0, 1, 2, 4, np.nan]), np.array([0, 0, 0, 0, 1, 1, 0], bool)
    figure = histogram_figure(scores, flagged, 5.0, 10.0)
    windows, anomalies = figure.data
    assert windows.x[0] - windows.width[0] / 2 == pytest.approx(-1)
    assert windows.x[-1] + windows.width[-1] / 2 == pytest.approx(5)
    assert (windows.y.sum(), anomalies.y.sum()) == (6, 2)
    np.testing.assert_array_equal(
        windows.y[anomalies.y > 0], [1, 1]
    )  # at 2, below the median of thresholds, and 4
    assert [shape.x0 for shape in figure.layout.shapes] == [5.0]
    assert [note.text for note in figure.layout.annotations] == ["5.00: budget of 10 a km and day"]
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.barmode == "overlay"  # stacked on a log scale, the upper part would look small
