"""Rows to the peaks that they belong to, by a compiled kernel."""

import numpy as np
from numba import njit


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
    return np.unique(_peaks(height, pairs[order], saddle[order], share), return_inverse=True)[1].astype(np.int32)


@njit(cache=True)
def _peaks(height: np.ndarray, pairs: np.ndarray, saddle: np.ndarray, share: float) -> np.ndarray:
    """Return the row that is the peak of each row, int64, shape (n_rows,); `saddle` descends."""
    parent = np.arange(len(height))
    for k in range(len(pairs)):
        high, low = _root(parent, pairs[k, 0]), _root(parent, pairs[k, 1])
        if high != low:
            if height[high] < height[low]:
                high, low = low, high
            if saddle[k] >= share * height[low]:
                parent[low] = high
    for row in range(len(parent)):
        parent[row] = _root(parent, row)
    return parent


@njit(cache=True)
def _root(parent: np.ndarray, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row
