"""Waterfalls: how loud each channel is at each second, and where a side raised an alarm.

What belongs here turns tables into matrices of channel × time. Tables meet by time and channel only: a cell
without a row is NaN, and rows are never counted off against each other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.comparison.pyramid import power_codes, z_of_code
from dasanom_assets.comparison.their_alarms import RowsOf
from dasanom_assets.recordings.of_day import extent
from dasanom_assets.spectrograms.frames import DayFrames
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.store import Store

MAX_SECONDS = 1000
MAX_CHANNELS, LEAST_CHANNELS = 200, 40
"""Cells of a picture, at most: about what a screen shows of it, and 1 MB a waterfall in the page."""
_STEPS = (1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 300, 600)
"""Columns that become one, so that a cell covers a time that people count in."""


@dataclass(frozen=True)
class Waterfall:
    """Levels of one fibre, channel × time.

    Attributes
    ----------
    fibre : str
    channels : numpy.ndarray
        int32, shape (n_channels,): first absolute channel number of each row, ascending.
    start_ns : numpy.ndarray
        int64, shape (n_times,): start of each column, ns since 1970 UTC, evenly spaced.
    values : numpy.ndarray
        float32, shape (n_channels, n_times): robust spreads above usual; NaN where there is nothing to show.
    channel_step : int
        Channels a row stands for.
    step_ns : int
        Time a column stands for, ns.
    """

    fibre: str
    channels: np.ndarray
    start_ns: np.ndarray
    values: np.ndarray
    channel_step: int = 1
    step_ns: int = SECOND_NS


@dataclass(frozen=True)
class Panels:
    """The waterfalls of one fibre, on the same cells, small enough to draw (see `day_panels`).

    Attributes
    ----------
    power, us : Waterfall
        All levels, and those that we flag.
    contractor : Waterfall or None
        Those that the contractor flags; None on a day without the contractor's files.
    """

    power: Waterfall
    us: Waterfall
    contractor: Waterfall | None = None

    def titled(self) -> list[tuple[str, str, Waterfall]]:
        """Return side, title and waterfall of each panel, in the order in which they are read."""
        panels = [("all", "Power", self.power)]
        if self.contractor is not None:
            panels.append(("contractor", "Where the contractor raises an alarm", self.contractor))
        return [*panels, ("us", "Where we raise an alarm", self.us)]


def day_panels(
    store: Store,
    day: str,
    ours: RowsOf,
    theirs: RowsOf | None,
    max_channels: int = MAX_CHANNELS,
    max_seconds: int = MAX_SECONDS,
) -> list[Panels]:
    """Return the waterfalls of each fibre, small enough to draw; one channel at a time is in memory in full.

    A fibre has columns from its first second to its last, and rows are evenly spaced in channel number. A cell
    shows the loudest of what it covers: the maximum, unlike the mean, keeps a short alarm on few channels visible
    in the picture of a whole day.

    Parameters
    ----------
    store : Store
        Must hold `waterfalls` of the day, whose power it is, and the footer of its `spectrograms`.
    day : str
        ISO day.
    ours, theirs : callable
        Return `fibre`, `channel`, `start`, `end` of the stretches that a side flags on a channel, half-open; None
        on a day without the contractor's files.
    max_channels, max_seconds : int
        Rows of all fibres together, of which each has `LEAST_CHANNELS`, and columns, at most.

    Raises
    ------
    MissingDayError
        Where a table lacks the day.
    """
    sides = [side for side in (ours, theirs) if side is not None]
    extents = DayFrames(store, day).extents()
    rows = max(min(LEAST_CHANNELS, max_channels), max_channels // max(1, len(extents)))
    midnight = extent(day)[0] // SECOND_NS
    grids = {fibre: _Grid(fibre, *ends, 1 + len(sides), rows, midnight) for fibre, ends in extents.items()}
    for fibre, channel, codes in power_codes(store, day):
        power = grids[fibre].row(channel, z_of_code(codes))
        flagged = (masked(power, side(fibre, channel)) for side in sides)
        grids[fibre].add([shrink(waterfall, 1, max_seconds) for waterfall in (power, *flagged)])
    panels = (grid.waterfalls() for grid in grids.values())
    return [Panels(power, us, next(iter(rest), None)) for power, us, *rest in panels]


class _Grid:
    """The waterfalls of one fibre, filled channel by channel."""

    def __init__(
        self,
        fibre: str,
        channels: tuple[int, int],
        seconds: tuple[int, int],
        n: int,
        max_channels: int,
        midnight: int,
    ) -> None:
        self._fibre, (self._first, last), (second, end) = fibre, channels, seconds
        self._of_day = slice(second - midnight, end - midnight)
        self._step = -(-(last - self._first + 1) // max_channels)
        self._start_ns = np.arange(second, end) * SECOND_NS
        self._values: np.ndarray | None = None
        self._shape, self._shrunk = (n, (last - self._first) // self._step + 1), (self._start_ns, SECOND_NS)

    def row(self, channel: int, level: np.ndarray) -> Waterfall:
        """Return one channel, by its levels of the day's seconds: a column for each second of the fibre."""
        return Waterfall(self._fibre, np.array([channel], np.int32), self._start_ns, level[None, self._of_day])

    def add(self, panels: list[Waterfall]) -> None:
        """Add a channel's waterfalls, as narrow as they are drawn."""
        power = panels[0]
        if self._values is None:
            self._values = np.full((*self._shape, len(power.start_ns)), np.nan, np.float32)
            self._shrunk = power.start_ns, power.step_ns
        place = (int(power.channels[0]) - self._first) // self._step
        cells = np.stack([panel.values[0] for panel in panels])
        self._values[:, place] = np.fmax(self._values[:, place], cells)

    def waterfalls(self) -> list[Waterfall]:
        """Return what was added, as one waterfall each."""
        assert self._values is not None
        start_ns, step_ns = self._shrunk
        channels = (self._first + np.arange(self._values.shape[1]) * self._step).astype(np.int32)
        return [Waterfall(self._fibre, channels, start_ns, v, self._step, step_ns) for v in self._values]


