"""Noise lies in the band that was asked for."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from dasanom_assets.recordings.simulation.noise import band_noise


@settings(deadline=None, max_examples=10)
@given(
    n=st.integers(2000, 9000),
    band=st.tuples(st.floats(5, 200), st.floats(2, 4)).map(lambda b: (b[0], b[0] * b[1])),
    seed=st.integers(0, 2**32),
)
def test_band_noise_lies_in_its_band(n: int, band: tuple[float, float], seed: int) -> None:
    x = band_noise(np.random.default_rng(seed), n, 2000, band, rows=3)
    assert x.shape == (3, n)
    assert x.dtype == np.float32
    frequency, power = signal.periodogram(x, 2000)
    outside = (frequency < band[0] / 2) | (frequency > band[1] * 2)
    assert power[:, outside].sum() < 0.1 * power.sum()
