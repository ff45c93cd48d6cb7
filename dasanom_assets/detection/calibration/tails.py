"""How the rate of events goes on above the strongest ones: a generalised Pareto tail (Pickands 1975)."""

from typing import NamedTuple

import numpy as np
import scipy

from dasanom_assets.settings import ReferenceSettings


class Tail(NamedTuple):
    """A generalised Pareto tail: `rate` at its `start`, and how it falls above."""

    start: float
    rate: float
    shape: float
    scale: float

    def rates(self, strength: np.ndarray) -> np.ndarray:
        """Return the rate of events above each strength, which is at least `start`."""
        return self.rate * scipy.stats.genpareto.sf(strength - self.start, self.shape, scale=self.scale)


def fit_tail(strength: np.ndarray, km_days: float, recipe: ReferenceSettings) -> Tail | None:
    """Fit a generalised Pareto distribution to what the strongest events exceed the others by.

    Probability-weighted moments (Hosking and Wallis 1987) need no search. The shape is kept from 0 to
    `recipe.most_shape`: a tail with an end would call what lies past it impossible, and a heavier one has no
    mean that so few events could tell.

    Parameters
    ----------
    strength : numpy.ndarray
        Shape (n,), descending.
    km_days : float
    recipe : ReferenceSettings
        ``tail_peaks`` of the strongest take part, at most half of all.
    """
    k = min(recipe.tail_peaks, len(strength) // 2)
    if len(strength) < recipe.least_peaks:
        return None
    start = float(strength[k])
    excess = np.sort(strength[:k].astype(np.float64) - start)
    mean = excess.mean()
    if mean <= 0:
        return None
    weighted = np.mean(excess * (1 - (np.arange(1, k + 1) - 0.35) / k))
    shape = float(np.clip(2 - mean / (mean - 2 * weighted), 0, recipe.most_shape)) if mean > 2 * weighted else 0.0
    return Tail(start, k / km_days, shape, mean * (1 - shape))
