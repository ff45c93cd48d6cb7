"""The whitening that makes channels comparable, and which of their seconds can be used."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from dasanom_assets.recordings.measured import BAD_STATES
from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.frames import ChannelFrames, DayFrames, row_parts
from dasanom_assets.spectrograms.grids import DayGrids
from dasanom_assets.spectrograms.usual import CommonLevels, StretchLevel, Usual, stretches_of
from dasanom_assets.spectrograms.white_rows import (
    SPREAD_ROWS,
    WhiteChannel,
    WhiteRows,
    chosen_rows,
    own_spread,
    unusable_rows,
)
from dasanom_assets.spectrograms.windows import SECOND_NS, frames_there
from dasanom_assets.tables.schemas import stack
from dasanom_assets.tables.store import Store


def white_day(
    store: Store,
    day: str,
    settings: BackgroundSettings,
    window: WindowSettings,
    select: Callable[[str, int], bool] | None = None,
    *,
    against: Usual | None = None,
) -> Iterator[WhiteChannel]:
    """Yield the channels of a day that `channel_health` does not call dead or saturated, whitened.

    Parameters and exceptions are those of `WhiteDay`; `select` says of a fibre and channel whether it is read, and
    all are by default.
    """
    plan = WhiteDay(store, day, settings, window, against=against)
    yield from plan.channels([key for key in plan.keys if select is None or select(*key)])


class WhiteDay:
    """What the channels of a day are whitened by: read once, to whiten any of them, here or on another machine.

    A group of channels takes part as long as one of them is neither dead nor saturated. Seconds that
    `clipped_seconds` names cannot be used. With min–max scaling, levels stay as they are.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    settings : BackgroundSettings
    window : WindowSettings
    bad : bool
        Whether dead and saturated channels take part, too, without a usable row.
    against : Usual, optional
        Instead of the day's `background` and `common_levels`.

    Raises
    ------
    MissingDayError
        Where `spectrograms`, `background`, `channel_health` or, unless ``common_channels`` is 0,
        `common_levels` lack the day.
    """

    def __init__(
        self,
        store: Store,
        day: str,
        settings: BackgroundSettings,
        window: WindowSettings,
        *,
        bad: bool = False,
        against: Usual | None = None,
    ) -> None:
        self._settings, self._window = settings, window
        self.frames = DayFrames(store, day)
        self.spectrogram, self._grids = self.frames.spectrogram, DayGrids(self.frames.note)
        self._states = row_states(store, day, self.spectrogram)
        self._clipped = _ClippedSeconds(store, day, self.spectrogram.group_channels)
        if against is None:
            usual = store.read_day("background", day)
            note = store.metadata("background", day)
            self._parts = note.get("hour_classes", 1), note.get("n_grids", 1)
        else:
            usual, self._parts = against.levels, (against.hour_classes, against.n_grids)
        takes_off = settings.common_channels and window.scaling == "background"
        self._common = CommonLevels(store, day, stretches_of(store, day, against), against) if takes_off else None
        keys = zip(usual["fibre"].to_pylist(), usual["channel"].to_pylist(), strict=True)
        vectors = zip(stack(usual["median_db"]), stack(usual["mad_db"]), strict=True)
        self._levels = dict(zip(keys, vectors, strict=True))
        self.keys = [key for key in self.frames.keys if key in self._levels and (bad or self._healthy(key))]
        """Fibre and channel of those that take part, sorted."""

    def _healthy(self, key: tuple[str, int]) -> bool:
        return self._states.get(key, BAD_STATES[0]) not in BAD_STATES

    def channels(
        self, keys: Iterable[tuple[str, int]], within: tuple[int, int] | None = None
    ) -> Iterator[WhiteChannel]:
        """Yield some of the channels in `keys`; an hour of one is whitened where it is looked at.

        `within` are begin and end, seconds since 1970: row groups beside them are not read. Raises ValueError with
        ``own_spread``, which is that of the whole day.
        """
        if within is not None and self._settings.own_spread:
            raise ValueError("the spread of a channel's day does not show in some hours of it")
        for frames in self.frames.channels(keys, within):
            yield self._white(frames, self._common.of(frames.fibre, frames.channel) if self._common else None)

    def _white(self, frames: ChannelFrames, common: StretchLevel | None) -> WhiteChannel:
        key, start = (frames.fibre, frames.channel), frames.start_ns
        grid = self._grids.of_rows(*key, start) if self._grids.most > 1 else None
        whitens = self._window.scaling == "background"
        rows = WhiteRows(frames, self._levels[key] if whitens else None, self._parts, self._settings, common, grid)
        looks = whitens and self._settings.own_spread
        every = max(1, -(-len(start) // SPREAD_ROWS))
        unusable, spreads = [], []
        for part in row_parts(len(start)):
            levels = frames.power_db[part]
            unusable.append(unusable_rows(levels, frames_there(start[part], self.spectrogram)))
            if looks:  # as they pass: where all can be used, these are what the spread is taken from
                some = slice(part.start + -part.start % every, part.stop, every)
                spreads.append(rows.whitened(levels[some.start - part.start :: every], some))
        why = {name: np.concatenate([of_part[name] for of_part in unusable]) for name in unusable[0]}
        why |= self._clipped.of(*key, start)
        if grid is not None:  # no window holds bands of two grids
            why["incomplete"] |= self._grids.changes(*key, start)
        if not self._healthy(key):
            why = {self._states.get(key, BAD_STATES[0]): np.ones(len(start), bool)}
        usable = ~np.any(list(why.values()), axis=0)
        if looks and usable.any():
            spread = np.concatenate(spreads)
            if not usable.all():
                row = np.flatnonzero(usable)
                chosen = np.zeros(len(usable), bool)
                chosen[row[:: -(-len(row) // SPREAD_ROWS)]] = True
                spread = chosen_rows(rows, chosen)
            rows = replace(rows, scale=1 / own_spread(spread))
        return WhiteChannel(*key, start, rows, usable, why)


def healthy_rows(store: Store, day: str, spectrogram: SpectrogramSettings) -> set[tuple[str, int]]:
    """Return fibre and channel of the rows of `spectrograms` whose channels are not all dead or saturated."""
    return {key for key, state in row_states(store, day, spectrogram).items() if state not in BAD_STATES}


def row_states(store: Store, day: str, spectrogram: SpectrogramSettings) -> dict[tuple[str, int], str]:
    """Return the state of the rows of `spectrograms`: of a group of channels, the state of the best of them."""
    health = store.read_day("channel_health", day, ["fibre", "channel", "state"]).to_pydict()
    size = spectrogram.group_channels
    states: dict[tuple[str, int], str] = {}
    for fibre, channel, state in zip(health["fibre"], health["channel"], health["state"], strict=True):
        key = (fibre, channel // size * size)
        if states.get(key, BAD_STATES[0]) in BAD_STATES:
            states[key] = state
    return states


class _ClippedSeconds:
    """Which seconds of a day are clipped, by channel or group of channels."""

    def __init__(self, store: Store, day: str, size: int) -> None:
        rows = store.read_day("clipped_seconds", day)
        start, end = (rows[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
        channel = (rows["channel"].to_numpy() // size * size).tolist()
        self._of: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
        keys = zip(rows["fibre"].to_pylist(), channel, strict=True)
        for key, *second in zip(keys, start, end, rows["reason"].to_pylist(), strict=True):
            self._of.setdefault(key, []).append((second[0], second[1], second[2] or "clipped"))

    def of(self, fibre: str, channel: int, start_ns: np.ndarray) -> dict[str, np.ndarray]:
        """Return by reason whether each row, which begins at a whole second, holds clipped or stuck samples."""
        out = {reason: np.zeros(len(start_ns), bool) for reason in ("clipped", "stuck")}
        for start, end, reason in self._of.get((fibre, channel), ()):
            out[reason][slice(*np.searchsorted(start_ns, [start - SECOND_NS + 1, end]))] = True
        return out
