"""Band levels agree with librosa, with closed forms and with themselves."""

import librosa
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.spectrograms.transform import Transform

EXACT = SpectrogramSettings(db_step=0)


REPRESENTATIONS = ("mel", "linear", "third_octave", "mfcc", "power")


def frames_of(x: np.ndarray, transform: Transform, hop: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(x, transform.win_length)[::hop].copy()


def levels(transform: Transform, x: np.ndarray, hop: int, floor_db: float = -300) -> np.ndarray:
    first = np.arange(0, len(x) - transform.win_length + 1, hop)
    return transform.decibels(transform.band_power(np.ascontiguousarray(x[None], np.float32), first)[0], floor_db)


def exact(**settings: object) -> SpectrogramSettings:
    return SpectrogramSettings(db_step=0, **settings)


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
    ours = levels(transform, x, hop)
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
@pytest.mark.parametrize("representation", ["mel", "linear", "third_octave", "power"])
def test_white_noise_has_its_density_in_every_band(representation: str, rate: float) -> None:
    top = {"third_octave": 100.0, "power": 100.0}.get(representation, 1000.0)
    transform = Transform(exact(representation=representation, highest_hz=top), rate)
    x = np.random.default_rng(0).normal(scale=7.0, size=int(rate * 400)).astype(np.float32)
    mean = 10 * np.log10(np.mean(10 ** (levels(transform, x, transform.win_length) / 10), axis=0))
    np.testing.assert_allclose(mean, 10 * np.log10(2 * 49 / rate), atol=0.7)


def test_power_is_scipys_spectrogram() -> None:
    transform = Transform(exact(representation="power", lowest_hz=0), 2000.0)
    x = np.cumsum(np.random.default_rng(2).standard_normal(6000)).astype(np.float32)
    hz, _, psd = scipy.signal.spectrogram(
        x, 2000.0, window=("hann"), nperseg=512, noverlap=262, detrend="constant", mode="psd"
    )
    np.testing.assert_allclose(transform.centre_hz, hz)
    inner = slice(1, -1)  # SciPy does not double the bins at either end
    np.testing.assert_allclose(levels(transform, x, 250)[:, inner], 10 * np.log10(psd.T)[:, inner], atol=5e-3)


def test_linear_bands_are_means_of_scipys_bins() -> None:
    bin_hz = 2000 / 512
    settings = exact(representation="linear", bands=40, lowest_hz=2.5 * bin_hz, highest_hz=242.5 * bin_hz)
    x = np.cumsum(np.random.default_rng(2).standard_normal(6000)).astype(np.float32)
    _, _, psd = scipy.signal.spectrogram(x, 2000.0, window="hann", nperseg=512, noverlap=262, detrend="constant")
    theirs = psd[3:243].reshape(40, 6, -1).mean(axis=1)  # six whole bins a band
    np.testing.assert_allclose(levels(Transform(settings, 2000.0), x, 250), 10 * np.log10(theirs.T), atol=5e-3)


def test_third_octave_bands_are_iec_61260s_and_hold_what_a_filter_bank_lets_through() -> None:
    transform = Transform(exact(representation="third_octave", lowest_hz=40, highest_hz=1000), 2000.0)
    nominal = [50, 63, 80, 100, 125, 160, 200, 250, 315, 400, 500, 630, 800]
    np.testing.assert_allclose(transform.centre_hz, nominal, rtol=0.016)
    rng = np.random.default_rng(4)
    x = scipy.signal.lfilter([1], [1, -0.9], rng.standard_normal(400_000)).astype(np.float32)
    ours = 10 * np.log10(np.mean(10 ** (levels(transform, x, 256) / 10), axis=0))
    for centre, level in zip(transform.centre_hz, ours, strict=True):
        edges = centre * 10 ** np.array([-0.05, 0.05])
        sos = scipy.signal.butter(6, edges, "bandpass", fs=2000.0, output="sos")
        power = np.mean(scipy.signal.sosfilt(sos, x)[4000:].astype(float) ** 2)
        assert abs(level - 10 * np.log10(power / np.diff(edges)[0])) < 0.5, centre


@pytest.mark.parametrize("hz", [100.0, 254.0, 797.0])
def test_a_sine_has_its_power_in_the_bands_around_it(hz: float) -> None:
    transform = Transform(exact(representation="third_octave", lowest_hz=40, highest_hz=1000), 2000.0)
    x = (3 * np.sin(2 * np.pi * hz * np.arange(20_000) / 2000)).astype(np.float32)
    density = np.mean(10 ** (levels(transform, x, 250) / 10), axis=0)
    widths = transform.centre_hz * (10**0.05 - 10**-0.05)
    assert abs(transform.centre_hz[density.argmax()] - hz) < 0.15 * hz
    assert np.sum(density * widths) == pytest.approx(9 / 2, rel=0.01)


def test_mfcc_are_librosas_of_the_same_mel_levels() -> None:
    settings = exact(representation="mfcc", coefficients=13)
    x = np.cumsum(np.random.default_rng(6).standard_normal(9000)).astype(np.float32)
    mel = levels(Transform(exact(), 2000.0), x, 250)
    theirs = librosa.feature.mfcc(S=mel.T, n_mfcc=13, norm="ortho")
    np.testing.assert_allclose(levels(Transform(settings, 2000.0), x, 250), theirs.T, atol=2e-2)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_rows_have_the_shape_that_the_settings_say(representation: str) -> None:
    settings = exact(representation=representation)
    x = np.random.default_rng(6).standard_normal(2000).astype(np.float32)
    assert levels(Transform(settings, 2000.0), x, 250).shape[1] == settings.row_shape[1]


@pytest.mark.parametrize("representation", ["third_octave", "power"])
def test_a_rate_that_lacks_the_highest_bands_is_refused_by_name(representation: str) -> None:
    with pytest.raises(ValueError, match=r"rate of 1000 Hz does not carry .*highest_hz"):
        Transform(SpectrogramSettings(representation=representation), 1000.0)


def test_a_rate_whose_bins_lie_elsewhere_is_refused_by_name() -> None:
    settings = SpectrogramSettings(representation="power", frame_seconds=0.25, highest_hz=100)
    with pytest.raises(
        ValueError, match=r"0.25 s is no whole number of samples at 250 Hz, .* 23 bins instead of 24"
    ):
        Transform(settings, 250.0)


def test_frames_need_not_be_evenly_spaced() -> None:
    transform = Transform(EXACT, 2000.0)
    x = np.random.default_rng(8).normal(scale=50, size=9000).astype(np.float32)
    first = np.array([0, 250, 500, 751, 1001, 8000])
    apart = [transform.band_power(x[None], first[i : i + 1])[0, 0] for i in range(len(first))]
    np.testing.assert_allclose(transform.band_power(x[None], first)[0], apart, rtol=1e-5)


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
    silent = levels(transform, np.full(2048, 1234.0), 512, floor)
    assert np.allclose(silent, floor, atol=1e-3)
    x = np.random.default_rng(1).uniform(-0.5, 0.5, 2_000_000).astype(np.float32)
    quantization = levels(transform, x, 512)
    assert abs(10 * np.log10(np.mean(10 ** (quantization / 10))) - floor) < 0.1


@settings(deadline=None, max_examples=30)
@given(
    representation=st.sampled_from(REPRESENTATIONS),
    gain=st.floats(0.5, 50),
    offset=st.floats(-1e4, 1e4),
    seed=st.integers(0, 99),
)
def test_gain_shifts_levels_and_offset_does_not(
    representation: str, gain: float, offset: float, seed: int
) -> None:
    settings = exact(representation=representation)
    transform = Transform(settings, 2000.0)
    x = np.random.default_rng(seed).normal(scale=100, size=2048).astype(np.float32)
    plain = levels(transform, x, 512)
    shift = np.full(plain.shape[1], 20 * np.log10(gain))
    if representation == "mfcc":  # the same in all bands is in the first coefficient only
        shift = np.eye(1, plain.shape[1])[0] * shift * np.sqrt(settings.bands)
    np.testing.assert_allclose(levels(transform, x * np.float32(gain), 512), plain + shift, atol=0.02)
    np.testing.assert_allclose(levels(transform, x + np.float32(offset), 512), plain, atol=0.3)


@settings(deadline=None, max_examples=30)
@given(
    bands=st.integers(1, 200),
    lowest=st.floats(0, 400),
    width=st.floats(50, 600),
    rate=st.floats(900, 4000),
    representation=st.sampled_from(["mel", "linear"]),
)
def test_every_band_is_a_mean_of_bins(
    bands: int, lowest: float, width: float, rate: float, representation: str
) -> None:
    settings = exact(representation=representation, bands=bands, lowest_hz=lowest, highest_hz=lowest + width)
    transform = Transform(settings, rate)
    np.testing.assert_allclose((transform.weights / transform.density).sum(axis=0), 1, rtol=1e-5)
    assert (np.diff(transform.centre_hz) > 0).all()


def test_rounding_errs_by_half_a_step_at_most() -> None:
    x = np.random.default_rng(5).normal(size=20_000).astype(np.float32)
    rounded = levels(Transform(SpectrogramSettings(), 2000.0), x, 512)
    assert np.abs(rounded - levels(Transform(EXACT, 2000.0), x, 512)).max() <= 0.125 + 1e-4


def test_bands_too_narrow_for_any_transform_are_refused_before_one_is_made() -> None:
    with pytest.raises(ValueError, match="leaves no room for 64 bands"):
        Transform(SpectrogramSettings(), 16.01)


def test_a_unit_is_a_gain() -> None:
    transform, power = Transform(SpectrogramSettings(), 2000.0), np.ones((1, 64), np.float32)
    np.testing.assert_array_equal(transform.decibels(power.copy(), -300, -180), -180)
