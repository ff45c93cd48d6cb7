"""Mixtures fitted many at a time, equal to scikit-learn's, and how much they differ, against Monte Carlo."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from dasanom_assets.detection.mixtures import (
    BLOCK,
    FLOOR,
    Mixtures,
    Prepared,
    divergence,
    fit_mixtures,
    least_divergence,
)

D = 6


def segments(n: int, shift: float = 0.0, scale: float = 1.0, bursts: float = 0.3, seed: int = 0) -> np.ndarray:
    """Return quiet frames, some of them louder in the first dimensions, shape (n, 120, 6)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 120, D))
    x[rng.random(x.shape[:2]) < bursts] += [6, 3, 1, 0, 0, 0]
    return (scale * x + shift).astype(np.float32)


def gaussian(means: np.ndarray, variances: np.ndarray) -> Mixtures:
    return Mixtures(np.ones((*means.shape[:-1], 1)), means[..., None, :], variances[..., None, :])


def closed_form(m: np.ndarray, v: np.ndarray, n: np.ndarray, u: np.ndarray) -> np.ndarray:
    square = np.square(m - n)
    return 0.25 * ((v + square) / u + (u + square) / v - 2).sum(axis=-1)


def monte_carlo(p: Mixtures, q: Mixtures, n: int = 20_000) -> np.ndarray:
    rng = np.random.default_rng(5)
    x, y = p.sample(n, rng), q.sample(n, rng)
    there = (p.log_likelihood(x) - q.log_likelihood(x)).mean(axis=-1)
    back = (q.log_likelihood(y) - p.log_likelihood(y)).mean(axis=-1)
    return 0.5 * (there + back)


