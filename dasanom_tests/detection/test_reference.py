"""What scoring needs beside the networks keeps the false alarm rate, survives storage, and says what it lacks."""

import numpy as np

from dasanom_assets.detection.reference import fuse
from dasanom_assets.detection.thresholds import Calibration, combine


def test_a_detector_to_which_all_windows_are_alike_has_no_say() -> None:
    rng = np.random.default_rng(0)
    names = ("one", "same", "other")
    scores = np.stack([rng.normal(size=2000), np.zeros(2000), rng.gumbel(size=2000)], axis=1)
    calibrations = {name: Calibration.fit(scores[:, i], np.inf) for i, name in enumerate(names)}
    p = np.stack([calibrations[name].p_values(scores[:, i]) for i, name in enumerate(names)], axis=1)
    np.testing.assert_array_equal(fuse(calibrations, names, scores), -np.log10(combine(p[:, [0, 2]])))
    alone = fuse({"same": calibrations["same"]}, ["same"], scores[:, 1:2])
    assert np.isfinite(alone).all()
