"""The report of a day: one HTML page that works offline, and pictures of it.

What belongs here orders what other modules of this stage have found; its words are in the template
``day_report.html.j2``. The page is written for somebody who looks once and then decides where to look closer:
numbers first, then places, then single events, then doubts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from dasanom_assets.comparison import figures, pictures
from dasanom_assets.comparison.alarms import (
    MOST_DRAWN,
    Alarm,
    alarms_of,
    clock,
    cluster_name,
    of_side,
    rarest_first,
)
from dasanom_assets.comparison.figures import EmbeddingMap
from dasanom_assets.comparison.metres import reach
from dasanom_assets.comparison.page import between, code, count, duration, number, plot, render, templates
from dasanom_assets.comparison.palette import COLOUR, LABEL
from dasanom_assets.comparison.waterfall import Panels, Waterfall, colour_range
from dasanom_assets.recordings.fibres import Places

MAX_LISTED = 500
"""Events in the list, at most: the page stays small. The tables hold all."""

_PLAIN = "#c3c9d1"


@dataclass(frozen=True)
class Findings:
    """All that a report shows.

    Attributes
    ----------
    day : str
        ISO day.
    hours : float
        Recorded time, for rates.
    recordings, events, matches : pyarrow.Table
        Rows of `recordings`, `anomaly_events` and `event_matches` of the day.
    contractor_events : pyarrow.Table or None
        Rows of `contractor_events`; None where the day has no contractor files.
    panels : sequence of Panels
        One a fibre.
    n_windows, n_flagged : int
        Windows that have a score, and those of them that are anomalies.
    scores : numpy.ndarray
        Float array, shape (n_shown,): `score` of windows that are evenly spread over the day.
    flagged : numpy.ndarray
        bool, shape (n_shown,): `is_anomaly`.
    threshold : float
        Median over channels, in the unit of `scores`; infinite where the budget lets nothing pass.
    budget : float
        Events a kilometre and day that may be told.
    promise : str
        What the budget comes to, in words; see `detection.promise.promise`.
    counts : mapping
        Budget, as text, to ``expected`` and ``realised`` events of the day.
    km_days : float
        Of the reference.
    labels, outlier_scores : numpy.ndarray
        Shape (n_shown,): `label` and `outlier_score` of `cluster_labels`.
    quality : mapping
        `clustering.cluster_quality`: ``n_clusters``, ``noise_share``, ``silhouette``, ``calinski_harabasz``,
        ``davies_bouldin`` of the day's windows; the last three None where they are not defined.
    points : EmbeddingMap or None
        None where no window could be placed.
    agreement : mapping or None
        The row of `agreement`; None without contractor files.
    unknown : sequence of str
        Which fibres the model has not learned from, in words; see `drift.unknown_fibres`.
    model_version, vae_version : str
        What scored the day.
    left_out : sequence of str
        Files of the contractor, or parts of them, that are not used, each with the reason.
    places : Places or None
        Where channels lie.
    """

    day: str
    hours: float
    recordings: pa.Table
    events: pa.Table
    contractor_events: pa.Table | None
    matches: pa.Table
    panels: Sequence[Panels]
    n_windows: int
    n_flagged: int
    scores: np.ndarray
    flagged: np.ndarray
    threshold: float
    budget: float
    promise: str
    counts: Mapping[str, Mapping[str, float]]
    km_days: float
    labels: np.ndarray
    outlier_scores: np.ndarray
    quality: Mapping[str, float | None]
    points: EmbeddingMap | None
    agreement: Mapping[str, Any] | None
    unknown: Sequence[str]
    model_version: str
    vae_version: str
    left_out: Sequence[str] = ()
    places: Places | None = None


@dataclass(frozen=True)
class ReportFiles:
    """What a day's report consists of: the page (UTF-8), an overview, and a picture of at most 30 kB."""

    html: bytes
    overview_png: bytes
    thumbnail_png: bytes


def cluster_summary(labels: np.ndarray, outlier_scores: np.ndarray) -> list[tuple[int, int, float]]:
    """Return label, windows and median outlier score of each cluster, the largest first and −1 last.

    Parameters
    ----------
    labels : numpy.ndarray
        int32, shape (n,).
    outlier_scores : numpy.ndarray
        float32, shape (n,).
    """
    names, count = np.unique(labels, return_counts=True)
    rows = [
        (int(name), int(n), float(np.median(outlier_scores[labels == name])))
        for name, n in zip(names, count, strict=True)
    ]
    return sorted(rows, key=lambda row: (row[0] == -1, -row[1]))


