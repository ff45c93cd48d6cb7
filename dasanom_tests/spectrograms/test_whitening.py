"""Whitening is what its formula says, and says which seconds it cannot be used for."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.common_level import common_levels
from dasanom_assets.spectrograms.whitening import healthy_rows, own_spread, unusable_rows, white_day, whiten
from dasanom_assets.tables.schemas import SCHEMAS, empty, vector
from dasanom_assets.tables.store import Store
from dasanom_tests.spectrograms.test_windows import DAY, write_day


def test_whitening_measures_in_robust_spreads_and_clips() -> None:
    settings = BackgroundSettings()
    median, mad = np.array([10.0, -20.0], np.float32), np.array([2.0, 0.0], np.float32)
    levels = np.array([[12.0, -19.5], [1000.0, -1000.0], [np.nan, -20.0]], np.float32)
    expected = [[2 / (1.4826 * 2 + 0.5), 1.0], [15.0, -5.0], [np.nan, 0.0]]
    np.testing.assert_allclose(whiten(levels, median, mad, settings), expected, rtol=1e-6)


def test_silent_and_partial_rows_are_not_usable() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 8, 4)).astype(np.float32)
    rows[1] = -12.0
    rows[2, 7] = np.nan
    result = unusable_rows(rows)
    assert list(result["silent"]) == [False, True, False, False]
    assert list(result["incomplete"]) == [False, False, True, False]


def write_references(store: Store, channels: list[int], bands: int, classes: int, states: dict[int, str]) -> None:
    values = np.repeat(np.arange(classes, dtype=np.float32) * 10, bands)
    n = len(channels)
    keys = {"fibre": pa.array(["north"] * n), "channel": pa.array(channels, pa.int32())}
    vectors = {
        "median_db": vector(np.tile(values, (n, 1))),
        "mad_db": vector(np.ones((n, len(values)), np.float32)),
    }
    store.write_day("background", DAY, pa.table(keys | vectors), {"hour_classes": classes})
    health = [dict.fromkeys(SCHEMAS["channel_health"].names, 0.0) for _ in states]
    for row, (channel, state) in zip(health, states.items(), strict=True):
        row |= {"fibre": "north", "channel": channel, "state": state}
    store.write_day("channel_health", DAY, pa.Table.from_pylist(health, SCHEMAS["channel_health"]))
    store.write_day("clipped_seconds", DAY, empty("clipped_seconds"))
    store.write_day("common_levels", DAY, common_levels(store, DAY, BackgroundSettings(common_channels=0)))


def test_rows_are_measured_against_their_part_of_the_day(tmp_path: Path) -> None:
    store, grid = Store(str(tmp_path)), SpectrogramSettings(bands=4, hop_seconds=0.5)
    levels = write_day(store, grid, [5, 6, 7])
    write_references(store, [5, 6, 7], 4, 2, {5: "ok", 6: "dead", 7: "noisy"})
    wide = BackgroundSettings(clip_low=-100, clip_high=100, own_spread=False)
    result = list(white_day(store, DAY, wide, WindowSettings()))
    assert [channel.channel for channel in result] == [5, 7]
    own = list(white_day(store, DAY, wide.model_copy(update={"own_spread": True}), WindowSettings()))
    np.testing.assert_allclose(
        own[1].rows, result[1].rows / own_spread(result[1].rows, result[1].usable), rtol=1e-5
    )
    usual = np.where(np.arange(50) < 10, 0, 10)[:, None, None]  # noon is ten seconds on
    np.testing.assert_allclose(result[1].rows, (levels[2] - usual) / (1.4826 + 0.5), rtol=1e-4, atol=1e-5)
    (raw,) = white_day(store, DAY, wide, WindowSettings(scaling="minmax"), lambda fibre, channel: channel == 7)
    np.testing.assert_array_equal(raw.rows, levels[2])


def test_a_group_takes_part_as_long_as_one_of_its_channels_is_alive(tmp_path: Path) -> None:
    store, grid = Store(str(tmp_path)), SpectrogramSettings(bands=4, hop_seconds=0.5, group_channels=2)
    write_day(store, grid, [4, 6])
    write_references(store, [4, 6], 4, 1, {4: "dead", 5: "ok", 6: "dead", 7: "saturated"})
    assert healthy_rows(store, DAY, grid) == {("north", 4)}
    assert [channel.channel for channel in white_day(store, DAY, BackgroundSettings(), WindowSettings())] == [4]


def test_the_spread_of_a_channel_is_that_of_its_noise_whatever_events_do() -> None:
    rng = np.random.default_rng(0)
    rows, all_of_it = (1.3 * rng.normal(size=(900, 8, 16))).astype(np.float32), np.ones(900, bool)
    assert own_spread(rows, all_of_it) == pytest.approx(1.3, rel=0.02)
    rows[100:190] += 9  # a tenth of the day is loud
    rows[500, 3] = np.nan  # a place without a frame
    assert own_spread(rows, all_of_it) == pytest.approx(1.3, rel=0.15)
    calm = all_of_it.copy()
    calm[100:190] = False
    assert own_spread(rows, calm) == pytest.approx(1.3, rel=0.02)


def test_spreads_stay_between_a_half_and_two() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 4, 4)).astype(np.float32)
    for factor, spread in ((0.01, 0.5), (100, 2.0), (np.nan, 1.0)):
        assert own_spread(factor * rows, np.ones(50, bool)) == spread
