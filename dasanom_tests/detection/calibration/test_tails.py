"""A tail goes on as the distribution does that its excesses were drawn from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dasanom_assets.detection.calibration.tails import fit_tail
from dasanom_assets.settings import ReferenceSettings

RECIPE = ReferenceSettings()


def drawn(rng: np.random.Generator, n: int, shape: float) -> np.ndarray:
    return stats.genpareto.rvs(shape, size=n, random_state=rng)


@pytest.mark.parametrize("shape", [0.0, 0.2])
def test_a_tail_has_the_shape_and_the_scale_that_its_excesses_were_drawn_with(shape: float) -> None:
    recipe = ReferenceSettings(tail_peaks=2000)
    rng = np.random.default_rng(0)
    fits = [fit_tail(-np.sort(-drawn(rng, 20_000, shape)), 4.0, recipe) for _ in range(20)]
    start = np.mean([tail.start for tail in fits])
    assert start == pytest.approx(stats.genpareto.isf(0.1, shape), rel=0.02)
    assert {tail.rate for tail in fits} == {2000 / 4.0}
    # Above any start, a Pareto tail is one again, its scale greater by shape · start. At 0 shapes are cut off.
    assert np.mean([tail.shape for tail in fits]) == pytest.approx(shape, abs=0.03)
    assert np.mean([tail.scale for tail in fits]) == pytest.approx(1 + shape * start, rel=0.04)


@pytest.mark.parametrize("shape", [0.0, 0.2])
def test_a_tail_goes_on_as_the_distribution_does(shape: float) -> None:
    recipe = ReferenceSettings(tail_peaks=2000)
    rng, far = np.random.default_rng(1), stats.genpareto.isf(1e-4, shape)
    tails = [fit_tail(-np.sort(-drawn(rng, 20_000, shape)), 1.0, recipe) for _ in range(40)]
    assert np.median([tail.rates(np.array([far]))[0] for tail in tails]) == pytest.approx(20_000 * 1e-4, rel=0.2)
    assert tails[0].rates(np.array([tails[0].start]))[0] == pytest.approx(2000)


def test_shapes_are_kept_between_an_exponential_and_the_recipes_bound() -> None:
    rng = np.random.default_rng(0)
    bounded = fit_tail(-np.sort(-rng.uniform(size=5000)), 1.0, RECIPE)
    assert bounded.shape == 0  # uniform ones have −1
    assert bounded.scale == pytest.approx(np.mean(1 - 0.01 * rng.uniform(size=5000)) * 0.01 / 2, rel=0.3)
    heavy = fit_tail(-np.sort(-drawn(rng, 5000, 0.9)), 1.0, ReferenceSettings(tail_peaks=1000))
    assert heavy.shape == RECIPE.most_shape


@settings(deadline=None, max_examples=60)
@given(n=st.integers(0, 200), equal=st.integers(0, 200), seed=st.integers(0, 9))
def test_a_tail_is_fitted_to_the_strongest_half_at_most_or_there_is_none(n: int, equal: int, seed: int) -> None:
    strength = -np.sort(-np.concatenate([np.random.default_rng(seed).exponential(size=n), np.full(equal, 0.5)]))
    tail = fit_tail(strength, 2.0, RECIPE)
    k = min(RECIPE.tail_peaks, (n + equal) // 2)
    if n + equal < RECIPE.least_peaks or strength[0] == strength[k]:
        assert tail is None
    else:
        assert tail.start == strength[k]
        assert tail.rate == k / 2.0
        assert 0 <= tail.shape <= RECIPE.most_shape
        assert tail.scale > 0
        rates = tail.rates(tail.start + np.linspace(0, 50, 30))
        assert (np.diff(rates) <= 0).all()
