"""The whitening that makes channels comparable, and which of their seconds can be used."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dasanom_assets.recordings.measured import BAD_STATES
from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.frames import DayFrames
from dasanom_assets.spectrograms.grids import DayGrids
from dasanom_assets.spectrograms.usual import CommonLevels, Usual, stretches_of
from dasanom_assets.spectrograms.windows import SECOND_NS, frames_there
from dasanom_assets.tables.schemas import stack
from dasanom_assets.tables.store import Store

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
    levels = levels[np.isfinite(levels)]
    if not len(levels):
        return 1.0
    return float(np.clip(1.4826 * _median(np.abs(levels - _median(levels))), 0.5, 2.0))


def _median(values: np.ndarray) -> np.floating:
    """Return what `numpy.median` does of finite values, shape (n,), in a tenth of the time.

    It looks for three places at once, which NumPy cannot do with a processor's wide instructions.
    """
    middle = len(values) // 2
    parted = np.partition(values, middle)
    upper = parted[middle : middle + 1]
    return np.mean(upper if len(values) % 2 else np.append(parted[:middle].max(), upper))


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


def white_day(
    store: Store,
    day: str,
    settings: BackgroundSettings,
    window: WindowSettings,
    select: Callable[[str, int], bool] | None = None,
    *,
    against: Usual | None = None,
) -> Iterator[WhiteChannel]:
    """Yield the channels of a day that `channel_health` does not call dead or saturated, whitened.

    Parameters and exceptions are those of `WhiteDay`; `select` says of a fibre and channel whether it is read, and
    all are by default.
    """
    plan = WhiteDay(store, day, settings, window, against=against)
    yield from plan.channels([key for key in plan.keys if select is None or select(*key)])


class WhiteDay:
    """What the channels of a day are whitened by: read once, to whiten any of them, here or on another machine.

    A group of channels takes part as long as one of them is neither dead nor saturated. Seconds that
    `clipped_seconds` names cannot be used. With min–max scaling, levels stay as they are.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    settings : BackgroundSettings
    window : WindowSettings
    bad : bool
        Whether dead and saturated channels take part, too, without a usable row.
    against : Usual, optional
        Instead of the day's `background` and `common_levels`.

    Raises
    ------
    MissingDayError
        Where `spectrograms`, `background`, `channel_health` or, unless ``common_channels`` is 0,
        `common_levels` lack the day.
    """

    def __init__(
        self,
        store: Store,
        day: str,
        settings: BackgroundSettings,
        window: WindowSettings,
        *,
        bad: bool = False,
        against: Usual | None = None,
    ) -> None:
        self._store, self._day, self._settings, self._window, self._against = store, day, settings, window, against
        self.frames = DayFrames(store, day)
        self.spectrogram, self._grids = self.frames.spectrogram, DayGrids(self.frames.note)
        self._states = row_states(store, day, self.spectrogram)
        self._clipped = _ClippedSeconds(store, day, self.spectrogram.group_channels)
        if against is None:
            usual = store.read_day("background", day)
            note = store.metadata("background", day)
            self._parts = note.get("hour_classes", 1), note.get("n_grids", 1)
        else:
            usual, self._parts = against.levels, (against.hour_classes, against.n_grids)
        takes_off = settings.common_channels and window.scaling == "background"
        self._stretches = stretches_of(store, day, against) if takes_off else None
        keys = zip(usual["fibre"].to_pylist(), usual["channel"].to_pylist(), strict=True)
        vectors = zip(stack(usual["median_db"]), stack(usual["mad_db"]), strict=True)
        self._levels = dict(zip(keys, vectors, strict=True))
        self.keys = [key for key in self.frames.keys if key in self._levels and (bad or self._healthy(key))]
        """Fibre and channel of those that take part, sorted."""

    def _healthy(self, key: tuple[str, int]) -> bool:
        return self._states.get(key, BAD_STATES[0]) not in BAD_STATES

    def channels(self, keys: Iterable[tuple[str, int]]) -> Iterator[WhiteChannel]:
        """Yield some of the channels in `keys`, one in memory at a time."""
        common = None
        if self._stretches is not None:
            common = CommonLevels(self._store, self._day, self._stretches, self._against)
        settings = self._settings
        for frames in self.frames.channels(keys):
            key, start, rows = (frames.fibre, frames.channel), frames.start_ns, frames.power_db
            unusable = unusable_rows(rows, frames_there(start, self.spectrogram))
            unusable |= self._clipped.of(*key, start)
            grid = self._grids.of_rows(*key, start) if self._grids.most > 1 else None
            if grid is not None:  # no window holds bands of two grids
                unusable["incomplete"] |= np.diff(grid, prepend=grid[:1]) != 0
            if not self._healthy(key):
                unusable = {self._states.get(key, BAD_STATES[0]): np.ones(len(start), bool)}
            usable = ~np.any(list(unusable.values()), axis=0)
            if self._window.scaling == "background":
                classes, n_grids = self._parts
                median, mad = (
                    reference_rows(values, classes, start, n_grids, grid) for values in self._levels[key]
                )
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
