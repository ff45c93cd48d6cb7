"""Detectors on levels: how far a window's levels are from those of its nearest reference windows.

Levels are pooled over the frames of a window in one of three ways, and brought to a few principal components.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from dasanom_assets.detection.detectors.base import Detector, Tensors, Windows
from dasanom_assets.settings import ReferenceSettings, Settings
from dasanom_assets.spectrograms.windows import WINDOWS_AT_ONCE, WindowBank, window_means

SMALLEST = 1e-6
"""Added to a distance before its logarithm: far below any distance of real windows."""


def soft_maxima(bank: WindowBank, recipe: ReferenceSettings) -> Iterator[np.ndarray]:
    """Yield soft maxima over the frames of windows, float32, shape (at most `WINDOWS_AT_ONCE`, bands).

    ``log(mean(exp(s·level))) / s``, with ``s`` the recipe's `sharpness`: a stroke of a pickaxe counts beside
    seconds of quiet. In a band as narrow as a bin of the transform, whose spread is 5.8 dB, 1.3 is about the mean
    power.
    """
    sharpness = np.float32(recipe.sharpness)
    for means in window_means(bank, lambda levels: np.exp(sharpness * levels)):
        yield np.log(means) / sharpness


def ranked_levels(bank: WindowBank, recipe: ReferenceSettings) -> Iterator[np.ndarray]:
    """Yield ranked means, means and deviations over frames, shape (at most `WINDOWS_AT_ONCE` windows, 3 × bands).

    The ranked mean weights a frame by ``decay^rank``, the greatest level of a band first (global weighted ranked
    pooling: Kolesnikov and Lampert 2016). Deviations are standard deviations.
    """
    frames = bank.window_shape[0]
    weight = (recipe.rank_decay ** np.arange(frames)).astype(np.float32)
    weight /= weight.sum()
    for begin in range(0, len(bank), WINDOWS_AT_ONCE):
        first = bank.first[begin : begin + WINDOWS_AT_ONCE]
        if bank.imaging is None:
            levels = bank.rows[first[:, None] + np.arange(bank.rows_per_window)]
            levels = levels.reshape(len(first), frames, -1)
        else:
            levels = np.stack([bank.window(i) for i in range(begin, begin + len(first))])
        ordered = np.sort(levels, axis=1)[:, ::-1]
        ranked = np.einsum("wfb,f->wb", ordered, weight)
        yield np.concatenate([ranked, levels.mean(axis=1), levels.std(axis=1)], axis=1, dtype=np.float32)


class _Levels(Detector):
    """Pooled levels, less their mean over the reference, times `components`.

    Parameters
    ----------
    mean : numpy.ndarray
        float32, shape (features,).
    components : numpy.ndarray
        float32, shape (features, dimensions).
    points : numpy.ndarray
        float32, shape (n_reference, dimensions): the reference windows that are kept.
    kept : numpy.ndarray
        int64, shape (n_reference,): their positions among those that were given.
    usual : numpy.ndarray
        float32, shape (n_reference,): logarithm of how far each lies from its own neighbours.
    recipe : ReferenceSettings
    """

    whitened: ClassVar[bool] = False
    """Whether components are scaled to a spread of one."""
    dimensions: ClassVar[str] = "ranked_dimensions"
    """Setting of the number of principal components."""
    by_density: ClassVar[bool] = True
    """Whether distances are measured against those around the nearest windows; how far, the recipe says."""
    parts: ClassVar[slice] = slice(None)
    """Which of three thirds of the pooled levels are taken; see `ranked_levels`."""

    def __init__(
        self,
        mean: np.ndarray,
        components: np.ndarray,
        points: np.ndarray,
        kept: np.ndarray,
        usual: np.ndarray,
        recipe: ReferenceSettings,
    ) -> None:
        self.mean, self.components, self.points, self.kept, self.usual = mean, components, points, kept, usual
        self.recipe = recipe
        self._index = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(points)

    @classmethod
    def pooled(cls, bank: WindowBank, recipe: ReferenceSettings) -> Iterator[np.ndarray]:
        """Yield the features of windows, float32, shape (at most `WINDOWS_AT_ONCE`, features)."""
        for levels in ranked_levels(bank, recipe):
            yield levels.reshape(len(levels), 3, -1)[:, cls.parts].reshape(len(levels), -1)

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> Self:
        """Learn the principal components, and keep the windows: all but what the recipe calls contaminated."""
        recipe = settings.reference
        features = np.concatenate(list(cls.pooled(reference.bank, recipe)))
        kept = np.arange(len(features))
        fitted = cls._of(features, kept, recipe)
        if recipe.contamination:
            score = fitted._between(features, itself=True)
            kept = kept[score <= np.quantile(score, 1 - recipe.contamination)]
            fitted = cls._of(features[kept], kept, recipe)
        return fitted

    @classmethod
    def _of(cls, features: np.ndarray, kept: np.ndarray, recipe: ReferenceSettings) -> Self:
        n = min(getattr(recipe, cls.dimensions), *features.shape)
        pca = PCA(n, svd_solver="covariance_eigh").fit(features)
        scale = 1 / np.sqrt(np.maximum(pca.explained_variance_, SMALLEST)) if cls.whitened else np.ones(n)
        mean = pca.mean_.astype(np.float32)
        components = (pca.components_.T * scale).astype(np.float32)
        points = np.ascontiguousarray((features - mean) @ components)
        fitted = cls(mean, components, points, kept, np.zeros(len(points), np.float32), recipe)
        if cls.by_density and recipe.density:
            fitted.usual = fitted._distances(points, itself=True)[0]
        return fitted

    def score(self, windows: Windows) -> np.ndarray:
        """Return the logarithm of the distance, less part of what is usual around there."""
        parts = [self._between(features) for features in self.pooled(windows.bank, self.recipe)]
        return np.concatenate([np.empty(0, np.float32), *parts])

    def _between(self, features: np.ndarray, itself: bool = False) -> np.ndarray:
        distance, which = self._distances((features - self.mean) @ self.components, itself)
        if not (self.by_density and self.recipe.density):
            return distance
        return distance - np.float32(self.recipe.density) * self.usual[which].mean(axis=1)

    def _distances(self, points: np.ndarray, itself: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the logarithm of the mean distance to the nearest reference windows, float32, and which they are.

        With `itself`, points are those of the reference, and the nearest of each is not counted.
        """
        n = min(self.recipe.neighbours + itself, len(self.points))
        distance, which = self._index.kneighbors(points, n)
        if itself and n > 1:
            distance, which = distance[:, 1:], which[:, 1:]
        return np.log(distance.mean(axis=1) + SMALLEST).astype(np.float32), which

    def nearest(self, bank: WindowBank) -> tuple[np.ndarray, np.ndarray]:
        """Return distances to the nearest reference windows, and which of those given to `fit` they are.

        Returns
        -------
        distance : numpy.ndarray
            float32, shape (n_windows, neighbours), ascending.
        which : numpy.ndarray
            int64, of the same shape.
        """
        features = np.concatenate(list(self.pooled(bank, self.recipe)))
        n = min(self.recipe.neighbours, len(self.points))
        distance, which = self._index.kneighbors((features - self.mean) @ self.components, n)
        return distance.astype(np.float32), self.kept[which]

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return the components, the reference points and the recipe."""
        names = ("mean", "components", "points", "kept", "usual")
        return {name: getattr(self, name) for name in names}, {"recipe": self.recipe.model_dump(mode="json")}

    @classmethod
    def restore(cls, tensors: Tensors, values: dict[str, Any]) -> Self:
        """Undo `state`."""
        return cls(**tensors, recipe=ReferenceSettings(**values["recipe"]))


class Neighbours(_Levels):
    """Nearest neighbours between soft maxima, in few dimensions: for what is faint.

    Examples
    --------
    >>> levels = np.random.default_rng(0).normal(size=(400, 4, 16)).astype(np.float32)  # seconds, frames, bands
    >>> levels[350, :, 5] += 9
    >>> windows = WindowBank(levels, np.arange(393), rows_per_window=8)
    >>> detector = Neighbours.fit(Windows(windows.subset(np.arange(300))), Settings())
    >>> scores = detector.score(Windows(windows.subset(np.arange(300, 393))))
    >>> strange = 300 + np.flatnonzero(scores > scores[:40].max())
    >>> [int(strange.min()), int(strange.max())]  # the first and the last that hold second 350
    [343, 350]
    """

    name = "neighbours"
    dimensions = "soft_dimensions"

    @classmethod
    def pooled(cls, bank: WindowBank, recipe: ReferenceSettings) -> Iterator[np.ndarray]:
        """Yield soft maxima."""
        yield from soft_maxima(bank, recipe)


class Ranked(_Levels):
    """Nearest neighbours between ranked means and means, in more dimensions: for what is different."""

    name = "ranked"
    parts = slice(0, 2)


class Plain(Ranked):
    """The baseline that all are held against: `Ranked` by distance alone (Ramaswamy et al. 2000)."""

    name = "plain"
    by_density = False


class Mahalanobis(_Levels):
    """Mahalanobis's distance from the centre, between ranked means, means and deviations."""

    name = "mahalanobis"
    whitened = True
    by_density = False

    def _distances(self, points: np.ndarray, itself: bool = False) -> tuple[np.ndarray, np.ndarray]:
        distance = np.log(np.linalg.norm(points, axis=1) + SMALLEST).astype(np.float32)
        return distance, np.empty((len(points), 0), np.int64)
