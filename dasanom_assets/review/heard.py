"""What could not be heard on a day, in kilometre-hours."""

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.comparison.heard import REASONS, breaks, kilometres
from dasanom_assets.recordings.landing import shifted
from dasanom_assets.tables.schemas import empty
from dasanom_assets.tables.store import Store

TABLE = "heard"
HOURS = 24.0
LISTED = 8
"""Stretches of each reason that are named."""


def heard_of(store: Store, day: str) -> dict[str, Any] | None:
    """Return what was recorded and heard of a day; None where its table is missing.

    ``km_hours`` has whole (all fibres, all day), recorded, scored, not_delivered and each reason; ``where`` lists
    stretches of channels and their share of the day; ``breaks`` fibres that broke.
    """
    if not store.has_day(TABLE, day):
        return None
    return _heard(store, day, store.content_digest(TABLE, day))


@lru_cache(64)
def _heard(store: Store, day: str, digest: str) -> dict[str, Any]:
    table = store.read_day(TABLE, day)
    there = store.has_day("fibres", day)
    km = kilometres(table, store.read_day("fibres", day, ["fibre", "spacing_m"]) if there else empty("fibres"))
    seconds = {name: table[f"{name}_s"].to_numpy() for name in ("recorded", "usable", *REASONS)}
    km_hours = {name: float((km * value).sum() / 3600) for name, value in seconds.items()}
    whole = float(km.sum() * HOURS)
    km_hours = {
        "whole": whole,
        "not_delivered": whole - km_hours["recorded"],
        "recorded": km_hours.pop("recorded"),
        "scored": km_hours.pop("usable"),
        **km_hours,
    }
    km_hours["not_scored"] = km_hours["recorded"] - km_hours["scored"]
    yesterday = shifted(day, -1)
    before = store.read_day(TABLE, yesterday) if store.has_day(TABLE, yesterday) else None
    return {
        "km_hours": {name: round(value, 4) for name, value in km_hours.items()},
        "where": _stretches(table, seconds),
        "breaks": [b | {"since": b["since"] // 1000} for b in breaks(table, day, before)],
    }


def _stretches(table: pa.Table, seconds: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return runs of channels that lack seconds for a reason, the longest first."""
    out = []
    fibres = np.array(table["fibre"].to_pylist(), object)
    for fibre in pc.unique(table["fibre"]).to_pylist():
        rows = np.flatnonzero(fibres == fibre)
        channel = table["channel"].to_numpy()[rows]
        for why in REASONS:
            lacking = seconds[why][rows] > 0
            runs = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(lacking.astype(int))) + 1)
            for run in runs:
                if lacking[run[0]]:
                    lost = int(seconds[why][rows][run].sum())
                    first, last = int(channel[run[0]]), int(channel[run[-1]])
                    out.append({"fibre": fibre, "why": why, "first": first, "last": last, "channel_seconds": lost})
    return sorted(out, key=lambda stretch: -stretch["channel_seconds"])[:LISTED]
