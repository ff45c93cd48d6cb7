"""One frame of signal to one column of band levels, at one sampling rate."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy.fft

from dasanom_assets.settings import SpectrogramSettings


@dataclass(frozen=True)
class Transform:
    """The spectrogram settings at one sampling rate.

    A frame is cut at its centre, freed of its mean, multiplied by a periodic Hann window and transformed. Its
    one-sided power spectral density is averaged over mel bands: white noise of variance s² gives
    ``10·log10(2·s²/rate)`` in every band.

    Parameters
    ----------
    settings : SpectrogramSettings
    sampling_rate_hz : float

    Raises
    ------
    ValueError
        Where the sampling rate leaves no band: its Nyquist frequency is not above ``lowest_hz``.
    """

    settings: SpectrogramSettings
    sampling_rate_hz: float

    def __post_init__(self) -> None:
        if self.highest_hz <= self.settings.lowest_hz:
            raise ValueError(
                f"a sampling rate of {self.sampling_rate_hz:g} Hz carries nothing above lowest_hz = "
                f"{self.settings.lowest_hz:g} Hz; lower spectrogram.lowest_hz"
            )

    @cached_property
    def highest_hz(self) -> float:
        """Upper edge of the highest band: the setting, or the Nyquist frequency where that is lower."""
        return min(self.settings.highest_hz, self.sampling_rate_hz / 2)

    @cached_property
    def win_length(self) -> int:
        """Samples of a frame."""
        return max(4, round(self.settings.frame_seconds * self.sampling_rate_hz))

    @cached_property
    def n_fft(self) -> int:
        """Length of the transform: the frame, zero-padded until every band holds at least one bin."""
        n_fft = self.win_length
        while not _mel_weights(self, n_fft).any(axis=1).all():
            n_fft *= 2
        return n_fft

    @cached_property
    def window(self) -> np.ndarray:
        """Periodic Hann window, float32, shape (win_length,)."""
        n = np.arange(self.win_length)
        return (0.5 - 0.5 * np.cos(2 * np.pi * n / self.win_length)).astype(np.float32)

    @cached_property
    def weights(self) -> np.ndarray:
        """Bin power to band density, float32, shape (n_fft // 2 + 1, bands).

        librosa's filters of unit area in Hz (``norm="slaney"``), scaled to a one-sided density (Welch 1967)
        and to rows that sum to that of a continuous spectrum, whichever bins a band happens to hold.
        """
        mel = _mel_weights(self, self.n_fft).astype(np.float64)
        mel /= mel.sum(axis=1, keepdims=True)
        energy = float(np.square(self.window, dtype=np.float64).sum())
        return np.ascontiguousarray((mel * 2 / (self.sampling_rate_hz * energy)).T, dtype=np.float32)

    @cached_property
    def centre_hz(self) -> np.ndarray:
        """Centre frequency of each band, Hz, float64, shape (bands,)."""
        import librosa

        s = self.settings
        return librosa.mel_frequencies(
            s.bands + 2, fmin=s.lowest_hz, fmax=self.highest_hz, htk=s.mel_scale == "htk"
        )[1:-1]

    def floor_db(self, quantization: float | None) -> float:
        """Return the lowest level that means something, dB.

        For integer samples that is the density of their quantization noise, ``q²/12`` spread up to the Nyquist
        frequency; for floats it is only what keeps the logarithm finite.
        """
        if quantization is None:
            return float(10 * np.log10(np.finfo(np.float32).tiny))
        return float(10 * np.log10(quantization**2 / 6 / self.sampling_rate_hz))

    def levels(self, frames: np.ndarray, floor_db: float) -> np.ndarray:
        """Return the band levels of frames.

        Parameters
        ----------
        frames : numpy.ndarray
            float32, shape (n_frames, win_length); overwritten.
        floor_db : float
            Lower levels are set to this.

        Returns
        -------
        numpy.ndarray
            float32, shape (n_frames, bands), dB re 1 unit²/Hz, rounded to ``db_step``.
        """
        frames -= frames.mean(axis=1, keepdims=True)
        frames *= self.window
        spectrum = scipy.fft.rfft(frames, self.n_fft, axis=1)
        power = np.square(spectrum.real)
        power += np.square(spectrum.imag)
        bands = power @ self.weights
        np.maximum(bands, np.float32(10 ** (floor_db / 10)), out=bands)
        np.log10(bands, out=bands)
        bands *= 10
        if step := self.settings.db_step:
            bands /= step
            np.rint(bands, out=bands)
            bands *= step
        return bands


@lru_cache(maxsize=64)
def _mel_weights(transform: Transform, n_fft: int) -> np.ndarray:
    """Return librosa's mel filters, shape (bands, n_fft // 2 + 1)."""
    import warnings

    from librosa.filters import mel

    with warnings.catch_warnings():  # empty bands are what `n_fft` looks for
        warnings.filterwarnings("ignore", "Empty filters", UserWarning)
        return mel(
            sr=transform.sampling_rate_hz,
            n_fft=n_fft,
            n_mels=transform.settings.bands,
            fmin=transform.settings.lowest_hz,
            fmax=transform.highest_hz,
            htk=transform.settings.mel_scale == "htk",
            norm="slaney",
        )
