"""The columns of every table, in order: contracts that other programs rely on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

TIME = pa.timestamp("ns", tz="UTC")
MICROSECONDS = pa.timestamp("us", tz="UTC")
"""Of what people enter, who need no finer clock."""
F32 = pa.float32()
F64 = pa.float64()
VECTOR = pa.list_(F32)
"""Stands for a fixed-size list of float32, whose length depends on the settings."""

_FIBRE = [("fibre", pa.string())]
_CHANNEL = [*_FIBRE, ("channel", pa.int32())]
_INTERVAL = [*_CHANNEL, ("start", TIME), ("end", TIME)]
_INTERVAL_ENDS = ("", "_low", "_high")
_EXTENT = [("start", TIME), ("end", TIME), ("first_channel", pa.int32()), ("last_channel", pa.int32())]

SCHEMAS: dict[str, pa.Schema] = {
    "recordings": pa.schema(
        [
            *_FIBRE,
            ("path", pa.string()),
            ("format", pa.string()),
            ("start", TIME),
            ("end", TIME),
            ("sampling_rate_hz", F64),
            ("n_samples", pa.int64()),
            ("first_channel", pa.int32()),
            ("n_channels", pa.int32()),
            ("channel_spacing_m", F64),
            ("units", pa.string()),
            ("sha256", pa.string()),
            ("issues", pa.list_(pa.string())),
            ("channels", pa.string()),
            ("sample_type", pa.string()),
            ("fibre_from", pa.string()),
        ]
    ),
    "fibres": pa.schema([*_CHANNEL, ("distance_m", F64), ("spacing_m", F64), ("valid_from", TIME)]),
    "channel_health": pa.schema(
        [
            *_CHANNEL,
            ("seconds", F64),
            ("rms", F64),
            ("clipped_fraction", F64),
            ("dead_fraction", F64),
            ("state", pa.string()),
        ]
    ),
    "clipped_seconds": pa.schema([*_INTERVAL, ("clipped_fraction", F64), ("reason", pa.string())]),
    "contractor_scores": pa.schema(
        [
            *_INTERVAL,
            ("power", F32),
            ("p_digging", F32),
            ("p_walking", F32),
            ("p_cutting", F32),
            ("p_machine", F32),
            ("p_noise", F32),
        ]
    ),
    "spectrograms": pa.schema([*_INTERVAL, ("power_db", VECTOR)]),
    "level_histograms": pa.schema(
        [
            *_CHANNEL,
            ("hour_class", pa.int32()),
            ("first_code", pa.int32()),
            ("counts", pa.list_(pa.int32())),
        ]
    ),
    "background": pa.schema([*_CHANNEL, ("median_db", VECTOR), ("mad_db", VECTOR)]),
    "common_levels": pa.schema([*_FIBRE, *_EXTENT, ("level", VECTOR)]),
    "embeddings": pa.schema(
        [*_INTERVAL, ("mu", VECTOR), ("logvar", VECTOR), ("reconstruction_error", F32), ("kl", F32)]
    ),
    "cluster_labels": pa.schema([*_INTERVAL, ("label", pa.int32()), ("probability", F32), ("outlier_score", F32)]),
    "segment_models": pa.schema(
        [
            *_INTERVAL,
            ("means", VECTOR),
            ("variances", VECTOR),
            ("n_frames", pa.int32()),
            ("to_neighbours", F32),
        ]
    ),
    "temporal_terms": pa.schema(
        [*_INTERVAL, ("previous", F32), ("daily", F32), ("weekly", F32), ("neighbours", F32)]
    ),
    "anomaly_scores": pa.schema(
        [
            *_INTERVAL,
            ("score", F32),
            ("p_value", F64),
            ("is_anomaly", pa.bool_()),
            ("model_version", pa.string()),
            ("invalid", pa.string()),
        ]
    ),
    "anomaly_events": pa.schema(
        [
            *_FIBRE,
            ("event_id", pa.string()),
            *_EXTENT,
            ("first_m", F64),
            ("last_m", F64),
            ("peak_start", TIME),
            ("peak_channel", pa.int32()),
            ("score", F32),
            ("rate_per_km_day", F64),
            ("rate_low", F64),
            ("rate_high", F64),
            ("beyond_reference", pa.bool_()),
            ("n_windows", pa.int32()),
            ("cluster", pa.int32()),
            ("contractor_class", pa.string()),
            ("contractor_probability", F32),
            ("model_version", pa.string()),
        ]
    ),
    "event_explanations": pa.schema(
        [
            *_FIBRE,
            ("event_id", pa.string()),
            ("band_hz", pa.list_(F64)),
            ("band_weight", pa.list_(F64)),
            ("seconds", pa.list_(TIME)),
            ("second_weight", pa.list_(F64)),
            ("normal_fibre", pa.list_(pa.string())),
            ("normal_channel", pa.list_(pa.int32())),
            ("normal_start", pa.list_(TIME)),
            ("normal_distance", pa.list_(F64)),
            ("resembles", pa.string()),
            ("similarity", F32),
            ("window_start", TIME),
            ("profile", VECTOR),
        ]
    ),
    "contractor_events": pa.schema(
        [
            *_FIBRE,
            ("event_id", pa.string()),
            *_EXTENT,
            ("contractor_class", pa.string()),
            ("probability", F32),
        ]
    ),
    "event_matches": pa.schema(
        [
            *_FIBRE,
            ("event_id", pa.string()),
            ("contractor_event_id", pa.string()),
            ("agreement", pa.string()),
        ]
    ),
    "agreement": pa.schema(
        [
            ("start", TIME),
            ("end", TIME),
            *((name, pa.int64()) for name in ("ours", "theirs", "ours_matched", "theirs_matched")),
            *((f"{name}_by_chance", F64) for name in ("ours", "theirs")),
            *((f"{name}_s", F64) for name in ("both", "only_us", "only_contractor", "neither")),
            *((f"{name}{end}", F64) for name in ("kappa", "ac1", "positive_agreement") for end in _INTERVAL_ENDS),
        ]
    ),
    "waterfalls": pa.schema(
        [
            *_FIBRE,
            ("layer", pa.string()),
            ("zoom", pa.int32()),
            *_EXTENT,
            ("channel_step", pa.int32()),
            ("cells", pa.binary()),
        ]
    ),
    "heard": pa.schema(
        [
            *_CHANNEL,
            *((f"{name}_s", pa.int64()) for name in ("recorded", "usable", "silent", "clipped", "stuck")),
            *((f"{name}_s", pa.int64()) for name in ("incomplete", "dead", "saturated")),
            ("heard_from", TIME),
            ("heard_until", TIME),
        ]
    ),
    "verdicts": pa.schema(
        [
            ("entry_id", pa.string()),
            ("made", MICROSECONDS),
            ("who", pa.string()),
            ("verdict", pa.string()),
            ("kind", pa.string()),
            ("note", pa.string()),
            *_FIBRE,
            ("event_id", pa.string()),
            *_EXTENT,
            ("model_version", pa.string()),
            ("undoes", pa.string()),
        ]
    ),
}
SCHEMAS["events_so_far"] = SCHEMAS["anomaly_events"].append(pa.field("first_seen", TIME))
SCHEMAS["events_below"] = pa.schema(
    [*SCHEMAS["anomaly_events"], ("band_hz", pa.list_(F64)), ("window_start", TIME)]
)

KEYS: dict[str, tuple[str, ...]] = {
    "recordings": ("path",),
    "fibres": ("fibre", "channel", "valid_from"),
    "channel_health": ("fibre", "channel"),
    "clipped_seconds": ("fibre", "channel", "start"),
    "contractor_scores": ("fibre", "channel", "start"),
    "spectrograms": ("fibre", "channel", "start"),
    "level_histograms": ("fibre", "channel", "hour_class"),
    "background": ("fibre", "channel"),
    "common_levels": ("fibre", "first_channel", "start"),
    "embeddings": ("fibre", "channel", "start"),
    "cluster_labels": ("fibre", "channel", "start"),
    "segment_models": ("fibre", "channel", "start"),
    "temporal_terms": ("fibre", "channel", "start"),
    "anomaly_scores": ("fibre", "channel", "start"),
    "anomaly_events": ("event_id",),
    "event_explanations": ("event_id",),
    "contractor_events": ("event_id",),
    "event_matches": ("event_id", "contractor_event_id"),
    "agreement": ("start",),
    "waterfalls": ("fibre", "layer", "zoom", "first_channel", "start"),
    "heard": ("fibre", "channel"),
    "verdicts": ("entry_id",),
    "events_so_far": ("event_id",),
    "events_below": ("event_id",),
}
"""The columns that name a row of each table: no two rows share them."""


ANALYSTS = frozenset(
    {"contractor_scores", "embeddings", "cluster_labels", "anomaly_scores", "anomaly_events", "event_explanations"}
    | {"events_so_far", "events_below", "contractor_events", "agreement", "heard", "verdicts"}
)
"""Tables that people compute with. Their files hold µs, since DuckDB cannot compute with ns of a time zone; the
program has ns everywhere, as samples need them: at 3217.8 Hz they do not fall on whole µs."""


def stored(table: str, rows: pa.Table) -> pa.Table:
    """Return rows of a table as its files hold them: times in µs for `ANALYSTS`, cut off."""
    return _cast(rows, stored_schema(table, rows.schema))


def stored_schema(table: str, schema: pa.Schema) -> pa.Schema:
    """Return the columns of a table, given those in memory, as its files hold them."""
    if table not in ANALYSTS:
        return schema
    kinds = {TIME: MICROSECONDS, pa.list_(TIME): pa.list_(MICROSECONDS)}
    return pa.schema([field.with_type(kinds.get(field.type, field.type)) for field in schema], schema.metadata)


def in_memory(table: str, rows: pa.Table) -> pa.Table:
    """Undo `stored`."""
    return _cast(rows, in_memory_schema(table, rows.schema))


def in_memory_schema(table: str, schema: pa.Schema) -> pa.Schema:
    """Undo `stored_schema`."""
    if table not in ANALYSTS:
        return schema
    own = SCHEMAS[table]
    times = {field.name: field.type for field in own if field.type in (TIME, pa.list_(TIME))}
    return pa.schema([field.with_type(times.get(field.name, field.type)) for field in schema], schema.metadata)


def _cast(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    return rows if rows.schema.equals(schema) else rows.cast(schema, safe=False)


def with_detectors(names: Sequence[str]) -> pa.Schema:
    """Return the columns of `anomaly_scores` where these detectors scored."""
    schema = SCHEMAS["anomaly_scores"]
    first = len(_INTERVAL)
    own = [*((f"score_{name}", F32) for name in names), *((f"p_{name}", F64) for name in names)]
    return pa.schema([*list(schema)[:first], *pa.schema(own), *list(schema)[first:]])


def detectors_in(names: Sequence[str]) -> list[str]:
    """Return the detectors that the columns of `anomaly_scores` tell of, in order."""
    return [name.removeprefix("score_") for name in names if name.startswith("score_")]


def with_score(scores: pa.Table) -> pa.Table:
    """Return the rows of `anomaly_scores` that have a score."""
    return scores.filter(scores["invalid"].is_null())


def empty(table: str) -> pa.Table:
    """Return `table` without rows."""
    return SCHEMAS[table].empty_table()


def vector(values: np.ndarray, size: int | None = None) -> pa.FixedSizeListArray:
    """Wrap an array as a fixed-size list column, without a copy where it is float32 and contiguous.

    Parameters
    ----------
    values : numpy.ndarray
        Float array, shape (n_rows, ...); the trailing axes are flattened in C order.
    size : int, optional
        Length of a row's list; needed only where `values` has no rows.
    """
    flat = np.ascontiguousarray(values, dtype=np.float32)
    size = size or int(np.prod(flat.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1), F32), size)


def stack(column: pa.ChunkedArray | pa.FixedSizeListArray) -> np.ndarray:
    """Return a fixed-size list column as a float32 array, shape (n_rows, list size), without a copy."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks of a column without rows
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)


def whole_times(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows with their times as whole ns."""
    for i, name in enumerate(table.column_names):
        if pa.types.is_timestamp(table.schema.field(name).type):
            table = table.set_column(i, name, table[name].cast(pa.int64()))
    return table.to_pylist()


def mismatch(table: str, schema: pa.Schema) -> str | None:
    """Say in words how `schema` differs from the contract of `table`, or None where it fits."""
    wanted = with_detectors(detectors_in(schema.names)) if table == "anomaly_scores" else SCHEMAS[table]
    if schema.names != wanted.names:
        return f"{table} has columns {schema.names}, wanted {wanted.names}"
    for have, want in zip(schema, wanted, strict=True):
        if want.type == VECTOR:
            fits = pa.types.is_fixed_size_list(have.type) and have.type.value_type == F32
        else:
            fits = have.type == want.type
        if not fits:
            return f"{table}.{want.name} is {have.type}, wanted {want.type}"
    return None
