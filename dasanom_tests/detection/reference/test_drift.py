"""A day like the training days passes; one on which levels or p-values are other ones asks for a new model."""

from dataclasses import replace

import dagster as dg
import numpy as np
import pytest
from scipy import stats

from dasanom_assets import chain
from dasanom_assets.detection.reference.drift import (
    LEAST_BLOCKS,
    MOST_DISTANCE,
    Drift,
    _from_uniform,
    _of_p_values,
    drift,
    independent_p_values,
)
from dasanom_assets.detection.reference.known import load_known_ground
from dasanom_assets.detection.reference.model import NAME, load_reference
from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration.checks import build_checks
from dasanom_assets.tables.store import Store
from dasanom_tests.detection.conftest import EVENTFUL, QUIET, SETTINGS, Change, Ground, write_day

RETRAIN = "run the job train with recent days and rescore"


def of_day(store: Store, day: str, change: Change) -> Drift:
    write_day(store, day, change)
    chain.score(store, day, SETTINGS)
    return drift(store, day, load_reference(store), SETTINGS)


def test_a_day_like_the_training_days_passes(ground: Ground) -> None:
    result = drift(ground.store, QUIET, ground.reference, SETTINGS)
    assert result.reasons == []
    assert "nothing to do" in result.sentence
    assert result.figures["distance"] < MOST_DISTANCE


@pytest.mark.parametrize("day", [QUIET, EVENTFUL])
def test_levels_of_a_day_like_the_training_days_have_not_moved_with_or_without_events(
    ground: Ground, day: str
) -> None:
    result = drift(ground.store, day, ground.reference, SETTINGS)
    assert not [reason for reason in result.reasons if "moved" in reason or "spread" in reason]
    assert result.figures["windows"] > LEAST_BLOCKS
    assert abs(result.figures["level_shift_db/north"]) < 1
    assert result.figures["background_spread/north"] == pytest.approx(1, abs=0.05)


def test_windows_that_are_looked_at_hardly_depend_on_each_other(ground: Ground) -> None:
    # One window in 8 s on one channel in 3, of 597 windows and 24 channels.
    p = independent_p_values(ground.store, QUIET, SETTINGS)
    assert len(p) == 8 * 75
    rows = ground.store.read_day("anomaly_scores", QUIET).to_pandas()
    second = rows["start"].astype("int64") // 10**9
    first = rows[
        (rows["channel"] % 3 == 0) & ~(second // 8).groupby(rows["channel"]).transform(lambda x: x.duplicated())
    ]
    np.testing.assert_array_equal(np.sort(p), np.sort(first["p_value"]))


def test_a_changed_gain_is_told_in_decibels_on_its_own_day(later: Store) -> None:
    def louder(power: np.ndarray) -> None:
        power += 12

    result = of_day(later, "2026-01-09", louder)
    assert result.figures["level_shift_db/north"] == pytest.approx(12, abs=1)
    assert result.figures["level_spread/north"] == pytest.approx(1, abs=0.05)
    assert abs(result.figures["background_shift_db/north"]) < 1  # that of the days before
    assert "the day's levels on north moved by" in result.sentence
    assert RETRAIN in result.sentence


def test_levels_that_scatter_more_are_told(later: Store) -> None:
    def wider(power: np.ndarray) -> None:
        middle = power.mean(axis=(1, 2), keepdims=True)
        power[:] = middle + 2 * (power - middle)

    result = of_day(later, "2026-01-09", wider)
    assert result.figures["level_spread/north"] == pytest.approx(2, abs=0.2)
    assert "the day's levels on north spread" in result.sentence
    assert RETRAIN in result.sentence


def test_a_model_of_another_site_is_told_by_what_is_usual_there(later: Store) -> None:
    place = np.random.default_rng(1).normal(0, 15, (24, 1, 1, 8))

    def elsewhere(power: np.ndarray) -> None:
        power += place

    result = of_day(later, "2026-02-20", elsewhere)  # with no day before it, which would be of the old site
    assert result.figures["background_shift_mads/north"] > 1
    assert "what is usual on north moved" in result.sentence
    assert RETRAIN in result.sentence


def test_a_fibre_that_the_model_has_not_learned_from_is_told_and_has_no_levels_to_compare(ground: Ground) -> None:
    others = {**ground.reference.usual, "fibre": np.full(24, "south")}
    result = drift(ground.store, QUIET, replace(ground.reference, usual=others), SETTINGS)
    assert not [name for name in result.figures if "/" in name]
    (reported,) = [reason for reason in result.reasons if "p-values" not in reason]
    assert reported.startswith("the fibre north is unknown: no training day has it")
    assert "those of south" in reported
    assert RETRAIN in result.sentence


def test_a_fibre_with_bands_that_the_model_does_not_know_is_told_and_not_compared(ground: Ground) -> None:
    result = drift(ground.store, QUIET, replace(ground.reference, grids=[[1.0, 2.0]]), SETTINGS)
    assert not [name for name in result.figures if "/" in name]
    (reported,) = [reason for reason in result.reasons if "p-values" not in reason]
    assert "bands of fibre north" in reported
    assert reported.endswith("so that what was recorded so has no score")


def test_a_known_fibre_with_other_channels_is_told(ground: Ground) -> None:
    moved = {**ground.reference.usual, "channel": ground.reference.usual["channel"] + 1000}
    result = drift(ground.store, QUIET, replace(ground.reference, usual=moved), SETTINGS)
    assert [reason for reason in result.reasons if reason.startswith("the channels of north are unknown")]


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (1, 1, None),
        (0.4, 1, "p-values are lower than they should be"),
        (1, 0.4, "p-values are higher than they should be"),
    ],
)
def test_p_values_that_are_not_uniform_say_to_which_side(a: float, b: float, words: str) -> None:
    figures, reasons = _of_p_values(np.random.default_rng(0).beta(a, b, 20_000))
    assert bool(reasons) == (words is not None)
    assert words is None or words in "; ".join(reasons)
    assert set(figures) == {"windows", "distance", "share_below_0.01"}


