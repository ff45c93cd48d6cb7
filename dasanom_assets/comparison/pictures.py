"""Still pictures of a day: the overview beside the report, and thumbnails for the Dagster UI."""

import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dasanom_assets.comparison.alarms import AGREEMENTS, Alarm, drawn, of_side
from dasanom_assets.comparison.figures import EmbeddingMap, bins_of, extent, threshold_label
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
from dasanom_assets.comparison.waterfall import Panels, Waterfall, shrink
from dasanom_assets.tables.metadata import thumbnail

_MARKER = {"both": "D", "only_us": "o", "only_contractor": "s", "neither": "o"}


def overview_png(
    title: str,
    panels: Sequence[Panels],
    alarms: Sequence[Alarm],
    levels: tuple[float, float],
    points: EmbeddingMap | None,
    scores: np.ndarray,
    flagged: np.ndarray,
    threshold: float,
    budget: float,
) -> bytes:
    """Return a day in one picture of 1600 × 1100 pixels: waterfalls, map, histogram and counts.

    Parameters are those of the report; of more than two fibres, the two with the most alarms are drawn.
    """
    figure = Figure(figsize=(16, 11), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=16, color=INK, x=0.01, ha="left")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.9, 1])[0]
    shown = _busiest(panels, alarms, 2)
    if shown:
        axes = left.subplots(len(shown[0].titled()), len(shown), squeeze=False, sharex="col")
        for column, fibre_panels in zip(axes.T, shown, strict=True):
            fibre = fibre_panels.power.fibre
            events = [alarm for alarm in alarms if alarm.fibre == fibre]
            for ax, (side, name, waterfall) in zip(column, fibre_panels.titled(), strict=True):
                image = _draw_waterfall(ax, waterfall, of_side(events, side), levels)
                _title(ax, fibre, name, 12)
            column[-1].set_xlabel("time (UTC)")
        for ax in axes[:, 0]:
            ax.set_ylabel("channel")
        left.colorbar(
            image, ax=axes, label="spreads above usual", shrink=0.5, extend="both", location="bottom", aspect=50
        )
    else:
        _words(left.subplots(), "No waterfall: the day has no spectrograms.")
    top, middle, bottom = right.subplots(3, 1, height_ratios=[2.1, 1.3, 0.7])
    if points is None:
        _words(top, "No window could be placed on a map.")
    else:
        _draw_map(top, points)
        top.legend(
            loc="upper center", bbox_to_anchor=(0.5, 0), ncol=2, frameon=False, fontsize=11, markerscale=1.4
        )
    if np.isfinite(scores).any():
        _draw_histogram(middle, scores, flagged, threshold, budget)
    else:
        _words(middle, "No scored windows, so no histogram.")
    _draw_counts(bottom, alarms, panels)
    return _png(figure)


def waterfall_thumbnail(panels: Sequence[Panels], alarms: Sequence[Alarm], levels: tuple[float, float]) -> bytes:
    """Return the waterfalls of the fibre with the most alarms as a small PNG.

    Parameters
    ----------
    panels : sequence of Panels
        One a fibre.
    alarms : sequence of Alarm
    levels : tuple of float
        Ends of the colour scale, spreads; see `waterfall.colour_range`.

    Examples
    --------
    Ten minutes on 40 channels, and a knock on channels 110 to 113 that we have flagged:

    >>> import numpy as np
    >>> from dasanom_assets.comparison.waterfall import SECOND_NS, Panels, Waterfall, colour_range
    >>> db = np.random.default_rng(0).normal(0, 1, (40, 600)).astype(np.float32)
    >>> db[10:14, 300:320] += 9
    >>> power = Waterfall("north", np.arange(100, 140), np.arange(600) * SECOND_NS, db)
    >>> flagged = Waterfall("north", power.channels, power.start_ns, np.where(db > 6, db, np.nan))
    >>> knock = Alarm("us", "north", "knock", 300 * SECOND_NS, 320 * SECOND_NS, 110, 113, "only_us", None, None)
    >>> png = waterfall_thumbnail([Panels(power, flagged)], [knock], colour_range([power]))
    >>> len(png) < 30_000
    True

    ``Path("waterfall.png").write_bytes(png)`` keeps it.
    """
    figure = Figure(figsize=(6.4, 4.2), dpi=100, layout="constrained")
    if not panels:
        _words(figure.subplots(), "No spectrograms on this day.")
        return thumbnail(figure)
    busiest = _busiest(panels, alarms, 1)[0]
    fibre = busiest.power.fibre
    events = [alarm for alarm in alarms if alarm.fibre == fibre]
    axes = figure.subplots(len(busiest.titled()), 1, sharex=True)
    for ax, (side, name, waterfall) in zip(axes, busiest.titled(), strict=True):
        # Fewer cells than pixels: the file stays small, and every cell can be seen.
        image = _draw_waterfall(ax, shrink(waterfall, 40, 160), of_side(events, side), levels)
        _title(ax, fibre, name, 9)
        ax.tick_params(labelsize=8)
        ax.set_ylabel("channel", fontsize=8)
    figure.colorbar(image, ax=axes, extend="both").set_label("spreads above usual", fontsize=8)
    return thumbnail(figure)


