"""Windows as views on rows of frames, and the whitening that makes channels comparable."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings, WindowSettings
from dasanom_assets.tables.parquet import group_keys
from dasanom_assets.tables.schemas import stack
from dasanom_assets.tables.store import Store

SECOND_NS = 1_000_000_000

BAD_STATES = ("dead", "saturated")
"""States of `channel_health` whose channels are neither learned from nor scored."""

SPREAD_ROWS = 600
"""Seconds of a day that the spread of a channel is taken from, evenly spread over it."""

BLOCK = 1024
"""Rows or windows that `window_means` takes at a time."""

TOP_DB = 80.0
"""With min–max scaling, levels further below the greatest of a window are raised to this: librosa's `top_db`."""


@dataclass(frozen=True)
class ChannelFrames:
    """The frames of one channel on one day.

    Attributes
    ----------
    fibre : str
    channel : int
        Absolute channel number.
    start_ns : numpy.ndarray
        int64, shape (n_rows,): start of each one-second row, ns since 1970 UTC, ascending.
    power_db : numpy.ndarray
        float32, shape (n_rows, frames a second, bands); NaN where a frame is missing.
    """

    fibre: str
    channel: int
    start_ns: np.ndarray
    power_db: np.ndarray


@dataclass(frozen=True)
class Imaging:
    """How the frames of a window become the image that a network sees; see `WindowSettings`.

    Attributes
    ----------
    time : numpy.ndarray or None
        float32, shape (phases, image frames, frames): shares of each frame in each row of the image, for each
        place that the frame grid can have in a window. None: frames as they are.
    bands : numpy.ndarray or None
        float32, shape (image bands, bands).
    minmax : bool
        Whether each window is scaled from its least to its greatest level.
    """

    time: np.ndarray | None
    bands: np.ndarray | None
    minmax: bool

    def image(self, frames: np.ndarray, phase: int) -> np.ndarray:
        """Return the image of a window's frames, shape (frames, bands)."""
        x = np.maximum(frames, frames.max() - TOP_DB) if self.minmax else frames
        if self.time is not None and self.bands is not None:
            x = self.time[phase] @ x @ self.bands.T
        if self.minmax:
            x = x - x.min()
            x /= max(x.max(), np.finfo(np.float32).tiny)
        return x


@dataclass(frozen=True)
class WindowBank:
    """Many windows that share their rows: window ``i`` is ``rows[first[i] : first[i] + rows_per_window]``.

    Attributes
    ----------
    rows : numpy.ndarray
        float32, shape (n_rows, frames a second, bands): whitened frames, or levels for min–max scaling.
    first : numpy.ndarray
        int64, shape (n_windows,): first row of each window.
    rows_per_window : int
    imaging : Imaging or None
        None where windows are taken as they are.
    phase : numpy.ndarray or None
        int64, shape (n_windows,): which of the imaging's phases each window has.
    levels : tuple of float or None
        The least and the greatest value that a window can have, where they are known.
    """

    rows: np.ndarray
    first: np.ndarray
    rows_per_window: int
    imaging: Imaging | None = None
    phase: np.ndarray | None = None
    levels: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.first)

    @property
    def window_shape(self) -> tuple[int, int]:
        """Frames and bands of one window, as a network sees it."""
        if self.imaging is not None and self.imaging.time is not None and self.imaging.bands is not None:
            return self.imaging.time.shape[1], self.imaging.bands.shape[0]
        return self.rows_per_window * self.rows.shape[1], self.rows.shape[2]

    def window(self, i: int) -> np.ndarray:
        """Return window `i`, shape (frames, bands): a view, unless it is resampled or scaled."""
        rows = self.rows[self.first[i] : self.first[i] + self.rows_per_window]
        frames = rows.reshape(-1, rows.shape[2])
        return frames if self.imaging is None else self.imaging.image(frames, int(self._phases[i]))

    def subset(self, some: np.ndarray) -> "WindowBank":
        """Return a bank of some of the windows, on the same rows."""
        phase = None if self.phase is None else self.phase[some]
        return replace(self, first=self.first[some], phase=phase)

    @property
    def _phases(self) -> np.ndarray:
        return np.zeros(len(self.first), np.int64) if self.phase is None else self.phase


def window_means(bank: WindowBank, of_frames: Callable[[np.ndarray], np.ndarray]) -> Iterator[np.ndarray]:
    """Yield means over the frames of windows of a function of each frame, shape (at most `BLOCK`, values).

    Windows share rows, so that what a row adds is computed once.

    Parameters
    ----------
    bank : WindowBank
    of_frames : callable
        Maps frames, shape (..., bands), to numbers, shape (..., values).
    """
    if not len(bank):
        return
    if bank.imaging is None:
        of_row = np.concatenate([of_frames(rows).mean(axis=-2) for rows in _blocks(bank.rows)])
        for first in _blocks(bank.first):
            yield of_row[first[:, None] + np.arange(bank.rows_per_window)].mean(axis=1)
    else:
        for some in _blocks(np.arange(len(bank))):
            yield np.stack([of_frames(bank.window(i)).mean(axis=0) for i in some])