def day_report(findings: Findings) -> ReportFiles:
    """Return the report of a day.

    The same findings give the same bytes.

    Raises
    ------
    ValueError
        See `alarms.alarms_of`.
    """
    alarms = alarms_of(findings.events, findings.contractor_events, findings.matches, findings.km_days)
    levels = colour_range(panels.power for panels in findings.panels)
    events = sorted(of_side(alarms, "all"), key=rarest_first)
    both_sides = findings.contractor_events is not None
    sentence = _sentence(findings, alarms)
    page = render(
        templates("dasanom_assets.comparison"),
        "day_report.html.j2",
        findings=findings,
        both_sides=both_sides,
        sentence=sentence,
        left_out=_by_reason(findings.left_out),
        fibres=_fibres(findings.recordings),
        cards=_cards(findings, alarms),
        waterfalls=_waterfalls(findings, alarms, levels),
        events=[_event(event, both_sides, findings.places) for event in events[:MAX_LISTED]],
        n_events=len(events),
        most_drawn=MOST_DRAWN,
        map=None if findings.points is None else plot(figures.map_figure(findings.points), "map"),
        counts=[
            [f"{float(budget):,g}", f"{n['expected']:.3g}", f"{n['realised']:,}"]
            for budget, n in findings.counts.items()
        ],
        histogram=_histogram(findings),
        has_threshold=bool(np.isfinite(findings.threshold)),
        clusters=_clusters(findings),
        quality=_quality(findings.quality),
        files=_files(findings.recordings),
    )
    overview = pictures.overview_png(
        f"{findings.day}: {sentence}",
        findings.panels,
        alarms,
        levels,
        findings.points,
        findings.scores,
        findings.flagged,
        findings.threshold,
        findings.budget,
    )
    return ReportFiles(page.encode(), overview, pictures.waterfall_thumbnail(findings.panels, alarms, levels))


# -- what the template shows ----------------------------------------------------------------------------------


def _sentence(findings: Findings, alarms: Sequence[Alarm]) -> str:
    """Say how many alarms there are on each side."""
    ours, theirs = len(of_side(alarms, "us")), len(of_side(alarms, "contractor"))
    if findings.contractor_events is None:
        lacking = "none of the contractor's files could be used" if findings.left_out else ""
        return f"we raised {count(ours, 'alarm')}; {lacking or 'the day came without contractor files'}"
    both = sum(alarm.agreement == "both" for alarm in of_side(alarms, "us"))
    return f"we raised {count(ours, 'alarm')}, the contractor {theirs:,}; both sides agree on {both:,}"


