"""A budget's promise says what the reference can tell, and days are held against it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from dasanom_assets.detection.calibration.rates import in_words
from dasanom_assets.detection.events.outlines import find_events, hour_of
from dasanom_assets.detection.events.unusual import taking_part
from dasanom_assets.detection.reference.model import Reference
from dasanom_assets.detection.reference.promise import (
    BUDGETS,
    expected_and_realised,
    kept,
    promise,
    promise_holds,
)
from dasanom_assets.settings import ReferenceSettings, Settings
from dasanom_tests.detection.calibration.test_rates import made
from dasanom_tests.detection.conftest import CHANNELS, EVENTFUL, EVENTS, QUIET, SECONDS, SETTINGS, Ground

FEW = ReferenceSettings(replicates=20)


def reference(n: int, km_days: float, days: int = 5, left_out: dict[str, str] | None = None) -> Reference:
    rates = made(np.random.default_rng(0).exponential(size=n), km_days=km_days, days=days, recipe=FEW)
    return SimpleNamespace(rates=rates, note={"left_out": left_out or {}})  # type: ignore[return-value]


def test_a_budget_that_counting_resolves_is_promised_as_it_is() -> None:
    stated = promise(reference(300, 20.0), 1.0)
    assert (stated.resolved, stated.promised, stated.warning) == (True, 1.0, False)
    assert stated.sentence == "20 km·days of reference on 5 days resolve 0.05 a km and day."


def test_a_finer_budget_is_kept_by_the_tail_and_says_what_would_resolve_it() -> None:
    stated = promise(reference(300, 0.5), 0.1)
    assert (stated.resolved, stated.promised, stated.warning) == (False, 0.1, False)
    assert (
        "the budget of 0.1 is kept by the upper bound of the tail; 10 km·days would resolve it" in stated.sentence
    )


@pytest.mark.parametrize("n", [0, 1, 5])
def test_with_too_few_events_for_a_tail_less_is_promised_and_it_warns(n: int) -> None:
    stated = promise(reference(n, 0.5), 0.1)
    assert (stated.resolved, stated.promised, stated.warning) == (False, pytest.approx(2.0), True)
    assert "with too few events for a tail, 2 is promised instead of 0.1" in stated.sentence
    assert promise(reference(n, 0.5), 2.0).resolved


def test_few_days_and_detectors_that_are_left_out_are_told() -> None:
    stated = promise(reference(300, 20.0, days=3), 1.0)
    assert stated.warning
    assert "with fewer than 4 days, rates are those of these days' weather" in stated.sentence
    stated = promise(reference(300, 20.0, left_out={"latent": "why", "infogan": "why"}), 1.0)
    assert stated.warning
    assert stated.sentence.endswith("detectors left out: latent, infogan.")


def test_rates_are_told_in_words() -> None:
    event = {"rate_per_km_day": 12.3456, "rate_low": 8.0, "rate_high": 20.12, "beyond_reference": False}
    assert in_words(event, 3.0) == "12.3 (8–20.1)"
    assert in_words(event | {"beyond_reference": True}, 3.0) == "rarer than once in 3 km·days"


@pytest.mark.parametrize("day", [QUIET, EVENTFUL])
def test_what_is_expected_of_a_day_is_its_exposure_and_what_is_realised_its_events(
    ground: Ground, day: str
) -> None:
    counts = expected_and_realised(ground.store, day, ground.reference)
    rates = ground.reference.rates
    assert list(counts) == [budget for budget in BUDGETS if budget >= rates.finest]
    exposure = CHANNELS * 0.005 * (SECONDS - 3) / 86_400
    flags = [
        rows.set_column(rows.schema.get_field_index("is_anomaly"), "is_anomaly", [np.ones(rows.num_rows, bool)])
        for rows in taking_part(ground.store, day, ground.reference.least_score)
    ]
    all_of_them = find_events(flags, None, rates, ground.reference.least_score, SETTINGS.window)[0].to_pylist()
    for budget, parts in counts.items():
        most = len(ground.reference.rates.strength) / ground.reference.rates.km_days
        assert parts["expected"] == pytest.approx(min(budget, most) * exposure)
        hour = np.array([hour_of(e["peak_start"].value) for e in all_of_them], int)
        place = [e["fibre"] for e in all_of_them], np.array([e["peak_channel"] for e in all_of_them], int), hour
        rate = rates.at(np.array([e["score"] for e in all_of_them]), *place)
        assert parts["realised"] == (rates.decisive(rate) <= budget).sum()
        assert parts["realised"] >= (len(EVENTS) if day == EVENTFUL else 0)


def test_a_quiet_day_realises_no_more_than_was_expected(ground: Ground) -> None:
    assert all(one.holds for one in kept([expected_and_realised(ground.store, QUIET, ground.reference)]))


def test_a_promise_holds_unless_chance_would_hardly_have_so_many() -> None:
    counts = [
        {10.0: {"expected": 2.0, "realised": 2}, 100.0: {"expected": 20.0, "realised": n}} for n in (25, 30, 50)
    ]
    one, other = kept(counts)
    assert (one.budget, one.realised, one.expected) == (10.0, 6, 6.0)
    assert (other.budget, other.realised, other.expected) == (100.0, 105, 60.0)
    assert one.holds
    assert not other.holds
    assert one.ratio[0] == 1
    assert kept([{1.0: {"expected": 0.0, "realised": 0}}]) == []
    assert kept([]) == []


@pytest.mark.parametrize("expected", [0.5, 5.0, 60.0])
def test_a_kept_promise_is_called_broken_once_in_a_hundred_times(expected: float) -> None:
    most = next(n for n in range(1000) if not kept([{1.0: {"expected": expected, "realised": n}}])[0].holds)
    assert stats.poisson.sf(most - 1, expected) <= 0.01 < stats.poisson.sf(most - 2, expected)


def test_days_may_have_other_budgets() -> None:
    result = kept([{10.0: {"expected": 1.0, "realised": 1}}, {100.0: {"expected": 1.0, "realised": 1}}])
    assert [(one.budget, one.realised) for one in result] == [(10.0, 1), (100.0, 1)]


def counted(*realised: int) -> dict[str, dict[float, dict[str, float]]]:
    """Return as many days, each with two events due at 100 a km and day, and none at 10 that could be expected."""
    return {
        f"2026-01-{10 + i}": {10.0: {"expected": 0.0, "realised": 0}, 100.0: {"expected": 2.0, "realised": n}}
        for i, n in enumerate(realised)
    }


def test_a_promise_holds_up_to_chance_without_the_strongest_day() -> None:
    """Where 4 are due, 9 or more are there by chance on 2.1 % of all occasions, and 10 or more on 0.8 %."""
    assert promise_holds(counted(60, 5, 4)) == (
        True,
        "2 days, without 2026-01-10, the strongest: 9 events where 4 were due at 100 a km and day",
    )
    passed, words = promise_holds(counted(60, 5, 5))
    assert not passed
    assert words.endswith("10 events where 4 were due at 100 a km and day")
    assert promise_holds(counted(0, 0, 0))[0]


def test_two_days_are_no_verdict() -> None:
    assert promise_holds(counted(60, 60)) == (
        True,
        "scored days that are new to the model: 2; a verdict needs 3",
    )
    assert not promise_holds(counted(60, 60, 60))[0]


def test_a_reference_that_resolves_no_budget_breaks_no_promise() -> None:
    passed, words = promise_holds({day: {} for day in counted(1, 1, 1)})
    assert passed
    assert "resolves no budget" in words


def test_the_promise_of_a_short_reference_names_its_resolution(ground: Ground) -> None:
    stated = promise(ground.reference, Settings().detection.budget)
    km_days = 2 * CHANNELS * 0.005 * (SECONDS - 3) / 86_400
    assert ground.reference.rates.km_days == pytest.approx(km_days)
    assert (
        f"{km_days:.3g} km·days of reference on 2 days resolve {1 / km_days:.3g} a km and day" in stated.sentence
    )
    assert stated.warning
    assert not stated.resolved
    enough = replace(ground.reference, rates=replace(ground.reference.rates, days=4))
    assert promise(enough, 1e4).sentence.endswith("a km and day.")
