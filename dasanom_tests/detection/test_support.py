"""Means over a window's surroundings: of squares in time or plain, weighted by nearness, blind to gaps."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from dasanom_assets.detection.support import CHANNEL_WEIGHTS, ChannelScores, supported

SECOND = 1_000_000_000


def channel(
    number: int, scores: list[float], first: int = 0, fibre: str = "north", shift: int = 1
) -> ChannelScores:
    start = (first + np.arange(len(scores)) * shift) * SECOND
    return ChannelScores(fibre, number, start, np.array(scores, float), shift * SECOND)


def test_alone_it_is_a_gaussian_mean_square_in_time_of_four_seconds() -> None:
    values = np.random.default_rng(0).exponential(size=60)
    around, there, _ = supported(channel(5, list(values)), [])
    assert around.shape == (60, 1)
    expected = np.sqrt(ndimage.gaussian_filter1d(np.pad(values, 50) ** 2, 4, radius=12)[50:-50])
    np.testing.assert_allclose(around[12:-12, 0], expected[12:-12])
    np.testing.assert_allclose(there[12:-12], 1)
    assert there[0] < 0.6
    np.testing.assert_allclose(supported(channel(5, [2.0] * 9), [])[0], 2.0)  # also at the ends


def test_neighbours_weigh_by_their_distance_and_other_fibres_not_at_all() -> None:
    here = channel(5, [0.0] * 30)
    for away, weight in enumerate(CHANNEL_WEIGHTS[1:], 1):
        for number in (5 - away, 5 + away):
            score, *_ = supported(here, [channel(number, [1.0] * 30)])
            np.testing.assert_allclose(score, weight / (1 + weight))
    far, other = channel(5 + len(CHANNEL_WEIGHTS), [9.0] * 30), channel(6, [9.0] * 30, fibre="south")
    np.testing.assert_allclose(supported(here, [far, other])[0], 0)


def test_groups_of_channels_are_neighbours_by_their_step() -> None:
    score, *_ = supported(channel(8, [0.0] * 5), [channel(12, [1.0] * 5)], step=4)
    np.testing.assert_allclose(score, CHANNEL_WEIGHTS[1] / (1 + CHANNEL_WEIGHTS[1]))


def test_a_gap_in_time_says_nothing() -> None:
    here = channel(5, [3.0, 3.0])
    np.testing.assert_allclose(supported(here, [channel(6, [0.0, 0.0], first=100)])[0], [[3.0], [3.0]])
    assert len(supported(channel(5, []), [here])[0]) == 0


@pytest.mark.parametrize("shift", [2, 5, 60])
def test_shifts_of_seconds_lie_on_their_own_grid(shift: int) -> None:
    score, there, _ = supported(channel(5, [1.0] * 41, shift=shift), [])
    np.testing.assert_allclose(score, 1.0)
    assert there[20] == pytest.approx(1)


def test_it_does_not_depend_on_what_lies_far_away() -> None:
    values = list(np.random.default_rng(1).exponential(size=200))
    whole, *_ = supported(channel(5, values), [])
    part, *_ = supported(channel(5, values[50:150], first=50), [])
    np.testing.assert_allclose(part[13:-13], whole[63:137])


def test_terms_are_plain_means_over_time_and_channels_whatever_their_sign() -> None:
    rng = np.random.default_rng(2)
    here, beside = (replace(channel(n, [1.0] * 60), terms=rng.normal(size=(60, 3))) for n in (5, 6))
    around, *_ = supported(here, [beside])
    terms = np.stack([here.terms, CHANNEL_WEIGHTS[1] * beside.terms]).sum(axis=0) / (1 + CHANNEL_WEIGHTS[1])
    expected = ndimage.gaussian_filter1d(terms, 4, axis=0, radius=12)
    np.testing.assert_allclose(around[12:-12, 1:], expected[12:-12])
    np.testing.assert_allclose(around[:, 0], 1)


@pytest.mark.parametrize("missing", [(), (2,), (6, 7, 8), (4, 6)])
def test_width_is_how_much_more_a_mean_spreads_without_some_of_its_channels(missing: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    of = {
        n: replace(channel(n, [1.0] * 40_000), terms=rng.normal(size=(40_000, 1)).astype(np.float32))
        for n in range(2, 9)
    }
    all_there, _, one = supported(of[5], [of[n] for n in of if n != 5])
    some_there, _, width = supported(of[5], [of[n] for n in of if n != 5 and n not in missing])
    np.testing.assert_allclose(one[20:-20], 1)
    assert width[500] == pytest.approx(some_there[:, 1].std() / all_there[:, 1].std(), rel=0.02)
    assert width[0] > width[500]  # half of the seconds around are missing
