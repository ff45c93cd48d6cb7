"""Connected components in time × channel: how windows and rows become events."""

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SLACK = 1.5
"""Rows whose starts differ by less than this many steps follow each other: files need not share a time grid."""


def components(rows: pa.Table, reach_ns: int, channel_step: int = 1) -> np.ndarray:
    """Number the components that rows form in time × channel.

    Two rows touch where they are on the same or on neighbouring channels of a fibre and their starts differ by at
    most `reach_ns`. Cost and memory grow with the rows, not with the time and channels that they span.

    Parameters
    ----------
    rows : pyarrow.Table
        Has `fibre`, `channel` and `start`: those windows or rows that take part.
    reach_ns : int
        To the µs; `SLACK` steps of time make neighbours by side or corner.
    channel_step : int
        From one channel number to the next: the size of groups of channels.

    Returns
    -------
    numpy.ndarray
        int32, shape (n_rows,): 0 to the number of components less one.
    """
    if not rows.num_rows:
        return np.empty(0, np.int32)
    fibre = rows["fibre"].combine_chunks().dictionary_encode().indices.to_numpy()
    channel = rows["channel"].to_numpy().astype(np.int64) // channel_step
    time = rows["start"].cast(pa.int64()).to_numpy() // 1000
    channel -= channel.min()
    time -= time.min()
    reach = reach_ns // 1000
    # One number a row: a lane for each channel, wide enough that a step of `reach` never leads into another lane.
    width = int(time.max()) + reach + 1
    key = (fibre.astype(np.int64) * (int(channel.max()) + 2) + channel) * width + time
    order = np.argsort(key, kind="stable")
    key = key[order]
    here = np.arange(len(key))
    # Within reach of a row, the rows of a lane reach each other: the nearest before and after stand for all.
    after = np.searchsorted(key, key + width)
    pairs = [(here[:-1], here[1:], 0), (here, after, width), (here, after - 1, width)]
    links = []
    for one, other, ahead in pairs:
        inside = (other >= 0) & (other < len(key))
        one, other = one[inside], other[inside]
        near = np.abs(key[other] - key[one] - ahead) <= reach
        links.append((one[near], other[near]))
    one, other = (np.concatenate(side) for side in zip(*links, strict=True))
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(key), len(key)))
    labels = np.empty(len(key), np.int32)
    labels[order] = connected_components(graph, directed=False)[1]
    return labels


def members(labels: np.ndarray) -> list[np.ndarray]:
    """Return the positions of each component's rows, ascending, int64."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(labels) else []
