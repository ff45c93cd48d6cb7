"""The rows of `spectrograms` of a day, one channel in memory at a time."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np
import pyarrow as pa

from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.tables.groups import Channels, inner_footers
from dasanom_assets.tables.store import DayFile, Store


@dataclass(frozen=True)
class ChannelFrames:
    """The frames of one channel on one day.

    Attributes
    ----------
    fibre : str
    channel : int
        Absolute channel number.
    start_ns : numpy.ndarray
        int64, shape (n_rows,): start of each one-second row, ns since 1970 UTC, ascending.
    power_db : numpy.ndarray
        float32, shape (n_rows, frames a second, bands); NaN where a frame is missing.
    """

    fibre: str
    channel: int
    start_ns: np.ndarray
    power_db: np.ndarray


class DayFrames:
    """The channels of a day of `spectrograms`: where they lie in its file, which is opened where they are read.

    Rows of one channel may lie in several row groups, and a row group may hold several channels: see `groups`.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.

    Raises
    ------
    MissingDayError
        Where the day has no spectrograms.
    """

    def __init__(self, store: Store, day: str) -> None:
        self._store, self._day = store, day
        with store.open_day("spectrograms", day) as file:
            self.note, self._metadata = store.metadata_of(file), file.metadata
        self.spectrogram = SpectrogramSettings(**self.note["settings"])
        self._channels = Channels(self._metadata)
        self.keys = sorted(self._channels.places)
        """Fibre and channel of those that have rows."""

    def seconds(self, key: tuple[str, int]) -> int:
        """Return how many rows a channel has."""
        return sum(place.rows for place in self._channels.places[key])

    def extents(self) -> dict[str, tuple[tuple[int, int], tuple[int, int]]]:
        """Return first and last channel, and first second and the one after the last, of each fibre."""
        column = self._metadata.schema.to_arrow_schema().get_field_index("start")
        groups: dict[str, set[int]] = {}
        for (fibre, _), places in self._channels.places.items():
            groups.setdefault(fibre, set()).update(place.group for place in places)
        extents = {}
        for fibre, numbers in groups.items():
            of_groups = [self._metadata.row_group(number).column(column).statistics for number in numbers]
            first, last = min(s.min for s in of_groups), max(s.max for s in of_groups)
            channels = [channel for name, channel in self.keys if name == fibre]
            extents[fibre] = (channels[0], channels[-1]), (int(first.timestamp()), int(last.timestamp()) + 1)
        return extents

    def channels(self, keys: Iterable[tuple[str, int]]) -> Iterator[ChannelFrames]:
        """Yield some of the channels in `keys`, one in memory at a time."""
        places = self._channels.places
        for groups, some in groupby(keys, lambda key: [p.group for p in places[key] if p.number is not None]):
            known, first = self._metadata, dict.fromkeys(groups, 0)
            if groups:  # a footer in which each channel has row groups of its own
                path = self._store.day_path("spectrograms", self._day)
                contents = [self._store.read_range(path, *self._channels.listed(group)) for group in groups]
                known = inner_footers(contents)
                sizes = [self._channels.size(group) for group in groups]
                first = dict(zip(groups, accumulate(sizes, initial=0), strict=False))
            with self._store.open_day("spectrograms", self._day, known) as file:
                for key in some:
                    of_key = [p.group if p.number is None else first[p.group] + p.number for p in places[key]]
                    yield ChannelFrames(*key, *_rows_of(file, of_key, self.spectrogram.row_shape))


def day_frames(
    store: Store, day: str, select: Callable[[str, int], bool] | None = None
) -> Iterator[ChannelFrames]:
    """Yield the channels of a day of `spectrograms`, one at a time, in bounded memory.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    select : callable, optional
        Says of a fibre and channel whether it is read; all are by default.

    Raises
    ------
    MissingDayError
        Where the day has no spectrograms.
    """
    frames = DayFrames(store, day)
    yield from frames.channels([key for key in frames.keys if select is None or select(*key)])


def _rows_of(file: DayFile, groups: list[int], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return start and levels of the rows of some row groups, in order of time; a day of them is there once."""
    n = sum(file.metadata.row_group(group).num_rows for group in groups)
    start, power = np.empty(n, np.int64), np.empty((n, *shape), np.float32)
    end = 0
    for group in groups:
        rows = file.read_row_group(group, ["start"])
        here = slice(end, end + rows.num_rows)
        start[here] = rows["start"].cast(pa.int64()).to_numpy()
        file.read_vectors(group, "power_db", power[here])
        end = here.stop
    if (np.diff(start) <= 0).any():
        order = np.argsort(start, kind="stable")
        start, power = start[order], power[order]
    return start, power


def channel_rows(store: Store, day: str, fibre: str, channel: int) -> ChannelFrames:
    """Return the frames of one channel; an hour of them is one contiguous read.

    Raises
    ------
    MissingDayError
        Where the day has no spectrograms.
    LookupError
        Where it lacks the channel.
    """
    for frames in day_frames(store, day, lambda *key: key == (fibre, channel)):
        return frames
    raise LookupError(f"spectrograms of {day} have no channel {channel} of fibre {fibre}")
