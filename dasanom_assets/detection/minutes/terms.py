"""Temporal dissimilarity: the table `temporal_terms`.

A segment is held against the one before, against the same time on earlier days, and against its neighbours; after
Komatsu and Kondo (ICASSP 2017).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.minutes.days import ENDS, Calendar, local_seconds
from dasanom_assets.detection.minutes.gaussians import Gaussians, divergence, least_divergence
from dasanom_assets.detection.rows import channel_rows
from dasanom_assets.settings import TemporalSettings
from dasanom_assets.spectrograms.grids import DayGrids
from dasanom_assets.spectrograms.streams import blocks, spread
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.groups import group_keys
from dasanom_assets.tables.schemas import SCHEMAS, stack
from dasanom_assets.tables.store import Store
from dasanom_assets.tables.verdicts import unusual

if TYPE_CHECKING:
    from distributed import Client

TABLE = "temporal_terms"
TERMS = ("previous", "daily", "weekly", "neighbours")
MIN_SPREAD = 0.05
"""Added to the spread of a term on a channel, nats, so that a term that hardly moves does not stand out."""
DAY_SECONDS = 86_400
CHANNELS_HELD = 8
"""Of `DayTerms`: as many as threads may score side by side."""


@dataclass(frozen=True)
class History:
    """The stored segments of one channel, of one or more days.

    Attributes
    ----------
    start : numpy.ndarray
        int64, shape (n,): first second of each segment since 1970, UTC.
    models : Gaussians
        Of shape (n,).
    to_neighbours : numpy.ndarray
        float32, shape (n,): median divergence from the channels around.
    """

    start: np.ndarray
    models: Gaussians
    to_neighbours: np.ndarray

    def __getitem__(self, index: np.ndarray | slice) -> "History":
        """Return the segments that an index selects."""
        return History(self.start[index], self.models[index], self.to_neighbours[index])

    @staticmethod
    def joined(parts: "list[History]") -> "History":
        """Return the segments of several days as one."""
        means, variances = ([getattr(part.models, name) for part in parts] for name in ("means", "variances"))
        return History(
            np.concatenate([part.start for part in parts]),
            Gaussians(np.concatenate(means), np.concatenate(variances)),
            np.concatenate([part.to_neighbours for part in parts]),
        )


def channel_terms(today: History, earlier: History, calendar: Calendar) -> np.ndarray:
    """Return the terms of one channel's segments.

    - ``previous``: divergence from the last segment that ended before.
    - ``daily``: least divergence from segments at the same local time of the last days.
    - ``weekly``: the same with days of the same weekday or type; where fewer than ``least_days`` of them have a
      segment, the daily term.
    - ``neighbours``: median divergence from the channels around, less its median over the last days in that hour.

    Parameters
    ----------
    today : History
        Ascending in time.
    earlier : History
        Reference segments of earlier days, ascending in time.
    calendar : Calendar

    Returns
    -------
    numpy.ndarray
        float32, shape (n, 4): nats; NaN where there is nothing to compare with.
    """
    settings = calendar.settings
    out = np.full((len(today.start), len(TERMS)), np.nan, np.float32)
    if not len(today.start):
        return out
    out[:, 0] = _previous(today, earlier, settings.segment_seconds)

    local, past = (local_seconds(h.start, settings.time_zone) for h in (today, earlier))
    if (np.diff(past) < 0).any():  # the hour that clocks show twice
        order = np.argsort(past, kind="stable")
        past, earlier = past[order], earlier[order]
    slack = settings.slack_segments * settings.shift_seconds
    of_day = local // DAY_SECONDS
    for number in np.unique(of_day):
        rows = np.flatnonzero(of_day == number)
        day = date(1970, 1, 1) + timedelta(days=int(number))
        daily, weekly = calendar.daily(day), calendar.weekly(day)
        lags = np.union1d(daily, weekly).astype(np.int64)
        same_time = local[rows, None] - lags * DAY_SECONDS
        first = np.searchsorted(past, same_time - slack)
        last = np.searchsorted(past, same_time + slack, side="right")
        least = least_divergence(today.models[rows], earlier.models, first, last)
        of_days, of_weeks = (least[:, np.isin(lags, days_back)] for days_back in (daily, weekly))
        out[rows, 1] = np.fmin.reduce(of_days, axis=1, initial=np.nan)
        enough = np.isfinite(of_weeks).sum(axis=1) >= settings.least_days
        out[rows, 2] = np.where(enough, np.fmin.reduce(of_weeks, axis=1, initial=np.nan), out[rows, 1])

    to_neighbours = earlier.to_neighbours
    recent = past >= local.min() - settings.days * DAY_SECONDS
    for hour in np.unique(local // 3600 % 24):
        usual = to_neighbours[recent & (past // 3600 % 24 == hour) & np.isfinite(to_neighbours)]
        rows = np.flatnonzero(local // 3600 % 24 == hour)
        out[rows, 3] = today.to_neighbours[rows] - (np.median(usual) if len(usual) else np.nan)
    return out


def _previous(today: History, earlier: History, length: int) -> np.ndarray:
    """Return the divergence from the last segment that ended before, at most one length ago."""
    past = History.joined([earlier[earlier.start >= today.start[0] - 2 * length], today])
    last = np.searchsorted(past.start, today.start - length, side="right") - 1
    near = last >= 0
    near[near] = past.start[last[near]] >= today.start[near] - 2 * length
    out = np.full(len(today.start), np.nan, np.float32)
    out[near] = divergence(today.models[near], past.models[last[near]])
    return out


class StoredSegments:
    """The segments of the channels of one day of `segment_models`: where they lie in its file."""

    def __init__(self, store: Store, day: str) -> None:
        self._store, self._day = store, day
        with store.open_day("segment_models", day) as file:
            self._metadata = file.metadata
        self._read: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._group = {key: i for i, key in enumerate(group_keys(self._metadata)) if key is not None}
        self.keys = sorted(self._group)
        """Fibre and channel of those that have any."""

    def seconds(self, key: tuple[str, int]) -> int:
        """Return about how many seconds a channel's segments stand for."""
        return 60 * self._metadata.row_group(self._group[key]).num_rows

    def of(self, keys: list[tuple[str, int]]) -> Iterator[History | None]:
        """Yield the segments of some channels; None where there are none."""
        columns = ["start", "means", "variances", "to_neighbours"]
        with self._store.open_day("segment_models", self._day, self._metadata) as file:
            for key in keys:
                if (group := self._group.get(key)) is None:
                    yield None
                    continue
                rows = file.read_row_group(group, columns)
                models = Gaussians(stack(rows["means"]), stack(rows["variances"]))
                start = rows["start"].cast(pa.int64()).to_numpy() // SECOND_NS
                yield History(start, models, rows["to_neighbours"].to_numpy())


