"""Scores to p-values and thresholds, calibrated on windows that no network was trained on."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

TAIL_SHARES = (0.02, 0.05, 0.1)
"""Shares of the calibration scores that the generalised Pareto tail may be fitted to: the first with enough."""
MIN_EXCESSES = 100
"""Blocks of time and channel, at least, that an excess must come from: windows that share frames count once."""
MAX_SHAPE = 0.5
SMALLEST = 1e-300
"""P-values are not reported as zero: nothing is impossible, and logarithms stay finite."""

LARGEST_COMBINED = 0.99
"""Larger p-values count as this in `combine` (the truncated Cauchy of Fang, Tseng and Chang 2023)."""

BELOW_TAIL = (0.75, 0.9)
"""Quantiles of the scores between which faint events are too few to count."""

QUIETER = 0.25
"""Quantile over days and fibres."""

Kind = Literal["conformal", "gaussian", "quantile"]


@dataclass(frozen=True)
class Calibration:
    """The scores of quiet windows by one detector, and what they say of a new score.

    Attributes
    ----------
    scores : numpy.ndarray
        float32, shape (n,), ascending: calibration scores, those taken for events left out.
    limit : float
        Scores above were taken for events.
    trimmed_share : float
        Share of calibration windows above the limit.
    mean, std : float
        Of `scores`: the Gaussian fit.
    tail : dict or None
        ``start``, ``shape``, ``scale`` of the generalised Pareto tail, the p-value ``p`` at its start, and
        ``reach``, the excess that one of those it was fitted to was to pass; None where it was refused.
    """

    scores: np.ndarray
    limit: float
    trimmed_share: float
    mean: float
    std: float
    tail: dict[str, float] | None

    @staticmethod
    def fit(
        scores: np.ndarray,
        trim_mads: float,
        block: np.ndarray | None = None,
        group: np.ndarray | None = None,
    ) -> "Calibration":
        """Calibrate on the scores of reference windows.

        Reference days hold events too. Scores more than `trim_mads` median absolute deviations (scaled to a
        standard deviation) above the median are taken for such, and left out. The deviation is that of the scores
        above the median: scores are skewed, and the deviation of both sides together would take the ordinary tail
        of an exponential for events.

        Parameters
        ----------
        scores : numpy.ndarray
            Shape (n,); what is not finite is left out.
        trim_mads : float
            ``inf`` keeps all.
        block : numpy.ndarray, optional
            int64, shape (n,): equal for windows that are not independent; each is its own by default.
        group : numpy.ndarray, optional
            int64, shape (n,): day and fibre of each score, where scores are known to be means over
            surroundings of −log10 p-values. Far out, one window makes most of such a mean, and −log10 of a
            p-value falls exponentially: so does the tail, whatever the excesses say, which are few, and in part
            faint events that were left in.

        Raises
        ------
        ValueError
            With fewer than 20 finite scores.
        """
        finite = np.isfinite(scores)
        block = np.arange(len(scores))[finite] if block is None else block[finite]
        scores = scores[finite]
        if len(scores) < 20:
            raise ValueError(
                f"{len(scores)} calibration windows are too few: materialize more days and train again"
            )
        median = np.median(scores)
        above = scores[scores > median] - median
        limit = np.inf
        if np.isfinite(trim_mads) and len(above):
            limit = float(median + trim_mads * 1.4826 * np.median(above))
        order = np.argsort(scores, kind="stable")[: int((scores <= limit).sum())]
        kept = scores[order].astype(np.float32)
        exact = kept.astype(np.float64)
        tail = _tail(exact, block[order])
        return Calibration(
            kept,
            limit,
            float(1 - len(kept) / len(scores)),
            float(exact.mean()),
            float(exact.std()),
            tail if group is None else _exponential(tail, exact, group[finite][order]),
        )

    @property
    def tells_apart(self) -> bool:
        """Whether the calibration scores differ at all."""
        return bool(self.scores[0] < self.scores[-1])

    def is_quiet(self, scores: np.ndarray) -> np.ndarray:
        """Whether each score, bool, is none of those that calibration takes for events."""
        return scores <= self.limit

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return the probability that a quiet window scores as high, float64, shape of `scores`.

        The body is split conformal, ``(1 + #{reference ≥ s}) / (n + 1)`` (Vovk et al. 2005). Above the
        generalised Pareto tail's start its survival function goes on from there (Pickands 1975). A tail with an
        end, past which nothing could be told apart, goes on exponentially where one of its excesses was to be
        expected. NaN stays NaN.
        """
        scores = np.asarray(scores)
        n = len(self.scores)
        at_least = n - np.searchsorted(self.scores, scores.astype(np.float32), side="left")
        p = (1 + at_least) / (n + 1)
        if self.tail is not None:
            beyond = np.minimum(np.asarray(scores, np.float64) - self.tail["start"], 1e300)
            tail_p = self.tail["p"] * _survival(self.tail, np.maximum(beyond, 0))
            p = np.where(beyond > 0, np.minimum(tail_p, self.tail["p"]), p)
        return np.where(np.isnan(scores), np.nan, np.clip(p, SMALLEST, 1.0))

    def threshold(self, kind: Kind, rate: float, quantile: float) -> float:
        """Return the score from which a window is flagged.

        Parameters
        ----------
        kind : str
            ``conformal``: the least score whose p-value is at most `rate`. ``gaussian``: the upper `rate`
            quantile of a normal distribution fitted to the calibration scores. ``quantile``: their `quantile`.
        rate : float
            Share of quiet windows that may be flagged.
        quantile : float
        """
        if kind == "gaussian":
            return float(stats.norm.isf(rate, self.mean, self.std))
        if kind == "quantile":
            return float(np.quantile(self.scores, quantile))
        if self.tail is not None and rate < self.tail["p"]:
            return self.tail["start"] + _excess(self.tail, rate / self.tail["p"])
        allowed = int(np.floor(rate * (len(self.scores) + 1))) - 1
        if allowed < 0:
            return float("inf")
        return float(np.nextafter(self.scores[len(self.scores) - 1 - allowed], np.float32(np.inf)))

    def to_dict(self) -> dict[str, Any]:
        """Return all but the scores, as JSON-able values."""
        return {
            "limit": None if np.isinf(self.limit) else self.limit,
            "trimmed_share": self.trimmed_share,
            "mean": self.mean,
            "std": self.std,
            "tail": self.tail,
        }

    @staticmethod
    def from_dict(values: dict[str, Any], scores: np.ndarray) -> "Calibration":
        """Undo `to_dict`."""
        limit = np.inf if values["limit"] is None else values["limit"]
        return Calibration(scores, limit, values["trimmed_share"], values["mean"], values["std"], values["tail"])


