"""Tables meet by time and channel, what is missing stays missing, and the loudest survives shrinking."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.comparison.pyramid import DAY_SECONDS, TILE_CHANNELS, power_codes, tiles_of
from dasanom_assets.comparison.their_alarms import rows_of_table
from dasanom_assets.comparison.waterfall import (
    MAX_CHANNELS,
    SECOND_NS,
    Waterfall,
    colour_range,
    day_panels,
    masked,
    shrink,
)
from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.tables.schemas import SCHEMAS, TIME, vector
from dasanom_assets.tables.store import MissingDayError, Store

DAY = "2026-01-05"
START = int(np.datetime64(DAY).astype("datetime64[ns]").astype(int))
FEW = settings(deadline=None, max_examples=40)


def stretches(channel: list[int], start: list[float], end: list[float], fibre: str = "north") -> pa.Table:
    def time(v: list[float]) -> pa.Array:
        ns = START + np.rint(np.array(v, float) * SECOND_NS).astype(np.int64)
        return pa.array(ns, pa.int64()).cast(TIME)

    columns = {"fibre": pa.array([fibre] * len(channel), pa.string()), "channel": pa.array(channel, pa.int32())}
    return pa.table(columns | {"start": time(start), "end": time(end)})


def spectra(fibre: str, channel: int, seconds: np.ndarray, levels: np.ndarray) -> pa.Table:
    n = len(seconds)
    table = stretches([channel] * n, list(seconds), list(seconds + 1), fibre)
    return table.append_column("power_db", vector(levels, 2 * 4))


def flat(channels: list[int], seconds: int, fibre: str = "north") -> Waterfall:
    values = np.arange(len(channels) * seconds, dtype=np.float32).reshape(len(channels), seconds)
    return Waterfall(fibre, np.array(channels, np.int32), START + np.arange(seconds) * SECOND_NS, values)


def tiles(fibre: str, codes: dict[int, list[int]]) -> list[pa.Table]:
    """Rows of `waterfalls` of a fibre: bytes of the first seconds of some channels, 1 to 255."""
    first, cells = min(codes), np.zeros((TILE_CHANNELS, DAY_SECONDS), np.uint8)
    for channel, own in codes.items():
        cells[channel - first, : len(own)] = own
    block = (fibre, first, first + TILE_CHANNELS)
    return [*tiles_of(cells, DAY, "power", block, 1), *tiles_of(cells // 2, DAY, "ours", block, 1)]


def footer(fibre: str, channel: int, seconds: int) -> pa.Table:
    return spectra(fibre, channel, np.arange(seconds), np.zeros((seconds, 2, 4), np.float32))


USUAL = 17
"""The byte of what is usual; a spread more is 8 more."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two fibres; on ``north`` channels 5, 7 and 8 (6 does not exist), a gap, and a loud second."""
    small, store = SpectrogramSettings(bands=4, hop_seconds=0.5), Store(str(tmp_path))
    north = {5: [USUAL] * 4 + [0] * 16 + [USUAL] * 4, 7: [0, 0] + [USUAL] * 8, 8: [0] * 24}
    north[5][3], north[5][21] = USUAL + 48, USUAL + 16
    tables = [footer("north", channel, 24) for channel in north]
    tables.append(footer("south", 5, 8))
    store.write_day("spectrograms", DAY, iter(tables), {"settings": small.model_dump()})
    rows = [SCHEMAS["waterfalls"].empty_table(), *tiles("north", north), *tiles("south", {5: [USUAL - 8] * 8})]
    store.write_day("waterfalls", DAY, iter(rows))
    return store


