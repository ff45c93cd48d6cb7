"""No part of the reference is judged by what has heard it, and each part is judged once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.detection.calibration.conformal import Conformal, fused
from dasanom_assets.detection.events.support import ChannelScores, supported
from dasanom_assets.detection.reference.crossfit import Folds, Heard, measured_by_others, split_inside, strengths
from dasanom_assets.models.training_set import SPLITS, WindowIndex, split_of
from dasanom_assets.settings import ReferenceSettings, TrainingSetSettings
from dasanom_assets.spectrograms.background import background, day_levels
from dasanom_assets.spectrograms.whitening import white_day
from dasanom_assets.tables.schemas import stack
from dasanom_tests.detection.conftest import QUIET, TRAINED, Ground

SECOND = 1_000_000_000
LENGTH = 8


def index(days: int, begin: int, seconds: int, step: int, seed: int = 0) -> WindowIndex:
    """Windows of two channels on days in a row, from so many seconds after midnight on; some are missing."""
    midnight = 20_458 * 86_400 + 86_400 * np.arange(days)
    start = np.tile((midnight[:, None] + begin + np.arange(0, seconds, step)).ravel(), 2)
    day = np.datetime_as_string((start // 86_400).astype("datetime64[D]")).astype(object)
    channel = np.repeat([7, 8], len(start) // 2)
    sample = np.flatnonzero(np.random.default_rng(seed).random(len(start)) < 0.9)
    where = WindowIndex(np.full(len(start), "north", object), channel, start * SECOND, day)
    return where.subset(sample)


def recipe(**changes: float) -> ReferenceSettings:
    return ReferenceSettings(**changes)


@settings(deadline=None, max_examples=80)
@given(
    days=st.integers(1, 11),
    begin=st.sampled_from([0, 36_000]),
    minutes=st.sampled_from([5, 60, 840, 1439]),
    folds=st.integers(2, 9),
    guard=st.sampled_from([0.0, 30.0, 100.5]),
    seed=st.integers(0, 9),
)
def test_a_window_is_judged_once_and_by_none_that_has_heard_what_is_near(
    days: int, begin: int, minutes: int, folds: int, guard: float, seed: int
) -> None:
    where = index(days, begin, min(60 * minutes, 86_400 - begin), max(1, minutes // 5), seed)
    result = Folds.of_windows(where, LENGTH, recipe(folds=folds, guard_seconds=guard))
    judged = np.full(len(where), -1)
    for day in result.days:
        parts = where.day == day
        judged[parts] = result.of(day, where.start_ns[parts])
    assert set(judged) == set(range(result.n))
    gap = int((guard + LENGTH) * SECOND)
    for fold in range(result.n):
        outside = result.outside(fold, where)
        mine = np.sort(where.start_ns[judged == fold])
        teaching = where.start_ns[outside]
        right = np.minimum(np.searchsorted(mine, teaching), len(mine) - 1)
        nearest = np.minimum(np.abs(mine[right] - teaching), np.abs(mine[np.maximum(right - 1, 0)] - teaching))
        assert not len(nearest) or nearest.min() >= gap - 1000  # edges are floats of 256 ns
        # What is far from the fold teaches: nothing is wasted.
        sure = np.searchsorted(mine, where.start_ns - 2 * gap) == np.searchsorted(mine, where.start_ns + 2 * gap)
        assert outside[sure & (judged != fold)].mean() > 0.5 if (sure & (judged != fold)).sum() > 50 else True


@pytest.mark.parametrize(("days", "n"), [(4, 4), (5, 5), (8, 8), (9, 8), (30, 8)])
def test_from_enough_days_on_a_fold_is_days(days: int, n: int) -> None:
    where = index(days, 40_000, 600, 10)
    result = Folds.of_windows(where, LENGTH, recipe())
    assert result.n == n
    of_day = {day: set(result.of(day, where.start_ns[where.day == day])) for day in result.days}
    assert all(len(folds) == 1 for folds in of_day.values())
    for fold in range(n):
        outside = set(where.day[result.outside(fold, where)])
        assert outside == {day for day, folds in of_day.items() if folds != {fold}}


@pytest.mark.parametrize(("days", "folds", "n"), [(1, 4, 4), (2, 4, 4), (3, 4, 6), (1, 9, 9)])
def test_few_days_are_cut_into_stretches_of_equal_length(days: int, folds: int, n: int) -> None:
    where = index(days, 36_000, 4000, 1)
    result = Folds.of_windows(where, LENGTH, recipe(folds=folds))
    assert result.n == n
    for day in result.days:
        start = np.sort(where.start_ns[where.day == day])
        fold = result.of(day, start)
        assert (np.diff(fold) >= 0).all()
        assert len(np.unique(fold)) == n // days
        lengths = [np.ptp(start[fold == one]) / SECOND for one in np.unique(fold)]
        assert np.ptp(lengths) < 10
        assert result.of(day, np.array([start[0] - SECOND, start[-1] + SECOND])).tolist() == [fold[0], fold[-1]]


def test_what_lies_across_midnight_does_not_teach() -> None:
    where = index(4, 0, 86_400, 5)  # day after day without a gap
    result = Folds.of_windows(where, LENGTH, recipe())
    second, start = where.day == result.days[1], where.start_ns // SECOND
    outside = result.outside(1, where)
    midnight = start[second].min() // 86_400 * 86_400
    assert not outside[second].any()
    taught = start[outside]
    assert taught[taught < midnight].max() < midnight - 38 + 5
    assert taught[taught > midnight].min() >= midnight + 86_400 + 38 - 10


def test_the_split_of_a_window_is_that_of_all_its_seconds() -> None:
    blocks = TrainingSetSettings(block_seconds=20)
    start = (20_458 * 86_400 + np.arange(3000)) * SECOND
    result = split_inside(start, LENGTH, blocks)
    seconds = split_of(start[:, None] + np.arange(LENGTH) * SECOND, blocks)
    whole = (seconds == seconds[:, :1]).all(axis=1)
    np.testing.assert_array_equal(result, np.where(whole, seconds[:, 0], -1))
    assert set(result) == {-1, *range(len(SPLITS))}


def test_strengths_are_the_fusion_and_its_surroundings_day_by_day() -> None:
    rng = np.random.default_rng(0)
    parts = {name: Conformal.fit(rng.normal(size=500)) for name in "ab"}
    start = np.arange(50) * SECOND
    heard = [
        Heard(day, "north", channel, start, {name: rng.normal(size=50).astype(np.float32) for name in "abc"})
        for day in ("2026-01-05", "2026-01-06")
        for channel in (3, 4, 5)
    ]
    result = strengths(heard, parts, ReferenceSettings(), SECOND, 1)
    assert len(result) == 6
    for position in (0, 4):
        day = heard[position // 3 * 3 : position // 3 * 3 + 3]
        all_of = [
            ChannelScores("north", one.channel, start, fused(parts, one.scores), ReferenceSettings())
            for one in day
        ]
        here = all_of.pop(position % 3)
        assert result[position].dtype == np.float32
        np.testing.assert_allclose(result[position], supported(here, all_of), rtol=1e-5)


def test_reference_days_are_measured_by_the_others_as_a_new_day_is_by_those_before_it(ground: Ground) -> None:
    store, settings = ground.store, ground.settings
    against = measured_by_others(store, [*TRAINED, QUIET], settings.background)
    # The others of the last day are those before it: nothing differs from what its own tables say.
    own, by_others = (
        list(white_day(store, QUIET, settings.background, settings.window, against=usual))
        for usual in (None, against[QUIET])
    )
    for one, other in zip(own, by_others, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
    # The first day is its own reference by its tables, and hears nothing of itself here.
    first, second = TRAINED
    (levels, _), other = background(store, first, settings.background, [second]), against[first].levels
    pair = measured_by_others(store, TRAINED, settings.background)[first].levels
    np.testing.assert_array_equal(stack(pair["median_db"]), stack(levels["median_db"]))
    reported = stack(day_levels(store, second, settings.background)["median_db"])
    np.testing.assert_array_equal(stack(pair["median_db"]), reported)
    assert np.abs(stack(other["median_db"]) - stack(store.read_day("background", first)["median_db"])).max() > 0
    # A single day has no other.
    single = measured_by_others(store, [first], settings.background)[first].levels
    np.testing.assert_array_equal(
        stack(single["median_db"]), stack(store.read_day("background", first)["median_db"])
    )
