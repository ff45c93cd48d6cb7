"""The detector `bursts`: whether some frames of some neighbouring bands hold more than quiet ones do."""

from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
from scipy import special, stats

from dasanom_assets.detection.detectors import Detector, Tensors, Windows
from dasanom_assets.detection.neighbours import SHARPNESS
from dasanom_assets.settings import DetectionSettings
from dasanom_assets.spectrograms.windows import window_means

STRENGTH, SHARE = 3.5, 0.02
"""What a burst is taken for: a frame so many standard deviations above quiet ones, and one frame in 50 is such."""
STRONGEST = 5.0
"""Standard deviations that count: quiet frames do not say how rare a louder one is."""
TAIL = 1e-3
"""Share of quiet frames beyond which levels are taken to be exponential, dB by dB."""
NARROWEST, WIDER, WIDEST = 3.0, 0.5, 20.0
"""Bands of the lowest group, what a group is wider by for each band that it begins higher, and the most it has."""
STEPS = 2048
"""Levels between quiet and `STRONGEST` that are told apart."""
FITTED = 4000
"""Windows that quiet frames are learned from, at most."""
TRIM_SHARE, TRIM_ROUNDS = 0.02, 2
"""Reference windows with the greatest terms, which each round leaves out: they are events, if rare."""
SMALLEST = 1e-6


