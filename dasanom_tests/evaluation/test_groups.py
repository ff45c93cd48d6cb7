"""Detectors on the clips of a group: what is planted is found, and what cannot judge is left out and said."""

import errno
import os
from dataclasses import replace
from typing import Self

import numpy as np
import pytest
from scipy import signal
from sklearn.metrics import roc_auc_score

from dasanom_assets.detection.detectors.base import Windows
from dasanom_assets.detection.detectors.neighbours import Neighbours
from dasanom_assets.evaluation.clips import SOUND, Scale, clip_levels
from dasanom_assets.evaluation.groups import (
    BASELINE,
    FUSED,
    TEMPORAL,
    infogan_settings,
    score_group,
    vae_settings,
)
from dasanom_assets.evaluation.split import TooFewError
from dasanom_assets.settings import InfoGanSettings, Settings, SpectrogramSettings, VaeSettings
from dasanom_tests.evaluation.conftest import RATE, a_clip


def test_few_windows_still_get_enough_steps() -> None:
    for n in (30, 500, 5_000, 100_000):
        for own in (vae_settings(VaeSettings(), n), infogan_settings(InfoGanSettings(), n)):
            per_epoch = -(-min(n, own.windows_per_epoch) // own.batch)
            assert own.max_epochs * per_epoch >= 256
    assert vae_settings(VaeSettings(), 1_000_000).batch == VaeSettings().batch
    assert infogan_settings(InfoGanSettings(), 1_000_000).batch == InfoGanSettings().batch


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
def scale(quick: Settings) -> Scale:
    return Scale.of("mimii", quick)


def test_a_planted_fault_is_found_by_all_detectors_and_their_fusion(
    hissing: tuple[list[np.ndarray], np.ndarray], quick: Settings, scale: Scale
) -> None:
    levels, abnormal = hissing
    result = score_group(levels, abnormal, scale, quick, "cpu", ("mahalanobis", "infogan", "neighbours", TEMPORAL))
    assert list(result.scores) == ["neighbours", "vae", "mahalanobis", "infogan", TEMPORAL, FUSED, BASELINE]
    evaluated = result.parts.evaluation
    for name in result.scores:
        score = result.scores[name]["mean"]
        assert roc_auc_score(abnormal[evaluated], score[evaluated]) > 0.97, name
        assert np.isnan(score[result.parts.train]).all()
        assert np.isfinite(score[evaluated]).all()
        assert (result.scores[name]["max"][evaluated] >= score[evaluated]).all()
    assert all(taken["train"] >= 0 and taken["score"] > 0 for taken in result.seconds.values())
    # What is only compared has no part in what is fused.
    again = score_group(levels, abnormal, scale, quick, "cpu")
    assert np.array_equal(again.scores[FUSED]["mean"], result.scores[FUSED]["mean"], equal_nan=True)


def test_a_detector_that_cannot_judge_clips_is_left_out_and_said(
    hissing: tuple[list[np.ndarray], np.ndarray], quick: Settings, scale: Scale
) -> None:
    levels, abnormal = hissing
    said: list[str] = []
    demanding, broken, mute = (f"{__name__}:{parts}" for parts in ("Demanding", "Broken", "Mute"))
    scale = replace(scale, fused=(broken, "neighbours"))
    result = score_group(levels, abnormal, scale, quick, "cpu", (demanding, mute), said.append)
    assert list(result.scores) == ["neighbours", "vae", FUSED, BASELINE]
    assert "demanding is left out: clips do not have what it asks for, features" in said
    assert "broken is left out: it could not be fitted (out of order)" in said
    assert "mute is left out: it gives all reference windows the same score" in said
    # What is left of the fusion ranks as it does alone.
    single, fused = (result.scores[name]["mean"][result.parts.evaluation] for name in ("neighbours", FUSED))
    assert np.array_equal(single.argsort(), fused.argsort())
    with pytest.raises(OSError, match="No space left"):
        score_group(levels, abnormal, scale, quick, "cpu", (f"{__name__}:OnFullDisk",))
    with pytest.raises(TooFewError, match="no detector of the fusion is left of mute"):
        score_group(levels, abnormal, replace(scale, fused=(mute,)), quick, "cpu")


class Demanding(Neighbours):
    name = "demanding"
    inputs = ("features",)


class Broken(Neighbours):
    name = "broken"

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> Self:
        raise RuntimeError("out of order")


class OnFullDisk(Neighbours):
    name = "on full disk"

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> Self:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Mute(Neighbours):
    name = "mute"

    def score(self, windows: Windows) -> np.ndarray:
        return np.ones(len(windows), np.float32)