def _by_reason(left_out: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return reasons and the files they are of, the reason of most files first."""
    reasons: dict[str, list[str]] = {}
    for sentence in left_out:
        path, _, reason = sentence.partition(": ")
        reasons.setdefault(reason, []).append(path)
    return sorted(reasons.items(), key=lambda item: -len(item[1]))


def _fibres(recordings: pa.Table) -> list[list[str]]:
    rows = []
    for fibre in sorted(pc.unique(recordings["fibre"]).to_pylist()):
        files = recordings.filter(pc.equal(recordings["fibre"], fibre))
        first = files["first_channel"].to_numpy()
        rows.append(
            [
                fibre,
                f"{_clock(pc.min(files['start']))} to {_clock(pc.max(files['end']))}",
                _range(first.min(), (first + files["n_channels"].to_numpy()).max() - 1),
                f"{files.num_rows:,}",
            ]
        )
    return rows


def _cards(findings: Findings, alarms: Sequence[Alarm]) -> list[dict[str, str]]:
    count = Counter(alarm.agreement for alarm in of_side(alarms, "all"))
    sides = Counter(alarm.side for alarm in alarms)
    rate = {side: sides[side] / findings.hours if findings.hours else None for side in ("us", "contractor")}
    ours_an_hour = (number(rate["us"]), "our alarms an hour", "events ÷ recorded hours", _PLAIN)
    row = findings.agreement
    if row is None:
        cards = [(f"{sides['us']:,}", "our events", "", COLOUR["only_us"]), ours_an_hour]
    else:
        n = row["ours"] + row["theirs"]
        events = (row["ours_matched"] + row["theirs_matched"]) / n if n else None
        cards = [
            (f"{count['both']:,}", "both", f"{number(row['ours_by_chance'], 1)} by chance", COLOUR["both"]),
            (f"{count['only_us']:,}", "only us", "events the contractor lacks", COLOUR["only_us"]),
            (f"{count['only_contractor']:,}", "only contractor", "events we lack", COLOUR["only_contractor"]),
            ours_an_hour,
            (number(rate["contractor"]), "contractor's alarms an hour", "events ÷ recorded hours", _PLAIN),
            (number(events), "positive agreement, events", "alarms that the other side has, too, ÷ all", _PLAIN),
            (number(row["kappa"]), "Cohen's κ, channel-seconds", f"{between(row, 'kappa')}; 0 is chance", _PLAIN),
            (
                number(row["ac1"]),
                "Gwet's AC1, channel-seconds",
                f"{between(row, 'ac1')}; steadier when rare",
                _PLAIN,
            ),
        ]
    return [dict(zip(("value", "name", "note", "colour"), card, strict=True)) for card in cards]


def _waterfalls(
    findings: Findings, alarms: Sequence[Alarm], levels: tuple[float, float]
) -> list[tuple[Waterfall, Markup]]:
    """Return the power of each fibre and its waterfalls as HTML."""
    plots = []
    for i, panels in enumerate(findings.panels):
        fibre = panels.power.fibre
        events = [alarm for alarm in alarms if alarm.fibre == fibre]
        figure = figures.waterfall_figure(panels, events, levels, findings.places)
        plots.append((panels.power, plot(figure, f"waterfalls-{i}")))
    return plots


def _event(event: Alarm, both_sides: bool, places: Places | None) -> list[Any]:
    """Return the row of an event; of a pair, the second is what the column is sorted by."""
    # What the contractor says of a place where it has no alarm that fits would contradict "only us".
    word = event.contractor_class if event.agreement != "only_us" else None
    says = word and f"{word} ({event.contractor_probability:.2f})"
    first, last = event.first_channel, event.last_channel
    metres = reach(places, event.fibre, first, last) if places else ""
    return [
        code(event.event_id[:12]),
        event.fibre,
        (clock(event.start_ns), event.start_ns),
        duration((event.end_ns - event.start_ns) / 1e9),
        (_range(first, last) + (metres and f" ({metres})"), first),
        number(event.score),
        "–" if event.rate is None else (event.rate, event.rate_per_km_day),
        cluster_name(event.cluster),
        says or "–",
        _chip(event.agreement) if both_sides else "–",
    ]


def _histogram(findings: Findings) -> Markup | None:
    if not np.isfinite(findings.scores).any():
        return None
    figure = figures.histogram_figure(findings.scores, findings.flagged, findings.threshold, findings.budget)
    return plot(figure, "histogram")


def _clusters(findings: Findings) -> list[list[str]]:
    return [
        [
            "noise (−1), not a cluster" if label == -1 else f"{label}",
            f"{n:,}",
            f"{n / len(findings.labels):.1%}",
            number(outlier),
        ]
        for label, n, outlier in cluster_summary(findings.labels, findings.outlier_scores)
    ]


def _quality(quality: Mapping[str, float | None]) -> list[str]:
    indices = (number(quality[key]) for key in ("silhouette", "calinski_harabasz", "davies_bouldin"))
    return [f"{quality['n_clusters']}", f"{quality['noise_share']:.1%}", *indices]


def _files(recordings: pa.Table) -> list[list[str]]:
    return [
        [
            file["path"],
            file["format"],
            f"{file['start']:%H:%M:%S}",
            f"{file['end']:%H:%M:%S}",
            code(file["sha256"][:16]),
        ]
        for file in recordings.select(["path", "format", "start", "end", "sha256"]).to_pylist()
    ]


# -- pieces -------------------------------------------------------------------------------------------------


def _clock(time: pa.Scalar) -> str:
    return clock(time.cast(pa.int64()).as_py(), "%Y-%m-%d %H:%M:%S")


def _range(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def _chip(agreement: str) -> Markup:
    return Markup('<span class="chip" style="--c:{}">{}</span>').format(COLOUR[agreement], LABEL[agreement])
