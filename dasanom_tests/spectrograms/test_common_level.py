"""What most channels share is their median, second by second; what few channels have stays theirs."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import ndimage

from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms import common_level
from dasanom_assets.spectrograms.common_level import LEAST, SAMPLED, common_levels
from dasanom_assets.spectrograms.hours import rows_table
from dasanom_assets.spectrograms.whitening import white_day
from dasanom_assets.tables.schemas import SCHEMAS, empty, mismatch, stack, vector
from dasanom_assets.tables.store import Store

DAY = "2026-01-05"
START = int(np.datetime64(DAY, "ns").astype(np.int64))
SECOND = 1_000_000_000
GRID = SpectrogramSettings(hop_seconds=0.5, bands=3)
SETTINGS = BackgroundSettings(own_spread=False)


def levels(channels: int, seconds: int = 60) -> np.ndarray:
    """Whitened levels: noise of each channel, and a wave that all of them share."""
    rng = np.random.default_rng(channels)
    shared = 2 * np.sin(np.arange(seconds) / 9)[:, None, None]
    return (shared + rng.normal(0, 0.5, (channels, seconds, 2, 3))).astype(np.float32)


def write(
    store: Store,
    white: np.ndarray,
    first: int = 100,
    fibre: str = "north",
    states: dict[int, str] | None = None,
    seconds: np.ndarray | None = None,
    numbers: np.ndarray | None = None,
) -> None:
    """Write a day whose background is 0 dB, with such a MAD that a level of 1 dB is 1 in whitened units."""
    n = len(white)
    numbers = first + np.arange(n) if numbers is None else numbers
    second = np.arange(white.shape[1]) if seconds is None else seconds
    note = {"settings": GRID.model_dump(mode="json"), "settings_digest": GRID.digest()}
    rows = [rows_table(fibre, j, START + second * SECOND, x) for j, x in zip(numbers, white, strict=True)]
    store.write_day("spectrograms", DAY, iter(rows), note)
    mad = np.full((n, 3), (1 - SETTINGS.scale_floor_db) / 1.4826, np.float32)
    channel = pa.array(numbers.astype(np.int32))
    names = pa.array([fibre] * n)
    usual = {"fibre": names, "channel": channel, "median_db": vector(0 * mad), "mad_db": vector(mad)}
    store.write_day("background", DAY, pa.table(usual))
    health = [
        dict.fromkeys(SCHEMAS["channel_health"].names, 0.0)
        | {"fibre": fibre, "channel": int(j), "state": (states or {}).get(int(j), "ok")}
        for j in numbers
    ]
    store.write_day("channel_health", DAY, pa.Table.from_pylist(health, SCHEMAS["channel_health"]))
    store.write_day("clipped_seconds", DAY, empty("clipped_seconds"))


def found(store: Store, settings: BackgroundSettings = SETTINGS) -> list[pa.Table]:
    tables = list(common_levels(store, DAY, settings))
    assert all(mismatch("common_levels", table.schema) is None for table in tables)
    store.write_day("common_levels", DAY, iter(tables))
    return [table for table in tables if table.num_rows]


def smooth(median: np.ndarray, seconds: int = SETTINGS.common_seconds) -> np.ndarray:
    return ndimage.uniform_filter1d(median, seconds, axis=0, mode="nearest")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.mark.parametrize("hour", [3600, 25])
def test_it_is_the_median_over_channels_of_the_means_of_a_second(
    store: Store, hour: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common_level, "HOUR", hour)
    white = levels(20)
    write(store, white)
    (table,) = found(store)
    wanted = smooth(np.median(white.mean(axis=2), axis=0))
    np.testing.assert_allclose(stack(table["level"]), wanted, atol=4e-3)  # kept in half precision
    assert set(table["first_channel"].to_pylist()) == {100}
    assert set(table["last_channel"].to_pylist()) == {119}
    start, end = (table[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    np.testing.assert_array_equal(start, START + np.arange(60) * SECOND)
    np.testing.assert_array_equal(end, start + SECOND)


def test_of_many_channels_some_that_lie_evenly_are_enough(store: Store) -> None:
    white = levels(5 * SAMPLED)
    write(store, white)
    (table,) = found(store)
    all_of_them = smooth(np.median(white.mean(axis=2), axis=0))
    sample = smooth(np.median(white[2::5].mean(axis=2), axis=0))  # the middle one of each five
    np.testing.assert_allclose(stack(table["level"]), sample, atol=4e-3)
    np.testing.assert_allclose(stack(table["level"]), all_of_them, atol=0.3)


def test_a_long_fibre_is_cut_into_stretches_none_of_them_short(store: Store) -> None:
    write(store, levels(50, 10))
    tables = found(store, BackgroundSettings(common_channels=20, own_spread=False))
    spans = [(t["first_channel"][0].as_py(), t["last_channel"][0].as_py()) for t in tables]
    assert spans == [(100, 124), (125, 149)]


@pytest.mark.parametrize(
    ("zones", "spans"),
    [
        ([(100, 147), (4000, 4047)], [(100, 147), (4000, 4047)]),
        ([(100, 119), (4000, 4039)], [(100, 119), (4000, 4019), (4020, 4039)]),
        ([(100, 109), (130, 139)], [(100, 139)]),  # neither alone has channels enough
        ([(100, 109), (4000, 4019)], [(4000, 4019)]),
    ],
)
def test_zones_have_a_level_each(store: Store, zones: list[tuple[int, int]], spans: list[tuple[int, int]]) -> None:
    numbers = np.concatenate([np.arange(first, last + 1) for first, last in zones])
    write(store, levels(len(numbers), 10), numbers=numbers)
    common = 20 if len(spans) == 3 else 200
    tables = found(store, BackgroundSettings(common_channels=common, own_spread=False))
    assert [(t["first_channel"][0].as_py(), t["last_channel"][0].as_py()) for t in tables] == spans


def test_every_second_channel_is_no_gap(store: Store) -> None:
    write(store, levels(40, 10), numbers=100 + 2 * np.arange(40))
    (table,) = found(store, BackgroundSettings(common_channels=20, own_spread=False))[:1]
    assert table["last_channel"][0].as_py() == 138


@pytest.mark.parametrize(("channels", "dead"), [(LEAST - 1, 0), (LEAST + 3, 4)])
def test_with_few_channels_nothing_is_taken_off(store: Store, channels: int, dead: int) -> None:
    write(store, levels(channels), states={100 + j: "dead" for j in range(dead)})
    assert found(store) == []
    for channel in white_day(store, DAY, SETTINGS, WindowSettings()):
        np.testing.assert_allclose(channel.rows, levels(channels)[channel.channel - 100], atol=1e-5)


def test_it_is_switched_off_by_no_channels(store: Store) -> None:
    write(store, levels(20))
    assert found(store, BackgroundSettings(common_channels=0)) == []


def test_sick_channels_do_not_count(store: Store) -> None:
    white = levels(30)
    white[:10] = 14.0
    write(store, white, states={100 + j: ("dead", "saturated")[j % 2] for j in range(10)})
    (table,) = found(store)
    wanted = smooth(np.median(white[10:].mean(axis=2), axis=0))
    np.testing.assert_allclose(stack(table["level"]), wanted, atol=4e-3)


def test_a_gap_in_time_is_no_neighbour_to_smooth_with(store: Store) -> None:
    white = levels(20)
    white[:, 30:] += 8
    second = np.r_[np.arange(30), 100 + np.arange(30)]
    write(store, white, seconds=second)
    (table,) = found(store)
    median = np.median(white.mean(axis=2), axis=0)
    wanted = np.concatenate([smooth(median[:30]), smooth(median[30:])])
    np.testing.assert_allclose(stack(table["level"]), wanted, atol=1e-2)
    np.testing.assert_array_equal(table["start"].cast(pa.int64()).to_numpy(), START + second * SECOND)


def test_an_event_on_few_channels_survives_and_what_all_share_does_not(store: Store) -> None:
    white = levels(40)
    white[10:14, 20:30] += 6
    write(store, white)
    found(store)
    rows = np.stack([c.rows for c in white_day(store, DAY, SETTINGS, WindowSettings())])
    event = rows[10:14, 20:30].mean()
    assert event == pytest.approx(6, abs=0.3)
    quiet = np.delete(rows, np.arange(10, 14), axis=0).mean(axis=(0, 2, 3))
    assert np.abs(quiet).max() < 0.6  # the wave of 2, less what the mean over 5 s smooths away
    assert np.abs(white[14:].mean(axis=(0, 2, 3))).max() > 1.9
