"""The background of a day is that of the days before it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings
from dasanom_assets.spectrograms.background import (
    Histogram,
    background,
    day_levels,
    histograms_note,
    level_histograms,
    reference_days,
)
from dasanom_assets.spectrograms.hours import rows_table
from dasanom_assets.spectrograms.white_rows import reference_rows
from dasanom_assets.tables.schemas import SCHEMAS, mismatch, stack
from dasanom_assets.tables.store import MissingDayError, Store
from dasanom_tests.memory import memory_of

SMALL = SpectrogramSettings(bands=4, hop_seconds=0.5)
DEFAULT = BackgroundSettings()


def write(
    store: Store,
    day: str,
    level: float,
    channels: tuple[int, ...] = (5, 6),
    bands: int = 4,
    seconds: int = 50,
    missing: tuple[int, ...] = (),
) -> np.ndarray:
    """Write a day of spectrograms and return its levels; those of the channels `missing` are NaN."""
    grid = SMALL.model_copy(update={"bands": bands})
    rng = np.random.default_rng(int(level))
    levels = np.round(rng.normal(level, 2.0, size=(len(channels), seconds, 2, bands)) * 4).astype(np.float32) / 4
    levels[np.isin(channels, missing)] = np.nan
    starts = (np.datetime64(day).astype("datetime64[s]").astype(int) + np.arange(seconds)) * 1_000_000_000
    note = {"settings": grid.model_dump(), "settings_digest": grid.digest()}
    tables = [rows_table("north", c, starts, x) for c, x in zip(channels, levels, strict=True)]
    tables.append(rows_table("", 0, starts[:0], np.empty((0, 2, bands), np.float32)))
    store.write_day("spectrograms", day, tables, note)
    return levels


def sketch(store: Store, day: str, settings: BackgroundSettings = DEFAULT) -> None:
    note = histograms_note(store, day, settings)
    store.write_day("level_histograms", day, level_histograms(store, day, settings), note)


def flag(store: Store, day: str, channels: tuple[int, int], seconds: tuple[int, int]) -> None:
    start = np.datetime64(day).astype("datetime64[ns]").astype(int)
    row = dict.fromkeys(SCHEMAS["anomaly_events"].names) | {
        "fibre": "north",
        "event_id": "a",
        "start": int(start + seconds[0] * 1_000_000_000),
        "end": int(start + seconds[1] * 1_000_000_000),
        "first_channel": channels[0],
        "last_channel": channels[1],
    }
    store.write_day("anomaly_events", day, pa.Table.from_pylist([row], SCHEMAS["anomaly_events"]))


SHARE = 0.005
"""Of a step: how closely `robust` tells median and MAD."""
TOLERANCE_DB = 0.25 * 2 * SHARE


def robust(levels: np.ndarray, step: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Return median and MAD of levels that are spread evenly over the step that they were rounded to."""
    frames = levels.reshape(-1, 1, levels.shape[-1]).astype(float)
    offsets = (np.arange(0.5 / SHARE) * 2 * SHARE - 0.5 + SHARE) * step
    frames = (frames + offsets[:, None]).reshape(-1, levels.shape[-1])
    median = np.median(frames, axis=0)
    return median, np.median(np.abs(frames - median), axis=0)


def table_row(table: pa.Table, row: int) -> tuple[np.ndarray, np.ndarray]:
    return stack(table["median_db"])[row], stack(table["mad_db"])[row]


@settings(deadline=None, max_examples=60)
@given(
    days=st.lists(st.lists(st.integers(-600, 900), min_size=1, max_size=40), min_size=1, max_size=5),
    step=st.sampled_from([0.25, 0.5, 0.05]),
)
def test_sketches_of_days_add_up_to_the_median_and_mad_of_all_levels(days: list[list[int]], step: float) -> None:
    levels = [np.array([day, day[::-1]], np.float64).T * step for day in days]
    total = Histogram.of(levels[0], step)
    for more in levels[1:]:
        total = total.plus(Histogram.of(more, step))
    for ours, theirs in zip(total.median_and_mad(step), robust(np.concatenate(levels), step), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2 * SHARE * step)
    without = total.plus(Histogram.of(levels[0], step), -1)
    assert without.frames == sum(len(x) for x in levels[1:])
    if levels[1:]:
        expected = robust(np.concatenate(levels[1:]), step)
        for ours, theirs in zip(without.median_and_mad(step), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2 * SHARE * step)


