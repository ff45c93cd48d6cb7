"""How many alarms of each side are true: a sample that an analyst judges, and what follows from it.

Places are drawn from each cell of the agreement table: those that both sides have, only we, only the contractor.
Each place has a lot that follows from the day and its events, and the lowest are drawn (permanent random numbers,
Ohlsson 1995): a place that is drawn stays so, whoever asks, and a larger sample only adds to a smaller one. Judged
places count as many as they were drawn from.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import betabinom

from dasanom_assets.comparison.alarms import AGREEMENTS
from dasanom_assets.tables import verdicts

SIDES = {"ours": ("both", "only_us"), "contractor": ("both", "only_contractor")}
"""Of which cells the places of each side are."""
RIGHT = ("true", "planned")
"""Verdicts by which something was there; works that somebody planned are something."""
LEVEL = 0.95
DRAWS = 20_000


@dataclass(frozen=True)
class Place:
    """Events of both sides that are matched with each other, or one that has no match.

    Attributes
    ----------
    agreement : str
        The cell: one of `alarms.AGREEMENTS`.
    events : tuple of str
        Numbers of its events, ours first; the first is that by which it is judged.
    lot : float
        From 0 to 1.
    """

    agreement: str
    events: tuple[str, ...]
    lot: float


@dataclass(frozen=True)
class Cell:
    """A cell of the agreement table of a day, as far as it is judged.

    Attributes
    ----------
    places, drawn, judged, right : int
        How many there are; are drawn; are judged, but for `unknown`; and were something.
    unknown : int
        Drawn places of which the analyst does not know.
    """

    places: int
    drawn: int
    judged: int
    right: int
    unknown: int


def places_of(matches: pa.Table, day: str) -> list[Place]:
    """Return the places of a day, in the order of their lots.

    Parameters
    ----------
    matches : pyarrow.Table
        Rows of `event_matches`.
    day : str
        ISO day.
    """
    pairs = zip(*(matches[name].to_pylist() for name in ("event_id", "contractor_event_id")), strict=True)
    keys: dict[tuple[int, str], int] = {}
    ends = [[keys.setdefault((s, name), len(keys)) for s, name in enumerate(pair) if name] for pair in pairs]
    if not keys:
        return []
    first, last = np.array([(e[0], e[-1]) for e in ends]).T
    label = connected_components(
        coo_array((np.ones(len(first)), (first, last)), (len(keys),) * 2), directed=False
    )[1]
    groups: dict[int, tuple[list[str], list[str]]] = {}
    for (side, name), i in zip(keys, label.tolist(), strict=True):
        groups.setdefault(i, ([], []))[side].append(name)
    places = []
    for ours, theirs in groups.values():
        cell = AGREEMENTS[0 if ours and theirs else 1 if ours else 2]
        events = *sorted(ours), *sorted(theirs)
        places.append(Place(cell, events, _lot(day, events[0])))
    return sorted(places, key=lambda place: (place.lot, place.events))


def _lot(day: str, event: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{day} {event}".encode()).digest()[:7]) / 2**56


def drawn(places: Iterable[Place], each: int) -> list[Place]:
    """Return the places of a sample: of each cell those with the lowest lots, `each` of them at most."""
    places = list(places)
    chosen = [place for cell in AGREEMENTS for place in [p for p in places if p.agreement == cell][:each]]
    return sorted(chosen, key=lambda place: (place.lot, place.events))


def verdicts_on(places: Sequence[Place], said: pa.Table, *events: pa.Table) -> list[str | None]:
    """Return the last verdict in force on each place, whichever of its events it was said of; None: none yet.

    Parameters
    ----------
    places : sequence of Place
    said : pyarrow.Table
        Rows of `verdicts`.
    *events : pyarrow.Table
        Rows of `anomaly_events` and of `contractor_events`.
    """
    columns = [*verdicts.BOX, "event_id"]
    wanted = pa.array([event for place in places for event in place.events], pa.string())
    both = pa.concat_tables([table.select(columns) for table in events])
    both = both.filter(pc.is_in(both["event_id"], wanted))
    last = dict(zip(both["event_id"].to_pylist(), verdicts.judged(said, both), strict=True))
    out = []
    for place in places:
        words = [word for event in place.events if (word := last.get(event))]
        out.append(max(words, key=lambda word: word["made"])["verdict"] if words else None)
    return out


def cells_of(places: Sequence[Place], sample: Sequence[Place], said: Sequence[str | None]) -> dict[str, Cell]:
    """Return the cells of a day: `said` is the verdict on each place of the sample."""
    out = {}
    for cell in AGREEMENTS:
        mine = [verdict for place, verdict in zip(sample, said, strict=True) if place.agreement == cell]
        known = [verdict for verdict in mine if verdict not in (None, "unknown")]
        right = sum(verdict in RIGHT for verdict in known)
        n = sum(place.agreement == cell for place in places)
        out[cell] = Cell(n, len(mine), len(known), right, mine.count("unknown"))
    return out


def precision(days: Iterable[Mapping[str, Cell]], side: str) -> dict[str, Any]:
    """Return which share of the places of a side were something, with its interval.

    Each judged place stands for as many as its cell has on its day for each that is judged (Horvitz and
    Thompson 1952): the value is the stratified estimate. Each cell has a beta posterior with Jeffreys' prior
    (Brown, Cai and DasGupta 2001), of as many places as are worth the weighted ones (Kish 1965; Korn and Graubard
    1998); places that nobody judged are drawn from it, as the rest of a finite population (Ericson 1969). A cell
    that is judged as a whole is known. Days without a judged place of the side are left out.

    Parameters
    ----------
    days : iterable of mapping
        The cells of each day, as `cells_of` returns them.
    side : str
        ``ours`` or ``contractor``.

    Returns
    -------
    dict
        ``value``, None unless each cell that has places has a judged one; ``low`` and ``high``, None where
        nothing is judged; ``judged``, ``right``, ``places`` and ``days`` that it is of.

    Examples
    --------
    >>> day = {"both": Cell(10, 5, 5, 5, 0), "only_us": Cell(30, 5, 5, 1, 0)}
    >>> {name: round(value, 2) for name, value in precision([day], "ours").items()}
    {'value': 0.4, 'low': 0.25, 'high': 0.7, 'judged': 10, 'right': 6, 'places': 40, 'days': 1}
    """
    cells = SIDES[side]
    days = [day for day in days if any(day[cell].judged for cell in cells)]
    out: dict[str, Any] = {
        "value": None,
        "low": None,
        "high": None,
        "judged": 0,
        "right": 0,
        "places": 0,
        "days": len(days),
    }
    if not days:
        return out
    rng = np.random.default_rng(0)
    total, value, drawn_right = 0, 0.0, np.zeros(DRAWS)
    complete = True
    for cell in cells:
        mine = [day[cell] for day in days if day[cell].places]
        n = sum(c.places for c in mine)
        judged, right = sum(c.judged for c in mine), sum(c.right for c in mine)
        total += n
        out["judged"] += judged
        out["right"] += right
        if not n:
            continue
        weight = np.array([c.places / c.judged for c in mine if c.judged])
        counts = np.array([(c.judged, c.right) for c in mine if c.judged]).reshape(-1, 2)
        share, worth = 0.0, 0.0
        if judged:
            share = float(weight @ counts[:, 1] / (weight @ counts[:, 0]))
            worth = float((weight @ counts[:, 0]) ** 2 / (weight**2 @ counts[:, 0]))
        complete &= judged > 0
        value += n * share
        a, b = share * worth + 0.5, (1 - share) * worth + 0.5
        drawn_right += right + (betabinom.rvs(n - judged, a, b, size=DRAWS, random_state=rng) if n > judged else 0)
    low, high = np.quantile(drawn_right / total, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return out | {
        "value": value / total if complete else None,
        "low": float(low),
        "high": float(high),
        "places": total,
    }
