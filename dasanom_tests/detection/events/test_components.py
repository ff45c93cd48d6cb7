"""Rows form components as their cells do on a grid, whatever the order and the extent of the rows."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from dasanom_assets.detection.events import components as module
from dasanom_assets.detection.events.basins import basins
from dasanom_assets.detection.events.components import STEPS_APART, apart, components, links, members
from dasanom_assets.tables.schemas import TIME

STEP = 1_000_000_000


def rows(channel: np.ndarray, step: np.ndarray, fibre: str | list[str] = "north") -> pa.Table:
    return pa.table(
        {
            "fibre": pa.array([fibre] * len(channel) if isinstance(fibre, str) else fibre, pa.string()),
            "channel": pa.array(channel, pa.int32()),
            "start": pa.array(np.asarray(step, np.int64) * STEP, pa.int64()).cast(TIME),
        }
    )


@settings(deadline=None, max_examples=60)
@given(arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 12))), st.integers(0, 9))
def test_neighbours_by_side_or_corner_are_one_component(cells: np.ndarray, seed: int) -> None:
    expected, n = ndimage.label(cells, np.ones((3, 3)))
    channel, step = np.nonzero(cells)
    shuffled = np.random.default_rng(seed).permutation(len(channel))
    channel, step = channel[shuffled], step[shuffled]
    labels = components(rows(channel + 100, step), int(STEPS_APART * STEP))
    assert labels.max(initial=-1) + 1 == n
    pairs = set(zip(labels, expected[channel, step], strict=True))
    assert len(pairs) == n
    for number, position in enumerate(members(labels)):
        assert set(labels[position]) == {number}


@settings(deadline=None, max_examples=60)
@given(arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 15))), st.integers(1, 5))
def test_reach_joins_whatever_is_no_further_apart_in_time(cells: np.ndarray, reach: int) -> None:
    channel, step = np.nonzero(cells)
    labels = components(rows(channel, step), reach * STEP)
    near = (np.abs(np.subtract.outer(channel, channel)) <= 1) & (np.abs(np.subtract.outer(step, step)) <= reach)
    joined = near
    for _ in range(len(channel)):
        joined = (joined @ near) > 0
    np.testing.assert_array_equal(np.equal.outer(labels, labels), joined)


def test_fibres_stay_apart_and_far_channels_cost_nothing() -> None:
    table = rows([7, 7, 8, 2_000_000], [0, 0, 1, 0], ["north", "south", "south", "south"])
    assert sorted(len(position) for position in members(components(table, STEP))) == [1, 1, 2]
    assert members(components(table.slice(0, 0), STEP)) == []


@settings(deadline=None, max_examples=60)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(1, 30), st.integers(1, 3))
def test_parts_hold_whole_components(cells: np.ndarray, at_once: int, group: int) -> None:
    channels = [group * c for c in range(len(cells))]
    tables = [
        rows(np.full(line.sum(), c), np.flatnonzero(line), fibre)
        for fibre in ("north", "south")
        for c, line in zip(channels, cells, strict=True)
    ]
    whole, reach = pa.concat_tables(tables), int(STEPS_APART * STEP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS_AT_ONCE", at_once)
        parts = list(apart(tables, reach, group))

    def of(table: pa.Table) -> set[frozenset[tuple]]:
        keys = list(zip(*table.to_pydict().values(), strict=True))
        return {frozenset(keys[i] for i in of_one) for of_one in members(components(table, reach, group))}

    assert sum(len(part) for part in parts) == len(whole)
    assert set[frozenset[tuple]]().union(*map(of, parts)) == of(whole)


def test_channels_must_ascend_from_table_to_table() -> None:
    with pytest.raises(ValueError, match="comes after"):
        list(apart([rows([8], [0]), rows([7], [0])], STEP))


def numbered(cells: np.ndarray, share: float) -> np.ndarray:
    """Number the peaks of a grid, as `basins` does of its cells that are above 0."""
    channel, step = np.nonzero(cells)
    pairs = links(rows(channel, step), int(STEPS_APART * STEP))
    return basins(cells[channel, step].astype(float), pairs, share)


@pytest.mark.parametrize(("saddle", "n"), [(4.9, 2), (5.0, 1), (0.0, 2)])
def test_two_hills_are_two_where_the_way_between_falls_below_half_of_the_lower(saddle: float, n: int) -> None:
    hills = np.array([[1, 6, 16, 7, saddle, 8, 10, 3]])
    labels = numbered(hills, 0.5)
    assert labels.max() + 1 == n
    if saddle:
        assert labels[4] == labels[3]  # the valley goes with the higher side
    if n == 2:
        assert labels.tolist() == [labels[0]] * (4 + (saddle > 0)) + [labels[-1]] * 3


def test_a_plateau_is_one_and_shares_of_0_and_1_join_all_and_none() -> None:
    assert numbered(np.full((4, 9), 3.0), 1.0).max() == 0
    grid = np.random.default_rng(0).uniform(1, 9, (6, 20))
    assert numbered(grid, 0.0).max() == 0
    peaks = (grid == ndimage.maximum_filter(grid, 3)).sum()
    assert numbered(grid, 1.0).max() + 1 == peaks


def persistent(height: np.ndarray, near: np.ndarray, share: float) -> np.ndarray:
    """Row of the peak that each row goes with: level after level is flooded down, and what meets may merge."""
    peak_of = np.full(len(height), -1)
    for position in np.argsort(-height, kind="stable"):
        peaks = {int(peak_of[other]) for other in np.flatnonzero(near[position]) if peak_of[other] >= 0}
        if not peaks:
            peak_of[position] = position
            continue
        best = max(peaks, key=lambda peak: height[peak])
        peak_of[position] = best
        for peak in peaks - {best}:
            if height[position] >= share * height[peak]:
                peak_of[peak_of == peak] = best
    return peak_of


@settings(deadline=None, max_examples=80)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 12)),
    share=st.sampled_from([0.3, 0.5, 0.8]),
    seed=st.integers(0, 10_000),
)
def test_peaks_are_those_of_brute_force_whatever_the_order_of_rows(
    shape: tuple[int, int], share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    cells = rng.permutation(np.prod(shape)).reshape(shape) + 1.0
    cells[rng.random(shape) < 0.3] = 0
    channel, step = np.nonzero(cells)
    height = cells[channel, step]
    near = (np.abs(np.subtract.outer(channel, channel)) <= 1) & (np.abs(np.subtract.outer(step, step)) <= 1)
    wanted = persistent(height, near & ~np.eye(len(height), dtype=bool), share)
    labels = numbered(cells, share)
    # A peak is a peak for both; a row of a slope between two may go either way.
    tops = np.unique(wanted)
    assert labels.max(initial=-1) + 1 == len(tops)
    assert len(set(labels[tops])) == len(tops)
    assert sorted(set(labels)) == list(range(len(tops)))
    order = rng.permutation(len(channel))
    pairs = links(rows(channel[order], step[order]), int(STEPS_APART * STEP))
    again = basins(height[order], pairs, share)
    assert len(set(zip(again, labels[order], strict=True))) == len(tops)


def test_fibres_are_apart_and_no_row_is_no_peak() -> None:
    table = rows([7, 7, 8], [0, 0, 1], ["north", "south", "south"])
    assert len(set(basins(np.ones(3), links(table, STEP), 0.5))) == 2
    assert basins(np.empty(0), links(table.slice(0, 0), STEP), 0.5).shape == (0,)