def reference_days(store: Store, day: str, settings: TemporalSettings) -> list[str]:
    """Return the earlier days, within the look-back, whose segment models are comparable with those of `day`."""
    note = _settings_of(store, day)
    first, last = (str(date.fromisoformat(day) - timedelta(days=n)) for n in (settings.look_back_days, 1))
    return [d for d in store.days("segment_models", first, last) if _settings_of(store, d) == note]


def _settings_of(store: Store, day: str) -> dict[str, Any]:
    return {name: value for name, value in store.metadata("segment_models", day).items() if name != "grids"}


def temporal_terms(
    store: Store, day: str, settings: TemporalSettings, client: "Client | None" = None
) -> Iterator[pa.Table]:
    """Yield the rows of `temporal_terms` of a day, one table a channel, in bounded memory.

    Only earlier days are reference, without the segments that an event of `anomaly_events` touches in time and
    channel. Days that are missing, or have models of other settings or bands, are left out.

    Parameters
    ----------
    store : Store
        Must hold `segment_models` of the day.
    day : str
        ISO day.
    settings : TemporalSettings
    client : distributed.Client, optional
        Compares blocks of channels on its workers; threads of this process by default.
    """
    yield _table("", 0, np.empty(0, np.int64), np.empty((0, len(TERMS)), np.float32), settings)
    calendar = Calendar.of(reference_days(store, day, settings), settings)
    days = needed_days(store, day, settings)
    size = store.metadata("segment_models", day)["spectrogram"]["group_channels"]
    grids = {d: DayGrids(store.metadata("segment_models", d)) for d in [*days, day]}
    today = StoredSegments(store, day)
    earlier = [(StoredSegments(store, d), _Alarms(store, d, size), grids[d]) for d in days]
    compare = Comparing(settings, calendar, today, earlier, grids[day])
    yield from spread(compare, blocks(today.keys, today.seconds), client)


@dataclass(frozen=True)
class Comparing:
    """What compares any channels of a day with earlier days, on this machine or another."""

    settings: TemporalSettings
    calendar: Calendar
    today: StoredSegments
    earlier: "list[tuple[StoredSegments, _Alarms, DayGrids]]"
    grids: DayGrids

    def __call__(self, keys: list[tuple[str, int]]) -> Iterator[pa.Table]:
        """Yield the rows of some channels, one table each."""
        streams = [stored.of(keys) for stored, _, _ in self.earlier]
        for (fibre, channel), today, *histories in zip(keys, self.today.of(keys), *streams, strict=True):
            assert today is not None
            parts = [
                history[~alarms.touch(fibre, channel, history.start, self.settings.segment_seconds)]
                for history, (_, alarms, grids) in zip(histories, self.earlier, strict=True)
                if history is not None and grids.like(self.grids, fibre)
            ]
            terms = channel_terms(today, History.joined([today[:0], *parts]), self.calendar)
            yield _table(fibre, channel, today.start, terms, self.settings)


