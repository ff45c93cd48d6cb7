"""What a window's surroundings say of it.

What happens on the ground lasts longer than the shift between windows and reaches neighbouring channels; noise
does neither. A mean over the surroundings tells them apart. That of fused scores is one of squares over time,
since what is faint is strange now and then rather than all the time, and plain over channels, since what only one
of them notices is seldom an event. That of a detector's terms is plain over both.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from dasanom_assets.spectrograms.windows import SECOND_NS

TIME_NS = 4 * SECOND_NS
"""Standard deviation of the Gaussian weights in time, which end at three of it, `REACH_SECONDS`."""
REACH_SECONDS = 3 * TIME_NS // SECOND_NS
"""Where the weights in time end."""
CHANNEL_WEIGHTS = (1.0, 0.8, 0.4, 0.15)
"""Of a channel itself, and of those on each side, one step after the other: Gaussian too."""
WIDTH_CHANNELS = 1.5
"""Their standard deviation, channels."""
REACH = len(CHANNEL_WEIGHTS) - 1
"""Channels on each side that count."""
_SIDES = np.array([*CHANNEL_WEIGHTS[:0:-1], *CHANNEL_WEIGHTS])
WHOLE_WIDTH = float(np.sqrt(np.sum(_SIDES**2)) / np.sum(_SIDES))
"""Spread of a mean over channels whose values are independent and have a spread of one."""


@dataclass(frozen=True)
class ChannelScores:
    """Fused scores of the windows of one channel, −log10 of a p-value each, and terms that add up.

    Attributes
    ----------
    fibre : str
    channel : int
    start_ns : numpy.ndarray
        int64, shape (n_windows,), ascending multiples of `shift_ns`.
    score : numpy.ndarray
        float64, shape (n_windows,).
    shift_ns : int
        From one window's start to the next.
    terms : numpy.ndarray or None
        float32, shape (n_windows, terms): see `Detector.terms`. None where there are none.
    """

    fibre: str
    channel: int
    start_ns: np.ndarray
    score: np.ndarray
    shift_ns: int = SECOND_NS
    terms: np.ndarray | None = None

    @cached_property
    def smoothed(self) -> tuple[int, np.ndarray, np.ndarray]:
        """First step of the grid, means over time, and sums of weights: 1 where none is missing.

        Means have the shape (1 + terms, steps): the root mean square of scores, and means of terms.
        """
        step = self.start_ns // self.shift_ns
        reach = REACH_SECONDS * SECOND_NS // self.shift_ns
        first = int(step[0]) - reach
        terms = np.empty((len(step), 0)) if self.terms is None else self.terms
        sums = np.zeros((2 + terms.shape[1], int(step[-1]) - first + reach + 1))
        sums[0, step - first], sums[1, step - first], sums[2:, step - first] = 1, np.square(self.score), terms.T
        if reach:
            sums = ndimage.gaussian_filter1d(sums, TIME_NS / self.shift_ns, axis=1, mode="constant", radius=reach)
        weights, means = sums[0], sums[1:]
        np.divide(means, weights, out=means, where=weights > 0)
        np.sqrt(means[0], out=means[0])
        return first, means, weights


class Surroundings(NamedTuple):
    """What the surroundings of the windows of a channel say.

    Attributes
    ----------
    means : numpy.ndarray
        float64, shape (n_windows, 1 + terms): that of the fused score, then those of the terms.
    there : numpy.ndarray
        float64, shape (n_windows,): share of the weights in time that the channel itself has.
    width : numpy.ndarray
        float64, shape (n_windows,): how much more a mean spreads than one whose surroundings are all there, as if
        windows did not depend on each other: 1, and more at the ends of a fibre and of a recording.
    """

    means: np.ndarray
    there: np.ndarray
    width: np.ndarray


def supported(channel: ChannelScores, beside: Iterable[ChannelScores], step: int = 1) -> Surroundings:
    """Return means over each window's surroundings of the fused score and of terms, weighted by nearness.

    Over time that of scores is a root mean square, channel by channel; over channels, a mean of these.

    Parameters
    ----------
    channel : ChannelScores
    beside : iterable of ChannelScores
        Others; those of another fibre or more than `REACH` steps away do not count.
    step : int
        From one channel number to the next: the size of groups of channels.
    """
    n_means = 1 + (0 if channel.terms is None else channel.terms.shape[1])
    if not len(channel.score):
        return Surroundings(np.empty((0, n_means)), np.empty(0), np.empty(0))
    at = channel.start_ns // channel.shift_ns
    total = np.zeros((n_means, len(at)))
    weight, squares, there = np.zeros((3, len(at)))
    for other in (channel, *beside):
        away = abs(other.channel - channel.channel) // step
        if other.fibre != channel.fibre or away > REACH or not len(other.score):
            continue
        first, means, weights = other.smoothed
        inside = np.clip(at - first, 0, len(weights) - 1)
        share = CHANNEL_WEIGHTS[away] * np.where(inside == at - first, weights[inside], 0)
        total += share * means[:, inside]
        weight += share
        squares += CHANNEL_WEIGHTS[away] * share
        if other is channel:
            there = weights[inside]
    return Surroundings((total / weight).T, there, np.sqrt(squares) / weight / WHOLE_WIDTH)
