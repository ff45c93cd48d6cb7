"""Parameters of clusters are chosen by validity, noise and stability, and quality leaves noise out."""

import numpy as np
import pytest

from dasanom_assets.detection.detectors.clustering import STABLE, cluster_quality, fit_clusters, stability
from dasanom_assets.detection.detectors.clusters import assign, refit
from dasanom_assets.settings import DetectionSettings
from dasanom_tests.detection.detectors.test_clusters import blobs, new_points, parameters, tight

SETTINGS = DetectionSettings()


def test_stability_is_high_for_clusters_that_are_there_and_low_for_those_that_are_not() -> None:
    there = refit(tight(600, 1), parameters(20, 5))
    assert stability(there.points, there.labels, there.chosen, seed=0) > 0.95
    rng = np.random.default_rng(0)
    noise = refit(rng.uniform(size=(600, 8)).astype(np.float32), parameters(5, 3, "leaf"))
    assert stability(noise.points, noise.labels, noise.chosen, seed=0) < STABLE
    again = [stability(noise.points, noise.labels, noise.chosen, seed=4) for _ in range(2)]
    assert again[0] == again[1]


def test_too_much_noise_is_no_choice() -> None:
    for share in (0.4, 0.05):
        chosen = fit_clusters(blobs(), DetectionSettings(max_noise_share=share)).chosen
        assert chosen["noise_share"] <= share or chosen["n_clusters"] == 0
        assert chosen["keeps_noise_bound"] == (chosen["n_clusters"] > 0)


def test_parameters_are_chosen_by_validity_and_rebuild_the_same_clusters() -> None:
    points = blobs()
    clusters = fit_clusters(points, SETTINGS)
    chosen = clusters.chosen
    assert chosen["n_clusters"] == 2
    assert chosen["noise_share"] <= SETTINGS.max_noise_share
    assert chosen["outlier_score"] == "GLOSH"
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
