"""Rows form components as their cells do on a grid, whatever the order and the extent of the rows."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from dasanom_assets.detection.components import SLACK, components, members
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
    labels = components(rows(channel + 100, step), int(SLACK * STEP))
    assert labels.max(initial=-1) + 1 == n
    pairs = set(zip(labels, expected[channel, step], strict=True))
    assert len(pairs) == n
    for number, at in enumerate(members(labels)):
        assert set(labels[at]) == {number}


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
    assert sorted(len(at) for at in members(components(table, STEP))) == [1, 1, 2]
    assert members(components(table.slice(0, 0), STEP)) == []
