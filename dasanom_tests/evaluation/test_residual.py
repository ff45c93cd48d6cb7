"""The detector of what lies beyond the principal components."""

import numpy as np
import pytest

from dasanom_assets.detection.detectors.base import Windows
from dasanom_assets.evaluation.residual import Residual
from dasanom_assets.settings import ReferenceSettings, Settings
from dasanom_assets.spectrograms.windows import WindowBank


def test_what_lies_beyond_the_principal_components_is_found_by_the_residual() -> None:
    """A small step out of the plane of the reference counts for more than a large one within."""
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(2, 6))
    beyond = np.linalg.svd(plane)[2][-1]

    def windows(*levels: np.ndarray) -> Windows:
        rows = np.concatenate([np.atleast_2d(x) for x in levels]).astype(np.float32)[:, None]
        return Windows(WindowBank(rows, np.arange(len(rows)), 1))

    settings = Settings(reference=ReferenceSettings(ranked_dimensions=2))
    result = Residual.fit(windows(rng.normal(size=(60, 2)) @ plane), settings)
    within, out = result.score(windows(10 * plane[0], plane[0] + 0.1 * beyond))
    assert np.exp(within) < 1e-3
    assert np.exp(out) == pytest.approx(0.1 * np.sqrt(2), rel=0.01)  # of ranked means and of means
