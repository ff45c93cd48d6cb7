"""The physics of a simulated fibre: what the ground, the interrogator, a pump and passers-by do to its channels.

Signals are float32 in counts of the recorded integers, shape (channels, samples). Nothing here knows of files.
Magnitudes and spectra are plausible, not measured: they give a direction, not a result to publish.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import fft, ndimage, signal

ROWS_PER_SECOND = 5
"""Grid of event starts and of levels, as in the contractor's files."""

BLOCK_SECONDS = 4
"""Length of a synthesised block, s. Noise is drawn a block at a time: another length is another line."""

FLOOR_DB = 0.0
"""An event counts as present where its bursts are at least as strong as the background of its band, dB."""

USED_SHARE = 0.45
"""Share of the sampling rate up to which sources are heard: interrogators filter what lies near half of it."""

WAVE_SPEED_M_S = 300.0
"""Speed of surface waves in soft ground."""

Band = tuple[float, float]

LOAD_BAND_HZ: Band = (1.0, 8.0)
"""Where the load of passing wheels is set against the background."""

EDGE_S = 0.3
"""Time in which an event comes and goes, s."""

Sound = Callable[[np.random.Generator, int, int, Band], np.ndarray]
"""Draws what a source emits: generator, samples, sampling rate and band in Hz → shape (n_samples,)."""


# -- noise ----------------------------------------------------------------------------------------------


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


def band_noise(rng: np.random.Generator, n: int, rate: int, band_hz: Band, rows: int = 1) -> np.ndarray:
    """Draw noise with fourth-order edges and unit variance a row, float32, shape (rows, n)."""
    length = fft.next_fast_len(n, real=True)
    frequency = np.maximum(fft.rfftfreq(length, 1 / rate), 1e-6)
    low, high = band_hz
    power = 1 / ((1 + (low / frequency) ** 8) * (1 + (frequency / high) ** 8))
    return _noise(rng, power / power.sum(), length, rows)[:, :n]


def _noise(rng: np.random.Generator, power: np.ndarray, n: int, rows: int) -> np.ndarray:
    """Draw `rows` independent noises of `n` samples, with variance `power` (one value a bin of the rfft)."""
    spectrum = rng.standard_normal((rows, len(power), 2), dtype=np.float32).view(np.complex64)[..., 0]
    # A bin of complex amplitude Z gives the variance 2|Z|²/n², and E|Z|² of the draw is 2.
    spectrum *= (n / 2 * np.sqrt(power)).astype(np.float32)
    return fft.irfft(spectrum, n, axis=-1)


def _slow(rng: np.random.Generator, n: int, rate: int, seconds: float) -> np.ndarray:
    """Draw a curve that takes a new standard normal value every `seconds`, linear in between."""
    knots = rng.standard_normal(int(n / (rate * seconds)) + 2)
    return np.interp(np.arange(n) / (rate * seconds), np.arange(len(knots)), knots)


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
        at = 0
        for size in self._sizes:
            # A channel averages the strain of the cells within its gauge length, and so do its neighbours.
            cell = rng.standard_normal((size + cells - 1, n_bins, 2), dtype=np.float32).view(np.complex64)[..., 0]
            spectrum = cell[:size].copy()
            for k in range(1, cells):
                spectrum += cell[k : k + size]
            spectrum *= self._gain[at : at + size]
            ground[at : at + size] = fft.irfft(spectrum, self._n, axis=-1, overwrite_x=True)
            at += size
        common = _noise(rng, self._common, self._n, 1)
        n = self.block_samples
        tails = index, ground[:, n:].copy(), common[:, n:].copy()
        ground, common = ground[:, :n], common[:, :n]
        white = rng.standard_normal(ground.shape, dtype=np.float32)
        white *= self._is.white_rms
        ground += white
        return tails, ground, common


