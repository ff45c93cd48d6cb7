"""Windows placed in the clusters of the reference, equal to hdbscan's own."""

import json
from collections.abc import Callable

import hdbscan
import numpy as np
import pytest
from safetensors.numpy import load, save

from dasanom_assets.detection.detectors.clusters import BLOCK_WINDOWS, Clusters, assign, refit
from dasanom_tests.memory import memory_of


def parameters(min_cluster_size: int, min_samples: int, method: str = "eom", *, single: bool = False) -> dict:
    return {
        "min_cluster_size": min_cluster_size,
        "min_samples": min_samples,
        "cluster_selection_method": method,
        "allow_single_cluster": single,
    }


def blobs(n: int = 900, d: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(n // 2, d)), rng.normal(size=(n // 3, d)) * 0.6 + 4, rng.uniform(-9, 9, (n // 6, d))]
    return np.concatenate(parts).astype(np.float32)


def new_points(seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    near = blobs(600, seed=seed)
    return np.concatenate([near, rng.uniform(-30, 30, (50, near.shape[1])).astype(np.float32), blobs()[:40]])


def tight(n: int, seed: int) -> np.ndarray:
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    centres = fixed.normal(size=(6, 8)) * 6
    return (centres[rng.integers(0, 6, n)] + 0.3 * rng.normal(size=(n, 8))).astype(np.float32)


def overlapping(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centre = rng.integers(0, 3, n)[:, None] * 2.5
    return (centre + rng.standard_t(4, size=(n, 8))).astype(np.float32)


@pytest.mark.parametrize("draw", [tight, overlapping])
@pytest.mark.parametrize("single", [False, True])
def test_tight_and_overlapping_clusters_are_those_of_hdbscan(draw: Callable, single: bool) -> None:
    clusters = refit(draw(1200, 1), parameters(30, 10, single=single))
    new = np.concatenate([draw(500, 2), 10 * draw(50, 3)])
    label, probability, score = assign(clusters, new)
    scaled = clusters.scaled(new)
    glosh = hdbscan.approximate_predict_scores(clusters.fitted, scaled)
    np.testing.assert_allclose(score, glosh, atol=1e-6)
    if clusters.n_clusters > 1:  # of one without parts hdbscan gives noise
        theirs, strength = hdbscan.approximate_predict(clusters.fitted, scaled)
        np.testing.assert_array_equal(label, theirs)
        np.testing.assert_allclose(probability, strength, atol=1e-6)


def test_memory_is_bounded_by_a_block_however_many_windows_are_placed() -> None:
    clusters = refit(tight(2000, 1), parameters(30, 10))
    assign(clusters, tight(10, 2))  # compiles, builds what is kept
    points = tight(40 * BLOCK_WINDOWS, 2)
    growth = memory_of(lambda: assign(clusters, points))
    assert growth.peak < 30e6


def test_what_is_not_finite_has_no_place() -> None:
    points = tight(20, 1)
    points[3, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        assign(refit(tight(200, 1), parameters(20, 5)), points)


@pytest.mark.parametrize(
    "chosen",
    [
        parameters(20, 5),
        parameters(60, 15, single=True),
        parameters(6, 3, "leaf"),
    ],
)
def test_new_windows_get_what_hdbscan_gives_them(chosen: dict) -> None:
    clusters = refit(blobs(), chosen)
    new = new_points()
    label, probability, score = assign(clusters, new)
    theirs, strength = hdbscan.approximate_predict(clusters.fitted, clusters.scaled(new))
    glosh = hdbscan.approximate_predict_scores(clusters.fitted, clusters.scaled(new))
    np.testing.assert_array_equal(label, theirs)
    np.testing.assert_allclose(probability, strength, atol=1e-6)
    np.testing.assert_allclose(score, glosh, atol=1e-6)


@pytest.mark.parametrize("chosen", [parameters(20, 5), parameters(60, 15, single=True), parameters(401, 5)])
def test_clusters_are_restored_without_another_fit(chosen: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    clusters = refit(blobs(), chosen)
    tensors, values = clusters.state()
    monkeypatch.setattr(hdbscan, "HDBSCAN", None)
    again = Clusters.restore(load(save(tensors)), json.loads(json.dumps(values)))
    assert again.n_clusters == clusters.n_clusters
    for ours, theirs in zip(assign(clusters, new_points()), assign(again, new_points()), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_where_there_is_no_cluster_outlier_scores_still_order_windows() -> None:
    points = blobs(120)
    clusters = refit(points, parameters(119, 5))
    assert clusters.n_clusters == 0
    label, probability, score = assign(clusters, new_points())
    assert set(label) == {-1}
    assert not probability.any()
    distance = np.sqrt(np.square(clusters.scaled(new_points())[:, None] - clusters.scaled(points)).sum(axis=2))
    np.testing.assert_allclose(score, np.sort(distance, axis=1)[:, 4], rtol=1e-5)


def test_collapsed_dimensions_and_units_do_not_matter() -> None:
    points, new = blobs(), new_points()[:650]  # without those that coincide with the reference
    rng = np.random.default_rng(2)
    other = np.concatenate([points * [1, 2, 3, 4, 5, 6], rng.normal(size=(len(points), 2)) * 1e-3], axis=1)
    other_new = np.concatenate([new * [1, 2, 3, 4, 5, 6], rng.normal(size=(len(new), 2)) * 1e-3], axis=1)
    plain = assign(refit(points, parameters(20, 5)), new)[2]
    np.testing.assert_allclose(
        assign(refit(other.astype(np.float32), parameters(20, 5)), other_new)[2], plain, atol=2e-3
    )


def test_no_windows_are_no_labels() -> None:
    clusters = refit(blobs(), parameters(20, 5))
    assert [len(column) for column in assign(clusters, np.empty((0, 6), np.float32))] == [0, 0, 0]
