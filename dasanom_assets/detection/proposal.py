"""A candidate beside the live model: both score days that neither has learned from, in tables of their own.

What is live, and what it has scored, stays as it is. What is found is kept beside the candidate.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.detection import steps
from dasanom_assets.detection.reference.model import (
    NAME,
    IncompatibleModelError,
    Reference,
    load_reference,
    promote,
    proposal_path,
)
from dasanom_assets.detection.reference.promise import LEAST_DAYS, km_days_of, promise_holds
from dasanom_assets.models import checkpoints
from dasanom_assets.settings import Settings
from dasanom_assets.tables import verdicts
from dasanom_assets.tables.provenance import Freshness, StaleError
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store

FOLDER = "proposal"
"""Where a candidate's tables are while they are compared."""
STEPS = (steps.scores, steps.anomaly_events)
JUDGED = ("true", "false")
"""Verdicts that a model is held against: confirmed threats and nuisances."""


class NoProposalError(ValueError):
    """There is nothing to compare; the message says why, and what to do."""


@dataclass(frozen=True)
class Side:
    """What one of the two models makes of the held-out days.

    Attributes
    ----------
    version : str
        Of the reference model.
    learned : list of str
        ISO days that it learned from.
    alarms : int
    shared : int
        Those of them that the other model raises, too.
    km_days : float
        Kilometres times days that have a score.
    promised : float
        Alarms a kilometre and day that it promises at the budget in force.
    kept : bool or None
        Whether there are no more events than it expects, beyond chance; None where days are too few for a verdict.
    promise : str
        The same in words.
    threats, nuisances : list of str
        Confirmed ones that it alarms for: fibre, time and channels, in words.
    """

    version: str
    learned: list[str]
    alarms: int
    shared: int
    km_days: float
    promised: float
    kept: bool | None
    promise: str
    threats: list[str]
    nuisances: list[str]


