"""Whether rows keep the contract of their table: looked at as they are written, a row group at a time."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dasanom_assets.tables.schemas import KEYS

SMALLEST_POSITIVE = math.ulp(0.0)
"""The least number above 0."""
CONTRACT_KEY = b"dasanom.contract"
"""Footer: how the rows break their contract, in words; a JSON list."""

NUMBERS: dict[str, dict[str, tuple[float, float]]] = {
    "channel_health": {"clipped_fraction": (0, 1), "dead_fraction": (0, 1)},
    "contractor_scores": {"p_noise": (0, 1)},
    "cluster_labels": {"probability": (0, 1), "label": (-1, math.inf)},
    "anomaly_scores": {"p_value": (SMALLEST_POSITIVE, 1), "score": (-math.inf, math.inf)},
    "anomaly_events": {
        "n_windows": (1, math.inf),
        "rate_per_km_day": (0, math.inf),
        "rate_low": (0, math.inf),
        "rate_high": (0, math.inf),
    },
    "embeddings": {"kl": (0, math.inf)},
}
"""Columns whose values must be numbers between these limits; nulls are allowed, NaN is not."""
NUMBERS["events_below"] = NUMBERS["anomaly_events"]


class Contract:
    """What has been written of a day, as far as its contract needs it.

    Looked at are repeated keys, intervals (``start`` before ``end``, some of it within the day), and the ranges of
    `NUMBERS`. Keys of a channel ascend from row group to row group: only their last is in memory.

    Parameters
    ----------
    table, day : str
        Name of a table of `schemas.SCHEMAS`, and ISO day.
    """

    def __init__(self, table: str, day: str) -> None:
        self._day, (*self._of, self._by) = day, KEYS[table]
        self._limits = NUMBERS.get(table, {})
        self._bounds = np.array([day, np.datetime64(day) + 1], "datetime64[ns]").astype(np.int64).tolist()
        self._last: dict[tuple[Any, ...], Any] = {}
        self._repeated = self._overlapping = self._outside = 0
        self._wrong = dict.fromkeys(self._limits, 0)

    def add(self, rows: pa.Table) -> None:
        """Look at a row group."""
        if not rows.num_rows:
            return
        for of, first, last in self._ends(rows):
            if of in self._last and first <= self._last[of]:
                self._overlapping += 1
            self._last[of] = last
        if "start" in rows.column_names:
            start, end = (rows[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
            inside = (start < end) & (start < self._bounds[1]) & (end > self._bounds[0])
            self._outside += int((~inside).sum())
        for column, (low, high) in self._limits.items():
            values = rows[column].drop_null().to_numpy()
            self._wrong[column] += int((~((values >= low) & (values <= high))).sum())

    def _ends(self, rows: pa.Table) -> list[tuple[tuple[Any, ...], Any, Any]]:
        """Return what rows are of, and their first and last key there; note how many keys are there again."""
        by = rows[self._by]
        of = [pc.min_max(rows[name]) for name in self._of]
        if self._by == "start" and all(one["min"] == one["max"] for one in of):
            start = by.cast(pa.int64()).to_numpy()
            if (np.diff(start) > 0).all():  # of one channel, in order: no need to sort or hash them
                return [(tuple(one["min"].as_py() for one in of), int(start[0]), int(start[-1]))]
        keys = rows.select([*self._of, self._by])
        self._repeated += rows.num_rows - keys.group_by(keys.column_names).aggregate([]).num_rows
        if pa.types.is_timestamp(by.type):  # Python's times end at µs
            keys = keys.set_column(keys.num_columns - 1, self._by, by.cast(pa.int64()))
        ends = keys.group_by(self._of).aggregate([(self._by, "min"), (self._by, "max")]).to_pylist()
        names = f"{self._by}_min", f"{self._by}_max"
        return [(tuple(row[name] for name in self._of), *(row[name] for name in names)) for row in ends]

    def looked_at(self, parts: Iterable[bytes | Sequence[bytes]]) -> Iterator[bytes | Sequence[bytes]]:
        """Yield Parquet files as they come, each looked at; of its columns no more than needed is decoded."""
        names = {*self._of, self._by, "start", "end", *self._limits}
        for part in parts:
            for content in [part] if isinstance(part, bytes) else part:
                file = pq.ParquetFile(pa.BufferReader(content))
                self.add(file.read([name for name in file.schema_arrow.names if name in names]))
            yield part

    def violations(self) -> list[str]:
        """Return in words how the rows break the contract; an empty list where they keep it."""
        keys = ", ".join([*self._of, self._by])
        found = [
            (self._repeated, f"rows repeat the key {keys}"),
            (self._overlapping, f"row groups hold a {self._by} that is not after those before it of the same key"),
            (self._outside, f"rows do not lie within {self._day}"),
        ]
        for column, (low, high) in self._limits.items():
            found.append((self._wrong[column], f"values of {column} are not between {low:g} and {high:g}"))
        return [f"{n} {what}" for n, what in found if n]

    def footer(self) -> dict[bytes, bytes]:
        """Return the violations as `CONTRACT_KEY` holds them."""
        return {CONTRACT_KEY: json.dumps(self.violations()).encode()}
