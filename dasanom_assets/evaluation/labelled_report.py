"""The report of a labelled set: one HTML page that opens offline, a picture, and the figures as JSON."""

import io
import json
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from dasanom_assets.comparison.figures import INK, styled
from dasanom_assets.comparison.page import count, html_page, number, plot, table
from dasanom_assets.evaluation.groups import BASELINE, FUSED
from dasanom_assets.evaluation.labelled import is_full

PALETTE = ("#0072B2", "#E69F00", "#56B4E9", "#CC79A7", "#D55E00", "#F0E442", "#8c8c8c", "#b5651d", "#5e3c99")
"""Okabe and Ito's without their green, which is for what is fused, and further ones."""
LISTED = 200
"""Files left out that are listed, at most; the JSON has all."""


def colour_of(detector: str, detectors: list[str]) -> str:
    """Return the colour that a detector has in all figures of a report."""
    if detector in (FUSED, BASELINE):
        return {FUSED: "#009E73", BASELINE: INK}[detector]
    others = [name for name in detectors if name not in (FUSED, BASELINE)]
    return PALETTE[others.index(detector) % len(PALETTE)]


def named(detector: str) -> str:
    """Return what a detector is called in words."""
    return {FUSED: "fused", BASELINE: "dense autoencoder"}.get(detector, detector.replace("_", " "))


def report(figures: dict[str, Any]) -> dict[str, bytes]:
    """Return ``html``, ``png`` and ``json`` of a set's figures; see `labelled.run`."""
    return {
        "html": _page(figures).encode(),
        "png": picture(figures),
        "json": (json.dumps(figures, indent=1) + "\n").encode(),
    }


def headline(figures: dict[str, Any]) -> str:
    """Say in a sentence how good the fused score is, and beside what."""
    every = [row for row in figures["means"] if row["machine"] == "all" or not _has_all(figures, row["snr"])]
    words = []
    for row in (row for row in every if row["detector"] == FUSED):
        baseline = next(r for r in every if r["detector"] == BASELINE and _same(r, row))
        where = f"{row['snr']} {'' if row['machine'] == 'all' else row['machine']}".strip()
        words.append(
            f"{where}: mean AUC {number(row['auc'], 3)} fused, {number(baseline['auc'], 3)} dense autoencoder of "
            f"this run, {number(row['published_auc'], 3)} published"
        )
    return "; ".join(words) or "nothing could be scored"


def _has_all(figures: dict[str, Any], snr: str) -> bool:
    return any(row["machine"] == "all" and row["snr"] == snr for row in figures["means"])


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return (one["snr"], one["machine"]) == (other["snr"], other["machine"])


def _page(figures: dict[str, Any]) -> str:
    detectors = list(dict.fromkeys(row["detector"] for row in figures["rows"]))
    state = ""
    if figures["published_set"]:
        state = (
            "These are figures of the full published set."
            if is_full(figures)
            else "This is a part of the published set: <b>figures of the full set are not yet measured.</b>"
        )
    groups = len({(row["snr"], row["machine"], row["id"]) for row in figures["rows"]})
    channels = figures["channels"] if figures["channels"] == "all" else ", ".join(map(str, figures["channels"]))
    fused = ", ".join(map(named, figures["fused"]))
    header = f"""<header><h1>Labelled set <span>{escape(figures["set"])}</span></h1>
<p class="lead">{escape(headline(figures))}.</p>
<p>{state} {count(groups, "group")} scored, {len(figures["not_scored"])} not;
{count(len(figures["left_out"]), "file")} left out. Sampling rate {figures["sampling_rate_hz"]:g} Hz, channels
{channels}. A group is learned by itself, from normal clips alone; none of them is evaluated on. A clip's score is
the {figures["clip_score"]} over its windows and channels. Fused are {escape(fused)}.</p></header>"""
    body = [header]
    if figures["rows"]:
        body += [_ranking(figures, detectors), _means(figures), _threshold(figures, detectors), _rows(figures)]
    body.append(_missing(figures))
    return html_page(f"Labelled set {escape(figures['set'])}", "\n".join(body))


def _ranking(figures: dict[str, Any], detectors: list[str]) -> str:
    return f"""<section><h2>Ranking</h2>
<p>Area under the ROC curve: the chance that an abnormal clip scores above a normal one; 0.5 is guessing. Bars are
means over ids, points single ids, lines the published mean of MIMII's autoencoder where there is one.</p>
{plot(auc_figure(figures, detectors), "ranking")}</section>"""


