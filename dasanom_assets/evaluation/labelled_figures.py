"""Figures of a labelled set: how well each detector ranks its clips, for a page and as a picture."""

import io
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from dasanom_assets.comparison.figures import INK, styled
from dasanom_assets.evaluation.groups import BASELINE, FUSED

PALETTE = ("#0072B2", "#E69F00", "#56B4E9", "#CC79A7", "#D55E00", "#F0E442", "#8c8c8c", "#b5651d", "#5e3c99")
"""Okabe and Ito's without their green, which is for what is fused, and further ones."""


def colour_of(detector: str, detectors: list[str]) -> str:
    """Return the colour that a detector has in all figures of a report."""
    if detector in (FUSED, BASELINE):
        return {FUSED: "#009E73", BASELINE: INK}[detector]
    others = [name for name in detectors if name not in (FUSED, BASELINE)]
    return PALETTE[others.index(detector) % len(PALETTE)]


def named(detector: str) -> str:
    """Return what a detector is called in words."""
    return {FUSED: "fused", BASELINE: "dense autoencoder"}.get(detector, detector.replace("_", " "))


def auc_figure(figures: dict[str, Any], detectors: list[str]) -> go.Figure:
    """Return bars of the mean AUC by machine and detector, a point an id, and lines of the published baseline."""
    places = _places(figures)
    figure = go.Figure()
    width = 0.86 / len(detectors)
    for k, detector in enumerate(detectors):
        positions = np.arange(len(places)) - 0.43 + (k + 0.5) * width
        mean_auc = {(r["snr"], r["machine"]): r["auc"] for r in figures["means"] if r["detector"] == detector}
        colour = colour_of(detector, detectors)
        figure.add_trace(
            go.Bar(
                x=positions,
                y=[mean_auc.get(place) for place in places],
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
                x=[positions[places.index((r["snr"], r["machine"]))] for r in rows],
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
        positions = np.arange(len(places)) - 0.43 + (k + 0.5) * width
        mean_auc = {(r["snr"], r["machine"]): r["auc"] for r in figures["means"] if r["detector"] == detector}
        height = [mean_auc.get(place, np.nan) for place in places]
        axes.bar(positions, height, width * 0.92, color=colour_of(detector, detectors), label=named(detector))
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
