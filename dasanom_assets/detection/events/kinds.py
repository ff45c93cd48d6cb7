"""Kinds of event: alarms of some weeks that sound alike, as HDBSCAN finds them, and the names they are given."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

LEAST_EVENTS, LEAST_SHARE = 5, 0.01
"""Of a kind: so many, and so much of what is fitted."""
MIN_SAMPLES = 2
"""HDBSCAN's: a kind of few events is found, too."""
MOST_FITTED = 4000
"""Events that kinds are fitted on, at most; of more, so many are drawn, and others go with the nearest of them."""
ALIKE = 0.8
"""Cosine between the profiles of two events from which they may be of one kind: of events of one kind on simulated
days, nine in ten have another that is as near."""
EXAMPLES = 64
"""Events of a kind that its name is remembered by, at most."""


def find_kinds(profiles: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the kind of each event: those of one kind have much the same profile.

    HDBSCAN (Campello, Moulavi and Sander 2013) on profiles of length 1, where the square of a distance is twice
    what the cosine lacks of 1. Its leaves are taken: on simulated days, clusters by excess of mass put strokes,
    steps and wheels into one. An event that has none near it is not fitted: HDBSCAN would give it to the next.

    Parameters
    ----------
    profiles : numpy.ndarray
        float32, shape (n, bands): `profile` of `event_explanations`, of length 1, or 0 where an event has none.
    seed : int
        Of what is drawn.

    Returns
    -------
    numpy.ndarray
        int64, shape (n,): 0 for the kind of most events, and so on; −1 for an event that is of no kind.
    """
    import hdbscan  # heavy

    kind = np.full(len(profiles), -1)
    known = np.random.default_rng(seed).permutation(np.flatnonzero(profiles.any(axis=1)))
    drawn, others = np.sort(known[:MOST_FITTED]), known[MOST_FITTED:]
    near = profiles[drawn] @ profiles[drawn].T
    np.fill_diagonal(near, 0)
    fitted = drawn[near.max(axis=1, initial=0) >= ALIKE]
    if len(fitted) <= LEAST_EVENTS:
        return kind
    least = max(LEAST_EVENTS, round(LEAST_SHARE * len(fitted)))
    fit = hdbscan.HDBSCAN(least, MIN_SAMPLES, cluster_selection_method="leaf", core_dist_n_jobs=1)
    kind[fitted] = fit.fit(profiles[fitted].astype(np.float64)).labels_
    nearest, cosine = nearest_of(profiles[others], profiles[fitted])
    kind[others] = np.where(cosine >= ALIKE, kind[fitted[nearest]], -1)
    names, size = np.unique(kind[kind >= 0], return_counts=True)
    order = {int(name): i for i, name in enumerate(names[np.argsort(-size, kind="stable")])}
    return np.array([order.get(int(k), -1) for k in kind], np.int64)


def nearest_of(profiles: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of some profiles, at least one, is nearest to each of others, and the cosine; shapes (n,)."""
    which, cosine = np.zeros(len(profiles), np.int64), np.full(len(profiles), -np.inf, np.float32)
    for first in range(0, len(profiles), 1024):  # in bounded memory
        here = slice(first, first + 1024)
        for begin in range(0, len(among), 8192):
            part = profiles[here] @ among[begin : begin + 8192].T
            closer = part.max(axis=1) > cosine[here]
            which[here] = np.where(closer, begin + part.argmax(axis=1), which[here])
            cosine[here] = np.maximum(cosine[here], part.max(axis=1))
    return which, cosine


def examples_of(profiles: np.ndarray) -> np.ndarray:
    """Return what a kind is remembered by: profiles of its events nearest its middle, `EXAMPLES` at most."""
    return profiles[np.argsort(-(profiles @ profiles.sum(axis=0)), kind="stable")[:EXAMPLES]]


def carried(examples: Sequence[np.ndarray], profiles: np.ndarray, kind: np.ndarray) -> Mapping[int, int]:
    """Return which name each kind has, as kinds were found again with other events.

    A name goes where most of its examples, at least half of them, have their nearest event, be it themselves. Of
    several names that meet in a kind the last holds.

    Parameters
    ----------
    examples : sequence of numpy.ndarray
        Of each name, in the order in which they were given: float32, shape (m, bands).
    profiles, kind : numpy.ndarray
        As of `find_kinds`.

    Returns
    -------
    mapping of int to int
        From a kind to the index of its name.
    """
    out: dict[int, int] = {}
    for i, own in enumerate(examples):
        if not len(profiles) or own.shape[1] != profiles.shape[1]:  # other settings of the spectrogram
            continue
        nearest, cosine = nearest_of(own, profiles)
        votes = Counter(kind[nearest[cosine >= ALIKE]].tolist())
        votes.pop(-1, None)
        if votes and (best := votes.most_common(1)[0])[1] >= len(own) / 2:
            out[best[0]] = i
    return out
