"""The background has the levels it states, has no edges, and is shared by neighbours."""

from pathlib import Path

import numpy as np
from scipy import signal

from dasanom_assets.recordings.simulation.sites import Line
from dasanom_tests.recordings.simulation.conftest import SMALL, background, samples


def test_levels_are_realistic_and_nothing_is_clipped(long_line: tuple[Path, Line]) -> None:
    root, line = long_line
    x = samples(root, line).astype(float)
    rms = np.sqrt(np.median((x.reshape(-1, 2000, 48) ** 2).mean(1), axis=0))
    assert ((rms > 90) & (rms < 420)).all()
    assert np.abs(x).max() < 32000
    assert rms.max() > 1.5 * rms.min()


def test_background_is_continuous_over_blocks_and_can_be_asked_for_in_any_order() -> None:
    noise = background()
    first, second = noise.block(0), noise.block(1)
    assert np.array_equal(background().block(1), second)
    x = np.concatenate([first, second], axis=1).astype(float)
    jumps = np.abs(np.diff(x, n=2, axis=1))
    border = first.shape[1]
    # Second differences show a step; those at the border are like those anywhere.
    assert (jumps[:, border - 3 : border + 3].max(1) < 1.5 * np.quantile(jumps, 0.9999, axis=1)).all()


def test_background_has_the_rms_it_states() -> None:
    noise = background()
    x = np.concatenate([noise.block(i) for i in range(10)], axis=1)
    for band in ((20.0, 120.0), (200.0, 700.0)):
        sos = signal.butter(8, band, "band", fs=2000, output="sos")
        measured = signal.sosfilt(sos, x, axis=1).std(1)
        assert np.abs(20 * np.log10(measured / noise.band_rms(band))).max() < 1.5


def test_neighbours_within_a_gauge_length_share_noise_and_others_do_not() -> None:
    noise = background(SMALL.model_copy(update={"zones": ((100, 139),)}))
    sos = signal.butter(2, 100, "high", fs=2000, output="sos")
    related = np.corrcoef(signal.sosfilt(sos, noise.block(0), axis=1))
    assert 0.35 < np.diag(related, 1).mean() < 0.6
    assert np.abs(np.diag(related, 3)).mean() < 0.05
