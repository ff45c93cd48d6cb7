"""The noise that is always there: of the ground, of the interrogator and of a pump."""

from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import fft

from dasanom_assets.recordings.simulation.noise import Band, shaped_noise

BLOCK_SECONDS = 4
"""Length of a synthesised block, s. Noise is drawn a block at a time: another length is another line."""

WAVE_SPEED_M_S = 300.0
"""Speed of surface waves in soft ground."""


class Ground(BaseModel):
    """What the ground, the fibre in it and the interrogator are like; ranges are drawn from for each channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ground_rms: float = Field(200.0, gt=0, description="rms of the ground at a coupling of 1, counts")
    coupling_db: float = Field(2.5, ge=0, description="spread of the channels' coupling, dB")
    slope: Band = Field((0.8, 1.6), description="exponent with which the ground's power falls with frequency")
    resonance_hz: Band = (20.0, 80.0)
    resonance: Band = Field((0.0, 3.0), description="power at the resonance beside that without it")
    white_rms: float = Field(12.0, gt=0, description="noise of each channel's own, counts")
    common_rms: float = Field(8.0, ge=0, description="noise of the interrogator, the same on all channels, counts")
    pump_hz: float = Field(24.5, gt=0, le=45)
    pump_scale: float = Field(1.0, ge=0, description="strength of the pump's hum")
    pump_decay_m: float = Field(10.0, gt=0, description="distance over which the hum loses a factor e")
    wave_speed_m_s: float = Field(WAVE_SPEED_M_S, gt=0, description="speed of surface waves")
    decay_scale: float = Field(1.0, gt=0, description="how far waves reach, as a share of `Kind.decay_m`")


USUAL_GROUND = Ground()


class AnyBackground(Protocol):
    """What the level of an event is set against: a simulated background, or one that was measured."""

    @property
    def rate(self) -> int:
        """Sampling rate, Hz; a multiple of 5."""

    @property
    def coupling(self) -> np.ndarray:
        """How strongly each channel takes up whatever moves the ground, about 1, shape (n_channels,)."""

    def band_rms(self, band_hz: Band) -> np.ndarray:
        """Return the usual rms of each channel in a band, shape (n_channels,)."""


class Background:
    """The noise that is always there.

    Ground noise falls with frequency, with a coupling, a slope and a resonance of each channel's own; neighbours
    within a gauge length share part of it. The interrogator adds white noise to each channel and the same noise
    to all. A pump hums near one channel.

    Parameters
    ----------
    seed : tuple of int
        Of the fibre: decides the properties of its channels.
    day_seed : tuple of int
        Of the fibre and the day: decides the noise.
    zones : sequence of (int, int)
        First and last absolute channel of each stretch.
    spacing_m, gauge_m : float
        Distance of channels, and length over which each measures, m.
    rate : int
        Sampling rate, Hz; a multiple of 5.
    pump_m : float
        Place of the pump along the fibre, m.
    ground : Ground

    Attributes
    ----------
    rate, block_samples : int
        Sampling rate, Hz, and samples a block.
    coupling : numpy.ndarray
        float64, shape (n_channels,): how strongly each channel takes up whatever moves the ground, about 1.
    """

    harmonics = (60.0, 45.0, 25.0, 15.0, 8.0)
    """Amplitudes of the pump's harmonics at its place at a scale of 1, counts."""

    def __init__(
        self,
        seed: tuple[int, ...],
        day_seed: tuple[int, ...],
        zones: tuple[tuple[int, int], ...],
        spacing_m: float,
        gauge_m: float,
        rate: int,
        pump_m: float,
        ground: Ground,
    ) -> None:
        self.rate, self._day_seed, self._is = rate, day_seed, ground
        self.block_samples = BLOCK_SECONDS * rate
        # Blocks overlap by about 0.09 s and fade into each other, so that nothing jumps at a border.
        self._n = fft.next_fast_len(self.block_samples + rate * 9 // 100, real=True)
        fade = np.linspace(0, np.pi / 2, self._n - self.block_samples, dtype=np.float32)
        self._fades = np.cos(fade), np.sin(fade)
        self._tails: tuple[int, np.ndarray, np.ndarray] | None = None
        self._sizes = [last - first + 1 for first, last in zones]
        self._cells = max(1, round(gauge_m / spacing_m))
        channels = np.concatenate([np.arange(first, last + 1) for first, last in zones])
        self._frequency = np.maximum(fft.rfftfreq(self._n, 1 / rate), 1e-3)
        drawn = [self._channel((*seed, int(channel))) for channel in channels]
        self.coupling = np.array([coupling for coupling, _ in drawn])
        self._ground = np.stack([power for _, power in drawn])
        distance = np.abs(channels * spacing_m - pump_m)
        self._pump_gain = ground.pump_scale * self.coupling * np.exp(-distance / ground.pump_decay_m)
        self._gain = (self._n / 2 * np.sqrt(self._ground / self._cells)).astype(np.float32)
        falling = 1 / (1 + self._frequency / 30)
        self._common = ground.common_rms**2 * falling / falling.sum()
        drift = np.random.default_rng([*day_seed, 0])
        self._day_level = 10 ** (drift.normal(0, 0.5) / 20)
        self._phases = drift.uniform(0, 2 * np.pi, 6)

    def _channel(self, seed: tuple[int, ...]) -> tuple[float, np.ndarray]:
        """Return a channel's coupling, and the variance of its ground noise in each bin, counts²."""
        rng, ground = np.random.default_rng(seed), self._is
        # Nothing lies more than about two spreads from the usual coupling.
        least, most = 0.55 ** (ground.coupling_db / 2.5), 1.9 ** (ground.coupling_db / 2.5)
        coupling = float(np.clip(10 ** (rng.normal(0, ground.coupling_db) / 20), least, most))
        slope, resonance_hz, strength = (
            rng.uniform(*among) for among in (ground.slope, ground.resonance_hz, ground.resonance)
        )
        f = self._frequency
        power = (f**2 + 3.0**2) ** (-slope / 2) / (1 + (1 / f) ** 4)
        power *= 1 + strength / (1 + ((f - resonance_hz) / (0.15 * resonance_hz)) ** 2)
        return coupling, (ground.ground_rms * coupling) ** 2 * power / power.sum()

    def band_rms(self, band_hz: Band) -> np.ndarray:
        """Return the usual rms of each channel in a band, pump included, counts, float64, shape (n_channels,)."""
        inside = (self._frequency >= band_hz[0]) & (self._frequency <= band_hz[1])
        power = self._ground[:, inside].sum(1) + self._common[inside].sum()
        power += self._is.white_rms**2 * (band_hz[1] - band_hz[0]) / (self.rate / 2)
        hum = [a for k, a in enumerate(self.harmonics, 1) if band_hz[0] <= k * self._is.pump_hz <= band_hz[1]]
        return np.sqrt(power + self._pump_gain**2 * np.sum(np.square(hum)) / 2)

    def block(self, index: int) -> np.ndarray:
        """Return block `index` of the day, float32, shape (n_channels, block_samples).

        The cost is lowest where blocks are asked for in order.
        """
        before = self._tails
        if index and (before is None or before[0] != index - 1):
            before = self._draw(index - 1)[0]
        self._tails, ground, common = self._draw(index)
        if index and before is not None:
            n_fade = len(self._fades[0])
            for now, tail in ((ground, before[1]), (common, before[2])):
                now[:, :n_fade] = now[:, :n_fade] * self._fades[1] + tail * self._fades[0]
        seconds = index * BLOCK_SECONDS + np.arange(self.block_samples) / self.rate
        a, b, c, d, e, f = self._phases
        level = self._day_level * np.exp(
            0.08 * np.sin(2 * np.pi * seconds / 137 + a) + 0.05 * np.sin(seconds / 65 + b)
        )
        ground *= level.astype(np.float32)
        ground += common
        drift = 1 + 0.25 * np.sin(2 * np.pi * seconds / 90 + c) + 0.15 * np.sin(2 * np.pi * seconds / 37 + d)
        phase = 2 * np.pi * self._is.pump_hz * (seconds + 0.02 * np.sin(2 * np.pi * seconds / 20 + e))
        hum = sum(a_k * np.sin(k * (phase + f)) for k, a_k in enumerate(self.harmonics, 1)) * drift
        near = np.flatnonzero(self._pump_gain > 1e-3)
        ground[near] += np.outer(self._pump_gain[near], hum).astype(np.float32)
        return ground

    def _draw(self, index: int) -> tuple[tuple[int, np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
        """Draw the ground and the common noise of a block, and what fades into the next one."""
        rng = np.random.default_rng([*self._day_seed, 1, index])
        n_bins, cells = len(self._frequency), self._cells
        ground = np.empty((sum(self._sizes), self._n), np.float32)
        first = 0
        for size in self._sizes:
            # A channel averages the strain of the cells within its gauge length, and so do its neighbours.
            cell = rng.standard_normal((size + cells - 1, n_bins, 2), dtype=np.float32).view(np.complex64)[..., 0]
            spectrum = cell[:size].copy()
            for k in range(1, cells):
                spectrum += cell[k : k + size]
            zone = slice(first, first + size)
            spectrum *= self._gain[zone]
            ground[zone] = fft.irfft(spectrum, self._n, axis=-1, overwrite_x=True)
            first += size
        common = shaped_noise(rng, self._common, self._n, 1)
        n = self.block_samples
        tails = index, ground[:, n:].copy(), common[:, n:].copy()
        ground, common = ground[:, :n], common[:, :n]
        white = rng.standard_normal(ground.shape, dtype=np.float32)
        white *= self._is.white_rms
        ground += white
        return tails, ground, common
