"""Windows are views, line up, never span a gap, and whitening is what its formula says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dasanom_assets.settings import BackgroundSettings, WindowSettings
from dasanom_assets.spectrograms.windows import SECOND_NS, WindowBank, usable_rows, whiten, window_rows


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
    assert list(usable_rows(rows)) == [True, False, False, True]
