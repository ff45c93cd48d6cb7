"""The detector combines the terms that a window has."""

import numpy as np
import pytest

from dasanom_assets.detection.calibration.conformal import Conformal
from dasanom_assets.detection.detectors.base import detector_class
from dasanom_assets.detection.minutes.temporal import MIN_SCORES, Temporal, combine


def reference_terms() -> np.ndarray:
    rng = np.random.default_rng(0)
    result = rng.gamma(2, size=(3000, 4)).astype(np.float32)
    result[:, 2] = np.nan
    result[:500, 1] = np.nan
    return result


def test_the_score_combines_the_p_values_of_the_terms_that_are_there() -> None:
    assert detector_class("temporal") is Temporal
    assert Temporal.inputs == ("temporal_terms",)
    reference = reference_terms()
    detector = Temporal.of_terms(reference)
    new = np.array([[9, 9, 9, np.nan], [9, np.nan, np.nan, np.nan], [1, 1, 1, 1]], np.float32)
    p = [Conformal.fit(reference[:, i]).p_values(new[:, i]) for i in (0, 1, 3)]
    np.testing.assert_allclose(detector.score_terms(new), -np.log10(combine(np.stack(p, axis=1))), rtol=1e-5)


def test_a_window_without_any_term_scores_nothing() -> None:
    detector = Temporal.of_terms(reference_terms())
    np.testing.assert_array_equal(detector.score_terms(np.full((2, 4), np.nan, np.float32)), 0)
    nothing = Temporal.of_terms(np.full((100, 4), np.nan, np.float32))
    np.testing.assert_array_equal(nothing.score_terms(np.ones((2, 4), np.float32)), 0)


def test_windows_of_one_segment_count_once_and_terms_that_few_segments_have_not_at_all() -> None:
    reference = reference_terms()
    reference[MIN_SCORES - 1 :, 3] = np.nan
    once, often = Temporal.of_terms(reference), Temporal.of_terms(np.repeat(reference, 5, axis=0))
    new = 3 * reference_terms()[:99]
    np.testing.assert_array_equal(often.p_values(new), once.p_values(new))
    assert set(once.terms) == {"previous", "daily"}
    assert np.isnan(once.p_values(new)[:, 2:]).all()
    assert once.terms["daily"].n == 2500


def test_a_restored_detector_scores_the_same() -> None:
    detector, new = Temporal.of_terms(reference_terms()), 4 * reference_terms()[:50]
    tensors, values = detector.state()
    np.testing.assert_array_equal(Temporal.restore(tensors, values).score_terms(new), detector.score_terms(new))


def test_the_cauchy_combination_is_its_formula_and_uniform_under_independence() -> None:
    p = np.array([[0.01, 0.3], [0.5, 0.5], [0.9, 0.2]])
    plain = 0.5 - np.arctan(np.tan((0.5 - p) * np.pi).mean(axis=1)) / np.pi
    np.testing.assert_allclose(combine(p), plain, rtol=1e-10)
    draws = combine(np.random.default_rng(0).uniform(size=(1_000_000, 3)))
    for rate in (1e-3, 1e-2, 1e-1, 0.5):
        # Values above 0.99 count as 0.99, which adds to the share by less than a tenth.
        assert 0.95 < (draws <= rate).mean() / rate < 1.1


def test_the_combination_keeps_tiny_values_apart_and_leaves_missing_ones_out() -> None:
    tiny = combine(np.array([[1e-200, 1.0], [1e-100, 1.0], [1.0, 1.0], [1e-5, np.nan], [1e-4, 1.0]]))
    assert tiny[0] == pytest.approx(2e-200, rel=1e-6)
    assert tiny[1] == pytest.approx(2e-100, rel=1e-6)
    assert tiny[2] >= 0.98
    assert tiny[3] == pytest.approx(1e-5)
    assert tiny[4] < 3e-4
    assert np.isnan(combine(np.full((1, 2), np.nan))).all()
