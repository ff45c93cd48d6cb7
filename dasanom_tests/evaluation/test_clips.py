"""Clips through levels, whitening and windows."""

import numpy as np
import pytest

from dasanom_assets.evaluation.clips import SOUND, SOUND_FUSED, Scale, Usual, bank_of, clip_levels
from dasanom_assets.settings import Settings, SpectrogramSettings, WindowSettings
from dasanom_tests.evaluation.conftest import RATE, a_clip


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


def test_sound_has_a_fusion_of_its_own_unless_the_settings_name_one(quick: Settings) -> None:
    assert Scale.of("mimii", Settings()).fused == SOUND_FUSED
    assert Scale.of("das", Settings()).fused == ("neighbours", "ranked")
    assert Scale.of("mimii", quick).fused == Scale.of("das", quick).fused == ("neighbours", "vae")