def test_small_p_values_are_a_figure_and_no_reason_since_events_have_them_too() -> None:
    p = np.random.default_rng(0).uniform(size=20_000)
    p[:800] = 1e-4
    figures, reasons = _of_p_values(p)
    assert figures["distance"] < 0.05
    assert figures["share_below_0.01"] == pytest.approx(0.05, abs=0.003)
    assert reasons == []


def test_too_few_windows_are_not_judged_by_their_p_values() -> None:
    figures, reasons = _of_p_values(np.full(LEAST_BLOCKS - 1, 1e-5))
    assert reasons == []
    assert figures == {"windows": LEAST_BLOCKS - 1}
    assert _of_p_values(np.empty(0)) == ({"windows": 0.0}, [])


def test_the_check_of_a_day_warns_and_plots_the_figures(ground: Ground) -> None:
    days = dg.DailyPartitionsDefinition("2026-01-01")
    (check,) = [
        c for c in build_checks(days, SETTINGS.automation) if "like_the_training_days" in str(c.check_keys)
    ]
    context = dg.build_op_context(partition_key=QUIET)
    result = check(context, store=ground.store, settings=SETTINGS)
    assert result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert {"distance", "share_below_0.01", "level_shift_db/north"} <= result.metadata.keys()
    assert "nothing to do" in result.description


@pytest.mark.parametrize("n", [1, 2, 1000])
def test_the_distance_from_uniform_is_that_of_scipy(n: int) -> None:
    p_value = np.round(np.random.default_rng(n).beta(0.8, 1.1, n), 2)  # with ties
    assert _from_uniform(p_value) == pytest.approx(stats.kstest(p_value, "uniform").statistic, abs=1e-12)


def test_what_a_model_knows_of_the_ground_is_read_without_its_detectors(ground: Ground) -> None:
    version = str(checkpoints.live(ground.store, NAME))
    known, whole = load_known_ground(ground.store, version), load_reference(ground.store)
    assert (known.version, known.grids) == (version, whole.grids)
    for name, values in whole.usual.items():
        np.testing.assert_array_equal(known.usual[name], values)
    assert drift(ground.store, QUIET, known, SETTINGS) == drift(ground.store, QUIET, whole, SETTINGS)
