"""P-values are shares of the reference, exactly; and a score that says nothing is refused."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from dasanom_assets.detection.calibration.conformal import EXACT, Conformal, fused

SCORES = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=60)


def share(reference: np.ndarray, score: float) -> float:
    return (1 + sum(float(one) >= score for one in reference)) / (len(reference) + 1)


@settings(deadline=None)
@given(reference=SCORES, new=SCORES)
def test_a_p_value_is_the_share_that_scores_as_high_and_never_nothing(
    reference: list[float], new: list[float]
) -> None:
    assume(min(reference) < max(reference))
    result = Conformal.fit(np.float32(reference)).p_values(np.float32(new))
    assert result.tolist() == [share(reference, score) for score in new]
    assert result.min() >= 1 / (len(reference) + 1)


@settings(deadline=None)
@given(reference=SCORES, p_value=st.floats(0, 1))
def test_the_score_of_a_p_value_is_the_least_that_has_it(reference: list[float], p_value: float) -> None:
    assume(min(reference) < max(reference))
    conformal = Conformal.fit(np.float32(reference))
    score = conformal.score_of(p_value)
    beyond = float(np.nextafter(np.float32(max(reference)), np.float32(np.inf)))
    reach = [one for one in (*sorted(reference), beyond) if share(reference, one) <= p_value]
    assert score == (reach[0] if reach else np.inf)
    if reach:
        assert conformal.p_values(np.float32(score)) <= p_value


def test_of_many_scores_the_greatest_are_counted_one_by_one_and_the_others_nearly() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=300_000).astype(np.float32)
    conformal = Conformal.fit(rng.permutation(reference))
    assert len(conformal.scores) <= 2 * EXACT
    ordered = np.sort(reference)
    exact = (1 + len(ordered) - np.searchsorted(ordered, ordered)) / (len(ordered) + 1)
    result = conformal.p_values(ordered)
    np.testing.assert_array_equal(result[-EXACT:], exact[-EXACT:])
    np.testing.assert_allclose(result, exact, atol=2 / EXACT)
    assert (np.diff(result) <= 0).all()
    for p in (1e-4, 0.03, 0.06):
        assert conformal.score_of(p) == ordered[np.flatnonzero(exact <= p)[0]]
    assert conformal.score_of(0.5) == pytest.approx(np.median(reference), abs=1e-3)


def test_many_equal_scores_count_all_of_them_also_where_not_all_are_stored() -> None:
    reference = np.repeat(np.float32([0, 1, 2]), [50_000, 40_000, 10])
    conformal = Conformal.fit(reference)
    np.testing.assert_allclose(
        conformal.p_values(np.float32([0, 1, 2])), np.array([90_011, 40_011, 11]) / 90_011, atol=1 / EXACT
    )
    assert conformal.score_of(0.4) == 2


def test_windows_of_the_same_kind_have_uniform_p_values() -> None:
    rng = np.random.default_rng(0)
    p = np.concatenate([Conformal.fit(rng.gumbel(size=99)).p_values(rng.gumbel(size=20)) for _ in range(1000)])
    for alpha in (0.01, 0.05, 0.1, 0.5, 0.9):
        assert (p <= alpha + 1e-9).mean() == pytest.approx(alpha, abs=0.1 * np.sqrt(alpha) * 0.35)
    assert p.min() == pytest.approx(0.01)


@settings(deadline=None)
@given(reference=SCORES, scale=st.floats(0.01, 100), offset=st.floats(-10, 10))
def test_standardised_scores_have_no_units(reference: list[float], scale: float, offset: float) -> None:
    own = np.float64(reference)
    assume(np.ptp(own) > 1e-3)
    one, other = Conformal.fit(own), Conformal.fit(own * scale + offset)
    assume(min(one.spread, other.spread / scale) > 1e-2)
    np.testing.assert_allclose(
        other.standardised(own * scale + offset),
        one.standardised(own),
        rtol=1e-2,
        atol=2e-3 * (1 + np.abs(own).max()),
    )


def test_the_spread_is_that_of_a_normal_distribution() -> None:
    conformal = Conformal.fit(np.random.default_rng(0).normal(7, 3, 200_000))
    assert conformal.standardised(np.array([7.0, 13.0])) == pytest.approx([0, 2], abs=0.02)
    by = Conformal.fit(np.random.default_rng(0).exponential(size=200_000), 0.99)
    wanted = (np.log(100) - np.log(2)) / stats.norm.ppf(0.99)
    assert by.spread == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("few", [np.array([5.0]), np.array([-5.0]), np.array([-5.0, 5.0])])
def test_where_nearly_all_windows_are_alike_scores_stay_finite(few: np.ndarray) -> None:
    conformal = Conformal.fit(np.concatenate([np.zeros(99), few]))
    assert conformal.spread > 0
    assert np.isfinite(conformal.standardised(np.array([-9.0, 0.0, 5.0, 1e6]))).all()


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (np.ones(50), "all reference windows the same score"),
        (np.full(50, np.nan), "no reference window a score"),
        (np.full(50, np.inf), "no reference window a score"),
        (np.empty(0), "no reference window a score"),
        (np.array([np.nan, 3, 3, -np.inf]), "the same score"),
        (1 + np.array([0, 1e-12]), "the same score"),  # as float32
    ],
)
def test_a_score_that_says_nothing_is_refused(scores: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Conformal.fit(scores)


def test_missing_scores_have_no_p_value_and_do_not_count() -> None:
    reference = np.array([1, np.nan, 2, 3, np.inf])
    conformal = Conformal.fit(reference)
    assert conformal.n == 3
    result = conformal.p_values(np.array([np.nan, 2.5, np.inf, -np.inf]))
    np.testing.assert_array_equal(result, [np.nan, 0.5, 0.25, 1])


def test_it_survives_storage() -> None:
    conformal = Conformal.fit(np.random.default_rng(0).normal(size=30_000))
    tensors, values = conformal.state()
    again = Conformal(**tensors, **json.loads(json.dumps(values)))
    new = np.linspace(-5, 5, 99)
    np.testing.assert_array_equal(again.p_values(new), conformal.p_values(new))
    np.testing.assert_array_equal(again.standardised(new), conformal.standardised(new))


def test_the_fusion_is_the_greatest_standardised_score_whatever_is_missing() -> None:
    rng = np.random.default_rng(0)
    parts = {name: Conformal.fit(rng.normal(mean, mean, 5000)) for name, mean in (("a", 1.0), ("b", 100.0))}
    nan = np.nan
    scores = {"a": np.array([2, 11, nan, nan, 1]), "b": np.array([100, 100, 900, nan, nan]), "c": np.full(5, 1e9)}
    result = fused(parts, scores)
    np.testing.assert_allclose(result, [1, 10, 8, nan, 0], atol=0.6)
    single = {name: conformal.standardised(scores[name]) for name, conformal in parts.items()}
    np.testing.assert_array_equal(result, np.fmax(single["a"], single["b"]))
