"""Bands that mean other Hz, or another unit, are never compared."""

from pathlib import Path

import numpy as np
import pytest

from dasanom_assets.recordings import steps as recordings
from dasanom_assets.settings import BackgroundSettings, Settings, SpectrogramSettings
from dasanom_assets.spectrograms import steps
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.spectrograms.grids import DayGrids, Grid, grids_note
from dasanom_assets.spectrograms.levels import levels_of
from dasanom_assets.spectrograms.whitening import white_day
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import stack
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_measured import DAY, bundle, patch
from dasanom_tests.spectrograms.test_engine import FIRST, Array, noise

NEXT = "2026-01-06"
SETTINGS = Settings(background=BackgroundSettings(common_channels=0, own_spread=False))


def ground(seconds: int, rate: int, seed: int, channels: int = 2) -> np.ndarray:
    """Noise that falls with frequency, with the same density at any rate."""
    n = seconds * rate
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal((n, channels)), axis=0)
    spectrum *= (np.sqrt(rate / 2) * 2000 / np.maximum(np.fft.rfftfreq(n, 1 / rate), 5))[:, None]
    return np.fft.irfft(spectrum, n, axis=0).astype("<i2")


def ingested(root: Path, *days: str) -> Store:
    store = Store(str(root))
    with open_client(SETTINGS.dask) as dask:
        for day in days:
            recordings.recordings(store, day, SETTINGS)
            steps.spectrograms(store, day, SETTINGS, dask=dask)
            steps.level_histograms(store, day, SETTINGS)
            steps.background(store, day, SETTINGS)
    return store


def white(store: Store, day: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return seconds since ten o'clock, and the median of each second, band by band, of each channel."""
    ten = np.datetime64(f"{day}T10", "ns").astype(int)
    channels = white_day(store, day, SETTINGS.background, SETTINGS.window)
    return [
        ((c.start_ns[c.usable] - ten) // SECOND_NS, np.median(np.asarray(c.rows)[c.usable], axis=1))
        for c in channels
    ]


def test_a_rate_that_changes_within_a_day_has_a_background_of_its_own(tmp_path: Path) -> None:
    bundle(tmp_path, "north_20260105T100000", ground(40, 1000, 1), sampling_rate_hz=1000)
    bundle(tmp_path, "north_20260105T100040", ground(40, 2000, 2), sampling_rate_hz=2000)
    store = ingested(tmp_path, DAY)
    assert store.metadata("background", DAY)["n_grids"] == 2
    assert stack(store.read_day("background", DAY)["median_db"]).shape == (2, 2 * 64)
    issues = store.read_day("recordings", DAY)["issues"].to_pylist()
    assert any("sampled at 2000 Hz, north_20260105T100000.bin before it at 1000 Hz" in text for text in issues[1])
    for second, levels in white(store, DAY):
        assert len(second) >= 78
        for part in (second < 40, second >= 40):
            assert np.abs(np.median(levels[part], axis=0)).max() < 0.3


def test_days_count_for_the_bands_that_they_have(tmp_path: Path) -> None:
    bundle(tmp_path, "north_20260105T100000", ground(30, 1000, 1), sampling_rate_hz=1000)
    bundle(tmp_path, "north_20260106T100000", ground(30, 2000, 2), day=NEXT, sampling_rate_hz=2000)
    bundle(tmp_path, "north_20260107T100000", ground(30, 1000, 3) * 4, day="2026-01-07", sampling_rate_hz=1000)
    bundle(tmp_path, "north_20260107T100100", ground(30, 4000, 4), day="2026-01-07", sampling_rate_hz=4000)
    store = ingested(tmp_path, DAY, NEXT, "2026-01-07")
    usual = [stack(store.read_day("background", day)["median_db"])[0] for day in (DAY, NEXT, "2026-01-07")]
    np.testing.assert_array_equal(usual[2], np.concatenate(usual[:2]))  # 4000 Hz has the bands of 2000 Hz
    assert store.metadata("background", NEXT)["own_reference"] == [["north", 0], ["north", 1]]
    assert store.metadata("background", "2026-01-07")["own_reference"] == []
    second, levels = white(store, "2026-01-07")[0]
    assert np.median(levels[second < 30]) > 1.5  # 12 dB louder than the first day
    assert abs(np.median(levels[second >= 30])) < 0.3


def test_units_of_one_kind_have_the_same_levels(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((20_000, 2)).astype("<f4") * np.float32(1e-9)
    patch(tmp_path, "north_1.h5", x, 1_000_000, data_units="strain/s")
    patch(tmp_path, "north_2.h5", x * np.float32(1e9), 1_000_000, 36_020, data_units="nanostrain/s")
    store = ingested(tmp_path, DAY)
    assert store.metadata("background", DAY)["n_grids"] == 1
    levels = stack(store.read_day("spectrograms", DAY)["power_db"]).reshape(2, 40, -1)
    np.testing.assert_allclose(levels[:, 1:19], levels[:, 21:39], atol=0.26)


def test_units_of_other_kinds_have_backgrounds_of_their_own(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((20_000, 2)).astype("<f4")
    patch(tmp_path, "north_1.h5", x, 1_000_000, data_units="rad")
    patch(tmp_path, "north_2.h5", x * np.float32(1e-6), 1_000_000, 36_020, data_units="m/s")
    store = ingested(tmp_path, DAY)
    for second, levels in white(store, DAY):
        for part in (second < 20, second >= 20):
            assert np.abs(np.median(levels[part], axis=0)).max() < 0.3


def test_a_second_belongs_to_the_rate_that_it_begins_with() -> None:
    low = Array(noise(10.5, 2, 1000), sampling_rate_hz=1000.0)
    high = Array(noise(10, 2), start_ns=low.start_ns + 10_500_000_000)
    settings = SpectrogramSettings()
    _, levels = levels_of([low, high], settings, [np.array([100, 101])], FIRST, FIRST + 30)
    there = np.isfinite(levels[0]).all(axis=2).sum(axis=1)
    assert there[:10].tolist() == [8] * 10
    assert there[10] == 4
    assert there[11:20].tolist() == [8] * 9
    grids = DayGrids(grids_note([low, high], settings))
    start_ns = (FIRST + np.array([9, 10, 11])) * SECOND_NS
    assert grids.of_rows("north", 101, start_ns).tolist() == [0, 0, 1]
    assert grids.of_rows("north", 102, start_ns).tolist() == [0, 0, 0]
    assert grids.changes("north", 101, start_ns).tolist() == [False, False, True]
    assert grids.changes("north", 101, start_ns[2:]).tolist() == [True]  # whatever is read before it
    assert grids.changes("north", 101, np.array([FIRST]) * SECOND_NS).tolist() == [False]


def test_grids_are_the_same_within_half_a_percent_and_in_one_unit() -> None:
    assert Grid((10.0, 100.0)).same(Grid((10.01, 100.1)))
    assert not Grid((10.0, 100.0)).same(Grid((10.0, 102.0)))
    assert not Grid((10.0, 100.0)).same(Grid((10.0, 100.0), "rad"))
    assert Grid().same(Grid((10.0,), "rad"))


@pytest.mark.parametrize("rates", [(1000.0, 1000.0003), (2000.0, 4000.0)])
def test_rates_with_the_same_bands_are_one_grid(rates: tuple[float, float]) -> None:
    signals = [Array(noise(1), sampling_rate_hz=rate) for rate in rates]
    note = grids_note(signals, SpectrogramSettings())
    assert DayGrids(note).most == 1
    assert note["spans"] == []
