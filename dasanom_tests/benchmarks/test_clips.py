"""Clips through levels, splits, whitening and windows; and the dense autoencoder beside them."""

from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal
from sklearn.metrics import roc_auc_score

from dasanom_assets.benchmarks.autoencoder import FRAMES, Autoencoder, vectors
from dasanom_assets.benchmarks.clips import (
    BASELINE,
    FUSED,
    SOUND,
    SOUND_FUSED,
    TEMPORAL,
    Residual,
    Scale,
    TooFewError,
    Usual,
    bank_of,
    clip_levels,
    infogan_settings,
    score_group,
    split,
    vae_settings,
)
from dasanom_assets.detection.detectors.base import Windows
from dasanom_assets.detection.detectors.neighbours import Neighbours
from dasanom_assets.recordings.labelled_sets import Clip, Group
from dasanom_assets.settings import (
    DetectionSettings,
    InfoGanSettings,
    ReferenceSettings,
    Settings,
    SpectrogramSettings,
    VaeSettings,
    WindowSettings,
)
from dasanom_assets.spectrograms.windows import WindowBank

RATE = 16_000


def a_clip(x: np.ndarray, rate: float = RATE) -> Clip:
    return Clip(Group("fan"), "normal", Path("x.wav"), rate, np.atleast_2d(x).astype(np.float32), None)


def test_levels_of_a_clip_are_densities_on_the_grid_of_whole_seconds() -> None:
    x = np.random.default_rng(0).normal(0, 0.1, (2, 3 * RATE + 100))
    levels = clip_levels(a_clip(x), SOUND)
    assert levels.shape == (2, 3, 32, 64)
    assert 10 * np.log10(np.mean(10 ** (levels / 10))) == pytest.approx(10 * np.log10(2 * 0.1**2 / RATE), abs=0.2)
    # A click in the middle of frame 40 of all is loudest there.
    x = np.full(3 * RATE, 1e-6)
    x[round(40.5 * RATE / 32)] = 1
    assert clip_levels(a_clip(x), SOUND).reshape(96, 64).mean(axis=1).argmax() == 40


def test_a_clip_that_no_window_fits_in_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"0\.50 s are shorter than a second"):
        clip_levels(a_clip(np.ones(8000)), SOUND)
    with pytest.raises(ValueError, match="does not divide a second"):
        clip_levels(a_clip(np.ones(RATE)), SpectrogramSettings(hop_seconds=0.256))
    with pytest.raises(ValueError, match="carries nothing above"):
        clip_levels(a_clip(np.ones(100), rate=50), SpectrogramSettings(lowest_hz=30))


