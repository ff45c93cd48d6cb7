"""Connected components in time × channel: how windows and rows become events."""

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

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


def basins(height: np.ndarray, pairs: np.ndarray, share: float) -> np.ndarray:
    """Number the peaks that rows belong to, int32, shape (n_rows,).

    Rows are joined from the highest down (the persistence of peaks, with a bound that is relative). Two peaks stay
    apart where the way between them falls to less than a share of the lower one.

    Parameters
    ----------
    height : numpy.ndarray
        float64, shape (n_rows,), at least 0.
    pairs : numpy.ndarray
        int64, shape (n_pairs, 2): see `links`.
    share : float
        From 0, where all that touches is one, to 1, where each peak is one.
    """
    saddle = height[pairs].min(axis=1)
    order = np.argsort(-saddle, kind="stable")
    parent = list(range(len(height)))

    def peak(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    level = height.tolist()
    for (a, b), way in zip(pairs[order].tolist(), saddle[order].tolist(), strict=True):
        high, low = peak(a), peak(b)
        if high != low:
            if level[high] < level[low]:
                high, low = low, high
            if way >= share * level[low]:
                parent[low] = high
    peaks = np.array([peak(row) for row in range(len(parent))], np.int64)
    return np.unique(peaks, return_inverse=True)[1].astype(np.int32)


def members(labels: np.ndarray) -> list[np.ndarray]:
    """Return the positions of each component's rows, ascending, int64."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(labels) else []
