"""Ratios of frames are those of the mixture, hold on quiet ground, and find bursts that mean levels do not."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dasanom_assets.detection.bursts import SHARE, STEPS, STRENGTH, STRONGEST, Bursts, groups
from dasanom_assets.detection.detectors import Windows
from dasanom_assets.detection.neighbours import SHARPNESS
from dasanom_assets.models.training import Encoded
from dasanom_assets.settings import DetectionSettings
from dasanom_assets.spectrograms.windows import Imaging, WindowBank

FRAMES, BANDS, SECONDS = 8, 16, 8


def ground(rows: int, seed: int) -> np.ndarray:
    """Whitened levels of noise: logarithms of exponential powers, shape (rows, FRAMES, BANDS)."""
    power = np.random.default_rng(seed).exponential(size=(rows, FRAMES, BANDS))
    return (np.log(power) / SHARPNESS).astype(np.float32)


def windows(rows: np.ndarray) -> Windows:
    return Windows(WindowBank(rows, np.arange(len(rows) - SECONDS + 1), SECONDS), Encoded.empty(1))


@pytest.fixture(scope="module")
def detector() -> Bursts:
    return Bursts.fit(windows(ground(4000, 0)), DetectionSettings())


@given(st.integers(1, 600))
def test_groups_overlap_and_leave_no_band_out(bands: int) -> None:
    found = groups(bands)
    assert (found[0][0], found[-1][1]) == (0, bands)
    for (first, end), (after, later) in itertools.pairwise(found):
        assert first < after < end < later


def test_a_frame_has_the_log_likelihood_ratio_of_the_mixture(detector: Bursts) -> None:
    levels = np.log(
        np.exp(SHARPNESS * ground(20_000, 1).astype(float))[..., slice(*groups(BANDS)[1])].mean(axis=-1)
    )
    quantiles = np.array([0.5, 0.9, 0.99])
    z = stats.norm.ppf(quantiles)
    expected = np.log(1 - SHARE + SHARE * np.exp(STRENGTH * z - STRENGTH**2 / 2))
    found = detector._ratios(np.quantile(levels, quantiles)[:, None].repeat(len(detector.low), axis=1))[:, 1]
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=0.01)
    assert detector.ratio.shape[1] == STEPS
    assert (np.diff(detector.ratio, axis=1) >= 0).all()
    strongest = np.log(SHARE) + STRENGTH * STRONGEST - STRENGTH**2 / 2
    np.testing.assert_allclose(detector.ratio[:, -1], strongest, atol=0.01)


def test_ratios_average_to_one_on_quiet_ground(detector: Bursts) -> None:
    """Under the null, the mean of a likelihood ratio is one."""
    quiet = ground(30_000, 2).reshape(-1, BANDS)
    powers = np.exp(SHARPNESS * quiet)
    levels = np.log(np.stack([powers[:, first:end].mean(axis=1) for first, end in groups(BANDS)], axis=1))
    np.testing.assert_allclose(np.exp(detector._ratios(levels)).mean(axis=0), 1, atol=0.15)


def test_terms_are_means_over_frames_of_windows_and_of_images(detector: Bursts) -> None:
    some = windows(ground(40, 3))
    levels = np.exp(SHARPNESS * some.bank.rows)
    power = np.stack([levels[..., first:end].mean(axis=-1) for first, end in groups(BANDS)], axis=-1)
    ratios = detector._ratios(np.log(power)).reshape(40, FRAMES, -1).mean(axis=1)
    expected = np.stack([ratios[i : i + SECONDS].mean(axis=0) for i in range(33)])
    np.testing.assert_allclose(detector.terms(some), expected, rtol=1e-4, atol=1e-5)
    image = WindowBank(some.bank.rows, some.bank.first, SECONDS, Imaging(None, None, False))
    np.testing.assert_allclose(detector.terms(Windows(image, some.encoded)), expected, rtol=1e-4, atol=1e-5)
    strangest = np.arcsinh(((expected - detector.median) / detector.spread).max(axis=1))
    np.testing.assert_allclose(detector.score(some), strangest, rtol=1e-3, atol=1e-3)


def test_bursts_that_leave_mean_levels_alone_stand_out(detector: Bursts) -> None:
    rows = ground(200, 4)
    quiet = detector.score(windows(rows))
    strokes = rows.copy()
    strokes[100:108, 3, 4:10] += np.log(6) / SHARPNESS  # one frame a second, 8 dB
    assert np.abs(strokes[100:108].mean() - rows[100:108].mean()) < 0.1
    assert np.sinh(detector.score(windows(strokes))[100]) > 2 * np.sinh(quiet.max())


def test_events_among_the_reference_do_not_become_usual() -> None:
    rows = ground(4000, 5)
    rows[500:530] += 4
    found = Bursts.fit(windows(rows), DetectionSettings())
    clean = Bursts.fit(windows(ground(4000, 5)), DetectionSettings())
    fresh = windows(ground(300, 6))
    np.testing.assert_allclose(found.terms(fresh), clean.terms(fresh), atol=0.05)


def test_it_is_the_same_after_it_was_stored(detector: Bursts) -> None:
    some = windows(ground(50, 7))
    again = Bursts.restore(*detector.state())
    np.testing.assert_array_equal(again.terms(some), detector.terms(some))
    np.testing.assert_array_equal(again.score(some), detector.score(some))


def test_rows_that_are_in_no_window_may_be_missing(detector: Bursts) -> None:
    rows = ground(40, 9)
    rows[20] = np.nan
    first = np.array([0, 12, 21, 32])
    found = detector.terms(Windows(WindowBank(rows, first, SECONDS), Encoded.empty(1)))
    np.testing.assert_array_equal(found, detector.terms(windows(np.nan_to_num(rows)))[first])


def test_no_window_has_no_terms(detector: Bursts) -> None:
    none = Windows(WindowBank(ground(4, 8), np.empty(0, np.int64), SECONDS), Encoded.empty(1))
    assert detector.terms(none).shape == (0, len(groups(BANDS)))
    assert detector.score(none).shape == (0,)
