"""Gains amplify by what they state."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.recordings.simulation.gain import Gain, Gains


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), rate=st.sampled_from([500, 625, 4000]))
def test_gains_amplify_by_what_they_state(seed: int, rate: int) -> None:
    gain = Gain(day_db=2.0, stretch_db=1.0, stretch_channels=4, steps_per_hour=360.0, step_db=3.0)
    gains = Gains(gain, (seed,), 10, 60.0)
    x = np.concatenate([np.ones((10, 4 * rate), np.float32) for _ in range(15)], axis=1)
    for block in range(15):
        gains.apply(x[:, block * 4 * rate : (block + 1) * 4 * rate], block * 4 * rate, rate)
    db = 20 * np.log10(x)
    edges = np.concatenate([[0.0], gains.steps_s, [60.0]])
    for level, (begin, end) in zip(gains.level_db, pairwise(edges), strict=True):
        inside = db[:, int(np.ceil(begin * rate)) : int(np.floor(end * rate))]
        np.testing.assert_allclose(inside, (gains.offset_db + level)[:, None] + 0 * inside, atol=1e-3)
    assert len(set(np.round(gains.offset_db, 9))) == 3


def test_usual_gains_change_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((5, 2000)).astype(np.float32)
    amplified = x.copy()
    Gains(Gain(), (1,), 5, 60.0).apply(amplified, 0, 500)
    assert np.array_equal(x, amplified)
