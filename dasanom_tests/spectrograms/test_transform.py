"""Band levels agree with librosa, with closed forms and with themselves."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.spectrograms.transform import Transform

EXACT = SpectrogramSettings(db_step=0)


def frames_of(x: np.ndarray, transform: Transform, hop: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(x, transform.win_length)[::hop].copy()


@pytest.mark.parametrize("mel_scale", ["htk", "slaney"])
@pytest.mark.parametrize("rate", [2000.0, 1000.0, 500.0, 250.0])
def test_levels_are_librosas_mel_spectrogram(mel_scale: str, rate: float) -> None:
    transform = Transform(EXACT.model_copy(update={"mel_scale": mel_scale}), rate)
    rng = np.random.default_rng(3)
    x = np.cumsum(rng.standard_normal(8000)).astype(np.float32)
    x = librosa.effects.preemphasis(x, coef=0.99) * 300
    hop = transform.win_length // 2
    frames = frames_of(x, transform, hop)
    frames -= frames.mean(axis=1, keepdims=True)
    ours = transform.levels(frames.copy(), -300)
    spectrum = np.stack(
        [
            librosa.stft(
                frame, n_fft=transform.n_fft, win_length=transform.n_fft, hop_length=transform.n_fft,
                window=np.pad(transform.window, (0, transform.n_fft - transform.win_length)), center=False,
            )[:, 0]
            for frame in np.pad(frames, ((0, 0), (0, transform.n_fft - transform.win_length)))
        ],
        axis=1,
    )  # fmt: skip
    basis = librosa.filters.mel(
        sr=rate, n_fft=transform.n_fft, n_mels=64, fmin=8, fmax=min(1000, rate / 2), htk=mel_scale == "htk"
    )
    mel = librosa.feature.melspectrogram(
        S=np.abs(spectrum) ** 2, sr=rate, n_mels=64, fmin=8, fmax=min(1000, rate / 2), htk=mel_scale == "htk"
    )
    density = mel / basis.sum(axis=1)[:, None] * 2 / (rate * np.sum(transform.window.astype(float) ** 2))
    theirs = librosa.power_to_db(density, amin=1e-30, top_db=None).T
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


@pytest.mark.parametrize("rate", [2000.0, 3218.0, 250.0])
def test_white_noise_has_its_density_in_every_band(rate: float) -> None:
    transform = Transform(EXACT, rate)
    x = np.random.default_rng(0).normal(scale=7.0, size=int(rate * 400)).astype(np.float32)
    levels = transform.levels(frames_of(x, transform, transform.win_length), -300)
    mean = 10 * np.log10(np.mean(10 ** (levels / 10), axis=0))
    np.testing.assert_allclose(mean, 10 * np.log10(2 * 49 / rate), atol=0.6)


def test_no_band_is_empty_at_any_rate_and_the_highest_lies_below_nyquist() -> None:
    for rate in (250.0, 333.3, 1050.0, 2000.0, 3218.0, 16000.0):
        transform = Transform(SpectrogramSettings(), rate)
        assert transform.n_fft >= transform.win_length
        assert (transform.weights > 0).any(axis=0).all()
        assert transform.centre_hz[-1] < rate / 2


def test_a_rate_too_low_for_the_lowest_band_is_refused() -> None:
    with pytest.raises(ValueError, match="carries nothing above lowest_hz"):
        Transform(SpectrogramSettings(), 16.0)


def test_silence_lies_on_the_floor_of_quantization_noise() -> None:
    transform = Transform(EXACT, 2000.0)
    floor = transform.floor_db(1.0)
    silent = transform.levels(np.full((4, 512), 1234.0, np.float32), floor)
    assert np.allclose(silent, floor, atol=1e-3)
    x = np.random.default_rng(1).uniform(-0.5, 0.5, 2_000_000).astype(np.float32)
    quantization = transform.levels(frames_of(x, transform, 512), -300)
    assert abs(10 * np.log10(np.mean(10 ** (quantization / 10))) - floor) < 0.1


@settings(deadline=None, max_examples=20)
@given(gain=st.floats(0.5, 50), offset=st.floats(-1e4, 1e4), seed=st.integers(0, 99))
def test_gain_shifts_levels_and_offset_does_not(gain: float, offset: float, seed: int) -> None:
    transform = Transform(EXACT, 2000.0)
    x = np.random.default_rng(seed).normal(scale=100, size=(4, 512)).astype(np.float32)
    plain = transform.levels(x.copy(), -300)
    np.testing.assert_allclose(
        transform.levels(x * np.float32(gain), -300), plain + 20 * np.log10(gain), atol=0.01
    )
    np.testing.assert_allclose(transform.levels(x + np.float32(offset), -300), plain, atol=0.1)


def test_rounding_errs_by_half_a_step_at_most() -> None:
    x = np.random.default_rng(5).normal(size=(64, 512)).astype(np.float32)
    exact = Transform(EXACT, 2000.0).levels(x.copy(), -300)
    rounded = Transform(SpectrogramSettings(), 2000.0).levels(x.copy(), -300)
    assert np.abs(rounded - exact).max() <= 0.125 + 1e-4
