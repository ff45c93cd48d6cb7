"""Noise in a band: a piece of known length, and a stream without an end of which any part can be drawn."""

import numpy as np
from scipy import fft, signal

Band = tuple[float, float]
"""Lowest and highest value of a range: of frequencies in Hz where nothing else is said."""


def band_noise(rng: np.random.Generator, n: int, rate: int, band_hz: Band, rows: int = 1) -> np.ndarray:
    """Draw noise with fourth-order edges and unit variance a row, float32, shape (rows, n)."""
    length = fft.next_fast_len(n, real=True)
    frequency = np.maximum(fft.rfftfreq(length, 1 / rate), 1e-6)
    low, high = band_hz
    power = 1 / ((1 + (low / frequency) ** 8) * (1 + (frequency / high) ** 8))
    return shaped_noise(rng, power / power.sum(), length, rows)[:, :n]


def shaped_noise(rng: np.random.Generator, power: np.ndarray, n: int, rows: int) -> np.ndarray:
    """Draw `rows` independent noises of `n` samples, with variance `power` (one value a bin of the rfft)."""
    spectrum = rng.standard_normal((rows, len(power), 2), dtype=np.float32).view(np.complex64)[..., 0]
    # A bin of complex amplitude Z gives the variance 2|Z|²/n², and E|Z|² of the draw is 2.
    spectrum *= (n / 2 * np.sqrt(power)).astype(np.float32)
    return fft.irfft(spectrum, n, axis=-1)


def slow_curve(rng: np.random.Generator, n: int, rate: int, seconds: float) -> np.ndarray:
    """Draw a curve that takes a new standard normal value every `seconds`, linear in between."""
    knots = rng.standard_normal(int(n / (rate * seconds)) + 2)
    return np.interp(np.arange(n) / (rate * seconds), np.arange(len(knots)), knots)


class SteadyNoise:
    """Noise without an end, of which any part can be drawn: fourth-order edges and unit variance a row.

    Parameters
    ----------
    seed : tuple of int
    rate : int
        Sampling rate, Hz.
    band_hz : tuple of float
    rows : int
        Independent noises.
    """

    def __init__(self, seed: tuple[int, ...], rate: int, band_hz: Band, rows: int = 1) -> None:
        self._seed, self._rate, self._rows = seed, rate, rows
        # The lowest edge decides how long the filter remembers.
        self._warm = int(8 / band_hz[0] * rate)
        self._sos = signal.butter(4, band_hz, "band", fs=rate, output="sos")
        _, response = signal.sosfreqz(self._sos, 1 << 15)
        self._sos[0, :3] /= np.sqrt(np.mean(np.abs(response) ** 2))

    def between(self, begin: int, end: int) -> np.ndarray:
        """Return samples from `begin` to before `end`, float32, shape (rows, end − begin)."""
        start = begin - self._warm
        seconds = range(start // self._rate, -(-end // self._rate))
        drawn = np.concatenate([self._white(second) for second in seconds], axis=1)
        first = start - seconds.start * self._rate
        white = drawn[:, first : first + end - start]
        return signal.sosfilt(self._sos.astype(np.float32), white, axis=1)[:, self._warm :]

    def _white(self, second: int) -> np.ndarray:
        # No seed is negative, and the noise is asked for from some seconds before the event's start.
        rng = np.random.default_rng((*self._seed, 2, second + 60))
        return rng.standard_normal((self._rows, self._rate), dtype=np.float32)