def needed_days(store: Store, day: str, settings: TemporalSettings) -> list[str]:
    """Return the `reference_days` that a day's terms take anything from."""
    days = reference_days(store, day, settings)
    calendar, zone = Calendar.of(days, settings), ZoneInfo(settings.time_zone)
    midnight = datetime.fromisoformat(day).replace(tzinfo=UTC)
    needed = {str((midnight - timedelta(days=1)).date())}
    for local in {(midnight + end).astimezone(zone).date() for end in ENDS}:
        for lag in {*calendar.daily(local), *calendar.weekly(local)}:
            begin = datetime.combine(local - timedelta(days=lag), datetime.min.time(), zone)
            needed |= {str((begin + end).astimezone(UTC).date()) for end in ENDS}
    return [d for d in days if d in needed]


def standing_out(store: Store, day: str) -> tuple[str, int, int] | None:
    """Return fibre, channel and start, s since 1970, of the segment whose terms stand out most on its channel.

    Terms count in median absolute deviations above the channel's median. None where no segment has a term.
    """
    largest, segment = -np.inf, None
    for rows in store.iter_day(TABLE, day, ["fibre", "channel", "start", *TERMS]):
        above = np.full(rows.num_rows, -np.inf)
        for name in TERMS:
            values = rows[name].to_numpy()
            known = np.isfinite(values)
            if known.any():
                gap = values[known] - np.median(values[known])
                spread = 1.4826 * np.median(np.abs(gap)) + MIN_SPREAD
                above[known] = np.maximum(above[known], 0) + gap / spread
        if rows.num_rows and above.max() > largest:
            largest, i = above.max(), int(above.argmax())
            start = rows["start"].cast(pa.int64())[i].as_py() // SECOND_NS
            segment = (rows["fibre"][i].as_py(), rows["channel"][i].as_py(), start)
    return segment


class _Alarms:
    """What of a day is not usual, see `verdicts.unusual`; groups of `size` channels share rows."""

    def __init__(self, store: Store, day: str, size: int) -> None:
        self._size = size
        events = unusual(store, day)
        self._fibre = events["fibre"].to_numpy()
        self._low, self._high = (events[name].to_numpy() for name in ("first_channel", "last_channel"))
        self._start, self._end = (events[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))

    def touch(self, fibre: str, channel: int, start: np.ndarray, length: int) -> np.ndarray:
        """Return which segments of a channel, `length` s from each of `start`, an event touches, bool."""
        out = np.zeros(len(start), bool)
        near = (self._fibre == fibre) & (self._low < channel + self._size) & (self._high >= channel)
        for begin, end in zip(self._start[near], self._end[near], strict=True):
            out |= (start * SECOND_NS < end) & ((start + length) * SECOND_NS > begin)
        return out


def _table(fibre: str, channel: int, start: np.ndarray, terms: np.ndarray, settings: TemporalSettings) -> pa.Table:
    columns = {name: np.ascontiguousarray(terms[:, i]) for i, name in enumerate(TERMS)}
    return channel_rows(SCHEMAS[TABLE], fibre, channel, start * SECOND_NS, settings.segment_seconds, columns)


class DayTerms:
    """The terms of a day, some channels in memory at a time: a channel's hours are asked for one after the other.

    Parameters
    ----------
    store : Store
        Must hold `temporal_terms` of the day.
    day : str
        ISO day.
    """

    def __init__(self, store: Store, day: str) -> None:
        self._file = store.open_day(TABLE, day)
        self._read: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._group = {key: i for i, key in enumerate(group_keys(self._file.metadata)) if key is not None}

    def of(self, fibre: str, channel: int, start_ns: np.ndarray, end_ns: np.ndarray) -> np.ndarray:
        """Return the terms of windows, float32, shape (n_windows, 4), in the order of `TERMS`.

        Each is the largest among the segments that overlap a window, NaN where none of them has one. Windows are
        given by their starts and ends, int64, shape (n_windows,), ns since 1970 UTC.
        """
        out = np.full((len(start_ns), len(TERMS)), np.nan, np.float32)
        group = self._group.get((fibre, channel))
        if group is None:
            return out
        if group not in self._read:
            rows = self._file.read_row_group(group, ["start", "end", *TERMS])
            times = (rows[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
            if len(self._read) == CHANNELS_HELD:
                del self._read[next(iter(self._read))]
            self._read[group] = (*times, np.stack([rows[name].to_numpy() for name in TERMS], axis=1))
        begin, end, terms = self._read[group]
        first, last = np.searchsorted(end, start_ns, side="right"), np.searchsorted(begin, end_ns)
        for beyond in range(int((last - first).max(initial=0))):
            inside = first + beyond < last
            out[inside] = np.fmax(out[inside], terms[first[inside] + beyond])
        return out
