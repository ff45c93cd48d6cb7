"""Pooled levels and distances are those of plain NumPy and scikit-learn, and louder and quieter are far."""

import json
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from dasanom_assets.detection.detectors.base import Detector, Windows, detector_class
from dasanom_assets.detection.detectors.neighbours import (
    SMALLEST,
    Mahalanobis,
    Neighbours,
    Plain,
    Ranked,
)
from dasanom_assets.detection.detectors.pooling import ranked_levels, soft_maxima
from dasanom_assets.settings import ReferenceSettings, Settings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.windows import WINDOWS_AT_ONCE, WindowBank, make_bank
from dasanom_tests.memory import memory_of

RECIPE = ReferenceSettings()
NAMES = ("neighbours", "ranked", "plain", "mahalanobis")


def fitted(name: str, parts: WindowBank, **changes: float) -> Detector:
    return detector_class(name).fit(Windows(parts), Settings(reference=ReferenceSettings(**changes)))


def bank(rows: int, seed: int, frames: int = 4, bands: int = 16, seconds: int = 8) -> WindowBank:
    levels = np.random.default_rng(seed).normal(size=(rows, frames, bands)).astype(np.float32)
    return WindowBank(levels, np.arange(rows - seconds + 1), seconds)


def soft(window: np.ndarray, recipe: ReferenceSettings = RECIPE) -> np.ndarray:
    s = recipe.sharpness
    return (logsumexp(s * window.astype(float), axis=0) - np.log(len(window))) / s


def ranked(window: np.ndarray, recipe: ReferenceSettings = RECIPE) -> np.ndarray:
    weight = recipe.rank_decay ** np.arange(len(window))
    greatest_first = -np.sort(-window.astype(float), axis=0)
    return np.concatenate([weight @ greatest_first / weight.sum(), window.mean(axis=0), window.std(axis=0)])


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(3, 40),
    frames=st.integers(1, 5),
    bands=st.integers(1, 6),
    seconds=st.integers(1, 3),
    decay=st.floats(0.3, 0.99),
    sharpness=st.floats(0.2, 4),
    seed=st.integers(0, 9),
)
def test_pooled_levels_are_those_of_each_window(
    rows: int, frames: int, bands: int, seconds: int, decay: float, sharpness: float, seed: int
) -> None:
    recipe = ReferenceSettings(rank_decay=decay, sharpness=sharpness)
    sample = bank(rows, seed, frames, bands, seconds)
    sample = sample.subset(np.random.default_rng(seed).permutation(len(sample)))
    for pooled, plain in ((soft_maxima, soft), (ranked_levels, ranked)):
        result = np.concatenate(list(pooled(sample, recipe)))
        assert result.dtype == np.float32
        wanted = np.array([plain(sample.window(i), recipe) for i in range(len(sample))])
        np.testing.assert_allclose(result, wanted, atol=1e-4)


def test_images_of_windows_are_pooled_as_a_network_sees_them() -> None:
    rows = bank(30, 0).rows
    first = np.arange(20)
    spectrogram = SpectrogramSettings(hop_seconds=0.25, bands=16)
    window = WindowSettings(seconds=8, image=(12, 10), scaling="minmax")
    sample = make_bank(rows, first, first * 10**9, spectrogram, window)
    for pooled, plain in ((soft_maxima, soft), (ranked_levels, ranked)):
        wanted = np.array([plain(sample.window(i)) for i in range(20)])
        np.testing.assert_allclose(np.concatenate(list(pooled(sample, RECIPE))), wanted, atol=1e-4)


def test_windows_come_in_blocks_and_are_no_copies_all_at_once() -> None:
    windows = bank(12 * WINDOWS_AT_ONCE, 0)
    all_windows = len(windows) * 8 * windows.rows[0].nbytes
    for pooled in (soft_maxima, ranked_levels):
        lengths: list[int] = []
        growth = memory_of(partial(lengths.extend, map(len, pooled(windows, RECIPE))))
        assert lengths == [*[WINDOWS_AT_ONCE] * 11, WINDOWS_AT_ONCE - 7]
        assert growth.peak < all_windows / 2


