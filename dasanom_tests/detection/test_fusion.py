"""Detectors together keep the false alarm rate, also where the reference days hold events."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.detection.fusion import (
    ALONE,
    DAY_QUANTILES,
    MOST_SHIFT,
    MOST_SPREAD,
    STRANGEST,
    Calibrated,
    Vote,
    _quiet,
    _supported_all,
    calibrate,
    fuse,
    settled,
    strength,
)
from dasanom_assets.detection.support import REACH, REACH_SECONDS
from dasanom_assets.detection.thresholds import Calibration
from dasanom_assets.models.training_set import WindowIndex
from dasanom_assets.settings import DetectionSettings, WindowSettings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import TIME

SETTINGS = DetectionSettings()


def mean_or_alone(p: np.ndarray, weights: list[float]) -> np.ndarray:
    """Mean of −log10 p-values, or the largest less `ALONE`."""
    logs = np.minimum(-np.log10(p), STRANGEST)
    return np.maximum(np.average(logs, axis=1, weights=weights), logs.max(axis=1) - ALONE)


def test_windows_are_strange_to_detectors_together_or_to_one_of_them() -> None:
    scores = np.random.default_rng(0).normal(size=(2000, 2))
    calibrations = {name: Calibration.fit(scores[:, i], np.inf) for i, name in enumerate(NAMES)}
    votes = {"one": Vote(3.0), "other": Vote(1.0)}
    usual, both, only_one, only_other, missing = fuse(
        calibrations, votes, np.array([[0, 0], [2, 2], [9, 0], [0, 9], [2, np.nan]])
    )
    assert usual < 0.5 < both < only_other < only_one
    assert both == pytest.approx(missing, abs=0.2)
    assert only_one == pytest.approx(0.75 * STRANGEST - 0.25 * np.log10(0.5), abs=0.01)
    assert only_other == STRANGEST - ALONE
    assert np.isnan(fuse(calibrations, votes, np.full((1, 2), np.nan))).all()


def test_a_detector_to_which_all_windows_are_alike_has_no_say() -> None:
    rng = np.random.default_rng(0)
    names = ("one", "same", "other")
    scores = np.stack([rng.normal(size=2000), np.zeros(2000), rng.gumbel(size=2000)], axis=1)
    calibrations = {name: Calibration.fit(scores[:, i], np.inf) for i, name in enumerate(names)}
    p = np.stack([calibrations[name].p_values(scores[:, i]) for i, name in enumerate(names)], axis=1)
    votes = {"one": Vote(4.0), "same": Vote(), "other": Vote(2.0)}
    np.testing.assert_allclose(fuse(calibrations, votes, scores), mean_or_alone(p[:, [0, 2]], [4.0, 2.0]))
    bounded = fuse(calibrations, votes | {"other": Vote(2.0, 0.05)}, scores)
    np.testing.assert_allclose(bounded, mean_or_alone(np.maximum(p[:, [0, 2]], [0, 0.05]), [4.0, 2.0]))
    alone = fuse({"same": calibrations["same"]}, {"same": Vote()}, scores[:, 1:2])
    assert np.isfinite(alone).all()


SECONDS = 8
NAMES = ("one", "other")
WINDOW = WindowSettings(seconds=SECONDS)
DAYS = ("2026-01-05", "2026-01-06", "2026-01-07")


def index(days: Sequence[str], channels: int, n: int) -> WindowIndex:
    """Windows, one a second, of some channels on some days, channel after channel."""
    at = [(day, channel) for day in days for channel in range(100, 100 + channels)]
    start = [np.datetime64(f"{day}T08", "ns").astype(np.int64) + np.arange(n) * SECOND_NS for day, _ in at]
    return WindowIndex(
        np.full(len(at) * n, "north", object),
        np.repeat([channel for _, channel in at], n).astype(np.int32),
        np.concatenate(start),
        np.repeat(np.array([day for day, _ in at], object), n),
    )


def quiet_scores(where: WindowIndex, n: int, seed: int) -> np.ndarray:
    """Scores of two detectors: means over 8 s of skewed noise, partly the same; windows depend as real ones do."""
    rng = np.random.default_rng(seed)
    lanes = len(where.channel) // n
    own, same = (rng.gamma(0.5, 1, (k, lanes, n + SECONDS - 1)) for k in (2, 1))
    total = np.cumsum(np.pad(own + same, ((0, 0), (0, 0), (1, 0))), axis=2)
    means = (total[:, :, SECONDS:] - total[:, :, :-SECONDS]) / SECONDS
    return (means * np.array([1, 30])[:, None, None]).reshape(2, -1).T.astype(np.float32)


def plant(scores: np.ndarray, where: WindowIndex, events: int, length: int, least: float) -> None:
    """Raise the scores of events on three channels, by `least` and more; quiet scores spread by about 0.35."""
    rng = np.random.default_rng(2)
    for _ in range(events):
        middle = rng.integers(len(scores))
        near = where.day == where.day[middle]
        near &= np.abs(where.channel - where.channel[middle]) <= 1
        near &= np.abs(where.start_ns - where.start_ns[middle]) <= length / 2 * SECOND_NS
        scores[near] += (least + rng.exponential(2)) * np.array([1, 30], np.float32)


def p_values(
    found: Calibrated, where: WindowIndex, scores: np.ndarray, terms: np.ndarray | None = None
) -> np.ndarray:
    """Score windows as those of a day are."""
    restless = np.array([key in found.restless for key in zip(where.fibre, where.channel.tolist(), strict=True)])
    fused = np.empty(len(scores))
    for of, some in (("usual", ~restless), ("restless", restless)):
        if some.any():
            fused[some] = fuse(found.calibrations[of], dict.fromkeys(NAMES, Vote()), scores[some])
    around, _, width = _supported_all(where, fused, terms, SECOND_NS, 1)
    p = np.empty(len(scores))
    for some in where.groups().values():
        calibrations = found.calibrations["restless" if restless[some[0]] else "usual"]
        means = settled(calibrations, around[some], width[some], 1)
        p[some] = calibrations["fused"].p_values(strength(calibrations, means))
    return p


@pytest.fixture(scope="module")
def fresh() -> tuple[WindowIndex, np.ndarray]:
    where = index(["2026-02-01"], 30, 20_000)
    return where, quiet_scores(where, 20_000, 99)


@pytest.mark.parametrize("events", [0, 15])
def test_the_false_alarm_rate_is_kept_whether_or_not_events_are_among_the_reference(
    events: int, fresh: tuple[WindowIndex, np.ndarray]
) -> None:
    where = index(DAYS, 12, 1800)
    p, of_one = [], []
    for seed in (1, 11, 21):  # one calibration has its chance
        scores = quiet_scores(where, 1800, seed)
        plant(scores, where, events, 30, 3)
        found = calibrate(scores, dict.fromkeys(NAMES, Vote()), where, WINDOW, 1, SETTINGS)
        assert found.restless == frozenset()
        assert found.note["taken_for_events"] == pytest.approx(0.16 if events else 0, abs=0.05)
        p.append(p_values(found, *fresh))
        usual = found.calibrations["usual"]
        of_one.append([usual[name].p_values(fresh[1][:, i]) for i, name in enumerate(NAMES)])
    for rate, low, high in ((1e-1, 0.7, 1.4), (1e-2, 0.5, 2), (1e-3, 0.5, 2), (1e-4, 0.3, 3)):
        assert low < (np.array(p) <= rate).mean() / rate < high, rate
    for one in np.array(of_one).transpose(1, 0, 2):
        assert 0.5 < (one <= 1e-3).mean() / 1e-3 < 2


def test_terms_find_what_scores_do_not_and_the_false_alarm_rate_is_kept(
    fresh: tuple[WindowIndex, np.ndarray],
) -> None:
    where = index(DAYS, 12, 1800)
    scores, terms = quiet_scores(where, 1800, 1), quiet_scores(where, 1800, 3)
    plant(terms, where, 15, 30, 3)
    found = calibrate(scores, dict.fromkeys(NAMES, Vote()), where, WINDOW, 1, SETTINGS, terms=terms)
    assert found.note["taken_for_events"] == pytest.approx(0.16, abs=0.05)
    later, new = fresh
    of_later = quiet_scores(later, 20_000, 98)
    p = p_values(found, later, new, of_later)
    more = [p_values(found, later, *(quiet_scores(later, 20_000, seed + k) for k in (0, 1))) for seed in (78, 88)]
    for rate, low, high in ((1e-1, 0.7, 1.4), (1e-2, 0.5, 2), (1e-3, 0.5, 2), (1e-4, 0.3, 3)):
        assert low < (np.concatenate([p, *more]) <= rate).mean() / rate < high, rate
    event = (later.channel >= 110) & (later.channel <= 112)
    event &= np.abs(later.start_ns - later.start_ns[10_000]) <= 15 * SECOND_NS
    of_later[event, 1] += 60
    assert np.median(p_values(found, later, new, of_later)[event]) < 1e-6 < np.median(p[event])


def test_ground_that_hums_for_a_seventh_of_the_time_is_no_event() -> None:
    where = index(DAYS, 10, 1800)
    terms = quiet_scores(where, 1800, 3)[:, :1]
    hums = where.start_ns // (60 * SECOND_NS) % 20 < 3
    terms[hums] += 10
    found = calibrate(
        quiet_scores(where, 1800, 1), dict.fromkeys(NAMES, Vote()), where, WINDOW, 1, SETTINGS, terms=terms
    )
    assert found.note["taken_for_events"] < 0.05
    assert found.calibrations["usual"]["around_1"].scores[-1000] > 9


def lane(scores: np.ndarray) -> dict[str, Calibration]:
    return {"around_0": Calibration.fit(scores, np.inf)}


def test_what_is_usual_for_a_channel_all_day_is_taken_off_within_bounds() -> None:
    rng = np.random.default_rng(5)
    quiet = rng.gamma(9, 0.1, 20_000)
    low, median, high = np.quantile(quiet, DAY_QUANTILES)
    step, calibrations, whole = median - low, lane(quiet), np.ones(4000)
    here = rng.gamma(9, 0.1, (4000, 1))

    def told(means: np.ndarray) -> np.ndarray:
        return settled(calibrations, means, whole[: len(means)], 1)

    np.testing.assert_allclose(told(here), here, atol=0.1 * step)
    np.testing.assert_allclose(told(here + step), here, atol=0.15 * step)
    np.testing.assert_allclose(told(here - step), here - step, atol=0.1 * step)  # calmer: as it is
    restless = np.where(here > median, median + 1.5 * (here - median), here)
    assert np.quantile(told(restless), DAY_QUANTILES) == pytest.approx([low, median, high], abs=0.15 * step)
    machine = told(here + 50 * step)
    np.testing.assert_allclose(machine, here + (50 - MOST_SHIFT) * step, atol=0.1 * step)
    some = np.arange(4000) < 1500
    event = told(here + 50 * step * some[:, None])
    assert (event[some] > 50 * step / np.exp(MOST_SPREAD)).all()


def test_a_short_recording_does_not_say_what_is_usual() -> None:
    rng = np.random.default_rng(5)
    quiet = rng.gamma(9, 0.1, 20_000)
    step = float(np.median(quiet) - np.quantile(quiet, DAY_QUANTILES[0]))
    here = rng.gamma(9, 0.1, (2000, 1)) + step
    taken = {n: float(np.median(here[:n] - settled(lane(quiet), here[:n], np.ones(n), 1))) for n in (30, 2000)}
    assert taken[30] < 0.1 * step < 0.8 * step < taken[2000]
    assert settled(lane(quiet), here[:0], np.ones(0), 1).shape == (0, 1)
    hours = settled(lane(quiet), here[:30], np.ones(30), 60)  # as many windows, a minute apart
    assert np.median(here[:30] - hours) > 0.7 * step


def test_means_that_do_not_differ_are_left_alone() -> None:
    same = np.full((4000, 1), 2.0)
    np.testing.assert_array_equal(settled(lane(np.full(1000, 2.0)), same, np.ones(4000), 1), same)


def test_means_that_spread_more_are_drawn_nearer_to_the_usual() -> None:
    quiet = np.random.default_rng(6).normal(3, 1, 20_000)
    found = settled(lane(quiet), np.array([[3.0], [5.0], [1.0]]), np.array([1.0, 2.0, 2.0]), 1)
    np.testing.assert_allclose(found[:, 0], [3, 4, 2], atol=0.02)


def test_events_too_faint_to_be_told_make_fewer_false_alarms_and_not_more(
    fresh: tuple[WindowIndex, np.ndarray],
) -> None:
    where = index(DAYS, 12, 1800)
    scores = quiet_scores(where, 1800, 1)
    plant(scores, where, 15, 30, 0)
    p = p_values(calibrate(scores, dict.fromkeys(NAMES, Vote()), where, WINDOW, 1, SETTINGS), *fresh)
    for rate in (1e-1, 1e-2, 1e-3):
        assert (p <= rate).mean() / rate < 1.2, rate
    assert (p <= 1e-2).mean() / 1e-2 > 0.1


def test_a_false_alarm_is_as_many_windows_as_hang_together_by_chance() -> None:
    where = index(DAYS, 12, 1800)
    found = calibrate(quiet_scores(where, 1800, 1), dict.fromkeys(NAMES, Vote()), where, WINDOW, 1, SETTINGS)
    assert 3 < found.note["windows_per_alarm"] < 30


def test_channels_that_are_restless_every_day_are_calibrated_by_themselves() -> None:
    where = index(DAYS, 36, 900)
    scores = quiet_scores(where, 900, 1)
    scores[where.channel == 105] *= 2.5  # with the support of which the channels beside it are restless too
    scores[(where.channel == 109) & (where.day == DAYS[0])] *= 2.5  # on one day only
    found = calibrate(scores, dict.fromkeys(NAMES, Vote()), where, WINDOW, 1, SETTINGS)
    assert ("north", 105) in found.restless
    assert found.restless <= {("north", 104), ("north", 105), ("north", 106)}
    assert found.note["restless_channels"] == len(found.restless)
    later = index(["2026-02-01"], 12, 6000)
    louder = quiet_scores(later, 6000, 5)
    road = np.isin(later.channel, [104, 105, 106])
    louder[later.channel == 105] *= 2.5
    as_all_others = replace(found, restless=frozenset())
    by_itself, as_usual = (p_values(c, later, louder)[road] for c in (found, as_all_others))
    assert 0.4 < (by_itself <= 1e-2).mean() / 1e-2 < 2.5
    assert (as_usual <= 1e-2).mean() / 1e-2 > 5


def test_where_all_channels_are_restless_none_is() -> None:
    where = index(DAYS, 3, 1800)
    scores = quiet_scores(where, 1800, 1)
    scores[where.start_ns // SECOND_NS % 600 < 60] *= 6  # a machine nearby, a tenth of the time
    found = calibrate(scores, dict.fromkeys(NAMES, Vote()), where, WINDOW, 1, SETTINGS)
    assert (found.restless, list(found.calibrations)) == (frozenset(), ["usual"])


def test_what_hangs_together_with_a_loud_window_is_no_quiet_ground() -> None:
    where = index(DAYS[:1], 6, 200)
    rows = pa.table({"fibre": where.fibre, "channel": where.channel, "start": pa.array(where.start_ns).cast(TIME)})
    at = (where.channel.astype(int) - 100) * 200
    second = np.arange(len(at)) - at
    loud = (where.channel == 102) & (second == 50)
    p = np.full(len(at), 0.5)
    p[(where.channel == 102) & (second >= 45) & (second <= 60)] = 0.01  # part of the event
    p[(where.channel == 102) & (second == 120)] = 0.01  # unusual, but alone
    left_out = ~_quiet(rows, loud, p, WINDOW, 1)
    # All windows whose surroundings share a second with windows 45 to 60.
    wanted = (np.abs(where.channel - 102) <= REACH) & (np.abs(second - 52.5) < 7.5 + SECONDS + REACH_SECONDS)
    np.testing.assert_array_equal(left_out, wanted)
