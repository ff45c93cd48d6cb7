"""What analysts say: entries that are only ever added, one file each, and tables made of them.

An entry is a Parquet file of one row, named by its `entry_id`, which whoever writes it chooses: sent twice, it is
there once. Entries of a day become the table `verdicts` of that day, so that what is made of them is known to be
stale. Nothing is ever changed or deleted: who takes something back adds an entry that says so.
"""

import io
import re
import time
from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dasanom_assets.tables.schemas import MICROSECONDS, SCHEMAS
from dasanom_assets.tables.store import Store

TABLE = "verdicts"
VERDICTS = ("true", "false", "planned", "unknown")
UNDO = "undo"
ORDER = [("made", "ascending"), ("entry_id", "ascending")]
SAME = 0.5
"""Share of the smaller of two boxes that both have in common, at least, to be one event."""
ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
LONGEST = 2000
"""Characters of a note."""
PLANNED = pa.schema(
    [
        ("entry_id", pa.string()),
        ("made", MICROSECONDS),
        ("who", pa.string()),
        ("fibre", pa.string()),
        ("first_m", pa.float64()),
        ("last_m", pa.float64()),
        ("start", MICROSECONDS),
        ("end", MICROSECONDS),
        ("why", pa.string()),
        ("undoes", pa.string()),
    ]
)
"""Columns of an entry about planned work; it explains alarms from `start` to `end`, which is when it expires."""
KIND_NAMES = pa.schema(
    [
        ("entry_id", pa.string()),
        ("made", MICROSECONDS),
        ("who", pa.string()),
        ("kind", pa.string()),
        ("day", pa.string()),
        ("event_id", pa.string()),
        ("examples", pa.list_(pa.list_(pa.float32()))),
        ("undoes", pa.string()),
    ]
)
"""Columns of an entry that names a kind of event: that of `event_id`, remembered by the profiles of some of it."""


def record_verdict(store: Store, day: str, entry: Mapping[str, Any]) -> None:
    """Add an entry about an event of a day, durably, and renew the day's table `verdicts`.

    Parameters
    ----------
    store : Store
    day : str
        ISO day of the event.
    entry : mapping
        Columns of `verdicts`; ``made`` is filled in.

    Raises
    ------
    ValueError
        Where it cannot be one, with the reason.
    """
    _check(entry)
    date.fromisoformat(day)
    if entry["verdict"] not in (*VERDICTS, UNDO):
        raise ValueError(f"a verdict is one of {', '.join(VERDICTS)}")
    if entry["verdict"] == UNDO and not entry.get("undoes"):
        raise ValueError("say which entry is undone")
    _add(store, f"{TABLE}/day={day}", entry, SCHEMAS[TABLE])
    renew_day(store, day)


def renew_day(store: Store, day: str) -> None:
    """Add to the table `verdicts` of a day the entries that it lacks."""
    folder = f"{TABLE}/day={day}"
    while True:  # another writer may have added one, or replaced the table, while this one read
        known = entries(store, day)
        names = {item["path"].rpartition("/")[2].removesuffix(".parquet") for item in store.listing(folder)}
        if not (lacking := sorted(names - set(known["entry_id"].to_pylist()))):
            return
        new = _read(store, [f"{folder}/{name}.parquet" for name in lacking], SCHEMAS[TABLE])
        store.write_day(TABLE, day, pa.concat_tables([known.replace_schema_metadata(), new]).sort_by(ORDER))


def renew(store: Store) -> None:
    """Renew all days: a writer may have been killed between its entry and the table."""
    for name in store.folders(TABLE):
        renew_day(store, name.removeprefix("day="))


def entries(store: Store, day: str) -> pa.Table:
    """Return all entries of a day in the order in which they were made: rows of `verdicts`."""
    if not store.has_day(TABLE, day):
        return SCHEMAS[TABLE].empty_table()
    return store.read_day(TABLE, day)


def in_force(table: pa.Table) -> list[dict[str, Any]]:
    """Return the entries that no later one undoes, without the undoing ones, oldest first."""
    rows = table.to_pylist()
    undone: set[str] = set()
    for row in reversed(rows):  # who undoes an undoing, puts back what it took
        if row["undoes"] and row["entry_id"] not in undone:
            undone.add(row["undoes"])
    return [row for row in rows if row["entry_id"] not in undone and not row["undoes"]]


def judged(table: pa.Table, events: pa.Table) -> list[dict[str, Any] | None]:
    """Return the last verdict in force on each of some events, whatever model found them, or None.

    Parameters
    ----------
    table : pyarrow.Table
        Rows of `verdicts`.
    events : pyarrow.Table
        Has `fibre`, `event_id`, `start`, `end`, `first_channel` and `last_channel`.
    """
    out: list[dict[str, Any] | None] = [None] * events.num_rows
    verdicts = in_force(table)
    if not verdicts or not events.num_rows:
        return out
    box = {name: events[name].cast(pa.int64()).to_numpy() for name in EDGES}
    fibre, name = (np.array(events[column].to_pylist(), object) for column in ("fibre", "event_id"))
    for verdict in verdicts:  # oldest first: later ones win
        edges = {
            e: int(pa.scalar(verdict[e], SCHEMAS[TABLE].field(e).type).cast(pa.int64()).as_py()) for e in EDGES
        }
        same = (fibre == verdict["fibre"]) & ((overlap_share(box, edges) >= SAME) | (name == verdict["event_id"]))
        for i in np.flatnonzero(same):
            out[i] = verdict
    return out