def test_plain_is_the_logarithm_of_the_mean_distance_to_scikit_learns_nearest_neighbours() -> None:
    reference, new = bank(600, 0), bank(200, 1)
    detector = fitted("plain", reference, ranked_dimensions=7, neighbours=3)
    features, fresh = (np.array([ranked(b.window(i))[:32] for i in range(len(b))]) for b in (reference, new))
    pca = PCA(7, svd_solver="full").fit(features)
    index = NearestNeighbors(n_neighbors=3).fit(pca.transform(features))
    distance, which = index.kneighbors(pca.transform(fresh))
    np.testing.assert_allclose(detector.score(Windows(new)), np.log(distance.mean(axis=1) + SMALLEST), atol=2e-3)
    reported, result = detector.nearest(new)
    np.testing.assert_allclose(reported, distance, rtol=2e-3)
    assert (result == which).mean() > 0.99


def test_density_takes_off_what_is_usual_around_the_nearest_windows() -> None:
    reference, new = bank(500, 0), bank(100, 1)
    plain = fitted("ranked", reference, density=0)
    np.testing.assert_allclose(
        plain.score(Windows(new)), fitted("plain", reference).score(Windows(new)), atol=1e-5
    )
    points = plain.points
    own = np.log(np.sort(np.linalg.norm(points[:, None] - points, axis=2), axis=1)[:, 1:6].mean(axis=1))
    _, which = plain.nearest(new)
    for density in (0.3, 1.0):
        score = fitted("ranked", reference, density=density).score(Windows(new))
        wanted = plain.score(Windows(new)) - density * own[which].mean(axis=1)
        np.testing.assert_allclose(score, wanted, atol=5e-3)


def test_what_is_ordinary_in_a_sparse_place_is_not_strange_where_density_counts() -> None:
    tight, sparse, new = bank(900, 0), bank(900, 1), bank(60, 2)
    sparse.rows[:] = 4 * sparse.rows + 12
    new.rows[:] = 4 * new.rows + 12
    both = WindowBank(np.concatenate([tight.rows, sparse.rows]), np.r_[0:890, 900:1790], 8)
    fresh = bank(60, 3)
    for density, apart in ((0.0, True), (1.0, False)):
        detector = fitted("ranked", both, density=density)
        usual, sparsely = (np.median(detector.score(Windows(parts))) for parts in (fresh, new))
        assert (sparsely - usual > 1) == apart


@pytest.mark.parametrize("name", ["neighbours", "ranked", "plain"])
def test_a_louder_and_a_quieter_window_score_above_usual_ones(name: str) -> None:
    detector = fitted(name, bank(1500, 0))
    usual = detector.score(Windows(bank(300, 1)))
    for decibels in (2.0, -2.0):
        moved = bank(300, 2)
        moved.rows[:] += decibels
        assert detector.score(Windows(moved)).min() > np.quantile(usual, 0.99)


def test_a_lonely_stroke_is_seen_by_soft_maxima_and_ranks() -> None:
    new = bank(9, 1)
    struck = WindowBank(new.rows.copy(), new.first, 8)
    struck.rows[4, 1, 3:9] += 6
    for name in ("neighbours", "ranked"):
        detector = fitted(name, bank(1500, 0))
        one, other = (detector.score(Windows(parts)) for parts in (struck, new))
        assert (one > other + 0.2).all()


