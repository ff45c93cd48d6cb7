"""Alarms of ours as the cells that they cover: an alarm is an event, and what no event holds is none."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from dasanom_assets.tables.schemas import TIME


def in_alarms(scores: pa.Table, events: pa.Table) -> np.ndarray:
    """Return which windows have their middle in an alarm of ours, bool, shape (n_windows,).

    Parameters
    ----------
    scores : pyarrow.Table
        Has `fibre`, `channel`, `start` and `end`.
    events : pyarrow.Table
        Rows of `anomaly_events`.
    """
    out = np.zeros(scores.num_rows, bool)
    if not scores.num_rows or not events.num_rows:
        return out
    names = scores["fibre"].combine_chunks().dictionary_encode()
    names = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
    fibre, known = names.indices.to_numpy(), names.dictionary.to_pylist()
    start, end = (scores[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    channel = scores["channel"].to_numpy()
    # By time, so that an alarm asks few windows.
    order = np.argsort(start + (end - start) // 2, kind="stable")
    middle = (start + (end - start) // 2)[order]
    for name, begin, stop, first, last in _boxes(events):
        if name in known:
            near = order[slice(*np.searchsorted(middle, [begin, stop]))]
            inside = (fibre[near] == known.index(name)) & (channel[near] >= first) & (channel[near] <= last)
            out[near[inside]] = True
    return out


def by_alarms(scores: pa.Table, events: pa.Table) -> pa.Table:
    """Return rows of `anomaly_scores` of which those are anomalies that lie in an alarm."""
    place = scores.schema.get_field_index("is_anomaly")
    return scores.set_column(place, "is_anomaly", pa.array(in_alarms(scores, events)))


def rows_of_alarms(events: pa.Table) -> pa.Table:
    """Return a row for each channel of each alarm: `fibre`, `channel`, `start` and `end`."""
    boxes = list(_boxes(events))
    size = np.array([last - first + 1 for *_, first, last in boxes], np.int64)
    channel = [np.arange(first, last + 1) for *_, first, last in boxes]
    times = (np.repeat(np.array([box[i] for box in boxes], np.int64), size) for i in (1, 2))
    start, end = (pa.array(column).cast(TIME) for column in times)
    fibres = [name for (name, *_), n in zip(boxes, size.tolist(), strict=True) for _ in range(n)]
    return pa.table(
        {
            "fibre": pa.array(fibres, pa.string()),
            "channel": pa.array(np.concatenate([*channel, np.empty(0, np.int64)]), pa.int32()),
            "start": start,
            "end": end,
        }
    )


def _boxes(events: pa.Table) -> Iterator[tuple[str, int, int, int, int]]:
    times = [events[name].cast(pa.int64()).to_pylist() for name in ("start", "end")]
    names = [events[name].to_pylist() for name in ("fibre", "first_channel", "last_channel")]
    yield from zip(names[0], *times, *names[1:], strict=True)
