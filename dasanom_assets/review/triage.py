"""The places of a day that an analyst is asked to judge, and how many alarms of each side are true."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.comparison import triage
from dasanom_assets.tables.schemas import whole_times
from dasanom_assets.tables.verdicts import BOX

if TYPE_CHECKING:
    from dasanom_assets.review.day import DayView


def triage_of(view: "DayView") -> dict[str, Any]:
    """Return the sample of a day for the pages.

    ``queue`` lists drawn places in the order in which to judge them, without the side that raised them: who
    knows it judges otherwise. ``cells`` counts places by cell of the agreement table, and ``precision`` tells of
    each side which share of its places was something; see `triage.precision`.
    """
    places = triage.places_of(view.matches, view.day)
    sample = triage.drawn(places, view.settings.comparison.triage_places)
    said = triage.verdicts_on(sample, view.verdicts, view.events, view.contractor_events)
    cells = triage.cells_of(places, sample, said)
    boxes = {
        row["event_id"]: row for table in (view.events, view.contractor_events) for row in _boxes(table, sample)
    }
    sides = [side for side in triage.SIDES if view.both_sides or side == "ours"]
    return {
        # Between a new score and new matches, a place may be of events that are no longer there.
        "queue": [
            _shown(view, boxes[place.events[0]], verdict)
            for place, verdict in zip(sample, said, strict=True)
            if place.events[0] in boxes
        ],
        "per_cell": view.settings.comparison.triage_places,
        "judged": sum(verdict is not None for verdict in said),
        "cells": {name: asdict(cell) for name, cell in cells.items()},
        "precision": {side: triage.precision([cells], side) for side in sides},
    }


def _boxes(table: pa.Table, sample: Sequence[triage.Place]) -> list[dict[str, Any]]:
    wanted = pa.array([place.events[0] for place in sample], pa.string())
    return whole_times(table.select([*BOX, "event_id"]).filter(pc.is_in(table["event_id"], wanted)))


def _shown(view: "DayView", box: dict[str, Any], verdict: str | None) -> dict[str, Any]:
    """Return where and when a drawn alarm is; its row may hold others."""
    fibre = view.fibre(box["fibre"])
    metres = sorted(m for c in (box["first_channel"], box["last_channel"]) if (m := fibre.metre(c)) is not None)
    first_m, last_m = (metres[0], metres[-1]) if metres else (None, None)
    return {
        "event": box["event_id"],
        "verdict": verdict,
        "fibre": box["fibre"],
        "start": box["start"] // 1000,
        "seconds": (box["end"] - box["start"]) / 1e9,
        "first": box["first_channel"],
        "last": box["last_channel"],
        "first_m": first_m,
        "last_m": last_m,
    }
