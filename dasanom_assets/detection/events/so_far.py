"""Events of a day that is not over: each has its id once, and grows as files come."""

from typing import Any

import pyarrow as pa

from dasanom_assets.detection.events.outlines import ORDER
from dasanom_assets.tables.schemas import SCHEMAS, empty
from dasanom_assets.tables.store import Store

TABLE = "events_so_far"
OF_PLACE = ("start", "end", "first_channel", "last_channel", "first_m", "last_m")
"""Columns that an event keeps of itself and of what it grew by; the others are those of its stronger part."""


def grown(known: pa.Table, found: pa.Table, now_ns: int) -> pa.Table:
    """Return events that were known, grown by those of a stretch of the day, and those of it that are new.

    An event of the stretch that shares time and channels with a known one is the same one, and has its id. It
    reaches over both; all else is told of the stronger.

    Parameters
    ----------
    known : pyarrow.Table
        Rows of `events_so_far`.
    found : pyarrow.Table
        Rows of `anomaly_events` of a stretch, which may overlap what was scored before.
    now_ns : int
        When new ones are first seen, ns since 1970.

    Returns
    -------
    pyarrow.Table
        Rows of `events_so_far`, by start.
    """
    rows = _rows(known)
    for event in _rows(found):
        same = max(rows, key=lambda row: _shared_ns(row, event), default=None)
        if same is None or not _shared_ns(same, event):
            rows.append(event | {"first_seen": now_ns})
        else:
            stronger = event if event["score"] > same["score"] else same
            identity = {name: same[name] for name in ("event_id", "first_seen")}
            rows[rows.index(same)] = dict(stronger) | _reach(same, event) | identity
    return pa.Table.from_pylist(rows, SCHEMAS[TABLE]).sort_by(ORDER)


def changes(store: Store, day: str) -> dict[str, Any]:
    """Return how the events of a whole day differ from those that were told while it went on.

    Parameters
    ----------
    store : Store
        Must hold `anomaly_events` of the day.
    day : str
        ISO day.

    Returns
    -------
    dict
        ``told_before`` and ``new``, numbers of its events that share time and channels with one of
        `events_so_far` or with none, and ``withdrawn``, ids of those that are events no longer. Empty where
        nothing was told while the day went on.
    """
    if not store.has_day(TABLE, day):
        return {}
    told, final = (_rows(store.read_day(table, day)) for table in (TABLE, "anomaly_events"))
    before = [event for event in final if any(_shared_ns(event, earlier) for earlier in told)]
    gone = [earlier["event_id"] for earlier in told if not any(_shared_ns(event, earlier) for event in final)]
    return {"told_before": len(before), "new": len(final) - len(before), "withdrawn": gone}


def so_far(store: Store, day: str) -> tuple[pa.Table, dict[str, Any]]:
    """Return the rows and the note of `events_so_far` of a day, empty where nothing has been scored yet."""
    if not store.has_day(TABLE, day):
        return empty(TABLE), {}
    return store.read_day(TABLE, day), store.metadata(TABLE, day)


def _rows(events: pa.Table) -> list[dict[str, Any]]:
    times = [field.name for field in events.schema if pa.types.is_timestamp(field.type)]
    for name in times:  # Python's own times end at microseconds
        events = events.set_column(events.column_names.index(name), name, events[name].cast(pa.int64()))
    return events.to_pylist()


def _shared_ns(one: dict[str, Any], other: dict[str, Any]) -> int:
    """Return how long two events go on at once where they share channels; 0 where they do not."""
    apart = one["first_channel"] > other["last_channel"] or other["first_channel"] > one["last_channel"]
    if one["fibre"] != other["fibre"] or apart:
        return 0
    return max(0, min(one["end"], other["end"]) - max(one["start"], other["start"]))


def _reach(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return from where to where two events reach together."""
    reach = {}
    for name in OF_PLACE:
        values = [value for value in (one[name], other[name]) if value is not None]
        least = name.startswith("first") or name == "start"
        reach[name] = (min if least else max)(values) if values else None
    return reach