def _exponential(tail: dict[str, float] | None, kept: np.ndarray, group: np.ndarray) -> dict[str, float] | None:
    """Return an exponential instead of `tail`: that of its excesses, or what goes on from the scores below.

    The latter starts at the upper of two quantiles, `BELOW_TAIL`, and falls as scores do between them. Each group
    has events of its own, so that the quieter ones, `QUIETER`, tell how both are without. The one that falls
    faster is taken.
    """
    low, high = BELOW_TAIL
    found = np.array([np.quantile(kept[group == one], BELOW_TAIL) for one in np.unique(group)])
    start = float(np.quantile(found[:, 1], QUIETER))
    scale = float(np.quantile(found[:, 1] - found[:, 0], QUIETER)) / np.log((1 - low) / (1 - high))
    if tail:
        excess = float(np.mean(kept[kept > tail["start"]] - tail["start"]))
        if not 0 < scale < excess:
            return tail | {"shape": 0.0, "scale": excess}
    if scale <= 0:
        return None
    return {"start": start, "p": 1 - high, "shape": 0.0, "scale": scale, "reach": float(kept[-1])}


def _tail(kept: np.ndarray, block: np.ndarray) -> dict[str, float] | None:
    """Fit a generalised Pareto distribution to the excesses over the start of the tail, or refuse to.

    `kept` ascends.
    """
    for share in TAIL_SHARES:
        start = float(np.quantile(kept, 1 - share))
        above = kept > start
        if len(np.unique(block[above])) >= MIN_EXCESSES:
            break
    else:
        return None
    excess = kept[above] - start
    shape, _, scale = stats.genpareto.fit(excess, floc=0)
    if not np.isfinite([shape, scale]).all() or shape > MAX_SHAPE or scale <= 0:
        return None
    reach = float(stats.genpareto.isf(1 / len(excess), shape, scale=scale))
    p = (1 + len(excess)) / (len(kept) + 1)
    return {"start": start, "p": p, "shape": float(shape), "scale": float(scale), "reach": reach}


def _survival(tail: dict[str, float], excess: np.ndarray) -> np.ndarray:
    """Return the share of excesses that are larger than each of `excess`, which are at least 0."""
    shape, scale = tail["shape"], tail["scale"]
    inside = np.minimum(excess, tail["reach"]) if shape < 0 else excess
    # Beyond its reach a tail with an end goes on with the hazard that it has there.
    further = np.exp((inside - excess) / (scale + shape * inside))
    return stats.genpareto.sf(inside, shape, scale=scale) * further


def _excess(tail: dict[str, float], survival: float) -> float:
    """Undo `_survival` for one number."""
    shape, scale, reach = tail["shape"], tail["scale"], tail["reach"]
    at_reach = float(stats.genpareto.sf(reach, shape, scale=scale))
    if shape < 0 and survival < at_reach:
        return reach + float(np.log(at_reach / survival)) * (scale + shape * reach)
    return float(stats.genpareto.isf(survival, shape, scale=scale))


def combine(p: np.ndarray) -> np.ndarray:
    """Return the Cauchy combination of p-values (Liu and Xie 2020), float64, shape (n,).

    Heavy tails make it hold under dependence. A missing value is left out.

    Parameters
    ----------
    p : numpy.ndarray
        Shape (n, k), in (0, 1], NaN where missing.
    """
    # A value next to 1 would weigh as much as one next to 0, and hide it.
    p = np.clip(np.asarray(p, np.float64), SMALLEST, LARGEST_COMBINED)
    # tan((1/2 − p)π) = 1 / tan(pπ), which keeps its digits for small p.
    with np.errstate(invalid="ignore"):  # no detector at all: 0 / 0
        statistic = np.nansum(1 / np.tan(np.pi * p), axis=1) / (~np.isnan(p)).sum(axis=1)
    # The survival function of the Cauchy distribution, again without the loss of digits in the upper tail.
    upper = np.arctan2(1.0, statistic) / np.pi
    return np.clip(upper, SMALLEST, 1.0)
