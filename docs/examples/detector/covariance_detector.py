"""A detector of one's own: how far a window's mean levels are from those of the reference."""

from typing import Any, Self

import numpy as np

from dasanom_assets.detection.detectors.base import Detector, Tensors, Windows
from dasanom_assets.settings import Settings


class Covariance(Detector):
    """Squared Mahalanobis distance of a window's mean levels."""

    name = "covariance"

    def __init__(self, centre: np.ndarray, precision: np.ndarray) -> None:
        self.centre, self.precision = centre, precision

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> Self:
        """Learn the mean and the inverse covariance."""
        means = mean_levels(reference)
        return cls(means.mean(axis=0), np.linalg.inv(np.cov(means, rowvar=False)))

    def score(self, windows: Windows) -> np.ndarray:
        """Return one number a window; larger is more unusual."""
        offset = mean_levels(windows) - self.centre
        return np.einsum("ij,jk,ik->i", offset, self.precision, offset).astype(np.float32)

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return what is stored with the model."""
        return {"centre": self.centre, "precision": self.precision}, {}

    @classmethod
    def restore(cls, tensors: Tensors, values: dict[str, Any]) -> Self:
        """Make it from what was stored."""
        return cls(**tensors)


def mean_levels(windows: Windows) -> np.ndarray:
    """Return the mean whitened level of each band, float, shape (n_windows, bands)."""
    means = np.empty((len(windows), windows.bank.window_shape[1]))
    for i, row in enumerate(means):
        row[:] = windows.bank.window(i).mean(axis=0)
    return means
