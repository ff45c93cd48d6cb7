"""The background of a day is that of the days before it."""

from pathlib import Path

import numpy as np
import pytest

from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings
from dasanom_assets.spectrograms.background import background, reference_days
from dasanom_assets.spectrograms.engine import rows_table
from dasanom_assets.tables.schemas import mismatch, stack
from dasanom_assets.tables.store import MissingDayError, Store

SMALL = SpectrogramSettings(bands=4, hop_seconds=0.5)


def write(store: Store, day: str, level: float, channels: tuple[int, ...] = (5, 6), bands: int = 4) -> np.ndarray:
    settings = SMALL.model_copy(update={"bands": bands})
    rng = np.random.default_rng(int(level))
    levels = rng.normal(level, 2.0, size=(len(channels), 50, 2, bands)).astype(np.float32)
    starts = (np.datetime64(day).astype("datetime64[s]").astype(int) + np.arange(50)) * 1_000_000_000
    note = {"settings": settings.model_dump(), "settings_digest": settings.digest()}
    tables = (rows_table("north", c, starts, x) for c, x in zip(channels, levels, strict=True))
    store.write_day("spectrograms", day, tables, note)
    return levels


def test_median_and_mad_are_those_of_the_earlier_days(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    before = [write(store, f"2026-01-0{d}", 10.0 + d) for d in (5, 6)]
    write(store, "2026-01-07", 90.0)
    table, note = background(store, "2026-01-07", BackgroundSettings())
    assert note["days"] == ["2026-01-05", "2026-01-06"]
    assert mismatch("background", table.schema) is None
    frames = np.concatenate([x[1].reshape(-1, 4) for x in before])
    np.testing.assert_allclose(stack(table["median_db"])[1], np.median(frames, axis=0), rtol=1e-6)
    mad = np.median(np.abs(frames - np.median(frames, axis=0)), axis=0)
    np.testing.assert_allclose(stack(table["mad_db"])[1], mad, rtol=1e-5)


def test_the_first_day_and_a_new_channel_are_their_own_reference(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    first = write(store, "2026-01-05", 10.0)
    table, note = background(store, "2026-01-05", BackgroundSettings())
    assert note["days"] == ["2026-01-05"]
    np.testing.assert_allclose(stack(table["median_db"])[0], np.median(first[0].reshape(-1, 4), axis=0), rtol=1e-6)
    second = write(store, "2026-01-06", 40.0, channels=(6, 7))
    table, note = background(store, "2026-01-06", BackgroundSettings())
    assert note["own_reference"] == [["north", 7]]
    assert table["channel"].to_pylist() == [5, 6, 7]
    np.testing.assert_allclose(
        stack(table["median_db"])[2], np.median(second[1].reshape(-1, 4), axis=0), rtol=1e-6
    )


def test_days_with_other_settings_are_no_reference(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write(store, "2026-01-05", 10.0, bands=8)
    write(store, "2026-01-06", 20.0)
    assert background(store, "2026-01-06", BackgroundSettings())[1]["days"] == ["2026-01-06"]


def test_the_look_back_is_bounded() -> None:
    days = [f"2026-01-{d:02d}" for d in range(1, 20)]
    assert reference_days(days, "2026-01-19", BackgroundSettings(look_back_days=3)) == days[15:18]


def test_a_day_without_spectrograms_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingDayError, match="materialize spectrograms for 2026-01-05 first"):
        background(Store(str(tmp_path)), "2026-01-05", BackgroundSettings())
