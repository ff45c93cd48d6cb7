"""Alarms of one cause as one row, each with what it is, why it is told, and how soon to look at it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dasanom_assets.comparison.matching import overlapping
from dasanom_assets.detection.calibration.rates import in_words
from dasanom_assets.review import history
from dasanom_assets.review.words import reason
from dasanom_assets.tables import verdicts
from dasanom_assets.tables.store import Store

if TYPE_CHECKING:
    from dasanom_assets.review.day import DayView

AGREEMENTS = ("both", "only_us", "only_contractor")
BELOW = "below"
"""In place of an agreement: what lies below our threshold, and no alarm overlaps."""
OURS, THEIRS, BELOW_US = 0, 1, 2
"""Sides that boxes are of; the last are no alarms."""
PIECE_S, PIECE_GAP_S, PIECE_GAP_M = 15.0, 3.0, 40.0
"""Pieces of what passes are so short, and lie so near each other; who digs or walks is heard for longer."""
VEHICLE_S, VEHICLE_M, VEHICLE_HZ = 20.0, 25.0, 80.0
"""What passes within so long, on so much of the fibre and below so many hertz, is like a vehicle."""
CELL_S, CELL_CHANNELS = 1.0, 2
"""Alarms of the contractor that are no longer and no wider are single cells."""
PLACE_M = 100.0
"""Single cells are grouped by stretches of so many metres."""
DIGS = ("digging", "cutting", "pickaxe", "shovel")
US = 1_000_000


def rows_of(view: "DayView", store: Store) -> list[dict[str, Any]]:
    """Return the rows of a day's table, in the order in which to look at them.

    Parameters
    ----------
    view : DayView
        Its tables and fibres; `rows_of` makes its rows.
    store : Store
        Tells of earlier days and planned works.
    """
    boxes = _boxes(view)
    if not len(boxes["id"]):
        return []
    order, begin = _groups(boxes)
    verdict = verdicts.judged(view.verdicts, _table(boxes))
    works = verdicts.planned_works(store)
    past = history.of(store, view.day)
    bands = {
        event: hz
        for table in (view.below, view.explanations)
        for event, hz in zip(*(table[name].to_pylist() for name in ("event_id", "band_hz")), strict=True)
    }
    told = [*_plain(view.events), *([{}] * view.contractor_events.num_rows), *_plain(view.below)]
    rows = [
        _row(view, group, verdict, bands)
        for group in _together({name: column[order] for name, column in boxes.items()}, order, begin, told)
    ]
    for row in rows:
        row["planned"] = _planned(row, works)
        row["always"] = past.always(row)
        row["memory"] = past.nuisance(row)
        row["dig"] = row["kind"] in DIGS and not row["cells"] and not row["planned"]
        row["usual"] = not row["dig"] and bool(row["always"] or row["memory"])
        row["settled"] = bool(row["planned"] or row["verdict"] or row["usual"])
        row["why"] = reason(row, view.both_sides)
    rows.sort(key=_urgency)
    for rank, row in enumerate(rows, 1):
        row["rank"] = rank
    return rows


def _urgency(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what rows are sorted by: digs without a ticket first, what is explained or often there last."""
    rate = row["rate"] if row["rate"] is not None else np.inf
    passed = row["verdict"] in ("false", "planned")
    return (
        passed,
        bool(row["planned"]),
        row["cells"],
        row["usual"],
        not row["dig"],
        row["kind"] == "vehicle",
        rate,
        -(row["probability"] or 0),
        row["start"],
    )


def _plain(events: pa.Table) -> list[dict[str, Any]]:
    """Return what is told of our events, in their order."""
    names = ("event_id", "rate_per_km_day", "rate_low", "rate_high", "beyond_reference", "score")
    return events.select([*names, "contractor_class", "contractor_probability"]).to_pylist()


