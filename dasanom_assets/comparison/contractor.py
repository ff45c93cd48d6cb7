"""The contractor's files as tables, and its alarms as events."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import ndimage

from dasanom_assets.detection.components import grids, hysteresis_components
from dasanom_assets.detection.events import THREATS, event_id
from dasanom_assets.recordings.bundle import SIDECAR, contractor_files, read_sidecar
from dasanom_assets.settings import ComparisonSettings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import SCHEMAS, TIME, empty
from dasanom_assets.tables.store import Store

CLASSES = (*THREATS, "noise")
"""Digging, walking, cutting, machine, noise: `kazma`, `yurume`, `kesici`, `makine`, `gurultu` in the files."""
SUM_TOLERANCE = 0.01


def contractor_scores(
    store: Store, recordings: pa.Table, settings: ComparisonSettings, model: int | None = None
) -> tuple[pa.Table, dict[str, Any]]:
    """Return what the contractor's files say of a day.

    Row ``i`` of the probabilities belongs to row ``i + contractor_lag_rows`` of the power, and that covers
    ``[i, i + 1) / rows_per_second`` of the recording. A row has null where one of the two files has none.

    Parameters
    ----------
    store : Store
    recordings : pyarrow.Table
        Rows of `recordings`.
    settings : ComparisonSettings
    model : int, optional
        Number of the contractor's model; default: the lowest that a recording has.

    Returns
    -------
    table : pyarrow.Table
        Rows of `contractor_scores`; none where the day has no contractor files.
    notes : dict
        ``files`` read, ``left_out`` with reasons, ``rows_sum_to_one``: whether every row of probabilities does,
        None without any.
    """
    parts: list[pa.Table] = []
    notes: dict[str, Any] = {"files": [], "left_out": [], "rows_sum_to_one": None}
    for path in recordings["path"].to_pylist():
        if not path.endswith(".bin"):
            continue
        folder = path.rpartition("/")[0]
        listing = [entry["path"] for entry in store.listing(folder, recursive=True)]
        models = [m for m in contractor_files(path, listing) if model is None or m[0] == model]
        if not models:
            continue
        with store.local(path, path + SIDECAR) as local:
            sidecar = read_sidecar(local)
        _, prob_path, power_path = models[0]
        n_channels = len(sidecar.channels)
        n_rows = int(np.ceil(sidecar.n_samples / sidecar.sampling_rate_hz * settings.rows_per_second))
        power = np.full((n_rows, n_channels), np.nan, np.float32)
        prob = np.full((n_rows, n_channels, len(CLASSES)), np.nan, np.float32)
        lag = settings.contractor_lag_rows
        for name, target, shape in (
            (power_path, power, (2, -1, n_channels)),
            (prob_path, prob[lag:], (-1, n_channels, len(CLASSES))),
        ):
            if name is None:
                continue
            content = store.read_bytes(name)
            row_bytes = 4 * abs(int(np.prod(shape)))
            if not content or len(content) % row_bytes:
                notes["left_out"].append(f"{name}: {len(content)} bytes are not whole rows of {row_bytes}")
                continue
            values = np.frombuffer(content, "<f4").reshape(shape)
            values = values[0] if name == power_path else values
            n = min(len(values), len(target))
            target[:n] = values[:n]
            notes["files"].append(name)
        sums = prob.sum(axis=2)
        if (there := np.isfinite(sums)).any():
            whole = bool((np.abs(sums[there] - 1) <= SUM_TOLERANCE).all())
            notes["rows_sum_to_one"] = whole and notes["rows_sum_to_one"] is not False
        parts.append(_rows(sidecar, power, prob, settings))
    return (pa.concat_tables(parts) if parts else empty("contractor_scores")), notes


def _rows(sidecar: Any, power: np.ndarray, prob: np.ndarray, settings: ComparisonSettings) -> pa.Table:
    """Return the rows of one recording, by channel and time; rows without any value are left out."""
    n_rows = len(power)
    edge = np.rint(np.arange(n_rows + 1) * (SECOND_NS / settings.rows_per_second)).astype(np.int64)
    end_ns = round(sidecar.n_samples / sidecar.sampling_rate_hz * SECOND_NS)
    edge = sidecar.start_ns + np.minimum(edge, end_ns)
    there = np.isfinite(power.T) | np.isfinite(prob[:, :, 0].T)
    channel, row = np.nonzero(there)
    columns = {
        "fibre": pa.array(np.full(len(row), sidecar.fibre, object), pa.string()),
        "channel": pa.array(sidecar.channels[channel]),
        "start": pa.array(edge[row], pa.int64()).cast(TIME),
        "end": pa.array(edge[row + 1], pa.int64()).cast(TIME),
        "power": pa.array(power[row, channel], pa.float32(), from_pandas=True),
    }
    for k, name in enumerate(CLASSES):
        columns[f"p_{name}"] = pa.array(prob[row, channel, k], pa.float32(), from_pandas=True)
    return pa.table(columns).select(SCHEMAS["contractor_scores"].names)


def threat(scores: pa.Table) -> np.ndarray:
    """Return the probability that something other than noise is there, float32, shape (n_rows,), NaN if unknown.

    Where the classes of a row sum to 1 that is one less noise; where they do not, they are separate verdicts, and
    it is the largest of the threats. The sum over all classes would say nothing.
    """
    p = np.stack([scores[f"p_{name}"].to_numpy().astype(np.float32) for name in CLASSES], axis=1)
    total = p.sum(axis=1)
    return np.where(np.abs(total - 1) <= SUM_TOLERANCE, 1 - p[:, -1], p[:, :-1].max(axis=1))


def contractor_events(scores: pa.Table, settings: ComparisonSettings) -> pa.Table:
    """Return the rows of `contractor_events`: alarmed rows that touch in time or channel.

    Alarms on one channel that lie within ``join_seconds`` of each other count as touching.

    Parameters
    ----------
    scores : pyarrow.Table
        Rows of `contractor_scores`.
    settings : ComparisonSettings
    """
    rows: list[dict[str, Any]] = []
    if scores.num_rows:
        rows = list(_events(scores, settings))
    if not rows:
        return empty("contractor_events")
    return pa.Table.from_pylist(rows, SCHEMAS["contractor_events"]).sort_by([("start", "ascending")])


def _events(scores: pa.Table, settings: ComparisonSettings) -> Iterator[dict[str, Any]]:
    probability = threat(scores)
    alarmed = np.nan_to_num(probability, nan=0.0) >= settings.contractor_probability
    start, end = (scores[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    of_class = {name: scores[f"p_{name}"].to_numpy() for name in THREATS}
    step = round(SECOND_NS / settings.rows_per_second)
    reach = max(1, round(settings.join_seconds * settings.rows_per_second))
    for grid in grids(scores, step):
        high = grid.fill(alarmed)
        padded = np.pad(high, ((0, 0), (reach, reach)))
        closed = ndimage.binary_closing(padded, np.ones((1, reach + 1), bool))[:, reach:-reach]
        marks, n = hysteresis_components(high, closed)
        mark = np.where(alarmed[grid.rows], marks[grid.channel_index, grid.time_index], 0)
        members = np.flatnonzero(mark)
        members = members[np.argsort(mark[members], kind="stable")]
        for some in np.split(members, np.searchsorted(mark[members], np.arange(2, n + 1))) if n else []:
            at = grid.rows[some]
            channels = grid.channel_index[some] + grid.first_channel
            first_channel, last_channel, begin = int(channels.min()), int(channels.max()), int(start[at].min())
            yield {
                "fibre": grid.fibre,
                "event_id": event_id(grid.fibre, begin, first_channel, last_channel),
                "start": begin,
                "end": int(end[at].max()),
                "first_channel": first_channel,
                "last_channel": last_channel,
                "contractor_class": max(THREATS, key=lambda name: np.nanmax(of_class[name][at])),
                "probability": float(np.nanmax(probability[at])),
            }
