"""What an analyst is told of a simulated day, held against what was planted: rows, picture and boxes.

A row holds what one of its boxes overlaps in time and along the fibre, of either side. A row's own extent does not
count: single cells of the contractor that are one row may lie hours apart.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.benchmarks.simulated import SECOND_NS, frame_of, overlaps, read_truth
from dasanom_assets.comparison.boxes import in_alarms
from dasanom_assets.comparison.pyramid import CODES_A_SPREAD, LOWEST_Z
from dasanom_assets.recordings.simulation.kinds import KINDS
from dasanom_assets.review.app import Review
from dasanom_assets.review.day import DayView, Fibre
from dasanom_assets.settings import Settings
from dasanom_assets.tables.schemas import with_score
from dasanom_assets.tables.store import Store

PASSING = [name for name, kind in KINDS.items() if not kind.threat and kind.speed_m_s[1] > 0]
"""Kinds of the simulator that pass and are no threats: all that has wheels."""
EARLY_SHARE = 0.4
"""Rows of a day in which threats are to lie."""
SEEN_Z = 3.0
"""Robust spreads above usual from which a threat is seen in the picture of power."""
BOX = ["fibre", "start", "end", "first_channel", "last_channel", "event_id"]
GOALS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "every threat in a row": lambda of: of["in_rows"] == of["threats"],
    "every threat in the first 40 % of rows": lambda of: of["early"] == of["threats"],
    "13 of 17 threats seen in the power": lambda of: 17 * of["seen"] >= 13 * of["threats"],
    "at most 26 rows for 24 lorries that alarm": lambda of: 24 * of["lorry_rows"] <= 26 * of["lorries_in_rows"],
    "no row that contradicts itself": lambda of: of["contradictory"] == 0,
}


def figures_of(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    """Return how a scored and compared day is told.

    Parameters
    ----------
    store : Store
        Has the day's truth, too.
    day : str
        ISO day.
    settings : Settings

    Returns
    -------
    dict
        Counts, of which `totals` are sums. ``rows``, and those that hold no alarm: ``rows_below`` the threshold,
        some ``rows_below_with_threats``. ``threats``: planted, ``in_rows``, ``only_below`` (their first row holds
        no alarm), ``in_our_rows`` (overlapped by an alarm of ours), ``early`` (in the first `EARLY_SHARE` of
        rows), ``early_of_alarms`` (in as many rows as that share of rows with alarms is), ``on_first_screen``,
        ``seen`` (in the power of their own channels and seconds), ``seen_elsewhere`` (share of quiet times at
        which as much of the same channels is seen, summed over the ``compared`` threats that have such times).
        ``lorries``, those ``lorries_in_rows`` and ``lorries_in_our_rows``, and ``lorry_rows``, of which some are
        ``of_cells`` or ``with_threats``. ``flagged``: windows, and ``flagged_outside`` of boxes of ours.
        ``contradictory`` rows.
        ``each_threat`` and ``contradictions`` have the particulars.
    """
    view = DayView(Review(store, settings), day)
    sides = view.events, view.contractor_events, view.below
    boxes = pd.concat([frame_of(side)[BOX] for side in sides], ignore_index=True)
    planted = frame_of(read_truth(store, day, "events"))
    row_of = [view.by_event[event] for event in boxes["event_id"]]
    held = overlaps(boxes, planted)
    ours = np.arange(len(boxes)) < view.events.num_rows
    threats, lorries = (np.flatnonzero(which) for which in (planted["threat"], planted["kind"].isin(PASSING)))
    alarms = sum(row["alarms"] > 0 for row in view.rows)
    screen = {place["id"] for place in view.head()["places"]}
    power = powers(view, planted, read_truth(store, day, "activity"))
    each = []
    for j in threats.tolist():
        rows = [row_of[i] for i in np.flatnonzero(held[:, j])]
        best = min(rows, key=lambda row: row["rank"], default=None)
        each.append(
            {name: planted[name].tolist()[j] for name in ("kind", "snr_db", "first_channel", "last_channel")}
            | {"second": (planted["start"][j] - planted["start"].min()) / SECOND_NS}
            | {"seconds": (planted["end"][j] - planted["start"][j]) / SECOND_NS}
            | {"rank": best and best["rank"], "taken_for": best and best["kind"], "why": best and best["why"]}
            | {
                "below": bool(best and not best["alarms"]),
                "ours": bool((held[:, j] & ours).any()),
                "first_screen": any(row["id"] in screen for row in rows),
            }
            | power[j]
        )
    lorry_rows = {row_of[i]["id"]: row_of[i] for i in np.flatnonzero(held[:, lorries].any(axis=1))}
    dangerous = {row_of[i]["id"] for i in np.flatnonzero(held[:, threats].any(axis=1))}
    flagged, outside = flagged_windows(store, day, view.events)
    wrong = {row["id"]: said for row in view.rows if (said := contradictions(view, row, settings))}
    known = [threat["elsewhere"] for threat in each if threat["elsewhere"] is not None]
    return {
        "day": day,
        "rows": len(view.rows),
        "rows_below": len(view.rows) - alarms,
        "rows_below_with_threats": sum(row["id"] in dangerous for row in view.rows if not row["alarms"]),
        "alarms": view.events.num_rows,
        "contractor_alarms": view.contractor_events.num_rows,
        "threats": len(each),
        "in_rows": sum(threat["rank"] is not None for threat in each),
        "only_below": sum(threat["below"] for threat in each),
        "in_our_rows": sum(threat["ours"] for threat in each),
        "early": sum((threat["rank"] or np.inf) <= EARLY_SHARE * len(view.rows) for threat in each),
        "early_of_alarms": sum((threat["rank"] or np.inf) <= EARLY_SHARE * alarms for threat in each),
        "on_first_screen": sum(threat["first_screen"] for threat in each),
        "seen": sum((threat["z"] or 0) >= SEEN_Z for threat in each),
        "seen_elsewhere": float(sum(known)),
        "compared": len(known),
        "lorries": len(lorries),
        "lorries_in_rows": int(held[:, lorries].any(axis=0).sum()),
        "lorries_in_our_rows": int(held[ours][:, lorries].any(axis=0).sum()),
        "lorry_rows": len(lorry_rows),
        "of_cells": sum(bool(row["cells"]) for row in lorry_rows.values()),
        "with_threats": len(lorry_rows.keys() & dangerous),
        "flagged": flagged,
        "flagged_outside": outside,
        "contradictory": len(wrong),
        "each_threat": each,
        "contradictions": wrong,
    }


def totals(days: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums over days of all counts that `figures_of` gives."""
    days = list(days)
    return {name: sum(of[name] for of in days) for name, v in days[0].items() if isinstance(v, int | float)}


