"""The map of embeddings: fitted once, the same every time, and not moved by what is placed on it."""

import numpy as np
import pytest

from dasanom_assets.comparison.maps import MIN_POINTS, fit_map, place

CENTRES = np.random.default_rng(3).normal(0, 4, (3, 16))


def points(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 3
    return (CENTRES[kind] + rng.normal(size=(n, 16))).astype(np.float32), kind


REFERENCE, KIND = points(90, seed=0)
NEW, NEW_KIND = points(30, seed=1)


@pytest.fixture(scope="module", params=[2, 3])
def coordinates(request: pytest.FixtureRequest) -> np.ndarray:
    return fit_map(REFERENCE, request.param, seed=5)


def test_the_same_points_give_the_same_map(coordinates: np.ndarray) -> None:
    k = coordinates.shape[1]
    assert coordinates.shape == (90, k)
    np.testing.assert_array_equal(fit_map(REFERENCE, k, seed=5), coordinates)
    np.testing.assert_allclose(coordinates.max(axis=0) + coordinates.min(axis=0), 0, atol=1e-9)


def test_new_windows_land_among_their_kind(coordinates: np.ndarray) -> None:
    placed = place(NEW, REFERENCE, coordinates)
    middle = np.array([coordinates[kind == KIND].mean(axis=0) for kind in range(3)])
    nearest = np.linalg.norm(placed[:, None] - middle, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, NEW_KIND)


def test_a_window_has_its_place_whatever_else_the_day_holds(coordinates: np.ndarray) -> None:
    together = place(NEW, REFERENCE, coordinates)
    np.testing.assert_array_equal(place(NEW[10:14], REFERENCE, coordinates), together[10:14])


def test_a_map_from_arrays_on_disk_is_the_same_map(coordinates: np.ndarray) -> None:
    """Nothing but arrays is kept; a map that was moved as a whole moves its windows with it."""
    before = coordinates.copy()
    placed = place(NEW, REFERENCE, coordinates)
    np.testing.assert_array_equal(coordinates, before)
    np.testing.assert_allclose(place(NEW, REFERENCE, coordinates + 7.0), placed + 7.0, atol=1e-6)


def test_no_windows_are_no_places(coordinates: np.ndarray) -> None:
    assert place(NEW[:0], REFERENCE, coordinates).shape == (0, coordinates.shape[1])


def test_few_points_and_few_dimensions_still_give_a_map() -> None:
    rng = np.random.default_rng(0)
    for shape in ((MIN_POINTS, 16), (20, 1)):
        assert np.isfinite(fit_map(rng.normal(size=shape), 3)).all()


@pytest.mark.parametrize(("n", "components", "words"), [(MIN_POINTS - 1, 2, "at least 10"), (50, 4, "2 or 3")])
def test_what_cannot_be_a_map_is_refused(n: int, components: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_map(REFERENCE[:n], components)
