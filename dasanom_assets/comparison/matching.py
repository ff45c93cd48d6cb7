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


NAMES = ("start", "end", "first_channel", "last_channel")


def _share(a: Boxes, b: Boxes, seconds: float) -> np.ndarray:
    """Return what pairs of boxes share, of both together, or of the first where that is more."""
    slack = TOLERANCE_S / seconds

    def edges(box: Boxes) -> tuple[np.ndarray, ...]:
        return (
            box["start"] - slack,
            box["end"] + slack,
            box["first_channel"] - TOLERANCE_CHANNELS,
            box["last_channel"] + 1 + TOLERANCE_CHANNELS,
        )

    (s1, e1, f1, l1), (s2, e2, f2, l2) = edges(a), edges(b)
    common = np.maximum(np.minimum(e1, e2) - np.maximum(s1, s2), 0) * np.maximum(
        np.minimum(l1, l2) - np.maximum(f1, f2), 0
    )
    area, other = (e1 - s1) * (l1 - f1), (e2 - s2) * (l2 - f2)
    return common / np.maximum(np.minimum(area + other - common, area), 1e-9)