def map_thumbnail(points: EmbeddingMap) -> bytes:
    """Return the map in two dimensions as a small PNG."""
    figure = Figure(figsize=(5.2, 4.2), dpi=100, layout="constrained")
    ax = figure.subplots()
    _draw_map(ax, points)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9, markerscale=1.4)
    return thumbnail(figure)


def _busiest(panels: Sequence[Panels], alarms: Sequence[Alarm], n: int) -> list[Panels]:
    count = Counter(alarm.fibre for alarm in alarms)
    return sorted(panels, key=lambda fibre_panels: -count[fibre_panels.power.fibre])[:n]


def _title(ax: Axes, fibre: str, name: str, size: int) -> None:
    """Write which panel of which fibre this is; names may hold what Matplotlib takes for TeX."""
    ax.set_title(f"{fibre}: {name[0].lower()}{name[1:]}", loc="left", fontsize=size, parse_math=False)


def _draw_waterfall(ax: Axes, waterfall: Waterfall, alarms: Sequence[Alarm], levels: tuple[float, float]) -> Any:
    first, last = extent(waterfall)
    start, end = waterfall.start_ns[0], waterfall.start_ns[-1] + waterfall.step_ns
    ax.set_facecolor(BLANK)
    image = ax.imshow(
        waterfall.values,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=LEVELS,
        vmin=levels[0],
        vmax=levels[1],
        extent=(_days(start), _days(end), first, last),
    )
    for alarm in drawn(alarms):
        begin = _days(alarm.start_ns)
        corner, size = (begin, alarm.first_channel - 0.5), alarm.last_channel - alarm.first_channel + 1
        for colour, width in (("white", 3.4), (COLOUR[alarm.agreement], 1.7)):
            box = Rectangle(corner, _days(alarm.end_ns) - begin, size, fill=False, ec=colour, lw=width)
            ax.add_patch(box)
    locator = AutoDateLocator(minticks=5, maxticks=10)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    return image


def _days(ns: int) -> float:
    """Return Matplotlib's date, days since 1970."""
    return ns / 86_400e9


def _draw_map(ax: Axes, points: EmbeddingMap) -> None:
    x, y = points.reference[2].T
    ax.scatter(x, y, s=5, c="#ccd1d8", lw=0, label=f"reference ({len(x)})")
    for who in DRAWN:
        x, y = points.placed[2][points.who == WHO.index(who)].T
        if len(x):
            size, rim = (7, 0.0) if who == "neither" else (30, 0.5)
            label = f"{LABEL[who]} ({len(x)})"
            ax.scatter(x, y, s=size, c=COLOUR[who], marker=_MARKER[who], lw=rim, ec="white", label=label)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_title("Windows on the map", loc="left", fontsize=12)


def _draw_histogram(ax: Axes, scores: np.ndarray, flagged: np.ndarray, threshold: float, budget: float) -> None:
    *counts, edges = bins_of(scores, flagged, threshold)
    for heights, colour in zip(counts, (QUIET, COLOUR["only_us"]), strict=True):
        ax.bar(edges[:-1], heights, np.diff(edges), align="edge", color=colour)
    if np.isfinite(threshold):
        ax.axvline(threshold, color=INK, lw=1.8, label=threshold_label(threshold, budget))
        ax.legend(fontsize=11, loc="upper right", framealpha=0.95, edgecolor="none")
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.5)
    ax.set_xlabel(SCORE)
    ax.set_ylabel("windows")
    ax.set_title("Scores; anomalies in blue", loc="left", fontsize=12)


def _draw_counts(ax: Axes, alarms: Sequence[Alarm], panels: Sequence[Panels]) -> None:
    ax.set_title("Events", loc="left", fontsize=12)
    one_sided = all(fibre_panels.contractor is None for fibre_panels in panels)
    kinds = ["only_us"] if one_sided else list(AGREEMENTS)
    count = Counter(alarm.agreement for alarm in of_side(alarms, "all"))
    values = [count[kind] for kind in kinds]
    bars = ax.barh(kinds, values, color=[COLOUR[kind] for kind in kinds], height=0.6)
    ax.bar_label(bars, padding=4, fontsize=12)
    ax.set_yticks(kinds, ["us"] if one_sided else [LABEL[kind] for kind in kinds], fontsize=12)
    ax.invert_yaxis()
    ax.set_xlim(0, max([*values, 1]) * 1.15)
    ax.set_xticks([])
    ax.spines[["top", "right", "bottom"]].set_visible(False)


def _words(ax: Axes, text: str) -> None:
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=13, color=INK, transform=ax.transAxes)


def _png(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png")
    return sink.getvalue()
