"""Detectors on the latent space set what was planted apart, and are the same after storage."""

import json

import numpy as np
import pytest
from sklearn.cluster import DBSCAN, KMeans
from sklearn.neighbors import NearestNeighbors

from dasanom_assets.detection.detectors.base import Detector, Windows, detector_class
from dasanom_assets.detection.detectors.latent import CENTRES, CORE_NEIGHBOURS
from dasanom_assets.models.encoding import Encoded
from dasanom_assets.settings import DetectionSettings, Settings
from dasanom_assets.spectrograms.windows import WindowBank

SETTINGS = Settings(detection=DetectionSettings(seed=3))
ON_LATENT = ("latent", "kmeans", "dbscan", "isolation_forest")
FAR = 40
"""The last windows of `fresh`, which lie far from the others."""


def windows(mu: np.ndarray, error: np.ndarray | None = None) -> Windows:
    n = len(mu)
    bank = WindowBank(np.zeros((n, 1, 1), np.float32), np.arange(n), 1)
    mu = mu.astype(np.float32)
    flat = np.zeros(n, np.float32)
    return Windows(bank, Encoded(mu, np.zeros_like(mu), flat if error is None else error, flat + 2))


def drawn(n: int, seed: int) -> np.ndarray:
    """Two clusters, in four dimensions of unlike units; the last one has collapsed."""
    rng = np.random.default_rng(seed)
    centre = np.where(rng.random(n) < 0.6, -2, 2)[:, None]
    return np.concatenate([centre + rng.normal(size=(n, 3)), 1e-3 * rng.normal(size=(n, 1))], axis=1) * [
        1,
        5,
        0.3,
        1,
    ]


REFERENCE = windows(drawn(800, 0))


def fresh() -> Windows:
    rng = np.random.default_rng(1)
    far = rng.normal(size=(FAR, 4)) * 0.3 + [9, -40, 2.5, 0]
    return windows(np.concatenate([drawn(300, 2), far]))


def fitted(name: str) -> Detector:
    return detector_class(name).fit(REFERENCE, SETTINGS)


@pytest.mark.parametrize("name", ON_LATENT)
def test_windows_far_from_the_reference_score_higher(name: str) -> None:
    score = fitted(name).score(fresh())
    assert score.dtype == np.float32
    assert score.shape == (300 + FAR,)
    assert score[-FAR:].min() > np.quantile(score[:-FAR], 0.99)


@pytest.mark.parametrize("name", [*ON_LATENT, "vae"])
def test_a_stored_detector_gives_the_same_scores(name: str) -> None:
    detector = fitted(name)
    tensors, values = detector.state()
    again = type(detector).restore(tensors, json.loads(json.dumps(values)))
    assert all(isinstance(array, np.ndarray) for array in tensors.values())
    np.testing.assert_array_equal(again.score(fresh()), detector.score(fresh()))


@pytest.mark.parametrize("name", [*ON_LATENT, "vae"])
def test_a_score_depends_on_its_window_alone_and_no_window_is_no_score(name: str) -> None:
    detector = fitted(name)
    whole = detector.score(fresh())
    sample = np.array([3, 120, 330])
    np.testing.assert_allclose(detector.score(fresh().subset(sample)), whole[sample], rtol=1e-5, atol=1e-6)
    assert detector.score(fresh().subset(np.empty(0, np.int64))).shape == (0,)


@pytest.mark.parametrize("name", ON_LATENT)
def test_units_of_a_dimension_and_collapsed_ones_do_not_matter(name: str) -> None:
    unit = np.array([3, 0.5, 20, 1])
    other = detector_class(name).fit(windows(REFERENCE.encoded.mu * unit), SETTINGS)
    moved = fresh().encoded.mu * unit
    moved[:, 3] = 5.0
    np.testing.assert_allclose(other.score(windows(moved)), fitted(name).score(fresh()), rtol=2e-2, atol=2e-2)


def test_the_likelihood_is_the_negative_evidence_bound() -> None:
    error = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(fitted("vae").score(windows(np.zeros((5, 4)), error)), error + 2)


def test_outlier_scores_that_a_table_has_are_not_computed_again() -> None:
    sample = fresh()
    given = np.random.default_rng(0).random(len(sample)).astype(np.float32)
    assert fitted("latent").score(Windows(sample.bank, sample.encoded, given)) is given


def scaled(mu: np.ndarray) -> np.ndarray:
    """As float32 throughout, without the dimension that has collapsed."""
    reference = REFERENCE.encoded.mu[:, :3]
    return (mu[:, :3] - reference.mean(axis=0)) / reference.std(axis=0)


def test_kmeans_is_the_distance_to_scikit_learns_nearest_centre() -> None:
    means = KMeans(CENTRES, n_init=4, random_state=SETTINGS.detection.seed).fit(scaled(REFERENCE.encoded.mu))
    wanted = means.transform(scaled(fresh().encoded.mu)).min(axis=1)
    np.testing.assert_allclose(fitted("kmeans").score(fresh()), wanted, rtol=0.3)
    assert np.corrcoef(fitted("kmeans").score(fresh()), wanted)[0, 1] > 0.99


def test_dbscan_is_the_distance_to_the_nearest_core_point_and_half_of_the_reference_is_core() -> None:
    points = scaled(REFERENCE.encoded.mu)
    distance = np.sort(np.linalg.norm(points[:, None] - points, axis=2), axis=1)  # the nearest one is itself
    radius = np.median(distance[:, CORE_NEIGHBOURS + 1])
    core = points[DBSCAN(eps=radius, min_samples=CORE_NEIGHBOURS + 1).fit(points).core_sample_indices_]
    assert 0.45 < len(core) / len(points) < 0.65
    wanted = NearestNeighbors(n_neighbors=1).fit(core).kneighbors(scaled(fresh().encoded.mu))[0][:, 0]
    np.testing.assert_allclose(fitted("dbscan").score(fresh()), wanted, rtol=1e-3, atol=1e-4)
