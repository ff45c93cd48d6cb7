"""Windows as views on rows of frames."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dasanom_assets.settings import SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.resampling import area_shares

SECOND_NS = 1_000_000_000

WINDOWS_AT_ONCE = 1024
"""Rows or windows that `window_means` takes at a time."""

TOP_DB = 80.0
"""With min–max scaling, levels further below the greatest of a window are raised to this: librosa's `top_db`."""


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

    def subset(self, windows: np.ndarray) -> "WindowBank":
        """Return a bank of some of the windows, on the same rows."""
        phase = None if self.phase is None else self.phase[windows]
        return replace(self, first=self.first[windows], phase=phase)

    @property
    def _phases(self) -> np.ndarray:
        return np.zeros(len(self.first), np.int64) if self.phase is None else self.phase


def window_means(bank: WindowBank, of_frames: Callable[[np.ndarray], np.ndarray]) -> Iterator[np.ndarray]:
    """Yield means over windows of a function of each frame, shape (at most `WINDOWS_AT_ONCE`, values).

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
        for windows in _blocks(np.arange(len(bank))):
            yield np.stack([of_frames(bank.window(i)).mean(axis=0) for i in windows])


def _blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    return (values[first : first + WINDOWS_AT_ONCE] for first in range(0, len(values), WINDOWS_AT_ONCE))


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

    Examples
    --------
    >>> rows = np.zeros((10, 8, 64), np.float32)
    >>> first = np.array([0, 1, 2])
    >>> settings = WindowSettings(seconds=4, image=(20, 16))
    >>> bank = make_bank(rows, first, first * SECOND_NS, SpectrogramSettings(), settings)
    >>> len(bank), bank.window(0).shape
    (3, (20, 16))
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
    """Return the first frame whose centre is not before a second: the least k with (2k + 1)·hop ≥ 2·second.

    >>> first_frame(1, 125_000_000), first_frame(1, 256_000_000)
    (8, 4)
    """
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

    Examples
    --------
    Ten seconds of which the fifth is missing hold three windows of four seconds:

    >>> second = np.delete(np.arange(10), 4)
    >>> rows = window_rows(second * SECOND_NS, np.ones(9, bool), WindowSettings(seconds=4))
    >>> second[rows].tolist()
    [0, 5, 6]
    """
    n = settings.seconds
    if len(start_ns) < n:
        return np.empty(0, np.int64)
    last = np.arange(n - 1, len(start_ns))
    n_complete = np.concatenate([[0], np.cumsum(complete)])
    fits = (start_ns[last] - start_ns[last - n + 1] == (n - 1) * SECOND_NS) & (
        n_complete[last + 1] - n_complete[last - n + 1] == n
    )
    first = last[fits] - n + 1
    return first[start_ns[first] // SECOND_NS % settings.shift_seconds == 0].astype(np.int64)
