"""Pictures of temporal dissimilarity for the Dagster UI and reports."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dasanom_assets.detection.minutes.gaussians import divergence
from dasanom_assets.detection.minutes.segments import cosine_basis
from dasanom_assets.detection.minutes.terms import (
    TABLE,
    TERMS,
    History,
    StoredSegments,
    needed_days,
    standing_out,
)
from dasanom_assets.settings import Settings, SpectrogramSettings
from dasanom_assets.tables.groups import group_keys
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")  # Okabe and Ito
SAYS = {
    "previous": "segment before",
    "daily": "same time, last days",
    "weekly": "same weekday or type",
    "neighbours": "neighbours, less usual",
}


def day_terms(store: Store, day: str, settings: Settings) -> Figure | None:
    """Draw the terms of one channel over a day, and the levels of the segment that stands out most: why it does.

    Parameters
    ----------
    store : Store
        Must hold `segment_models` and `temporal_terms` of the day.
    day : str
        ISO day.
    settings : Settings

    Returns
    -------
    matplotlib.figure.Figure or None
        9 × 6 inches; None where no segment has a term.
    """
    if (segment := standing_out(store, day)) is None:
        return None
    fibre, channel, start = segment
    rows = _of_channel(store, day, fibre, channel)
    clock = rows["start"].to_numpy()
    shown = int(np.flatnonzero(clock == np.datetime64(start, "s"))[0])
    figure = Figure(figsize=(9, 6), dpi=72, layout="constrained")
    grid = figure.add_gridspec(len(TERMS), 2, width_ratios=(5, 3))
    lines = [figure.add_subplot(grid[i, 0]) for i in range(len(TERMS))]
    for axes, name, colour in zip(lines, TERMS, COLOURS, strict=True):
        values = rows[name].to_numpy()
        axes.axvline(clock[shown], color="#B8B8B8", linewidth=4)
        axes.plot(clock, values, color=colour, linewidth=1, marker="." if len(clock) < 100 else "")
        title = f"{SAYS[name]}: no history"
        if np.isfinite(values).any():
            title = f"{SAYS[name]}: {values[shown]:.2g}, median {np.nanmedian(values):.2g}"
            axes.set_ylim(min(0.0, 1.1 * float(np.nanmin(values))), 1.1 * float(np.nanmax(values)) + 0.01)
        axes.set_title(title, fontsize=10, loc="left")
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.spines[["top", "right"]].set_visible(False)
        axes.sharex(lines[0])
        axes.tick_params(labelbottom=name == TERMS[-1])
    lines[-1].xaxis.set_major_locator(locator := AutoDateLocator(minticks=3, maxticks=6))
    lines[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    lines[-1].set_xlabel("UTC")
    figure.supylabel("divergence (nat)", fontsize=10)
    _levels(figure.add_subplot(grid[:, 1]), store, day, (fibre, channel), start, settings)
    moment = datetime.fromtimestamp(start, UTC)
    figure.suptitle(
        f"{fibre}, channel {channel}: the segment of {moment:%Y-%m-%d %H:%M:%S} stands out most",
        fontsize=11,
        parse_math=False,
    )
    return figure


def _of_channel(store: Store, day: str, fibre: str, channel: int) -> pa.Table:
    with store.open_day(TABLE, day) as file:
        return file.read_row_group(group_keys(file.metadata).index((fibre, channel)), SCHEMAS[TABLE].names[2:])


def _levels(axes: Axes, store: Store, day: str, key: tuple[str, int], start: int, settings: Settings) -> None:
    """Draw the mean levels of a segment, of the one before, and of the most alike at that time on earlier days."""
    temporal = settings.temporal
    spectrogram = SpectrogramSettings(**store.metadata("spectrograms", day)["settings"])
    (today,) = StoredSegments(store, day).of([key])
    assert today is not None
    segment = today[today.start == start]
    before = today[today.start == start - temporal.segment_seconds]
    days = needed_days(store, day, temporal)
    past = [history for d in days for history in StoredSegments(store, d).of([key]) if history is not None]
    slack = temporal.slack_segments * temporal.shift_seconds
    earlier = History.joined([today[:0], *past])
    earlier = earlier[np.abs((earlier.start - start + 43_200) % 86_400 - 43_200) <= slack]
    if len(earlier.start):
        nearest = int(np.nanargmin(divergence(segment.models, earlier.models)))
        earlier = earlier[nearest : nearest + 1]
    basis = cosine_basis(spectrogram.row_shape[1], temporal.dimensions)
    _level(axes, segment, basis, "segment", "#D55E00")
    _level(axes, before, basis, "the one before", "#0072B2")
    alike = f"most alike, {datetime.fromtimestamp(earlier.start[0], UTC):%d %b}" if len(earlier.start) else ""
    _level(axes, earlier, basis, alike, "#E69F00")
    axes.set(xlabel="level (spreads above usual)", ylabel="band")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="best")


def _level(axes: Axes, segment: History, basis: np.ndarray, name: str, colour: str) -> None:
    for means in segment.models.means:
        axes.plot(means @ basis, np.arange(1, basis.shape[1] + 1), color=colour, label=name)
