"""Kinds that were planted are found, and a name stays with its kind when events come and go."""

import numpy as np

from dasanom_assets.detection.events.kinds import carried, examples_of, find_kinds

BANDS = 40


def sounds(rng: np.random.Generator, middle: int, n: int) -> np.ndarray:
    """Profiles of events that are strongest about one band."""
    shape = np.exp(-(((np.arange(BANDS) - middle) / 3) ** 2))
    return scaled(np.maximum(shape + 0.08 * rng.standard_normal((n, BANDS)), 0))


def scaled(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def lone(rng: np.random.Generator, n: int) -> np.ndarray:
    """Profiles of events that are like no other."""
    return scaled(np.maximum(rng.standard_normal((n, BANDS)), 0))


def test_two_planted_kinds_are_found_and_what_is_like_nothing_else_is_of_none() -> None:
    rng = np.random.default_rng(1)
    profiles = np.concatenate([sounds(rng, 8, 30), sounds(rng, 28, 20), lone(rng, 15), np.zeros((3, BANDS))])
    kind = find_kinds(profiles.astype(np.float32))
    assert set(kind[:30]) == {0}  # the larger one comes first
    assert set(kind[30:50]) == {1}
    assert set(kind[50:]) == {-1}


def test_a_few_events_are_of_no_kind() -> None:
    rng = np.random.default_rng(1)
    for n in range(6):
        assert set(find_kinds(sounds(rng, 8, n))) <= {-1}


def test_more_events_than_are_fitted_go_with_the_nearest(monkeypatch) -> None:
    monkeypatch.setattr("dasanom_assets.detection.events.kinds.MOST_FITTED", 60)
    rng = np.random.default_rng(1)
    kind = find_kinds(np.concatenate([sounds(rng, 8, 300), sounds(rng, 28, 200)]))
    assert set(kind[:300]) == {0}
    assert set(kind[300:]) == {1}


def test_a_name_stays_with_its_kind_when_a_day_comes_and_when_all_of_its_days_are_gone() -> None:
    rng = np.random.default_rng(1)
    low, high = sounds(rng, 8, 20), sounds(rng, 28, 30)
    profiles = np.concatenate([low, high])
    kind = find_kinds(profiles)
    names = [examples_of(profiles[kind == kind[0]]), examples_of(profiles[kind == kind[-1]])]
    for new in (
        np.concatenate([low, high, sounds(rng, 8, 40)]),  # the smaller kind is the larger one now
        np.concatenate([sounds(rng, 8, 15), sounds(rng, 28, 15), lone(rng, 10)]),
    ):
        found = find_kinds(new)
        named = carried(names, new, found)
        assert named[found[0]] == 0
        assert named[found[20 if len(new) > 60 else 16]] == 1


def test_a_name_goes_nowhere_where_its_kind_is_not_and_the_last_of_two_holds() -> None:
    rng = np.random.default_rng(1)
    profiles = np.concatenate([sounds(rng, 8, 20), sounds(rng, 28, 20)])
    kind = find_kinds(profiles)
    low = examples_of(profiles[kind == kind[0]])
    assert carried([sounds(rng, 18, 20)], profiles, kind) == {}
    assert carried([low, low], profiles, kind) == {kind[0]: 1}
    assert carried([low[:, :30], np.empty((0, 0), np.float32)], profiles, kind) == {}
    assert carried([low], profiles[:0], kind[:0]) == {}
