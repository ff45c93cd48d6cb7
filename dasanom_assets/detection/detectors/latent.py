"""Detectors on what the VAE makes of a window: its likelihood, and its place among those of the reference."""

from typing import Any, Self

import numpy as np
from sklearn.cluster import DBSCAN, KMeans
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from dasanom_assets.detection.detectors.base import Detector, Tensors, Windows
from dasanom_assets.detection.detectors.clustering import fit_clusters
from dasanom_assets.detection.detectors.clusters import ACTIVE_STD, Clusters, assign
from dasanom_assets.models.encoding import Encoded
from dasanom_assets.settings import Settings

CENTRES = 8
CORE_NEIGHBOURS = 15


def encoded_of(windows: Windows) -> Encoded:
    """Return what the VAE makes of windows.

    Raises
    ------
    ValueError
        Where they were not given to it.
    """
    if windows.encoded is None:
        raise ValueError("the windows have not been through a VAE")
    return windows.encoded


class Likelihood(Detector):
    """Negative evidence lower bound: reconstruction and KL at the posterior's mean, nats."""

    name = "vae"
    network = True

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> Self:
        """There is nothing left to learn."""
        return cls()

    def score(self, windows: Windows) -> np.ndarray:
        """Return the negative evidence lower bound, nats."""
        encoded = encoded_of(windows)
        return encoded.reconstruction_error + encoded.kl

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return nothing."""
        return {}, {}


class Latent(Detector):
    """GLOSH outlier score among the reference's clusters; see `clusters`."""

    name = "latent"
    network = True

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> Self:
        """Cluster the latent means."""
        mu = encoded_of(reference).mu
        evenly = np.linspace(0, len(mu) - 1, min(len(mu), settings.detection.cluster_windows)).astype(int)
        return cls(fit_clusters(mu[evenly], settings.detection))

    def score(self, windows: Windows) -> np.ndarray:
        """Return the outlier score."""
        if windows.outlier is not None:
            return windows.outlier
        return assign(self.clusters, encoded_of(windows).mu)[2]

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return the clusters as arrays and their parameters."""
        return self.clusters.state()

    @classmethod
    def restore(cls, tensors: Tensors, values: dict[str, Any]) -> Self:
        """Undo `state`."""
        return cls(Clusters.restore(tensors, values))


class _Scaled(Detector):
    """Points of the latent space in units of the reference's spread, float32; what carries nothing is left out."""

    network = True

    def __init__(self, centre: np.ndarray, scale: np.ndarray, points: np.ndarray, **values: Any) -> None:
        self.centre, self.scale, self.points, self.values = centre, scale, points, values

    @classmethod
    def _of(cls, windows: Windows, **values: Any) -> Self:
        mu = encoded_of(windows).mu
        spread = mu.std(axis=0)
        scale = np.where(spread > ACTIVE_STD, spread, np.inf).astype(np.float32)
        centre = mu.mean(axis=0, dtype=np.float32)
        return cls(centre, scale, (mu - centre) / scale, **values)

    def _scaled(self, windows: Windows) -> np.ndarray:
        return (encoded_of(windows).mu - self.centre) / self.scale

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return the scale, and the points that scores are measured from."""
        return {"centre": self.centre, "scale": self.scale, "points": self.points}, self.values


class _Distance(_Scaled):
    """Distance to the nearest of some points."""

    def score(self, windows: Windows) -> np.ndarray:
        """Return the distance, in units of the reference's spread."""
        if not len(windows):
            return np.empty(0, np.float32)
        index = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(self.points)
        return index.kneighbors(self._scaled(windows))[0][:, 0].astype(np.float32)


class NearestCentre(_Distance):
    """Distance to the nearest centre of K-Means."""

    name = "kmeans"

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> Self:
        """Find the centres."""
        fitted = cls._of(reference)
        means = KMeans(min(CENTRES, len(fitted.points)), n_init=4, random_state=settings.detection.seed)
        fitted.points = means.fit(fitted.points).cluster_centers_.astype(np.float32)
        return fitted


def density_scan(points: np.ndarray) -> DBSCAN:
    """Return DBSCAN with the radius within which half of the points have `CORE_NEIGHBOURS` others.

    Parameters
    ----------
    points : numpy.ndarray
        float32, shape (n, d): in units of their spread.
    """
    n = min(CORE_NEIGHBOURS, len(points) - 1)
    distance, _ = NearestNeighbors(n_neighbors=n + 1, algorithm="brute").fit(points).kneighbors()
    # Where a network has collapsed all points are one.
    radius = max(float(np.median(distance[:, -1])), float(np.finfo(np.float32).tiny))
    return DBSCAN(eps=radius, min_samples=n + 1).fit(points)


class NearestCore(_Distance):
    """Distance to the nearest core point of DBSCAN; see `density_scan`."""

    name = "dbscan"

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> Self:
        """Find the core points."""
        fitted = cls._of(reference)
        fitted.points = fitted.points[density_scan(fitted.points).core_sample_indices_]
        return fitted


class Isolation(_Scaled):
    """Isolation forest (Liu, Ting and Zhou 2008)."""

    name = "isolation_forest"

    def __init__(self, centre: np.ndarray, scale: np.ndarray, points: np.ndarray, seed: int = 0) -> None:
        super().__init__(centre, scale, points, seed=seed)
        self._forest = IsolationForest(random_state=seed).fit(points)

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> Self:
        """Grow the forest; the same points and seed grow the same one."""
        return cls._of(reference, seed=settings.detection.seed)

    def score(self, windows: Windows) -> np.ndarray:
        """Return the anomaly score of the forest, 0 to 1."""
        if not len(windows):
            return np.empty(0, np.float32)
        return (-self._forest.score_samples(self._scaled(windows))).astype(np.float32)
