"""How often reference ground does this: events at least as strong, a kilometre and day.

Windows overlap and neighbours hear the same ground, so what is counted are events. Rates are counted as far as the
reference reaches; above the last few dozen events a tail goes on (`tails`), and a bootstrap over blocks of time
says how far it can be trusted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from dasanom_assets.detection.calibration.tails import Tail, fit_tail
from dasanom_assets.settings import ReferenceSettings


class Rate(NamedTuple):
    """Events at least as strong, a kilometre and day, float64, shape (n,), and the interval of it.

    `beyond` says where fewer than one event of the reference was as strong, so that the tail alone tells.
    """

    rate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    beyond: np.ndarray


def exposure(n_windows: Any, spacing_m: float, shift_seconds: int) -> Any:
    """Return the kilometre-days that windows stand for, one every `shift_seconds` on rows `spacing_m` apart."""
    return n_windows * spacing_m / 1000 * shift_seconds / 86_400


@dataclass(frozen=True)
class Rates:
    """The events of cross-fitted reference ground.

    Attributes
    ----------
    strength : numpy.ndarray
        float32, shape (n_events,), descending: the peak of each event's score.
    place : numpy.ndarray
        int32, shape (n_events,): position in `channel` of where the peak is.
    block : numpy.ndarray
        int32, shape (n_events,): the block of time that it lies in.
    hour : numpy.ndarray
        int8, shape (n_events,): hour of the day, UTC, of the peak.
    fibre, channel : numpy.ndarray
        str and int32, shape (n_places,): the places that were listened to, sorted.
    distance_m : numpy.ndarray
        float64, shape (n_places,): place along the fibre, m.
    place_exposure : numpy.ndarray
        float64, shape (n_places,): kilometres times days that each place was listened to.
    block_exposure : numpy.ndarray
        float64, shape (n_blocks,): the same by block of time.
    hour_exposure : numpy.ndarray
        float64, shape (24,): the same by hour of the day.
    days : int
        Days of the reference.
    recipe : ReferenceSettings
    """

    strength: np.ndarray
    place: np.ndarray
    block: np.ndarray
    hour: np.ndarray
    fibre: np.ndarray
    channel: np.ndarray
    distance_m: np.ndarray
    place_exposure: np.ndarray
    block_exposure: np.ndarray
    hour_exposure: np.ndarray
    days: int
    recipe: ReferenceSettings

    @property
    def km_days(self) -> float:
        """Kilometres times days of reference ground."""
        return float(self.block_exposure.sum())

    @property
    def finest(self) -> float:
        """The finest rate that counting resolves: one event in all of the reference, a kilometre and day."""
        return 1 / self.km_days

    @cached_property
    def tail(self) -> Tail | None:
        """What goes on above the last few dozen events; None where there are too few."""
        return fit_tail(self.strength, self.km_days, self.recipe)

    @cached_property
    def _replicates(self) -> list[tuple[np.ndarray, float, Tail | None]]:
        """Strengths, descending, kilometre-days and tail of each resampling of the blocks of time."""
        rng = np.random.default_rng(0)
        n, out = len(self.block_exposure), []
        for _ in range(self.recipe.replicates):
            times = np.bincount(rng.integers(n, size=n), minlength=n)
            strength = np.repeat(self.strength, times[self.block])
            exposure = float(times @ self.block_exposure)
            out.append((strength, exposure, fit_tail(strength, exposure, self.recipe)))
        return out

    def pooled(self, strength: np.ndarray) -> Rate:
        """Return how often the reference, wherever it was, does as much as each strength, shape (n,).

        Counted rates are ``(1 + number) / km·days``: an event that is stronger than all has that of one, unless
        the tail tells more. The interval holds `recipe.confidence` of the resamplings.
        """
        strength = np.atleast_1d(np.asarray(strength, np.float64))
        rate = _rates(strength, self.strength, self.km_days, self.tail)
        drawn = np.stack([_rates(strength, *replicate) for replicate in self._replicates])
        side = (1 - self.recipe.confidence) / 2
        low, high = np.quantile(drawn, [side, 1 - side], axis=0)
        # Blocks of one short reference are all alike: chance alone moves a count, too.
        number = _count(strength, self.strength)
        exact = special.gammaincinv(number + 1, 1 - side) / self.km_days
        counted = number >= (self.recipe.tail_peaks if self.tail else 1)
        high = np.where(counted, np.maximum(high, exact), high)
        return Rate(rate, np.minimum(low, rate), np.maximum(high, rate), number < 1)

    @cached_property
    def _factors(self) -> np.ndarray:
        """How many times as often as elsewhere there are events at each place, shape (grades, n_places)."""
        return np.stack([self._factors_from(grade) for grade in self._grades])

    @cached_property
    def _grades(self) -> np.ndarray:
        """Strengths, ascending, at which places are compared: a factor of two in rate from one to the next."""
        number = len(self.strength)
        events = [number]
        while events[-1] // 2 >= self.recipe.tail_peaks:
            events.append(events[-1] // 2)
        return self.strength[np.array(events) - 1].astype(np.float64) if number else np.array([-np.inf])

    def _factors_from(self, grade: float) -> np.ndarray:
        """Return the factor of each place for events of a grade or stronger.

        A place is what lies within `recipe.place_m`. Its count is held against the pooled one: with ``k`` events
        where ``m`` were due, the factor is ``(a + k) / (a + m)``, the posterior mean of a gamma prior of mean 1
        whose weight ``a`` is taken from how much places differ beyond chance (empirical Bayes: Robbins 1956).
        """
        place = self.place[: _count(np.array([grade]), self.strength)[0]]
        counts = np.bincount(place, minlength=len(self.channel)).astype(np.float64)
        due = counts.sum() * self.place_exposure / max(self.km_days, 1e-300)
        k, m = np.empty_like(counts), np.empty_like(counts)
        apart: list[int] = []
        for name in np.unique(self.fibre):
            places = np.flatnonzero(self.fibre == name)
            places = places[np.argsort(self.distance_m[places], kind="stable")]  # they may fall
            along_m = self.distance_m[places]
            first = np.searchsorted(along_m, along_m - self.recipe.place_m)
            last = np.searchsorted(along_m, along_m + self.recipe.place_m, side="right")
            for total, values in ((k, counts[places]), (m, due[places])):
                sums = np.concatenate([[0.0], np.cumsum(values)])
                total[places] = sums[last] - sums[first]
            end = -np.inf
            for number, metres in zip(places.tolist(), along_m, strict=True):
                if metres - self.recipe.place_m > end:
                    apart.append(number)
                    end = metres + self.recipe.place_m
        weight = prior_weight(k[apart], m[apart])
        return (weight + k) / (weight + m) if np.isfinite(weight) else np.ones_like(k)

    @cached_property
    def _hours(self) -> np.ndarray:
        """How many times as often as at other hours there are events in each hour of the day, shape (24,)."""
        if self.days < self.recipe.hourly_from_days:
            return np.ones(24)
        hour = self.hour[: _count(self._grades[-1:], self.strength)[0]]
        k = np.bincount(hour, minlength=24).astype(np.float64)
        m = k.sum() * self.hour_exposure / self.km_days
        weight = prior_weight(k[m > 0], m[m > 0])
        return np.where(m > 0, (weight + k) / (weight + m), 1.0) if np.isfinite(weight) else np.ones(24)

    def _places(self, fibre: Sequence[str], channel: np.ndarray) -> np.ndarray:
        """Return the position of the nearest place of the same fibre, int64, shape (n,); −1 where it has none."""
        out = np.full(len(channel), -1)
        for name in np.unique(self.fibre):
            places, asked = np.flatnonzero(self.fibre == name), np.asarray(fibre, dtype=object) == name
            halfway = (self.channel[places][1:] + self.channel[places][:-1]) / 2
            out[asked] = places[np.searchsorted(halfway, channel[asked])]
        return out

    def factors(
        self, strength: np.ndarray, fibre: Sequence[str], channel: np.ndarray, hour: np.ndarray
    ) -> np.ndarray:
        """Return how many times as often as elsewhere each place and hour has events of each strength, shape (n,).

        A fibre that is not in the reference has what is pooled.
        """
        place = self._places(fibre, np.asarray(channel))
        grade = np.clip(np.searchsorted(self._grades, strength, side="right") - 1, 0, None)
        return np.where(place >= 0, self._factors[grade, place], 1.0) * self._hours[np.asarray(hour)]

    def at(self, strength: np.ndarray, fibre: Sequence[str], channel: np.ndarray, hour: np.ndarray) -> Rate:
        """Return how often the reference does as much there and then; see `pooled` and `factors`."""
        strength = np.atleast_1d(np.asarray(strength, np.float64))
        pooled, times = self.pooled(strength), self.factors(strength, fibre, channel, hour)
        beyond = pooled.beyond & (pooled.rate * times < self.finest)
        return Rate(pooled.rate * times, pooled.low * times, pooled.high * times, beyond)

    def decisive(self, rate: Rate) -> np.ndarray:
        """Return the rate that is held against a budget: the counted one, and the tail's upper bound beyond.

        What is rarer than once in all of the reference never counts as more than that.
        """
        return self._decisive(rate.rate, rate.high)

    def _decisive(self, rate: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.where(rate >= self.finest, rate, np.minimum(high, self.finest))

    def thresholds(self, budget: float, fibre: str, channel: int) -> np.ndarray:
        """Return the least strength that a budget lets pass at a place, for each hour of the day, shape (24,).

        The budget is in events a kilometre and day.
        """
        strength, pooled, high = self.curve
        place = self._places([fibre], np.array([channel]))[0]
        grade = np.clip(np.searchsorted(self._grades, strength, side="right") - 1, 0, None)
        of_place = self._factors[grade, place] if place >= 0 else np.ones(len(strength))
        out = np.empty(24)
        for of_hour in np.unique(self._hours):
            within = self._decisive(pooled * of_place * of_hour, high * of_place * of_hour) <= budget
            # From the strongest down, as long as all that is stronger is within the budget.
            n = int(np.argmin(within[::-1])) if not within.all() else len(within)
            out[self._hours == of_hour] = strength[len(within) - n] if n else np.inf
        return out

    @cached_property
    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A grid of strengths, ascending, with the pooled rate and its upper bound: three arrays, float64."""
        if not len(self.strength):
            return np.array([0.0]), np.array([self.finest]), np.array([self.finest])
        top = float(self.strength[0])
        counted = np.nextafter(self.strength[::-1], np.float32(np.inf)).astype(np.float64)
        in_tail = np.empty(0)
        if self.tail:  # it falls between events, too
            above = top + self.tail.scale * np.linspace(0, 60, 1201)
            in_tail = np.concatenate([np.linspace(self.tail.start, top, 1001)[1:], above])
        strength = np.unique(np.concatenate([[float(self.strength[-1])], counted, in_tail]))
        rate = self.pooled(strength)
        return strength, rate.rate, rate.high

    def promised(self, budget: float) -> float:
        """Return the rate that a budget comes to, a kilometre and day: at best what the reference can tell."""
        _, rate, high = self.curve
        decisive = self._decisive(rate, high)
        return budget if (decisive <= budget).any() else float(decisive.min())

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and JSON-able values that `restore` makes equal rates of."""
        names = ("strength", "place", "block", "hour", "channel", "distance_m")
        exposures = ("place_exposure", "block_exposure", "hour_exposure")
        fibres, code = np.unique(self.fibre, return_inverse=True)
        tensors = {name: getattr(self, name) for name in (*names, *exposures)} | {"fibre": code.astype(np.int32)}
        return tensors, {"fibres": fibres.tolist(), "days": self.days}

    @staticmethod
    def restore(tensors: dict[str, np.ndarray], values: dict[str, Any], recipe: ReferenceSettings) -> "Rates":
        """Undo `state`."""
        fibre = np.array(values["fibres"], str)[tensors["fibre"]]
        return Rates(**(tensors | {"fibre": fibre}), days=values["days"], recipe=recipe)


def _count(strength: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return how many of `reference`, descending, are at least as strong as each."""
    return len(reference) - np.searchsorted(reference[::-1], strength.astype(np.float32), side="left")


