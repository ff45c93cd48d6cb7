"""Clusters of the reference, and new windows placed in them, equal to hdbscan's own."""

import json

import hdbscan
import numpy as np
import pytest

from dasanom_assets.detection.clustering import assign, cluster_quality, fit_clusters, refit
from dasanom_assets.settings import DetectionSettings

SETTINGS = DetectionSettings()


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


def test_parameters_are_chosen_by_validity_and_rebuild_the_same_clusters() -> None:
    points = blobs()
    clusters = fit_clusters(points, SETTINGS)
    chosen = clusters.parameters()
    assert chosen["n_clusters"] == 2
    assert chosen["noise_share"] <= SETTINGS.max_noise_share
    assert chosen["outlier_score"] == "GLOSH"
    assert json.loads(json.dumps(chosen)) == chosen
    again = refit(points, chosen)
    for ours, theirs in zip(assign(clusters, new_points()), assign(again, new_points()), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_one_blob_is_one_cluster_and_what_is_far_is_an_outlier() -> None:
    rng = np.random.default_rng(0)
    clusters = fit_clusters(rng.normal(size=(800, 8)).astype(np.float32), SETTINGS)
    assert clusters.n_clusters >= 1
    _, _, inside = assign(clusters, rng.normal(size=(200, 8)).astype(np.float32))
    _, _, outside = assign(clusters, (rng.normal(size=(200, 8)) + 8).astype(np.float32))
    assert np.median(outside) > np.quantile(inside, 0.99)


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


def test_quality_leaves_noise_out_and_needs_two_clusters() -> None:
    rng = np.random.default_rng(0)
    one = np.concatenate([rng.normal(size=(300, 2)), rng.normal(size=(8, 2)) + 50])
    quality = cluster_quality(one, np.r_[np.zeros(300, int), np.full(8, -1)])
    assert quality == {
        "n_clusters": 1,
        "noise_share": round(8 / 308, 4),
        "silhouette": None,
        "calinski_harabasz": None,
        "davies_bouldin": None,
    }
    two = np.concatenate([rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 9])
    labels = np.r_[np.zeros(100, int), np.ones(100, int)]
    clean = cluster_quality(two, labels)
    noisy = cluster_quality(np.concatenate([two, one[-8:]]), np.r_[labels, np.full(8, -1)])
    assert clean["silhouette"] > 0.7
    assert noisy["silhouette"] == pytest.approx(clean["silhouette"])
    assert noisy["davies_bouldin"] == pytest.approx(clean["davies_bouldin"])
