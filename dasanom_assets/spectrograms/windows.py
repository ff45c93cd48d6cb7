"""Windows as views on rows of frames, and the whitening that makes channels comparable."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.settings import BackgroundSettings, WindowSettings
from dasanom_assets.tables.schemas import stack
from dasanom_assets.tables.store import Store

SECOND_NS = 1_000_000_000

BAD_STATES = ("dead", "saturated")
"""States of `channel_health` whose channels are neither learned from nor scored."""


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
class WindowBank:
    """Many windows that share their rows: window ``i`` is ``rows[first[i] : first[i] + rows_per_window]``.

    Attributes
    ----------
    rows : numpy.ndarray
        float32, shape (n_rows, frames a second, bands): whitened frames.
    first : numpy.ndarray
        int64, shape (n_windows,): first row of each window.
    rows_per_window : int
    """

    rows: np.ndarray
    first: np.ndarray
    rows_per_window: int

    def __len__(self) -> int:
        return len(self.first)

    @property
    def window_shape(self) -> tuple[int, int]:
        """Frames and bands of one window."""
        return self.rows_per_window * self.rows.shape[1], self.rows.shape[2]

    def window(self, i: int) -> np.ndarray:
        """Return window `i`, a view of shape (frames, bands)."""
        rows = self.rows[self.first[i] : self.first[i] + self.rows_per_window]
        return rows.reshape(self.window_shape)


def frames_of(table: pa.Table, metadata: dict[str, Any]) -> list[ChannelFrames]:
    """Split rows of `spectrograms` into channels; `metadata` is that of the table's day."""
    frames, bands = metadata["settings"]["frames_per_second"], metadata["settings"]["bands"]
    if not table.num_rows:
        return []
    fibre = table["fibre"].combine_chunks().dictionary_encode()
    codes, names = fibre.indices.to_numpy(zero_copy_only=False), fibre.dictionary.to_pylist()
    channel = table["channel"].to_numpy()
    start = table["start"].cast(pa.int64()).to_numpy()
    power = stack(table["power_db"]).reshape(-1, frames, bands)
    order = np.lexsort((start, channel, codes))
    border = np.flatnonzero(np.diff(codes[order]) | np.diff(channel[order])) + 1
    return [
        ChannelFrames(names[codes[rows[0]]], int(channel[rows[0]]), start[rows], power[rows])
        for rows in np.split(order, border)
    ]


def day_frames(store: Store, day: str) -> Iterator[ChannelFrames]:
    """Yield the channels of a day of `spectrograms`, one at a time, in bounded memory.

    Rows of one channel may lie in several row groups; rows of one row group belong to one channel.

    Raises
    ------
    MissingDayError
        Where the day has no spectrograms.
    """
    metadata = store.metadata("spectrograms", day)
    with store.open_day("spectrograms", day) as file:
        groups: dict[tuple[str, int], list[int]] = {}
        for group in range(file.num_row_groups):
            if file.metadata.row_group(group).num_rows:
                head = next(file.iter_batches(1, row_groups=[group], columns=["fibre", "channel"]))
                groups.setdefault((head["fibre"][0].as_py(), head["channel"][0].as_py()), []).append(group)
        for key in sorted(groups):
            yield from frames_of(file.read_row_groups(groups[key]), metadata)


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
    power_db: np.ndarray, median_db: np.ndarray, mad_db: np.ndarray, settings: BackgroundSettings
) -> np.ndarray:
    """Measure levels against what is usual: ``(dB − median) / (1.4826·MAD + s0)``, clipped.

    Parameters
    ----------
    power_db : numpy.ndarray
        float32, shape (..., bands).
    median_db, mad_db : numpy.ndarray
        float32, shape (bands,): a row of `background`.
    settings : BackgroundSettings

    Returns
    -------
    numpy.ndarray
        float32, shape of `power_db`; NaN stays NaN.
    """
    scale = (1.0 / (1.4826 * mad_db + settings.scale_floor_db)).astype(np.float32)
    white = (power_db - median_db) * scale
    return np.clip(white, settings.clip_low, settings.clip_high, out=white)


def usable_rows(power_db: np.ndarray) -> np.ndarray:
    """Whether each row may be part of a window: no frame is missing, and it is not silent.

    A silent second, all of whose levels are equal, is a dead channel and not a quiet one.

    Parameters
    ----------
    power_db : numpy.ndarray
        float32, shape (n_rows, frames a second, bands).

    Returns
    -------
    numpy.ndarray
        bool, shape (n_rows,).
    """
    low, high = power_db.min(axis=(1, 2)), power_db.max(axis=(1, 2))  # NaN where a frame is missing
    return np.isfinite(low) & (high > low)


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
        bool, shape (n_rows,): see `usable_rows`.
    """

    fibre: str
    channel: int
    start_ns: np.ndarray
    rows: np.ndarray
    usable: np.ndarray


def white_day(store: Store, day: str, settings: BackgroundSettings) -> Iterator[WhiteChannel]:
    """Yield the channels of a day that `channel_health` does not call dead or saturated, whitened.

    Raises
    ------
    MissingDayError
        Where `spectrograms`, `background` or `channel_health` lack the day.
    """
    health = store.read_day("channel_health", day, ["fibre", "channel", "state"]).to_pydict()
    rows = zip(health["fibre"], health["channel"], health["state"], strict=True)
    healthy = {(fibre, channel) for fibre, channel, state in rows if state not in BAD_STATES}
    usual = store.read_day("background", day)
    keys = zip(usual["fibre"].to_pylist(), usual["channel"].to_pylist(), strict=True)
    levels = dict(zip(keys, zip(stack(usual["median_db"]), stack(usual["mad_db"]), strict=True), strict=True))
    for frames in day_frames(store, day):
        key = (frames.fibre, frames.channel)
        if key in healthy and key in levels:
            white = whiten(frames.power_db, *levels[key], settings)
            yield WhiteChannel(*key, frames.start_ns, white, usable_rows(frames.power_db))
