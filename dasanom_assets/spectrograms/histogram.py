"""How often each level occurs in each band: of levels that are multiples of a step, a sketch without loss."""

from dataclasses import dataclass

import numpy as np
from numba import njit


@dataclass(frozen=True)
class Histogram:
    """How often each level occurs in each band.

    Attributes
    ----------
    first : int
        Level of the first column, in steps.
    counts : numpy.ndarray
        int64, shape (bands, levels).
    """

    first: int
    counts: np.ndarray

    @classmethod
    def empty(cls, bands: int) -> "Histogram":
        """Return that of no level."""
        return cls(0, np.zeros((bands, 0), np.int64))

    @classmethod
    def of(cls, power_db: np.ndarray, step: float) -> "Histogram":
        """Count levels; `power_db` has the shape (..., bands), and frames with NaN do not count."""
        bands = power_db.shape[-1]
        levels = np.ascontiguousarray(power_db).reshape(-1, bands)
        whole, low, high = _extent(levels)
        if not whole.any():
            return cls.empty(bands)
        first, last = (int(np.rint(level / np.float32(step))) for level in (low, high))
        counts = np.zeros((bands, last - first + 1), np.int32)
        _count(levels, whole, np.float32(step), first, counts)
        return cls(first, counts.astype(np.int64))

    def plus(self, other: "Histogram", sign: int = 1) -> "Histogram":
        """Return the histogram of both, or, with a sign of −1, of what is left without the other."""
        if not other.counts.shape[1]:
            return self
        if not self.counts.shape[1]:
            return Histogram(other.first, sign * other.counts)
        first = min(self.first, other.first)
        end = max(self.first + self.counts.shape[1], other.first + other.counts.shape[1])
        counts = np.zeros((len(self.counts), end - first), np.int64)
        for part, weight in ((self, 1), (other, sign)):
            counts[:, part.first - first : part.first - first + part.counts.shape[1]] += weight * part.counts
        return Histogram(first, counts)

    @property
    def frames(self) -> int:
        """Frames that were counted."""
        return int(self.counts[0].sum())

    def median_and_mad(self, step: float) -> tuple[np.ndarray, np.ndarray]:
        """Return median and median absolute deviation of each band, float64, shape (bands,), dB.

        Levels are taken to be spread evenly over the step that they were rounded to: a deviation of 3 dB that is
        itself a multiple of a step of 0.25 dB would be off by up to 4 %, and whitened levels with it.
        """
        edges = (self.first - 0.5 + np.arange(self.counts.shape[1] + 1)) * step
        medians, mads = np.empty((2, len(self.counts)))
        for band, counts in enumerate(self.counts):
            below = np.concatenate([[0], np.cumsum(counts)])
            median = _halfway(edges, below)
            deviation = np.sort(np.append(np.abs(edges - median), 0))
            low, high = (np.interp(median + side * deviation, edges, below) for side in (-1, 1))
            medians[band] = median
            mads[band] = _halfway(deviation, (high - low).round(6))  # no half is missed by rounding
        return medians, mads


@njit(nogil=True, cache=True)
def _extent(levels: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return which frames, shape (frames, bands), are finite, and the least and the greatest level of these."""
    whole = np.zeros(len(levels), np.bool_)
    low, high = levels.dtype.type(np.inf), levels.dtype.type(-np.inf)
    for frame in range(len(levels)):
        missing, least, most = 0, levels[frame, 0], levels[frame, 0]
        for band in range(levels.shape[1]):
            level = levels[frame, band]
            missing += not np.isfinite(level)
            least, most = min(least, level), max(most, level)
        whole[frame] = not missing
        if not missing:
            low, high = min(low, least), max(high, most)
    return whole, low, high


@njit(nogil=True, cache=True)
def _count(levels: np.ndarray, whole: np.ndarray, step: np.float32, first: int, counts: np.ndarray) -> None:
    """Add the levels of whole frames to counts, shape (bands, levels), of multiples of a step from `first` on."""
    for frame in range(len(levels)):
        if whole[frame]:
            for band in range(levels.shape[1]):
                counts[band, int(np.rint(levels[frame, band] / step)) - first] += 1


def _halfway(x: np.ndarray, below: np.ndarray) -> float:
    """Return where half of what is `below` the last of `x` lies: the middle, where that is a stretch."""
    half = below[-1] / 2
    return float((np.interp(half, below, x) - np.interp(-half, -below[::-1], -x[::-1])) / 2)
