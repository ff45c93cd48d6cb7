"""The detector `temporal`: what is said of a window by how unlike other minutes its minute is."""

from typing import Any, ClassVar, Self

import numpy as np

from dasanom_assets.detection.calibration.conformal import Conformal
from dasanom_assets.detection.detectors.base import Detector, Tensors, Windows
from dasanom_assets.detection.minutes.terms import TABLE, TERMS
from dasanom_assets.settings import Settings

MIN_SCORES = 20
"""A term that fewer reference segments have takes no part."""
LARGEST_COMBINED = 0.99
"""Larger p-values count as this in `combine`."""


class Temporal(Detector):
    """Temporal dissimilarity: −log10 of the Cauchy combination of the terms' p-values.

    A term that a window lacks is left out; a window without any scores 0. All windows of a segment have its score,
    which says that something is unusual and not which of them.
    """

    name = "temporal"
    inputs: ClassVar[tuple[str, ...]] = (TABLE,)

    def __init__(self, terms: dict[str, Conformal]) -> None:
        self.terms = terms

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> Self:
        """Learn what each term usually is from the reference windows that have it."""
        return cls.of_terms(reference.more[TABLE])

    @classmethod
    def of_terms(cls, terms: np.ndarray) -> Self:
        """Learn from terms, shape (n, 4); see `Conformal.fit`."""
        # Windows of one segment have the same value, and count once.
        known = {name: np.unique(v[np.isfinite(v)]) for name, v in zip(TERMS, terms.T, strict=True)}
        return cls({name: Conformal.fit(values) for name, values in known.items() if len(values) >= MIN_SCORES})

    def score(self, windows: Windows) -> np.ndarray:
        """Return −log10 of the combined p-value."""
        return self.score_terms(windows.more[TABLE])

    def score_terms(self, terms: np.ndarray) -> np.ndarray:
        """Return the scores of terms of shape (n, 4), float32, shape (n,)."""
        p = self.p_values(terms)
        out = np.zeros(len(p), np.float32)
        known = np.isfinite(p).any(axis=1)
        out[known] = -np.log10(combine(p[known]))
        return out

    def p_values(self, terms: np.ndarray) -> np.ndarray:
        """Return the p-value of each term, float64, shape (n, 4); NaN where it is missing or not known."""
        p = np.full(terms.shape, np.nan)
        for i, name in enumerate(TERMS):
            if name in self.terms:
                p[:, i] = self.terms[name].p_values(terms[:, i])
        return p

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return what each term usually is."""
        tensors: Tensors = {}
        values: dict[str, Any] = {}
        for name, conformal in self.terms.items():
            arrays, values[name] = conformal.state()
            tensors |= {f"{name}.{key}": array for key, array in arrays.items()}
        return tensors, values

    @classmethod
    def restore(cls, tensors: Tensors, values: dict[str, Any]) -> Self:
        """Undo `state`."""
        return cls(
            {
                name: Conformal(tensors[f"{name}.scores"], tensors[f"{name}.above"], **values[name])
                for name in values
            }
        )


def combine(p: np.ndarray) -> np.ndarray:
    """Return the Cauchy combination of p-values (Liu and Xie 2020), float64, shape (n,).

    Heavy tails make it hold under dependence. A missing value is left out.

    Parameters
    ----------
    p : numpy.ndarray
        Shape (n, k), in (0, 1], NaN where missing.
    """
    # A value next to 1 would weigh as much as one next to 0, and hide it (Fang, Tseng and Chang 2023).
    p = np.minimum(np.asarray(p, np.float64), LARGEST_COMBINED)
    # tan((1/2 − p)π) = 1 / tan(pπ), which keeps its digits for small p.
    with np.errstate(invalid="ignore"):  # no term at all: 0 / 0
        statistic = np.nansum(1 / np.tan(np.pi * p), axis=1) / (~np.isnan(p)).sum(axis=1)
    # The survival function of the Cauchy distribution, again without the loss of digits in the upper tail.
    return np.minimum(np.arctan2(1.0, statistic) / np.pi, 1.0)
