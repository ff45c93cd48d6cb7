"""What is true of a simulated day: its events, and where and when a threat could be heard."""

import hashlib
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dasanom_assets.recordings.simulation.events import FLOOR_DB, Event
from dasanom_assets.recordings.simulation.kinds import KINDS
from dasanom_assets.recordings.simulation.lasting import Lasting
from dasanom_assets.recordings.simulation.plans import ROWS_PER_SECOND
from dasanom_assets.recordings.simulation.sites import Line
from dasanom_assets.tables.schemas import TIME

EVENTS = pa.schema(
    [
        ("event_id", pa.string()),
        ("fibre", pa.string()),
        ("kind", pa.string()),
        ("threat", pa.bool_()),
        ("start", TIME),
        ("end", TIME),
        ("first_channel", pa.int32()),
        ("last_channel", pa.int32()),
        ("peak_channel", pa.int32()),
        ("snr_db", pa.float32()),
    ]
)
"""One row an event, real or nuisance; its extent is where its level is above `events.FLOOR_DB`."""

ACTIVITY = pa.schema(
    [
        ("fibre", pa.string()),
        ("channel", pa.int32()),
        ("start", TIME),
        ("kind", pa.string()),
        ("snr_db", pa.float32()),
    ]
)
"""One row a second and channel on which a threat's level, held for a second, is above `events.FLOOR_DB`."""

ROW_NS = 1_000_000_000 // ROWS_PER_SECOND


def event_row(line: Line, began: datetime, event: Event | Lasting) -> dict[str, object]:
    """Return the row of `EVENTS` of an event that has an extent."""
    extent, channels = event.extent, line.channels
    assert extent
    origin = _ns(began) + event.plan.first_row * ROW_NS
    start, end = origin + extent.rows[0] * ROW_NS, origin + (extent.rows[1] + 1) * ROW_NS
    name = f"{line.fibre}/{event.plan.kind}/{start}/{channels[extent.peak]}/{event.plan.seed}"
    return {
        "event_id": hashlib.sha256(name.encode()).hexdigest()[:16],
        "fibre": line.fibre,
        "kind": event.plan.kind,
        "threat": KINDS[event.plan.kind].threat,
        "start": start,
        "end": end,
        "first_channel": int(channels[extent.columns[0]]),
        "last_channel": int(channels[extent.columns[1]]),
        "peak_channel": int(channels[extent.peak]),
        "snr_db": event.plan.snr_db,
    }


def event_activity(line: Line, began: datetime, event: Event | Lasting) -> pa.Table:
    """Return the seconds and channels on which a threat is above the floor; nothing for a nuisance."""
    if isinstance(event, Lasting) or not KINDS[event.plan.kind].threat:
        return ACTIVITY.empty_table()
    lead = event.plan.first_row % ROWS_PER_SECOND
    level = np.pad(
        event.sustained_db,
        ((0, 0), (lead, -(lead + event.plan.n_rows) % ROWS_PER_SECOND)),
        constant_values=-np.inf,
    )
    level = level.reshape(len(level), -1, ROWS_PER_SECOND).max(2)
    column, second = np.nonzero(level > FLOOR_DB)
    start = _ns(began) + (event.plan.first_row // ROWS_PER_SECOND + second) * 1_000_000_000
    columns = [
        pa.array(np.full(len(column), line.fibre, object), pa.string()),
        pa.array(line.channels[event.columns][column]),
        pa.array(start).cast(TIME),
        pa.array(np.full(len(column), event.plan.kind, object), pa.string()),
        pa.array(level[column, second]),
    ]
    return pa.table(columns, schema=ACTIVITY)


def _ns(time: datetime) -> int:
    return int(time.timestamp()) * 1_000_000_000


def replace_rows(path: Path, rows: pa.Table, fibre: str) -> None:
    """Replace a fibre's rows in a Parquet file and keep those of other fibres."""
    if path.exists():
        old = pq.read_table(path, partitioning=None)
        rows = pa.concat_tables([old.filter(pc.not_equal(old["fibre"], fibre)), rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(rows, partial, compression="zstd")
    os.replace(partial, path)
