"""A made day of any size, as its tables: what the pages are tested with."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.comparison import pyramid
from dasanom_assets.comparison.agreement import match_events
from dasanom_assets.comparison.seconds import agreement_of_day
from dasanom_assets.recordings.of_day import extent
from dasanom_assets.tables.schemas import SCHEMAS, empty, vector, with_detectors
from dasanom_assets.tables.store import Store

DAY = "2026-03-02"
SECOND = 1_000_000_000
Row = dict[str, Any]
MIDNIGHT = extent(DAY)[0]
SPACING_M = 5.0
NAME = "<img src=x onerror=alert(1)>"
"""A fibre whose name is HTML."""


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMAS[name])


def event(second: float, seconds: float, first: int, last: int, fibre: str = "north", **more: Any) -> Row:
    start = MIDNIGHT + round(second * SECOND)
    return {
        "fibre": fibre,
        "event_id": f"e{second:g}-{first}",
        "start": start,
        "end": start + round(seconds * SECOND),
        "first_channel": first,
        "last_channel": last,
    } | more


def ours(*where: Any, rate: float = 0.1, **more: Any) -> Row:
    made = event(*where)
    own = {
        "peak_start": made["start"],
        "peak_channel": made["first_channel"],
        "score": 5.0,
        "rate_per_km_day": rate,
        "rate_low": rate / 2,
        "rate_high": rate * 2,
        "beyond_reference": False,
        "n_windows": 5,
        "model_version": "made",
    }
    return made | own | more


def write(
    store: Store,
    day: str = DAY,
    *,
    events: list[dict[str, Any]] = (),  # type: ignore[assignment]
    below: list[dict[str, Any]] = (),  # type: ignore[assignment]
    theirs: list[dict[str, Any]] = (),  # type: ignore[assignment]
    cells: dict[str, list[tuple[slice, slice, int]]] | None = None,
    channels: int = 64,
    seconds: int = 3600,
    begin: int = 0,
    fibre: str = "north",
    noise: int = 0,
) -> None:
    """Write a day: `cells` are rows, seconds and byte of a layer, on channels from 0 on."""
    shift = extent(day)[0] - MIDNIGHT
    events, theirs, below = ([_moved(e, shift) for e in side] for side in (events, theirs, below))
    start = MIDNIGHT + shift + begin * SECOND
    recording = {
        "fibre": fibre,
        "path": f"landing/{day}/made.bin",
        "format": "DASANOM_BUNDLE 1",
        "start": start,
        "end": start + seconds * SECOND,
        "sampling_rate_hz": 500.0,
        "n_samples": seconds * 500,
        "first_channel": 0,
        "n_channels": channels,
        "channel_spacing_m": SPACING_M,
        "sha256": "0" * 64,
        "issues": [],
        "channels": f"0..{channels - 1}",
        "sample_type": "int16",
    }
    store.write_day("recordings", day, table("recordings", [recording]))
    place = {"fibre": fibre, "spacing_m": SPACING_M, "valid_from": start}
    places = [place | {"channel": c, "distance_m": c * SPACING_M} for c in range(channels)]
    store.write_day("fibres", day, table("fibres", places))
    note = {"budget": 1.0, "counts": {"1": {"expected": 2.0, "realised": len(events)}}, "model_version": "made"}
    store.write_day("anomaly_events", day, table("anomaly_events", events), note)
    shapes = [e | {"band_hz": [200.0], "window_start": e["peak_start"]} for e in below]
    store.write_day("events_below", day, table("events_below", shapes), note)
    store.write_day("contractor_events", day, table("contractor_events", theirs))
    scored = {"fibre": fibre, "channel": 0, "start": start, "end": start + SECOND // 5, "p_noise": 1.0}
    store.write_day("contractor_scores", day, table("contractor_scores", [scored] if theirs else []))
    ours, others = table("anomaly_events", events), table("contractor_events", theirs)
    matches = match_events(ours, others)
    store.write_day("event_matches", day, matches)
    agreement = agreement_of_day(ours, others, matches, table("recordings", [recording]), day)
    store.write_day("agreement", day, agreement if theirs else empty("agreement"))
    store.write_day("anomaly_scores", day, with_detectors([]).empty_table())
    store.write_day("cluster_labels", day, empty("cluster_labels"))
    store.write_day("waterfalls", day, _tiles(day, cells or {}, channels, fibre, (begin, seconds), noise))
    explanations = [{"fibre": e["fibre"], "event_id": e["event_id"], "band_hz": [30.0]} for e in events]
    profile = vector(np.eye(4, dtype=np.float32)[np.arange(len(events)) % 4], 4)
    plain = table("event_explanations", explanations)
    column = plain.schema.get_field_index("profile")
    store.write_day("event_explanations", day, plain.set_column(column, "profile", profile))
    heard = {"fibre": fibre, "recorded_s": seconds, "usable_s": seconds} | {
        f"{why}_s": 0 for why in ("silent", "clipped", "stuck", "incomplete", "dead", "saturated")
    }
    heard |= {"heard_from": start, "heard_until": start + seconds * SECOND}
    store.write_day("heard", day, table("heard", [heard | {"channel": c} for c in range(channels)]))


def _moved(e: dict[str, Any], shift: int) -> dict[str, Any]:
    return e | {name: e[name] + shift for name in ("start", "end", "peak_start") if name in e}


def _tiles(
    day: str, cells: dict[str, Any], channels: int, fibre: str, span: tuple[int, int], noise: int
) -> Iterator[pa.Table]:
    yield empty("waterfalls")
    rng = np.random.default_rng(0)
    for first in range(0, channels, pyramid.TILE_CHANNELS):
        n = min(pyramid.TILE_CHANNELS, channels - first)
        for layer in pyramid.LAYERS:
            codes = np.zeros((pyramid.TILE_CHANNELS, pyramid.DAY_SECONDS), np.uint8)
            inside = slice(span[0], span[0] + span[1])
            codes[:n, inside] = 17
            if noise:
                codes[:n, inside] += rng.integers(0, noise, (n, span[1]), np.uint8)
            for rows, columns, code in cells.get(layer, []):
                codes[max(0, rows.start - first) : max(0, min(n, rows.stop - first)), columns] = code
            block = (fibre, first, first + pyramid.TILE_CHANNELS)
            yield from pyramid.tiles_of(codes, day, layer, block, 1)


def large(store: Store, alarms: int = 33_000, channels: int = 1000) -> None:
    """Write a day of 24 hours, with so many alarms of both sides."""
    rng = np.random.default_rng(1)
    n = alarms * 2 // 3
    second, seconds = rng.uniform(0, 86_000, alarms), rng.exponential(12, alarms) + 1
    where = second, seconds, rng.integers(0, channels - 12, alarms)
    rates = 10 ** rng.uniform(-6, 0, alarms)
    boxes = list(zip(*(column.tolist() for column in where), rng.integers(0, 10, alarms).tolist(), strict=True))
    events = [ours(s, d, c, c + w, rate=rates[i], event_id=f"o{i}") for i, (s, d, c, w) in enumerate(boxes[:n])]
    kinds = ("digging", "walking", "machine", "cutting")
    theirs = [
        event(s, d if i % 3 else 0.2, c, c + (w if i % 3 else 0), event_id=f"t{i}")
        | {"contractor_class": kinds[i % 4], "probability": 0.5 + 0.5 * (i % 97) / 97}
        for i, (s, d, c, w) in enumerate(boxes[n:])
    ]
    write(store, events=events, theirs=theirs, channels=channels, seconds=86_400, noise=24)
