"""Scores to p-values: where a score lies among those of reference windows that the model had not seen."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

EXACT = 20_000
"""Greatest scores that are all kept; below them, as many are kept evenly."""


@dataclass(frozen=True)
class Conformal:
    """The scores of cross-fitted reference windows, and what they say of a new score.

    Attributes
    ----------
    scores : numpy.ndarray
        float32, ascending: the greatest `EXACT` scores, and as many of the others, evenly.
    above : numpy.ndarray
        int64, of the same shape: how many reference windows have at least such a score.
    n : int
        Reference windows.
    median, spread : float
        The median, and the standard deviation of a normal distribution whose upper quantile lies as far above.
    """

    scores: np.ndarray
    above: np.ndarray
    n: int
    median: float
    spread: float

    @staticmethod
    def fit(scores: np.ndarray, spread_quantile: float = 0.9) -> "Conformal":
        """Keep what p-values need; what is not finite is left out.

        Parameters
        ----------
        scores : numpy.ndarray
            Shape (n_windows,).
        spread_quantile : float
            Scores are scaled so that this quantile lies where it does in a standard normal distribution.

        Raises
        ------
        ValueError
            Where no score is finite, or all are the same.
        """
        ordered = np.sort(scores[np.isfinite(scores)]).astype(np.float32)
        n = len(ordered)
        if not n:
            raise ValueError("gives no reference window a score")
        median, high = (float(np.quantile(ordered, share)) for share in (0.5, spread_quantile))
        if not ordered[0] < ordered[-1]:
            raise ValueError("gives all reference windows the same score")
        # Where nine windows of ten are alike, as behind a network that nearly collapsed.
        spread = (
            (high - median) / float(stats.norm.ppf(spread_quantile))
            or float(ordered[-1]) - median
            or median - float(ordered[0])
        )
        cut = max(0, n - EXACT)
        evenly = np.linspace(0, cut, EXACT, endpoint=False).astype(int)
        kept = np.unique(np.concatenate([evenly, np.arange(cut, n)]))
        return Conformal(ordered[kept], n - np.searchsorted(ordered, ordered[kept]), n, median, spread)

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return the share of windows that score as high, this one among them, float64; NaN stays NaN.

        ``(1 + #{reference ≥ s}) / (n + 1)`` (Vovk et al. 2005): at least ``1 / (n + 1)``, and valid for a window
        that is exchangeable with those of the reference.
        """
        scores = np.asarray(scores)
        rank = np.searchsorted(self.scores, scores.astype(np.float32), side="left")
        above = np.append(self.above, 0)[rank]
        return np.where(np.isnan(scores), np.nan, (1 + above) / (self.n + 1))

    def score_of(self, p_value: float) -> float:
        """Return the least score whose p-value is at most this, infinity where there is none."""
        rare = np.flatnonzero((1 + self.above) / (self.n + 1) <= p_value)
        if len(rare):
            return float(self.scores[rare[0]])
        return float(np.nextafter(self.scores[-1], np.float32(np.inf))) if p_value >= 1 / (self.n + 1) else np.inf

    def standardised(self, scores: np.ndarray) -> np.ndarray:
        """Return scores as spreads above the median, so that those of different detectors compare."""
        return (scores - self.median) / self.spread

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and JSON-able values that make an equal one by ``Conformal(**arrays, **values)``."""
        values = {"n": self.n, "median": self.median, "spread": self.spread}
        return {"scores": self.scores, "above": self.above}, values


def fused(conformal: dict[str, Conformal], scores: dict[str, np.ndarray]) -> np.ndarray:
    """Return the greatest standardised score of several detectors, float64, shape (n_windows,).

    What one of them alone finds strange counts in full. A score that is missing is left out; where all are, it is
    NaN.

    Parameters
    ----------
    conformal : dict of str to Conformal
        Of the detectors in the fusion, by name.
    scores : dict of str to numpy.ndarray
        Shape (n_windows,), with those at least.
    """
    return np.fmax.reduce([known.standardised(scores[name]) for name, known in conformal.items()])
