"""What a window's surroundings say of it.

What happens on the ground lasts longer than the shift between windows and reaches neighbouring channels; noise
does neither. A mean over the surroundings tells them apart: of squares over time, since what is faint is strange
now and then rather than all the time, and plain over channels, since what only one of them notices is seldom an
event.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

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


@dataclass(frozen=True)
class ChannelScores:
    """Fused scores of the windows of one channel, −log10 of a p-value each.

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
    """

    fibre: str
    channel: int
    start_ns: np.ndarray
    score: np.ndarray
    shift_ns: int = SECOND_NS

    @cached_property
    def smoothed(self) -> tuple[int, np.ndarray, np.ndarray]:
        """First step of the grid, root mean squares over time, and sums of weights: 1 where none is missing."""
        step = self.start_ns // self.shift_ns
        reach = REACH_SECONDS * SECOND_NS // self.shift_ns
        first = int(step[0]) - reach
        sums = np.zeros((2, int(step[-1]) - first + reach + 1))
        sums[:, step - first] = np.square(self.score), np.ones(len(step))
        if reach:
            sums = ndimage.gaussian_filter1d(sums, TIME_NS / self.shift_ns, axis=1, mode="constant", radius=reach)
        squares, weights = sums
        mean = np.divide(squares, weights, out=np.zeros_like(squares), where=weights > 0)
        return first, np.sqrt(mean), weights


def supported(
    channel: ChannelScores, beside: Iterable[ChannelScores], step: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over each window's surroundings of the fused score, weighted by nearness.

    Over time it is a root mean square, channel by channel; over channels, a mean of these.

    Parameters
    ----------
    channel : ChannelScores
    beside : iterable of ChannelScores
        Others; those of another fibre or more than `REACH` steps away do not count.
    step : int
        From one channel number to the next: the size of groups of channels.

    Returns
    -------
    score : numpy.ndarray
        float64, shape (n_windows,).
    there : numpy.ndarray
        float64, shape (n_windows,): share of the weights in time that the channel itself has.
    """
    if not len(channel.score):
        return np.empty(0), np.empty(0)
    at = channel.start_ns // channel.shift_ns
    total, weight, there = np.zeros((3, len(at)))
    for other in (channel, *beside):
        away = abs(other.channel - channel.channel) // step
        if other.fibre != channel.fibre or away > REACH or not len(other.score):
            continue
        first, means, weights = other.smoothed
        inside = np.clip(at - first, 0, len(means) - 1)
        share = CHANNEL_WEIGHTS[away] * np.where(inside == at - first, weights[inside], 0)
        total += share * means[inside]
        weight += share
        if other is channel:
            there = weights[inside]
    return total / weight, there
