"""The report shows what was found, on one scale, offline, and says in words what a day lacks."""

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dasanom_assets.comparison.alarms import alarms_of
from dasanom_assets.comparison.day import usual_threshold
from dasanom_assets.comparison.figures import EmbeddingMap, histogram_figure, waterfall_figure
from dasanom_assets.comparison.pictures import map_thumbnail
from dasanom_assets.comparison.report import Findings, ReportFiles, cluster_summary, day_report
from dasanom_assets.comparison.waterfall import SECOND_NS, Panels, Waterfall, centred, colour_range, masked, shrink
from dasanom_assets.tables.schemas import SCHEMAS, empty

DAY = "2026-03-01"
START = int(np.datetime64(DAY).astype("datetime64[ns]").astype(int))
QUALITY = {
    "n_clusters": 2,
    "noise_share": 0.125,
    "silhouette": 0.41,
    "calinski_harabasz": 812.0,
    "davies_bouldin": None,
}
COUNTS = {"10": {"expected": 0.0417, "realised": 0}, "1000": {"expected": 4.17, "realised": 3}}


def rows(table: str, columns: dict[str, Any]) -> pa.Table:
    """Build rows of a table; times are given in seconds of the day."""
    n = len(next(iter(columns.values())))
    arrays = []
    for field in SCHEMAS[table]:
        values = columns.get(field.name, [None] * n)
        if pa.types.is_timestamp(field.type):
            times = [START + int(v * SECOND_NS) for v in values]
            arrays.append(pa.array(times, pa.int64()).cast(field.type))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.table(arrays, schema=SCHEMAS[table])


# Event: first second, last second, first channel, last channel; in shares of the waterfall.
OURS = [(0.30, 0.36, 0.20, 0.30), (0.70, 0.72, 0.55, 0.60)]
THEIRS = [(0.31, 0.37, 0.18, 0.28), (0.10, 0.12, 0.70, 0.75), (0.50, 0.53, 0.05, 0.08)]


def waterfall_of(fibre: str, channels: int, seconds: int, first: int, seed: int) -> Waterfall:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.8, (channels, seconds)).astype(np.float32)
    for (a, b, c, d), level in zip([*OURS, *THEIRS[1:]], (9, 5, 3, 2), strict=True):
        values[int(c * channels) : int(d * channels) + 1, int(a * seconds) : int(b * seconds)] += level
    values[:, int(0.85 * seconds) : int(0.88 * seconds)] = np.nan
    values[int(0.42 * channels)] = np.nan
    numbers = np.arange(first, first + channels, dtype=np.int32)
    return Waterfall(fibre, numbers, START + np.arange(seconds) * SECOND_NS, values)


def flags(fibre: str, boxes: list, channels: int, seconds: int, first: int) -> pa.Table:
    columns: dict[str, list] = {"fibre": [], "channel": [], "start": [], "end": []}
    for a, b, c, d in boxes:
        for channel in range(int(c * channels), int(d * channels) + 1):
            columns["fibre"].append(fibre)
            columns["channel"].append(channel + first)
            columns["start"].append(int(a * seconds))
            columns["end"].append(int(b * seconds))
    return rows("embeddings", columns).select(["fibre", "channel", "start", "end"])


def events_of(fibre: str, boxes: list, channels: int, seconds: int, first: int) -> dict[str, Any]:
    return {
        "fibre": [fibre] * len(boxes),
        "start": [int(a * seconds) for a, _, _, _ in boxes],
        "end": [int(b * seconds) for _, b, _, _ in boxes],
        "first_channel": [first + int(c * channels) for _, _, c, _ in boxes],
        "last_channel": [first + int(d * channels) for _, _, _, d in boxes],
    }