def auc_figure(figures: dict[str, Any], detectors: list[str]) -> go.Figure:
    """Return bars of the mean AUC by machine and detector, a point an id, and lines of the published baseline."""
    places = _places(figures)
    figure = go.Figure()
    width = 0.86 / len(detectors)
    for k, detector in enumerate(detectors):
        at = np.arange(len(places)) - 0.43 + (k + 0.5) * width
        mine = {(r["snr"], r["machine"]): r["auc"] for r in figures["means"] if r["detector"] == detector}
        colour = colour_of(detector, detectors)
        figure.add_trace(
            go.Bar(
                x=at,
                y=[mine.get(place) for place in places],
                width=width * 0.92,
                name=named(detector),
                legendgroup=detector,
                marker={"color": colour},
                hovertemplate=f"{named(detector)}<br>mean AUC %{{y:.3f}}<extra></extra>",
            )
        )
        rows = [r for r in figures["rows"] if r["detector"] == detector]
        figure.add_trace(
            go.Scatter(
                x=[at[places.index((r["snr"], r["machine"]))] for r in rows],
                y=[r["auc"] for r in rows],
                mode="markers",
                legendgroup=detector,
                showlegend=False,
                marker={"color": "white", "size": 6, "line": {"color": INK, "width": 1.2}},
                text=[escape(r["id"]) for r in rows],
                hovertemplate=f"{named(detector)}<br>%{{text}}: AUC %{{y:.3f}}<extra></extra>",
            )
        )
    published = {(r["snr"], r["machine"]): r["published_auc"] for r in figures["means"]}
    lines = [(i, published[p]) for i, p in enumerate(places) if published.get(p) is not None]
    if lines:
        figure.add_trace(
            go.Scatter(
                x=[x for i, _ in lines for x in (i - 0.46, i + 0.46, None)],
                y=[y for _, value in lines for y in (value, value, None)],
                mode="lines",
                name="published autoencoder",
                line={"color": "#b2182b", "width": 2, "dash": "dash"},
            )
        )
    ends = [-0.55, len(places) - 0.45]
    figure.update_xaxes(tickvals=list(range(len(places))), ticktext=[_place(p) for p in places], range=ends)
    figure.update_yaxes(title="AUC", range=[_lowest(figures), 1.01], gridcolor="#e3e6ea")
    figure.update_layout(
        height=440,
        barmode="overlay",
        margin={"l": 60, "r": 20, "t": 70, "b": 50},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    return styled(figure, plot_bgcolor="white")


def _places(figures: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted({(row["snr"], row["machine"]) for row in figures["rows"]})


def _place(place: tuple[str, str]) -> str:
    return escape(" ".join(part for part in place if part))


def _lowest(figures: dict[str, Any]) -> float:
    """Return where the axis of AUC begins: at 0.4, or below what there is."""
    return min(0.4, *(row["auc"] - 0.05 for row in figures["rows"]))


def _means(figures: dict[str, Any]) -> str:
    names = [
        *("ratio", "machine", "ids", "detector", "AUC", "published AUC", "pAUC", "DCASE AUC", "DCASE pAUC"),
        *("accuracy", "precision", "recall", "F1", "false alarms", "training, s", "scoring, s"),
    ]
    keys = ["auc", "published_auc", "partial_auc", "dcase_auc", "dcase_partial_auc"]
    keys += ["accuracy", "precision", "recall", "f1", "false_alarm_rate"]
    rows = [
        [escape(r["snr"]), escape(r["machine"]), r["groups"], named(r["detector"])]
        + [number(r[key], 3) for key in keys]
        + [number(r[key], 1) for key in ("train_seconds", "score_seconds")]
        for r in figures["means"]
    ]
    return f"""<section><h2>Means</h2>
<p>pAUC is the area up to a false alarm rate of {figures["max_fpr"]:g}, standardised after McClish, so 0.5 is
guessing there as well. The published AUC is that of MIMII's own autoencoder at the same ratio; DCASE's baseline is
for its own mixture of ratios, and a direction only. Training and scoring are means a group, networks included.</p>
{table(names, rows, "sortable")}</section>"""


def _threshold(figures: dict[str, Any], detectors: list[str]) -> str:
    rows = []
    for detector in detectors:
        mine = [r["confusion"] for r in figures["rows"] if r["detector"] == detector]
        total = {key: sum(c[key] for c in mine) for key in mine[0]}
        normal, abnormal = total["true_normal"] + total["false_alarm"], total["missed"] + total["found"]
        rows.append(
            [named(detector)]
            + [f"{total[key]:,}" for key in ("found", "missed", "false_alarm", "true_normal")]
            + [number(total["found"] / abnormal, 3), number(total["false_alarm"] / normal, 3)]
        )
    names = ["detector", "found", "missed", "false alarms", "normal, called so", "recall", "false alarm rate"]
    return f"""<section><h2>At a threshold from normal clips only</h2>
<p>The threshold of a group is the split-conformal quantile of clips that nothing was trained on; it asks for a
false alarm rate of {figures["false_alarm_rate_asked"]:g}. Counts are summed over groups.</p>
{table(names, rows)}</section>"""


def _rows(figures: dict[str, Any]) -> str:
    names = [
        *("ratio", "machine", "id", "detector", "normal", "abnormal", "learned", "AUC", "published AUC", "pAUC"),
        *("accuracy", "precision", "recall", "F1", "found / missed / false / normal"),
    ]
    rows = [
        [escape(r["snr"]), escape(r["machine"]), escape(r["id"]), named(r["detector"])]
        + [r["n_normal"], r["n_abnormal"], r["n_train"]]
        + [number(r[key], 3) for key in ("auc", "published_auc", "partial_auc")]
        + [number(r[key], 3) for key in ("accuracy", "precision", "recall", "f1")]
        + [" / ".join(str(r["confusion"][key]) for key in ("found", "missed", "false_alarm", "true_normal"))]
        for r in figures["rows"]
    ]
    return f"<section><h2>Every group</h2>{table(names, rows, 'sortable')}</section>"


def _missing(figures: dict[str, Any]) -> str:
    parts = []
    if figures["not_scored"]:
        rows = [[escape(r["group"]), escape(r["reason"])] for r in figures["not_scored"]]
        parts.append(f"<h3>Groups that are not scored</h3>{table(['group', 'reason'], rows)}")
    if figures["missing"]:
        lines = "".join(f"<li>{escape(line)}</li>" for line in figures["missing"])
        parts.append(f"<h3>Missing of the published set</h3><ul>{lines}</ul>")
    if figures["left_out"]:
        shown = figures["left_out"][:LISTED]
        rows = [[f"<code>{escape(r['path'])}</code>", escape(r["reason"])] for r in shown]
        more = "" if len(shown) == len(figures["left_out"]) else f"<p>The first {LISTED}; the JSON has all.</p>"
        parts.append(f"<h3>Files that are left out</h3>{table(['file', 'reason'], rows)}{more}")
    machine = figures["machine"]
    made = f"{machine['date']}, {machine['processor']}, {count(machine['cores'], 'core')}, on {figures['device']}"
    absent = "".join(parts) or "<p>Nothing is left out.</p>"
    return f"<footer><h2>What is not in it</h2>{absent}<p>{escape(made)}</p></footer>"


def picture(figures: dict[str, Any], dpi: int = 100) -> bytes:
    """Return the mean AUC by machine and detector as a PNG of 10 × 4.5 inches."""
    detectors = list(dict.fromkeys(row["detector"] for row in figures["rows"]))
    figure = Figure(figsize=(10, 4.5), dpi=dpi, layout="constrained")
    axes = figure.subplots()
    places = _places(figures)
    if not places:
        axes.text(0.5, 0.5, "Nothing could be scored.", ha="center", va="center", fontsize=14)
        axes.set_axis_off()
    width = 0.86 / max(len(detectors), 1)
    for k, detector in enumerate(detectors):
        at = np.arange(len(places)) - 0.43 + (k + 0.5) * width
        mine = {(r["snr"], r["machine"]): r["auc"] for r in figures["means"] if r["detector"] == detector}
        height = [mine.get(place, np.nan) for place in places]
        axes.bar(at, height, width * 0.92, color=colour_of(detector, detectors), label=named(detector))
    for i, place in enumerate(places):
        rows = [r for r in figures["means"] if (r["snr"], r["machine"]) == place]
        if rows[0]["published_auc"] is not None:
            label = "published autoencoder" if i == 0 else "_"
            axes.hlines(rows[0]["published_auc"], i - 0.46, i + 0.46, "#b2182b", "--", label=label)
    if places:
        axes.set_xticks(range(len(places)), [" ".join(filter(None, place)) for place in places], fontsize=11)
        axes.set(ylabel="AUC (mean over ids)", ylim=(_lowest(figures), 1.01))
        axes.grid(axis="y", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=5, frameon=False, fontsize=10)
    sink = io.BytesIO()
    figure.savefig(sink, format="png")
    return sink.getvalue()
