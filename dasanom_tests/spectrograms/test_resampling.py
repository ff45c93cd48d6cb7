"""Resampling is true to area."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.spectrograms.resampling import area_shares


@settings(deadline=None)
@given(cells=st.integers(1, 40), pixels=st.integers(1, 70))
def test_resampling_is_true_to_area(cells: int, pixels: int) -> None:
    edges = np.linspace(0, cells, pixels + 1)
    shares = area_shares(np.arange(cells), np.arange(1, cells + 1), edges)
    values = np.random.default_rng(cells).normal(size=cells)
    integral = np.interp(edges, np.arange(cells + 1), np.concatenate([[0], np.cumsum(values)]))
    np.testing.assert_allclose(shares @ values, np.diff(integral) / np.diff(edges), atol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert (shares @ values).mean() == pytest.approx(values.mean(), abs=1e-5)  # nothing is lost
    if cells == pixels:
        np.testing.assert_allclose(shares, np.eye(cells), atol=1e-6)