@pytest.mark.parametrize("step", [0.25, 0.5, 0.05])
def test_median_and_mad_are_those_of_levels_before_they_were_rounded(step: float) -> None:
    rng = np.random.default_rng(0)
    levels = 10 * np.log10(rng.gamma(2, 1, (40_000, 64))) * rng.uniform(0.5, 1.2, 64) + rng.normal(0, 5, 64)
    median = np.median(levels, axis=0)
    mad = np.median(np.abs(levels - median), axis=0)
    ours = Histogram.of(levels, step).median_and_mad(step)
    np.testing.assert_allclose(ours[0], median, atol=0.005 + 0.05 * step)
    np.testing.assert_allclose(ours[1], mad, rtol=0.002 + 0.05 * step)


def test_missing_frames_do_not_count() -> None:
    levels = np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 4.0]])
    assert Histogram.of(levels, 0.25).frames == 2
    assert Histogram.of(np.full((3, 2), np.nan), 0.25).frames == 0


@pytest.mark.parametrize("sketched", [True, False])
def test_flagged_stretches_of_earlier_days_are_left_out(tmp_path: Path, sketched: bool) -> None:
    store = Store(str(tmp_path))
    levels = write(store, "2026-01-05", 10.0)
    write(store, "2026-01-06", 20.0)
    if sketched:
        sketch(store, "2026-01-05")
    flag(store, "2026-01-05", (6, 9), (10, 25))
    flag(store, "2026-01-06", (5, 6), (0, 50))  # of the day itself: it is not known when its levels are measured
    table, note = background(store, "2026-01-06", DEFAULT)
    for row, kept in ((0, levels[0]), (1, np.delete(levels[1], np.s_[10:25], axis=0))):
        for ours, theirs in zip(table_row(table, row), robust(kept), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=TOLERANCE_DB)
    assert note["flagged"] == {"2026-01-05": 15.0}
    assert note["flagged_kept"] == []


