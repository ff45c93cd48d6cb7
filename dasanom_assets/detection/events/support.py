"""What a window's surroundings say of it.

What happens on the ground lasts longer than the shift between windows and reaches neighbouring channels; noise
does neither. A Gaussian mean of scores over both tells them apart.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from dasanom_assets.settings import ReferenceSettings
from dasanom_assets.spectrograms.streams import with_neighbours
from dasanom_assets.spectrograms.windows import SECOND_NS


@dataclass(frozen=True)
class ChannelScores:
    """Fused scores of the windows of one channel.

    Attributes
    ----------
    fibre : str
    channel : int
    start_ns : numpy.ndarray
        int64, shape (n_windows,), ascending multiples of `shift_ns`.
    score : numpy.ndarray
        float64, shape (n_windows,), NaN where there is none.
    recipe : ReferenceSettings
    shift_ns : int
        From one window's start to the next.
    """

    fibre: str
    channel: int
    start_ns: np.ndarray
    score: np.ndarray
    recipe: ReferenceSettings
    shift_ns: int = SECOND_NS

    @cached_property
    def smoothed(self) -> tuple[int, np.ndarray, np.ndarray]:
        """First step of the grid, and sums of weighted scores and of weights over time, shape (steps,)."""
        step = self.start_ns // self.shift_ns
        sigma = self.recipe.support_seconds * SECOND_NS / self.shift_ns
        reach = int(3 * sigma)
        first = int(step[0]) - reach
        sums = np.zeros((2, int(step[-1]) - first + reach + 1))
        valid = np.isfinite(self.score)
        sums[:, step[valid] - first] = self.score[valid], np.ones(valid.sum())
        if reach:
            sums = ndimage.gaussian_filter1d(sums, sigma, axis=1, mode="constant", radius=reach)
        return first, sums[0], sums[1]


def reach_channels(recipe: ReferenceSettings) -> int:
    """Return how many channels on each side support a window."""
    return int(np.ceil(3 * recipe.support_channels))


def supported(channel: ChannelScores, beside: Iterable[ChannelScores], step: int = 1) -> np.ndarray:
    """Return the weighted mean score of each window's surroundings, float64, shape (n_windows,).

    Weights are Gaussian in time and along the fibre, with the recipe's deviations, and end at three of them. What
    is missing, beyond an end or in a gap, has no weight.

    Parameters
    ----------
    channel : ChannelScores
    beside : iterable of ChannelScores
        Others; those of another fibre or too far away do not count.
    step : int
        From one channel number to the next: the size of groups of channels.
    """
    if not len(channel.score):
        return np.empty(0)
    steps = channel.start_ns // channel.shift_ns
    total, weight = np.zeros((2, len(steps)))
    recipe = channel.recipe
    for other in (channel, *beside):
        away = abs(other.channel - channel.channel) // step
        if other.fibre != channel.fibre or away > reach_channels(recipe) or not len(other.score):
            continue
        nearness = np.exp(-0.5 * (away / recipe.support_channels) ** 2) if away else 1.0
        first, sums, weights = other.smoothed
        place = np.clip(steps - first, 0, len(weights) - 1)
        share = nearness * (place == steps - first)
        total += share * sums[place]
        weight += share * weights[place]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.isfinite(channel.score), total / weight, np.nan)


def with_support(
    channels: Iterable[ChannelScores], recipe: ReferenceSettings, step: int = 1
) -> Iterator[tuple[ChannelScores, np.ndarray]]:
    """Yield each channel with what its surroundings say; as many as support each other are in memory.

    Parameters
    ----------
    channels : iterable of ChannelScores
        By fibre and ascending.
    recipe : ReferenceSettings
    step : int
        See `supported`.
    """
    for channel, beside in with_neighbours(channels, reach_channels(recipe)):
        yield channel, supported(channel, beside, step)