def _blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    return (values[at : at + BLOCK] for at in range(0, len(values), BLOCK))


def make_bank(
    rows: np.ndarray,
    first: np.ndarray,
    start_ns: np.ndarray,
    spectrogram: SpectrogramSettings,
    window: WindowSettings,
) -> WindowBank:
    """Return a bank whose windows are resampled and scaled as the settings say.

    Parameters
    ----------
    rows : numpy.ndarray
        float32, shape (n_rows, frames a second, bands): see `white_day`. Places of a row that hold no frame of the
        grid are NaN; they are overwritten where `rows` can be.
    first : numpy.ndarray
        int64, shape (n_windows,).
    start_ns : numpy.ndarray
        int64, shape (n_windows,): start of each window, ns since 1970 UTC.
    spectrogram : SpectrogramSettings
    window : WindowSettings
    """
    minmax = window.scaling == "minmax"
    if window.image is None and not minmax:
        return WindowBank(rows, first, window.seconds)
    # What is not there takes no part: it has no share in an image, and no window's least level is its.
    missing = -np.inf if minmax else 0.0
    rows = np.nan_to_num(rows, copy=not rows.flags.writeable, nan=missing, neginf=-np.inf)
    if window.image is None:
        return WindowBank(rows, first, window.seconds, Imaging(None, None, minmax))
    period = spectrogram.hop_ns // math.gcd(spectrogram.hop_ns, SECOND_NS)
    phases, phase = np.unique(start_ns // SECOND_NS % period, return_inverse=True)
    time = [_time_shares(int(second), spectrogram, window.seconds, window.image[0]) for second in phases]
    out, n = window.image[1], spectrogram.row_shape[1]
    bands = area_shares(np.arange(n), np.arange(1, n + 1), np.linspace(0, n, out + 1))
    empty = np.empty((0, window.image[0], window.seconds * rows.shape[1]), np.float32)
    shares = np.stack(time) if time else empty
    return WindowBank(rows, first, window.seconds, Imaging(shares, bands, minmax), phase)


def area_shares(low: np.ndarray, high: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the share of each cell in each pixel: pixels times cells is resampling true to area.

    Parameters
    ----------
    low, high : numpy.ndarray
        Shape (cells,): extent of each cell.
    edges : numpy.ndarray
        Shape (pixels + 1,), ascending.

    Returns
    -------
    numpy.ndarray
        float32, shape (pixels, cells); each row sums to 1.
    """
    shared = np.minimum(high, edges[1:, None]) - np.maximum(low, edges[:-1, None])
    shared = np.maximum(shared, 0)
    return (shared / shared.sum(axis=1, keepdims=True)).astype(np.float32)


def _time_shares(second: int, settings: SpectrogramSettings, seconds: int, pixels: int) -> np.ndarray:
    """Return the shares of frames in the rows of an image of a window that starts at `second`.

    A frame stands for one hop around its centre; the first and the last reach to the window's ends.
    """
    hop, slots = settings.hop_ns, settings.row_shape[0]
    of_row = second + np.arange(seconds)
    k = first_frame(of_row, hop)[:, None] + np.arange(slots)
    there = k < first_frame(of_row + 1, hop)[:, None]
    k, there = k.ravel(), there.ravel()
    low, high = ((k + side) * hop / SECOND_NS - second for side in (0, 1))
    low[np.flatnonzero(there)[0]], high[np.flatnonzero(there)[-1]] = 0, seconds
    high[~there] = low[~there]
    return area_shares(low, high, np.linspace(0, seconds, pixels + 1))


def first_frame(second: Any, hop_ns: int) -> Any:
    """Return the first frame whose centre is not before a second: the least k with (2k + 1)·hop ≥ 2·second."""
    return (2 * second * SECOND_NS + hop_ns - 1) // (2 * hop_ns)


def frames_there(start_ns: np.ndarray, settings: SpectrogramSettings) -> np.ndarray | None:
    """Return which places of each row hold a frame of the grid, bool, shape (n_rows, frames a second).

    None where all do, which is so wherever the hop divides a second.
    """
    if SECOND_NS % settings.hop_ns == 0:
        return None
    second = start_ns // SECOND_NS
    frames = first_frame(second + 1, settings.hop_ns) - first_frame(second, settings.hop_ns)
    return np.arange(settings.row_shape[0]) < frames[:, None]


def frames_of(table: pa.Table, metadata: dict[str, Any]) -> list[ChannelFrames]:
    """Split rows of `spectrograms` into channels; `metadata` is that of the table's day."""
    shape = SpectrogramSettings(**metadata["settings"]).row_shape
    if not table.num_rows:
        return []
    fibre = table["fibre"].combine_chunks().dictionary_encode()
    codes, names = fibre.indices.to_numpy(zero_copy_only=False), fibre.dictionary.to_pylist()
    channel = table["channel"].to_numpy()
    start = table["start"].cast(pa.int64()).to_numpy()
    power = stack(table["power_db"]).reshape(-1, *shape)
    if (codes == codes[0]).all() and (channel == channel[0]).all() and (np.diff(start) > 0).all():
        return [ChannelFrames(names[codes[0]], int(channel[0]), start, power)]
    order = np.lexsort((start, channel, codes))
    border = np.flatnonzero(np.diff(codes[order]) | np.diff(channel[order])) + 1
    return [
        ChannelFrames(names[codes[rows[0]]], int(channel[rows[0]]), start[rows], power[rows])
        for rows in np.split(order, border)
    ]


def day_frames(
    store: Store, day: str, wanted: Callable[[str, int], bool] | None = None
) -> Iterator[ChannelFrames]:
    """Yield the channels of a day of `spectrograms`, one at a time, in bounded memory.

    Rows of one channel may lie in several row groups; rows of one row group belong to one channel.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    wanted : callable, optional
        Says of a fibre and channel whether it is read; all are by default.

    Raises
    ------
    MissingDayError
        Where the day has no spectrograms.
    """
    with store.open_day("spectrograms", day) as file:
        metadata = store.metadata_of(file)
        groups: dict[tuple[str, int], list[int]] = {}
        for group, key in enumerate(group_keys(file.metadata)):
            if key is not None and (wanted is None or wanted(*key)):
                groups.setdefault(key, []).append(group)
        for key in sorted(groups):
            yield from frames_of(file.read_row_groups(groups[key]), metadata)


def channel_rows(store: Store, day: str, fibre: str, channel: int) -> ChannelFrames:
    """Return the frames of one channel; an hour of them is one contiguous read.

    Raises
    ------
    MissingDayError
        Where the day has no spectrograms.
    LookupError
        Where it lacks the channel.
    """
    for frames in day_frames(store, day, lambda *key: key == (fibre, channel)):
        return frames
    raise LookupError(f"spectrograms of {day} have no channel {channel} of fibre {fibre}")


def window_rows(start_ns: np.ndarray, complete: np.ndarray, settings: WindowSettings) -> np.ndarray:
    """Return the first row of every window whose rows are complete and follow each other second by second.

    Parameters
    ----------
    start_ns : numpy.ndarray
        int64, shape (n_rows,), ascending.
    complete : numpy.ndarray
        bool, shape (n_rows,): whether the row may be part of a window.
    settings : WindowSettings

    Returns
    -------
    numpy.ndarray
        int64, shape (n_windows,). Windows start on multiples of the shift since 1970, so that those of
        different channels, files and days line up.
    """
    n = settings.seconds
    if len(start_ns) < n:
        return np.empty(0, np.int64)
    last = np.arange(n - 1, len(start_ns))
    whole = np.concatenate([[0], np.cumsum(complete)])
    fits = (start_ns[last] - start_ns[last - n + 1] == (n - 1) * SECOND_NS) & (
        whole[last + 1] - whole[last - n + 1] == n
    )
    first = last[fits] - n + 1
    return first[start_ns[first] // SECOND_NS % settings.shift_seconds == 0].astype(np.int64)


def whiten(
    power_db: np.ndarray,
    median_db: np.ndarray,
    mad_db: np.ndarray,
    settings: BackgroundSettings,
    common: np.ndarray | None = None,
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

    Returns
    -------
    numpy.ndarray
        float32, shape of `power_db`; NaN stays NaN.
    """
    scale = (1.0 / (1.4826 * mad_db + settings.scale_floor_db)).astype(np.float32)
    white = (power_db - median_db) * scale
    if common is not None:
        white -= common
    return np.clip(white, settings.clip_low, settings.clip_high, out=white)


def own_spread(rows: np.ndarray) -> float:
    """Return the spread of a channel's whitened levels, as events leave it: 1.4826 times their MAD.

    It is taken over all bands together, of at most `SPREAD_ROWS` rows, and stays between a half and two.

    Parameters
    ----------
    rows : numpy.ndarray
        float32, shape (n_rows, frames a second, bands), at least one row, NaN where there is no frame.
    """
    some = rows[:: -(-len(rows) // SPREAD_ROWS)]
    with np.errstate(invalid="ignore"):
        spread = 1.4826 * np.nanmedian(np.abs(some - np.nanmedian(some)))
    return float(np.clip(spread, 0.5, 2.0)) if np.isfinite(spread) else 1.0


def reference_rows(values: np.ndarray, hour_classes: int, start_ns: np.ndarray) -> np.ndarray:
    """Return what a channel's rows are measured against.

    Parameters
    ----------
    values : numpy.ndarray
        float32, shape (hour_classes × bands,): a vector of `background`, class by class.
    hour_classes : int
        Equal parts of the UTC day.
    start_ns : numpy.ndarray
        int64, shape (n_rows,), ns since 1970 UTC.

    Returns
    -------
    numpy.ndarray
        float32, shape (bands,) for one class, otherwise (n_rows, 1, bands).
    """
    if hour_classes == 1:
        return values
    of_row = start_ns // SECOND_NS % 86_400 * hour_classes // 86_400
    return values.reshape(hour_classes, -1)[of_row][:, None]


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


class CommonLevels:
    """What the channels of a stretch share on a day, one stretch in memory at a time.

    Parameters
    ----------
    store : Store
        Must hold `common_levels` of the day.
    day : str
        ISO day.
    """

    def __init__(self, store: Store, day: str) -> None:
        self._store, self._day = store, day
        self._last: tuple[str, int, int] | None = None
        columns = ["fibre", "first_channel", "last_channel"]
        self._stretches = [
            (group, rows.slice(0, 1).to_pylist()[0].values())
            for group, rows in enumerate(store.iter_day("common_levels", day, columns))
            if rows.num_rows
        ]

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
                    with self._store.open_day("common_levels", self._day) as file:
                        rows = file.read_row_group(group, ["start", "level"])
                    self._start = rows["start"].cast(pa.int64()).to_numpy()
                    self._level = stack(rows["level"])
                    self._last = (name, first, last)
                out = np.zeros((len(start_ns), 1, self._level.shape[1]), np.float32)
                at = np.minimum(np.searchsorted(self._start, start_ns), len(self._start) - 1)
                there = self._start[at] == start_ns
                out[there, 0] = self._level[at[there]]
                return out
        return np.zeros((1, 1, 1), np.float32)


def white_day(
    store: Store,
    day: str,
    settings: BackgroundSettings,
    window: WindowSettings,
    wanted: Callable[[str, int], bool] | None = None,
    *,
    bad: bool = False,
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
    wanted : callable, optional
        Says of a fibre and channel whether it is read; all are by default.
    bad : bool
        Whether to yield the others too, without a usable row.

    Raises
    ------
    MissingDayError
        Where `spectrograms`, `background`, `channel_health` or, unless ``common_channels`` is 0,
        `common_levels` lack the day.
    """
    spectrogram = SpectrogramSettings(**store.metadata("spectrograms", day)["settings"])
    states = row_states(store, day, spectrogram)
    healthy = {key for key, state in states.items() if state not in BAD_STATES}
    clipped = _ClippedSeconds(store, day, spectrogram.group_channels)
    usual = store.read_day("background", day)
    classes = store.metadata("background", day).get("hour_classes", 1)
    common = CommonLevels(store, day) if settings.common_channels and window.scaling == "background" else None
    keys = zip(usual["fibre"].to_pylist(), usual["channel"].to_pylist(), strict=True)
    levels = dict(zip(keys, zip(stack(usual["median_db"]), stack(usual["mad_db"]), strict=True), strict=True))

    def taken(fibre: str, channel: int) -> bool:
        key = (fibre, channel)
        return (bad or key in healthy) and key in levels and (wanted is None or wanted(*key))

    for frames in day_frames(store, day, taken):
        key, start, rows = (frames.fibre, frames.channel), frames.start_ns, frames.power_db
        unusable = unusable_rows(rows, frames_there(start, spectrogram))
        unusable["clipped"] = clipped.of(*key, start)
        if key not in healthy:
            unusable = {states.get(key, BAD_STATES[0]): np.ones(len(start), bool)}
        usable = ~np.any(list(unusable.values()), axis=0)
        if window.scaling == "background":
            median, mad = (reference_rows(values, classes, start) for values in levels[key])
            rows = whiten(rows, median, mad, settings, common.of(*key, start) if common else None)
            if settings.own_spread and usable.any():
                rows *= 1 / own_spread(rows[usable])
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
        self._of: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for key, *ends in zip(zip(rows["fibre"].to_pylist(), channel, strict=True), start, end, strict=True):
            self._of.setdefault(key, []).append((ends[0], ends[1]))

    def of(self, fibre: str, channel: int, start_ns: np.ndarray) -> np.ndarray:
        """Return whether each row, which begins at a whole second, holds clipped samples."""
        out = np.zeros(len(start_ns), bool)
        for start, end in self._of.get((fibre, channel), ()):
            out[slice(*np.searchsorted(start_ns, [start - SECOND_NS + 1, end]))] = True
        return out
