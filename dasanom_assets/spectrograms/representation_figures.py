"""The figure of `representations`: an event and a quiet stretch in every representation, side by side."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from dasanom_assets.spectrograms.representations import Comparison, Representation
from dasanom_assets.spectrograms.resampling import area_shares
from dasanom_assets.spectrograms.stretch_choice import Choice
from dasanom_assets.spectrograms.windows import SECOND_NS, first_frame
from dasanom_assets.tables.metadata import thumbnail

SHADES = ("magma", "gray")
"""Colour maps, even to the eye: colour, and grey as a network sees it."""

CELLS = 256
"""Cells a side of a panel, at most, which is what paper shows; more are means of neighbours."""
THUMBNAIL_CELLS = 40
"""The same for the thumbnail, where noise costs bytes."""


def clock(second: int, pattern: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return seconds since 1970 as text, UTC."""
    return datetime.fromtimestamp(second, UTC).strftime(pattern)


def figure_png(comparison: Comparison) -> bytes:
    """Return the figure in colour and grey as PNG, for a page of 11 × 8 inches at 200 dots an inch."""
    sink = io.BytesIO()
    draw(comparison, SHADES, (11, 8), 200, CELLS).savefig(sink, format="png")
    return sink.getvalue()


def thumbnail_png(comparison: Comparison) -> bytes:
    """Return the colour half of the figure as a small PNG, for the Dagster UI."""
    return thumbnail(draw(comparison, SHADES[:1], (8.4, 3.8), 96, THUMBNAIL_CELLS))


def draw(
    comparison: Comparison, shades: Sequence[str], inches: tuple[float, float], dpi: int, cells: int
) -> Figure:
    """Draw a column a representation, and for each shade a row for the event and one for the quiet stretch.

    All levels in dB share one scale of colours; the coefficients of mfcc have another.

    Parameters
    ----------
    comparison : Comparison
    shades : sequence of str
        Colour maps.
    inches : tuple of float
        Width and height.
    dpi : int
    cells : int
        Cells a side that panels are averaged to where they have more.
    """
    choice, shown = comparison.choice, comparison.shown
    figure = Figure(figsize=inches, dpi=dpi, layout="constrained")
    figure.suptitle(
        f"{choice.fibre}, channel {choice.channel}: event from {clock(choice.event)} UTC, "
        f"quiet stretch from {clock(choice.quiet)} UTC",
        fontsize=10,
    )
    figure.supxlabel("time from the start of the stretch (s)", fontsize=9)
    grid = figure.subplots(2 * len(shades), len(shown), sharex=True, sharey="col", squeeze=False)
    mfcc = np.array([_is_mfcc(representation) for representation in shown])
    for above, below, shade in zip(grid[::2], grid[1::2], shades, strict=True):
        for mask, label in ((~mfcc, f"dB re {_squared(comparison.unit)}/Hz"), (mfcc, "MFCC (dB)")):
            columns = np.flatnonzero(mask)
            low, high = limits([shown[i] for i in columns])
            for i in columns:
                for axes, name in ((above[i], "event"), (below[i], "quiet")):
                    image = _panel(axes, shown[i], name, choice, cells)
                    image.set(cmap=shade, clim=(low, high))
            # The gap is a share of the columns' width.
            bar = figure.colorbar(
                image, ax=[*above[mask], *below[mask]], extend="both", aspect=30, pad=0.05 / len(columns)
            )
            bar.set_label(label, fontsize=9)
            bar.ax.tick_params(labelsize=8)
        above[0].set_ylabel("event\nfrequency (Hz)", fontsize=9)
        below[0].set_ylabel("quiet stretch\nfrequency (Hz)", fontsize=9)
    for axes, representation in zip(grid[0], shown, strict=True):
        axes.set_title(representation.name, fontsize=9)
    return figure


def _panel(axes: Axes, representation: Representation, name: str, choice: Choice, cells: int) -> AxesImage:
    """Draw the stretch `name`; frames lie where they are in time, bands one above the other."""
    levels = drawn(representation, getattr(representation, name))
    hop, start = representation.settings.hop_ns, getattr(choice, name)
    left = first_frame(start, hop) * hop / SECOND_NS - start
    extent = (left, left + len(levels) * hop / SECOND_NS, 0, levels.shape[1])
    image = axes.imshow(
        _means(_means(levels, cells).T, cells),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=extent,
    )
    seconds = np.linspace(0, choice.seconds, 3)
    axes.set_xlim(0, choice.seconds)
    axes.set_xticks(seconds, [f"{second:g}" for second in seconds])
    axes.set_yticks(*_ticks(representation))
    axes.tick_params(labelsize=8)
    if _is_mfcc(representation):
        axes.set_ylabel("coefficient", fontsize=9)
    return image


def _is_mfcc(representation: Representation) -> bool:
    return representation.settings.representation == "mfcc"


def drawn(representation: Representation, levels: np.ndarray) -> np.ndarray:
    """Return what is drawn of levels, shape (frames, bands).

    Of mfcc that is all but the first coefficient: it is the mean level, and many times larger than the others.
    """
    return levels[:, 1:] if _is_mfcc(representation) else levels


def limits(shown: Sequence[Representation]) -> tuple[float, float]:
    """Return the ends of a scale that all levels of both stretches share, but for the rarest of each kind."""
    ends = [np.percentile(np.concatenate([drawn(r, r.event), drawn(r, r.quiet)]), [2, 99.5]) for r in shown]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _ticks(representation: Representation) -> tuple[np.ndarray, list[str]]:
    """Return places on the axis of bands, each of which is 1 high, and the frequencies or coefficients there."""
    hz = representation.centre_hz
    if _is_mfcc(representation):
        number = np.arange(1, representation.settings.coefficients, 3)
        return number - 0.5, [str(n) for n in number]
    if representation.settings.representation == "third_octave":
        round_hz = np.outer(10.0 ** np.arange(-1, 6), [1, 2, 5]).ravel()
    else:
        round_hz = np.asarray(MaxNLocator(5).tick_values(hz[0], hz[-1]))
    round_hz = round_hz[(round_hz > hz[0] * 0.99) & (round_hz < hz[-1] * 1.01)]
    return np.interp(round_hz, hz, np.arange(len(hz)) + 0.5), [f"{value:g}" for value in round_hz]


def _means(levels: np.ndarray, cells: int) -> np.ndarray:
    """Return means of neighbours along the first axis, so that at most `cells` remain."""
    n = len(levels)
    if n <= cells:
        return levels
    return area_shares(np.arange(n), np.arange(1, n + 1), np.linspace(0, n, cells + 1)) @ levels


def _squared(unit: str) -> str:
    """Return the square of a unit as text; DASCore writes units with a factor of 1."""
    unit = unit.removeprefix("1.0 ").removeprefix("1 ")
    return f"({unit})²" if " " in unit or "/" in unit else f"{unit}²"