def test_a_channel_that_is_always_flagged_keeps_its_levels(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    levels = write(store, "2026-01-05", 10.0)
    write(store, "2026-01-06", 20.0)
    flag(store, "2026-01-05", (6, 6), (0, 45))
    table, note = background(store, "2026-01-06", DEFAULT)
    np.testing.assert_allclose(table_row(table, 1)[0], robust(levels[1])[0], atol=TOLERANCE_DB)
    assert note["flagged_kept"] == [["north", 6]]


@pytest.mark.parametrize("sketched", [True, False])
def test_parts_of_the_day_have_their_own_reference_where_they_have_enough(tmp_path: Path, sketched: bool) -> None:
    store, classes = Store(str(tmp_path)), BackgroundSettings(hour_classes=4)
    n = 700
    for day, level in (("2026-01-05", 10.0), ("2026-01-06", 20.0)):
        rng = np.random.default_rng(3)
        x = np.round(rng.normal(level, 2, size=(n + 50, 2, 4)) * 4) / 4
        x[n:] += 30
        seconds = np.r_[np.arange(n), 43_200 + np.arange(50)]
        starts = (np.datetime64(day).astype("datetime64[s]").astype(int) + seconds) * 1_000_000_000
        note = {"settings": SMALL.model_dump(), "settings_digest": SMALL.digest()}
        store.write_day("spectrograms", day, rows_table("north", 5, starts, x.astype(np.float32)), note)
        if sketched:
            sketch(store, day, classes)
    table, note = background(store, "2026-01-06", classes)
    rng = np.random.default_rng(3)
    x = np.round(rng.normal(10.0, 2, size=(n + 50, 2, 4)) * 4) / 4
    x[n:] += 30
    median = table_row(table, 0)[0].reshape(4, 4)
    np.testing.assert_allclose(median[0], robust(x[:n])[0], atol=TOLERANCE_DB)
    np.testing.assert_allclose(median[1:], np.tile(robust(x)[0], (3, 1)), atol=TOLERANCE_DB)  # too little of these
    assert note["hour_classes"] == 4
    of_row = reference_rows(table_row(table, 0)[0], 4, np.array([3600, 50_000]) * 1_000_000_000)
    np.testing.assert_array_equal(of_row[:, 0], median[[0, 2]])


def test_a_sketch_of_levels_that_were_replaced_is_not_used(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write(store, "2026-01-05", 10.0)
    sketch(store, "2026-01-05")
    levels = write(store, "2026-01-05", 33.0)
    write(store, "2026-01-06", 20.0)
    table, _ = background(store, "2026-01-06", DEFAULT)
    np.testing.assert_allclose(table_row(table, 0)[0], robust(levels[0])[0], atol=TOLERANCE_DB)


def test_a_week_is_never_in_memory(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    channels = tuple(range(100))
    for d in range(1, 8):
        write(store, f"2026-01-0{d}", 10.0, channels, seconds=2000)
        sketch(store, f"2026-01-0{d}")
    one_day = 100 * 2000 * 2 * 4 * 4
    background(store, "2026-01-01", DEFAULT)
    peak = memory_of(lambda: background(store, "2026-01-07", DEFAULT)).peak
    assert peak < one_day


def test_an_empty_day_has_an_empty_background(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write(store, "2026-01-05", 10.0, channels=())
    sketch(store, "2026-01-05")
    table, _ = background(store, "2026-01-05", DEFAULT)
    assert table.num_rows == 0
    assert mismatch("background", table.schema) is None


def test_median_and_mad_are_those_of_the_earlier_days(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    before = [write(store, f"2026-01-0{d}", 10.0 + d) for d in (5, 6)]
    write(store, "2026-01-07", 90.0)
    table, note = background(store, "2026-01-07", BackgroundSettings())
    assert note["days"] == ["2026-01-05", "2026-01-06"]
    assert mismatch("background", table.schema) is None
    for ours, theirs in zip(table_row(table, 1), robust(np.concatenate([x[1] for x in before])), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE_DB)


def test_the_first_day_and_a_new_channel_are_their_own_reference(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    first = write(store, "2026-01-05", 10.0)
    table, note = background(store, "2026-01-05", BackgroundSettings())
    assert note["days"] == ["2026-01-05"]
    np.testing.assert_allclose(table_row(table, 0)[0], robust(first[0])[0], atol=TOLERANCE_DB)
    second = write(store, "2026-01-06", 40.0, channels=(6, 7))
    table, note = background(store, "2026-01-06", BackgroundSettings())
    assert note["own_reference"] == [["north", 7]]
    assert table["channel"].to_pylist() == [5, 6, 7]
    np.testing.assert_allclose(table_row(table, 2)[0], robust(second[1])[0], atol=TOLERANCE_DB)


@pytest.mark.parametrize("sketched", [True, False])
def test_a_day_on_which_a_channel_has_no_whole_frame_is_no_reference_of_it(tmp_path: Path, sketched: bool) -> None:
    store = Store(str(tmp_path))
    write(store, "2026-01-05", 10.0, missing=(6, 7))
    second = write(store, "2026-01-06", 20.0, channels=(5, 6, 7), missing=(7,))
    if sketched:
        sketch(store, "2026-01-05")
        sketch(store, "2026-01-06")
    table, note = background(store, "2026-01-06", DEFAULT)
    assert note["own_reference"] == [["north", 6]]
    assert table["channel"].to_pylist() == [5, 6]
    np.testing.assert_allclose(table_row(table, 1)[0], robust(second[1])[0], atol=TOLERANCE_DB)


def test_days_with_other_settings_are_no_reference(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write(store, "2026-01-05", 10.0, bands=8)
    write(store, "2026-01-06", 20.0)
    assert background(store, "2026-01-06", BackgroundSettings())[1]["days"] == ["2026-01-06"]


def test_the_look_back_is_bounded(tmp_path: Path) -> None:
    store, days = Store(str(tmp_path)), [f"2026-01-{d:02d}" for d in range(14, 20)]
    for day in days:
        write(store, day, 10.0)
    assert reference_days(store, "2026-01-19", BackgroundSettings(look_back_days=3)) == days[2:5]
    assert reference_days(store, "2026-01-14", BackgroundSettings(look_back_days=3)) == ["2026-01-14"]


def test_a_day_without_spectrograms_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingDayError, match="materialize spectrograms for 2026-01-05 first"):
        background(Store(str(tmp_path)), "2026-01-05", BackgroundSettings())


@pytest.mark.parametrize("sketched", [False, True])
def test_the_levels_of_a_day_are_its_own_whatever_is_usual(tmp_path: Path, sketched: bool) -> None:
    store = Store(str(tmp_path))
    write(store, "2026-01-05", 10)
    levels = write(store, "2026-01-06", 20)
    if sketched:
        sketch(store, "2026-01-06")
    table = day_levels(store, "2026-01-06", DEFAULT)
    assert mismatch("background", table.schema) is None
    assert table["channel"].to_pylist() == [5, 6]
    for row, own in enumerate(levels):
        for result, wanted in zip(table_row(table, row), robust(own), strict=True):
            np.testing.assert_allclose(result, wanted, atol=TOLERANCE_DB)


def test_parts_of_the_day_without_levels_are_nan(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    (levels,) = write(store, "2026-01-05", 10, channels=(5,))
    median, mad = table_row(day_levels(store, "2026-01-05", BackgroundSettings(hour_classes=4)), 0)
    np.testing.assert_allclose(median[:4], robust(levels)[0], atol=TOLERANCE_DB)
    assert np.isnan(median[4:]).all()
    assert np.isnan(mad[4:]).all()
