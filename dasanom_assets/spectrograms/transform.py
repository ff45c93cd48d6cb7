"""Frames of signal to levels of bands, at one sampling rate."""

import threading
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import scipy  # its parts are loaded when they are used, and most settings use none
from numba import njit

from dasanom_assets.settings import SpectrogramSettings

FRAMES_AT_ONCE = 512
"""Frames that are transformed together: few enough to stay in cache, and enough that threads seldom take turns."""
MOST_FFT = 1 << 14
"""Length of a transform to which frames are zero-padded, at most: bands that need more are narrower than 1 mHz."""
BANDS_AT_ONCE = 16
"""Bands that are weighed together, from the bins that they reach: a mel filter bank is nearly all zeros, but a
matrix product of few columns is slow."""

_SCRATCH = threading.local()


@dataclass(frozen=True)
class Transform:
    """The spectrogram settings at one sampling rate.

    A frame is freed of its mean, multiplied by a periodic Hann window and transformed. Its one-sided power
    spectral density (Welch 1967) is averaged over bands: white noise of variance s² gives ``10·log10(2·s²/rate)``
    in every band of every representation but mfcc.

    Parameters
    ----------
    settings : SpectrogramSettings
    sampling_rate_hz : float

    Raises
    ------
    ValueError
        Where the sampling rate does not carry the bands: mel and linear bands need a Nyquist frequency above
        ``lowest_hz``; third-octave bands and single bins, whose place is fixed, one above ``highest_hz``.
    """

    settings: SpectrogramSettings
    sampling_rate_hz: float

    def __post_init__(self) -> None:
        rate, s = self.sampling_rate_hz, self.settings
        if self.highest_hz <= s.lowest_hz:
            raise ValueError(
                f"a sampling rate of {rate:g} Hz carries nothing above lowest_hz = {s.lowest_hz:g} Hz; lower "
                "spectrogram.lowest_hz"
            )
        top = 0.0
        if s.representation in ("third_octave", "power"):
            top = s.highest_hz if s.representation == "power" else self._octave_edges[-1]
        if top > rate / 2 * (1 + 1e-9):
            raise ValueError(
                f"a sampling rate of {rate:g} Hz does not carry {s.representation} bands up to {top:g} Hz; lower "
                "spectrogram.highest_hz"
            )
        if s.representation == "power" and len(self.centre_hz) != s.row_shape[1]:
            raise ValueError(
                f"a frame of {s.frame_seconds:g} s is no whole number of samples at {rate:g} Hz, which leaves "
                f"{len(self.centre_hz)} bins instead of {s.row_shape[1]}; change spectrogram.frame_seconds"
            )
        if not self.n_fft:
            raise ValueError(
                f"a sampling rate of {rate:g} Hz leaves no room for {s.bands} bands between "
                f"{s.lowest_hz:g} and {self.highest_hz:g} Hz; lower spectrogram.lowest_hz or spectrogram.bands"
            )
        if s.high_pass_hz >= rate / 2:
            raise ValueError(
                f"a sampling rate of {rate:g} Hz carries nothing above high_pass_hz = {s.high_pass_hz:g} Hz; "
                "lower spectrogram.high_pass_hz"
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
        """Length of the transform: the frame, zero-padded until every mel band holds at least one bin.

        0 where that takes too much of it.
        """
        n_fft = self.win_length
        if self.settings.representation in ("mel", "mfcc"):
            while not _mel_weights(self, n_fft).any(axis=1).all():
                n_fft *= 2
                if n_fft > max(MOST_FFT, 4 * self.win_length):
                    return 0
        return n_fft

    @cached_property
    def window(self) -> np.ndarray:
        """Periodic Hann window, float32, shape (win_length,)."""
        n = np.arange(self.win_length)
        return (0.5 - 0.5 * np.cos(2 * np.pi * n / self.win_length)).astype(np.float32)

    @cached_property
    def density(self) -> float:
        """What makes the squared spectrum a one-sided density, also in the bins without a negative twin.

        Those two, at 0 Hz and at the Nyquist frequency, are half as wide, so that SciPy, which does not double
        them, reports 3 dB less there.
        """
        return 2 / (self.sampling_rate_hz * float(np.square(self.window, dtype=np.float64).sum()))

    @cached_property
    def weights(self) -> np.ndarray:
        """Squared spectrum to density of bands, float32, shape (n_fft // 2 + 1, filters).

        Each band is a weighted mean of bins. For mel the weights are librosa's triangles; linear and third-octave
        bands take each bin by the share of it that lies in the band; a bin is a band of its own for power.
        """
        s = self.settings
        if s.representation in ("mel", "mfcc"):
            shares = _mel_weights(self, self.n_fft).astype(np.float64)
        elif s.representation == "power":
            shares = np.eye(self.n_fft // 2 + 1)[list(self._bins)]
        else:
            edges = self._octave_edges if s.representation == "third_octave" else self._linear_edges
            shares = _overlaps(edges[:-1], edges[1:], self.sampling_rate_hz, self.n_fft)
        shares /= shares.sum(axis=1, keepdims=True)
        return np.ascontiguousarray((shares * self.density).T, dtype=np.float32)

    @cached_property
    def centre_hz(self) -> np.ndarray:
        """Centre frequency of each band, Hz, float64, shape (filters,); those of the mel bands for mfcc."""
        import librosa

        s = self.settings
        if s.representation == "third_octave":
            return 10 ** (np.array(s.third_octaves()) / 10)
        if s.representation == "linear":
            return (self._linear_edges[1:] + self._linear_edges[:-1]) / 2
        if s.representation == "power":
            return np.array(self._bins) * self.sampling_rate_hz / self.n_fft
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

    def band_power(self, x: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Return the power density of bands in frames of some channels.

        Torch transforms, since its Fourier transform is several times as fast as SciPy's on a processor with MKL.
        Its arrays are aligned in memory, which MKL needs to give the same last bit again. Each call works on
        `FRAMES_AT_ONCE` frames, of one channel or of several.

        Parameters
        ----------
        x : numpy.ndarray
            float32, shape (channels, n_samples), contiguous.
        first : numpy.ndarray
            int64, shape (n_frames,): first sample of each frame.

        Returns
        -------
        numpy.ndarray
            float32, shape (channels, n_frames, filters), unit²/Hz.
        """
        import torch

        samples, (window, weights) = torch.from_numpy(x), self._tensors
        out = torch.empty(len(x), len(first), self.weights.shape[1])
        hops = np.diff(first)
        evenly = len(hops) > 0 and bool((hops == hops[0]).all())
        channels = max(1, FRAMES_AT_ONCE // max(1, len(first)))
        for begin in range(0, len(first), FRAMES_AT_ONCE):
            piece = slice(begin, min(begin + FRAMES_AT_ONCE, len(first)))
            n = piece.stop - begin
            for signals, bands in zip(samples.split(channels), out[:, piece].split(channels), strict=True):
                if evenly:
                    shape, strides = (len(signals), n, self.win_length), (signals.stride(0), int(hops[0]), 1)
                    frames = signals.as_strided(shape, strides, signals.storage_offset() + int(first[begin]))
                else:
                    frames = signals.unfold(1, self.win_length, 1)[:, torch.from_numpy(first[piece])]
                if self._feels_mean:
                    frames = frames - frames.mean(dim=2, keepdim=True)
                windowed, power = self._scratch(len(signals) * n)
                torch.mul(frames, window, out=windowed.view(frames.shape))
                spectrum = torch.fft.rfft(windowed, self.n_fft)  # to write it elsewhere would be a copy more
                _square(torch.view_as_real(spectrum).numpy(), power.numpy())
                together = bands.view(len(power), -1)
                for of_bins, of_bands, band_weights in weights:
                    torch.mm(power[:, of_bins], band_weights, out=together[:, of_bands])
        return out.numpy()

    def decibels(self, power: np.ndarray, floor_db: float, gain_db: float = 0.0) -> np.ndarray:
        """Return levels, or the cosine transform of levels for mfcc.

        Parameters
        ----------
        power : numpy.ndarray
            float32, shape (..., filters), unit²/Hz; overwritten.
        floor_db : float
            Lower levels are set to this.
        gain_db : float
            Added to all levels: what a unit is more than that of the samples.

        Returns
        -------
        numpy.ndarray
            float32, shape (..., bands), dB re 1 unit²/Hz, rounded to ``db_step``.
        """
        np.maximum(power, np.float32(10 ** (floor_db / 10)), out=power)
        np.log10(power, out=power)
        power *= 10
        if gain_db:
            power += np.float32(gain_db)
        if self.settings.representation == "mfcc":
            power = scipy.fft.dct(power, norm="ortho")[..., : self.settings.coefficients]
        if step := self.settings.db_step:
            power *= 1 / step
            np.rint(power, out=power)
            power *= step
        return power

    @cached_property
    def _feels_mean(self) -> bool:
        """Whether a frame's mean shows: a Hann window as long as the transform keeps it in the first two bins."""
        return self.n_fft != self.win_length or bool(self.weights[:2].any())

    @cached_property
    def _tensors(self) -> tuple[Any, list[tuple[slice, slice, Any]]]:
        """Window, and weights by bins and bands, as torch tensors of their own, aligned in memory."""
        import torch

        weights = []
        for begin in range(0, self.weights.shape[1], BANDS_AT_ONCE):
            bands = slice(begin, begin + BANDS_AT_ONCE)
            reached = np.flatnonzero(self.weights[:, bands].any(axis=1))
            bins = slice(int(reached[0]), int(reached[-1]) + 1)
            weights.append((bins, bands, torch.from_numpy(self.weights[bins, bands].copy())))
        return torch.from_numpy(self.window).clone(), weights

    def _scratch(self, n: int) -> tuple[Any, ...]:
        """Return windowed frames and power to write to, kept for this thread.

        Memory of this size is otherwise given back to the system after each use and cleared before the next, which
        takes longer than the transform.
        """
        import torch

        kept = _SCRATCH.__dict__
        key = (n, self.win_length, self.n_fft)
        if kept.get("key") != key:
            kept["arrays"] = torch.empty(n, self.win_length), torch.empty(n, self.n_fft // 2 + 1)
            kept["key"] = key
        return kept["arrays"]

    @property
    def _bins(self) -> range:
        return self.settings.bins(self.sampling_rate_hz / self.n_fft)

    @property
    def _octave_edges(self) -> np.ndarray:
        numbers = self.settings.third_octaves()
        return 10 ** ((np.arange(numbers.start, numbers.stop + 1) - 0.5) / 10)

    @property
    def _linear_edges(self) -> np.ndarray:
        return np.linspace(self.settings.lowest_hz, self.highest_hz, self.settings.bands + 1)


@njit(nogil=True, cache=True)
def _square(spectrum: np.ndarray, power: np.ndarray) -> None:
    """Write the squared magnitudes of a spectrum, float32, shape (frames, bins, 2), to `power`."""
    for i in range(power.shape[0]):
        for j in range(power.shape[1]):
            power[i, j] = spectrum[i, j, 0] * spectrum[i, j, 0] + spectrum[i, j, 1] * spectrum[i, j, 1]


def _overlaps(low: np.ndarray, high: np.ndarray, rate: float, n_fft: int) -> np.ndarray:
    """Return how much of each bin lies in each band, Hz, shape (bands, n_fft // 2 + 1)."""
    centre = np.arange(n_fft // 2 + 1) * rate / n_fft
    left, right = np.maximum(centre - rate / n_fft / 2, 0), np.minimum(centre + rate / n_fft / 2, rate / 2)
    shared = np.minimum(high[:, None], right) - np.maximum(low[:, None], left)
    return np.maximum(shared, 0)


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
