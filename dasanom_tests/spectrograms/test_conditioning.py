"""High-pass, common mode and differences against SciPy, NumPy and known mixtures."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.spectrograms.conditioning import (
    difference,
    high_pass,
    high_pass_taps,
    neighbours,
    remove_common_mode,
)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("cutoff", "rate"), [(5.0, 2000.0), (20.0, 500.0), (5.0, 333.3)])
def test_the_high_pass_stops_what_is_slow_and_leaves_the_rest(cutoff: float, rate: float) -> None:
    taps = high_pass_taps(cutoff, rate)
    assert len(taps) % 2 == 1
    hz, response = scipy.signal.freqz(taps.astype(float), worN=20_000, fs=rate)
    gain = 20 * np.log10(np.abs(response) + 1e-12)
    assert gain[hz < 0.5 * cutoff].max() < -55
    assert np.abs(gain[hz > 1.5 * cutoff]).max() < 0.05
    assert gain[np.abs(hz - cutoff).argmin()] == pytest.approx(-6, abs=0.1)


def test_filtering_is_scipys_and_does_not_shift_the_signal() -> None:
    taps, x = high_pass_taps(5.0, 2000.0), noise(3, 6000)
    direct = np.stack([np.convolve(row.astype(float), taps.astype(float), mode="valid") for row in x])
    np.testing.assert_allclose(high_pass(x, taps), direct, atol=1e-4)
    half = len(taps) // 2
    wave = np.sin(2 * np.pi * 100 * np.arange(6000) / 2000).astype(np.float32)[None]
    np.testing.assert_allclose(high_pass(wave + 7, taps), wave[:, half:-half], atol=1e-2)


def test_what_all_channels_share_is_removed_at_any_gain() -> None:
    own, shared = noise(40, 4000), 20 * noise(4000, seed=1)
    gain = np.linspace(0.2, 3, 40, dtype=np.float32)[:, None]
    clean = remove_common_mode(own + gain * shared)
    left = clean @ shared / np.dot(shared, shared)
    assert np.abs(left).max() < 0.02  # of gains up to 3
    assert np.std(clean, axis=1).max() < 1.6  # of 60: the median carries a little of the other channels' noise


def test_the_regression_is_that_of_least_squares_and_spares_an_event_of_few_channels() -> None:
    x = noise(30, 2000) + 5 * noise(2000, seed=1)
    x[4:6] += 50 * noise(2000, seed=2)
    common = np.median(x, axis=0).astype(float)
    common -= common.mean()
    slope = [np.polyfit(common, row.astype(float), 1)[0] for row in x]
    clean = remove_common_mode(x.copy())
    np.testing.assert_allclose(clean, x - np.outer(slope, common), atol=2e-3)
    assert np.std(clean[4]) > 45


def test_a_channel_that_is_not_finite_harms_no_other() -> None:
    x = noise(10, 500) + 5 * noise(500, seed=1)
    x[3, 100] = np.nan
    clean = remove_common_mode(x.copy())
    assert np.isnan(clean[3]).sum() == 1
    np.testing.assert_allclose(np.delete(clean, 3, 0), remove_common_mode(np.delete(x, 3, 0)), rtol=1e-6)


def test_a_sample_that_is_not_finite_leaves_the_rest_of_its_channel_clean() -> None:
    x = noise(10, 500) + 5 * noise(500, seed=1)
    whole = remove_common_mode(x.copy())
    x[3, 100] = np.nan
    clean = remove_common_mode(x.copy())
    np.testing.assert_allclose(np.delete(clean[3], 100), np.delete(whole[3], 100), atol=1.0)
    assert np.nanstd(clean[3]) < 2


def test_a_sample_that_no_channel_has_costs_the_others_nothing() -> None:
    x = noise(10, 500) + 5 * noise(500, seed=1)
    x[:, 100:103] = np.nan
    clean = remove_common_mode(x.copy())
    assert np.isnan(clean).sum() == 30
    assert np.nanstd(clean) < 2


def test_too_few_channels_have_no_common_mode() -> None:
    x = noise(2, 100)
    np.testing.assert_array_equal(remove_common_mode(x.copy()), x)


@settings(deadline=None, max_examples=50)
@given(
    zones=st.lists(st.tuples(st.integers(2, 9), st.integers(2, 12)), min_size=1, max_size=6),
    step=st.integers(1, 5),
    order=st.sampled_from(["first", "laplacian"]),
    spacing=st.sampled_from([5.0, 1.0209523, -2.5]),
)
def test_differences_are_between_channels_a_distance_apart_never_around_a_gap(
    zones: list[tuple[int, int]], step: int, order: str, spacing: float
) -> None:
    channels = np.cumsum([gap for first, n in zones for gap in (first, *[1] * n)])
    x = noise(len(channels), 7)
    parts = dict(zip(channels.tolist(), x, strict=True))
    found = neighbours(channels, 30.0 + channels * spacing, order, step * abs(spacing))
    back = step if spacing > 0 else -step  # the first partner lies at less metres
    expected = {
        j: parts[j] - parts[j - back] if order == "first" else parts[j - back] - 2 * parts[j] + parts[j + back]
        for j in parts
        if j - back in parts and (order == "first" or j + back in parts)
    }
    assert found[0].tolist() == list(expected)
    if expected:
        np.testing.assert_array_equal(difference(x, channels, found), np.stack(list(expected.values())))


@pytest.mark.parametrize(
    ("metres", "distance_m", "pairs"),
    [
        ([0.0, 4, 8, 12], 10.0, [(2, 0), (3, 1)]),  # of 8 and 12 m the nearer one, always
        ([0.0, 20, 40], 10.0, [(1, 0), (2, 1)]),  # none is nearer than the next
        ([0.0, 5, 10, 15, 35, 55], 10.0, [(2, 0), (3, 1)]),
        ([0.0, 5, np.nan, 15, 20], 10.0, [(3, 1)]),
        ([20.0, 15, 10, 5, 0], 10.0, [(0, 2), (1, 3), (2, 4)]),
        ([7.0, 7, 7], 10.0, []),
        ([7.0], 10.0, []),
    ],
)
def test_partners_are_found_by_metres(
    metres: list[float], distance_m: float, pairs: list[tuple[int, int]]
) -> None:
    found = neighbours(np.arange(len(metres)), np.array(metres), "first", distance_m)
    assert list(zip(*found.tolist(), strict=True)) == pairs
