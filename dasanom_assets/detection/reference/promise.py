"""What a budget promises, and what days realise of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.calibration.rates import exposure, poisson_ratio
from dasanom_assets.detection.events.components import STEPS_APART, apart
from dasanom_assets.detection.events.outlines import hour_of, outlines
from dasanom_assets.recordings.fibres import places_of
from dasanom_assets.settings import WindowSettings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import with_score
from dasanom_assets.tables.store import Store

if TYPE_CHECKING:  # its module loads networks
    from dasanom_assets.detection.reference.model import Reference

BUDGETS = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
"""Events a kilometre and day that expected and realised counts are told at."""
ENOUGH_DAYS = 4
"""With fewer reference days, rates are those of these days' weather."""
MOST_CHANCE = 0.01
"""A promise does not hold where chance alone would miss it by as much less often."""
LEAST_DAYS = 3
"""With fewer, one day of threats could not be told from a model that does not know the ground."""


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


def promise(reference: "Reference", budget: float) -> Promise:
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


def km_days_of(store: Store, day: str, reference: "Reference") -> float:
    """Return the km·days of a day that have a score by `reference`; the store must hold `anomaly_scores` of it."""
    return sum(km_days for _, km_days in _scored(store, day, reference, ["fibre", "invalid"]))


def _scored(
    store: Store, day: str, reference: "Reference", columns: list[str]
) -> Iterator[tuple[pa.Table, float]]:
    """Yield rows of `anomaly_scores` that have a score, a row group at a time, and the km·days of each."""
    window = WindowSettings(**reference.settings["window"])
    step = reference.settings["spectrogram"]["group_channels"]
    places = places_of(store, [day], float(np.median(list(reference.note["spacing_m"].values()))))
    for rows in store.iter_day("anomaly_scores", day, columns):
        if (rows := with_score(rows)).num_rows:
            metres = (places.spacing_m(rows["fibre"][0].as_py()) or np.nan) * step
            yield rows, exposure(rows.num_rows, metres, window.shift_seconds)


def expected_and_realised(store: Store, day: str, reference: "Reference") -> dict[float, dict[str, float]]:
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
    step, km_days = reference.settings["spectrogram"]["group_channels"], 0.0

    def strange() -> Iterator[pa.Table]:
        nonlocal km_days
        columns = ["fibre", "channel", "start", "score", "invalid"]
        for rows, of_rows in _scored(store, day, reference, columns):
            km_days += of_rows
            yield rows.filter(pa.array(rows["score"].to_numpy() >= reference.least_score)).drop("invalid")

    budgets = [budget for budget in BUDGETS if budget >= rates.finest]
    realised = dict.fromkeys(budgets, 0)
    reach = int(STEPS_APART * window.shift_seconds * SECOND_NS)
    for part in apart(strange(), reach, step):
        peaks = [event.peak for event in outlines(part, reference.least_score, rates.recipe, window, step)]
        peak = part.take(pa.array(peaks, pa.int64()))
        hour = hour_of(peak["start"].cast(pa.int64()).to_numpy())
        rate = rates.at(peak["score"].to_numpy(), peak["fibre"].to_pylist(), peak["channel"].to_numpy(), hour)
        for budget in budgets:
            realised[budget] += int((rates.decisive(rate) <= budget).sum())
    # There are no more events than the reference has at all.
    most = len(rates.strength) / rates.km_days
    return {b: {"expected": min(b, most) * km_days, "realised": realised[b]} for b in budgets}


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


def promise_holds(counts: Mapping[str, Mapping[float, Mapping[str, float]]]) -> tuple[bool, str]:
    """Say whether some days together have no more events than expected, beyond chance, and in words why.

    The strongest day is left out: threats are events, too, and one day of them is no fault of the model.

    Parameters
    ----------
    counts : mapping
        Of each day, by budget; see `expected_and_realised`.
    """
    if len(counts) < LEAST_DAYS:
        return True, f"scored days that are new to the model: {len(counts)}; a verdict needs {LEAST_DAYS}"
    ratios = {
        day: sum(n["realised"] / n["expected"] for n in budgets.values() if n["expected"])
        for day, budgets in counts.items()
    }
    strongest = max(ratios, key=ratios.__getitem__)
    verdicts = kept([budgets for day, budgets in counts.items() if day != strongest])
    days = f"{len(counts) - 1} days, without {strongest}, the strongest"
    if not verdicts:
        return True, f"{days}: the reference resolves no budget that could be compared"
    reasons = "; ".join(
        f"{verdict.realised} events where {verdict.expected:.3g} were due at {verdict.budget:g} a km and day"
        for verdict in ([verdict for verdict in verdicts if not verdict.holds] or verdicts)
    )
    return all(verdict.holds for verdict in verdicts), f"{days}: {reasons}"
