"""Settings come from the environment, presets lie below them, and what does not go together is refused."""

import librosa
import numpy as np
import pytest
from pydantic import ValidationError

from dasanom_assets.settings import DetectionSettings, ReferenceSettings, Settings, SpectrogramSettings
from dasanom_assets.spectrograms.transform import Transform


def test_the_preset_original_is_the_study_and_a_setting_of_its_own_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().spectrogram == SpectrogramSettings()
    monkeypatch.setenv("DASANOM_PRESET", "original")
    original = Settings()
    assert (original.window.seconds, original.window.shift_seconds, original.window.image) == (10, 1, (64, 64))
    assert original.window.scaling == "minmax"
    transform = Transform(original.spectrogram, 2000.0)
    assert (transform.win_length, transform.n_fft, original.spectrogram.hop_seconds * 2000) == (512, 512, 512)
    monkeypatch.setenv("DASANOM_WINDOW__SECONDS", "20")
    monkeypatch.setenv("DASANOM_SPECTROGRAM__BANDS", "60")
    changed = Settings()
    assert (changed.window.seconds, changed.window.image, changed.spectrogram.bands) == (20, (64, 64), 60)
    assert changed.spectrogram.mel_scale == "slaney"


def test_the_bands_of_the_preset_are_the_last_120_of_128(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASANOM_PRESET", "original")
    ours = Transform(Settings().spectrogram, 2000.0).weights.T.astype(float)
    theirs = librosa.filters.mel(sr=2000, n_fft=512, n_mels=128, fmin=0, fmax=1000)[8:].astype(float)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(
        ours / ours.sum(axis=1, keepdims=True), theirs / theirs.sum(axis=1, keepdims=True), atol=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"lowest_hz": 50, "highest_hz": 40}, "highest_hz 40.0 is not above lowest_hz 50"),
        ({"hop_seconds": 0.1234567}, "whole number of microseconds"),
        ({"common_mode_channels": 200, "difference": "first"}, "do not go together"),
        ({"representation": "mfcc", "coefficients": 80}, "coefficients 80 are more than bands 64"),
        ({"representation": "third_octave", "lowest_hz": 101, "highest_hz": 110}, "no third_octave band lies in"),
        ({"db_step": 0.6}, "less than or equal to 0.5"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(settings: dict, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        SpectrogramSettings(**settings)


def test_a_hop_that_does_not_divide_a_second_needs_an_image() -> None:
    with pytest.raises(ValidationError, match=r"set window\.image"):
        Settings(spectrogram=SpectrogramSettings(hop_seconds=0.3))
    assert SpectrogramSettings(hop_seconds=0.3).row_shape == (4, 64)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [({"time_zone": "Middle/Earth"}, "not known"), ({"shift_seconds": 90}, "gaps between segments")],
)
def test_segments_with_gaps_and_unknown_time_zones_are_refused(wrong: dict, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings(temporal=wrong)


def test_the_fusion_is_what_is_named_or_the_two_that_always_score_or_all() -> None:
    named = DetectionSettings(detectors=("neighbours", "ranked", "vae"), fused=("vae", "ranked"))
    assert named.fusion(["neighbours", "ranked", "vae"]) == ("vae", "ranked")
    usual = DetectionSettings()
    assert usual.fusion([name.rpartition(":")[2] for name in usual.detectors]) == ("neighbours", "ranked")
    assert usual.fusion(["vae", "ranked"]) == ("ranked",)
    assert usual.fusion(["vae", "latent"]) == ("vae", "latent")


@pytest.mark.parametrize(
    ("section", "wrong"),
    [
        ("reference", {"contamination": 0.5}),
        ("reference", {"folds": 1}),
        ("reference", {"most_shape": 0.5}),
        ("reference", {"half_height": 0}),
        ("reference", {"rank_decay": 1}),
        ("detection", {"budget": 0}),
        ("detection", {"detectors": ()}),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(section: str, wrong: dict) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Settings(**{section: wrong})


def test_the_recipe_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().reference == ReferenceSettings()
    monkeypatch.setenv("DASANOM_REFERENCE__SUPPORT_SECONDS", "4.5")
    monkeypatch.setenv("DASANOM_DETECTION__FUSED", '["ranked"]')
    changed = Settings()
    assert changed.reference == ReferenceSettings(support_seconds=4.5)
    assert changed.detection.fused == ("ranked",)


def test_every_constant_of_the_recipe_says_what_it_is_for() -> None:
    assert all(field.description for field in ReferenceSettings.model_fields.values())


def test_addresses_that_paths_are_put_behind_end_without_a_slash() -> None:
    settings = Settings.model_validate(
        {"reports": {"url": "https://a/review/"}, "notify": {"base_url": "http://b//"}}
    )
    assert (settings.reports.url, settings.notify.base_url) == ("https://a/review", "http://b")