def powers(view: DayView, planted: pd.DataFrame, activity: pa.Table) -> dict[int, dict[str, float | None]]:
    """Return what the picture of power has of each threat, by its row of `planted`.

    The picture has robust spreads above the median of each channel over its day, so cells are taken as drawn.

    Returns
    -------
    dict
        ``z``: the largest of the channels and seconds on which the threat is above the floor; ``elsewhere``: the
        share of other times at which the same cells reach `SEEN_Z`, among those at which nothing is planted
        there. None where there is no such cell or time.
    """
    active = activity.to_pandas()
    second, out = activity["start"].cast(pa.int64()).to_numpy(), {}
    for name, fibre in view.fibres.items():
        z, start_ns, first, step = drawn_power(view, fibre)
        mine = planted[planted["fibre"] == name]
        begins, ends = (mine["start"] - start_ns) // SECOND_NS, -((start_ns - mine["end"]) // SECOND_NS)
        busy = np.zeros(z.shape, bool)
        for low, high, begin, end in zip(mine["first_channel"], mine["last_channel"], begins, ends, strict=True):
            busy[(low - first) // step : (high - first) // step + 1, max(0, begin) : end] = True
        for j in mine.index[mine["threat"]]:
            own = (active["fibre"] == name) & (active["kind"] == mine["kind"][j])
            own &= active["channel"].between(mine["first_channel"][j], mine["last_channel"][j])
            own &= (second + SECOND_NS > mine["start"][j]) & (second < mine["end"][j])
            row, column = (active["channel"][own] - first) // step, (second[own] - start_ns) // SECOND_NS
            out[int(j)] = _seen(z, busy, row.to_numpy(), column)
    return out


def _seen(z: np.ndarray, busy: np.ndarray, row: np.ndarray, column: np.ndarray) -> dict[str, float | None]:
    there = z[row, column]
    if not np.isfinite(there).any():
        return {"z": None, "elsewhere": None}
    # Round the recorded time, a second after the other.
    shifted = (column + np.arange(1, z.shape[1])[:, None]) % z.shape[1]
    quiet = ~busy[row, shifted].any(axis=1)
    elsewhere = (z[row, shifted[quiet]] >= SEEN_Z).any(axis=1)
    return {"z": float(np.nanmax(there)), "elsewhere": float(elsewhere.mean()) if len(elsewhere) else None}


def drawn_power(view: DayView, fibre: Fibre) -> tuple[np.ndarray, int, int, int]:
    """Return the power of a fibre as the app draws it at its finest, and where it lies.

    Returns
    -------
    z : numpy.ndarray
        float64, shape (rows, seconds): spreads above usual, NaN where there is nothing.
    start_ns, first_channel, channel_step : int
        See `tiles.Picture`.

    Raises
    ------
    ValueError
        Where the day has no waterfalls.
    """
    if view.tiles is None:
        raise ValueError(f"{view.day} has no waterfalls")
    time, channels = (
        (fibre.start_us * 1000, fibre.end_us * 1000),
        (int(fibre.channels[0]), int(fibre.channels[-1])),
    )
    size = channels[1] - channels[0] + 1, -(-(time[1] - time[0]) // SECOND_NS) + 1
    picture = view.tiles.picture(fibre.name, "power", time, channels, size)
    z = np.where(picture.codes > 0, (picture.codes - 1.0) / CODES_A_SPREAD + LOWEST_Z, np.nan)
    return z, picture.start_ns, picture.first_channel, picture.channel_step


def flagged_windows(store: Store, day: str, events: pa.Table) -> tuple[int, int]:
    """Return how many windows are flagged, and how many of these have their middle in no box of ours."""
    flagged = outside = 0
    columns = ["fibre", "channel", "start", "end", "is_anomaly", "invalid"]
    for rows in store.iter_day("anomaly_scores", day, columns):
        alarms = with_score(rows).filter(pc.field("is_anomaly"))
        flagged += alarms.num_rows
        outside += int((~in_alarms(alarms, events)).sum())
    return flagged, outside


def contradictions(view: DayView, row: dict[str, Any], settings: Settings) -> list[str]:
    """Say in which points a row of a day contradicts itself, or what the day's tables say of its alarms."""
    members, said = set(row["members"]) - set(view.below["event_id"].to_pylist()), []
    alarms = {event["event_id"]: event for event in view.events.to_pylist() if event["event_id"] in members}
    sides = {"both": (True, True), "only_us": (True, False), "only_contractor": (False, True)}
    sides["below"] = (False, False)
    told = sides[row["agreement"]]
    if told != (bool(alarms), len(alarms) < len(members)):
        said.append("its side is not that of its alarms")
    if not told[1] == (row["probability"] is not None) == (row["class"] is not None):
        said.append("it has a class or probability of the contractor without its side, or its side without them")
    if not (told[0] or row["below"] > 0) == (row["rate"] is not None) == (row["score"] is not None):
        said.append("it has a rate or score of ours without our side, or our side without them")
    if row["alarms"] != len(members):
        said.append("it counts as alarms what is none, or not what is one")
    if ("the contractor agrees" in row["why"]) != (told == (True, True)):
        said.append("its reason names another side")
    matched = zip(*(view.matches[name].to_pylist() for name in ("event_id", "contractor_event_id")), strict=True)
    if any((ours in members) != (theirs in members) for ours, theirs in matched if ours and theirs):
        said.append("a match of one of its alarms is in another row")
    probable = [event["contractor_probability"] or 0 for event in alarms.values()]
    if not told[1] and max(probable, default=0) >= settings.comparison.contractor_probability:
        said.append("an alarm of it has a probability at which the contractor alarms, but the row is ours alone")
    return said