def test_power_is_that_of_the_pyramid_and_gaps_stay_gaps(store: Store) -> None:
    north, south = (panels.power for panels in day_panels(store, DAY, rows_of_table(stretches([], [], [])), None))
    assert (north.fibre, south.fibre) == ("north", "south")
    assert north.channels.tolist() == [5, 6, 7, 8]
    np.testing.assert_array_equal(north.start_ns, START + np.arange(24) * SECOND_NS)
    there = [0, 1, 2, 3, 20, 21, 22, 23]
    assert north.values[0, there].tolist() == [0, 0, 0, 6, 0, 2, 0, 0]
    assert np.isnan(np.delete(north.values[0], there)).all()
    assert np.isnan(north.values[1]).all()  # there is no channel 6
    assert np.flatnonzero(np.isfinite(north.values[2])).tolist() == list(range(2, 10))
    assert np.isnan(north.values[3]).all()  # nothing of it can be used
    np.testing.assert_array_equal(south.values, np.full((1, 8), -1.0))


def test_a_day_without_waterfalls_says_what_to_do(store: Store) -> None:
    store.drop_day("waterfalls", DAY)
    with pytest.raises(MissingDayError, match="materialize waterfalls"):
        day_panels(store, DAY, rows_of_table(stretches([], [], [])), None)


