"""Connected components in time × channel: how windows and rows become events."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ROWS_AT_ONCE = 50_000
"""Rows that are put in components together, at least."""
STEPS_APART = 1.5
"""Rows whose starts differ by less than this many steps follow each other: files need not share a time grid."""


def components(rows: pa.Table, reach_ns: int, channel_step: int = 1) -> np.ndarray:
    """Number the components that rows form in time × channel.

    Parameters
    ----------
    rows : pyarrow.Table
        Has `fibre`, `channel` and `start`: those windows or rows that take part.
    reach_ns : int
        To the µs; `STEPS_APART` steps of time make neighbours by side or corner.
    channel_step : int
        From one channel number to the next: the size of groups of channels.

    Returns
    -------
    numpy.ndarray
        int32, shape (n_rows,): 0 to the number of components less one.
    """
    n = rows.num_rows
    graph = coo_array((np.ones(len(pairs := links(rows, reach_ns, channel_step)), bool), pairs.T), shape=(n, n))
    return connected_components(graph, directed=False)[1] if n else np.empty(0, np.int32)


def apart(
    tables: Iterable[pa.Table], reach_ns: int, channel_step: int = 1, time: str = "start"
) -> Iterator[pa.Table]:
    """Yield rows in parts of which no two touch, as soon as their components are complete.

    In memory are some `ROWS_AT_ONCE` rows, and the components that reach the last channel.

    Parameters
    ----------
    tables : iterable of pyarrow.Table
        Rows, ascending by fibre and channel from table to table; nothing is said of their order within one.
    reach_ns, channel_step : int
        See `components`.
    time : str
        The column that stands for `start`.

    Raises
    ------
    ValueError
        Where channels do not ascend.
    """
    held: list[pa.Table] = []
    n, most, last = 0, ROWS_AT_ONCE, ("", -1)
    for table in filter(len, tables):
        first, end = _first_and_last(table)
        if first < last:
            raise ValueError(f"channel {first} comes after {last}: rows that touch could be in two parts")
        last = end
        held.append(table)
        n += len(table)
        if n >= most:
            rows = pa.concat_tables(held)
            places = rows.select(["fibre", "channel", time]).rename_columns(["fibre", "channel", "start"])
            label = components(places, reach_ns, channel_step)
            on_last = pc.and_(pc.equal(rows["fibre"], last[0]), pc.equal(rows["channel"], last[1]))
            open_ = np.isin(label, label[on_last.to_numpy()])
            yield rows.filter(~open_)
            held = [rows.filter(open_)]
            n = len(held[0])
            most = max(ROWS_AT_ONCE, 2 * n)
    if held:
        yield pa.concat_tables(held)


def _first_and_last(rows: pa.Table) -> list[tuple[str, int]]:
    """Return the least and the greatest fibre and channel of rows, nearly always of one channel."""
    fibre, channel = (pc.min_max(rows[name]).as_py() for name in ("fibre", "channel"))
    if fibre["min"] != fibre["max"]:
        keys = sorted(map(tuple, zip(rows["fibre"].to_pylist(), rows["channel"].to_pylist(), strict=True)))
        return [keys[0], keys[-1]]
    return [(fibre["min"], channel[end]) for end in ("min", "max")]


def links(rows: pa.Table, reach_ns: int, channel_step: int = 1) -> np.ndarray:
    """Return pairs of rows that touch, int64, shape (n_pairs, 2).

    Two rows touch where they are on the same or on neighbouring channels of a fibre and their starts differ by at
    most `reach_ns`. Of those on a neighbouring channel the two nearest before and after stand for all: these are
    all within a step and a half. Cost and memory grow with the rows, not with the time and channels that they
    span. Parameters are those of `components`.
    """
    if not rows.num_rows:
        return np.empty((0, 2), np.int64)
    fibre = rows["fibre"].combine_chunks().dictionary_encode().indices.to_numpy()
    channel = rows["channel"].to_numpy().astype(np.int64) // channel_step
    time = rows["start"].cast(pa.int64()).to_numpy() // 1000
    channel -= channel.min()
    time -= time.min()
    reach = reach_ns // 1000
    # One number a row: a range for each channel, wide enough that a step of `reach` never leads into another one.
    width = int(time.max()) + reach + 1
    key = (fibre.astype(np.int64) * (int(channel.max()) + 2) + channel) * width + time
    order = np.argsort(key, kind="stable")
    key = key[order]
    place = np.arange(len(key))
    after = np.searchsorted(key, key + width)
    pairs = []
    beside = [(place, after + k, width) for k in (-2, -1, 0, 1)]
    for row, other, ahead in [(place[:-1], place[1:], 0), *beside]:
        inside = (other >= 0) & (other < len(key))
        row, other = row[inside], other[inside]
        near = np.abs(key[other] - key[row] - ahead) <= reach
        pairs.append(order[np.stack([row[near], other[near]], axis=1)])
    return np.concatenate(pairs)


def members(labels: np.ndarray) -> list[np.ndarray]:
    """Return the positions of each component's rows, ascending, int64."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(labels) else []
