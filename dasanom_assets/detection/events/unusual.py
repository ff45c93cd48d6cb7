"""Windows of a day, and of the end of the day before, that can be part of an event: read channel by channel."""

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.recordings.landing import shifted
from dasanom_assets.settings import WindowSettings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import TIME, with_score
from dasanom_assets.tables.store import Store

KEY = ["fibre", "channel", "start"]
TAKEN = [*KEY, "end", "score", "is_anomaly", "model_version", "label"]
"""Columns of windows that events are made of."""
LOOK_BACK_NS = 1800 * SECOND_NS
"""What an event of a day may have had before midnight; one that is longer begins there."""


def taking_part(store: Store, day: str, least_score: float) -> Iterator[pa.Table]:
    """Yield the windows of a day that can be part of an event, one channel at a time; see `unusual`.

    Raises
    ------
    ValueError
        Where `cluster_labels` are of other windows than `anomaly_scores`.
    """
    labels = store.iter_day("cluster_labels", day, [*KEY, "label"])
    labelled = (rows for rows in labels if rows.num_rows)
    for rows in store.iter_day("anomaly_scores", day, [*TAKEN[:-1], "invalid"]):
        if (rows := with_score(rows)).num_rows:
            yield unusual(rows, next(labelled, rows.slice(0, 0)), least_score)


def unusual(scores: pa.Table, labels: pa.Table | None, least_score: float) -> pa.Table:
    """Return windows that can be part of an event, with the columns of `TAKEN`: of a day, few windows are unusual.

    Parameters
    ----------
    scores : pyarrow.Table
        Rows of `anomaly_scores`; those without a score are left out.
    labels : pyarrow.Table or None
        Rows of `cluster_labels`, one for each with a score in the same order.
    least_score : float
        See `find_events`.

    Raises
    ------
    ValueError
        Where `labels` are of other windows.
    """
    scores = with_score(scores)
    if labels is None:
        label = pa.nulls(len(scores), pa.int32())
    elif labels.select(KEY).equals(scores.select(KEY)):
        label = labels["label"]
    else:
        raise ValueError("cluster_labels are of other windows than anomaly_scores: materialize both again")
    rows = scores.append_column("label", label).select(TAKEN).replace_schema_metadata()
    return rows.filter(pc.greater_equal(rows["score"], least_score))  # NaN is not


def with_end_of_day_before(
    tables: Iterable[pa.Table], before: Iterable[pa.Table], window: WindowSettings
) -> Iterator[pa.Table]:
    """Yield windows with those of the end of the day before, by fibre and channel; one table of each is in memory.

    Parameters
    ----------
    tables, before : iterable of pyarrow.Table
        From `taking_part` and `end_of_day_before`.
    window : WindowSettings

    Yields
    ------
    pyarrow.Table
        Has `today`, and `near`: as `start`, but for the windows before, which touch those after midnight.
    """
    for rows, today in heapq.merge(_told(before, False), _told(tables, True), key=lambda one: _least(one[0])):
        yield _placed(rows, window, today=today)


def _told(tables: Iterable[pa.Table], today: bool) -> Iterator[tuple[pa.Table, bool]]:
    return ((rows, today) for rows in tables if len(rows))


def _least(rows: pa.Table) -> tuple[str, int]:
    return min(zip(*rows.select(KEY[:2]).to_pydict().values(), strict=True))


def _placed(rows: pa.Table, window: WindowSettings, *, today: bool) -> pa.Table:
    # No window lies across midnight: the last before it and the first after it are as near as two in a row.
    off = 0 if today else (window.seconds - window.shift_seconds) * SECOND_NS
    near = pc.add(rows["start"].cast(pa.int64()), off).cast(TIME)
    return rows.append_column("near", near).append_column("today", pa.array(np.full(len(rows), today)))


def end_of_day_before(store: Store, day: str, note: dict[str, Any], least_score: float) -> Iterator[pa.Table]:
    """Yield what `taking_part` would of the end of the day before; nothing where another model scored it.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    note : dict
        Metadata of the day's `anomaly_scores`.
    least_score : float
        See `find_events`.
    """
    yesterday = shifted(day, -1)
    if not store.has_day("anomaly_scores", yesterday):
        return
    if store.metadata("anomaly_scores", yesterday)["model_version"] != note["model_version"]:
        return
    midnight = int(np.datetime64(day, "ns").astype(np.int64))
    late = pc.field("start") >= pa.scalar(midnight - LOOK_BACK_NS, pa.int64()).cast(TIME)
    for rows in store.iter_day("anomaly_scores", yesterday, [*TAKEN[:-1], "invalid"]):
        yield unusual(rows.filter(late), None, least_score)
