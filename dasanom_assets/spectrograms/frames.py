"""The rows of `spectrograms` of a day, one channel at a time, whose levels are unpacked as they are looked at."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

import numpy as np
import pyarrow as pa

from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.tables.groups import Channels, Place, inner_footers
from dasanom_assets.tables.pages import read_vectors
from dasanom_assets.tables.store import DayFile, Store
from dasanom_assets.tables.trimming import gone_through

PART_ROWS = 3600
"""Rows of a channel that are worked on at once: an hour of levels is 7 MB, and a day 177."""


class PackedLevels:
    """Levels of a channel as its file has them; a slice is unpacked, and nothing else.

    Parameters
    ----------
    packed : sequence of bytes
        Pages of ``power_db``, one row group after the other.
    rows : sequence of int
        Rows of each.
    row_shape : tuple of int
        Frames a second, and bands.
    order : numpy.ndarray, optional
        Places of the rows there, where they do not follow each other.
    """

    def __init__(
        self,
        packed: Sequence[bytes],
        rows: Sequence[int],
        row_shape: tuple[int, int],
        order: np.ndarray | None = None,
    ) -> None:
        self._packed, self._order, self._ends = packed, order, list(accumulate(rows, initial=0))
        self.shape = (self._ends[-1], *row_shape)
        self._last: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return some rows that follow each other, float32, shape (n, frames a second, bands), to be kept."""
        begin, end, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(
                f"only rows that follow each other are unpacked, and a step of {step} leaves some out"
            )
        place = np.arange(begin, end) if self._order is None else self._order[begin:end]
        out = np.empty((len(place), *self.shape[1:]), np.float32)
        for number, (first, last) in enumerate(pairwise(self._ends)):
            here = np.flatnonzero((place >= first) & (place < last))
            if len(here):
                out[_run(here)] = self._unpacked(number)[_run(place[here] - first)]
        return out

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or np.float32, copy=False)

    def _unpacked(self, number: int) -> np.ndarray:
        last = self._last
        if last is None or last[0] != number:
            self._last = None  # two of them are not in memory at once
            rows = self._ends[number + 1] - self._ends[number]
            levels = np.empty((rows, *self.shape[1:]), np.float32)
            read_vectors(self._packed[number], levels)
            gone_through(levels.nbytes)
            self._last = last = number, levels
        return last[1]


def _run(places: np.ndarray) -> slice | np.ndarray:
    """Return places as a slice where they follow each other: that makes no copy."""
    return slice(places[0], places[-1] + 1) if (np.diff(places) == 1).all() else places


def row_parts(n_rows: int) -> Iterator[slice]:
    """Yield slices of at most `PART_ROWS` of so many rows, and an empty one of none.

    >>> list(row_parts(4000))
    [slice(0, 3600, None), slice(3600, 4000, None)]
    """
    return (slice(first, min(first + PART_ROWS, n_rows)) for first in range(0, max(1, n_rows), PART_ROWS))


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
    power_db : PackedLevels
        float32, shape (n_rows, frames a second, bands); NaN where a frame is missing.
    """

    fibre: str
    channel: int
    start_ns: np.ndarray
    power_db: PackedLevels


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
        self._start = self._metadata.schema.to_arrow_schema().get_field_index("start")
        self.keys = sorted(self._channels.places)
        """Fibre and channel of those that have rows."""

    def seconds(self, key: tuple[str, int]) -> int:
        """Return how many rows a channel has."""
        return sum(place.rows for place in self._channels.places[key])

    def extents(self) -> dict[str, tuple[tuple[int, int], tuple[int, int]]]:
        """Return first and last channel, and first second and the one after the last, of each fibre."""
        groups: dict[str, set[int]] = {}
        for (fibre, _), places in self._channels.places.items():
            groups.setdefault(fibre, set()).update(place.group for place in places)
        extents = {}
        for fibre, numbers in groups.items():
            first, last = zip(*(self._extent(number) for number in numbers), strict=True)
            channels = [channel for name, channel in self.keys if name == fibre]
            extents[fibre] = (channels[0], channels[-1]), (min(first), max(last))
        return extents

    def channels(
        self, keys: Iterable[tuple[str, int]], within: tuple[int, int] | None = None
    ) -> Iterator[ChannelFrames]:
        """Yield some of the channels in `keys`, one in memory at a time.

        Parameters
        ----------
        keys : iterable
        within : tuple of int, optional
            Begin and end, seconds since 1970: row groups beside it are not read, and a channel may have no row.
        """
        places = {key: self._places(key, within) for key in keys}
        for groups, some in groupby(places, lambda key: [p.group for p in places[key] if p.number is not None]):
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

    def _places(self, key: tuple[str, int], within: tuple[int, int] | None) -> list[Place]:
        places = self._channels.places[key]
        if within is None:
            return places
        extents = ((place, *self._extent(place.group)) for place in places)
        return [place for place, first, end in extents if first < within[1] and within[0] < end]

    def _extent(self, group: int) -> tuple[int, int]:
        """Return first second, and the one after the last, of a row group, since 1970."""
        statistics = self._metadata.row_group(group).column(self._start).statistics
        return int(statistics.min.timestamp()), int(statistics.max.timestamp()) + 1


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


def _rows_of(file: DayFile, groups: list[int], shape: tuple[int, int]) -> tuple[np.ndarray, PackedLevels]:
    """Return start and levels of the rows of some row groups, in order of time."""
    start_of = {g: file.read_row_group(g, ["start"])["start"].cast(pa.int64()).to_numpy() for g in groups}
    groups = sorted(groups, key=lambda group: start_of[group][0])  # a late file may have come behind the others
    starts = [start_of[group] for group in groups]
    start = np.concatenate([np.empty(0, np.int64), *starts])
    order = None if (np.diff(start) > 0).all() else np.argsort(start, kind="stable")
    packed = [file.vector_pages(group, "power_db") for group in groups]
    return start if order is None else start[order], PackedLevels(packed, list(map(len, starts)), shape, order)


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
