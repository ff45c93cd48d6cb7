"""The nearest of some points, exactly, for many queries: a matrix product and one look at each result."""

import numpy as np
from numba import njit

QUERIES = 32
"""Queries at a time: their products with all points stay in a processor's cache."""
GROUP = 32
"""Points whose least product says whether any of them can be among the nearest."""
SPARE = 4
"""Candidates beyond those wanted: a product rounds to float32, and distances are summed up anew."""


class Nearest:
    """The nearest of some points by Euclidean distance.

    scikit-learn's brute force computes in float64 whatever it is given, and takes three times as long.

    Parameters
    ----------
    points : numpy.ndarray
        float32 or float64, shape (n, d), about the origin.

    Examples
    --------
    >>> distance, which = Nearest(np.float32([[0, 0], [3, 4], [1, 0]]))(np.float32([[0, 0]]), 2)
    >>> distance.tolist(), which.tolist()
    ([[0.0, 1.0]], [[0, 2]])
    """

    def __init__(self, points: np.ndarray) -> None:
        self.points = np.ascontiguousarray(points)
        half = np.square(self.points).sum(axis=1, keepdims=True) / 2
        # |p|²/2 − q·p orders points as |p − q| does. What fills the last group is infinitely far.
        self._lifted = np.zeros((points.shape[1] + 1, -(-len(points) // GROUP) * GROUP), np.float32)
        self._lifted[-1] = np.inf
        self._lifted[:, : len(points)] = np.hstack([-self.points, half]).T

    def __call__(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return distances to the `k` nearest points, nearest first, and which they are.

        Parameters
        ----------
        queries : numpy.ndarray
            Of the points' type, shape (m, d).
        k : int
            At most the number of points.

        Returns
        -------
        distance : numpy.ndarray
            Of the points' type, shape (m, k): squares are summed up dimension by dimension.
        which : numpy.ndarray
            int64, of the same shape; of several at the last distance, any.
        """
        distance = np.empty((len(queries), k), self.points.dtype)
        which = np.empty((len(queries), k), np.int64)
        candidates = min(k + SPARE, len(self.points))
        lifted = np.ones((QUERIES, self.points.shape[1] + 1), np.float32)
        for first in range(0, len(queries), QUERIES):
            block = np.ascontiguousarray(queries[first : first + QUERIES])
            lifted[: len(block), :-1] = block
            # Always as many rows: a row of a product may depend on how many there are.
            products = lifted @ self._lifted
            some = slice(first, first + QUERIES)
            _nearest(products, block, self.points, candidates, distance[some], which[some])
        return distance, which


@njit(nogil=True, cache=True)
def _insert(best: np.ndarray, place: np.ndarray, held: int, value: float, number: int) -> int:
    """Put a value and its number among the least ones, in place of the last; return how many there are."""
    held = min(held + 1, len(best))
    slot = held - 1
    while slot and (best[slot - 1] > value or (best[slot - 1] == value and place[slot - 1] > number)):
        best[slot], place[slot] = best[slot - 1], place[slot - 1]
        slot -= 1
    best[slot], place[slot] = value, number
    return held


@njit(nogil=True, cache=True)
def _nearest(
    products: np.ndarray,
    queries: np.ndarray,
    points: np.ndarray,
    candidates: int,
    distance: np.ndarray,
    which: np.ndarray,
) -> None:
    """Fill distances and points of some queries from their products."""
    groups, k = products.shape[1] // GROUP, distance.shape[1]
    best, square = np.empty(candidates, products.dtype), np.empty(candidates, points.dtype)
    place, order = np.empty((2, candidates), np.int64)
    least = np.empty(groups, products.dtype)
    for query in range(len(queries)):
        row = products[query]
        least[:] = row[:groups]
        for member in range(1, GROUP):
            others = row[member * groups : (member + 1) * groups]
            for group in range(groups):
                least[group] = others[group] if others[group] < least[group] else least[group]
        held = 0
        for group in range(groups):
            if held < candidates or least[group] < best[-1]:
                held = _insert(best, place, held, least[group], group)
        # So many points are as near as the least of so many groups: no other group can hold one that is wanted.
        limit, held = best[-1] if held == candidates else np.inf, 0
        for group in range(groups):
            if least[group] <= limit:
                for point in range(group, len(points), groups):
                    if row[point] <= limit and (held < candidates or row[point] < best[-1]):
                        held = _insert(best, place, held, row[point], point)
        for i in range(candidates):
            total = square.dtype.type(0)
            for dimension in range(points.shape[1]):
                total += (queries[query, dimension] - points[place[i], dimension]) ** 2
            _insert(square, order, i, total, place[i])
        for i in range(k):
            distance[query, i], which[query, i] = np.sqrt(square[i]), order[i]
