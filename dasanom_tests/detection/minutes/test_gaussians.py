"""Gaussians fitted many at a time have the moments of their frames, and differ by what torch and draws say."""

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.distributions import Independent, Normal, kl_divergence

from dasanom_assets.detection.minutes import gaussians
from dasanom_assets.detection.minutes.gaussians import (
    BLOCK_ROWS,
    FLOOR,
    Gaussians,
    divergence,
    fit_gaussians,
    least_divergence,
)

D = 4


def drawn(shape: tuple[int, ...], seed: int, spread: float = 2.0) -> Gaussians:
    rng = np.random.default_rng(seed)
    means, variances = spread * rng.normal(size=(*shape, D)), rng.gamma(2, size=(*shape, D)) + FLOOR
    return Gaussians(means.astype(np.float32), variances.astype(np.float32))


def normal(p: Gaussians) -> Independent:
    means, variances = (torch.as_tensor(x, dtype=torch.float64) for x in (p.means, p.variances))
    return Independent(Normal(means, variances.sqrt()), 1)


def by_torch(p: Gaussians, q: Gaussians) -> np.ndarray:
    there, back = normal(p), normal(q)
    return 0.5 * (kl_divergence(there, back) + kl_divergence(back, there)).numpy()


def test_a_fit_has_the_moments_of_overlapping_segments_of_several_blocks() -> None:
    x = np.random.default_rng(0).normal(3, 2, size=(5 * (BLOCK_ROWS + 4), D)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(x, 20, axis=0)[::5].swapaxes(1, 2)
    assert len(frames) > BLOCK_ROWS
    fitted = fit_gaussians(frames)
    np.testing.assert_allclose(fitted.means, frames.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(fitted.variances, frames.var(axis=1) + FLOOR, rtol=1e-5)
    assert fitted.means.dtype == fitted.variances.dtype == np.float32


levels = st.floats(-20, 20, width=32) | st.just(np.nan)


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(1, 3)), elements=levels))
def test_frames_with_a_missing_level_take_no_part_and_rows_without_frames_have_no_model(
    frames: np.ndarray,
) -> None:
    before = frames.copy()
    fitted = fit_gaussians(frames)
    np.testing.assert_array_equal(frames, before)
    for row, means, variances in zip(frames, fitted.means, fitted.variances, strict=True):
        whole = row[~np.isnan(row).any(axis=1)].astype(np.float64)
        if not len(whole):
            assert np.isnan([*means, *variances]).all()
            continue
        np.testing.assert_allclose(means, whole.mean(axis=0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(variances, whole.var(axis=0) + FLOOR, rtol=1e-5)


@given(st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=5), st.integers(1, 50))
def test_one_frame_and_frames_that_do_not_move_have_the_least_variance(frame: list[float], n: int) -> None:
    fitted = fit_gaussians(np.tile(np.float32(frame), (1, n, 1)))
    np.testing.assert_allclose(fitted.means[0], frame, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fitted.variances, FLOOR, rtol=1e-5)


numbers = st.tuples(*[st.floats(-20, 20, width=32)] * 2, *[st.floats(FLOOR, 400)] * 2)


@settings(deadline=None)
@given(st.lists(numbers, min_size=1, max_size=8))
def test_the_divergence_is_that_of_torch_and_the_same_both_ways(of_bands: list[tuple[float, ...]]) -> None:
    m, n, v, u = np.array(of_bands, np.float32).T
    p, q = Gaussians(m, v), Gaussians(n, u)
    np.testing.assert_allclose(divergence(p, q), by_torch(p, q), rtol=1e-5, atol=1e-9)
    assert divergence(p, q) == divergence(q, p)
    assert divergence(p, p) == 0


def test_the_divergence_is_the_mean_log_ratio_of_frames_that_are_drawn() -> None:
    p, q = drawn((3,), 0, spread=0.5), drawn((3,), 1, spread=0.5)
    there, back = normal(p), normal(q)
    torch.manual_seed(0)
    x, y = there.sample((100_000,)), back.sample((100_000,))
    forward = (there.log_prob(x) - back.log_prob(x)).mean(dim=0)
    backward = (back.log_prob(y) - there.log_prob(y)).mean(dim=0)
    np.testing.assert_allclose(divergence(p, q), (0.5 * (forward + backward)).numpy(), rtol=0.02)


def test_gaussians_that_are_nearly_equal_keep_their_digits() -> None:
    p = drawn((50,), 2)
    q = Gaussians(p.means + np.float32(1e-4), p.variances * np.float32(1.0003))
    assert by_torch(p, q).max() < 1e-4
    np.testing.assert_allclose(divergence(p, q), by_torch(p, q), rtol=1e-3)


@settings(deadline=None)
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), st.integers(0, 99))
def test_shapes_are_broadcast_and_what_is_not_there_is_nan(shapes: hnp.BroadcastableShapes, seed: int) -> None:
    p, q = (drawn(shape, seed + i) for i, shape in enumerate(shapes.input_shapes))
    gone = np.random.default_rng(seed).random(q.means.shape[:-1]) < 0.3
    q.means[gone], q.variances[gone] = np.nan, np.nan
    values = divergence(p, q)
    assert values.shape == shapes.result_shape
    assert values.dtype == np.float32
    of_p, of_q = (
        Gaussians(*(np.broadcast_to(x, (*shapes.result_shape, D)) for x in (g.means, g.variances))) for g in (p, q)
    )
    for place in np.ndindex(shapes.result_shape):
        np.testing.assert_allclose(values[place], divergence(of_p[place], of_q[place]), rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(values), np.broadcast_to(gone, shapes.result_shape))


@st.composite
def runs(draw: st.DrawFn) -> tuple[Gaussians, Gaussians, np.ndarray, np.ndarray]:
    """Return rows, rows to hold them against, some of which are not there, and runs of these."""
    n, m, width = draw(st.integers(0, 7)), draw(st.integers(0, 6)), draw(st.integers(0, 3))
    ends = draw(hnp.arrays(np.int64, (2, n, width), elements=st.integers(0, m)))
    q = drawn((m,), draw(st.integers(0, 99)))
    gone = draw(hnp.arrays(bool, m))
    q.means[gone] = np.nan
    return drawn((n,), 100), q, *np.sort(ends, axis=0)


@settings(deadline=None)
@given(runs())
def test_the_least_of_a_run_is_that_of_a_loop(case: tuple[Gaussians, Gaussians, np.ndarray, np.ndarray]) -> None:
    p, q, first, last = case
    expected = np.full(first.shape, np.nan, np.float32)
    for i, r in np.ndindex(first.shape):
        for j in range(first[i, r], last[i, r]):
            expected[i, r] = np.fmin(expected[i, r], divergence(p[i], q[j]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussians, "BLOCK_ROWS", 3)
        least = least_divergence(p, q, first, last)
    np.testing.assert_allclose(least, expected, rtol=1e-6)
    assert least.dtype == np.float32


def test_the_examples_are_true() -> None:
    outcome = doctest.testmod(gaussians)
    assert outcome.attempted > 0
    assert outcome.failed == 0
