"""Pooled levels and distances are those of plain NumPy and scikit-learn; events are left out of the reference."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from dasanom_assets.detection.detectors import Windows
from dasanom_assets.detection.neighbours import (
    DIMENSIONS,
    MOST,
    NEIGHBOURS,
    SHARPNESS,
    TRIM_ROUNDS,
    TRIM_SHARE,
    Neighbours,
    pooled,
)
from dasanom_assets.models.training import Encoded
from dasanom_assets.settings import DetectionSettings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.windows import BLOCK, WindowBank, make_bank

SETTINGS = DetectionSettings()


def bank(rows: int, seed: int, frames: int = 4, bands: int = 16, seconds: int = 8) -> WindowBank:
    levels = np.random.default_rng(seed).normal(size=(rows, frames, bands)).astype(np.float32)
    return WindowBank(levels, np.arange(rows - seconds + 1), seconds)


def plain(window: np.ndarray) -> np.ndarray:
    """Soft maximum of each band of a window, shape (frames, bands)."""
    return (logsumexp(SHARPNESS * window.astype(float), axis=0) - np.log(len(window))) / SHARPNESS


def limited(some: WindowBank, reference: np.ndarray) -> np.ndarray:
    """Pooled levels of windows between the median of the reference's and `MOST` spreads above."""
    features, usual = np.concatenate(list(pooled(some))).astype(float), np.median(reference, axis=0)
    spread = 1.4826 * np.median(np.abs(reference - usual), axis=0)
    return np.clip(features - usual, 0, MOST * spread)


def of(some: WindowBank) -> Windows:
    return Windows(some, Encoded.empty(1))


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(3, 40),
    frames=st.integers(1, 5),
    bands=st.integers(1, 6),
    seconds=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_pooled_levels_are_those_of_each_window(
    rows: int, frames: int, bands: int, seconds: int, seed: int
) -> None:
    some = bank(rows, seed, frames, bands, seconds)
    some = some.subset(np.random.default_rng(seed).permutation(len(some)))
    found = np.concatenate(list(pooled(some)))
    assert found.dtype == np.float32
    wanted = np.array([plain(some.window(i)) for i in range(len(some))])
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_images_of_windows_are_pooled_as_a_network_sees_them() -> None:
    rows = bank(30, 0).rows
    first = np.arange(20)
    spectrogram = SpectrogramSettings(hop_seconds=0.25, bands=16)
    window = WindowSettings(seconds=8, image=(12, 10), scaling="minmax")
    some = make_bank(rows, first, first * 10**9, spectrogram, window)
    wanted = np.array([plain(some.window(i)) for i in range(20)])
    np.testing.assert_allclose(np.concatenate(list(pooled(some))), wanted, atol=1e-5)


def test_windows_come_in_blocks_and_are_no_copies_all_at_once() -> None:
    some = bank(4 * BLOCK, 0)
    assert [len(part) for part in pooled(some)] == [BLOCK, BLOCK, BLOCK, BLOCK - 7]
    all_windows = len(some) * 8 * some.rows[0].nbytes
    tracemalloc.start()
    for _ in pooled(some):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # What each row adds, and a block of windows of that.
    assert peak < 4 * BLOCK * 8 * some.rows[0].nbytes < 1.01 * all_windows


def test_distances_are_those_to_scikit_learns_nearest_neighbours() -> None:
    reference, new = bank(1500, 0), bank(300, 1)
    detector = Neighbours.fit(of(reference), SETTINGS)
    levels = np.concatenate(list(pooled(reference))).astype(float)
    features = limited(reference, levels)
    pca = PCA(DIMENSIONS, svd_solver="full").fit(features)
    points = pca.transform(features)[detector.kept]
    index = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(points)
    wanted, which = index.kneighbors(pca.transform(limited(new, levels)))
    distance, found = detector.nearest(new)
    np.testing.assert_allclose(distance, wanted, rtol=1e-3)
    assert distance.dtype == np.float32
    assert (found == detector.kept[which]).mean() > 0.99
    np.testing.assert_allclose(detector.score(of(new)), wanted.mean(axis=1), rtol=1e-3)


def test_a_reference_window_lies_at_no_distance_from_itself() -> None:
    reference = bank(400, 0)
    detector = Neighbours.fit(of(reference), SETTINGS)
    distance, which = detector.nearest(reference.subset(detector.kept))
    np.testing.assert_array_equal(which[:, 0], detector.kept)
    assert distance[:, 0].max() < 1e-5
    assert (np.diff(distance, axis=1) >= 0).all()


def test_planted_events_are_left_out_of_the_reference_and_stand_out() -> None:
    rng = np.random.default_rng(2)
    reference, new = bank(2000, 0), bank(200, 1)
    events = 100 + 180 * np.arange(10)  # of each, fewer windows than would be neighbours enough for each other
    for at in events:
        reference.rows[at : at + 8] += 4 * rng.normal(size=16)
    drawn = np.setdiff1d(np.arange(len(reference)), events[:, None] + np.r_[-7:0, 1:8])
    detector = Neighbours.fit(of(reference.subset(drawn)), SETTINGS)
    left_out = 1 - (1 - TRIM_SHARE) ** TRIM_ROUNDS
    assert len(detector.kept) == pytest.approx(len(drawn) * (1 - left_out), abs=3)
    assert not np.isin(events, drawn[detector.kept]).any()
    new.rows[50:60] += 4 * rng.normal(size=16)
    score = detector.score(of(new))
    assert score[50:52].min() > 1.5 * np.delete(score, np.arange(42, 61)).max()


def test_a_stored_detector_gives_the_same_scores_and_no_window_none() -> None:
    detector, new = Neighbours.fit(of(bank(500, 0)), SETTINGS), bank(60, 1)
    again = Neighbours.restore(*detector.state())
    np.testing.assert_array_equal(again.score(of(new)), detector.score(of(new)))
    none = of(new.subset(np.empty(0, np.int64)))
    assert detector.score(none).shape == (0,)
    assert [part.shape for part in detector.nearest(none.bank)] == [(0, NEIGHBOURS)] * 2


def test_fewer_reference_windows_than_neighbours_or_dimensions_do_not_break() -> None:
    detector = Neighbours.fit(of(bank(12, 0)), SETTINGS)
    assert np.isfinite(detector.score(of(bank(20, 1)))).all()
