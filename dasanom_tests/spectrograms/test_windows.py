"""Windows are views, line up and never span a gap."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dasanom_assets.models.loop import DeviceWindows
from dasanom_assets.settings import SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.frames import channel_rows, day_frames
from dasanom_assets.spectrograms.hours import rows_table
from dasanom_assets.spectrograms.white_rows import unusable_rows
from dasanom_assets.spectrograms.windows import (
    SECOND_NS,
    WindowBank,
    first_frame,
    frames_there,
    make_bank,
    window_rows,
)
from dasanom_assets.tables.store import Store

DAY = "2026-01-05"
START = int(np.datetime64(DAY, "s").astype(int))


@given(
    st.sets(st.integers(1000, 1060), max_size=60),
    st.integers(1, 9),
    st.integers(1, 4),
    st.sets(st.integers(1000, 1060), max_size=5),
)
def test_windows_are_all_runs_of_complete_seconds(there: set, length: int, shift: int, bad: set) -> None:
    seconds = np.array(sorted(there), np.int64)
    complete = ~np.isin(seconds, list(bad))
    settings = WindowSettings(seconds=length, shift_seconds=shift)
    first = window_rows(seconds * SECOND_NS, complete, settings)
    good = there - bad
    expected = [s for s in sorted(there) if s % shift == 0 and all(s + k in good for k in range(length))]
    assert list(seconds[first]) == expected


def test_a_window_is_a_view_of_its_rows() -> None:
    rows = np.arange(10 * 8 * 4, dtype=np.float32).reshape(10, 8, 4)
    bank = WindowBank(rows, np.array([0, 3]), 2)
    assert bank.window_shape == (16, 4)
    assert np.shares_memory(bank.window(1), rows)
    np.testing.assert_array_equal(bank.window(1), rows[3:5].reshape(16, 4))


def bank_of(
    spectrogram: SpectrogramSettings, window: WindowSettings, first_second: int = START, n: int = 40
) -> tuple:
    """Rows whose level is the time since their start, in every band, and windows on all of them."""
    hop, (slots, bands) = spectrogram.hop_ns, spectrogram.row_shape
    second = first_second + np.arange(n)
    k = first_frame(second, hop)[:, None] + np.arange(slots)
    level = ((2 * k + 1) * hop / 2 / SECOND_NS - first_second)[..., None] + 0.01 * np.arange(bands)
    rows = level.astype(np.float32)
    there = frames_there(second * SECOND_NS, spectrogram)
    if there is not None:
        rows[~there] = np.nan
    first = np.arange(n - window.seconds + 1)
    return make_bank(rows, first, second[first] * SECOND_NS, spectrogram, window), level


@pytest.mark.parametrize("hop_seconds", [0.125, 0.256, 0.3])
@pytest.mark.parametrize("offset", [0, 7])
def test_an_image_shows_time_where_it_was_wherever_the_frames_lie(hop_seconds: float, offset: int) -> None:
    spectrogram = SpectrogramSettings(hop_seconds=hop_seconds, bands=6)
    bank, _ = bank_of(spectrogram, WindowSettings(seconds=10, image=(20, 3)), START + offset)
    assert bank.window_shape == (20, 3)
    middle = (np.arange(20) + 0.5) / 2
    for i in (0, 3, 30):
        image = bank.window(i)
        # Bands rise by 0.01; each pixel holds two of them. A frame stands for all of its hop.
        expected = i + middle[:, None] + 0.01 * np.array([0.5, 2.5, 4.5])
        np.testing.assert_allclose(image, expected, atol=hop_seconds / 2 + 1e-3)
        assert np.abs((image - expected)[2:-2].mean()) < 0.02


@pytest.mark.parametrize("scaling", ["background", "minmax"])
@pytest.mark.parametrize("image", [None, (64, 64), (13, 5)])
@pytest.mark.parametrize("hop_seconds", [0.125, 0.256])
def test_a_network_sees_the_image_of_the_window(hop_seconds: float, image: tuple | None, scaling: str) -> None:
    if image is None and hop_seconds == 0.256:
        return  # refused by the settings
    spectrogram = SpectrogramSettings(hop_seconds=hop_seconds, bands=10)
    window = WindowSettings(seconds=9, image=image, scaling=scaling)
    bank, _ = bank_of(spectrogram, window)
    bank.rows[:] += np.random.default_rng(0).normal(size=bank.rows.shape).astype(np.float32) * 30
    seen = DeviceWindows(bank, "cpu")
    for i in (0, 5, 31):
        picture = bank.window(i)
        assert picture.shape == bank.window_shape
        assert np.isfinite(picture).all()
        np.testing.assert_allclose(seen[torch.tensor([i])][0, 0].numpy(), picture, atol=1e-4)
        if scaling == "minmax":
            assert (picture.min(), picture.max()) == (0, pytest.approx(1))
    sample = bank.subset(np.array([5, 31]))
    np.testing.assert_array_equal(sample.window(1), bank.window(31))


def test_minmax_leaves_nothing_below_eighty_decibels_and_a_constant_window_is_black() -> None:
    rows = np.full((10, 8, 4), -10.0, np.float32)
    rows[:5, 0, 0], rows[:5, 1, 1] = 30.0, -300.0
    start = (START + np.arange(10)) * SECOND_NS
    window = WindowSettings(seconds=5, scaling="minmax")
    bank = make_bank(rows, np.array([0, 5]), start[[0, 5]], SpectrogramSettings(bands=4), window)
    assert bank.window(0)[0, 0] == 1
    assert bank.window(0)[1, 1] == 0
    np.testing.assert_allclose(bank.window(0)[2], 0.5)  # 40 of 80 dB
    assert not bank.window(1).any()


def test_a_second_with_a_frame_less_is_whole_where_the_grid_has_none_there() -> None:
    spectrogram = SpectrogramSettings(hop_seconds=0.256, bands=3)
    start = (START + np.arange(40)) * SECOND_NS
    there = frames_there(start, spectrogram)
    assert set(there.sum(axis=1)) == {3, 4}
    assert there.sum() == pytest.approx(40 / 0.256, abs=1)
    rows = np.random.default_rng(0).normal(size=(40, 4, 3)).astype(np.float32)
    rows[~there] = np.nan
    assert not np.any(list(unusable_rows(rows, there).values()))
    rows[7, 1] = np.nan
    rows[8] = np.where(there[8][:, None], -12.0, np.nan)
    result = unusable_rows(rows, there)
    assert [list(np.flatnonzero(result[reason])) for reason in ("incomplete", "silent")] == [[7], [8]]


def write_day(
    store: Store,
    settings: SpectrogramSettings,
    channels: list[int],
    n: int = 50,
    silent: Mapping[int, slice] = MappingProxyType({}),
) -> np.ndarray:
    rng = np.random.default_rng(1)
    levels = rng.normal(size=(len(channels), n, *settings.row_shape)).astype(np.float32)
    for channel, rows in silent.items():
        levels[channels.index(channel), rows] = -12
    starts = (START + 43_190 + np.arange(n)) * SECOND_NS
    # Later rows first, as a file that came late may leave them.
    halves = [(half, i) for half in (slice(n // 2, n), slice(0, n // 2)) for i in range(len(channels))]
    tables = [rows_table("north", channels[i], starts[half], levels[i, half]) for half, i in halves]
    note = {"settings": settings.model_dump(), "settings_digest": settings.digest()}
    store.write_day("spectrograms", DAY, tables, note)
    return levels


def test_one_channel_is_read_without_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, grid = Store(str(tmp_path)), SpectrogramSettings(bands=4, hop_seconds=0.5)
    levels = write_day(store, grid, [5, 6, 7])
    read: list[int] = []
    original = pa.parquet.ParquetFile.read_row_group
    monkeypatch.setattr(
        pa.parquet.ParquetFile,
        "read_row_group",
        lambda self, group, columns: read.append(group) or original(self, group, columns),
    )
    frames = channel_rows(store, DAY, "north", 6)
    np.testing.assert_array_equal(frames.power_db, levels[1])
    assert read == [1, 4]
    assert [f.channel for f in day_frames(store, DAY)] == [5, 6, 7]
    with pytest.raises(LookupError, match="have no channel 9 of fibre north"):
        channel_rows(store, DAY, "north", 9)