@dataclass(frozen=True)
class Proposal:
    """Both models on the same days.

    Attributes
    ----------
    live, candidate : Side
    days : list of str
        ISO days that both scored, and neither learned from.
    left_out : dict
        Days that would be among them, and why they are not.
    threats, nuisances : int
        Confirmed by verdicts on these days.
    reasons : list of str
        Why the written rule refuses the candidate; none where it is as good or better.
    """

    live: Side
    candidate: Side
    days: list[str]
    left_out: dict[str, str]
    threats: int
    nuisances: int
    reasons: list[str]

    @property
    def verdict(self) -> str:
        """What the written rule says of the candidate."""
        return "; ".join(self.reasons) or f"it is no worse than the live model (held-out days: {len(self.days)})"

    @property
    def how(self) -> str:
        """How the candidate goes live."""
        command = f"dasanom promote {self.candidate.version}"
        if self.reasons:
            return f"{command} --anyway: the rule refuses it, and that is for a hand to pass over"
        return f"{command}, or the job promote with this version in the config of live_model"

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the figures of both models as a table of words: what, live, candidate."""
        kept = {True: "kept: ", False: "broken: ", None: ""}

        def of(side: Side) -> dict[str, str]:
            return {
                "version": side.version,
                "learned from": f"{side.learned[0]} to {side.learned[-1]} (days: {len(side.learned)})",
                "alarms": f"{side.alarms} in {side.km_days:.3g} km·days",
                "alarms a km and day": f"{side.alarms / side.km_days:.3g}" if side.km_days else "",
                "promised a km and day": f"{side.promised:.3g}",
                "promise": f"{kept[side.kept]}{side.promise}",
                "alarms that the other raises, too": f"{side.shared} of {side.alarms}",
                "confirmed threats found": f"{len(side.threats)} of {self.threats}",
                "confirmed nuisances raised": f"{len(side.nuisances)} of {self.nuisances}",
            }

        live, candidate = of(self.live), of(self.candidate)
        return [(what, live[what], candidate[what]) for what in live]


def propose(
    store: Store,
    version: str,
    days: Iterable[str],
    settings: Settings,
    device: str,
    dask: Any = None,
    say: Callable[[str], Any] = lambda line: None,
) -> Proposal:
    """Score days by the live model and by a candidate, and keep what is found beside the candidate.

    Parameters
    ----------
    store : Store
    version : str
        Of the candidate, a reference model.
    days : iterable of str
        ISO days that are ingested; the last of them that neither model has learned from are held out, as many as
        `automation.held_out_days`.
    settings : Settings
    device : str
        Torch device.
    dask : distributed.Client, optional
        Without it, threads of the process do it.
    say : callable
        Told which day is being scored.

    Raises
    ------
    NoProposalError
        Where there is no live model, or it is the candidate.
    """
    live_version = checkpoints.live(store, NAME)
    if live_version is None:
        raise NoProposalError("there is no live model to compare with: run the job train first")
    if live_version == version:
        raise NoProposalError(f"{version} is live already: nothing is proposed")
    references = [load_reference(store, v) for v in (live_version, version)]
    learned = [learned_days(store, reference) for reference in references]
    unseen = sorted(set(days).difference(*learned))[-settings.automation.held_out_days :]
    left_out: dict[str, str] = {}
    clear(store)
    try:
        stores = []
        for reference in references:
            scored = store if reference.version == live_version and _as_it_is(store, unseen, settings) else None
            stores.append(scored or _scored_aside(store, reference, unseen, settings, device, dask, say, left_out))
        held_out = [day for day in unseen if day not in left_out]
        said = {day: _last_words(verdicts.entries(store, day)) for day in held_out}
        events = [{day: scored.read_day("anomaly_events", day) for day in held_out} for scored in stores]
        live, candidate = (
            _side(stores[i], references[i], learned[i], events[i], events[1 - i], said, settings) for i in (0, 1)
        )
        words = [row["verdict"] for rows in said.values() for row in rows]
        reasons = refusals(live, candidate, len(held_out), settings.detection.budget)
        proposal = Proposal(
            live, candidate, held_out, left_out, words.count("true"), words.count("false"), reasons
        )
        store.write_json(proposal_path(version), asdict(proposal))
        return proposal
    finally:
        clear(store)


def read_proposal(store: Store, version: str) -> Proposal | None:
    """Return what was found of a candidate, or None where nobody has compared it."""
    if not store.exists(proposal_path(version)):
        return None
    kept = store.read_json(proposal_path(version))
    return Proposal(**(kept | {name: Side(**kept[name]) for name in ("live", "candidate")}))


def refusals(live: Side, candidate: Side, days: int, budget: float) -> list[str]:
    """Return why the written rule refuses a candidate; nothing where it is no worse than the live model.

    It is refused with fewer than `LEAST_DAYS` held-out days; where it misses a confirmed threat that the live one
    finds, or, of a live model that keeps its promise, most alarms that are no confirmed nuisances: it may be deaf;
    where it raises more confirmed nuisances; where it has more events than it expects, beyond chance; and where it
    promises more alarms than both the budget and the live model.

    Parameters
    ----------
    live, candidate : Side
    days : int
        Held-out days.
    budget : float
        Alarms a kilometre and day that are accepted.
    """
    reasons = []
    if days < LEAST_DAYS:
        reasons.append(f"held-out days: {days}, and the rule needs {LEAST_DAYS}")
    if lost := [threat for threat in live.threats if threat not in candidate.threats]:
        reasons.append(f"confirmed threats that it misses and the live model finds: {'; '.join(lost)}")
    if live.kept and 2 * live.shared < live.alarms - len(live.nuisances):
        reasons.append(
            f"of {live.alarms} alarms of the live model, which keeps its promise, it raises {live.shared}"
        )
    if (raised := len(candidate.nuisances)) > (before := len(live.nuisances)):
        reasons.append(f"confirmed nuisances that it raises: {raised}, the live model: {before}")
    if candidate.kept is False:
        reasons.append(f"it does not keep its promise ({candidate.promise})")
    if candidate.promised > max(budget, live.promised):
        reasons.append(
            f"it promises {candidate.promised:.3g} alarms a km and day, the live model {live.promised:.3g}"
        )
    return reasons


def learned_days(store: Store, reference: Reference) -> list[str]:
    """Return the days that a reference model or its network learned from, sorted."""
    of_network = checkpoints.load(store, "vae", reference.vae_version)[1]["days"]
    return sorted({*reference.crossed.folds.edges, *of_network})


def clear(store: Store) -> None:
    """Remove what a comparison has left, also one that was killed."""
    if store.exists(FOLDER):
        store.fs.rm(store.full(FOLDER), recursive=True)


def _as_it_is(store: Store, days: list[str], settings: Settings) -> bool:
    """Whether the live model has scored all of the days as it would now."""
    fresh = Freshness(store, settings)
    return not any(fresh.stale(table, day) for day in days for step in STEPS for table in step.tables)


def _scored_aside(
    store: Store,
    reference: Reference,
    days: list[str],
    settings: Settings,
    device: str,
    dask: Any,
    say: Callable[[str], Any],
    left_out: dict[str, str],
) -> Store:
    """Score days in a part of the store where a model is live; what it cannot score is named in `left_out`."""
    tables = [f"tables/{table}" for step in STEPS for table in step.tables]
    aside = store.aside(f"{FOLDER}/{reference.version}", [checkpoints.LIVE, *tables])
    promote(aside, reference.version, anyway=True)
    for day in days:
        say(f"{day} is scored by {reference.version}")
        try:
            steps.scores(aside, day, settings, device=device, dask=dask)
            steps.anomaly_events(aside, day, settings)
        except (StaleError, IncompatibleModelError) as error:
            left_out[day] = str(error)
    return aside


def _side(
    scored: Store,
    reference: Reference,
    learned: list[str],
    events: dict[str, pa.Table],
    others: dict[str, pa.Table],
    said: dict[str, list[dict[str, Any]]],
    settings: Settings,
) -> Side:
    counts = {day: scored.metadata("anomaly_events", day)["counts"] for day in events}
    kept, promise = promise_holds(
        {day: {float(b): n for b, n in of_day.items()} for day, of_day in counts.items()}
    )
    met: dict[str, list[str]] = {word: [] for word in JUDGED}
    for day, rows in said.items():
        for row in rows:
            if any(verdicts.judged(pa.Table.from_pylist([row], SCHEMAS[verdicts.TABLE]), events[day])):
                met[row["verdict"]].append(
                    f"{row['start']:%Y-%m-%d %H:%M:%S} on {row['fibre']} "
                    f"{row['first_channel']}–{row['last_channel']}"
                )
    return Side(
        version=reference.version,
        learned=learned,
        alarms=sum(table.num_rows for table in events.values()),
        shared=sum(_shared(events[day], others[day]) for day in events),
        km_days=sum(km_days_of(scored, day, reference) for day in events),
        promised=reference.rates.promised(settings.detection.budget),
        kept=kept if len(counts) >= LEAST_DAYS else None,
        promise=promise,
        threats=met["true"],
        nuisances=met["false"],
    )


def _last_words(entries: pa.Table) -> list[dict[str, Any]]:
    """Return the confirmed threats and nuisances of a day: verdicts that none later replaces."""
    rows = verdicts.in_force(entries)
    last = verdicts.judged(entries, pa.Table.from_pylist(rows, entries.schema))
    own = [row for row, verdict in zip(rows, last, strict=True) if verdict == row]
    return [row for row in own if row["verdict"] in JUDGED]


def _shared(events: pa.Table, others: pa.Table) -> int:
    """Return how many events share half of the smaller one with one of the others, in time and along the fibre."""
    edges = {name: others[name].cast(pa.int64()).to_numpy() for name in verdicts.EDGES}
    fibre = np.array(others["fibre"].to_pylist(), object)
    own = {name: events[name].cast(pa.int64()).to_pylist() for name in verdicts.EDGES}
    return sum(
        bool(
            (
                (fibre == of_event) & (verdicts.overlap_share(edges, {e: own[e][i] for e in own}) >= verdicts.SAME)
            ).any()
        )
        for i, of_event in enumerate(events["fibre"].to_pylist())
    )
