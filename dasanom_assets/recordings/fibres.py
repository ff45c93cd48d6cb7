"""The table `fibres`: the one place that tells metres from channel numbers."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.recordings.landing import shifted
from dasanom_assets.tables.schemas import SCHEMAS, empty
from dasanom_assets.tables.store import Store

LOOK_BACK_DAYS = 28
"""Earlier days that are asked where a fibre lies."""
SAME_PLACE_M = 0.5
"""Metres by which a channel may move, to be where it was."""


def fibres_before(store: Store, day: str) -> pa.Table:
    """Return where each fibre was said to lie last, among the `LOOK_BACK_DAYS` before a day: rows of `fibres`."""
    known = [empty("fibres")]
    seen: set[str] = set()
    for other in reversed(store.days("fibres", shifted(day, -LOOK_BACK_DAYS), shifted(day, -1))):
        rows = store.read_day("fibres", other)
        new = set(rows["fibre"].to_pylist()) - seen
        known.append(rows.filter(pa.array([name in new for name in rows["fibre"].to_pylist()], pa.bool_())))
        seen |= new
    return pa.concat_tables(known)


def spacings_of(fibres: pa.Table) -> dict[str, float]:
    """Return the spacing of each fibre that has one, m, from rows of `fibres`."""
    pairs = zip(fibres["fibre"].to_pylist(), fibres["spacing_m"].to_pylist(), strict=True)
    return {fibre: spacing for fibre, spacing in pairs if spacing is not None}


def fibres_table(rows: Sequence[Mapping[str, Any]], before: pa.Table) -> pa.Table:
    """Return the rows of `fibres` of a day.

    A channel that lies where it did before keeps the time from which it did.

    Parameters
    ----------
    rows : sequence of mapping
        Those of the catalogue, with ``channels``, ``distance`` and ``channel_spacing_m``.
    before : pyarrow.Table
        See `fibres_before`.
    """
    places: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in before.set_column(4, "valid_from", before["valid_from"].cast(pa.int64())).to_pylist():
        places[row["fibre"], row["channel"]].append(row)
    of_day: dict[int, dict[str, Any]] = {}
    layouts: dict[tuple[str, bytes], bytes] = {}
    for row in sorted(rows, key=lambda row: (row["fibre"], row["start"], row["path"])):
        metres = distance_of(row)
        key = row["fibre"], row["channels"].tobytes()
        if layouts.get(key) == metres.tobytes():
            continue
        layouts[key] = metres.tobytes()
        for channel, distance in zip(row["channels"].tolist(), metres.tolist(), strict=True):
            known = places[row["fibre"], channel]
            if not known or not _same_place(known[-1]["distance_m"], distance):
                known.append(
                    {
                        "fibre": row["fibre"],
                        "channel": channel,
                        "distance_m": None if np.isnan(distance) else distance,
                        "spacing_m": row["channel_spacing_m"],
                        "valid_from": row["start"],
                    }
                )
            of_day[id(known[-1])] = known[-1]
    table = pa.Table.from_pylist(list(of_day.values()), SCHEMAS["fibres"])
    return table.sort_by([(name, "ascending") for name in ("fibre", "channel", "valid_from")])


def distance_of(row: Mapping[str, Any]) -> np.ndarray:
    """Return the distance of each channel of a row of the catalogue, m, float64; NaN where nothing says it."""
    if row["distance"] is not None:
        return np.asarray(row["distance"], float)
    return row["channels"] * (row["channel_spacing_m"] or np.nan)


def _same_place(known: float | None, distance: float) -> bool:
    if known is None or np.isnan(distance):
        return known is None and bool(np.isnan(distance))
    return abs(known - distance) <= SAME_PLACE_M


def with_metres(events: pa.Table, fibres: pa.Table) -> pa.Table:
    """Fill `first_m` and `last_m` of rows of `anomaly_events`: the least and greatest distance of their channels.

    They are null where no file says where channels lie.

    Parameters
    ----------
    events : pyarrow.Table
    fibres : pyarrow.Table
        Rows of `fibres` of the day.
    """
    channel, valid = (fibres[name].cast(pa.int64()).to_numpy() for name in ("channel", "valid_from"))
    distance, fibre = fibres["distance_m"].to_numpy(), np.array(fibres["fibre"].to_pylist(), object)
    columns: tuple[list[float | None], ...] = [], []
    for row in events.select(["fibre", "first_channel", "last_channel"]).to_pylist():
        begin = events["start"].cast(pa.int64())[len(columns[0])].as_py()
        inside = (fibre == row["fibre"]) & (channel >= row["first_channel"]) & (channel <= row["last_channel"])
        of_time = inside & (valid <= begin)
        metres = _latest(channel, valid, distance, np.flatnonzero(of_time if of_time.any() else inside))
        for column, pick in zip(columns, (np.min, np.max), strict=True):
            column.append(float(pick(metres)) if len(metres) else None)
    for name, column in zip(("first_m", "last_m"), columns, strict=True):
        events = events.set_column(events.schema.get_field_index(name), name, pa.array(column, pa.float64()))
    return events


def _latest(channel: np.ndarray, valid: np.ndarray, distance: np.ndarray, rows: Iterable[int]) -> np.ndarray:
    """Return where each channel of some rows lies by the last of them, m, without those that are not known."""
    last = {int(channel[i]): float(distance[i]) for i in sorted(rows, key=lambda i: valid[i])}
    metres = np.array(list(last.values()))
    return metres[np.isfinite(metres)]
