"""Resampling of levels that is true to area."""

import numpy as np


def area_shares(low: np.ndarray, high: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the share of each cell in each pixel: pixels times cells is resampling true to area.

    Parameters
    ----------
    low, high : numpy.ndarray
        Shape (cells,): extent of each cell.
    edges : numpy.ndarray
        Shape (pixels + 1,), ascending.

    Returns
    -------
    numpy.ndarray
        float32, shape (pixels, cells); each row sums to 1.

    Examples
    --------
    >>> print(area_shares(np.arange(3), np.arange(1, 4), np.array([0, 1.5, 3])).round(2))
    [[0.67 0.33 0.  ]
     [0.   0.33 0.67]]
    """
    shared = np.minimum(high, edges[1:, None]) - np.maximum(low, edges[:-1, None])
    shared = np.maximum(shared, 0)
    return (shared / shared.sum(axis=1, keepdims=True)).astype(np.float32)
