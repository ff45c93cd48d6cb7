"""What a budget promises, what days realise of it, and rates in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.calibration.rates import exposure, poisson_ratio
from dasanom_assets.detection.events.outlines import hour_of, outlines
from dasanom_assets.detection.reference.model import Reference
from dasanom_assets.recordings.fibres import places_of
from dasanom_assets.settings import WindowSettings
from dasanom_assets.tables.schemas import with_score
from dasanom_assets.tables.store import Store

BUDGETS = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
"""Events a kilometre and day that expected and realised counts are told at."""
ENOUGH_DAYS = 4
"""With fewer reference days, rates are those of these days' weather."""
MOST_CHANCE = 0.01
"""A promise does not hold where chance alone would miss it by as much less often."""


@dataclass(frozen=True)
class Promise:
    """What a budget comes to with a reference.

    Attributes
    ----------
    sentence : str
        For people.
    resolved : bool
        Whether counting alone keeps the budget.
    promised : float
        Events a kilometre and day that are promised.
    warning : bool
        Whether somebody should do something.
    """

    sentence: str
    resolved: bool
    promised: float
    warning: bool


def promise(reference: Reference, budget: float) -> Promise:
    """Say what a budget comes to, and what reference would resolve it."""
    rates = reference.rates
    resolved, promised = budget >= rates.finest, rates.promised(budget)
    parts = [
        f"{rates.km_days:.3g} km·days of reference on {rates.days} days resolve {rates.finest:.3g} a km and day"
    ]
    if not resolved:
        kept = (
            f"the budget of {budget:g} is kept by the upper bound of the tail"
            if promised <= budget
            else f"with too few events for a tail, {promised:.3g} is promised instead of {budget:g}"
        )
        parts.append(f"{kept}; {1 / budget:.3g} km·days would resolve it")
    if rates.days < ENOUGH_DAYS:
        parts.append(f"with fewer than {ENOUGH_DAYS} days, rates are those of these days' weather")
    left_out = reference.note["left_out"]
    if left_out:
        parts.append(f"detectors left out: {', '.join(left_out)}")
    return Promise(
        "; ".join(parts) + ".", resolved, promised, promised > budget or rates.days < ENOUGH_DAYS or bool(left_out)
    )


def in_words(event: Mapping[str, Any], km_days: float) -> str:
    """Return how often the reference does as much as an event, in words.

    Parameters
    ----------
    event : mapping
        A row of `anomaly_events`.
    km_days : float
        Of the reference.
    """
    if event["beyond_reference"]:
        return f"rarer than once in {km_days:.3g} km·days"
    return f"{event['rate_per_km_day']:.3g} ({event['rate_low']:.3g}–{event['rate_high']:.3g})"


def expected_and_realised(store: Store, day: str, reference: Reference) -> dict[float, dict[str, float]]:
    """Return the events that a scored day is expected to have, as the reference goes, and has, by budget.

    Budgets are those of `BUDGETS` that the reference resolves. Threats are among what is realised: a day on which
    there are some has more than expected.

    Parameters
    ----------
    store : Store
        Must hold `anomaly_scores` of the day.
    day : str
        ISO day.
    reference : Reference
        The one that scored the day.
    """
    rates, window = reference.rates, WindowSettings(**reference.settings["window"])
    columns = ["fibre", "channel", "start", "score", "invalid"]
    tables, km_days = [], 0.0
    step = reference.settings["spectrogram"]["group_channels"]
    places = places_of(store, [day], float(np.median(list(reference.note["spacing_m"].values()))))
    for rows in store.iter_day("anomaly_scores", day, columns):
        if not (rows := with_score(rows)).num_rows:
            continue
        metres = (places.spacing_m(rows["fibre"][0].as_py()) or np.nan) * step
        km_days += exposure(rows.num_rows, metres, window.shift_seconds)
        tables.append(rows.filter(pa.array(rows["score"].to_numpy() >= reference.least_score)))
    budgets = [budget for budget in BUDGETS if budget >= rates.finest]
    if not tables:
        return {budget: {"expected": 0.0, "realised": 0} for budget in budgets}
    strange = pa.concat_tables(tables).combine_chunks()
    peaks = [event.peak for event in outlines(strange, reference.least_score, rates.recipe, window, step)]
    peak = strange.take(pa.array(peaks, pa.int64()))
    hour = hour_of(peak["start"].cast(pa.int64()).to_numpy())
    rate = rates.at(peak["score"].to_numpy(), peak["fibre"].to_pylist(), peak["channel"].to_numpy(), hour)
    return {
        budget: {
            # There are no more events than the reference has at all.
            "expected": min(budget, len(rates.strength) / rates.km_days) * km_days,
            "realised": int((rates.decisive(rate) <= budget).sum()),
        }
        for budget in budgets
    }


class Kept(NamedTuple):
    """Whether a promise holds: events there were and were due, and their ratio with its interval."""

    budget: float
    realised: int
    expected: float
    ratio: tuple[float, float, float]
    holds: bool


def kept(counts: Sequence[Mapping[float, Mapping[str, float]]]) -> list[Kept]:
    """Say by budget whether some days together have no more events than expected (exact Poisson test).

    Parameters
    ----------
    counts : sequence of mapping
        Of each day, from `expected_and_realised`.
    """
    out = []
    for budget in sorted({budget for day in counts for budget in day}):
        days = [day[budget] for day in counts if budget in day]
        realised, expected = int(sum(day["realised"] for day in days)), sum(day["expected"] for day in days)
        if expected > 0:
            ratio = poisson_ratio(realised, expected, 1 - 2 * MOST_CHANCE)
            out.append(Kept(budget, realised, expected, ratio, ratio[1] <= 1))
    return out