class Gain(BaseModel):
    """How the gain of an interrogator changes; spreads are standard deviations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    day_db: float = Field(0.0, ge=0, description="spread of the whole line over days")
    stretch_db: float = Field(0.0, ge=0, description="spread of each stretch over days, beside that of the line")
    stretch_channels: int = Field(20, ge=1, description="channels of a stretch")
    steps_per_hour: float = Field(0.0, ge=0, description="how often the interrogator is retuned within a day")
    step_db: float = Field(0.0, ge=0, description="spread of such a step")


class Gains:
    """The gains of a day.

    Parameters
    ----------
    gain : Gain
    seed : tuple of int
        Of the fibre and the day.
    n_channels : int
    seconds : float
        Length of the recordings.

    Attributes
    ----------
    offset_db : numpy.ndarray
        float64, shape (n_channels,): the gain of each channel at the start.
    steps_s : numpy.ndarray
        float64, ascending: when the gain of the whole line changes, seconds after the start.
    level_db : numpy.ndarray
        float64, one more than `steps_s`: what is added to `offset_db` before the first step and after each.
    """

    def __init__(self, gain: Gain, seed: tuple[int, ...], n_channels: int, seconds: float) -> None:
        rng = np.random.default_rng(seed)
        stretches = rng.normal(0, gain.stretch_db, -(-n_channels // gain.stretch_channels))
        self.offset_db = rng.normal(0, gain.day_db) + np.repeat(stretches, gain.stretch_channels)[:n_channels]
        self.steps_s = np.sort(rng.uniform(0, seconds, rng.poisson(gain.steps_per_hour * seconds / 3600)))
        self.level_db = np.append(0.0, np.cumsum(rng.normal(0, gain.step_db, len(self.steps_s))))

    def apply(self, block: np.ndarray, first_sample: int, rate: int) -> None:
        """Amplify a block that starts at `first_sample`; changes the block."""
        seconds = (first_sample + np.arange(block.shape[1])) / rate
        level_db = self.level_db[np.searchsorted(self.steps_s, seconds, side="right")]
        block *= (10 ** (self.offset_db / 20)).astype(np.float32)[:, None]
        block *= (10 ** (level_db / 20)).astype(np.float32)


# -- what sources emit ----------------------------------------------------------------------------------


def _strokes(
    rng: np.random.Generator,
    n: int,
    rate: int,
    band_hz: Band,
    *,
    per_second: tuple[float, float],
    attack_s: float,
    decay_s: float,
) -> np.ndarray:
    """Bursts of noise that come at a steady pace: footfalls, impacts, scrapes."""
    pace = 1 / rng.uniform(*per_second)
    gaps = pace * np.clip(rng.normal(1, 0.08, int(n / rate / pace) * 2 + 2), 0.5, 2)
    at = np.cumsum(gaps) - gaps[0] * rng.uniform(0.5, 1)
    train = np.zeros(n, np.float32)
    strokes = (at * rate).astype(np.int64)
    strokes = strokes[strokes < n]
    train[strokes] = 10 ** (rng.normal(0, 2, len(strokes)) / 20)
    t = np.arange(int(8 * (attack_s + decay_s) * rate)) / rate
    burst = (1 - np.exp(-t / attack_s)) * np.exp(-t / decay_s)
    envelope = signal.oaconvolve(train, burst.astype(np.float32))[:n]
    return envelope * band_noise(rng, n, rate, band_hz)[0]


def _tones(
    rng: np.random.Generator,
    n: int,
    rate: int,
    band_hz: Band,
    *,
    pitch_hz: tuple[float, float],
    load_seconds: float,
    wobble: float,
    noise: float,
    flutter_hz: float,
) -> np.ndarray:
    """Harmonics whose pitch and strength follow an irregular load: engines, grinders."""
    pitch = rng.uniform(*pitch_hz)
    load = np.tanh(_slow(rng, n, rate, load_seconds))
    phase = 2 * np.pi * np.cumsum(pitch * (1 + wobble * load)) / rate
    count = int(band_hz[1] / (pitch * (1 + wobble)))
    weights = rng.uniform(0.3, 1, count)
    tones = sum(w * np.sin(k * phase + 2 * np.pi * rng.random()) for k, w in enumerate(weights, 1))
    # Where the band was cut below the pitch, the noise is all that is left.
    tones = tones / np.sqrt(np.sum(weights**2) / 2 or 1) + noise * band_noise(rng, n, rate, band_hz)[0]
    flutter = 1 + 0.4 * np.sin(2 * np.pi * flutter_hz * np.arange(n) / rate)
    return (tones * flutter * (0.65 + 0.35 * load)).astype(np.float32)


def _rumble(rng: np.random.Generator, n: int, rate: int, band_hz: Band) -> np.ndarray:
    """Noise of rolling wheels and an engine."""
    return band_noise(rng, n, rate, band_hz)[0] * (1 + 0.3 * np.tanh(_slow(rng, n, rate, 0.5)))


# -- events ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """How a kind of event sounds, moves and fades.

    Attributes
    ----------
    threat : bool
        Whether it is what the pipeline is guarded against; otherwise a nuisance.
    band_hz : tuple of float
        Where its energy lies; ratios to the background are taken in this band.
    sound : callable or None
        What the source emits; None for wind, which shakes a stretch of channels at once.
    speed_m_s : tuple of float
        Range of the speed; walkers, vehicles and trams go along the fibre, traffic follows a road across it.
    decay_m : float
        Distance over which its waves lose a factor e, beside their spreading.
    snr_db : tuple of float
        Range of a nuisance's ratio; that of a threat is drawn from the line's list.
    by_hour : bool
        Whether its rate follows the hours of the day.
    lasting : bool
        Whether it may last or reach too long to be held whole; it is then a `Lasting`.
    pitch_hz : tuple of float
        Range of the lowest tone of a lasting kind.
    tonal : float
        Share of its power that lies in tones.
    """

    threat: bool
    band_hz: Band
    sound: Sound | None
    speed_m_s: Band = (0.0, 0.0)
    decay_m: float = 12.0
    snr_db: Band = (0.0, 0.0)
    by_hour: bool = False
    lasting: bool = False
    pitch_hz: Band = (0.0, 0.0)
    tonal: float = 0.0

    def heard_hz(self, rate: int) -> Band:
        """Return its band as far as a sampling rate, in Hz, lets it be heard."""
        low, high = self.band_hz
        return low, min(high, USED_SHARE * rate)


# New kinds go to the end: the place of a kind is part of the seed of its events.
KINDS: dict[str, Kind] = {
    "walking": Kind(
        True, (10, 40), partial(_strokes, per_second=(1.6, 2.0), attack_s=0.01, decay_s=0.05), (1.2, 1.6)
    ),
    "pickaxe": Kind(True, (20, 120), partial(_strokes, per_second=(0.6, 1.0), attack_s=0.003, decay_s=0.1)),
    "shovel": Kind(True, (30, 200), partial(_strokes, per_second=(0.35, 0.55), attack_s=0.15, decay_s=0.2)),
    "cutting": Kind(
        True,
        (200, 700),
        partial(_tones, pitch_hz=(205, 300), load_seconds=1.5, wobble=0.04, noise=0.5, flutter_hz=9),
        decay_m=8,
    ),
    "machine": Kind(
        True,
        (15, 90),
        partial(_tones, pitch_hz=(14, 19), load_seconds=2.0, wobble=0.08, noise=0.4, flutter_hz=3),
        decay_m=18,
    ),
    "traffic": Kind(False, (10, 60), _rumble, (8, 20), 25, (8, 20), by_hour=True),
    "wind": Kind(False, (4, 30), None, snr_db=(4, 10)),
    "vehicle": Kind(False, (10, 60), None, (6, 20), 20, (4, 16), by_hour=True, lasting=True),
    "tram": Kind(
        False, (8, 120), None, (4, 12), 30, (12, 22), by_hour=True, lasting=True, pitch_hz=(9, 18), tonal=0.4
    ),
    "plant": Kind(False, (12, 150), None, decay_m=15, snr_db=(6, 18), lasting=True, pitch_hz=(12, 50), tonal=0.8),
    "shower": Kind(False, (50, 400), None, snr_db=(3, 12), lasting=True),
}

TRAFFIC_BY_HOUR = np.repeat([0.15, 0.5, 1.2, 1.0, 1.3, 0.6, 0.25], [5, 1, 4, 6, 3, 3, 2])
"""Vehicles of each hour (UTC) as a share of the usual rate by day."""

RUSH = {-1: 0.5, 0: 1.5, 1: 0.5}
"""What the hours around a rush hour have more."""


def traffic_by_hour(rush_hour: int | None) -> np.ndarray:
    """Return the traffic of each hour (UTC) as a share of the usual rate, shape (24,)."""
    shares = TRAFFIC_BY_HOUR.copy()
    if rush_hour is not None:
        for hour, more in RUSH.items():
            shares[(rush_hour + hour) % 24] += more
    return shares


@dataclass(frozen=True)
class Plan:
    """What is decided about an event before it is computed.

    Attributes
    ----------
    kind : str
    first_row, n_rows : int
        Start after the beginning of the recordings, and duration, in rows of 0.2 s.
    origin_m : float
        Place along the fibre at the start, m.
    along_m_s, across_m_s : float
        Speed along the fibre, and across it where the path crosses it half-way.
    lateral_m : float
        Least distance from the fibre; for wind half the length of the stretch, m.
    snr_db : float
        Ratio that the event shall reach.
    seed : tuple of int
    wave_speed_m_s, decay_scale : float
        Of the ground, see `Ground`.
    axles_m : tuple of float
        Places of the axles of what rolls along the fibre, ahead of its middle, m.
    load_db : float
        Largest strain below those axles as a ratio to the rms of the background in `LOAD_BAND_HZ`.
    voice : tuple of int
        Seed of what a machine sounds like on all days; a source that comes once has none.
    """

    kind: str
    first_row: int
    n_rows: int
    origin_m: float
    along_m_s: float
    across_m_s: float
    lateral_m: float
    snr_db: float
    seed: tuple[int, ...]
    wave_speed_m_s: float = WAVE_SPEED_M_S
    decay_scale: float = 1.0
    axles_m: tuple[float, ...] = ()
    load_db: float = 0.0
    voice: tuple[int, ...] = ()

    @property
    def decay_m(self) -> float:
        """Distance over which its waves lose a factor e here, beside their spreading."""
        return KINDS[self.kind].decay_m * self.decay_scale


REACH = 6.0
"""Decay lengths that a source is heard over: 52 dB."""

SHOWER_S = 180.0, 900.0
"""Range of the length of a shower, s."""


def plan_events(
    day_seed: tuple[int, ...],
    zones_m: list[Band],
    road_m: float,
    hour: int,
    minutes: float,
    events_per_hour: dict[str, float],
    snrs_db: tuple[float, ...],
    *,
    plants_m: Mapping[tuple[int, ...], float] = MappingProxyType({}),
    rush_hour: int | None = None,
    ground: Ground = USUAL_GROUND,
) -> list[Plan]:
    """Decide what happens on a day, sorted by start.

    Parameters
    ----------
    day_seed : tuple of int
    zones_m : list of (float, float)
        Places of the first and last channel of each zone, m.
    road_m : float
        Where the road crosses, m.
    hour : int
        Hour of the day (UTC) at which the recordings start.
    minutes : float
        Their length.
    events_per_hour : dict
        Rate of each kind, those of traffic by day, that of plants for each of them. A count is the expected one,
        rounded up or down by chance.
    snrs_db : tuple of float
        Ratios of threats; they take turns over days and kinds, so that a few days hold each of them.
    plants_m : mapping
        Place of each machine that starts and stops, m, by its `Plan.voice`.
    rush_hour : int, optional
        Hour (UTC) of a rush that is the site's own.
    ground : Ground
    """
    total_rows = int(minutes * 60 * ROWS_PER_SECOND)
    plans: list[Plan] = []
    for k, (name, kind) in enumerate(KINDS.items()):
        per_hour = events_per_hour.get(name, 0.0)
        if name == "plant":
            for p, (voice, place_m) in enumerate(plants_m.items()):
                plans += _plant_runs((*day_seed, 3, k, p), voice, place_m, per_hour, total_rows, ground)
            continue
        # What lasts may have begun before the recordings.
        lead = int(np.ceil(_longest_s(kind, zones_m, ground) / 60)) if kind.lasting else 0
        minute_of = np.arange(-lead, int(np.ceil(minutes)))
        weight = np.minimum(1.0, minutes - minute_of)
        if kind.by_hour:
            weight = weight * traffic_by_hour(rush_hour)[(hour + minute_of // 60) % 24]
        expected = per_hour * weight.sum() / 60
        for i in range(int(expected + np.random.default_rng((*day_seed, 2, k)).random())):
            seed = (*day_seed, 3, k, i)
            rng = np.random.default_rng(seed)
            minute = rng.choice(len(weight), p=weight / weight.sum()) - lead + rng.random()
            snr_db = snrs_db[(sum(day_seed) + k + i) % len(snrs_db)]
            plans.append(_plan(name, seed, rng, zones_m, road_m, minute * 60, minutes * 60, snr_db, ground))
    recorded = (_recorded(plan, total_rows) for plan in plans)
    return sorted((plan for plan in recorded if plan.n_rows > 0), key=lambda plan: (plan.first_row, plan.seed))


def _recorded(plan: Plan, total_rows: int) -> Plan:
    """Return what of a plan lies within the recordings; its `n_rows` is not positive if nothing does."""
    missed = max(-plan.first_row, 0)
    first_row, last_row = plan.first_row + missed, min(plan.first_row + plan.n_rows, total_rows)
    origin_m = plan.origin_m + plan.along_m_s * missed / ROWS_PER_SECOND
    return replace(plan, first_row=first_row, n_rows=last_row - first_row, origin_m=origin_m)


def _road(kind: Kind, zones_m: list[Band], ground: Ground) -> Band:
    """Return the stretch over which what goes along the whole fibre is heard, m."""
    reach = REACH * kind.decay_m * ground.decay_scale
    return zones_m[0][0] - reach, zones_m[-1][1] + reach


def _longest_s(kind: Kind, zones_m: list[Band], ground: Ground) -> float:
    """Return how long an event of a lasting kind may take, s."""
    if not kind.speed_m_s[0]:
        return SHOWER_S[1]
    first_m, last_m = _road(kind, zones_m, ground)
    return (last_m - first_m) / kind.speed_m_s[0]


def _plant_runs(
    seed: tuple[int, ...], voice: tuple[int, ...], place_m: float, per_hour: float, total_rows: int, ground: Ground
) -> list[Plan]:
    """Plan when a standing machine runs: a third to two thirds of the time, in turns of about the same length."""
    rng, own = np.random.default_rng(seed), np.random.default_rng(voice)
    lateral_m, snr_db = own.uniform(3, 10), own.uniform(*KINDS["plant"].snr_db)
    physics = ground.wave_speed_m_s, ground.decay_scale
    turn = ROWS_PER_SECOND * 3600 / per_hour if per_hour else np.inf
    plans: list[Plan] = []
    row = -turn * rng.random()
    while -np.inf < row < total_rows:
        n_rows, seed_of_run = int(turn * rng.uniform(0.33, 0.67)), (*seed, len(plans))
        about = int(row), n_rows, place_m, 0.0, 0.0, lateral_m, snr_db, seed_of_run
        plans.append(Plan("plant", *about, *physics, voice=voice))
        row += turn * rng.uniform(0.8, 1.2)
    return plans


def _plan(
    name: str,
    seed: tuple[int, ...],
    rng: np.random.Generator,
    zones_m: list[Band],
    road_m: float,
    start_s: float,
    total_s: float,
    threat_snr_db: float,
    ground: Ground,
) -> Plan:
    kind = KINDS[name]
    lengths = np.array([last - first + 1 for first, last in zones_m])
    first_m, last_m = zones_m[rng.choice(len(zones_m), p=lengths / lengths.sum())]
    origin, speed = rng.uniform(first_m, last_m), rng.uniform(*kind.speed_m_s)
    duration, across, lateral = rng.uniform(15, min(60.0, total_s / 2)), 0.0, rng.uniform(2, 8)
    if name == "walking":
        # Away from the nearer end, so that the path stays on the fibre.
        speed *= 1 if origin < (first_m + last_m) / 2 else -1
    elif name == "traffic":
        duration, lateral = 160 / speed, 3.0
        angle = rng.uniform(0.3, 0.5) * np.pi
        across, speed = speed * np.sin(angle), speed * np.cos(angle) * rng.choice([-1, 1])
        origin = road_m - speed * duration / 2
    elif name == "wind":
        lateral = rng.uniform(30, 60)
    elif name == "shower":
        duration = rng.uniform(*SHOWER_S)
    snr = threat_snr_db if kind.threat else rng.uniform(*kind.snr_db)
    axles_m: tuple[float, ...] = ()
    load_db = 0.0
    if kind.lasting and speed:
        first_m, last_m = _road(kind, zones_m, ground)
        duration, lateral, origin = (last_m - first_m) / speed, rng.uniform(3, 6), first_m
        if rng.random() < 0.5:  # the other way, on the farther lane
            speed, lateral, origin = -speed, lateral + 3.5, last_m
        axles_m, load_db = _axles(name, rng, 1 if speed > 0 else -1)
    n_rows = round(duration * ROWS_PER_SECOND)
    first_row = int(np.floor(start_s * ROWS_PER_SECOND))
    if not kind.lasting:
        first_row = min(first_row, int(total_s * ROWS_PER_SECOND) - n_rows)
    return Plan(
        name,
        first_row,
        n_rows,
        float(origin),
        float(speed),
        float(across),
        lateral,
        snr,
        seed,
        ground.wave_speed_m_s,
        ground.decay_scale,
        axles_m,
        load_db,
    )


def _axles(name: str, rng: np.random.Generator, direction: int) -> tuple[tuple[float, ...], float]:
    """Draw a tram, a lorry or a car: the places of its axles ahead of its middle, m, and its load, dB."""
    if name == "tram":
        gaps = np.tile([1.8, rng.uniform(5, 7)], rng.integers(3, 7))[:-1]
        load_db = rng.uniform(14, 22)
    elif rng.random() < 0.15:
        gaps = np.append(rng.uniform(3, 5), rng.uniform(1.3, 5, rng.integers(1, 4)))
        load_db = rng.uniform(8, 16)
    else:
        gaps, load_db = rng.uniform(2.4, 3.0, 1), rng.uniform(-6, 4)
    behind = np.append(0.0, np.cumsum(gaps))
    return tuple(direction * (behind[-1] / 2 - behind)), load_db


@dataclass(frozen=True)
class Extent:
    """Where an event is at least as strong as the background: first and last row and column, and its peak.

    Rows count from the event's start, columns are indices of channels.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    peak: int