class Bursts(Detector):
    """The log-likelihood ratio of bursts in groups of bands, which adds up over time and along the fibre.

    Footfalls and strokes last for a fraction of a second, fill several bands at once, and come again and again.
    In each frame, bands of a group are averaged as powers; the level is mapped to a standard normal variable z by
    the distribution of quiet frames. Quiet frames are N(0, 1); where there are bursts, a share ε of frames is
    N(μ, 1): ``log(1 − ε + ε exp(μz − μ²/2))``, the sparse mixture of Donoho and Jin (2004). Ratios of frames add
    up, so that what is too faint for any window shows over the surroundings of one. Groups overlap by half.

    Parameters
    ----------
    low, width : numpy.ndarray
        float32, shape (groups,): logarithm of the mean power from which the tables start, and width of a step.
    ratio : numpy.ndarray
        float32, shape (groups, steps): log-likelihood ratio of a frame.
    median, spread : numpy.ndarray
        float32, shape (groups,): of the terms of reference windows.
    """

    name = "bursts"
    adds_up: ClassVar[bool] = True

    def __init__(
        self,
        low: np.ndarray,
        width: np.ndarray,
        ratio: np.ndarray,
        median: np.ndarray | float = 0.0,
        spread: np.ndarray | float = 1.0,
    ) -> None:
        self.low, self.width, self.ratio, self.median, self.spread = low, width, ratio, median, spread

    @classmethod
    def fit(cls, reference: Windows, settings: DetectionSettings) -> Self:
        """Learn how loud quiet frames are, without the windows that seem to hold bursts."""
        some = np.linspace(0, len(reference) - 1, min(len(reference), FITTED)).astype(int)
        kept = np.stack([_levels(reference.bank.window(i)) for i in some])
        found = cls(*_tables(kept))
        for _ in range(TRIM_ROUNDS):
            terms = found._ratios(kept).mean(axis=1)
            strangeness = ((terms - np.median(terms, axis=0)) / _spread(terms)).max(axis=1)
            kept = kept[strangeness <= np.quantile(strangeness, 1 - TRIM_SHARE)]
            found = cls(*_tables(kept))
        terms = found.terms(reference)
        found.median, found.spread = np.median(terms, axis=0), _spread(terms)
        return found

    def terms(self, windows: Windows) -> np.ndarray:
        """Return the mean log-likelihood ratio of the frames of each window, nats, by group of bands."""
        parts = window_means(windows.bank, lambda frames: self._ratios(_levels(frames)))
        return np.concatenate([np.empty((0, len(self.low)), np.float32), *parts])

    def score(self, windows: Windows) -> np.ndarray:
        """Return the greatest of the terms of each window, in spreads above the median of the reference.

        It is taken on a logarithmic scale: means of ratios are more skewed than what calibration expects, which
        would take ordinary windows for events.
        """
        return np.arcsinh(((self.terms(windows) - self.median) / self.spread).max(axis=1))

    def _ratios(self, levels: np.ndarray) -> np.ndarray:
        above = np.fmax(levels, self.low) - self.low  # rows of no window can be NaN
        step = np.minimum(above / self.width, STEPS - 1).astype(np.int32)
        return self.ratio[np.arange(len(self.low)), step]

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return the tables of ratios, and what scores are measured against."""
        return {name: getattr(self, name) for name in ("low", "width", "ratio", "median", "spread")}, {}

    @classmethod
    def restore(cls, tensors: Tensors, values: dict[str, Any]) -> Self:
        """Undo `state`."""
        return cls(**tensors)


def log_ratio(z: np.ndarray, strength: float = STRENGTH, share: float = SHARE) -> np.ndarray:
    """Return the log-likelihood ratio, nats, of frames that are among bursts to quiet ones; see `Bursts`.

    Parameters
    ----------
    z : numpy.ndarray
        Level of each frame, standard normal where it is quiet.
    strength, share : float
        Of a burst: what its level is greater by, and how many of the frames it has.
    """
    return np.logaddexp(np.log1p(-share), np.log(share) + strength * z - strength**2 / 2)


def groups(bands: int) -> list[tuple[int, int]]:
    """Return the first band of each group, and the one after its last: wider ones further up, as pitch is."""
    out: list[tuple[int, int]] = []
    first = 0.0
    while not out or out[-1][1] < bands:
        wide = min(NARROWEST + WIDER * first, WIDEST)
        out.append((round(first), min(round(first + wide), bands)))
        first += wide / 2
    return out


def _levels(frames: np.ndarray) -> np.ndarray:
    """Return the logarithm of the mean power of groups of bands, float32, shape (..., groups).

    Whitened levels are turned into powers as `neighbours` does it.
    """
    return np.log(np.exp(np.float32(SHARPNESS) * frames) @ _shares(frames.shape[-1]))


@cache
def _shares(bands: int) -> np.ndarray:
    shares = np.zeros((bands, len(groups(bands))), np.float32)
    for i, (first, end) in enumerate(groups(bands)):
        shares[first:end, i] = 1 / (end - first)
    return shares


def _tables(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `low`, `width` and `ratio` of quiet frames' levels, shape (n_windows, frames, groups)."""
    low, width, ratio = [], [], []
    for of_group in np.sort(levels.reshape(-1, levels.shape[-1]), axis=0).T.astype(np.float64):
        n = len(of_group)
        start = of_group[min(int(n * (1 - TAIL)), n - 1)]
        scale = max(float(np.mean(of_group[of_group >= start] - start)), SMALLEST)
        highest = start + scale * float(np.log(TAIL) - stats.norm.logsf(STRONGEST))
        step = max(highest - of_group[0], SMALLEST) / (STEPS - 1)
        at = of_group[0] + step * np.arange(STEPS)
        below = (n - np.searchsorted(of_group, at) + 0.5) / (n + 1)
        z = np.where(
            at <= start,
            stats.norm.isf(below),
            -special.ndtri_exp(np.log(TAIL) - np.maximum(at - start, 0) / scale),
        )
        low.append(of_group[0])
        width.append(step)
        ratio.append(log_ratio(np.minimum(z, STRONGEST)))
    return np.array(low, np.float32), np.array(width, np.float32), np.array(ratio, np.float32)


def _spread(terms: np.ndarray) -> np.ndarray:
    """Return the scaled median deviation of what lies above the median, by column: terms are skewed."""
    above = terms - np.median(terms, axis=0)
    above = np.where(above > 0, above, np.nan)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(1.4826 * np.nanmedian(above, axis=0)).astype(np.float32) + np.float32(SMALLEST)
