"""The whitening that makes channels comparable, and which of their seconds can be used.

It is one file of more than 350 lines: both are told from the same rows in one pass over a channel.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.grids import DayGrids
from dasanom_assets.spectrograms.windows import SECOND_NS, day_frames, frames_there
from dasanom_assets.tables.schemas import stack
from dasanom_assets.tables.store import Store

BAD_STATES = ("dead", "saturated")
"""States of `channel_health` whose channels are neither learned from nor scored."""

SPREAD_ROWS = 600
"""Seconds of a day that the spread of a channel is taken from, evenly spread over it."""


def whiten(
    power_db: np.ndarray,
    median_db: np.ndarray,
    mad_db: np.ndarray,
    settings: BackgroundSettings,
    common: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Measure levels against what is usual: ``(dB − median) / (1.4826·MAD + s0) − common``, clipped.

    Parameters
    ----------
    power_db : numpy.ndarray
        float32, shape (..., bands).
    median_db, mad_db : numpy.ndarray
        float32, shape (bands,), or as `reference_rows` gives them.
    settings : BackgroundSettings
    common : numpy.ndarray, optional
        float32, shape (n_rows, 1, bands): what the channels around share; see `common_level`.
    out : numpy.ndarray, optional
        Where the result goes; `power_db` itself may be.

    Returns
    -------
    numpy.ndarray
        float32, shape of `power_db`; NaN stays NaN.

    Examples
    --------
    Two frames of a channel whose usual level is −10 dB in one band and 0 dB in the other, give or take 3 dB:

    >>> power_db = np.float32([[-10, 0], [-10, 12]])
    >>> print(whiten(power_db, np.float32([-10, 0]), np.float32([3, 3]), BackgroundSettings()).round(1))
    [[0.  0. ]
     [0.  2.4]]
    """
    scale = (1.0 / (1.4826 * mad_db + settings.scale_floor_db)).astype(np.float32)
    white = np.subtract(power_db, median_db, out=out)
    white *= scale
    if common is not None:
        white -= common
    return np.clip(white, settings.clip_low, settings.clip_high, out=white)


