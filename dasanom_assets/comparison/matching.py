"""Which events of the two sides are the same: many to many, by the least overlap that counts."""

from collections.abc import Mapping

import numpy as np

LEAST_OVERLAP = 0.1
"""Share of the union of two boxes that both have, at least."""
TOLERANCE_S, TOLERANCE_CHANNELS = 1.0, 1
"""By which each box is widened, on each side: the two sides cut time and channels differently."""
Boxes = Mapping[str, np.ndarray]
PAIRS_AT_ONCE = 1 << 22


def overlapping(ours: Boxes, theirs: Boxes, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which events are the same: row numbers of both sides, a pair each; one may be in several pairs.

    Two boxes are the same event where what they share is `LEAST_OVERLAP` of both together, or of ours, the
    contractor having cut one event into several.

    Parameters
    ----------
    ours, theirs : mapping
        ``start`` and ``end``, whole numbers, half-open; ``first_channel`` and ``last_channel``, included.
    seconds : float
        Length of a unit of time, s.

    Examples
    --------
    >>> box = lambda *edges: {n: np.array([e]) for n, e in zip(NAMES, edges, strict=True)}
    >>> pairs = overlapping(box(0, 30, 5, 9), box(10, 40, 6, 9), 1.0)
    >>> len(pairs[0])
    1
    >>> len(overlapping(box(0, 30, 5, 9), box(29, 90, 6, 9), 1.0)[0])
    0
    """
    n, m = len(ours["start"]), len(theirs["start"])
    order = np.argsort(theirs["start"], kind="stable")
    start = theirs["start"][order]
    longest = int((theirs["end"] - theirs["start"]).max(initial=0))
    slack = round(2 * TOLERANCE_S / seconds)
    first = np.searchsorted(start, ours["start"] - longest - slack)
    last = np.searchsorted(start, ours["end"] + slack)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    begin = 0
    while begin < n and m:
        stop = begin + max(1, int(np.searchsorted(np.cumsum((last - first)[begin:]), PAIRS_AT_ONCE)))
        count = (last - first)[begin:stop]
        i = np.repeat(np.arange(begin, min(stop, n)), count)
        j = order[
            np.concatenate([np.arange(a, b) for a, b in zip(first[begin:stop], last[begin:stop], strict=True)])
        ]
        share = _share({name: ours[name][i] for name in NAMES}, {name: theirs[name][j] for name in NAMES}, seconds)
        found.append((i[share >= LEAST_OVERLAP], j[share >= LEAST_OVERLAP]))
        begin = stop
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate([i for i, _ in found]), np.concatenate([j for _, j in found])


def by_chance(ours: Boxes, theirs: Boxes, seconds: float, period: tuple[int, int]) -> tuple[float, float]:
    """Return how many events of each side would have a match if one side's times meant nothing.

    All of theirs are shifted along a circle in time, by any amount alike: the mean over all shifts is exact, since
    two boxes are the same event for one interval of shifts.

    Parameters
    ----------
    ours, theirs, seconds
        As of `overlapping`.
    period : tuple of int
        Begin and end of what was recorded: the circle.

    Examples
    --------
    >>> box = lambda *edges: {n: np.array([e]) for n, e in zip(NAMES, edges, strict=True)}
    >>> by_chance(box(0, 10, 5, 5), box(500, 510, 50, 50), 1.0, (0, 1000))
    (0.0, 0.0)
    >>> ours, theirs = by_chance(box(0, 10, 5, 5), box(500, 510, 5, 5), 1.0, (0, 1000))
    >>> ours == theirs and 0.015 < ours < 0.025
    True
    """
    a, b = _edges(ours, seconds), _edges(theirs, seconds)
    circle = float(period[1] - period[0])
    if circle <= 0:
        return 0.0, 0.0
    return _met_by_chance(a, b, circle, a_is_ours=True), _met_by_chance(b, a, circle, a_is_ours=False)


def _met_by_chance(
    a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...], circle: float, *, a_is_ours: bool
) -> float:
    """Return the sum over boxes of one side of the share of shifts at which it has a match."""
    total = 0.0
    other_area = (b[1] - b[0]) * (b[3] - b[2])
    for begin, end, first, last in zip(*a, strict=True):
        near = np.flatnonzero((b[2] < last) & (b[3] > first))
        width = np.minimum(last, b[3][near]) - np.maximum(first, b[2][near])
        length, other = end - begin, b[1][near] - b[0][near]
        area = length * (last - first)
        union = LEAST_OVERLAP / (1 + LEAST_OVERLAP) * (area + other_area[near]) / width
        needed = np.minimum(union, LEAST_OVERLAP * (area if a_is_ours else other_area[near]) / width)
        can = needed <= np.minimum(length, other)
        # They overlap long enough as long as the other begins between these, seen from where it begins now.
        low, high = begin + needed - other - b[0][near], end - needed - b[0][near]
        total += _covered(low[can], high[can], circle)
    return total


def _covered(low: np.ndarray, high: np.ndarray, circle: float) -> float:
    """Return the share of a circle that some intervals cover together."""
    if not len(low):
        return 0.0
    begin = low % circle
    end = begin + np.minimum(high - low, circle)
    over = end > circle
    begin = np.concatenate([begin, np.zeros(over.sum())])
    end = np.concatenate([np.minimum(end, circle), end[over] - circle])
    order = np.argsort(begin)
    begin, end = begin[order], np.maximum.accumulate(end[order])
    gaps = np.maximum(begin[1:] - end[:-1], 0).sum()
    return float((end[-1] - begin[0] - gaps) / circle)


NAMES = ("start", "end", "first_channel", "last_channel")


def _share(a: Boxes, b: Boxes, seconds: float) -> np.ndarray:
    """Return what pairs of boxes share, of both together, or of the first where that is more."""
    (s1, e1, f1, l1), (s2, e2, f2, l2) = _edges(a, seconds), _edges(b, seconds)
    time = np.maximum(np.minimum(e1, e2) - np.maximum(s1, s2), 0)
    common = time * np.maximum(np.minimum(l1, l2) - np.maximum(f1, f2), 0)
    area, other = (e1 - s1) * (l1 - f1), (e2 - s2) * (l2 - f2)
    return common / np.maximum(np.minimum(area + other - common, area), 1e-9)


def _edges(box: Boxes, seconds: float) -> tuple[np.ndarray, ...]:
    """Return begin, end, first channel and that after the last of boxes, widened by the tolerances, float64."""
    slack, wide = TOLERANCE_S / seconds, TOLERANCE_CHANNELS
    widened = (
        box["start"] - slack,
        box["end"] + slack,
        box["first_channel"] - wide,
        box["last_channel"] + 1.0 + wide,
    )
    return tuple(np.asarray(edge, float) for edge in widened)
