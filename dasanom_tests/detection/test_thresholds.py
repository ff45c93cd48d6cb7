"""P-values mean what they say, on fresh data, and thresholds agree with them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.detection.thresholds import Calibration, combine

DRAWS = {
    "gaussian": lambda rng, n: rng.normal(50, 7, n),
    "exponential": lambda rng, n: rng.exponential(2.0, n),
    "gamma": lambda rng, n: rng.gamma(2.0, 1.5, n),
    "heavy": lambda rng, n: rng.standard_t(6, n),
}


@pytest.mark.parametrize("name", ["gaussian", "exponential"])
def test_trimming_takes_no_ordinary_tail_for_events(name: str) -> None:
    rng = np.random.default_rng(3)
    calibration = Calibration.fit(DRAWS[name](rng, 20_000), trim_mads=8.0)
    assert calibration.trimmed_share < 5e-4
    p = calibration.p_values(DRAWS[name](rng, 1_000_000))
    for rate in (1e-2, 1e-3):
        assert 0.5 < (p <= rate).mean() / rate < 2


def test_many_equal_scores_leave_nothing_to_trim() -> None:
    scores = np.concatenate([np.zeros(6000), np.random.default_rng(0).random(4000)])
    assert Calibration.fit(scores, 8.0).trimmed_share == 0


@pytest.mark.parametrize("name", DRAWS)
def test_the_share_of_false_alarms_is_the_one_asked_for(name: str) -> None:
    rng = np.random.default_rng(0)
    calibration = Calibration.fit(DRAWS[name](rng, 20_000), trim_mads=np.inf)
    fresh = DRAWS[name](rng, 1_000_000)
    p = calibration.p_values(fresh)
    for rate in (1e-1, 1e-2, 1e-3, 1e-4):
        assert 0.5 < (p <= rate).mean() / rate < 2
        above = (fresh >= calibration.threshold("conformal", rate, 0.999)).mean()
        assert above == pytest.approx((p <= rate).mean(), abs=0.02 * rate + 2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian", "exponential", "gamma"])
def test_the_share_of_false_alarms_is_kept_by_nearly_every_calibration(name: str) -> None:
    rng = np.random.default_rng(1)
    fresh = DRAWS[name](rng, 500_000)
    ratios = []
    for _ in range(25):
        p = Calibration.fit(DRAWS[name](rng, 40_000), trim_mads=np.inf).p_values(fresh)
        ratios.append([(p <= rate).mean() / rate for rate in (1e-2, 1e-3, 1e-4)])
    low, high = np.quantile(ratios, [0.05, 0.95], axis=0)
    assert (low > [0.5, 0.5, 0.3]).all(), low
    assert (high < [2, 2, 3]).all(), high


def test_scores_known_to_fall_exponentially_are_given_no_heavier_tail_than_what_lies_below_it() -> None:
    rng = np.random.default_rng(0)
    quiet, group = rng.exponential(1.0, 20_000), np.zeros(20_100, int)
    faint = np.concatenate([quiet, rng.uniform(6, 14, 100)])  # events that stayed among the calibration scores
    heavy, light = (Calibration.fit(faint, np.inf, None, groups) for groups in (None, group))
    assert heavy.tail["shape"] > 0.1
    assert light.tail["scale"] == pytest.approx(1.0, abs=0.05)
    assert light.tail["shape"] == 0
    assert light.p_values(np.array([20.0]))[0] < heavy.p_values(np.array([20.0]))[0] / 10
    ends = Calibration.fit(rng.uniform(size=20_000), np.inf, None, group[:20_000])
    assert ends.tail["shape"] == 0  # that no excess was larger is chance
    assert ends.tail["scale"] == pytest.approx((1 - ends.tail["start"]) / 2, rel=0.1)


def test_windows_that_share_frames_count_once_for_the_tail() -> None:
    scores = np.random.default_rng(0).gamma(2, 1, 4000)
    alone = Calibration.fit(scores, np.inf)
    assert alone.tail is not None
    start = alone.tail["start"]
    together = Calibration.fit(scores, np.inf, block=np.arange(4000) // 400)
    assert together.tail is None  # ten blocks
    by_two = Calibration.fit(np.repeat(scores, 2), np.inf, block=np.arange(8000) // 2)
    assert by_two.tail["start"] == pytest.approx(start, rel=0.02)


def test_a_gaussian_fit_is_right_for_gaussians_and_wrong_for_heavy_tails() -> None:
    rng = np.random.default_rng(1)
    for name, low, high in (("gaussian", 0.7, 1.4), ("heavy", 3.0, 30.0)):
        calibration = Calibration.fit(DRAWS[name](rng, 20_000), trim_mads=np.inf)
        share = (DRAWS[name](rng, 1_000_000) > calibration.threshold("gaussian", 1e-3, 0)).mean()
        assert low < share / 1e-3 < high
    scores = np.arange(1001.0)
    assert Calibration.fit(scores, np.inf).threshold("quantile", 0, 0.9) == pytest.approx(900)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 50),
    n=st.sampled_from([30, 500, 8000]),
    new=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30),
)
def test_p_values_fall_with_the_score_and_lie_in_the_unit_interval(seed: int, n: int, new: list[float]) -> None:
    calibration = Calibration.fit(np.random.default_rng(seed).gumbel(size=n), trim_mads=np.inf)
    p = calibration.p_values(np.sort(np.float32(new)))
    assert ((p > 0) & (p <= 1)).all()
    assert (np.diff(p) <= 0).all()


def test_ranking_goes_on_beyond_the_largest_calibration_score() -> None:
    calibration = Calibration.fit(np.random.default_rng(0).normal(size=20_000), trim_mads=np.inf)
    assert calibration.tail is not None
    p = calibration.p_values(np.array([4.0, 4.5, 5.0, 10.0, 30.0]))
    assert (np.diff(p) < 0).all()
    # Also where the fitted tail has an end, as that of bounded scores has.
    bounded = Calibration.fit(np.random.default_rng(0).random(20_000), trim_mads=np.inf)
    assert bounded.tail is not None
    assert bounded.tail["shape"] < -0.5
    p = bounded.p_values(np.array([0.97, 0.99, 1.0, 1.001, 1.002]))
    assert (np.diff(p) < 0).all()
    for rate in (1e-2, 1e-3, 1e-5, 1e-7):
        at = bounded.threshold("conformal", rate, 0)
        assert bounded.p_values(np.array([at]))[0] == pytest.approx(rate, rel=1e-3)
    few = Calibration.fit(np.random.default_rng(0).normal(size=200), trim_mads=np.inf)
    assert few.tail is None
    assert few.p_values(np.array([99.0]))[0] == pytest.approx(1 / 201)


def test_contaminated_reference_days_hardly_move_the_threshold() -> None:
    rng = np.random.default_rng(2)
    quiet = rng.normal(100, 5, 20_000)
    with_events = np.concatenate([quiet, rng.normal(300, 50, 400)])
    clean = Calibration.fit(quiet, 8.0)
    dirty = Calibration.fit(with_events, 8.0)
    assert dirty.trimmed_share == pytest.approx(400 / 20_400, abs=1e-3)
    assert dirty.threshold("conformal", 1e-3, 0.999) == pytest.approx(
        clean.threshold("conformal", 1e-3, 0.999), abs=1
    )
    assert dirty.is_quiet(np.array([120.0, 250.0])).tolist() == [True, False]


def test_it_survives_storage_and_nan() -> None:
    calibration = Calibration.fit(np.random.default_rng(0).normal(size=9000), 8.0)
    again = Calibration.from_dict(calibration.to_dict(), calibration.scores)
    x = np.array([-1.0, 2.0, np.nan, 9.0])
    np.testing.assert_array_equal(again.p_values(x), calibration.p_values(x))
    assert np.isnan(again.p_values(x)[2])
    missing = Calibration.fit(np.append(calibration.scores, np.nan), 8.0)
    np.testing.assert_array_equal(missing.p_values(x), calibration.p_values(x))


def test_too_few_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="materialize more days"):
        Calibration.fit(np.arange(10.0), 8.0)


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


def test_faint_events_among_means_of_log_p_values_do_not_make_the_tail() -> None:
    rng = np.random.default_rng(3)

    def means(n: int) -> np.ndarray:
        return -np.log10(rng.uniform(size=(n, 8))).mean(axis=1)

    quiet, group = means(40_000), np.repeat(np.arange(4), 10_000)
    quiet[rng.choice(40_000, 800, replace=False)] += rng.exponential(0.6, 800)  # faint events, one window in fifty
    fresh = means(400_000)
    plain, bounded = Calibration.fit(quiet, np.inf), Calibration.fit(quiet, np.inf, None, group)
    rates = [(c.p_values(fresh) <= 1e-2).mean() / 1e-2 for c in (plain, bounded)]
    assert 1.2 * rates[0] < rates[1] < 1.2
    few = Calibration.fit(quiet[:900], np.inf, np.zeros(900, int), group[:900])
    assert few.p_values(np.array([6.0]))[0] < 1e-10  # one block is too little for a Pareto tail of its own