def findings(fibres: tuple[str, ...] = ("north",), channels: int = 40, seconds: int = 600) -> Findings:
    """Build a day with, on each fibre, one event of both sides, one of ours and two of the contractor."""
    rng = np.random.default_rng(7)
    panels, ours, theirs, matches, files = [], [], [], [], []
    for i, fibre in enumerate(fibres):
        first = 100 * (i + 1)
        where = channels, seconds, first
        power = waterfall_of(fibre, *where, seed=i)
        panels.append(
            Panels(
                shrink(power),
                us=shrink(masked(power, flags(fibre, OURS, *where))),
                contractor=shrink(masked(power, flags(fibre, THEIRS, *where))),
            )
        )
        us_ids = [f"{fibre}-us-{k}" for k in range(2)]
        their_ids = [f"{fibre}-co-{k}" for k in range(3)]
        own = {
            "event_id": us_ids,
            "peak_start": [0, 0],
            "score": [5.25, 3.5],
            "rate_per_km_day": [0.5, 0.001],
            "rate_low": [0.2, 0.0],
            "rate_high": [1.1, 0.01],
            "beyond_reference": [False, True],
            "cluster": [-1, 1],
            "contractor_class": ["digging", None],
            "contractor_probability": [0.91, None],
        }
        ours.append(rows("anomaly_events", events_of(fibre, OURS, *where) | own))
        own = {
            "event_id": their_ids,
            "contractor_class": ["digging", "walking", "machine"],
            "probability": [0.91, 0.62, 0.55],
        }
        theirs.append(rows("contractor_events", events_of(fibre, THEIRS, *where) | own))
        matches.append(
            rows(
                "event_matches",
                {
                    "fibre": [fibre] * 4,
                    "event_id": [*us_ids, None, None],
                    "contractor_event_id": [their_ids[0], None, *their_ids[1:]],
                    "agreement": ["both", "only_us", "only_contractor", "only_contractor"],
                },
            )
        )
        files.append(
            rows(
                "recordings",
                {
                    "fibre": [fibre],
                    "path": [f"landing/{DAY}/{fibre}_<1>.bin"],
                    "format": ["DASANOM_BUNDLE"],
                    "start": [0],
                    "end": [seconds],
                    "first_channel": [first],
                    "n_channels": [channels],
                    "channel_spacing_m": [10.0],
                    "sha256": ["ab" * 32],
                },
            )
        )
    n, m = 400, 300
    centres = rng.normal(0, 20, (4, 3))
    reference = centres[rng.integers(0, 4, n)] + rng.normal(0, 3, (n, 3))
    placed = centres[rng.integers(0, 4, m)] + rng.normal(0, 3, (m, 3))
    who = rng.choice(4, m, p=[0.9, 0.03, 0.03, 0.04]).astype(np.int8)
    points = EmbeddingMap(
        {2: reference[:, :2], 3: reference},
        {2: placed[:, :2], 3: placed},
        rng.choice(fibres, m),
        rng.integers(100, 100 + channels, m),
        START + rng.integers(0, seconds, m) * SECOND_NS,
        who,
    )
    scores = rng.normal(0, 1, 20_000).astype(np.float32)
    return Findings(
        day=DAY,
        hours=seconds / 3600,
        recordings=pa.concat_tables(files),
        events=pa.concat_tables(ours),
        contractor_events=pa.concat_tables(theirs),
        matches=pa.concat_tables(matches),
        panels=panels,
        scores=scores,
        flagged=scores >= 3,
        threshold=3.0,
        budget=1.0,
        promise="43 km·days of reference on 7 days resolve 0.0233 a km and day.",
        counts=COUNTS,
        km_days=43.0,
        labels=rng.choice([-1, 0, 1], len(scores), p=[0.125, 0.6, 0.275]).astype(np.int32),
        outlier_scores=rng.uniform(size=len(scores)).astype(np.float32),
        quality=QUALITY,
        points=points,
        event_agreement={"positive_agreement": 0.4},
        window_agreement={"positive_agreement": 0.31, "kappa": 0.287, "ac1": 0.934},
        model_version="ref-7f3a",
        vae_version="vae-19c2",
    )


def one_sided(day: Findings) -> Findings:
    """Take the contractor out of a day."""
    return replace(
        day,
        contractor_events=None,
        matches=empty("event_matches"),
        panels=[replace(panels, contractor=None) for panels in day.panels],
        event_agreement=None,
        window_agreement=None,
    )


