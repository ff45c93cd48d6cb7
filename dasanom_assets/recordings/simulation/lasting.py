"""Events that last or reach too long to be held whole: vehicles and trams, machines that run for hours, rain."""

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np

from dasanom_assets.recordings.simulation.events import EDGE_S, FLOOR_DB, Event, Extent, compute_event
from dasanom_assets.recordings.simulation.ground import BLOCK_SECONDS, AnyBackground
from dasanom_assets.recordings.simulation.kinds import KINDS, USED_SHARE
from dasanom_assets.recordings.simulation.noise import SteadyNoise
from dasanom_assets.recordings.simulation.plans import LOAD_BAND_HZ, REACH_DECAYS, ROWS_PER_SECOND, Plan


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
        start = self.plan.first_row * per_row - first_sample
        begin, end = max(start, 0), min(start + self.plan.n_rows * per_row, block.shape[1])
        if begin < end:
            columns, wave = self.wave(begin - start, end - start)
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
        self._noise = SteadyNoise(plan.seed, rate, (low, high))
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
        reach = REACH_DECAYS * self.plan.decay_m + self._half_m
        return slice(*np.searchsorted(self._place_m, [along_m.min() - reach, along_m.max() + reach]))

    def wave(self, begin: int, end: int) -> tuple[slice, np.ndarray]:
        """Compute a part of its samples, see `Lasting.wave`."""
        plan, n = self.plan, end - begin
        along = plan.origin_m + plan.along_m_s * np.arange(begin, end) / self._rate
        columns = self._reached(along)
        wave = np.empty((columns.stop - columns.start, n), np.float32)
        longest = REACH_DECAYS * plan.decay_m + self._half_m + abs(along[-1] - along[0]) + plan.lateral_m
        lead = int(longest / plan.wave_speed_m_s * self._rate) + 2
        emitted, now = self._emitted(begin - lead, end), np.arange(lead, lead + n, dtype=np.float32)
        for row, place, coupling in zip(wave, self._place_m[columns], self._coupling[columns], strict=True):
            offset = (place - along).astype(np.float32)
            distance = self._distance(offset)
            # Where among the emitted samples that lies which arrives now.
            position = now - distance * np.float32(self._rate / plan.wave_speed_m_s)
            before = position.astype(np.int32)
            part = position - before
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
        self._noise = SteadyNoise(plan.seed, self._rate, KINDS[plan.kind].heard_hz(self._rate), len(place_m))
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


def begin_event(plan: Plan, place_m: np.ndarray, background: AnyBackground) -> Event | Lasting:
    """Compute an event, or make ready for one that lasts; see `compute_event` for parameters."""
    if not KINDS[plan.kind].lasting:
        return compute_event(plan, place_m, background)
    return (Shower if plan.kind == "shower" else Passing)(plan, place_m, background)
