"""The kinds of events, and what their sources emit: footfalls, strokes of tools, machines, wheels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import signal

from dasanom_assets.recordings.simulation.noise import Band, band_noise, slow_curve

USED_SHARE = 0.45
"""Share of the sampling rate up to which sources are heard: interrogators filter what lies near half of it."""

Sound = Callable[[np.random.Generator, int, int, Band], np.ndarray]
"""Draws what a source emits: generator, samples, sampling rate and band in Hz → shape (n_samples,)."""


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
    seconds = np.cumsum(gaps) - gaps[0] * rng.uniform(0.5, 1)
    train = np.zeros(n, np.float32)
    strokes = (seconds * rate).astype(np.int64)
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
    load = np.tanh(slow_curve(rng, n, rate, load_seconds))
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
    return band_noise(rng, n, rate, band_hz)[0] * (1 + 0.3 * np.tanh(slow_curve(rng, n, rate, 0.5)))


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
