"""The report shows what was found, on one scale, offline, and says in words what a day lacks."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dasanom_assets.comparison.alarms import alarms_of
from dasanom_assets.comparison.day import usual_threshold
from dasanom_assets.comparison.figures import histogram_figure
from dasanom_assets.comparison.pictures import map_thumbnail
from dasanom_assets.comparison.report import Findings, ReportFiles, cluster_summary, day_report
from dasanom_assets.tables.schemas import empty
from dasanom_tests.comparison.made_days import DAY, findings, one_sided
from dasanom_tests.comparison.test_figures import drawn


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
        "0.29 Cohen's κ, channel-seconds 95 %: 0.12 to 0.41",
        "0.93 Gwet's AC1, channel-seconds no interval",
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


def test_a_page_says_how_many_of_its_events_are_drawn(day: Findings, page: Page) -> None:
    assert "of each kind of agreement, in the order of the table" not in page.text
    many = pa.concat_tables([day.events.slice(0, 1)] * 600)
    ids = pa.array([f"event-{i}" for i in range(600)])
    many = many.set_column(many.schema.get_field_index("event_id"), "event_id", ids)
    lone = replace(one_sided(day), events=many)
    said = "Boxes are events, the first 250 of each kind of agreement, in the order of the table;"
    assert said in Page(day_report(lone).html).text


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


def test_a_fibre_that_the_model_does_not_know_is_told_at_the_top(day: Findings) -> None:
    told = Page(day_report(replace(day, unknown=["the fibre east is unknown: no training day has it"])).html)
    assert "The fibre east is unknown: no training day has it." in told.text


def test_clusters_stand_beside_their_noise(page: Page) -> None:
    assert "noise (−1), not a cluster" in page.text
    assert "2 12.5% 0.41 812.00 –" in page.text  # an index that is not defined is not zero


def test_a_budget_that_lets_nothing_pass_has_no_line_and_is_told(day: Findings) -> None:
    strict = replace(day, threshold=np.inf, flagged=np.zeros(len(day.scores), bool), n_flagged=0)
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
    assert Image.open(io.BytesIO(report.overview_png)).format == "PNG"
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


def test_what_is_left_out_of_the_contractors_files_is_told(day: Findings) -> None:
    swapped = [f"Model1/north_{n}.bin_prob.prob: its numbers are <big-endian>" for n in range(22)]
    alone = [f"Model1/south_{n}.bin_power.pow: not power, it runs down to -{n}" for n in range(22)]
    text = Page(day_report(replace(one_sided(day), left_out=alone + swapped)).html).text
    assert "none of the contractor's files could be used" in text
    assert "its numbers are <big-endian>" in text
    assert "22 files" in text
    assert all(f"Model1/north_{n}.bin_prob.prob" in text for n in range(22))
    assert "not power, it runs down to -18: Model1/south_18.bin_power.pow" in text
    assert "… and for 3 more reasons" in text
