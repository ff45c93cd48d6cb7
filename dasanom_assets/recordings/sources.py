"""The physics of a simulated fibre: what the ground, the interrogator, a pump and passers-by do to its channels.

Signals are float32 in counts of the recorded integers, shape (channels, samples). Nothing here knows of files.
Magnitudes and spectra are plausible, not measured: they give a direction, not a result to publish.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
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

Sound = Callable[[np.random.Generator, int, int, Band], np.ndarray]
"""Draws what a source emits: generator, samples, sampling rate and band in Hz → shape (n_samples,)."""


# -- noise ----------------------------------------------------------------------------------------------


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
    to all. A pump hums on the harmonics of 24.5 Hz near one channel.

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

    Attributes
    ----------
    rate, block_samples : int
        Sampling rate, Hz, and samples a block.
    coupling : numpy.ndarray
        float64, shape (n_channels,): how strongly each channel takes up whatever moves the ground, about 1.
    """

    ground_rms = 200.0
    pump_hz = 24.5
    harmonics = (60.0, 45.0, 25.0, 15.0, 8.0)
    """Amplitudes of the pump's harmonics at its place, counts."""
    pump_decay_m = 10.0
    white_rms = 12.0
    common_rms = 8.0

    def __init__(
        self,
        seed: tuple[int, ...],
        day_seed: tuple[int, ...],
        zones: tuple[tuple[int, int], ...],
        spacing_m: float,
        gauge_m: float,
        rate: int,
        pump_m: float,
    ) -> None:
        self.rate, self._day_seed = rate, day_seed
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
        self._pump_gain = self.coupling * np.exp(-distance / self.pump_decay_m)
        self._gain = (self._n / 2 * np.sqrt(self._ground / self._cells)).astype(np.float32)
        falling = 1 / (1 + self._frequency / 30)
        self._common = self.common_rms**2 * falling / falling.sum()
        drift = np.random.default_rng([*day_seed, 0])
        self._day_level = 10 ** (drift.normal(0, 0.5) / 20)
        self._phases = drift.uniform(0, 2 * np.pi, 6)

    def _channel(self, seed: tuple[int, ...]) -> tuple[float, np.ndarray]:
        """Return a channel's coupling, and the variance of its ground noise in each bin, counts²."""
        rng = np.random.default_rng(seed)
        coupling = float(np.clip(10 ** (rng.normal(0, 2.5) / 20), 0.55, 1.9))
        slope, resonance_hz, strength = rng.uniform(0.8, 1.6), rng.uniform(20, 80), rng.uniform(0, 3)
        f = self._frequency
        power = (f**2 + 3.0**2) ** (-slope / 2) / (1 + (1 / f) ** 4)
        power *= 1 + strength / (1 + ((f - resonance_hz) / (0.15 * resonance_hz)) ** 2)
        return coupling, (self.ground_rms * coupling) ** 2 * power / power.sum()

    def band_rms(self, band_hz: Band) -> np.ndarray:
        """Return the usual rms of each channel in a band, pump included, counts, float64, shape (n_channels,)."""
        inside = (self._frequency >= band_hz[0]) & (self._frequency <= band_hz[1])
        power = self._ground[:, inside].sum(1) + self._common[inside].sum()
        power += self.white_rms**2 * (band_hz[1] - band_hz[0]) / (self.rate / 2)
        hum = [a for k, a in enumerate(self.harmonics, 1) if band_hz[0] <= k * self.pump_hz <= band_hz[1]]
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
        phase = 2 * np.pi * self.pump_hz * (seconds + 0.02 * np.sin(2 * np.pi * seconds / 20 + e))
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
        white *= self.white_rms
        ground += white
        return tails, ground, common


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
        Range of the speed; walkers go along the fibre, vehicles follow the road.
    decay_m : float
        Distance over which its waves lose a factor e, beside their spreading.
    snr_db : tuple of float
        Range of a nuisance's ratio; that of a threat is drawn from the line's list.
    """

    threat: bool
    band_hz: Band
    sound: Sound | None
    speed_m_s: Band = (0.0, 0.0)
    decay_m: float = 12.0
    snr_db: Band = (0.0, 0.0)

    def heard_hz(self, rate: int) -> Band:
        """Return its band as far as a sampling rate, in Hz, lets it be heard."""
        low, high = self.band_hz
        return low, min(high, USED_SHARE * rate)


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
    "traffic": Kind(False, (10, 60), _rumble, (8, 20), 25, (8, 20)),
    "wind": Kind(False, (4, 30), None, snr_db=(4, 10)),
}

TRAFFIC_BY_HOUR = np.repeat([0.15, 0.5, 1.2, 1.0, 1.3, 0.6, 0.25], [5, 1, 4, 6, 3, 3, 2])
"""Vehicles of each hour (UTC) as a share of the usual rate by day."""


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


def plan_events(
    day_seed: tuple[int, ...],
    zones_m: list[Band],
    road_m: float,
    hour: int,
    minutes: float,
    events_per_hour: dict[str, float],
    snrs_db: tuple[float, ...],
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
        Rate of each kind; that of traffic holds by day. A count is the expected one, rounded up or down by chance.
    snrs_db : tuple of float
        Ratios of threats; they take turns over days and kinds, so that a few days hold each of them.
    """
    cells = np.minimum(1.0, minutes - np.arange(int(np.ceil(minutes))))
    plans = []
    for k, name in enumerate(KINDS):
        hours = (hour + np.arange(len(cells)) // 60) % 24
        weight = cells * TRAFFIC_BY_HOUR[hours] if name == "traffic" else cells
        expected = events_per_hour.get(name, 0.0) * weight.sum() / 60
        for i in range(int(expected + np.random.default_rng((*day_seed, 2, k)).random())):
            seed = (*day_seed, 3, k, i)
            rng = np.random.default_rng(seed)
            minute = rng.choice(len(cells), p=weight / weight.sum()) + rng.random()
            snr_db = snrs_db[(sum(day_seed) + k + i) % len(snrs_db)]
            plans.append(_plan(name, seed, rng, zones_m, road_m, minute * 60, minutes * 60, snr_db))
    return sorted(plans, key=lambda plan: (plan.first_row, plan.seed))


def _plan(
    name: str,
    seed: tuple[int, ...],
    rng: np.random.Generator,
    zones_m: list[Band],
    road_m: float,
    start_s: float,
    total_s: float,
    threat_snr_db: float,
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
    snr = threat_snr_db if kind.threat else rng.uniform(*kind.snr_db)
    n_rows = round(duration * ROWS_PER_SECOND)
    latest = int(total_s * ROWS_PER_SECOND) - n_rows
    first_row = min(int(start_s * ROWS_PER_SECOND), latest)
    return Plan(name, first_row, n_rows, float(origin), float(speed), float(across), lateral, snr, seed)


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

    @property
    def sustained_db(self) -> np.ndarray:
        """The largest level within a second before and after: pauses between two strokes belong to the event."""
        return ndimage.maximum_filter1d(self.level_db, 2 * ROWS_PER_SECOND + 1, axis=1)

    def add_to(self, block: np.ndarray, first_sample: int, rate: int) -> None:
        """Add what of the event falls into a block that starts at `first_sample`; changes the block."""
        at = self.plan.first_row * (rate // ROWS_PER_SECOND) - first_sample
        begin, end = max(at, 0), min(at + self.signal.shape[1], block.shape[1])
        if begin < end:
            block[self.columns, begin:end] += self.signal[:, begin - at : end - at]


def compute_event(plan: Plan, place_m: np.ndarray, background: AnyBackground) -> Event:
    """Compute an event on all channels it reaches.

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
    edge = np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.3 * rate)
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
    # Six decay lengths make 52 dB.
    reach = 6 * kind.decay_m
    nearest = np.maximum(along.min() - place_m, place_m - along.max())
    columns = _between(nearest < reach, place_m, float(along[0]))
    wave = np.empty((columns.stop - columns.start, n), np.float32)
    for row, place in zip(wave, place_m[columns], strict=True):
        distance = np.sqrt((along - place) ** 2 + across2)
        # Surface waves spread on circles, which costs the square root of the distance, and are absorbed.
        gain = np.sqrt(plan.lateral_m / distance) * np.exp((plan.lateral_m - distance) / kind.decay_m)
        row[:] = gain * np.interp(t - distance / WAVE_SPEED_M_S, t, emitted, left=0.0)
    return columns, wave


def _between(reached: np.ndarray, place_m: np.ndarray, origin_m: float) -> slice:
    """Return the stretch of channels that are reached, or the nearest channel where none is."""
    hit = np.flatnonzero(reached)
    if not len(hit):
        hit = np.array([np.abs(place_m - origin_m).argmin()])
    return slice(int(hit[0]), int(hit[-1]) + 1)
