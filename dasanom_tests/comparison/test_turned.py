"""Rows that come by time are those of their channels, whatever the pieces they come in."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.comparison.turned import Turned


@settings(deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(0, 29), st.integers(1, 9), st.integers(0, 2)), max_size=6),
    st.integers(0, 9),
)
def test_rows_are_those_that_were_given(channels: int, rows: int, pieces: list, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = np.full((channels, rows, 3), np.nan, np.float32)
    with Turned(channels, rows, 3) as turned:
        for first, n, column in pieces:
            n, width = min(n, rows - first), int(rng.integers(1, 4 - column))
            if n <= 0:
                continue
            own = np.sort(rng.choice(channels, int(rng.integers(1, channels + 1)), replace=False))
            values = rng.normal(size=(n, len(own), width)).astype(np.float32)
            values[rng.random(values.shape) < 0.2] = np.nan
            turned.add(first, own, values, column)
            whole[own, first : first + n, column : column + width] = values.swapaxes(0, 1)
        for channel in range(channels):
            np.testing.assert_array_equal(turned.of(channel), whole[channel])