class Page(HTMLParser):
    """Collects what a browser would show as text, load from elsewhere, or run."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loads: list[str] = []
        self.scripts: list[str] = []
        self.tags: list[str] = []
        self._inside = ""
        self.feed(html.decode())
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.tags.append(tag)
        self.loads += [
            f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href", "action", "data")
        ]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def day() -> Findings:
    return findings(("north", "south <b>&"))


@pytest.fixture(scope="module")
def report(day: Findings) -> ReportFiles:
    return day_report(day)


@pytest.fixture(scope="module")
def page(report: ReportFiles) -> Page:
    return Page(report.html)


def test_numbers_of_the_day_are_in_the_text(page: Page) -> None:
    assert "We raised 4 alarms, the contractor 6; both sides agree on 2." in page.text
    for number in (
        "2 both",
        "2 only us",
        "4 only contractor",
        "0.40 positive agreement",
        "0.29 Cohen's κ",
        "0.93",
    ):
        assert number in page.text
    assert "24.00 our alarms an hour" in page.text  # 4 in a sixth of an hour
    assert "2026-03-01 00:00:00 to 2026-03-01 00:10:00 100 to 139" in page.text
    assert "reference model ref-7f3a" in page.text.lower()
    assert "vae-19c2" in page.text


def test_every_event_is_listed_once_with_its_agreement(page: Page) -> None:
    row = "north-us-0 north 00:03:00 36.0 s 108 to 112 5.25 0.5 (0.2–1.1) noise digging (0.91) both"
    assert row in page.text
    assert "north-co-1 north 00:01:00 12.0 s 128 to 130 – – – walking (0.62) only contractor" in page.text
    assert "north-co-0" not in page.text  # the same event, seen by the contractor


def test_rates_are_told_as_far_as_the_reference_goes_and_what_is_rarest_comes_first(
    day: Findings, report: ReportFiles, page: Page
) -> None:
    assert (
        "north-us-1 north 00:07:00 12.0 s 122 to 124 3.50 rarer than once in 43 km·days 1 – only us" in page.text
    )
    first = [page.text.index(f"north-{name}") for name in ("us-1", "us-0", "co-1", "co-2")]
    assert first == sorted(first)
    assert b'<td data-value="0.001">rarer than once in 43 km' in report.html  # what the column is sorted by
    marks = [text for trace in drawn(day)["data"] for text in trace.get("text", ())]
    assert any(
        "score 3.50, cluster 1<br>as strong a km and day: rarer than once in 43 km·days" in m for m in marks
    )
    assert any("score 5.25, cluster noise<br>as strong a km and day: 0.5 (0.2–1.1)" in m for m in marks)


def test_expected_events_stand_beside_those_there_were(day: Findings, page: Page) -> None:
    assert "The budget for events of ordinary ground is 1 a km and day. 43 km·days of reference" in page.text
    assert "budget, a km and day expected events events there were 10 0.0417 0 1,000 4.17 3" in page.text
    short = Page(day_report(replace(day, counts={})).html)
    assert "too short to count events" in short.text
    assert "events there were" not in short.text


def test_the_page_loads_nothing_and_offers_no_upload(page: Page) -> None:
    assert page.loads == []
    assert page.tags.count("script") == 1 + 4 + 1  # plotly.js, four figures, sorting
    for script in page.scripts[1:-1]:
        assert '"showSendToCloud": false' in script
    assert not [script for script in page.scripts[1:] if "http" in script]


def test_names_are_text_and_never_markup(page: Page) -> None:
    assert page.tags.count("b") == 8  # the numbers of the cards
    assert "Fibre south <b>&" in page.text
    assert f"landing/{DAY}/north_<1>.bin" in page.text
    assert not [script for script in page.scripts[1:] if "<b>&" in script]


HOSTILE = (
    "{{7*7}}",
    "{% raise %}",
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "%{x}${alert(1)}",
    "$\\no such command$",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_run_by_jinja_or_a_browser(name: str) -> None:
    plain = findings()
    events = plain.events.to_pylist()
    files = plain.recordings.to_pylist()
    hostile = replace(
        findings((name,)),
        events=pa.Table.from_pylist(
            [row | {"fibre": name, "contractor_class": name, "contractor_probability": 0.5} for row in events],
            plain.events.schema,
        ),
        matches=plain.matches,
        contractor_events=plain.contractor_events,
        recordings=pa.Table.from_pylist(
            [row | {"fibre": name, "path": f"landing/{name}.bin"} for row in files], plain.recordings.schema
        ),
        model_version=name,
    )
    page = Page(day_report(hostile).html)
    for text in (f"Fibre {name}", f"landing/{name}.bin", f"{name} (0.50)", f"Reference model {name}"):
        assert text in page.text
    assert page.tags == Page(day_report(plain).html).tags
    assert page.loads == []
    assert not any(name in script for script in page.scripts[1:] if "<" in name)


def test_clusters_stand_beside_their_noise(page: Page) -> None:
    assert "noise (−1), not a cluster" in page.text
    assert "2 12.5% 0.41 812.00 –" in page.text  # an index that is not defined is not zero


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
    return json.loads(waterfall_figure(day.panels[0], alarms, levels, 10.0).to_json())


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


def test_a_budget_that_lets_nothing_pass_has_no_line_and_is_told(day: Findings) -> None:
    strict = replace(day, threshold=np.inf, flagged=np.zeros(len(day.scores), bool))
    assert not histogram_figure(strict.scores, strict.flagged, strict.threshold, strict.budget).layout.shapes
    page = Page(day_report(strict).html)
    assert "0 of 20,000 windows (0.00%) are anomalies" in page.text
    assert "At most places the budget lets nothing pass." in page.text


def test_the_threshold_shown_is_the_median_over_channels_and_not_over_windows() -> None:
    limits = {1: 1.0, 2: 2.0, 3: 6.0}
    rates = SimpleNamespace(thresholds=lambda budget, fibre, channel: np.full(24, budget * limits[channel]))
    scores = pa.table({"fibre": ["north"] * 6, "channel": [1, 2, 3, 3, 3, 3]})
    assert usual_threshold(rates, 10.0, scores) == 20.0
    assert np.isnan(usual_threshold(rates, 10.0, scores[:0]))


def test_a_day_without_the_contractor_says_so(day: Findings) -> None:
    page = Page(day_report(one_sided(day)).html)
    assert "We raised 4 alarms; the day came without contractor files." in page.text
    assert "shows our side only" in page.text
    assert "Where the contractor raises an alarm" not in "".join(page.scripts[1:])
    assert "κ" not in page.text


def test_a_quiet_day_says_so(day: Findings) -> None:
    quiet = replace(
        day,
        events=empty("anomaly_events"),
        contractor_events=empty("contractor_events"),
        matches=empty("event_matches"),
    )
    page = Page(day_report(quiet).html)
    assert "We raised 0 alarms, the contractor 0" in page.text
    assert "Neither side raised an alarm on this day." in page.text


def test_a_day_that_could_not_be_scored_says_so(day: Findings) -> None:
    nothing = replace(
        one_sided(day),
        events=empty("anomaly_events"),
        scores=np.empty(0, np.float32),
        flagged=np.empty(0, bool),
        threshold=np.nan,
        labels=np.empty(0, np.int32),
        outlier_scores=np.empty(0, np.float32),
        points=None,
    )
    for unscored in (nothing, replace(nothing, panels=[], recordings=empty("recordings"), hours=0.0)):
        page = Page(day_report(unscored).html)
        assert "No window of this day could be scored" in page.text
        assert "We raised no alarm on this day." in page.text
        assert "no histogram" in page.text
        assert "no windows to cluster" in page.text
    assert "This day has no spectrograms." in page.text


def test_pictures_have_their_size(day: Findings, report: ReportFiles) -> None:
    assert Image.open(io.BytesIO(report.overview_png)).size == (1600, 1100)
    assert day.points is not None
    for small in (report.thumbnail_png, map_thumbnail(day.points)):
        assert Image.open(io.BytesIO(small)).format == "PNG"
        assert len(small) <= 30_000


def test_the_same_findings_give_the_same_bytes(day: Findings, report: ReportFiles) -> None:
    assert day_report(day) == report


def test_events_without_a_match_are_refused(day: Findings) -> None:
    with pytest.raises(ValueError, match="lacks event 'north-us-0': materialize event_matches again"):
        alarms_of(day.events, day.contractor_events, empty("event_matches"), day.km_days)


def test_clusters_are_summed_up_with_noise_last() -> None:
    labels = np.array([-1, -1, -1, 4, 0, 0], np.int32)
    outlier = np.array([0.9, 0.8, 0.1, 0.3, 0.0, 0.5], np.float32)
    assert [(a, b, round(c, 6)) for a, b, c in cluster_summary(labels, outlier)] == [
        (0, 2, 0.25),
        (4, 1, 0.3),
        (-1, 3, 0.8),
    ]