def own_spread(rows: np.ndarray, usable: np.ndarray) -> float:
    """Return the spread of a channel's whitened levels, as events leave it: 1.4826 times their MAD.

    It is taken over all bands together, of at most `SPREAD_ROWS` rows, and stays between a half and two.

    Parameters
    ----------
    rows : numpy.ndarray
        float32, shape (n_rows, frames a second, bands), NaN where there is no frame.
    usable : numpy.ndarray
        bool, shape (n_rows,), with at least one row: those that count.
    """
    row = np.flatnonzero(usable)
    levels = rows[row[:: -(-len(row) // SPREAD_ROWS)]]
    with np.errstate(invalid="ignore"):
        spread = 1.4826 * np.nanmedian(np.abs(levels - np.nanmedian(levels)))
    return float(np.clip(spread, 0.5, 2.0)) if np.isfinite(spread) else 1.0


def reference_rows(
    values: np.ndarray,
    hour_classes: int,
    start_ns: np.ndarray,
    n_grids: int = 1,
    grid: np.ndarray | None = None,
) -> np.ndarray:
    """Return what a channel's rows are measured against.

    Parameters
    ----------
    values : numpy.ndarray
        float32, shape (n_grids × hour_classes × bands,): a vector of `background`, grid by grid, class by class.
    hour_classes : int
        Equal parts of the UTC day.
    start_ns : numpy.ndarray
        int64, shape (n_rows,), ns since 1970 UTC.
    n_grids : int
        Of the fibre that has most; see `grids`.
    grid : numpy.ndarray, optional
        int64, shape (n_rows,): that of each row; needed where there are several.

    Returns
    -------
    numpy.ndarray
        float32, shape (bands,) for one class and grid, otherwise (n_rows, 1, bands).
    """
    if hour_classes * n_grids == 1:
        return values
    of_row = start_ns // SECOND_NS % 86_400 * hour_classes // 86_400
    if grid is not None:
        of_row = grid * hour_classes + of_row
    return values.reshape(n_grids * hour_classes, -1)[of_row][:, None]


def unusable_rows(power_db: np.ndarray, there: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return which rows cannot be part of a window: a frame is missing, or it is silent.

    A silent second, all of whose levels are equal, is a dead channel and not a quiet one.

    Parameters
    ----------
    power_db : numpy.ndarray
        float32, shape (n_rows, frames a second, bands).
    there : numpy.ndarray, optional
        See `frames_there`.

    Returns
    -------
    dict
        ``incomplete`` and ``silent``, bool, shape (n_rows,).
    """
    if there is not None:  # what the grid leaves out counts neither way
        power_db = np.where(there[..., None], power_db, power_db[:, :1])
    low, high = power_db.min(axis=(1, 2)), power_db.max(axis=(1, 2))  # NaN where a frame is missing
    return {"incomplete": ~np.isfinite(low), "silent": low == high}


@dataclass(frozen=True)
class WhiteChannel:
    """One healthy channel of a day, measured against its background.

    Attributes
    ----------
    fibre : str
    channel : int
    start_ns : numpy.ndarray
        int64, shape (n_rows,), ns since 1970 UTC.
    rows : numpy.ndarray
        float32, shape (n_rows, frames a second, bands): whitened levels.
    usable : numpy.ndarray
        bool, shape (n_rows,): see `unusable_rows`.
    unusable : dict
        Reason to bool, shape (n_rows,): which rows cannot be used for it; a row may have several.
    """

    fibre: str
    channel: int
    start_ns: np.ndarray
    rows: np.ndarray
    usable: np.ndarray
    unusable: dict[str, np.ndarray]


@dataclass(frozen=True)
class Usual:
    """What a day is measured against, in place of what its tables say.

    Attributes
    ----------
    levels : pyarrow.Table
        Rows of `background`.
    hour_classes : int
        Parts of the day that these have.
    n_grids : int
        Grids of bands that these have.
    common : sequence of pyarrow.Table
        Rows of `common_levels`, one table a stretch.
    """

    levels: pa.Table
    hour_classes: int
    common: Sequence[pa.Table] = ()
    n_grids: int = 1


class CommonLevels:
    """What the channels of a stretch share on a day, one stretch in memory at a time.

    Parameters
    ----------
    store : Store
        Must hold `common_levels` of the day, unless it is told otherwise.
    day : str
        ISO day.
    against : Usual, optional
        Holds the levels instead.
    """

    def __init__(self, store: Store, day: str, against: Usual | None = None) -> None:
        self._store, self._day, self._against = store, day, against
        self._last: tuple[str, int, int] | None = None
        columns = ["fibre", "first_channel", "last_channel"]
        tables = store.iter_day("common_levels", day, columns) if against is None else against.common
        self._stretches = [
            (group, rows.select(columns).slice(0, 1).to_pylist()[0].values())
            for group, rows in enumerate(tables)
            if rows.num_rows
        ]

    def _rows(self, group: int) -> pa.Table:
        if self._against is not None:
            return self._against.common[group]
        with self._store.open_day("common_levels", self._day) as file:
            return file.read_row_group(group, ["start", "level"])

    def of(self, fibre: str, channel: int, start_ns: np.ndarray) -> np.ndarray:
        """Return the level of the stretch that a channel lies in, 0 where it has none.

        Parameters
        ----------
        fibre : str
        channel : int
        start_ns : numpy.ndarray
            int64, shape (n_rows,), ns since 1970 UTC: whole seconds.

        Returns
        -------
        numpy.ndarray
            float32, shape (n_rows, 1, bands), or (1, 1, 1) where there is nothing to take off.
        """
        for group, (name, first, last) in self._stretches:
            if name == fibre and first <= channel <= last:
                if self._last != (name, first, last):
                    rows = self._rows(group)
                    self._start = rows["start"].cast(pa.int64()).to_numpy()
                    self._level = stack(rows["level"])
                    self._last = (name, first, last)
                out = np.zeros((len(start_ns), 1, self._level.shape[1]), np.float32)
                row = np.minimum(np.searchsorted(self._start, start_ns), len(self._start) - 1)
                there = self._start[row] == start_ns
                out[there, 0] = self._level[row[there]]
                return out
        return np.zeros((1, 1, 1), np.float32)


def white_day(
    store: Store,
    day: str,
    settings: BackgroundSettings,
    window: WindowSettings,
    select: Callable[[str, int], bool] | None = None,
    *,
    bad: bool = False,
    against: Usual | None = None,
) -> Iterator[WhiteChannel]:
    """Yield the channels of a day that `channel_health` does not call dead or saturated, whitened.

    A group of channels takes part as long as one of them is neither. Seconds that `clipped_seconds` names cannot
    be used. With min–max scaling, levels stay as they
    are.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    settings : BackgroundSettings
    window : WindowSettings
    select : callable, optional
        Says of a fibre and channel whether it is read; all are by default.
    bad : bool
        Whether to yield the others too, without a usable row.
    against : Usual, optional
        Instead of the day's `background` and `common_levels`.

    Raises
    ------
    MissingDayError
        Where `spectrograms`, `background`, `channel_health` or, unless ``common_channels`` is 0,
        `common_levels` lack the day.
    """
    metadata = store.metadata("spectrograms", day)
    spectrogram, grids = SpectrogramSettings(**metadata["settings"]), DayGrids(metadata)
    states = row_states(store, day, spectrogram)
    healthy = {key for key, state in states.items() if state not in BAD_STATES}
    clipped = _ClippedSeconds(store, day, spectrogram.group_channels)
    if against is None:
        usual = store.read_day("background", day)
        note = store.metadata("background", day)
        classes, n_grids = note.get("hour_classes", 1), note.get("n_grids", 1)
    else:
        usual, classes, n_grids = against.levels, against.hour_classes, against.n_grids
    takes_off = settings.common_channels and window.scaling == "background"
    common = CommonLevels(store, day, against) if takes_off else None
    keys = zip(usual["fibre"].to_pylist(), usual["channel"].to_pylist(), strict=True)
    levels = dict(zip(keys, zip(stack(usual["median_db"]), stack(usual["mad_db"]), strict=True), strict=True))

    def taken(fibre: str, channel: int) -> bool:
        key = (fibre, channel)
        return (bad or key in healthy) and key in levels and (select is None or select(*key))

    for frames in day_frames(store, day, taken):
        key, start, rows = (frames.fibre, frames.channel), frames.start_ns, frames.power_db
        unusable = unusable_rows(rows, frames_there(start, spectrogram))
        unusable |= clipped.of(*key, start)
        grid = grids.of_rows(*key, start) if grids.most > 1 else None
        if grid is not None:  # no window holds bands of two grids
            unusable["incomplete"] |= np.diff(grid, prepend=grid[:1]) != 0
        if key not in healthy:
            unusable = {states.get(key, BAD_STATES[0]): np.ones(len(start), bool)}
        usable = ~np.any(list(unusable.values()), axis=0)
        if window.scaling == "background":
            median, mad = (reference_rows(values, classes, start, n_grids, grid) for values in levels[key])
            rows = whiten(rows, median, mad, settings, common.of(*key, start) if common else None, out=rows)
            if settings.own_spread and usable.any():
                rows *= 1 / own_spread(rows, usable)
        yield WhiteChannel(*key, start, rows, usable, unusable)


def healthy_rows(store: Store, day: str, spectrogram: SpectrogramSettings) -> set[tuple[str, int]]:
    """Return fibre and channel of the rows of `spectrograms` whose channels are not all dead or saturated."""
    return {key for key, state in row_states(store, day, spectrogram).items() if state not in BAD_STATES}


def row_states(store: Store, day: str, spectrogram: SpectrogramSettings) -> dict[tuple[str, int], str]:
    """Return the state of the rows of `spectrograms`: of a group of channels, the state of the best of them."""
    health = store.read_day("channel_health", day, ["fibre", "channel", "state"]).to_pydict()
    size = spectrogram.group_channels
    states: dict[tuple[str, int], str] = {}
    for fibre, channel, state in zip(health["fibre"], health["channel"], health["state"], strict=True):
        key = (fibre, channel // size * size)
        if states.get(key, BAD_STATES[0]) in BAD_STATES:
            states[key] = state
    return states


class _ClippedSeconds:
    """Which seconds of a day are clipped, by channel or group of channels."""

    def __init__(self, store: Store, day: str, size: int) -> None:
        rows = store.read_day("clipped_seconds", day)
        start, end = (rows[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
        channel = (rows["channel"].to_numpy() // size * size).tolist()
        self._of: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
        keys = zip(rows["fibre"].to_pylist(), channel, strict=True)
        for key, *second in zip(keys, start, end, rows["reason"].to_pylist(), strict=True):
            self._of.setdefault(key, []).append((second[0], second[1], second[2] or "clipped"))

    def of(self, fibre: str, channel: int, start_ns: np.ndarray) -> dict[str, np.ndarray]:
        """Return by reason whether each row, which begins at a whole second, holds clipped or stuck samples."""
        out = {reason: np.zeros(len(start_ns), bool) for reason in ("clipped", "stuck")}
        for start, end, reason in self._of.get((fibre, channel), ()):
            out[reason][slice(*np.searchsorted(start_ns, [start - SECOND_NS + 1, end]))] = True
        return out
