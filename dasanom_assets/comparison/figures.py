"""Interactive figures of a day, for the report page.

Text that Plotly shows may be markup, so names are escaped here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.subplots import make_subplots

from dasanom_assets.comparison.alarms import AGREEMENTS, Alarm, clock, cluster_name, drawn, of_side
from dasanom_assets.comparison.metres import metres_axis
from dasanom_assets.comparison.palette import (
    BLANK,
    COLOUR,
    DRAWN,
    INK,
    LABEL,
    LEVELS,
    QUIET,
    SCORE,
    WHO,
)
from dasanom_assets.comparison.waterfall import Panels, Waterfall
from dasanom_assets.recordings.fibres import Places

_SYMBOL = {"both": "diamond", "only_us": "circle", "only_contractor": "square", "neither": "circle"}
_FONT = {
    "family": "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
    "size": 13,
    "color": INK,
}
_MS = 1_000_000
_PANEL_PIXELS = 250


@dataclass(frozen=True)
class EmbeddingMap:
    """Windows of the day on the map.

    Attributes
    ----------
    reference : dict
        2 and 3 to float64 coordinates, shape (n, 2) and (n, 3), of the reference windows.
    placed : dict
        The same of the day's windows, shape (m, 2) and (m, 3).
    fibre, channel, start_ns : numpy.ndarray
        Shape (m,): where the day's windows come from.
    who : numpy.ndarray
        int8, shape (m,): see `WHO`.
    """

    reference: Mapping[int, np.ndarray]
    placed: Mapping[int, np.ndarray]
    fibre: np.ndarray
    channel: np.ndarray
    start_ns: np.ndarray
    who: np.ndarray


def waterfall_figure(
    panels: Panels, alarms: Sequence[Alarm], levels: tuple[float, float], places: Places | None = None
) -> go.Figure:
    """Return the waterfalls of a fibre under each other; time, channel and colour scale are shared.

    Parameters
    ----------
    panels : Panels
    alarms : sequence of Alarm
        Those of this fibre.
    levels : tuple of float
        Ends of the colour scale, spreads.
    places : Places, optional
        Where channels lie; adds an axis in metres on the right.
    """
    titled = panels.titled()
    n = len(titled)
    figure = make_subplots(
        rows=n,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.17 / n,
        specs=[[{"secondary_y": True}]] * n,
        subplot_titles=[title for _, title, _ in titled],
    )
    first, last = extent(panels.power)
    metres = metres_axis(places, panels.power.fibre, (first, last)) if places else None
    in_legend: set[str] = set()
    for row, (side, _, waterfall) in enumerate(titled, start=1):
        figure.add_trace(_heatmap(waterfall), row=row, col=1)
        for trace in _boxes(of_side(alarms, side), in_legend):
            figure.add_trace(trace, row=row, col=1)
        y = {"title": "channel", "range": [first, last], "showgrid": False, "zeroline": False}
        figure.update_yaxes(y | ({"matches": "y"} if row > 1 else {}), row=row, col=1, secondary_y=False)
        if metres:
            # An axis is drawn only where a trace uses it.
            empty = go.Scatter(x=[None], y=[None], showlegend=False, hoverinfo="skip")
            figure.add_trace(empty, row=row, col=1, secondary_y=True)
            # It follows the channels, by a script of the page: its own zoom would part them.
            y |= metres | {"fixedrange": True}
            figure.update_layout(meta={"channels": [first, last], "metres": metres["range"]})
            figure.update_yaxes(y | ({"matches": "y2"} if row > 1 else {}), row=row, col=1, secondary_y=True)
    times = panels.power.start_ns
    figure.update_xaxes(
        type="date",
        range=[times[0] / _MS, (times[-1] + panels.power.step_ns) / _MS],
        showgrid=False,
        mirror=True,
        ticks="outside",
        hoverformat="%H:%M:%S",
    )
    figure.update_xaxes(title="time (UTC)", row=n, col=1)
    figure.update_annotations(x=0, xanchor="left", font={"size": 14})
    height = _PANEL_PIXELS * n + 130
    figure.update_layout(
        coloraxis={
            "colorscale": LEVELS,
            "cmin": levels[0],
            "cmax": levels[1],
            "colorbar": {
                "title": {"text": "spreads above usual", "side": "right"},
                "thickness": 16,
                "x": 1.07 if metres else 1.02,
                "len": 1.0,
                "outlinewidth": 0,
            },
        },
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1 + 26 / height, "yanchor": "bottom"},
        margin={"l": 70, "r": 20, "t": 60, "b": 55},
        height=height,
        hoverdistance=12,
    )
    return styled(figure)


def extent(waterfall: Waterfall) -> tuple[float, float]:
    """Return the outer edges of the first and last row, in channels."""
    return float(waterfall.channels[0]) - 0.5, float(waterfall.channels[-1] + waterfall.channel_step) - 0.5


def _heatmap(waterfall: Waterfall) -> go.Heatmap:
    """Return cells placed by their centres, in ms and channels."""
    return go.Heatmap(
        z=waterfall.values,
        x0=(waterfall.start_ns[0] + waterfall.step_ns / 2) / _MS,
        dx=waterfall.step_ns / _MS,
        y0=float(waterfall.channels[0]) + (waterfall.channel_step - 1) / 2,
        dy=waterfall.channel_step,
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate="%{x|%H:%M:%S} UTC<br>channel %{y:.0f}<br>%{z:.1f} spreads above usual<extra></extra>",
    )


def _boxes(alarms: Sequence[Alarm], in_legend: set[str]) -> list[go.Scatter]:
    """Return the outline and a centre mark of the alarms, three traces for each kind of agreement."""
    traces, alarms = [], drawn(alarms)
    for agreement in AGREEMENTS:
        events = [alarm for alarm in alarms if alarm.agreement == agreement]
        if not events:
            continue
        start = np.array([alarm.start_ns for alarm in events]) / _MS
        end = np.array([alarm.end_ns for alarm in events]) / _MS
        low = np.array([alarm.first_channel for alarm in events]) - 0.5
        high = np.array([alarm.last_channel for alarm in events]) + 0.5
        gap = np.full(len(events), np.nan)
        outline = {
            "x": np.stack([start, end, end, start, start, gap], axis=1).ravel(),
            "y": np.stack([low, low, high, high, low, gap], axis=1).ravel(),
            "mode": "lines",
            "legendgroup": agreement,
            "showlegend": False,
            "hoverinfo": "skip",
        }
        # A pale line below keeps the coloured one visible on dark and on light cells.
        traces.append(go.Scatter(**outline, line={"color": "rgba(255,255,255,0.85)", "width": 3.6}))
        traces.append(go.Scatter(**outline, line={"color": COLOUR[agreement], "width": 1.8}))
        mark = {"color": COLOUR[agreement], "size": 6, "symbol": _SYMBOL[agreement]}
        traces.append(
            go.Scatter(
                x=(start + end) / 2,
                y=(low + high) / 2,
                mode="markers",
                marker=mark | {"line": {"color": "white", "width": 1.2}},
                text=[_hover(alarm) for alarm in events],
                hovertemplate="%{text}<extra></extra>",
                name=LABEL[agreement],
                legendgroup=agreement,
                showlegend=agreement not in in_legend,
            )
        )
        in_legend.add(agreement)
    return traces


def _hover(alarm: Alarm) -> Markup:
    lines = [
        Markup("<b>{}</b>, event {}").format(LABEL[alarm.agreement], alarm.event_id[:12]),
        f"{clock(alarm.start_ns)} to {clock(alarm.end_ns)} UTC",
        f"channels {alarm.first_channel} to {alarm.last_channel}",
    ]
    if alarm.score is not None:
        lines.append(f"score {alarm.score:.2f}, cluster {cluster_name(alarm.cluster)}")
        lines.append(f"as strong a km and day: {alarm.rate}")
    if alarm.contractor_class and alarm.agreement != "only_us":
        lines.append(f"contractor: {alarm.contractor_class} ({alarm.contractor_probability:.2f})")
    return Markup("<br>").join(lines)


def map_figure(points: EmbeddingMap) -> go.Figure:
    """Return the embedding map in 2-D beside 3-D, coloured by who flagged the window."""
    figure = make_subplots(
        rows=1,
        cols=2,
        specs=[[{"type": "xy"}, {"type": "scene"}]],
        horizontal_spacing=0.03,
        column_widths=[0.5, 0.5],
    )
    faint = {"color": "#c9ced6", "size": 4, "opacity": 0.55}
    _scatter(figure, points.reference, f"reference ({len(points.reference[2])})", "reference", marker=faint)
    labels = np.array(
        [
            Markup("{}, channel {}<br>{} UTC").format(fibre, channel, clock(start, "%Y-%m-%d %H:%M:%S"))
            for fibre, channel, start in zip(points.fibre, points.channel, points.start_ns, strict=True)
        ],
        object,
    )
    for code, who in sorted(enumerate(WHO), key=lambda item: DRAWN.index(item[1])):
        mask = points.who == code
        if not mask.any():
            continue
        quiet = who == "neither"
        line = {"width": 0 if quiet else 0.8, "color": "white"}
        marker = {"color": COLOUR[who], "size": 5 if quiet else 9, "symbol": _SYMBOL[who], "line": line}
        _scatter(
            figure,
            {k: xy[mask] for k, xy in points.placed.items()},
            f"{LABEL[who]} ({int(mask.sum())})",
            who,
            marker=marker,
            text=labels[mask],
            hovertemplate=f"<b>{LABEL[who]}</b><br>%{{text}}<extra></extra>",
        )
    blank = {"showticklabels": False, "ticks": "", "zeroline": False, "title": ""}
    figure.update_xaxes(blank | {"gridcolor": "#e3e6ea", "mirror": True})
    figure.update_yaxes(blank | {"gridcolor": "#e3e6ea", "mirror": True, "scaleanchor": "x", "scaleratio": 1})
    depth = blank | {"backgroundcolor": "#f6f7f9", "gridcolor": "#d5d9df", "showspikes": False}
    figure.update_scenes(
        xaxis=depth, yaxis=depth, zaxis=depth, aspectmode="cube", camera_eye={"x": 1.4, "y": 1.4, "z": 0.95}
    )
    figure.update_layout(
        height=560,
        margin={"l": 20, "r": 10, "t": 40, "b": 20},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemsizing": "constant"},
    )
    return styled(figure, plot_bgcolor="white")


def _scatter(figure: go.Figure, points: Mapping[int, np.ndarray], name: str, group: str, **style: Any) -> None:
    """Add the same points to both maps under one entry of the legend."""
    style = {"mode": "markers", "name": name, "legendgroup": group, "hoverinfo": "skip"} | style
    figure.add_trace(go.Scatter(x=points[2][:, 0], y=points[2][:, 1], **style), row=1, col=1)
    style["marker"] = style["marker"] | {"size": style["marker"]["size"] * 0.7}
    x, y, z = points[3].T
    figure.add_trace(go.Scatter3d(x=x, y=y, z=z, showlegend=False, **style), row=1, col=2)


def bins_of(scores: np.ndarray, flagged: np.ndarray, threshold: float, n: int = 80) -> tuple[np.ndarray, ...]:
    """Return counts of all windows and of the flagged ones, and edges; bins span finite scores and threshold."""
    finite = np.isfinite(scores)
    ends = np.append(scores[finite], threshold if np.isfinite(threshold) else [])
    edges = np.linspace(float(ends.min()), float(ends.max()) + 1e-6, n + 1)
    all_counts, flagged_counts = (np.histogram(scores[mask], edges)[0] for mask in (finite, finite & flagged))
    return all_counts, flagged_counts, edges


def histogram_figure(scores: np.ndarray, flagged: np.ndarray, threshold: float, budget: float) -> go.Figure:
    """Return the histogram of window scores, counts on a log scale, with the threshold as a line.

    Parameters
    ----------
    scores : numpy.ndarray
        Float array, shape (n,), at least one finite: standard deviations above usual.
    flagged : numpy.ndarray
        bool, shape (n,): `is_anomaly`.
    threshold : float
        Median over channels, in the same unit; infinite where the budget lets nothing pass.
    budget : float
        Events a kilometre and day.
    """
    *counts, edges = bins_of(scores, flagged, threshold)
    kinds = zip(counts, ("windows", "anomalies"), (QUIET, COLOUR["only_us"]), strict=True)
    figure = go.Figure(
        [
            go.Bar(
                x=(edges[:-1] + edges[1:]) / 2,
                y=heights,
                width=np.diff(edges),
                name=name,
                marker={"color": colour, "line": {"width": 0}},
                hovertemplate=f"score %{{x:.2f}}<br>%{{y}} {name}<extra></extra>",
            )
            for heights, name, colour in kinds
        ]
    )
    top = max(1.0, float(np.log10(max(counts[0].max(), 1)))) * 1.08
    if np.isfinite(threshold):
        figure.add_vline(x=threshold, opacity=1, line={"color": INK, "width": 2.2})
        figure.add_annotation(
            x=threshold,
            y=0.98,
            yref="paper",
            text=threshold_label(threshold, budget),
            showarrow=False,
            xanchor="left",
            xshift=6,
            bgcolor="rgba(255,255,255,0.9)",
            font={"size": 13},
        )
    # Room on the right for the label of a threshold that is above all scores.
    width = edges[-1] - edges[0]
    figure.update_xaxes(title=SCORE, range=[edges[0], edges[0] + width * 1.3])
    figure.update_yaxes(
        title="windows", type="log", range=[-0.3, top], dtick=1, gridcolor="#e3e6ea", exponentformat="power"
    )
    figure.update_layout(
        height=380, bargap=0, barmode="overlay", margin={"l": 70, "r": 20, "t": 15, "b": 55}, showlegend=False
    )
    return styled(figure, plot_bgcolor="white")


def threshold_label(threshold: float, budget: float) -> str:
    """Return the text beside the threshold."""
    return f"{threshold:.2f}: budget of {budget:g} a km and day"


def styled(figure: go.Figure, plot_bgcolor: str = BLANK) -> go.Figure:
    """Return the figure in the style that all reports share."""
    figure.update_layout(
        template="simple_white", font=_FONT, paper_bgcolor="white", plot_bgcolor=plot_bgcolor, hovermode="closest"
    )
    return figure
