"""A detector of machine sound beside those of the product."""

import numpy as np

from dasanom_assets.detection.detectors.neighbours import SMALLEST, Mahalanobis


class Residual(Mahalanobis):
    """Distance from the plane of the principal components, which `mahalanobis` does not look beyond."""

    name = "residual"
    whitened = False

    def _between(self, features: np.ndarray, itself: bool = False) -> np.ndarray:
        centred = features - self.mean
        beyond = centred - (centred @ self.components) @ self.components.T
        return np.log(np.linalg.norm(beyond, axis=1) + SMALLEST).astype(np.float32)
