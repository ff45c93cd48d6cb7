"""The reference scored by models that have not seen it: folds of days or of stretches of a day."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from dasanom_assets.detection.calibration.conformal import Conformal, fused
from dasanom_assets.detection.detectors.base import Detector, Windows
from dasanom_assets.detection.events.support import ChannelScores, with_support
from dasanom_assets.models.training_set import SPLITS, WindowIndex, split_of, thinned
from dasanom_assets.models.training_windows import confirmed
from dasanom_assets.settings import (
    BackgroundSettings,
    ReferenceSettings,
    Settings,
    SpectrogramSettings,
    TrainingSetSettings,
)
from dasanom_assets.spectrograms.background import background
from dasanom_assets.spectrograms.common_level import common_levels
from dasanom_assets.spectrograms.streams import in_order
from dasanom_assets.spectrograms.usual import Usual
from dasanom_assets.spectrograms.white_rows import WhiteChannel, hourly_banks
from dasanom_assets.spectrograms.whitening import white_day
from dasanom_assets.spectrograms.windows import SECOND_NS, WindowBank, window_rows
from dasanom_assets.tables.store import Store


@dataclass(frozen=True)
class Folds:
    """Which part of the reference a window belongs to, and what may judge it.

    Attributes
    ----------
    edges : dict of str to numpy.ndarray
        By day, float64, shape (parts + 1,), ns since 1970 UTC: where its parts begin and end.
    n : int
        Parts of the reference.
    guard_ns : int
        What lies nearer to a part than this does not teach what judges it.
    """

    edges: dict[str, np.ndarray]
    n: int
    guard_ns: int

    @staticmethod
    def of_windows(index: WindowIndex, window_seconds: float, recipe: ReferenceSettings) -> "Folds":
        """Cut the windows of all days: each day is a part where there are enough, or else days are cut equally."""
        days = sorted(set(index.day.tolist()))
        parts = max(1, -(-recipe.folds // max(len(days), 1)))
        edges = {}
        for day in days:
            start = index.start_ns[index.day == day]
            edges[day] = np.linspace(start.min(), start.max() + 1, parts + 1)
        n = min(recipe.most_folds, len(days)) if parts == 1 else parts * len(days)
        return Folds(edges, n, int((recipe.guard_seconds + window_seconds) * SECOND_NS))

    @property
    def days(self) -> list[str]:
        """The reference days, ascending."""
        return sorted(self.edges)

    @property
    def _parts(self) -> int:
        return len(next(iter(self.edges.values()))) - 1

    def of(self, day: str, start_ns: np.ndarray) -> np.ndarray:
        """Return the fold of windows of a day, int64, shape (n_windows,)."""
        part = np.clip(np.searchsorted(self.edges[day], start_ns, side="right") - 1, 0, self._parts - 1)
        return (self.days.index(day) * self._parts + part) % self.n

    def outside(self, fold: int, index: WindowIndex) -> np.ndarray:
        """Return which windows may teach what judges a fold, bool, shape (n_windows,)."""
        out = np.ones(len(index), bool)
        for number, day in enumerate(self.days):
            for part in range(self._parts):
                if (number * self._parts + part) % self.n == fold:
                    begin, end = self.edges[day][part : part + 2]
                    # Also what lies across midnight, on another day.
                    out &= (index.start_ns < begin - self.guard_ns) | (index.start_ns >= end + self.guard_ns)
        return out


@dataclass(frozen=True)
class CrossFitted:
    """Detectors that judge the reference days: each was fitted without the part that it judges.

    Attributes
    ----------
    folds : Folds
    detectors : list of dict
        For each part, detectors by name. Those that look through networks are not among them.
    """

    folds: Folds
    detectors: list[dict[str, Detector]]

    def score(self, name: str, windows: Windows, day: str, start_ns: np.ndarray) -> np.ndarray:
        """Return what a detector says of windows of a reference day, float32, shape (n_windows,)."""
        part = self.folds.of(day, start_ns)
        out = np.empty(len(windows), np.float32)
        for number in np.unique(part):
            inside = part == number
            judged = windows if inside.all() else windows.subset(inside)
            out[inside] = self.detectors[number][name].score(judged)
        return out


@dataclass(frozen=True)
class Heard:
    """What the detectors say of the windows of one channel of a reference day.

    Attributes
    ----------
    day, fibre, channel : str, str, int
    start_ns : numpy.ndarray
        int64, shape (n_windows,).
    scores : dict of str to numpy.ndarray
        float32, shape (n_windows,), by detector; NaN where a window may not be judged by it.
    """

    day: str
    fibre: str
    channel: int
    start_ns: np.ndarray
    scores: dict[str, np.ndarray]


def measured_by_others(store: Store, days: Sequence[str], settings: BackgroundSettings) -> dict[str, Usual]:
    """Return what each of some days is measured against: the others, as a new day is by those before it.

    The `background` of the first days knows few days or none but themselves, and that of a new day many: by their
    own, these days would seem stranger, or less strange, than a new one does. As many days take part as the
    look-back has, the nearest.
    """
    out, ordinal = {}, {day: date.fromisoformat(day).toordinal() for day in days}
    for day in days:
        apart = sorted((abs(ordinal[other] - ordinal[day]), i) for i, other in enumerate(days) if other != day)
        others = [days[i] for _, i in apart[: settings.look_back_days]]
        levels, note = background(store, day, settings, others or [day])
        usual = Usual(levels, note["hour_classes"], n_grids=note["n_grids"])
        out[day] = replace(usual, common=list(common_levels(store, day, settings, usual)))
    return out


def listen(
    store: Store,
    against: Mapping[str, Usual],
    settings: Settings,
    crossed: CrossFitted,
    through_networks: dict[str, Detector],
    more: Callable[[WindowBank, WindowIndex], dict[str, np.ndarray]],
    look: Callable[[Windows, WindowIndex], Windows],
    threats: Mapping[str, Sequence[Sequence[Any]]] | None = None,
) -> Iterator[Heard]:
    """Yield what detectors say of the reference days, one channel at a time.

    Parameters
    ----------
    store : Store
    against : mapping of str to Usual
        The days, and what each is measured against.
    settings : Settings
        The training set's own where they matter.
    crossed : CrossFitted
    through_networks : dict
        Detectors that look through networks, by name: they judge windows that these were not trained on.
    more : callable
        Returns what detectors ask for beside frames; see `Inputs.of`.
    look : callable
        Gives windows that, and what the VAE makes of them.
    threats : mapping, optional
        Confirmed ones by day, as in the manifest: windows in them are not what usual ground does.
    """
    recipe, blocks = settings.reference, settings.training_set
    calibration = SPLITS.index("calibration")
    # What is read from tables meanwhile is read by one thread.
    asking = any(detector.inputs for detector in crossed.detectors[0].values())
    apply: Callable[..., Iterator[Heard | None]] = map if asking else in_order
    for number, (day, usual) in enumerate(against.items()):
        spectrogram = SpectrogramSettings(**store.metadata("spectrograms", day)["settings"])
        kept = _kept(store, day, number, len(against), recipe)

        def judge(channel: WhiteChannel, day: str = day, made: SpectrogramSettings = spectrogram) -> Heard | None:
            quiet = ~confirmed((threats or {}).get(day, ()), channel, made.group_channels)
            first = window_rows(channel.start_ns, channel.usable & quiet, settings.window)
            if not len(first):
                return None
            start = channel.start_ns[first]
            scores = {
                name: np.full(len(first), np.nan, np.float32)
                for name in (*crossed.detectors[0], *through_networks)
            }
            for hour, bank in hourly_banks(channel, first, made, settings.window):
                index = WindowIndex.of_channel(channel.fibre, channel.channel, start[hour], day)
                windows = Windows(bank, more=more(bank, index)) if asking else Windows(bank)
                for name in crossed.detectors[0]:
                    scores[name][hour] = crossed.score(name, windows, day, start[hour])
                unseen = np.flatnonzero(split_inside(start[hour], settings.window.seconds, blocks) == calibration)
                if through_networks and len(unseen):
                    seen_through = look(Windows(bank.subset(unseen)), index.subset(unseen))
                    for name, detector in through_networks.items():
                        scores[name][hour][unseen] = detector.score(seen_through)
            return Heard(day, channel.fibre, channel.channel, start, scores)

        channels = white_day(
            store, day, settings.background, settings.window, lambda *k, kept=kept: k in kept, against=usual
        )
        yield from (heard for heard in apply(judge, channels) if heard is not None)


def _kept(store: Store, day: str, number: int, n_days: int, recipe: ReferenceSettings) -> set[tuple[str, int]]:
    """Return the channels of a day that are listened to: all, or runs of neighbours that take turns over days."""
    with store.open_day("spectrograms", day) as file:
        seconds = file.metadata.num_rows * n_days
    usual = store.read_day("background", day, ["fibre", "channel"]).to_pylist()
    channels = sorted((row["fibre"], row["channel"]) for row in usual)
    return set(thinned(channels, max(1, -(-seconds // recipe.rate_channel_seconds)), number))


def split_inside(start_ns: np.ndarray, window_seconds: int, blocks: TrainingSetSettings) -> np.ndarray:
    """Return the split that all of each window lies in, int8, shape (n_windows,); −1 where it is in two."""
    first = split_of(start_ns, blocks)
    last = split_of(start_ns + (window_seconds - 1) * SECOND_NS, blocks)
    return np.where(first == last, first, -1).astype(np.int8)


def strengths(
    heard: Sequence[Heard], conformal: dict[str, Conformal], recipe: ReferenceSettings, shift_ns: int, step: int
) -> list[np.ndarray]:
    """Return the score of each window by all detectors and its surroundings, float32, by channel as in `heard`."""
    out: list[np.ndarray] = []
    by_day: dict[str, list[Heard]] = {}
    for channel in heard:
        by_day.setdefault(channel.day, []).append(channel)
    for of_day in by_day.values():
        channels = (
            ChannelScores(c.fibre, c.channel, c.start_ns, fused(conformal, c.scores), recipe, shift_ns)
            for c in of_day
        )
        out += [strength.astype(np.float32) for _, strength in with_support(channels, recipe, step)]
    return out
