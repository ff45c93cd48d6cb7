"""Levels of a window pooled over its frames: soft maxima, and ranked means, means and deviations."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numba import njit

from dasanom_assets.settings import ReferenceSettings
from dasanom_assets.spectrograms.windows import WINDOWS_AT_ONCE, WindowBank, window_means


def soft_maxima(bank: WindowBank, recipe: ReferenceSettings) -> Iterator[np.ndarray]:
    """Yield soft maxima over the frames of windows, float32, shape (at most `WINDOWS_AT_ONCE`, bands).

    ``log(mean(exp(s·level))) / s``, with ``s`` the recipe's `sharpness`: a stroke of a pickaxe counts beside
    seconds of quiet. In a band as narrow as a bin of the transform, whose spread is 5.8 dB, 1.3 is about the mean
    power.
    """
    sharpness = np.float32(recipe.sharpness)
    for means in window_means(bank, lambda levels: np.exp(sharpness * levels)):
        yield np.log(means) / sharpness


def ranked_levels(bank: WindowBank, recipe: ReferenceSettings, *, deviations: bool = True) -> Iterator[np.ndarray]:
    """Yield ranked means, means and deviations over frames, shape (at most `WINDOWS_AT_ONCE` windows, 3 × bands).

    The ranked mean weights a frame by ``decay^rank``, the greatest level of a band first (global weighted ranked
    pooling: Kolesnikov and Lampert 2016). Deviations are standard deviations; without `deviations` they are left
    out.
    """
    frames = bank.window_shape[0]
    weight = (recipe.rank_decay ** np.arange(frames)).astype(np.float32)
    weight /= weight.sum()
    for begin in range(0, len(bank), WINDOWS_AT_ONCE):
        first = bank.first[begin : begin + WINDOWS_AT_ONCE]
        rows, n_rows = bank.rows, bank.rows_per_window
        if bank.imaging is not None:
            rows = np.stack([bank.window(i) for i in range(begin, begin + len(first))])
            first, n_rows = np.arange(len(first)), 1
        yield _ranked(rows, first, n_rows, _sorting_network(frames), weight, 3 if deviations else 2)


@lru_cache
def _sorting_network(n: int) -> np.ndarray:
    """Return the pairs of places that are compared, in their order, to sort `n` values (Batcher 1968).

    All bands of a window are sorted by the same comparisons, so that a processor does many bands at once.
    """
    pairs, size = [], 1
    while size < n:
        step = size
        while step >= 1:
            for start in range(step % size, n - step, 2 * step):
                for i in range(start, min(start + step, n - step)):
                    if i // (2 * size) == (i + step) // (2 * size):
                        pairs.append((i, i + step))
            step //= 2
        size *= 2
    return np.array(pairs, np.int64).reshape(-1, 2)


@njit(nogil=True, cache=True)
def _ranked(
    rows: np.ndarray, first: np.ndarray, n_rows: int, pairs: np.ndarray, weight: np.ndarray, parts: int
) -> np.ndarray:
    """Return the features of windows ``rows[first] …``, float32, shape (len(first), parts × bands)."""
    slots, bands = rows.shape[1], rows.shape[2]
    frames = n_rows * slots
    out = np.zeros((len(first), parts * bands), np.float32)
    levels = np.empty((frames, bands), np.float32)
    for window in range(len(first)):
        ranked, mean = out[window, :bands], out[window, bands : 2 * bands]
        for frame in range(frames):
            level, source = levels[frame], rows[first[window] + frame // slots, frame % slots]
            for band in range(bands):
                level[band] = source[band]
                mean[band] += source[band]
        for pair in range(len(pairs)):
            high, low = levels[pairs[pair, 0]], levels[pairs[pair, 1]]
            for band in range(bands):
                a, b = high[band], low[band]
                high[band] = a if a > b else b
                low[band] = b if a > b else a
        for band in range(bands):
            mean[band] /= np.float32(frames)
        for frame in range(frames):
            level, share = levels[frame], weight[frame]
            for band in range(bands):
                ranked[band] += share * level[band]
        if parts == 3:
            spread = out[window, 2 * bands :]
            for frame in range(frames):
                level = levels[frame]
                for band in range(bands):
                    spread[band] += (level[band] - mean[band]) ** 2
            for band in range(bands):
                spread[band] = np.sqrt(spread[band] / np.float32(frames))
    return out
