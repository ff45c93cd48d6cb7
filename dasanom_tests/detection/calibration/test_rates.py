"""Rates are kept on new ground, places and hours have their own, and a budget and a rate say the same.

It is one file of more than 350 lines: all of it draws events from one known law.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dasanom_assets.detection.calibration.rates import Rates, poisson_ratio, prior_weight
from dasanom_assets.settings import ReferenceSettings

RECIPE = ReferenceSettings(replicates=60)
HOUR = 12


def made(
    strength: np.ndarray,
    place: np.ndarray | None = None,
    km_days: float = 1.0,
    places: int = 40,
    blocks: int = 50,
    days: int = 5,
    recipe: ReferenceSettings = RECIPE,
    hour: np.ndarray | None = None,
    seed: int = 0,
) -> Rates:
    """Rates of events on one fibre, spread evenly over blocks of time, places 100 m apart."""
    rng = np.random.default_rng(seed)
    strength = np.asarray(strength, np.float32)
    order = np.argsort(-strength, kind="stable")
    n = len(strength)
    place = rng.integers(places, size=n) if place is None else np.asarray(place)
    return Rates(
        strength=strength[order],
        place=place[order].astype(np.int32),
        block=rng.integers(blocks, size=n).astype(np.int32),
        hour=(np.full(n, HOUR) if hour is None else hour[order]).astype(np.int8),
        fibre=np.full(places, "north"),
        channel=np.arange(places, dtype=np.int32),
        distance_m=100.0 * np.arange(places),
        place_exposure=np.full(places, km_days / places),
        block_exposure=np.full(blocks, km_days / blocks),
        hour_exposure=np.full(24, km_days / 24),
        days=days,
        recipe=recipe,
    )


def drawn(rng: np.random.Generator, n: int, shape: float) -> np.ndarray:
    return stats.genpareto.rvs(shape, size=n, random_state=rng)


def decisive_rate(
    rates: Rates, strength: float, channel: int = 0, fibre: str = "north", hour: int = HOUR
) -> float:
    """The rate that is held against a budget."""
    rate = rates.at(np.array([strength]), [fibre], np.array([channel]), np.array([hour]))
    return float(rates.decisive(rate)[0])


# -- counting -------------------------------------------------------------------------------------------


def test_below_the_tail_a_rate_is_one_more_than_the_events_as_strong_over_the_exposure() -> None:
    rng = np.random.default_rng(0)
    strength = rng.exponential(size=400).astype(np.float32)
    rates = made(strength, km_days=3.0)
    for asked in np.quantile(strength, [0.01, 0.3, 0.5, 0.8]):
        expected = (1 + (strength >= np.float32(asked)).sum()) / 3.0
        assert rates.pooled(asked).rate[0] == pytest.approx(expected)
    assert rates.finest == pytest.approx(1 / 3)
    assert rates.km_days == pytest.approx(3.0)


def test_one_strange_event_more_changes_a_rate_by_one_event() -> None:
    strength = np.random.default_rng(0).exponential(size=400)
    before, after = made(strength, km_days=2.0), made(np.append(strength, 1e4), km_days=2.0)
    below = np.quantile(strength, np.linspace(0, 0.85, 20))
    np.testing.assert_allclose(after.pooled(below).rate - before.pooled(below).rate, 1 / 2.0)
    # In the tail the event is one of fifty, and what is as strong as it has happened once: the rate is no less.
    assert after.pooled(1e4).rate[0] <= 2 / 2.0
    assert not after.pooled(1e4).beyond[0]
    assert before.pooled(1e4).beyond[0]
    assert (
        decisive_rate(after, 20.0) <= 2 / 2.0
    )  # ten times stronger than any other, and still rarer than once in all


def test_beyond_says_where_no_event_of_the_reference_was_as_strong() -> None:
    rates = made([1, 2, 3])
    assert rates.pooled(np.array([0.5, 3.0, 3.1])).beyond.tolist() == [False, False, True]


@settings(deadline=None, max_examples=40)
@given(
    n=st.sampled_from([0, 1, 5, 12, 60, 300]),
    shape=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 5),
    asked=st.lists(st.floats(-5, 1e4, width=32), min_size=2, max_size=30),
)
def test_what_is_stronger_never_has_a_higher_rate(n: int, shape: float, seed: int, asked: list[float]) -> None:
    rates = made(
        drawn(np.random.default_rng(seed), n, shape), km_days=2.0, recipe=ReferenceSettings(replicates=20)
    )
    rate = rates.pooled(np.sort(asked))
    assert (np.diff(rate.rate) <= 0).all()
    assert (rate.low <= rate.rate).all()
    assert (rate.rate <= rate.high).all()
    assert (rate.rate >= 0).all()
    assert np.isfinite(rate.high).all()
    assert (np.diff(rate.beyond.astype(int)) >= 0).all()


def test_the_interval_of_a_counted_rate_holds_the_true_one_about_as_often_as_it_says() -> None:
    rng, position, inside = np.random.default_rng(0), 1.5, []
    for i in range(150):
        n = rng.poisson(300)
        rate = made(rng.exponential(size=n), km_days=1.0, seed=i).pooled(position)
        inside.append(rate.low[0] <= 300 * np.exp(-position) <= rate.high[0])
    assert 0.82 < np.mean(inside) <= 1


@pytest.mark.parametrize("n", [0, 1, 5])
def test_few_events_work_and_promise_no_more_than_they_can(n: int) -> None:
    rates = made(np.arange(1.0, n + 1), km_days=0.5)
    assert rates.tail is None
    assert rates.promised(0.01) == pytest.approx(rates.finest) == pytest.approx(2.0)
    assert rates.promised(2.0) == 2.0
    assert np.isinf(rates.thresholds(1.9, "north", 0)).all()
    limit = rates.thresholds(2.0, "north", 0)
    assert (limit > (n if n else -1)).all()
    assert (limit < n + 0.001).all()
    assert rates.pooled(1e6).rate[0] == pytest.approx(2.0)
    assert decisive_rate(rates, 1e6) <= 2.0


# -- calibration ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept() -> dict[tuple[float, float], float]:
    """Realised ÷ asked by shape of the tail and events that a budget allows in all of the reference.

    Of 120 references: how often ground of the same kind, listened to for ever, would raise an alarm.
    """
    number, budgets = 400, (0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 40.0, 150.0)
    result: dict[tuple[float, float], list[float]] = {}
    for shape in (0.0, 0.2):
        rng = np.random.default_rng(int(10 * shape))
        for i in range(120):
            rates = made(drawn(rng, rng.poisson(number), shape), seed=i, recipe=ReferenceSettings(replicates=40))
            for budget in budgets:
                limit = rates.thresholds(budget, "north", 3)[HOUR]
                result.setdefault((shape, budget), []).append(number * stats.genpareto.sf(limit, shape) / budget)
    return {key: float(np.mean(values)) for key, values in result.items()}


@pytest.mark.parametrize("shape", [0.0, 0.2])
@pytest.mark.parametrize("budget", [3.0, 10.0, 40.0, 150.0])
def test_a_budget_that_is_resolved_is_kept_on_new_ground(
    kept: dict[tuple[float, float], float], shape: float, budget: float
) -> None:
    assert 0.8 < kept[shape, budget] < 1.25


@pytest.mark.parametrize("shape", [0.0, 0.2])
@pytest.mark.parametrize("budget", [0.02, 0.1, 0.3, 1.0])
def test_a_budget_finer_than_the_reference_is_kept_by_the_upper_bound_of_the_tail(
    kept: dict[tuple[float, float], float], shape: float, budget: float
) -> None:
    assert kept[shape, budget] < 1.5


@pytest.mark.parametrize("budget", [5.0, 30.0])
def test_alarms_counted_on_a_new_stretch_of_ground_are_as_many_as_asked(budget: float) -> None:
    rng, there = np.random.default_rng(5), 0
    for i in range(120):
        rates = made(rng.exponential(size=rng.poisson(400)), seed=i, recipe=ReferenceSettings(replicates=20))
        new = rng.exponential(size=rng.poisson(400)).astype(np.float32)
        place = rng.integers(40, size=len(new))
        rate = rates.at(new, ["north"] * len(new), place, np.full(len(new), HOUR))
        there += int((rates.decisive(rate) <= budget).sum())
    assert 0.8 < there / (120 * budget) < 1.25


# -- places and hours -----------------------------------------------------------------------------------


def test_homogeneous_places_are_all_usual() -> None:
    rng, off = np.random.default_rng(0), []
    for i in range(20):
        rates = made(rng.exponential(size=4000), seed=i)
        off.append(rates.factors(np.full(40, 0.1), ["north"] * 40, np.arange(40), np.full(40, HOUR)))
    assert np.abs(np.log(off)).mean() < 0.05
    assert np.abs(np.log(off)).max() < 0.35
    assert np.mean(off) == pytest.approx(1, abs=0.01)


def crossing(n: int, seed: int = 0) -> Rates:
    """Forty places of which number 7 has ten times the events of another."""
    share = np.ones(40)
    share[7] = 10
    rng = np.random.default_rng(seed)
    return made(rng.exponential(size=n), rng.choice(40, n, p=share / share.sum()), seed=seed)


def test_a_crossing_has_its_own_rate_and_others_are_not_punished() -> None:
    rates = crossing(4900)
    rate = rates.at(np.full(40, 0.5), ["north"] * 40, np.arange(40), np.full(40, HOUR)).rate
    true = 100 * np.exp(-0.5) / (1 / 40) * np.where(np.arange(40) == 7, 10, 1)
    np.testing.assert_allclose(rate[7], true[7], rtol=0.12)
    assert np.median(np.delete(rate / true, 7)) == pytest.approx(1, abs=0.1)
    assert np.delete(rate / true, 7).max() < 1.5
    limit = np.array([rates.thresholds(1000.0, "north", c)[0] for c in range(40)])
    assert limit[7] > np.delete(limit, 7).max()
    # What each place realises of the budget, with an exponential tail.
    realised = true / np.exp(-0.5) * np.exp(-limit) / 1000.0
    assert 0.7 < realised[7] < 1.5
    assert np.mean(np.delete(realised, 7)) == pytest.approx(1, abs=0.1)
    assert np.delete(realised, 7).max() < 2


def test_with_few_events_places_shrink_to_what_is_pooled() -> None:
    many, few = crossing(4900), crossing(60, 1)
    position = (np.zeros(1), ["north"], np.array([7]), np.array([HOUR]))
    pull = [abs(np.log(rates.factors(*position)[0])) / np.log(10 * 40 / 49) for rates in (few, many)]
    assert pull[0] < pull[1] < 1.1
    assert made([1.0, 2.0], [3, 3]).factors(np.zeros(1), ["north"], np.array([9]), np.array([HOUR]))[0] > 0.2


def test_the_weight_of_the_prior_is_that_of_the_gamma_distribution_that_places_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    m = np.full(20_000, 6.0)
    for weight in (0.5, 2.0, 8.0):
        k = rng.poisson(m * rng.gamma(weight, 1 / weight, len(m)))
        assert prior_weight(k, m) == pytest.approx(weight, rel=0.1)
    assert prior_weight(rng.poisson(m), m) > 100
    assert prior_weight(m, m) == np.inf
    assert prior_weight(np.zeros(5), np.zeros(5)) == np.inf


def test_a_place_is_what_lies_within_the_recipes_metres_on_the_same_fibre() -> None:
    near = replace(made(np.ones(0), places=6), distance_m=np.array([0.0, 10, 20, 30, 40, 500]))
    fibre = np.array(["north"] * 3 + ["south"] * 3)
    place = np.repeat([1, 4], [400, 4])
    rates = made(np.random.default_rng(0).exponential(size=404), place, places=6)
    rates = replace(rates, distance_m=near.distance_m, fibre=fibre)
    factor = rates.factors(np.zeros(6), fibre, np.arange(6), np.full(6, HOUR))
    assert (factor[:3] > 1.3).all()  # within 15 m of place 1: 400 events where 135 to 200 were due
    assert (factor[3:] < 0.3).all()  # the next metres are another fibre's


def test_channels_that_are_not_in_the_reference_are_those_nearest_and_fibres_are_pooled() -> None:
    rates = crossing(4900)
    rates = replace(rates, channel=np.arange(0, 400, 10, dtype=np.int32))
    asked = np.array([70, 66, 74, 65, 64, -5, 10_000])
    factor = rates.factors(np.full(7, 0.5), ["north"] * 7, asked, np.full(7, HOUR))
    own = rates.factors(np.full(40, 0.5), ["north"] * 40, rates.channel, np.full(40, HOUR))
    np.testing.assert_allclose(factor, own[[7, 7, 7, 6, 6, 0, 39]])
    assert rates.factors(np.array([0.5]), ["elsewhere"], np.array([70]), np.array([HOUR])).tolist() == [1]
    np.testing.assert_allclose(
        rates.at(np.array([0.5]), ["elsewhere"], np.array([70]), np.array([0])).rate, rates.pooled(0.5).rate
    )


def test_hours_have_rates_of_their_own_from_enough_days_on() -> None:
    rng = np.random.default_rng(0)
    share = np.where(np.arange(24) == 8, 10.0, 1.0)
    hour = rng.choice(24, 4000, p=share / share.sum())
    strength = rng.exponential(size=4000)
    few, enough = (
        made(strength, hour=hour, days=days, recipe=ReferenceSettings(replicates=20)) for days in (13, 14)
    )
    assert few.factors(np.zeros(24), ["north"] * 24, np.zeros(24, int), np.arange(24)).std() == 0
    factor = enough.factors(np.zeros(24), ["north"] * 24, np.zeros(24, int), np.arange(24))
    assert factor[8] / np.median(factor) == pytest.approx(10, rel=0.35)
    limit = enough.thresholds(200.0, "north", 0)
    assert limit.argmax() == 8
    assert len(np.unique(few.thresholds(200.0, "north", 0))) == 1


# -- thresholds and rates say the same ------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    n=st.sampled_from([1, 3, 12, 60, 300]),
    budget=st.sampled_from([0.01, 0.5, 1.0, 4.0, 30.0, 200.0]),
    place=st.sampled_from([0, 7, 39]),
    seed=st.integers(0, 4),
    above=st.floats(0, 30, width=32),
)
def test_an_event_is_within_a_budget_where_it_reaches_the_threshold_and_just_below_it_is_not(
    n: int, budget: float, place: int, seed: int, above: float
) -> None:
    share = np.where(np.arange(40) == 7, 10.0, 1.0)
    rng = np.random.default_rng(seed)
    places = rng.choice(40, n, p=share / share.sum())
    rates = made(rng.exponential(size=n), places, recipe=ReferenceSettings(replicates=10), seed=seed)
    limit, grid = rates.thresholds(budget, "north", place)[HOUR], rates.curve[0]
    if np.isfinite(limit):
        assert decisive_rate(rates, limit, place) <= budget
        assert decisive_rate(rates, float(np.float32(limit + above)), place) <= budget
    below = grid[grid < limit]
    if len(below):
        assert decisive_rate(rates, below[-1], place) > budget
        if len(below) < len(grid) and rates.tail and limit > rates.tail.start:
            assert limit - below[-1] < 0.06 * rates.tail.scale + (rates.strength[0] - rates.tail.start) / 900


@settings(deadline=None, max_examples=30)
@given(n=st.sampled_from([1, 12, 60, 1000]), seed=st.integers(0, 9))
def test_what_is_held_against_a_budget_never_grows_with_strength(n: int, seed: int) -> None:
    rates = made(
        np.random.default_rng(seed).exponential(size=n), recipe=ReferenceSettings(replicates=10), places=1
    )
    rate = rates.pooled(np.unique(np.concatenate([rates.curve[0], np.linspace(-1, 20, 200)])))
    assert (np.diff(rates.decisive(rate)) <= 0).all()


# -- storage and Poisson --------------------------------------------------------------------------------


def test_rates_survive_storage() -> None:
    rates = replace(crossing(300), fibre=np.array(["north"] * 20 + ["south"] * 20))
    tensors, values = rates.state()
    again = Rates.restore(tensors, values, rates.recipe)
    position = (np.linspace(0, 9, 8), ["north", "south"] * 4, np.arange(8) * 5, np.arange(8))
    for one, other in zip(rates.at(*position), again.at(*position), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(again.thresholds(1.0, "south", 7), rates.thresholds(1.0, "south", 7))
    assert again.state()[1] == values
    assert (again.km_days, again.days) == (rates.km_days, rates.days)


@pytest.mark.parametrize(
    ("there", "low", "high"),
    [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (5, 1.6235, 11.6683), (10, 4.7954, 18.3904), (100, 81.36, 121.63)],
)
def test_intervals_of_counts_are_those_of_garwoods_table(there: int, low: float, high: float) -> None:
    assert poisson_ratio(there, 1.0) == pytest.approx((there, low, high), abs=0.006)
    assert poisson_ratio(there, 4.0)[2] == pytest.approx(high / 4, abs=0.002)


@given(there=st.integers(0, 500), confidence=st.floats(0.5, 0.99))
def test_the_ends_of_an_interval_are_as_improbable_as_the_confidence_says(there: int, confidence: float) -> None:
    _, low, high = poisson_ratio(there, 1.0, confidence)
    side = (1 - confidence) / 2
    assert stats.poisson.cdf(there, high) == pytest.approx(side, rel=1e-6)
    if there:
        assert stats.poisson.sf(there - 1, low) == pytest.approx(side, rel=1e-6)