def _boxes(view: "DayView") -> dict[str, np.ndarray]:
    """Return the boxes of all sides, in their order: columns with times in µs, and metres of both ends."""
    parts = []
    for side, table in ((OURS, view.events), (THEIRS, view.contractor_events), (BELOW_US, view.below)):
        fibre = np.array(table["fibre"].to_pylist(), object)
        parts.append(
            {
                "side": np.full(table.num_rows, side),
                "id": np.array(table["event_id"].to_pylist(), object),
                "fibre": fibre,
                **{n: table[n].cast(pa.int64()).to_numpy() // 1000 for n in ("start", "end")},
                "first_channel": table["first_channel"].to_numpy(),
                "last_channel": table["last_channel"].to_numpy(),
                "class": np.array(table["contractor_class"].to_pylist(), object),
                "probability": table["probability" if side == THEIRS else "contractor_probability"].to_numpy(
                    zero_copy_only=False
                ),
            }
        )
    out = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    metres = np.full((2, len(out["id"])), np.nan)
    for name in set(out["fibre"].tolist()):
        rows, place = out["fibre"] == name, view.fibre(name)
        known = np.isfinite(place.metres)
        if known.any():
            for i, edge in enumerate(("first_channel", "last_channel")):
                metres[i, rows] = np.interp(out[edge][rows], place.channels[known], place.metres[known])
    out["first_m"], out["last_m"] = np.sort(metres, axis=0)
    return out


def _table(boxes: dict[str, np.ndarray]) -> pa.Table:
    return pa.table(
        {
            "fibre": pa.array(boxes["fibre"].tolist(), pa.string()),
            "event_id": pa.array(boxes["id"].tolist(), pa.string()),
            "start": boxes["start"] * 1000,
            "end": boxes["end"] * 1000,
            "first_channel": boxes["first_channel"],
            "last_channel": boxes["last_channel"],
        }
    )


def _groups(boxes: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of `boxes` in an order in which those of one cause are together, and where each begins."""
    n = len(boxes["id"])
    pairs = [*_pieces(boxes), *_overlapping(boxes, OURS, THEIRS)]
    i, j = np.array(pairs, np.int64).reshape(-1, 2).T
    label = connected_components(coo_array((np.ones(len(i)), (i, j)), (n, n)), directed=False)[1]
    # What lies below the threshold is of the row of an alarm that it overlaps, and joins no two of them.
    for below, alarm in _overlapping(boxes, BELOW_US, THEIRS) + _overlapping(boxes, BELOW_US, OURS):
        label[below] = label[alarm]
    # Single cells of the contractor that nothing else holds: by class and place.
    alone = np.bincount(label)[label] == 1
    cell = alone & _is_cell(boxes)
    key: dict[tuple[Any, ...], int] = {}
    next_label = int(label.max(initial=0)) + 1
    for k in np.flatnonzero(cell):
        metre = boxes["first_m"][k]
        place = int(metre // PLACE_M) if np.isfinite(metre) else f"channel {boxes['first_channel'][k] // 20}"
        label[k] = key.setdefault((boxes["fibre"][k], boxes["class"][k], place), next_label + len(key))
    order = np.argsort(label, kind="stable")
    return order, np.flatnonzero(np.diff(label[order], prepend=-1))


def _is_cell(boxes: dict[str, np.ndarray]) -> np.ndarray:
    width = boxes["last_channel"] - boxes["first_channel"] + 1
    return (boxes["side"] == THEIRS) & (boxes["end"] - boxes["start"] <= CELL_S * US) & (width <= CELL_CHANNELS)


def _overlapping(boxes: dict[str, np.ndarray], one: int, other: int) -> list[tuple[int, int]]:
    """Return pairs of an event of one side and one of another that are the same."""
    rows_of_sides = [np.flatnonzero(boxes["side"] == side) for side in (one, other)]
    pairs = []
    for fibre in set(boxes["fibre"].tolist()):
        a, b = (rows[boxes["fibre"][rows] == fibre] for rows in rows_of_sides)
        names = ("start", "end", "first_channel", "last_channel")
        box_a, box_b = ({name: boxes[name][rows] for name in names} for rows in (a, b))
        i, j = overlapping(box_a, box_b, 1 / US)
        pairs += list(zip(a[i].tolist(), b[j].tolist(), strict=True))
    return pairs


def _pieces(boxes: dict[str, np.ndarray]) -> list[tuple[int, int]]:
    """Return pairs of short alarms of one side that follow each other at once, side by side."""
    short = (boxes["end"] - boxes["start"] <= PIECE_S * US) & ~_is_cell(boxes)
    rows = np.flatnonzero(short)
    rows = rows[np.argsort(boxes["start"][rows], kind="stable")]
    start, end = boxes["start"][rows], boxes["end"][rows]
    pairs: list[tuple[int, int]] = []
    # Those that begin before an alarm and its gap are over; few at a time.
    until = np.searchsorted(start, end + PIECE_GAP_S * US, side="right")
    for k, row in enumerate(rows):
        near = rows[k + 1 : until[k]]
        if not len(near):
            continue
        same = (boxes["fibre"][near] == boxes["fibre"][row]) & (boxes["side"][near] == boxes["side"][row])
        gap = np.maximum(
            boxes["first_m"][near] - boxes["last_m"][row], boxes["first_m"][row] - boxes["last_m"][near]
        )
        apart = np.maximum(
            boxes["first_channel"][near] - boxes["last_channel"][row],
            boxes["first_channel"][row] - boxes["last_channel"][near],
        )
        close = np.where(np.isfinite(gap), gap <= PIECE_GAP_M, apart <= 8)
        pairs += [(int(row), int(other)) for other in near[same & close]]
    return pairs


def _together(
    boxes: dict[str, np.ndarray], order: np.ndarray, begin: np.ndarray, told: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield what the members of each group are together; `boxes` lie in `order`, and `told` does not."""
    least, most = np.minimum.reduceat, np.maximum.reduceat
    known = np.isfinite(boxes["first_m"])
    columns = {
        "start": least(boxes["start"], begin),
        "end": most(boxes["end"], begin),
        "first": least(boxes["first_channel"], begin),
        "last": most(boxes["last_channel"], begin),
        "first_m": least(np.where(known, boxes["first_m"], np.inf), begin),
        "last_m": most(np.where(known, boxes["last_m"], -np.inf), begin),
        "cells": np.logical_and.reduceat(_is_cell(boxes), begin),
    }
    values = {name: column.tolist() for name, column in columns.items()}
    side, probability = boxes["side"].tolist(), boxes["probability"].tolist()
    ends = [*begin[1:].tolist(), len(order)]
    for k, (a, b) in enumerate(zip(begin.tolist(), ends, strict=True)):
        theirs = [i for i in range(a, b) if side[i] == THEIRS]
        loudest = max(theirs, key=lambda i: probability[i], default=None)
        yield {name: column[k] for name, column in values.items()} | {
            "fibre": boxes["fibre"][a],
            "members": boxes["id"][a:b].tolist(),
            "places": order[a:b].tolist(),
            "ours": [told[order[i]] for i in range(a, b) if side[i] == OURS],
            "below": [told[order[i]] for i in range(a, b) if side[i] == BELOW_US],
            "class": None if loudest is None else boxes["class"][loudest],
            "probability": None if loudest is None else round(probability[loudest], 3),
            "loudest": None if loudest is None else boxes["id"][loudest],
        }


def _row(
    view: "DayView", group: dict[str, Any], verdict: list[dict[str, Any] | None], bands: dict[str, list[float]]
) -> dict[str, Any]:
    """Return the row of a group of events."""
    ours, below, probability = group["ours"], group["below"], group["probability"]
    best = min(ours or below, key=lambda e: e["rate_per_km_day"], default=None)
    named = best["event_id"] if best and (ours or probability is None) else group["loudest"]
    # The last word counts, whichever of the events it was said of.
    said = max((v for k in group["places"] if (v := verdict[k])), key=lambda v: v["made"], default=None)
    places = np.isfinite(group["first_m"])
    row = {
        "id": named,
        "fibre": group["fibre"],
        **{name: group[name] for name in ("start", "end", "first", "last", "cells", "members", "class")},
        "seconds": (group["end"] - group["start"]) / US,
        "first_m": round(group["first_m"], 2) if places else None,
        "last_m": round(group["last_m"], 2) if places else None,
        "agreement": _agreement(bool(ours), probability is not None),
        "alarms": len(group["members"]) - len(below),
        "below": len(below),
        "probability": probability,
        "rate": None if best is None else best["rate_per_km_day"],
        "often": None if best is None else _often(best, view.km_days),
        "score": None if best is None else round(max(e["score"] for e in ours or below), 2),
        "hz": bands.get(best["event_id"], [])[:3] if best else [],
        "verdict": said and said["verdict"],
        "entry": said and said["entry_id"],
        "note": (said and said["note"]) or "",
        "by": (said and said["who"]) or "",
    }
    row["kind"] = (said and said["kind"]) or _kind(row)
    return row


def _agreement(ours: bool, theirs: bool) -> str:
    return "both" if ours and theirs else "only_us" if ours else "only_contractor" if theirs else BELOW


def _often(event: dict[str, Any], km_days: float) -> str:
    """Return how often the reference does as much, also where the model of an old day cannot be read."""
    if event["beyond_reference"] and np.isnan(km_days):
        return "rarer than in all of its reference"
    return in_words(event, km_days)


def _kind(row: dict[str, Any]) -> str:
    """Return what an alarm is taken for."""
    width = 0.0 if row["first_m"] is None else row["last_m"] - row["first_m"]
    low = not row["hz"] or min(row["hz"]) <= VEHICLE_HZ
    if not row["cells"] and row["seconds"] <= VEHICLE_S and width >= VEHICLE_M and low:
        return "vehicle"
    return row["class"] or ("short" if row["seconds"] < 10 else "lasting")


def _planned(row: dict[str, Any], works: list[dict[str, Any]]) -> str | None:
    """Return why planned work explains a row; None where none does."""
    for work in works:
        if work["fibre"] != row["fibre"] or row["first_m"] is None:
            continue
        begin, end = (int(work[name].timestamp() * US) for name in ("start", "end"))
        meets = row["start"] < end and row["end"] > begin
        if meets and row["first_m"] <= work["last_m"] and row["last_m"] >= work["first_m"]:
            return f"{work['why']} ({work['who']})"
    return None