def in_words(event: Mapping[str, Any], km_days: float) -> str:
    """Return how often the reference does as much as an event, in words.

    Parameters
    ----------
    event : mapping
        A row of `anomaly_events`.
    km_days : float
        Of the reference.
    """
    if event["beyond_reference"]:
        return f"rarer than once in {km_days:.3g} km·days"
    return f"{event['rate_per_km_day']:.3g} ({event['rate_low']:.3g}–{event['rate_high']:.3g})"


def _rates(strength: np.ndarray, reference: np.ndarray, km_days: float, tail: Tail | None) -> np.ndarray:
    rate = (1 + _count(strength, reference)) / km_days
    if tail is None:
        return rate
    beyond = strength > tail.start
    return np.where(beyond, np.minimum(tail.rates(np.maximum(strength, tail.start)), rate), rate)


def prior_weight(k: np.ndarray, m: np.ndarray) -> float:
    """Return how many events a place must have before its own rate counts as much as the pooled one.

    By moments: counts of places whose rates are gamma distributed with mean 1 and weight ``a`` have the variance
    ``m + m²/a``. Infinite where they differ no more than chance has it.

    Parameters
    ----------
    k, m : numpy.ndarray
        Events there were, and were due, at places that do not overlap.
    """
    spread = float(np.sum((k - m) ** 2 - m))
    return float(np.sum(m**2) / spread) if spread > 0 else float("inf")


def poisson_ratio(count: int, due: float, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return realised ÷ asked and its exact Poisson interval (Garwood 1936)."""
    side = (1 - confidence) / 2
    low = special.gammaincinv(count, side) if count else 0.0
    return count / due, float(low / due), float(special.gammaincinv(count + 1, 1 - side) / due)
