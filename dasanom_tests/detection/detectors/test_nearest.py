"""The nearest points are those of scikit-learn's brute force, whatever their number, type and ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from dasanom_assets.detection.detectors.nearest import GROUP, QUERIES, Nearest


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 5 * GROUP),
    m=st.integers(0, 2 * QUERIES),
    d=st.integers(1, 20),
    share=st.floats(0, 1),
    kind=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 99),
)
def test_nearest_are_those_of_scikit_learn(
    n: int, m: int, d: int, share: float, kind: type[np.floating], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points, queries = (rng.normal(size=(rows, d)).astype(kind) for rows in (n, m))
    k = max(1, round(share * n))
    distance, which = Nearest(points)(queries, k)
    assert distance.dtype == kind
    assert distance.shape == which.shape == (m, k)
    if not m:
        return
    wanted, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points).kneighbors(queries)
    np.testing.assert_allclose(distance, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(queries[:, None] - points[which], axis=2), distance, rtol=1e-4)
    assert all(len(set(row)) == k for row in which.tolist())


def test_coincident_points_are_all_there() -> None:
    points = np.repeat(np.float64([[1.0], [0.0], [2.0]]), GROUP, axis=0)
    distance, which = Nearest(points)(np.zeros((1, 1)), 2 * GROUP)
    assert sorted(which[0, :GROUP]) == [*range(GROUP, 2 * GROUP)]
    assert not distance[0, :GROUP].any()
    assert which[0, GROUP:].max() < GROUP


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_query_has_the_same_neighbours_whatever_others_come_with_it(kind: type[np.floating]) -> None:
    rng = np.random.default_rng(0)
    index = Nearest(rng.normal(size=(500, 7)).astype(kind))
    queries = rng.normal(size=(3 * QUERIES + 5, 7)).astype(kind)
    together = index(queries, 5)
    for i in (0, QUERIES - 1, QUERIES, len(queries) - 1):
        alone = index(queries[i : i + 1], 5)
        assert all(np.array_equal(a[0], b[i]) for a, b in zip(alone, together, strict=True))