@dataclass(frozen=True)
class Event:
    """An event as the fibre records it.

    Attributes
    ----------
    plan : Plan
    columns : slice
        Indices of the channels that it reaches.
    signal : numpy.ndarray
        float32, shape (columns, samples), counts.
    level_db : numpy.ndarray
        float32, shape (columns, plan.n_rows): the stronger of two 0.1-s bursts in each row, as a ratio of its
        rms to that of the background of the same channel in the kind's band.
    """

    plan: Plan
    columns: slice
    signal: np.ndarray
    level_db: np.ndarray

    @cached_property
    def sustained_db(self) -> np.ndarray:
        """The largest level within a second before and after: pauses between two strokes belong to the event."""
        return ndimage.maximum_filter1d(self.level_db, 2 * ROWS_PER_SECOND + 1, axis=1)

    @property
    def extent(self) -> Extent:
        """Where it is at least as strong as the background."""
        above = self.level_db > FLOOR_DB
        rows, columns = np.flatnonzero(above.any(0)), np.flatnonzero(above.any(1)) + self.columns.start
        peak = self.columns.start + int(self.level_db.max(1).argmax())
        return Extent((int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1])), peak)

    def levels(self, begin: int, end: int) -> tuple[slice, np.ndarray]:
        """Return `columns`, and `sustained_db` of the rows from `begin` to before `end`."""
        return self.columns, self.sustained_db[:, begin:end]

    def add_to(self, block: np.ndarray, first_sample: int, rate: int) -> None:
        """Add what of the event falls into a block that starts at `first_sample`; changes the block."""
        at = self.plan.first_row * (rate // ROWS_PER_SECOND) - first_sample
        begin, end = max(at, 0), min(at + self.signal.shape[1], block.shape[1])
        if begin < end:
            block[self.columns, begin:end] += self.signal[:, begin - at : end - at]


def compute_event(plan: Plan, place_m: np.ndarray, background: AnyBackground) -> Event:
    """Compute an event of a kind that does not last, on all channels it reaches.

    The signal is scaled so that the largest ratio of a burst's rms (0.1 s) to the background's rms in the kind's
    band (as far as the rate lets it be heard), over time and channels, is the plan's `snr_db`.

    Parameters
    ----------
    plan : Plan
    place_m : numpy.ndarray
        float64, shape (n_channels,), ascending: place of each channel along the fibre, m.
    background : AnyBackground
    """
    kind, rate = KINDS[plan.kind], background.rate
    rng = np.random.default_rng((*plan.seed, 0))
    n = plan.n_rows * (rate // ROWS_PER_SECOND)
    columns, wave = (_wind if kind.sound is None else _waves)(plan, rng, n, rate, place_m)
    edge = np.minimum(np.arange(n), np.arange(n)[::-1]) / (EDGE_S * rate)
    wave *= np.clip(edge, 0, 1).astype(np.float32)
    wave *= background.coupling[columns, None].astype(np.float32)
    rows = wave.reshape(len(wave), plan.n_rows, -1)
    half = rows.shape[2] // 2
    power = [np.einsum("crn,crn->cr", b, b) / b.shape[2] for b in (rows[..., :half], rows[..., half:])]
    ratio = np.sqrt(np.maximum(*power)) / background.band_rms(kind.heard_hz(rate))[columns, None]
    scale = 10 ** (plan.snr_db / 20) / ratio.max()
    wave *= np.float32(scale)
    with np.errstate(divide="ignore"):
        level_db = 20 * np.log10(ratio * scale)
    return Event(plan, columns, wave, level_db.astype(np.float32))


def _wind(
    plan: Plan, rng: np.random.Generator, n: int, rate: int, place_m: np.ndarray
) -> tuple[slice, np.ndarray]:
    """Gusts over a stretch: noise that neighbours share in part, swelling and falling together."""
    columns = _between(np.abs(place_m - plan.origin_m) < plan.lateral_m, place_m, plan.origin_m)
    count, shared = columns.stop - columns.start, 4
    noise = band_noise(rng, n, rate, KINDS[plan.kind].heard_hz(rate), count + shared - 1)
    wave = sum((noise[k : k + count] for k in range(1, shared)), noise[:count].copy())
    gusts = np.sin(np.linspace(0, np.pi, n)) * (0.7 + 0.3 * np.tanh(_slow(rng, n, rate, 3.0)))
    wave *= gusts.astype(np.float32)
    wave *= np.cos((place_m[columns] - plan.origin_m) / plan.lateral_m * np.pi / 2).astype(np.float32)[:, None]
    return columns, wave


def _waves(
    plan: Plan, rng: np.random.Generator, n: int, rate: int, place_m: np.ndarray
) -> tuple[slice, np.ndarray]:
    """What reaches each channel from one source: later and weaker with distance."""
    kind = KINDS[plan.kind]
    assert kind.sound is not None
    emitted = kind.sound(rng, n, rate, kind.heard_hz(rate))
    t = np.arange(n) / rate
    along = plan.origin_m + plan.along_m_s * t
    across2 = (plan.across_m_s * (t - t[-1] / 2)) ** 2 + plan.lateral_m**2
    reach = REACH * plan.decay_m
    nearest = np.maximum(along.min() - place_m, place_m - along.max())
    columns = _between(nearest < reach, place_m, float(along[0]))
    wave = np.empty((columns.stop - columns.start, n), np.float32)
    for row, place in zip(wave, place_m[columns], strict=True):
        distance = np.sqrt((along - place) ** 2 + across2)
        # Surface waves spread on circles, which costs the square root of the distance, and are absorbed.
        gain = np.sqrt(plan.lateral_m / distance) * np.exp((plan.lateral_m - distance) / plan.decay_m)
        row[:] = gain * np.interp(t - distance / plan.wave_speed_m_s, t, emitted, left=0.0)
    return columns, wave


def _between(reached: np.ndarray, place_m: np.ndarray, origin_m: float) -> slice:
    """Return the stretch of channels that are reached, or the nearest channel where none is."""
    hit = np.flatnonzero(reached)
    if not len(hit):
        hit = np.array([np.abs(place_m - origin_m).argmin()])
    return slice(int(hit[0]), int(hit[-1]) + 1)


# -- events that last -----------------------------------------------------------------------------------


class Lasting(ABC):
    """An event that lasts or reaches too long to be held whole: any part of it is computed when asked for.

    Parameters
    ----------
    plan : Plan
    place_m : numpy.ndarray
        float64, shape (n_channels,), ascending: place of each channel along the fibre, m.
    background : AnyBackground
    """

    def __init__(self, plan: Plan, place_m: np.ndarray, background: AnyBackground) -> None:
        self.plan, self._place_m, self._rate = plan, place_m, background.rate
        self._usual = background.band_rms(KINDS[plan.kind].heard_hz(background.rate))
        self._coupling = background.coupling

    @abstractmethod
    def wave(self, begin: int, end: int) -> tuple[slice, np.ndarray]:
        """Compute samples from `begin` to before `end`, counted from the event's start.

        Returns
        -------
        columns : slice
            The channels that it reaches meanwhile; there may be none.
        wave : numpy.ndarray
            float32, shape (columns, end − begin), counts.
        """

    @abstractmethod
    def levels(self, begin: int, end: int) -> tuple[slice, np.ndarray]:
        """Return the columns, and the ratio to the background in each row, dB, from `begin` to before `end`.

        Its noise is steady, so that the ratio is that of its rms and needs no samples.
        """

    @cached_property
    def extent(self) -> Extent | None:
        """Where it is at least as strong as the background; None if it is nowhere."""
        rows, columns, peaks = [], [], []
        step = BLOCK_SECONDS * ROWS_PER_SECOND
        for begin in range(0, self.plan.n_rows, step):
            reached, level = self.levels(begin, min(begin + step, self.plan.n_rows))
            column, row = np.nonzero(level > FLOOR_DB)
            if len(row):
                rows += [begin + row.min(), begin + row.max()]
                columns += [reached.start + column.min(), reached.start + column.max()]
                peaks.append((level.max(), reached.start + int(level.max(1).argmax())))
        if not rows:
            return None
        return Extent((int(min(rows)), int(max(rows))), (int(min(columns)), int(max(columns))), max(peaks)[1])

    def add_to(self, block: np.ndarray, first_sample: int, rate: int) -> None:
        """Add what of the event falls into a block that starts at `first_sample`; changes the block."""
        per_row = rate // ROWS_PER_SECOND
        at = self.plan.first_row * per_row - first_sample
        begin, end = max(at, 0), min(at + self.plan.n_rows * per_row, block.shape[1])
        if begin < end:
            columns, wave = self.wave(begin - at, end - at)
            block[columns, begin:end] += wave


class Passing(Lasting):
    """What rolls along the fibre, or stands beside it and runs: noise and tones from a body of some length.

    Wheels press the ground as well: a bell of strain about as wide as the road is far moves along below each axle.
    """

    def __init__(self, plan: Plan, place_m: np.ndarray, background: AnyBackground) -> None:
        super().__init__(plan, place_m, background)
        kind, rate = KINDS[plan.kind], background.rate
        low, high = kind.heard_hz(rate)
        if plan.along_m_s:  # faster wheels sound higher
            high = min(high * abs(plan.along_m_s) / float(np.mean(kind.speed_m_s)), USED_SHARE * rate)
        self._noise = _Steady(plan.seed, rate, (low, high))
        self._half_m = max(plan.axles_m, default=0.0)
        end_m = plan.origin_m + plan.along_m_s * plan.n_rows / ROWS_PER_SECOND
        nearest_m = np.clip(place_m, min(plan.origin_m, end_m), max(plan.origin_m, end_m))
        ratio = self._gain(self._distance(place_m - nearest_m)) * self._coupling / self._usual
        self._scale = 10 ** (plan.snr_db / 20) / ratio.max()
        pressed = float(np.median(background.band_rms(LOAD_BAND_HZ) / self._coupling))
        # Bells of axles close to each other add up.
        deepest = max(self._bells(np.array(plan.axles_m)), default=1.0)
        self._load = 10 ** (plan.load_db / 20) * pressed / deepest
        rng = np.random.default_rng(plan.voice or (*plan.seed, 1))
        self._pitch_hz = rng.uniform(*kind.pitch_hz)
        count = int(high / self._pitch_hz) if kind.tonal else 0
        self._tones = rng.uniform(0.3, 1, count), rng.uniform(0, 2 * np.pi, count)

    def _distance(self, offset_m: np.ndarray) -> np.ndarray:
        """Return the distance of channels that lie `offset_m` ahead of the body's middle."""
        return np.hypot(np.maximum(np.abs(offset_m) - self._half_m, 0), self.plan.lateral_m)

    def _gain(self, distance_m: np.ndarray) -> np.ndarray:
        nearer = self.plan.lateral_m - distance_m
        return np.sqrt(self.plan.lateral_m / distance_m) * np.exp(nearer / self.plan.decay_m)

    def _bells(self, offset_m: np.ndarray) -> np.ndarray:
        """Return the strain below the axles of channels that lie `offset_m` ahead of the body's middle."""
        return sum(
            (np.exp(-(((offset_m - axle) / self.plan.lateral_m) ** 2) / 2) for axle in self.plan.axles_m),
            np.zeros_like(offset_m),
        )

    def _emitted(self, begin: int, end: int) -> np.ndarray:
        """Return what the body emits, with an rms of about 1, float32."""
        share, seconds = KINDS[self.plan.kind].tonal, np.arange(begin, end) / self._rate
        emitted = np.sqrt(1 - share) * self._noise.between(begin, end)[0]
        weights, phases = self._tones
        turn = 2 * np.pi * self._pitch_hz * (seconds + 0.01 * np.sin(seconds / 3))
        scale = np.sqrt(2 * share / np.sum(weights**2)) if len(weights) else 0.0
        for k, (weight, phase) in enumerate(zip(weights, phases, strict=True), 1):
            emitted += scale * weight * np.sin(k * turn + phase)
        left = self.plan.n_rows / ROWS_PER_SECOND - seconds
        return (emitted * np.clip(np.minimum(seconds, left) / EDGE_S, 0, 1)).astype(np.float32)

    def _reached(self, along_m: np.ndarray) -> slice:
        """Return the channels that hear the body while its middle is at these places."""
        reach = REACH * self.plan.decay_m + self._half_m
        return slice(*np.searchsorted(self._place_m, [along_m.min() - reach, along_m.max() + reach]))

    def wave(self, begin: int, end: int) -> tuple[slice, np.ndarray]:
        """Compute a part of its samples, see `Lasting.wave`."""
        plan, n = self.plan, end - begin
        along = plan.origin_m + plan.along_m_s * np.arange(begin, end) / self._rate
        columns = self._reached(along)
        wave = np.empty((columns.stop - columns.start, n), np.float32)
        longest = REACH * plan.decay_m + self._half_m + abs(along[-1] - along[0]) + plan.lateral_m
        lead = int(longest / plan.wave_speed_m_s * self._rate) + 2
        emitted, now = self._emitted(begin - lead, end), np.arange(lead, lead + n, dtype=np.float32)
        for row, place, coupling in zip(wave, self._place_m[columns], self._coupling[columns], strict=True):
            offset = (place - along).astype(np.float32)
            distance = self._distance(offset)
            # Where among the emitted samples that lies which arrives now.
            at = now - distance * np.float32(self._rate / plan.wave_speed_m_s)
            before = at.astype(np.int32)
            part = at - before
            sound = emitted[before] * (1 - part) + emitted[np.minimum(before + 1, lead + n - 1)] * part
            row[:] = self._scale * self._gain(distance) * sound
            if plan.axles_m and np.abs(offset).min() < self._half_m + 4 * plan.lateral_m:
                row += self._load * self._bells(offset)
            row *= coupling
        return columns, wave

    def levels(self, begin: int, end: int) -> tuple[slice, np.ndarray]:
        """Return a part of its levels, see `Lasting.levels`."""
        along = self.plan.origin_m + self.plan.along_m_s * (np.arange(begin, end) + 0.5) / ROWS_PER_SECOND
        columns = self._reached(along)
        gain = self._gain(self._distance(self._place_m[columns, None] - along))
        ratio = gain * (self._scale * self._coupling[columns] / self._usual[columns])[:, None]
        return columns, 20 * np.log10(ratio)


class Shower(Lasting):
    """Rain on the whole line: noise that swells and falls, by drops that fall on each channel alone."""

    def __init__(self, plan: Plan, place_m: np.ndarray, background: AnyBackground) -> None:
        super().__init__(plan, place_m, background)
        rng = np.random.default_rng((*plan.seed, 0))
        amplitude = self._coupling * 10 ** (rng.normal(0, 2, len(place_m)) / 20)
        self._amplitude = amplitude * 10 ** (plan.snr_db / 20) / (amplitude / self._usual).max()
        self._noise = _Steady(plan.seed, self._rate, KINDS[plan.kind].heard_hz(self._rate), len(place_m))
        seconds = plan.n_rows / ROWS_PER_SECOND
        self._knots_s = np.linspace(0, seconds, int(seconds / 10) + 3)
        gusts = 0.8 + 0.2 * np.tanh(rng.normal(size=len(self._knots_s)))
        self._strength = np.sin(np.linspace(0, np.pi, len(self._knots_s))) * gusts

    def _swell(self, seconds: np.ndarray) -> np.ndarray:
        return np.interp(seconds, self._knots_s, self._strength)

    def wave(self, begin: int, end: int) -> tuple[slice, np.ndarray]:
        """Compute a part of its samples, see `Lasting.wave`."""
        wave = self._noise.between(begin, end)
        wave *= self._swell(np.arange(begin, end) / self._rate).astype(np.float32)
        wave *= self._amplitude.astype(np.float32)[:, None]
        return slice(0, len(wave)), wave

    def levels(self, begin: int, end: int) -> tuple[slice, np.ndarray]:
        """Return a part of its levels, see `Lasting.levels`."""
        swell = np.maximum(self._swell((np.arange(begin, end) + 0.5) / ROWS_PER_SECOND), 1e-6)
        return slice(0, len(self._amplitude)), 20 * np.log10(np.outer(self._amplitude / self._usual, swell))


class _Steady:
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


def begin_event(plan: Plan, place_m: np.ndarray, background: AnyBackground) -> Event | Lasting:
    """Compute an event, or make ready for one that lasts; see `compute_event` for parameters."""
    if not KINDS[plan.kind].lasting:
        return compute_event(plan, place_m, background)
    return (Shower if plan.kind == "shower" else Passing)(plan, place_m, background)