def test_a_reference_window_lies_at_no_distance_from_itself() -> None:
    reference = bank(400, 0)
    detector = fitted("neighbours", reference)
    distance, which = detector.nearest(reference)
    np.testing.assert_array_equal(which[:, 0], np.arange(393))
    assert distance[:, 0].max() < 1e-2 * np.median(distance[:, 1])
    assert (np.diff(distance, axis=1) >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_strangest_share_that_the_recipe_names_is_left_out_and_no_more(name: str) -> None:
    reference = bank(1000, 0)
    odd = np.array([100, 400, 700])
    for position in odd:
        reference.rows[position : position + 8] += 5 * np.random.default_rng(position).normal(size=16)
    drawn = np.setdiff1d(np.arange(len(reference)), odd[:, None] + np.r_[-7:0, 1:8])
    sample = reference.subset(drawn)
    assert fitted(name, sample).kept.tolist() == list(range(len(drawn)))
    left = fitted(name, sample, contamination=0.02)
    assert len(left.kept) == pytest.approx(0.98 * len(drawn), abs=1)
    assert not np.isin(odd, drawn[left.kept]).any()
    assert len(left.points) == len(left.usual) == len(left.kept)
    # `kept` are positions among the windows that were given.
    _, which = left.nearest(reference.subset(drawn[left.kept]))
    if name != "mahalanobis":
        np.testing.assert_array_equal(which[:, 0], left.kept)
    without = fitted(name, reference.subset(drawn[left.kept]))
    new = Windows(bank(50, 1))
    np.testing.assert_allclose(left.score(new), without.score(new), atol=1e-3)


def test_mahalanobis_is_the_distance_that_the_covariance_of_the_pooled_levels_gives() -> None:
    reference, new = bank(3000, 0, bands=3), bank(80, 1, bands=3)
    features, fresh = (np.array([ranked(b.window(i)) for i in range(len(b))]) for b in (reference, new))
    inverse = np.linalg.inv(np.cov(features.T))
    off = fresh - features.mean(axis=0)
    wanted = np.sqrt(np.einsum("wi,ij,wj->w", off, inverse, off))
    result = fitted("mahalanobis", reference).score(Windows(new))
    np.testing.assert_allclose(np.exp(result), wanted, rtol=2e-2)
    assert Mahalanobis.whitened
    assert not Ranked.whitened


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("contamination", [0.0, 0.1])
def test_a_stored_detector_gives_the_same_scores_and_no_window_none(name: str, contamination: float) -> None:
    detector, new = fitted(name, bank(500, 0), contamination=contamination), bank(60, 1)
    tensors, values = detector.state()
    again = type(detector).restore(tensors, json.loads(json.dumps(values)))
    score = detector.score(Windows(new))
    np.testing.assert_array_equal(again.score(Windows(new)), score)
    np.testing.assert_allclose(detector.score(Windows(new.subset(np.array([7]))))[0], score[7], atol=1e-4)
    assert again.recipe == detector.recipe
    assert score.dtype == np.float32
    none = Windows(new.subset(np.empty(0, np.int64)))
    assert detector.score(none).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [2, 4, 12])
def test_fewer_reference_windows_than_neighbours_or_dimensions_do_not_break(name: str, n: int) -> None:
    detector = fitted(name, bank(n + 7, 0))
    assert np.isfinite(detector.score(Windows(bank(20, 1)))).all()


@pytest.mark.parametrize("name", NAMES)
def test_bands_that_say_the_same_and_bands_that_say_nothing_do_no_harm(name: str) -> None:
    reference, new = bank(400, 0), bank(60, 1)
    for windows in (reference, new):
        windows.rows[..., 5:9] = windows.rows[..., 4:5]
        windows.rows[..., 9:12] = 0
    detector = fitted(name, reference)
    usual = detector.score(Windows(new))
    assert np.isfinite(usual).all()
    new.rows[:] += np.where(np.arange(16) == 4, 6, 0)
    assert detector.score(Windows(new)).min() > np.median(usual)


def test_each_has_its_place_among_the_built_in_ones() -> None:
    assert [detector_class(name) for name in NAMES] == [Neighbours, Ranked, Plain, Mahalanobis]
    assert not any(detector_class(name).network for name in NAMES)
