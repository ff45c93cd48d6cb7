"""The detector `infogan`: how far a window is from those that the networks know, and how badly it comes back."""

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.covariance import LedoitWolf

from dasanom_assets.detection.detectors.base import Detector, Tensors, Windows
from dasanom_assets.settings import Settings

SMALLEST = 1e-6
"""Added before a logarithm: below any distance or error of real windows."""


class InfoGan(Detector):
    """The larger of two robust z-scores: distance in the discriminator's features, and reconstruction error.

    Whether a window looks real says whether it was generated, not whether it is rare; where it lies among the
    features of reference windows does. The distance is Mahalanobis's, with the covariance shrunk after Ledoit and
    Wolf (2004) so that features that hardly vary do not rule it. Both are taken as logarithms, and measured
    against their median and median absolute deviation over the reference: neither then needs a weight.

    Parameters
    ----------
    mean : numpy.ndarray
        float32, shape (features,).
    root : numpy.ndarray
        float32, shape (features, dimensions): a root R of the precision; a distance is ``|(x − m) R|``.
    median, spread : numpy.ndarray
        float64, shape (2,): of the logarithms of distance and error over the reference.
    """

    name = "infogan"
    inputs: ClassVar[tuple[str, ...]] = ("infogan_features", "infogan_error")
    network = True

    def __init__(self, mean: np.ndarray, root: np.ndarray, median: np.ndarray, spread: np.ndarray) -> None:
        self.mean, self.root, self.median, self.spread = mean, root, median, spread

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> Self:
        """Learn the covariance of the features."""
        shrunk = LedoitWolf().fit(reference.more["infogan_features"])
        # The precision is the inverse of a covariance that may be singular: features of a network that collapsed.
        variance, axes = np.linalg.eigh(shrunk.covariance_)
        known = variance > SMALLEST * max(variance.max(), SMALLEST)
        root = axes[:, known] / np.sqrt(variance[known])
        fitted = cls(shrunk.location_.astype(np.float32), root.astype(np.float32), np.zeros(2), np.ones(2))
        terms = fitted._terms(reference)
        fitted.median = np.median(terms, axis=0)
        fitted.spread = 1.4826 * np.median(np.abs(terms - fitted.median), axis=0) + SMALLEST
        return fitted

    def score(self, windows: Windows) -> np.ndarray:
        """Return the larger z-score."""
        return ((self._terms(windows) - self.median) / self.spread).max(axis=1).astype(np.float32)

    def _terms(self, windows: Windows) -> np.ndarray:
        """Return the logarithms of distance and error, float64, shape (n_windows, 2)."""
        centred = windows.more["infogan_features"] - self.mean
        distance = np.linalg.norm(centred @ self.root, axis=1)
        terms = np.stack([distance, windows.more["infogan_error"]], axis=1, dtype=np.float64)
        return np.log(terms + SMALLEST)

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return the mean, the root of the precision, and what scores are measured against."""
        return {name: getattr(self, name) for name in ("mean", "root", "median", "spread")}, {}
