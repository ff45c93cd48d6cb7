"""Gaussians with diagonal covariances, many at a time: fits to frames, and how they differ."""

from dataclasses import dataclass
from typing import Any

import numpy as np

FLOOR = 1e-2
"""Added to every variance: a band that does not move has no infinite density."""
BLOCK_ROWS = 256
"""Rows at a time, whose intermediate results stay in a processor's cache."""


@dataclass(frozen=True)
class Gaussians:
    """Gaussians with diagonal covariances, as arrays.

    Attributes
    ----------
    means, variances : numpy.ndarray
        float32, shape (..., D), in the unit of the frames and its square; NaN where there is none.
    """

    means: np.ndarray
    variances: np.ndarray

    def __getitem__(self, index: Any) -> "Gaussians":
        """Return those that an index of the leading axes selects."""
        return Gaussians(self.means[index], self.variances[index])


def fit_gaussians(frames: np.ndarray) -> Gaussians:
    """Fit a Gaussian to each row of frames: their mean, and their variance and `FLOOR`.

    Parameters
    ----------
    frames : numpy.ndarray
        Shape (n, T, D), with any strides; frames with NaN are missing.

    Returns
    -------
    Gaussians
        Of shape (n,); NaN where a row has no frame.
    """
    n, _, d = frames.shape
    means, variances = np.empty((2, n, d), np.float32)
    for begin in range(0, n, BLOCK_ROWS):
        rows = slice(begin, begin + BLOCK_ROWS)
        x = np.array(frames[rows], np.float32)
        # A product with ones is several times as fast as a reduction along so short an axis.
        missing = np.isnan(x @ np.ones(d, np.float32))
        x[missing] = 0
        weight = (~missing[:, None]).astype(np.float32)
        with np.errstate(invalid="ignore"):  # 0 / 0 where a row has no frame
            weight /= weight.sum(axis=2, keepdims=True)
        mean = weight @ x
        means[rows] = mean[:, 0]
        variances[rows] = (weight @ np.square(x - mean))[:, 0] + FLOOR
    return Gaussians(means, variances)


def divergence(p: Gaussians, q: Gaussians) -> np.ndarray:
    """Return the symmetric divergence ``J = ½ (KL(p‖q) + KL(q‖p))``, nats.

    From the closed form of KL (Kullback, *Information Theory and Statistics*, 1959, chapter 9), whose logarithms
    cancel, with ``d`` for the difference of means::

        J = ¼ Σ (vp + d²) / vq + (vq + d²) / vp − 2 = ¼ Σ ((vp − vq)² + d² (vp + vq)) / (vp vq)

    The right side loses no digits between Gaussians that are nearly equal.

    Parameters
    ----------
    p, q : Gaussians
        Of the same D; their shapes are broadcast.

    Returns
    -------
    numpy.ndarray
        float32, of the broadcast shape; 0 for identical ones, NaN where one is not there.

    Examples
    --------
    >>> quiet = Gaussians(np.float32([[0, 0]]), np.float32([[1, 1]]))
    >>> others = Gaussians(np.float32([[0, 0], [2, 0], [0, 0]]), np.float32([[1, 1], [1, 1], [1, 4]]))
    >>> divergence(quiet, others).tolist()
    [0.0, 2.0, 0.5625]
    """
    apart = np.square(p.variances - q.variances) + np.square(p.means - q.means) * (p.variances + q.variances)
    each = apart / (p.variances * q.variances)
    return each @ np.full(each.shape[-1], 0.25, np.float32)


def least_divergence(p: Gaussians, q: Gaussians, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the least `divergence` of each row of `p` from runs of rows of `q`.

    Parameters
    ----------
    p, q : Gaussians
        Of shapes (n,) and (m,).
    first, last : numpy.ndarray
        int64, shape (n, runs): row ``i`` of `p` is held against rows ``first[i, r]`` to ``last[i, r] − 1`` of `q`.

    Returns
    -------
    numpy.ndarray
        float32, shape (n, runs), nats; NaN where there is none to hold it against.
    """
    least = np.full(first.shape, np.nan, np.float32)
    for begin in range(0, len(first), BLOCK_ROWS):
        rows = slice(begin, begin + BLOCK_ROWS)
        for place in range(int((last[rows] - first[rows]).max(initial=0))):
            row = first[rows] + place
            # Runs that are over take part with any row, and not in the result. `take` is faster than an index.
            inside = np.minimum(row, len(q.means) - 1)
            others = Gaussians(q.means.take(inside, axis=0), q.variances.take(inside, axis=0))
            np.fmin(least[rows], divergence(p[rows, None], others), out=least[rows], where=row < last[rows])
    return least
