"""The detector `infogan` finds windows that are far among the features, or that do not come back."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from dasanom_assets.detection.detectors.base import Windows, detector_class
from dasanom_assets.detection.detectors.gan import InfoGan
from dasanom_assets.models.encoding import Encoded, encode_gan
from dasanom_assets.models.infogan_training import train_infogan
from dasanom_assets.settings import InfoGanSettings, Settings
from dasanom_assets.spectrograms.windows import WindowBank

SETTINGS = Settings()


def windows(features: np.ndarray, error: np.ndarray) -> Windows:
    n = len(features)
    bank = WindowBank(np.zeros((n, 1, 1), np.float32), np.arange(n), 1)
    more = {"infogan_features": features.astype(np.float32), "infogan_error": error.astype(np.float32)}
    flat = np.zeros(n, np.float32)
    return Windows(bank, Encoded(flat[:, None], flat[:, None], flat, flat), more=more)


def quiet(seed: int, n: int = 3000, events: int = 0) -> Windows:
    """Features of unequal spread that hang together, and positive errors; the first `events` are far off."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(6, 6)) * [5, 2, 1, 1, 0.5, 0.1]
    features = rng.normal(size=(n, 6)) @ mix
    features[:events] += 60
    return windows(features, rng.lognormal(0, 0.2, n))


def test_settings_may_name_it() -> None:
    assert detector_class("infogan") is InfoGan
    assert InfoGan.inputs == ("infogan_features", "infogan_error")


def test_the_distance_is_that_of_a_covariance_shrunk_after_ledoit_and_wolf() -> None:
    reference, other = quiet(0), quiet(1, 50)
    result = InfoGan.fit(reference, SETTINGS)
    shrunk = LedoitWolf().fit(reference.more["infogan_features"])
    expected = np.sqrt(shrunk.mahalanobis(other.more["infogan_features"]))
    np.testing.assert_allclose(np.exp(result._terms(other)[:, 0]), expected, rtol=1e-3)


@pytest.mark.parametrize("part", ["features", "error"])
def test_either_of_the_two_is_enough(part: str) -> None:
    result = InfoGan.fit(quiet(0), SETTINGS)
    planted = quiet(2, 1000)
    unusual = np.arange(1000) < 50
    if part == "features":
        planted.more["infogan_features"][unusual] *= 3
    else:
        planted.more["infogan_error"][unusual] *= 3
    score = result.score(planted)
    assert score.dtype == np.float32
    assert roc_auc_score(unusual, score) > 0.97


def test_events_of_the_reference_stand_out_from_it_though_none_is_left_out() -> None:
    spoilt = quiet(0, events=30)
    score = InfoGan.fit(spoilt, SETTINGS).score(spoilt)
    assert score[:30].min() > np.quantile(score[30:], 0.99)


def test_a_score_depends_on_its_window_alone_and_survives_storage() -> None:
    result = InfoGan.fit(quiet(0), SETTINGS)
    other = quiet(4, 40)
    score = result.score(other)
    np.testing.assert_allclose(result.score(other.subset(np.array([7])))[0], score[7], rtol=1e-5)
    assert result.score(other.subset(np.zeros(40, bool))).shape == (0,)
    tensors, values = result.state()
    np.testing.assert_array_equal(InfoGan.restore(tensors, values).score(other), score)


def test_features_that_never_vary_do_no_harm() -> None:
    dead = quiet(0)
    dead.more["infogan_features"][:, 2] = 0
    assert np.isfinite(InfoGan.fit(dead, SETTINGS).score(dead)).all()
    dead.more["infogan_features"][:] = 7.0  # a network that collapsed: its error alone is left
    result = InfoGan.fit(dead, SETTINGS)
    other = quiet(1, 200)
    other.more["infogan_features"][:] = 7.0
    assert np.isfinite(result.score(other)).all()
    other.more["infogan_error"][:50] *= 5
    assert result.score(other)[:50].min() > result.score(other)[50:].max()


def test_planted_windows_are_told_from_usual_ones_by_a_trained_network() -> None:
    def bank(seed: int, blobs: float) -> tuple[WindowBank, np.ndarray]:
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(600, 16, 16)).astype(np.float32)
        rows += 2 * np.sin(rng.uniform(0, 6, (600, 1, 1)) + np.arange(16) / 3).astype(np.float32)
        marked = rng.random(600) < blobs
        rows[marked, 4:12, 4:10] += 5
        return WindowBank(rows, np.arange(600), 1, levels=(-5.0, 15.0)), marked

    small = InfoGanSettings(
        categories=5, noise=8, widths=(8, 16), features=16, batch=60, max_epochs=8, windows_per_epoch=600
    )
    model = train_infogan(bank(0, 0.005)[0], bank(1, 0.0)[0], small, "cpu").model

    def seen(parts: WindowBank) -> Windows:
        encoded = encode_gan(model, parts, "cpu")
        return Windows(
            parts,
            Encoded.empty(1),
            more={"infogan_features": encoded.features, "infogan_error": encoded.reconstruction_error},
        )

    result = InfoGan.fit(seen(bank(0, 0.005)[0]), SETTINGS)
    other, marked = bank(2, 0.1)
    assert roc_auc_score(marked, result.score(seen(other))) > 0.95
