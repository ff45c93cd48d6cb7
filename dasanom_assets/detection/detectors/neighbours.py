"""Detectors on levels: how far a window's levels are from those of its nearest reference windows.

Levels are pooled over the frames of a window in one of three ways, and brought to a few principal components.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.decomposition import PCA

from dasanom_assets.detection.detectors.base import Detector, Tensors, Windows
from dasanom_assets.detection.detectors.nearest import Nearest
from dasanom_assets.detection.detectors.pooling import ranked_levels, soft_maxima
from dasanom_assets.settings import ReferenceSettings, Settings
from dasanom_assets.spectrograms.windows import WindowBank

SMALLEST = 1e-6
"""Added to a distance before its logarithm: far below any distance of real windows."""


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
    deviations: ClassVar[bool] = True
    """Whether deviations are among the pooled levels; see `ranked_levels`."""

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
        self._nearest = Nearest(points)

    @classmethod
    def pooled(cls, bank: WindowBank, recipe: ReferenceSettings) -> Iterator[np.ndarray]:
        """Yield the features of windows, float32, shape (at most `WINDOWS_AT_ONCE`, features)."""
        yield from ranked_levels(bank, recipe, deviations=cls.deviations)

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
        distance, which = self._nearest(points, n)
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
        distance, which = self._nearest((features - self.mean) @ self.components, n)
        return distance, self.kept[which]

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
    deviations = False


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
