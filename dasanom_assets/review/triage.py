"""The places of a day that an analyst is asked to judge, and how many alarms of each side are true."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dasanom_assets.comparison import triage

if TYPE_CHECKING:
    from dasanom_assets.review.day import DayView


def triage_of(view: "DayView") -> dict[str, Any]:
    """Return the sample of a day for the pages.

    ``queue`` lists drawn places in the order in which to judge them, without the side that raised them: who knows
    it judges otherwise. ``cells`` counts places by cell of the agreement table, and ``precision`` tells of each side
    which share of its places was something; see `triage.precision`.
    """
    places = triage.places_of(view.matches, view.day)
    sample = triage.drawn(places, view.settings.comparison.triage_places)
    said = triage.verdicts_on(sample, view.verdicts, view.events, view.contractor_events)
    cells = triage.cells_of(places, sample, said)
    sides = [side for side in triage.SIDES if view.both_sides or side == "ours"]
    return {
        "queue": [_shown(view, place, verdict) for place, verdict in zip(sample, said, strict=True)],
        "per_cell": view.settings.comparison.triage_places,
        "judged": sum(verdict is not None for verdict in said),
        "cells": {name: asdict(cell) for name, cell in cells.items()},
        "precision": {side: triage.precision([cells], side) for side in sides},
    }


def _shown(view: "DayView", place: triage.Place, verdict: str | None) -> dict[str, Any]:
    row = view.by_event.get(place.events[0], {})
    names = ("fibre", "start", "seconds", "first", "last", "first_m", "last_m", "rank")
    return {"event": place.events[0], "verdict": verdict} | {name: row.get(name) for name in names}
