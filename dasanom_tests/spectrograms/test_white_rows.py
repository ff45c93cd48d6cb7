"""Levels against what is usual, hour by hour."""

from pathlib import Path

import numpy as np
import pytest

from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms import frames, white_rows
from dasanom_assets.spectrograms.common_level import common_levels
from dasanom_assets.spectrograms.white_rows import (
    chosen_rows,
    hourly_banks,
    own_spread,
    unusable_rows,
    whiten,
)
from dasanom_assets.spectrograms.whitening import white_day
from dasanom_assets.spectrograms.windows import make_bank, window_rows
from dasanom_assets.tables.store import Store
from dasanom_tests.spectrograms.test_whitening import write_references
from dasanom_tests.spectrograms.test_windows import DAY, write_day

GRID = SpectrogramSettings(bands=4, hop_seconds=0.5)


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


def test_the_spread_of_a_channel_is_that_of_its_noise_whatever_events_do() -> None:
    rng = np.random.default_rng(0)
    rows = (1.3 * rng.normal(size=(900, 8, 16))).astype(np.float32)
    assert own_spread(rows) == pytest.approx(1.3, rel=0.02)
    rows[100:190] += 9  # a tenth of the day is loud
    rows[500, 3] = np.nan  # a place without a frame
    assert own_spread(rows) == pytest.approx(1.3, rel=0.15)


def test_spreads_stay_between_a_half_and_two() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 4, 4)).astype(np.float32)
    for factor, spread in ((0.01, 0.5), (100, 2.0), (np.nan, 1.0)):
        assert own_spread(factor * rows) == spread


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A day of 20 channels and 50 seconds over noon, of which channel 7 is silent for nine."""
    store, channels = Store(str(tmp_path)), list(range(5, 25))
    write_day(store, GRID, channels, silent={7: slice(3, 12)})
    write_references(store, channels, 4, 2, dict.fromkeys(channels, "ok"))
    store.write_day("common_levels", DAY, common_levels(store, DAY, BackgroundSettings()))
    return store


@pytest.mark.parametrize("part", [7, 13, 50])
def test_parts_are_whitened_as_the_whole_is(store: Store, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = BackgroundSettings()
    monkeypatch.setattr(white_rows, "SPREAD_ROWS", 9)
    monkeypatch.setattr("dasanom_assets.spectrograms.whitening.SPREAD_ROWS", 9)
    whole = {c.channel: (np.asarray(c.rows), c.usable) for c in white_day(store, DAY, settings, WindowSettings())}
    monkeypatch.setattr(frames, "PART_ROWS", part)
    for channel in white_day(store, DAY, settings, WindowSettings()):
        rows, usable = whole[channel.channel]
        np.testing.assert_array_equal(channel.usable, usable)
        assert usable.all() == (channel.channel != 7)
        for first in range(0, 50, part):
            np.testing.assert_array_equal(channel.rows[first : first + part], rows[first : first + part])
        np.testing.assert_array_equal(chosen_rows(channel.rows, usable), rows[usable])


def test_the_spread_is_that_of_rows_that_can_be_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dasanom_assets.spectrograms.whitening.SPREAD_ROWS", 9)
    wide = BackgroundSettings(clip_low=-100, clip_high=100)
    plain = wide.model_copy(update={"own_spread": False})
    for own, raw in zip(*(white_day(store, DAY, s, WindowSettings()) for s in (wide, plain)), strict=True):
        row = np.flatnonzero(raw.usable)
        levels = np.asarray(raw.rows)[row[:: -(-len(row) // 9)]]
        np.testing.assert_array_equal(own.rows, np.asarray(raw.rows) * np.float32(1 / own_spread(levels)))


@pytest.mark.parametrize("seconds", [5, 20])
def test_windows_of_an_hour_are_those_of_the_day(
    store: Store, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(white_rows, "HOUR_NS", seconds * 1_000_000_000)
    window = WindowSettings(seconds=6, shift_seconds=2)
    for channel in white_day(store, DAY, BackgroundSettings(), window):
        first = window_rows(channel.start_ns, channel.usable, window)
        whole = make_bank(np.asarray(channel.rows), first, channel.start_ns[first], GRID, window)
        seen = 0
        for places, bank in hourly_banks(channel, first, GRID, window):
            assert places.start == seen
            for i, place in enumerate(range(places.start, places.stop)):
                np.testing.assert_array_equal(bank.window(i), whole.window(place))
            seen = places.stop
        assert seen == len(first) > 9
    assert list(hourly_banks(channel, first[:0], GRID, window)) == []
