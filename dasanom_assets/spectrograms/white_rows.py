"""Levels measured against what is usual: an hour of a channel is unpacked and whitened where it is looked at."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.frames import ChannelFrames, row_parts
from dasanom_assets.spectrograms.usual import StretchLevel
from dasanom_assets.spectrograms.windows import SECOND_NS, WindowBank, make_bank

HOUR_NS = 3600 * SECOND_NS
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


def own_spread(levels: np.ndarray) -> float:
    """Return the spread of a channel's whitened levels, as events leave it: 1.4826 times their MAD.

    It is taken over all bands together, and stays between a half and two.

    Parameters
    ----------
    levels : numpy.ndarray
        float32, shape (n_rows, frames a second, bands): of at most `SPREAD_ROWS` rows, evenly spread over the day;
        NaN where there is no frame.
    """
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
class WhiteRows:
    """Whitened levels of a channel: a slice is unpacked and whitened, and nothing else.

    Attributes
    ----------
    frames : ChannelFrames
    levels : tuple of numpy.ndarray or None
        The channel's vectors of `background`: median and MAD. None leaves levels as they are.
    parts : tuple of int
        Classes of hours and grids that these vectors have.
    settings : BackgroundSettings
    common : StretchLevel or None
        What the channels around share.
    grid : numpy.ndarray or None
        int64, shape (n_rows,): see `reference_rows`.
    scale : float or None
        What whitened levels are multiplied by.
    """

    frames: ChannelFrames
    levels: tuple[np.ndarray, np.ndarray] | None
    parts: tuple[int, int]
    settings: BackgroundSettings
    common: StretchLevel | None
    grid: np.ndarray | None
    scale: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, frames a second, and bands."""
        return self.frames.power_db.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return some rows that follow each other, float32, shape (n, frames a second, bands), to be kept."""
        power_db = self.frames.power_db[rows]
        return self.whitened(power_db, rows, out=power_db)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or np.float32, copy=False)

    def whitened(self, power_db: np.ndarray, rows: slice, out: np.ndarray | None = None) -> np.ndarray:
        """Return levels of some rows whitened, in `out` or a new array."""
        if self.levels is None:
            return power_db
        classes, n_grids = self.parts
        start, grid = self.frames.start_ns[rows], None if self.grid is None else self.grid[rows]
        median, mad = (reference_rows(values, classes, start, n_grids, grid) for values in self.levels)
        common = self.common.of(start) if self.common else None
        white = whiten(power_db, median, mad, self.settings, common, out)
        if self.scale is not None:
            white *= self.scale
        return white


@dataclass(frozen=True)
class WhiteChannel:
    """One healthy channel of a day, measured against its background.

    Attributes
    ----------
    fibre : str
    channel : int
    start_ns : numpy.ndarray
        int64, shape (n_rows,), ns since 1970 UTC.
    rows : numpy.ndarray or WhiteRows
        float32, shape (n_rows, frames a second, bands): whitened levels.
    usable : numpy.ndarray
        bool, shape (n_rows,): see `unusable_rows`.
    unusable : dict
        Reason to bool, shape (n_rows,): which rows cannot be used for it; a row may have several.
    """

    fibre: str
    channel: int
    start_ns: np.ndarray
    rows: np.ndarray | WhiteRows
    usable: np.ndarray
    unusable: dict[str, np.ndarray]


def chosen_rows(rows: np.ndarray | WhiteRows, chosen: np.ndarray) -> np.ndarray:
    """Return some rows of a channel, of which an hour is whitened at once.

    Parameters
    ----------
    rows : numpy.ndarray or WhiteRows
    chosen : numpy.ndarray
        bool, shape (n_rows,).
    """
    out, end = np.empty((int(chosen.sum()), *rows.shape[1:]), np.float32), 0
    for part in row_parts(len(chosen)):
        n = int(chosen[part].sum())
        if n:
            out[end : end + n] = rows[part][chosen[part]]
        end += n
    return out


def hourly_banks(
    channel: WhiteChannel, first: np.ndarray, spectrogram: SpectrogramSettings, window: WindowSettings
) -> Iterator[tuple[slice, WindowBank]]:
    """Yield the windows of a channel that begin in an hour, as a bank, and their places.

    Parameters
    ----------
    channel : WhiteChannel
    first : numpy.ndarray
        int64, shape (n_windows,): see `window_rows`.
    spectrogram : SpectrogramSettings
    window : WindowSettings
    """
    start = channel.start_ns[first]
    edges = np.flatnonzero(np.diff(start // HOUR_NS, prepend=-1, append=-1)).tolist()
    for begin, end in pairwise(edges):
        rows = channel.rows[int(first[begin]) : int(first[end - 1]) + window.seconds]
        bank = make_bank(rows, first[begin:end] - first[begin], start[begin:end], spectrogram, window)
        yield slice(begin, end), bank
