"""The detector `neighbours`: how far a window's levels are from those of its nearest reference windows."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from scipy.spatial import KDTree
from sklearn.decomposition import PCA

from dasanom_assets.detection.detectors import Detector, Tensors, Windows
from dasanom_assets.settings import DetectionSettings
from dasanom_assets.spectrograms.windows import WindowBank, window_means

SHARPNESS = 1.3
"""Of the soft maximum that pools levels, a spread: 0 is their mean, infinity their maximum. In a band as narrow as
a bin of the transform, whose spread is 5.8 dB, this is about the mean power."""
MOST = 6.0
"""Levels count from what is usual to so many spreads above: a quiet band is no event, and what is far louder than
most is no stranger than what is loud."""
DIMENSIONS = 5
NEIGHBOURS = 5
TRIM_SHARE, TRIM_ROUNDS = 0.02, 2
"""Reference windows that lie farthest from the others, which each round leaves out: they are events, if rare."""


class Neighbours(Detector):
    """Mean distance to the nearest reference windows, between levels that are pooled and limited.

    Each band is pooled over time by a soft maximum, so that a stroke of a pickaxe counts beside seconds of quiet.
    Only what lies between the median of the reference and `MOST` spreads above it counts. Principal components of
    the reference, not scaled, keep what bands have in common and drop their noise (Ramaswamy et al. 2000 for the
    distance).

    Parameters
    ----------
    usual, spread : numpy.ndarray
        float32, shape (bands,): median and scaled MAD of the pooled levels of the reference.
    mean : numpy.ndarray
        float32, shape (bands,).
    components : numpy.ndarray
        float32, shape (bands, dimensions).
    points : numpy.ndarray
        float32, shape (n_reference, dimensions): the reference windows that were kept.
    kept : numpy.ndarray
        int64, shape (n_reference,): their positions among those that were given.
    """

    name = "neighbours"

    def __init__(
        self,
        usual: np.ndarray,
        spread: np.ndarray,
        mean: np.ndarray,
        components: np.ndarray,
        points: np.ndarray,
        kept: np.ndarray,
    ) -> None:
        self.usual, self.spread, self.mean, self.components = usual, spread, mean, components
        self.points, self.kept = points, kept
        self._tree = KDTree(points)

    @classmethod
    def fit(cls, reference: Windows, settings: DetectionSettings) -> Self:
        """Learn what is usual and the principal components, and leave out the windows farthest from the others."""
        features = np.concatenate(list(pooled(reference.bank)))
        usual = np.median(features, axis=0)
        spread = (1.4826 * np.median(np.abs(features - usual), axis=0)).astype(np.float32)
        features = _limited(features, usual, spread)
        dimensions = min(DIMENSIONS, *features.shape)
        pca = PCA(dimensions, svd_solver="full").fit(features)
        mean, components = pca.mean_.astype(np.float32), pca.components_.T.astype(np.float32).copy()
        points, kept = (features - mean) @ components, np.arange(len(features))
        for _ in range(TRIM_ROUNDS):
            # The nearest one of a reference window is itself.
            found = cls(usual, spread, mean, components, points, kept)
            distance = found._nearest(points, NEIGHBOURS + 1)[0].sum(axis=1)
            inside = distance <= np.quantile(distance, 1 - TRIM_SHARE)
            points, kept = points[inside], kept[inside]
        return cls(usual, spread, mean, components, points, kept)

    def score(self, windows: Windows) -> np.ndarray:
        """Return the mean distance to the `NEIGHBOURS` nearest reference windows, in whitened units."""
        return self.nearest(windows.bank)[0].mean(axis=1)

    def nearest(self, bank: WindowBank) -> tuple[np.ndarray, np.ndarray]:
        """Return distances to the nearest reference windows, and which of those given to `fit` they are.

        Returns
        -------
        distance : numpy.ndarray
            float32, shape (n_windows, neighbours), ascending.
        which : numpy.ndarray
            int64, of the same shape.
        """
        limited = (_limited(features, self.usual, self.spread) for features in pooled(bank))
        parts = [self._nearest((features - self.mean) @ self.components, NEIGHBOURS) for features in limited]
        if not parts:
            return np.empty((0, NEIGHBOURS), np.float32), np.empty((0, NEIGHBOURS), np.int64)
        distance, which = (np.concatenate(part) for part in zip(*parts, strict=True))
        return distance, self.kept[which]

    def _nearest(self, points: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        ranks = np.arange(1, min(n, len(self.points)) + 1)
        distance, which = self._tree.query(points, ranks, workers=-1)
        return distance.astype(np.float32), which

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return what is usual, the components and the reference points."""
        names = ("usual", "spread", "mean", "components", "points", "kept")
        return {name: getattr(self, name) for name in names}, {}

    @classmethod
    def restore(cls, tensors: Tensors, values: dict[str, Any]) -> Self:
        """Undo `state`."""
        return cls(**tensors)


def _limited(features: np.ndarray, usual: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.clip(features - usual, 0, MOST * spread)


def pooled(bank: WindowBank) -> Iterator[np.ndarray]:
    """Yield the pooled levels of windows, float32, shape (at most `BLOCK`, bands).

    A band's soft maximum over frames is ``log(mean(exp(s·level))) / s``, with `SHARPNESS` for ``s``.
    """
    yield from map(_levels, window_means(bank, _exponential))


def _exponential(levels: np.ndarray) -> np.ndarray:
    return np.exp(np.float32(SHARPNESS) * levels)


def _levels(means: np.ndarray) -> np.ndarray:
    return np.log(means) / np.float32(SHARPNESS)
