"""Means over a window's surroundings, weighted by nearness in time and channels, blind to what is missing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dasanom_assets.detection.events.support import ChannelScores, reach_channels, supported, with_support
from dasanom_assets.settings import ReferenceSettings

SECOND = 1_000_000_000
RECIPE = ReferenceSettings()


def channel(
    number: int,
    scores: list[float] | np.ndarray,
    at: np.ndarray | None = None,
    fibre: str = "north",
    recipe: ReferenceSettings = RECIPE,
    shift: int = 1,
) -> ChannelScores:
    start = (np.arange(len(scores)) if at is None else at) * shift * SECOND
    return ChannelScores(fibre, number, start, np.array(scores, float), recipe, shift * SECOND)


def all_of(grid: np.ndarray, step: int = 1, **more: object) -> np.ndarray:
    """What surroundings say of windows on a grid, shape (channels, seconds); those that are NaN are not there."""
    out = np.full(grid.shape, np.nan)
    rows = [np.flatnonzero(np.isfinite(line)) for line in grid]
    given = [channel(100 + step * i, grid[i, position], position, **more) for i, position in enumerate(rows)]
    for i, (_, result) in enumerate(with_support(given, given[0].recipe, step)):
        out[i, rows[i]] = result
    return out


def smoothed(grid: np.ndarray, seconds: float, channels: float) -> np.ndarray:
    """A Gaussian filter of what is there, over one of where it is."""
    there = np.isfinite(grid)
    radius = int(np.ceil(3 * channels)), int(3 * seconds)
    total, weight = (
        ndimage.gaussian_filter(x, (channels, seconds), mode="constant", radius=radius)
        for x in (np.where(there, grid, 0.0), there.astype(float))
    )
    return np.where(there, total / np.where(there, weight, 1), np.nan)


@settings(deadline=None, max_examples=25)
@given(
    channels=st.integers(1, 9),
    seconds=st.integers(1, 70),
    missing=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 99),
)
def test_it_is_a_gaussian_filter_of_time_and_channels_where_gaps_and_ends_have_no_weight(
    channels: int, seconds: int, missing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    grid = rng.normal(size=(channels, seconds))
    grid[rng.random(grid.shape) < missing] = np.nan
    np.testing.assert_allclose(all_of(grid), smoothed(grid, 6, 1), atol=1e-9)


@pytest.mark.parametrize(("seconds", "channels"), [(2.0, 2.0), (6.0, 0.0), (0.0, 1.0), (0.0, 0.0), (4.5, 1.0)])
def test_the_recipe_says_how_far(seconds: float, channels: float) -> None:
    grid = np.random.default_rng(0).normal(size=(9, 60))
    recipe = ReferenceSettings(support_seconds=seconds, support_channels=channels)
    expected = smoothed(grid, seconds or 1e-9, channels or 1e-9)
    np.testing.assert_allclose(all_of(grid, recipe=recipe), expected, atol=1e-9)
    assert reach_channels(recipe) == np.ceil(3 * channels)


def test_what_all_say_is_said_everywhere_also_at_the_ends() -> None:
    np.testing.assert_allclose(all_of(np.full((5, 9), 2.5)), 2.5)


def test_windows_of_other_fibres_and_far_channels_say_nothing() -> None:
    here = channel(105, np.zeros(30))
    np.testing.assert_array_equal(supported(here, [channel(106, np.full(30, 9.0), fibre="south")]), 0)
    np.testing.assert_array_equal(supported(here, [channel(109, np.full(30, 9.0))]), 0)
    assert (supported(here, [channel(108, np.full(30, 9.0))]) > 0).all()
    south = channel(106, np.full(30, 9.0), fibre="south")
    for (_, result), single in zip(with_support([here, south], RECIPE), (0, 9), strict=True):
        np.testing.assert_allclose(result, single)


def test_groups_of_channels_are_neighbours_by_their_step() -> None:
    grid = np.random.default_rng(0).normal(size=(6, 40))
    np.testing.assert_allclose(all_of(grid, step=4), all_of(grid, step=1))
    apart = supported(channel(104, np.zeros(9)), [channel(108, np.ones(9))], step=1)
    np.testing.assert_array_equal(apart, 0)


def test_a_window_without_a_score_stays_without_and_does_not_spread() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 50))
    holes = scores.copy()
    holes[1, 20:24] = np.nan
    result = [parts for _, parts in with_support([channel(100 + i, line) for i, line in enumerate(holes)], RECIPE)]
    assert np.isnan(result[1]).nonzero()[0].tolist() == [20, 21, 22, 23]
    assert np.isfinite(result[0]).all()
    np.testing.assert_allclose(np.array(result), all_of(holes))
    infinite = holes.copy()
    infinite[1, 20:24] = np.inf
    other = [
        parts for _, parts in with_support([channel(100 + i, line) for i, line in enumerate(infinite)], RECIPE)
    ]
    np.testing.assert_array_equal(np.array(other), np.array(result))


def test_a_channel_without_windows_or_without_scores_is_passed_over() -> None:
    lines = [
        channel(100, np.ones(9)),
        channel(101, []),
        channel(102, np.full(9, np.nan)),
        channel(103, np.ones(9)),
    ]
    result = [parts for _, parts in with_support(lines, RECIPE)]
    assert [len(parts) for parts in result] == [9, 0, 9, 9]
    np.testing.assert_allclose(result[0], 1)
    assert np.isnan(result[2]).all()


@pytest.mark.parametrize("shift", [2, 5, 60])
def test_seconds_are_seconds_whatever_the_shift(shift: int) -> None:
    scores = np.random.default_rng(shift).normal(size=80)
    single = channel(5, scores, shift=shift, recipe=ReferenceSettings(support_seconds=6.0 * shift))
    np.testing.assert_allclose(supported(single, []), supported(channel(5, scores), []))


def test_it_does_not_depend_on_what_lies_far_away() -> None:
    scores = np.random.default_rng(1).normal(size=200)
    whole, part = supported(channel(5, scores), []), supported(channel(5, scores[50:150]), [])
    np.testing.assert_allclose(part[18:-18], whole[68:132])


def test_channels_come_as_they_went_in_and_few_are_in_memory() -> None:
    asked = 0

    def lines() -> object:
        nonlocal asked
        for asked in range(1, 31):
            yield channel(asked, [float(asked)])

    for i, (one, _) in enumerate(with_support(lines(), RECIPE), 1):
        assert one.channel == i
        assert asked <= i + reach_channels(RECIPE) + 1
    assert i == 30
    assert list(with_support([], RECIPE)) == []
