"""Connected components in time × channel: how windows and rows become events."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy import ndimage


@dataclass(frozen=True)
class Grid:
    """Where the rows of one fibre lie in time × channel.

    Attributes
    ----------
    fibre : str
    first_channel, first_ns, step_ns : int
        Channel and time of cell (0, 0), and the time from one column to the next, ns.
    shape : tuple of int
        Channels, times. Every channel number in between has a row, so neighbours are neighbours on the fibre.
    rows : numpy.ndarray
        int64, shape (n_rows,): positions in the table.
    channel_index, time_index : numpy.ndarray
        int64, shape (n_rows,): cells of these rows.
    """

    fibre: str
    first_channel: int
    first_ns: int
    step_ns: int
    shape: tuple[int, int]
    rows: np.ndarray
    channel_index: np.ndarray
    time_index: np.ndarray

    def fill(self, values: np.ndarray, missing: float | bool = False) -> np.ndarray:
        """Return `values` (of all rows of the table) as a matrix of shape `shape`; empty cells get `missing`."""
        out = np.full(self.shape, missing, dtype=values.dtype)
        out[self.channel_index, self.time_index] = values[self.rows]
        return out


def grids(table: pa.Table, step_ns: int) -> Iterator[Grid]:
    """Yield one grid a fibre for a table with `fibre`, `channel` and `start`, times rounded to `step_ns`."""
    fibre = table["fibre"].to_numpy(zero_copy_only=False)
    channel = table["channel"].to_numpy().astype(np.int64)
    start = table["start"].cast(pa.int64()).to_numpy()
    for name in sorted(set(fibre)):
        rows = np.flatnonzero(fibre == name)
        first_channel, first_ns = int(channel[rows].min()), int(start[rows].min())
        j = channel[rows] - first_channel
        k = np.rint((start[rows] - first_ns) / step_ns).astype(np.int64)
        shape = (int(j.max()) + 1, int(k.max()) + 1)
        yield Grid(name, first_channel, first_ns, step_ns, shape, rows, j, k)


def hysteresis_components(high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, int]:
    """Label the components of `low`, neighbours by side or corner, that hold at least one cell of `high`.

    Parameters
    ----------
    high, low : numpy.ndarray
        bool, shape (channels, times).

    Returns
    -------
    labels : numpy.ndarray
        int32, same shape; 0 outside, 1 to `n` inside.
    n : int
    """
    labels, n = ndimage.label(low | high, structure=np.ones((3, 3), bool))
    opened = np.zeros(n + 1, bool)
    opened[labels[high]] = True
    opened[0] = False
    renumbered = np.where(opened, np.cumsum(opened), 0).astype(np.int32)
    return renumbered[labels], int(opened.sum())