BOX = ("fibre", "first_channel", "last_channel", "start", "end")


def unusual(store: Store, day: str) -> pa.Table:
    """Return what of a day is not held for usual: alarms but for confirmed nuisances, and confirmed threats.

    Returns
    -------
    pyarrow.Table
        Columns of `BOX`, one row a box.
    """
    there = store.has_day("anomaly_events", day)
    events = (
        store.read_day("anomaly_events", day, [*BOX, "event_id"])
        if there
        else SCHEMAS["anomaly_events"].empty_table()
    )
    said = entries(store, day)
    stay = [verdict is None or verdict["verdict"] != "false" for verdict in judged(said, events)]
    return pa.concat_tables([events.filter(pa.array(stay, pa.bool_())).select(BOX), threats(said)])


def threats(table: pa.Table) -> pa.Table:
    """Return the boxes of confirmed threats in rows of `verdicts`: columns of `BOX`."""
    rows = [{name: row[name] for name in BOX} for row in in_force(table) if row["verdict"] == "true"]
    return pa.Table.from_pylist(rows, pa.schema([SCHEMAS[TABLE].field(name) for name in BOX]))


EDGES = ("start", "end", "first_channel", "last_channel")


def overlap_share(boxes: Mapping[str, np.ndarray], box: Mapping[str, int]) -> np.ndarray:
    """Return which share of the smaller of two boxes both have, for many against one.

    >>> many = {"start": np.array([0]), "end": np.array([10]), "first_channel": np.array([5]),
    ...         "last_channel": np.array([9])}
    >>> overlap_share(many, {"start": 5, "end": 25, "first_channel": 5, "last_channel": 9}).tolist()
    [0.5]
    """
    time = np.minimum(boxes["end"], box["end"]) - np.maximum(boxes["start"], box["start"])
    width = np.minimum(boxes["last_channel"], box["last_channel"]) + 1
    width = width - np.maximum(boxes["first_channel"], box["first_channel"])
    common = np.maximum(time, 0).astype(float) * np.maximum(width, 0)
    area = (boxes["end"] - boxes["start"]).astype(float) * (boxes["last_channel"] + 1 - boxes["first_channel"])
    other = float(box["end"] - box["start"]) * (box["last_channel"] + 1 - box["first_channel"])
    return common / np.maximum(np.minimum(area, other), 1)


def record_planned(store: Store, entry: Mapping[str, Any]) -> None:
    """Add planned work, or an entry that undoes one; raises as `record_verdict`."""
    check_planned(entry)
    _add(store, "planned_works", entry, PLANNED)


def check_planned(entry: Mapping[str, Any]) -> None:
    """Raise ValueError with the reason where an entry cannot be planned work."""
    _check(entry)
    if not entry.get("undoes"):
        if not entry.get("fibre") or not str(entry.get("why") or "").strip():
            raise ValueError("planned work has a fibre, and says why")
        if not entry["first_m"] <= entry["last_m"]:
            raise ValueError("planned work goes from a lower to a higher distance, m")
        if not entry["start"] < entry["end"]:
            raise ValueError("planned work ends after it begins")


def record_kind_name(store: Store, entry: Mapping[str, Any]) -> None:
    """Add the name of a kind of event, or an entry that undoes one; raises as `record_verdict`."""
    _check(entry)
    if not entry.get("undoes") and not str(entry.get("kind") or "").strip():
        raise ValueError("a kind has a name")
    _add(store, "kind_names", entry, KIND_NAMES)


def kind_names(store: Store) -> list[dict[str, Any]]:
    """Return names of kinds that were not taken back, in the order in which they were given."""
    return in_force(_read(store, [item["path"] for item in store.listing("kind_names")], KIND_NAMES))


def planned_works(store: Store) -> list[dict[str, Any]]:
    """Return planned works that were not taken back, in the order in which they were entered."""
    return in_force(_read(store, [item["path"] for item in store.listing("planned_works")], PLANNED))


def _check(entry: Mapping[str, Any]) -> None:
    if not ID.fullmatch(str(entry.get("entry_id", ""))):
        raise ValueError("entry_id is 8 to 64 letters, digits, - and _")
    if not str(entry.get("who") or "").strip():
        raise ValueError("say who you are")
    for name in ("note", "why", "who", "fibre", "kind"):
        if len(str(entry.get(name) or "")) > LONGEST:
            raise ValueError(f"{name} has more than {LONGEST} characters")


def _add(store: Store, folder: str, entry: Mapping[str, Any], schema: pa.Schema) -> None:
    path = f"{folder}/{entry['entry_id']}.parquet"
    if store.exists(path):  # it was sent again
        return
    row = {name: entry.get(name) for name in schema.names} | {"made": time.time_ns() // 1000}
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row], schema), sink)
    store.write_bytes(path, sink.getvalue())


def _read(store: Store, paths: list[str], schema: pa.Schema) -> pa.Table:
    tables = [
        pq.read_table(pa.BufferReader(store.read_bytes(path))) for path in paths if path.endswith(".parquet")
    ]
    return pa.concat_tables([schema.empty_table(), *tables]).sort_by(ORDER)