def test_channels_of_several_blocks_have_their_power(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    codes = {(fibre, 100 + 256 * k): k + 1 for fibre in ("north", "south") for k in range(3)}
    parts = [part for (fibre, channel), own in codes.items() for part in tiles(fibre, {channel: [own] * 3000})]
    store.write_day("waterfalls", DAY, iter([SCHEMAS["waterfalls"].empty_table(), *parts]))
    power = {(fibre, channel): code for fibre, channel, code in power_codes(store, DAY)}
    assert list(power) == list(codes)
    for key, own in codes.items():
        assert power[key][:3000].tolist() == [own] * 3000
        assert not power[key][3000:].any()


def test_panels_hold_what_each_side_flags_and_cells_the_loudest_of_what_they_cover(store: Store) -> None:
    ours = rows_of_table(stretches([5, 7], [3, 4], [4, 6]))
    theirs = rows_of_table(stretches([5, 8], [20, 0], [22, 8]))
    north = day_panels(store, DAY, ours, theirs)[0]
    assert north.contractor is not None
    assert np.argwhere(np.isfinite(north.us.values)).tolist() == [[0, 3], [2, 4], [2, 5]]
    assert np.argwhere(np.isfinite(north.contractor.values)).tolist() == [[0, 20], [0, 21]]
    small = day_panels(store, DAY, ours, theirs, max_channels=2, max_seconds=5)[0]
    assert small.power.values.shape == (2, 5)
    assert (small.power.channel_step, small.power.step_ns) == (2, 5 * SECOND_NS)
    assert small.power.values[0, 0] == 6
    assert small.us.values[0].tolist()[0] == 6
    assert day_panels(store, DAY, ours, None)[0].contractor is None


def test_several_fibres_share_the_rows_of_a_page(tmp_path: Path) -> None:
    small, store = SpectrogramSettings(bands=4, hop_seconds=0.5), Store(str(tmp_path))
    fibres = ("east", "north", "west")
    tables = [footer(fibre, channel, 8) for fibre in fibres for channel in range(300)]
    store.write_day("spectrograms", DAY, iter(tables), {"settings": small.model_dump()})
    parts = [part for fibre in fibres for part in tiles(fibre, {c: [USUAL] * 8 for c in range(256)})]
    store.write_day("waterfalls", DAY, iter(parts))
    panels = day_panels(store, DAY, rows_of_table(stretches([], [], [])), None)
    assert [of_fibre.power.fibre for of_fibre in panels] == list(fibres)
    assert sum(len(of_fibre.power.values) for of_fibre in panels) <= MAX_CHANNELS
    few = day_panels(store, DAY, rows_of_table(stretches([], [], [])), None, max_channels=60)
    assert [len(of_fibre.power.values) for of_fibre in few] == [38] * 3  # 300 channels, 8 to a row of 40 at most


def test_rows_of_a_fifth_of_a_second_mark_the_second_they_lie_in() -> None:
    shown = masked(flat([5, 7, 8], 10), stretches([7, 7], [3.0, 5.8], [3.2, 6.0]))
    assert np.argwhere(np.isfinite(shown.values)).tolist() == [[1, 3], [1, 5]]
    assert shown.values[1, 3] == 13.0


def test_rows_of_other_places_and_times_mark_nothing() -> None:
    waterfall = flat([5, 7], 10)
    elsewhere = stretches([6, 900, 5, 5], [1, 1, -3, 10], [2, 2, 0, 12])
    assert np.isnan(masked(waterfall, elsewhere).values).all()
    assert np.isnan(masked(waterfall, stretches([5], [1], [2], "south")).values).all()
    assert np.isnan(masked(waterfall, stretches([], [], [])).values).all()


@FEW
@given(
    st.lists(
        st.tuples(st.integers(3, 9), st.integers(-10, 80), st.integers(1, 60)),
        max_size=12,
    )
)
def test_a_cell_is_shown_where_any_row_overlaps_it(rows: list[tuple[int, int, int]]) -> None:
    """Against the definition, cell by cell; times in tenths of a second."""
    waterfall = flat([4, 5, 8], 8)
    table = stretches(
        [c for c, _, _ in rows], [s / 10 for _, s, _ in rows], [(s + length) / 10 for _, s, length in rows]
    )
    expected = [
        [
            any(c == channel and s < (second + 1) * 10 and s + length > second * 10 for c, s, length in rows)
            for second in range(8)
        ]
        for channel in (4, 5, 8)
    ]
    np.testing.assert_array_equal(np.isfinite(masked(waterfall, table).values), expected)


@FEW
@given(st.integers(1, 60), st.integers(1, 300), st.integers(1, 20), st.integers(1, 50), st.integers(0, 2**31))
def test_shrinking_keeps_the_loudest_and_its_place(
    n_channels: int, n_seconds: int, max_channels: int, max_seconds: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    channels = np.sort(rng.choice(np.arange(50, 250), n_channels, replace=False)).astype(np.int32)
    values = rng.normal(size=(n_channels, n_seconds)).astype(np.float32)
    values[rng.uniform(size=values.shape) < 0.3] = np.nan
    big = Waterfall("north", channels, START + np.arange(n_seconds) * SECOND_NS, values)
    small = shrink(big, max_channels, max_seconds)
    assert small.values.shape == (len(small.channels), len(small.start_ns))
    assert small.values.shape[0] <= max_channels
    assert small.values.shape[1] <= max_seconds
    expected = np.full(small.values.shape, np.nan, np.float32)
    for channel, row in zip(channels, values, strict=True):
        i = (channel - channels[0]) // small.channel_step
        for second, value in enumerate(row):
            j = second * SECOND_NS // small.step_ns
            expected[i, j] = np.fmax(expected[i, j], value)
    np.testing.assert_array_equal(small.values, expected)
    np.testing.assert_array_equal(np.diff(small.channels), small.channel_step)
    np.testing.assert_array_equal(np.diff(small.start_ns), small.step_ns)


def test_a_full_day_becomes_pairs_of_minutes_and_absent_channels_stay_blank() -> None:
    values = np.zeros((3, 86_400), np.float32)
    day = Waterfall("north", np.array([0, 1, 4000], np.int32), START + np.arange(86_400) * SECOND_NS, values)
    small = shrink(day)
    assert small.step_ns == 120 * SECOND_NS
    assert small.values.shape == (191, 720)
    assert small.channel_step == 21
    assert np.flatnonzero(np.isfinite(small.values[:, 0])).tolist() == [0, 190]


def test_a_small_waterfall_is_not_changed() -> None:
    waterfall = flat([5, 6, 7], 20)
    np.testing.assert_array_equal(shrink(waterfall).values, waterfall.values)


def test_colours_span_the_levels_of_all_fibres_and_never_less_than_6_db() -> None:
    quiet, loud = flat([1], 1000), flat([1], 1000)
    quiet.values[:] = np.linspace(-1, 1, 1000)
    assert colour_range([quiet]) == (-1.0, 5.0)
    loud.values[:] = np.linspace(10, 30, 1000)
    assert colour_range([quiet, loud]) == (-1.0, 30.0)
    loud.values[:] = np.nan
    assert colour_range([loud]) == colour_range([]) == (0.0, 6.0)
