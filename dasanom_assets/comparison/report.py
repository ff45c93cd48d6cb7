"""The report of a day: one HTML page that works offline, and pictures of it.

What belongs here words and orders what other modules of this stage have found. The page is written for somebody
who looks once and then decides where to look closer: numbers first, then places, then single events, then doubts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.comparison import figures, pictures
from dasanom_assets.comparison.alarms import Alarm, alarms_of, clock, cluster_name, of_side
from dasanom_assets.comparison.figures import COLOUR, LABEL, EmbeddingMap, Panels
from dasanom_assets.comparison.page import count, html_page, number, plot, table
from dasanom_assets.comparison.waterfall import colour_range

MAX_LISTED = 1000
"""Events in the list, at most; the tables hold all."""

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
    scores : numpy.ndarray
        Float array, shape (n_windows,): `score` of `anomaly_scores`; without rows where none was scored.
    flagged : numpy.ndarray
        bool, shape (n_windows,): `is_anomaly`.
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
        Shape (n_windows,): `label` and `outlier_score` of `cluster_labels`.
    quality : mapping
        `clustering.cluster_quality`: ``n_clusters``, ``noise_share``, ``silhouette``, ``calinski_harabasz``,
        ``davies_bouldin`` of the day's windows; the last three None where they are not defined.
    points : EmbeddingMap or None
        None where no window could be placed.
    event_agreement, window_agreement : mapping or None
        ``positive_agreement`` of events; ``positive_agreement``, ``kappa`` and ``ac1`` of windows. None without
        contractor files.
    model_version, vae_version : str
        What scored the day.
    """

    day: str
    hours: float
    recordings: pa.Table
    events: pa.Table
    contractor_events: pa.Table | None
    matches: pa.Table
    panels: Sequence[Panels]
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
    event_agreement: Mapping[str, float | None] | None
    window_agreement: Mapping[str, float | None] | None
    model_version: str
    vae_version: str


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
    body = "\n".join(
        [
            _heading(findings, alarms),
            _key_numbers(findings, alarms),
            _waterfalls(findings, alarms, levels),
            _event_list(findings, alarms),
            _map(findings),
            _promise(findings),
            _histogram(findings),
            _clusters(findings),
            _provenance(findings),
        ]
    )
    title = f"Day report {escape(findings.day)}"
    page = html_page(title, body)
    overview = pictures.overview_png(
        f"{findings.day}: {_sentence(findings, alarms)}",
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


# -- sections -----------------------------------------------------------------------------------------------


def _sentence(findings: Findings, alarms: Sequence[Alarm]) -> str:
    """Say how many alarms there are on each side."""
    ours, theirs = len(of_side(alarms, "us")), len(of_side(alarms, "contractor"))
    if findings.contractor_events is None:
        return f"we raised {count(ours, 'alarm')}; the day came without contractor files"
    both = sum(alarm.agreement == "both" for alarm in of_side(alarms, "us"))
    return f"we raised {count(ours, 'alarm')}, the contractor {theirs:,}; both sides agree on {both:,}"


def _heading(findings: Findings, alarms: Sequence[Alarm]) -> str:
    sentence = _sentence(findings, alarms)
    words = [f"{sentence[0].upper()}{sentence[1:]}."]
    if findings.contractor_events is None:
        words.append("The report therefore shows our side only, and “only us” stands for all our alarms.")
    if not len(findings.scores):
        words.append("No window of this day could be scored: there are levels to look at, but no verdicts.")
    rows = [
        [
            escape(fibre),
            f"{_clock(pc.min(mine['start']))} to {_clock(pc.max(mine['end']))}",
            _range(first.min(), (first + mine["n_channels"].to_numpy()).max() - 1),
            f"{mine.num_rows:,}",
        ]
        for fibre in sorted(pc.unique(findings.recordings["fibre"]).to_pylist())
        for mine in [findings.recordings.filter(pc.equal(findings.recordings["fibre"], fibre))]
        for first in [mine["first_channel"].to_numpy()]
    ]
    return f"""<header><h1>Day report <span>{escape(findings.day)}</span></h1>
<p class="lead">{" ".join(words)}</p>
{table(["fibre", "recordings (UTC)", "channels", "files"], rows)}
<p>{findings.hours:,.1f} h recorded, {len(findings.scores):,} windows scored, model
<code>{escape(findings.model_version)}</code>.</p></header>"""


def _key_numbers(findings: Findings, alarms: Sequence[Alarm]) -> str:
    count = Counter(alarm.agreement for alarm in of_side(alarms, "all"))
    sides = Counter(alarm.side for alarm in alarms)
    rate = {side: sides[side] / findings.hours if findings.hours else None for side in ("us", "contractor")}
    if findings.event_agreement is None or findings.window_agreement is None:
        cards = [
            (f"{sides['us']}", "our events", "", COLOUR["only_us"]),
            (number(rate["us"]), "our alarms an hour", "events ÷ recorded hours", _PLAIN),
        ]
    else:
        windows = findings.window_agreement
        cards = [
            (f"{count['both']}", "both", "events of both sides", COLOUR["both"]),
            (f"{count['only_us']}", "only us", "events the contractor lacks", COLOUR["only_us"]),
            (
                f"{count['only_contractor']}",
                "only contractor",
                "events we lack",
                COLOUR["only_contractor"],
            ),
            (number(rate["us"]), "our alarms an hour", "events ÷ recorded hours", _PLAIN),
            (number(rate["contractor"]), "contractor's alarms an hour", "events ÷ recorded hours", _PLAIN),
            (
                number(findings.event_agreement["positive_agreement"]),
                "positive agreement, events",
                "2 × both ÷ all alarms",
                _PLAIN,
            ),
            (number(windows["kappa"]), "Cohen's κ, windows", "0 is chance, 1 is full agreement", _PLAIN),
            (number(windows["ac1"]), "Gwet's AC1, windows", "as κ, steadier when alarms are rare", _PLAIN),
        ]
    items = "".join(
        f'<div class="card" style="border-top-color:{colour}"><b>{value}</b>'
        f"<span>{escape(name)}</span><small>{escape(note)}</small></div>"
        for value, name, note, colour in cards
    )
    return f'<section><h2>Key numbers</h2><div class="cards">{items}</div></section>'


def _waterfalls(findings: Findings, alarms: Sequence[Alarm], levels: tuple[float, float]) -> str:
    if not findings.panels:
        return "<section><h2>Waterfalls</h2><p>This day has no spectrograms.</p></section>"
    parts = []
    for i, panels in enumerate(findings.panels):
        fibre = panels.power.fibre
        mine = [alarm for alarm in alarms if alarm.fibre == fibre]
        figure = figures.waterfall_figure(panels, mine, levels, _spacing(findings.recordings, fibre))
        cell = f"{panels.power.step_ns / 1e9:g} s × {count(panels.power.channel_step, 'channel')}"
        parts.append(
            f"<h3>Fibre {escape(fibre)}</h3><p>A cell covers {cell} and shows the loudest second in it.</p>"
            + plot(figure, f"waterfalls-{i}")
        )
    return f"""<section><h2>Waterfalls</h2>
<p>Power above what is usual for the channel, on one colour scale. White is a gap, a channel without data or, below
the first panel, not flagged. Boxes are events; hover over the mark in the middle for details. Drag to zoom all
panels together, double-click to return; a click in the legend hides a kind of event.</p>
{"".join(parts)}</section>"""


def _event_list(findings: Findings, alarms: Sequence[Alarm]) -> str:
    listed = sorted(of_side(alarms, "all"), key=_rarest_first)
    if not listed:
        nobody = "We raised no alarm" if findings.contractor_events is None else "Neither side raised an alarm"
        return f"<section><h2>Events</h2><p>{nobody} on this day.</p></section>"
    shown = listed[:MAX_LISTED]
    note = (
        "Our rarest events first, then the contractor's by probability. “A km and day” is how many events as "
        "strong reference ground has at that place and hour, with its interval. Click a heading to sort."
    )
    if len(shown) < len(listed):
        note += f" The first {len(shown):,} of {len(listed):,} are listed; the tables hold all."
    rows = [
        [
            f"<code>{escape(a.event_id[:12])}</code>",
            escape(a.fibre),
            (clock(a.start_ns), a.start_ns),
            _duration((a.end_ns - a.start_ns) / 1e9),
            (_range(a.first_channel, a.last_channel), a.first_channel),
            number(a.score),
            "–" if a.rate is None else (a.rate, a.rate_per_km_day),
            cluster_name(a.cluster),
            f"{escape(a.contractor_class)} ({a.contractor_probability:.2f})" if a.contractor_class else "–",
            _chip(a.agreement) if findings.contractor_events is not None else "–",
        ]
        for a in shown
    ]
    names = [
        "event",
        "fibre",
        "start (UTC)",
        "duration",
        "channels",
        "score",
        "a km and day",
        "cluster",
        "contractor says",
        "agreement",
    ]
    return f"""<section><h2>Events</h2><p>{note}</p>
{table(names, rows, "sortable")}</section>"""


def _map(findings: Findings) -> str:
    if findings.points is None:
        return "<section><h2>Map of windows</h2><p>No window of this day could be placed on the map.</p></section>"
    n = len(findings.points.who)
    return f"""<section><h2>Map of windows</h2>
<p>Each point is a window; neighbours sound alike. The map is fitted once on the reference windows of the model
(pale grey) and does not move: a place means the same on every day. {count(n, "window")} of the day drawn, in two
dimensions on the left and in three, to be turned, on the right. Axes have no unit.</p>
{plot(figures.map_figure(findings.points), "map")}</section>"""


def _rarest_first(alarm: Alarm) -> tuple[float, float, float]:
    rate = np.inf if alarm.rate_per_km_day is None else alarm.rate_per_km_day
    return rate, -(alarm.score or 0.0), -(alarm.contractor_probability or 0.0)


def _promise(findings: Findings) -> str:
    budget = f"The budget for events of ordinary ground is {findings.budget:,g} a km and day."
    words = f"<p>{budget} {escape(findings.promise)}</p>"
    if not findings.counts:
        words += "<p>The reference is too short to count events at any of the budgets that are compared.</p>"
    else:
        rows = [
            [f"{float(name):,g}", f"{of['expected']:.3g}", f"{of['realised']:,}"]
            for name, of in findings.counts.items()
        ]
        words += f"""<p>The table counts this day's events at several budgets. Ordinary ground has about as many
as expected; threats come on top.</p>
{table(["budget, a km and day", "expected events", "events there were"], rows)}"""
    return f"<section><h2>Expected and found</h2>{words}</section>"


def _histogram(findings: Findings) -> str:
    if not np.isfinite(findings.scores).any():
        return "<section><h2>Scores</h2><p>There are no scored windows, so there is no histogram.</p></section>"
    n = int(findings.flagged.sum())
    share = n / len(findings.scores)
    figure = figures.histogram_figure(findings.scores, findings.flagged, findings.threshold, findings.budget)
    line = (
        "The line is their median."
        if np.isfinite(findings.threshold)
        else "At most places the budget lets nothing pass."
    )
    return f"""<section><h2>Scores</h2>
<p>A score is how far a window lies above what is usual, in standard deviations. {n:,} of
{count(len(findings.scores), "window")} ({share:.2%}) are anomalies (blue). Each place and hour has a threshold
of its own. {line} Counts are on a log scale.</p>{plot(figure, "histogram")}</section>"""


def _clusters(findings: Findings) -> str:
    if not len(findings.labels):
        return "<section><h2>Clusters</h2><p>There are no windows to cluster.</p></section>"
    rows = [
        [
            "noise (−1), not a cluster" if label == -1 else f"{label}",
            f"{n:,}",
            f"{n / len(findings.labels):.1%}",
            number(outlier),
        ]
        for label, n, outlier in cluster_summary(findings.labels, findings.outlier_scores)
    ]
    q = findings.quality
    quality = [
        [
            f"{q['n_clusters']}",
            f"{q['noise_share']:.1%}",
            *(number(q[key]) for key in ("silhouette", "calinski_harabasz", "davies_bouldin")),
        ]
    ]
    names = [
        "clusters",
        "share of noise",
        "Silhouette (high is good)",
        "Calinski–Harabasz (high)",
        "Davies–Bouldin (low)",
    ]
    return f"""<section><h2>Clusters</h2>{table(["cluster", "windows", "share", "median outlier score"], rows)}
<p>Quality of the clustering. The three indices leave out noise and need two clusters, so read them beside the
first two columns: few clusters and much noise make them look good.</p>
{table(names, quality)}</section>"""


def _provenance(findings: Findings) -> str:
    files = findings.recordings.select(["path", "format", "start", "end", "sha256"]).to_pylist()
    rows = [
        [
            escape(f["path"]),
            escape(f["format"]),
            f"{f['start']:%H:%M:%S}",
            f"{f['end']:%H:%M:%S}",
            f"<code>{escape(f['sha256'][:16])}</code>",
        ]
        for f in files
    ]
    return f"""<footer><h2>Where this comes from</h2>
<p>Reference model <code>{escape(findings.model_version)}</code>,
VAE <code>{escape(findings.vae_version)}</code>.</p>
<details><summary>{count(len(files), "file")}</summary>
{table(["file", "format", "start (UTC)", "end (UTC)", "SHA-256"], rows)}</details></footer>"""


# -- pieces -------------------------------------------------------------------------------------------------


def _spacing(recordings: pa.Table, fibre: str) -> float | None:
    """Return the channel spacing of a fibre, m, where its files agree on one."""
    known = recordings.filter(pc.equal(recordings["fibre"], fibre))["channel_spacing_m"].to_numpy()
    values = np.unique(known[known > 0])
    return float(values[0]) if len(values) == 1 else None


def _clock(time: pa.Scalar) -> str:
    return clock(time.cast(pa.int64()).as_py(), "%Y-%m-%d %H:%M:%S")


def _range(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def _duration(seconds: float) -> tuple[str, float]:
    text = f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
    return text, seconds


def _chip(agreement: str) -> str:
    return f'<span class="chip" style="--c:{COLOUR[agreement]}">{LABEL[agreement]}</span>'
