"""Events that are short enough to be computed at once: people, tools, crossing traffic, gusts of wind."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from dasanom_assets.recordings.simulation.ground import AnyBackground
from dasanom_assets.recordings.simulation.kinds import KINDS
from dasanom_assets.recordings.simulation.noise import band_noise, slow_curve
from dasanom_assets.recordings.simulation.plans import REACH_DECAYS, ROWS_PER_SECOND, Plan

FLOOR_DB = 0.0
"""An event counts as present where its bursts are at least as strong as the background of its band, dB."""

EDGE_S = 0.3
"""Time in which an event comes and goes, s."""


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
        start = self.plan.first_row * (rate // ROWS_PER_SECOND) - first_sample
        begin, end = max(start, 0), min(start + self.signal.shape[1], block.shape[1])
        if begin < end:
            block[self.columns, begin:end] += self.signal[:, begin - start : end - start]


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
    gusts = np.sin(np.linspace(0, np.pi, n)) * (0.7 + 0.3 * np.tanh(slow_curve(rng, n, rate, 3.0)))
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
    reach = REACH_DECAYS * plan.decay_m
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