def masked(waterfall: Waterfall, rows: pa.Table) -> Waterfall:
    """Return the waterfall with every cell that no row touches set to NaN.

    Parameters
    ----------
    waterfall : Waterfall
        One column a second.
    rows : pyarrow.Table
        `fibre`, `channel`, `start`, `end`: the stretches a side flags, half-open. Rows of other fibres, channels
        and times are left out.
    """
    flagged = rows.filter(pc.equal(rows["fibre"], waterfall.fibre))
    n = len(waterfall.start_ns)
    channel = flagged["channel"].to_numpy()
    start, end = (flagged[name].cast(pa.int64()).to_numpy() - waterfall.start_ns[0] for name in ("start", "end"))
    first = np.clip(start // SECOND_NS, 0, n)
    last = np.clip(-(-end // SECOND_NS), 0, n)
    inside = np.isin(channel, waterfall.channels) & (first < last)
    order = np.flatnonzero(inside)[np.argsort(channel[inside], kind="stable")]
    values = np.full_like(waterfall.values, np.nan)
    names, begins = np.unique(channel[order], return_index=True)
    # One channel at a time: the counts of a long day would take more room than the waterfall itself.
    for index, stretches in zip(
        np.searchsorted(waterfall.channels, names), np.split(order, begins[1:]) if len(names) else [], strict=True
    ):
        opened = np.bincount(first[stretches], minlength=n + 1) - np.bincount(last[stretches], minlength=n + 1)
        shown = np.cumsum(opened[:n]) > 0
        values[index, shown] = waterfall.values[index, shown]
    return replace(waterfall, values=values)


def shrink(waterfall: Waterfall, max_channels: int = MAX_CHANNELS, max_seconds: int = MAX_SECONDS) -> Waterfall:
    """Return the waterfall as a regular grid small enough to draw; a cell shows the loudest of what it covers.

    The maximum, unlike the mean, keeps a short alarm on few channels visible in the picture of a whole day.

    Parameters
    ----------
    waterfall : Waterfall
    max_channels, max_seconds : int
        Rows and columns, at most.

    Returns
    -------
    Waterfall
        Rows are evenly spaced in channel number from the first to the last; channels that do not exist are NaN.
    """
    needed = -(-len(waterfall.start_ns) // max_seconds)
    step = next((step for step in _STEPS if step >= needed), needed)
    values = np.fmax.reduceat(waterfall.values, np.arange(0, len(waterfall.start_ns), step), axis=1)
    first, last = int(waterfall.channels[0]), int(waterfall.channels[-1])
    channel_step = -(-(last - first + 1) // max_channels)
    row, begins = np.unique((waterfall.channels - first) // channel_step, return_index=True)
    grid = np.full(((last - first) // channel_step + 1, values.shape[1]), np.nan, np.float32)
    grid[row] = np.fmax.reduceat(values, begins, axis=0)
    channels = (first + np.arange(len(grid)) * channel_step).astype(np.int32)
    start_ns = waterfall.start_ns[::step]
    return Waterfall(
        waterfall.fibre, channels, start_ns, grid, channel_step * waterfall.channel_step, step * waterfall.step_ns
    )


def colour_range(waterfalls: Iterable[Waterfall]) -> tuple[float, float]:
    """Return the levels at the ends of the colour scale that all `waterfalls` share, spreads, whole numbers.

    They are the 1 % and 99.8 % quantiles over all cells, at least 6 apart; 0 and 6 where there is no cell.
    """
    finite = [w.values[np.isfinite(w.values)] for w in waterfalls]
    levels = np.concatenate([*finite, np.empty(0, np.float32)])
    if not len(levels):
        return 0.0, 6.0
    low, high = np.quantile(levels, [0.01, 0.998])
    return float(np.floor(low)), float(max(np.ceil(high), np.floor(low) + 6.0))
