"""The contractor's month: what it delivered, how often it alarms, how far that agrees with us, and what is true.

A month is made of what its days' tables say, and of verdicts: it is small, and made anew whenever it is asked for.
"""

import io
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dasanom_assets.comparison import triage
from dasanom_assets.comparison.agreement import BOTH, NEITHER, ONLY_CONTRACTOR, ONLY_US
from dasanom_assets.comparison.heard import kilometres
from dasanom_assets.comparison.seconds import measures
from dasanom_assets.settings import Settings
from dasanom_assets.tables import verdicts
from dasanom_assets.tables.columns import described
from dasanom_assets.tables.schemas import empty
from dasanom_assets.tables.store import Store

TABLE = "contractor_scorecard"
DAY_S = 86_400
SECONDS = (
    (NEITHER, "neither_s"),
    (BOTH, "both_s"),
    (ONLY_US, "only_us_s"),
    (ONLY_CONTRACTOR, "only_contractor_s"),
)
_COUNTS = ("ours", "theirs", "ours_matched", "theirs_matched")
_MEASURED = ("kappa", "ac1", "positive_agreement", "ours_precision", "theirs_precision")
SCORECARD = described(
    TABLE,
    pa.schema(
        [
            ("month", pa.string()),
            ("days", pa.int64()),
            ("days_delivered", pa.int64()),
            ("km_days", pa.float64()),
            ("recorded_h", pa.float64()),
            ("not_recorded_h", pa.float64()),
            ("not_delivered_h", pa.float64()),
            *((name, pa.int64()) for name in _COUNTS),
            *((f"{side}_a_km_day", pa.float64()) for side in ("ours", "theirs")),
            *((f"{side}_by_chance", pa.float64()) for side in ("ours", "theirs")),
            *((f"{name}{end}", pa.float64()) for name in _MEASURED for end in ("", "_low", "_high")),
            *((f"{side}_judged", pa.int64()) for side in ("ours", "theirs")),
            ("kinds", pa.list_(pa.string())),
            ("kind_alarms", pa.list_(pa.int64())),
        ]
    ),
)
"""One row: the month."""


def path_of(month: str) -> str:
    """Return where the scorecard of a month, ``YYYY-MM``, lies, relative to the data root."""
    return f"tables/{TABLE}/month={month}/{TABLE}.parquet"


def write_scorecard(store: Store, month: str, settings: Settings) -> dict[str, Any]:
    """Replace the scorecard of a month, and return its row."""
    row = scorecard(store, month, settings)
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row], SCORECARD), sink)
    store.write_bytes(path_of(month), sink.getvalue())
    return row


def scorecard(store: Store, month: str, settings: Settings) -> dict[str, Any]:
    """Return the contractor's scorecard of a month: a row of `SCORECARD`.

    Events, rates and agreement are of the days for which the contractor delivered; κ and AC1 come from channel-
    seconds of all of them, with intervals over whole days. Precision is that of `triage.precision`.

    Parameters
    ----------
    store : Store
    month : str
        ``YYYY-MM``, UTC.
    settings : Settings
    """
    days = store.days("recordings", f"{month}-01", f"{month}-31")
    out: dict[str, float] = defaultdict(float)
    kinds: Counter[str] = Counter()
    seconds, cells = [], []
    for day in days:
        heard = _day_of(store, "heard", day)
        recorded_h = sum(heard["recorded_s"].to_pylist()) / 3600
        out["recorded_h"] += recorded_h
        out["not_recorded_h"] += heard.num_rows * DAY_S / 3600 - recorded_h
        rows = _day_of(store, "agreement", day).to_pylist()
        if not rows:
            out["not_delivered_h"] += recorded_h
            continue
        out["not_delivered_h"] += max(0.0, recorded_h - _scored_hours(store, day))
        out["km_days"] += (
            float(kilometres(heard, _day_of(store, "fibres", day)) @ heard["recorded_s"].to_numpy()) / DAY_S
        )
        for name in (*_COUNTS, "ours_by_chance", "theirs_by_chance"):
            out[name] += rows[0][name]
        seconds.append([rows[0][name] for _, name in sorted(SECONDS)])
        theirs = _day_of(store, "contractor_events", day)
        kinds.update(name or "unknown" for name in theirs["contractor_class"].to_pylist())
        cells.append(_judged(store, day, theirs, settings))
    row: dict[str, Any] = {name: out[name] for name in SCORECARD.names if name in out}
    row |= {"month": month, "days": len(days), "days_delivered": len(seconds)}
    row |= {name: int(row.get(name, 0)) for name in _COUNTS}
    for side in ("ours", "theirs"):
        row[f"{side}_a_km_day"] = row[side] / out["km_days"] if out["km_days"] else None
    for name, ends in measures(np.array(seconds)).items() if seconds else ():
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), map(_known, ends), strict=True))
    for name, side in (("ours", "ours"), ("theirs", "contractor")):
        said = triage.precision(cells, side)
        row |= {
            f"{name}_precision{end}": said[key] for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))
        }
        row[f"{name}_judged"] = said["judged"]
    row["kinds"], row["kind_alarms"] = map(list, zip(*kinds.most_common(), strict=True)) if kinds else ([], [])
    return {name: row.get(name) for name in SCORECARD.names}


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _day_of(store: Store, table: str, day: str) -> pa.Table:
    return store.read_day(table, day) if store.has_day(table, day) else empty(table)


def _scored_hours(store: Store, day: str) -> float:
    """Return channel-hours for which the contractor delivered rows, which all last equally long."""
    with store.open_day("contractor_scores", day) as file:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, ["start", "end"]).slice(0, 1)
            if rows.num_rows:
                start, end = (rows[name].cast(pa.int64())[0].as_py() for name in ("start", "end"))
                return file.metadata.num_rows * (end - start) / 3.6e12
    return 0.0


def _judged(store: Store, day: str, theirs: pa.Table, settings: Settings) -> dict[str, triage.Cell]:
    places = triage.places_of(_day_of(store, "event_matches", day), day)
    sample = triage.drawn(places, settings.comparison.triage_places)
    said = verdicts.entries(store, day)
    if not said.num_rows:
        return triage.cells_of(places, sample, [None] * len(sample))
    ours = _day_of(store, "anomaly_events", day)
    return triage.cells_of(places, sample, triage.verdicts_on(sample, said, ours, theirs))