@given(normal=st.integers(4, 300), abnormal=st.integers(1, 300), seed=st.integers(0, 9))
def test_nothing_is_evaluated_on_that_was_learned_from(normal: int, abnormal: int, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat([False, True], [normal, abnormal]))
    parts = split(labels)
    learned = [parts.train, parts.validation, parts.calibration]
    assert all(len(part) and not labels[part].any() for part in learned)
    everything = np.concatenate([*learned, parts.evaluation])
    assert sorted(everything) == list(range(normal + abnormal))
    held_out = parts.evaluation[~labels[parts.evaluation]]
    assert len(held_out) == min(abnormal, max(1, normal // 2), normal - 3)
    assert held_out.max() < min(part.min() for part in learned)


@pytest.mark.parametrize(("normal", "abnormal"), [(3, 5), (50, 0)])
def test_a_group_with_too_few_clips_says_what_it_has(normal: int, abnormal: int) -> None:
    with pytest.raises(TooFewError, match=f"{normal} normal and {abnormal} abnormal clips"):
        split(np.repeat([False, True], [normal, abnormal]))


def test_windows_stay_within_their_clip_and_out_of_silence() -> None:
    rng = np.random.default_rng(0)
    levels = [rng.normal(0, 5, (2, seconds, 4, 3)).astype(np.float32) for seconds in (5, 3, 4)]
    levels[2][1, 2] = -100.0
    usual = Usual.of(levels)
    flat = np.concatenate([x.reshape(2, -1, 3) for x in levels], axis=1)
    assert np.allclose(usual.median_db[:, 0, 0], np.median(flat, axis=1))
    bank, of_clip = bank_of(levels, usual, Settings().background, WindowSettings(seconds=2))
    # Four, two and three windows a channel; in the last channel two of them hold the silent second.
    assert np.bincount(of_clip).tolist() == [8, 4, 4]
    background = Settings().background
    white = (levels[1][1, 1:3] - usual.median_db[1]) / (1.4826 * usual.mad_db[1] + background.scale_floor_db)
    expected = np.clip(white, background.clip_low, background.clip_high).reshape(-1, 3)
    assert np.allclose(bank.window(np.flatnonzero(of_clip == 1)[3]), expected, atol=1e-5)


def test_clips_with_other_channels_share_one_usual_level() -> None:
    rng = np.random.default_rng(0)
    levels = [rng.normal(0, 5, (channels, 2, 4, 3)).astype(np.float32) for channels in (2, 5)]
    assert Usual.of(levels).median_db.shape == (1, 1, 1, 3)
    assert len(bank_of(levels, Usual.of(levels), Settings().background, WindowSettings(seconds=2))[0]) == 7


def test_few_windows_still_get_enough_steps() -> None:
    for n in (30, 500, 5_000, 100_000):
        for own in (vae_settings(VaeSettings(), n), infogan_settings(InfoGanSettings(), n)):
            per_epoch = -(-min(n, own.windows_per_epoch) // own.batch)
            assert own.max_epochs * per_epoch >= 256
    assert vae_settings(VaeSettings(), 1_000_000).batch == VaeSettings().batch
    assert infogan_settings(InfoGanSettings(), 1_000_000).batch == InfoGanSettings().batch


def test_the_autoencoder_sees_five_frames_in_a_row_and_learns_what_it_sees() -> None:
    levels = np.arange(24, dtype=np.float32).reshape(8, 3)
    x = vectors(levels)
    assert x.shape == (4, 3 * FRAMES)
    assert sorted(x[1]) == levels[1:6].ravel().tolist()
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(3, 40)).astype(np.float32)
    normal = rng.normal(size=(3000, 3)).astype(np.float32) @ basis
    network = Autoencoder.fit(normal[:2000], seed=0, device="cpu")
    again = Autoencoder.fit(normal[:2000], seed=0, device="cpu")
    assert np.array_equal(network.errors(normal[:10]), again.errors(normal[:10]))
    strange = rng.normal(size=(500, 40)).astype(np.float32) * normal.std()
    assert network.errors(normal[2000:]).mean() < 0.2 * network.errors(strange).mean()


@pytest.fixture(scope="module")
def hissing() -> tuple[list[np.ndarray], np.ndarray]:
    """Clips of brown noise, some of which hiss."""
    rng = np.random.default_rng(0)
    clips = []
    for i in range(70):
        x = signal.lfilter([1], [1, -0.95], rng.normal(0, 0.02, 4 * RATE))
        if i >= 60:
            x = x + signal.lfilter([1, -0.9], [1], rng.normal(0, 0.012, 4 * RATE))
        clips.append(clip_levels(a_clip(x), SpectrogramSettings(**SOUND.model_dump() | {"bands": 16})))
    return clips, np.arange(70) >= 60


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("dasanom_assets.benchmarks.clips.STEPS", 20)
    monkeypatch.setattr("dasanom_assets.benchmarks.autoencoder.EPOCHS", 3)
    vae = VaeSettings(latent=4, widths=(8, 8, 8), max_epochs=1)
    infogan = InfoGanSettings(widths=(8, 8), features=16, max_epochs=1)
    detection = DetectionSettings(detectors=("neighbours", "vae"), fused=("neighbours", "vae"))
    return Settings(vae=vae, infogan=infogan, detection=detection)


@pytest.fixture
def scale(quick: Settings) -> Scale:
    return Scale.of("mimii", quick)


def test_a_planted_fault_is_found_by_all_detectors_and_their_fusion(
    hissing: tuple[list[np.ndarray], np.ndarray], quick: Settings, scale: Scale
) -> None:
    levels, abnormal = hissing
    found = score_group(levels, abnormal, scale, quick, "cpu", ("mahalanobis", "infogan", "neighbours", TEMPORAL))
    assert list(found.scores) == ["neighbours", "vae", "mahalanobis", "infogan", TEMPORAL, FUSED, BASELINE]
    evaluated = found.parts.evaluation
    for name in found.scores:
        score = found.scores[name]["mean"]
        assert roc_auc_score(abnormal[evaluated], score[evaluated]) > 0.97, name
        assert np.isnan(score[found.parts.train]).all()
        assert np.isfinite(score[evaluated]).all()
        assert (found.scores[name]["max"][evaluated] >= score[evaluated]).all()
    assert all(taken["train"] >= 0 and taken["score"] > 0 for taken in found.seconds.values())
    # What is only compared has no part in what is fused.
    again = score_group(levels, abnormal, scale, quick, "cpu")
    assert np.array_equal(again.scores[FUSED]["mean"], found.scores[FUSED]["mean"], equal_nan=True)


def test_a_detector_that_cannot_judge_clips_is_left_out_and_said(
    hissing: tuple[list[np.ndarray], np.ndarray], quick: Settings, scale: Scale
) -> None:
    levels, abnormal = hissing
    said: list[str] = []
    demanding, broken, mute = (f"{__name__}:{of}" for of in ("Demanding", "Broken", "Mute"))
    scale = replace(scale, fused=(broken, "neighbours"))
    found = score_group(levels, abnormal, scale, quick, "cpu", (demanding, mute), said.append)
    assert list(found.scores) == ["neighbours", "vae", FUSED, BASELINE]
    assert "demanding is left out: clips do not have what it asks for, features" in said
    assert "broken is left out: it could not be fitted (out of order)" in said
    assert "mute is left out: it gives all reference windows the same score" in said
    # What is left of the fusion ranks as it does alone.
    alone, fused = (found.scores[name]["mean"][found.parts.evaluation] for name in ("neighbours", FUSED))
    assert np.array_equal(alone.argsort(), fused.argsort())
    with pytest.raises(TooFewError, match="no detector of the fusion is left of mute"):
        score_group(levels, abnormal, replace(scale, fused=(mute,)), quick, "cpu")


def test_sound_has_a_fusion_of_its_own_unless_the_settings_name_one(quick: Settings) -> None:
    assert Scale.of("mimii", Settings()).fused == SOUND_FUSED
    assert Scale.of("das", Settings()).fused == ("neighbours", "ranked")
    assert Scale.of("mimii", quick).fused == Scale.of("das", quick).fused == ("neighbours", "vae")


def test_what_lies_beyond_the_principal_components_is_found_by_the_residual() -> None:
    """A small step out of the plane of the reference counts for more than a large one within."""
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(2, 6))
    beyond = np.linalg.svd(plane)[2][-1]

    def windows(*levels: np.ndarray) -> Windows:
        rows = np.concatenate([np.atleast_2d(x) for x in levels]).astype(np.float32)[:, None]
        return Windows(WindowBank(rows, np.arange(len(rows)), 1))

    settings = Settings(reference=ReferenceSettings(ranked_dimensions=2))
    found = Residual.fit(windows(rng.normal(size=(60, 2)) @ plane), settings)
    within, out = found.score(windows(10 * plane[0], plane[0] + 0.1 * beyond))
    assert np.exp(within) < 1e-3
    assert np.exp(out) == pytest.approx(0.1 * np.sqrt(2), rel=0.01)  # of ranked means and of means


class Demanding(Neighbours):
    name = "demanding"
    inputs = ("features",)


class Broken(Neighbours):
    name = "broken"

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> Self:
        raise RuntimeError("out of order")


class Mute(Neighbours):
    name = "mute"

    def score(self, windows: Windows) -> np.ndarray:
        return np.ones(len(windows), np.float32)