def test_one_component_has_the_moments_of_its_frames() -> None:
    frames = segments(5)
    found = fit_mixtures(frames, 1)
    np.testing.assert_allclose(found.means[:, 0], frames.mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(found.variances[:, 0], frames.var(axis=1) + FLOOR, rtol=1e-4)
    assert (found.weights == 1).all()


@pytest.mark.parametrize("chained", [False, True])
def test_the_fit_is_as_likely_as_that_of_scikit_learn_with_the_number_of_components_of_its_bic(
    chained: bool,
) -> None:
    frames = np.concatenate([segments(8), segments(4, bursts=0.0, seed=1), segments(8, shift=2, seed=2)])
    found = fit_mixtures(frames, chained=chained)
    for i, x in enumerate(frames):
        theirs = [
            GaussianMixture(k, covariance_type="diag", reg_covar=FLOOR, n_init=3, random_state=0).fit(x)
            for k in range(1, 5)
        ]
        best = min(theirs, key=lambda mixture, x=x: mixture.bic(x))
        assert (found.weights[i] > 0).sum() == best.n_components
        assert found[i].log_likelihood(x).mean() > best.score(x) - 0.01


def test_the_likelihood_is_that_of_scikit_learn() -> None:
    x = segments(1)[0].astype(float)
    theirs = GaussianMixture(3, covariance_type="diag", random_state=0).fit(x)
    ours = Mixtures(theirs.weights_, theirs.means_, theirs.covariances_)
    np.testing.assert_allclose(ours.log_likelihood(x), theirs.score_samples(x))


def test_missing_frames_take_no_part_and_a_row_without_frames_is_not_there() -> None:
    frames = segments(2)
    gappy = frames.copy()
    gappy[0, ::3, 2] = np.nan
    gappy[1] = np.nan
    found = fit_mixtures(gappy)
    kept = np.delete(frames[:1], np.s_[::3], axis=1)
    np.testing.assert_array_equal(found.means[0], fit_mixtures(kept).means[0])
    assert np.isnan(found.weights[1]).all()
    assert np.isnan(divergence(found, found)[1])


def test_rows_give_the_same_whatever_comes_with_them() -> None:
    frames = segments(2 * BLOCK + 7, bursts=0.2)
    together, alone = fit_mixtures(frames), fit_mixtures(frames[BLOCK + 3 : BLOCK + 5])
    np.testing.assert_array_equal(together.means[BLOCK + 3 : BLOCK + 5], alone.means)


def test_few_frames_do_not_have_many_components() -> None:
    found = fit_mixtures(segments(20)[:, : 2 * D + 3])
    assert (found.weights[:, 0] == 1).all()


@pytest.mark.parametrize(
    ("name", "other", "at_least", "at_most"),
    [
        ("near", segments(30, bursts=0.32, seed=3), 0.0, 0.8),
        ("middling", segments(30, shift=0.4, seed=4), 0.5, 3.0),
        ("far", segments(30, shift=2, scale=1.5, seed=5), 5.0, 50.0),
    ],
)
def test_divergence_is_within_a_tenth_of_monte_carlo(
    name: str, other: np.ndarray, at_least: float, at_most: float
) -> None:
    p, q = fit_mixtures(segments(30)), fit_mixtures(other)
    ours, reference = divergence(p, q), monte_carlo(p, q)
    assert at_least < np.median(reference) < at_most
    assert np.median(np.abs(ours / reference - 1)) < 0.1
    assert abs(ours.sum() / reference.sum() - 1) < 0.1


positive = st.floats(0.02, 50)
finite = st.floats(-20, 20)


@settings(deadline=None)
@given(st.lists(st.tuples(finite, finite, positive, positive), min_size=1, max_size=8))
def test_of_one_component_each_it_is_the_closed_form(numbers: list[tuple[float, float, float, float]]) -> None:
    m, n, v, u = np.array(numbers).T
    found = divergence(gaussian(m, v), gaussian(n, u))
    np.testing.assert_allclose(found, closed_form(m, v, n, u), rtol=1e-5, atol=1e-9)


@st.composite
def mixtures(draw: st.DrawFn) -> Mixtures:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    k, spread = draw(st.integers(1, 4)), draw(st.floats(0.1, 100))
    weights = rng.dirichlet(np.ones(k), 3).astype(np.float32)
    return Mixtures(weights, spread * rng.normal(size=(3, k, D)), rng.gamma(2, size=(3, k, D)) + FLOOR)


@settings(deadline=None)
@given(mixtures(), mixtures())
def test_it_is_symmetric_not_negative_and_nothing_between_equals(p: Mixtures, q: Mixtures) -> None:
    found = divergence(p, q)
    assert (found >= 0).all()
    np.testing.assert_allclose(found, divergence(q, p), rtol=1e-6)
    np.testing.assert_allclose(divergence(p, p), 0, atol=1e-9)


@settings(deadline=None)
@given(mixtures(), mixtures(), st.randoms(use_true_random=False))
def test_components_without_weight_and_their_order_do_not_matter(p: Mixtures, q: Mixtures, random) -> None:
    order = list(range(p.weights.shape[-1] + 2))
    random.shuffle(order)
    padded = Mixtures(
        np.pad(p.weights, [(0, 0), (0, 2)])[:, order],
        np.pad(p.means, [(0, 0), (0, 2), (0, 0)], constant_values=7)[:, order],
        np.pad(p.variances, [(0, 0), (0, 2), (0, 0)], constant_values=1)[:, order],
    )
    np.testing.assert_allclose(divergence(padded, q), divergence(p, q), rtol=1e-5, atol=1e-9)


def test_shapes_are_broadcast_and_the_least_of_a_run_is_one_of_them() -> None:
    p, q = fit_mixtures(segments(4)), fit_mixtures(segments(7, seed=1))
    table = divergence(p[:, None], q[None])
    assert table.shape == (4, 7)
    np.testing.assert_array_equal(table[2, 5], divergence(p[2], q[5]))
    first, last = np.array([0, 2, 3, 6]), np.array([3, 7, 3, 9])
    found = least_divergence(Prepared.of(p), Prepared.of(q), first[:, None], np.minimum(last, 7)[:, None])[:, 0]
    np.testing.assert_array_equal(found[[0, 1, 3]], [table[0, :3].min(), table[1, 2:].min(), table[3, 6]])
    assert np.isnan(found[2])
