"""What is usual for each channel and band: the `background` that levels are measured against.

Levels are multiples of a step, so a histogram of a channel's day is a sketch of it that loses nothing: those of
several days add up to that of all, and a stretch that was not usual can be taken out again. Medians over a week
need no more than the histograms of one channel in memory.
"""

import functools
import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings
from dasanom_assets.spectrograms.frames import ChannelFrames, DayFrames, day_frames, row_parts
from dasanom_assets.spectrograms.grids import DayGrids
from dasanom_assets.spectrograms.histogram import Histogram
from dasanom_assets.spectrograms.streams import blocks, spread
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import SCHEMAS, vector
from dasanom_assets.tables.store import Store
from dasanom_assets.tables.verdicts import unusual

if TYPE_CHECKING:
    from distributed import Client

STEP_DB = 0.05
"""Step of the histograms of levels that are not rounded."""
LEAST_SECONDS = 600
"""A part of the day with fewer seconds has the reference of the whole day."""
LEAST_SHARE = 0.2
"""Where flagged stretches would leave less of a channel, they are not left out: what is always so is usual."""

Key = tuple[str, int]


def level_histograms(
    store: Store, day: str, settings: BackgroundSettings, client: "Client | None" = None
) -> Iterator[pa.Table]:
    """Yield the rows of `level_histograms`: the levels of each channel and part of a day, a table a channel.

    Parameters
    ----------
    store : Store
        Must hold `spectrograms` of `day`.
    day : str
        ISO day.
    settings : BackgroundSettings
        ``hour_classes`` parts of the UTC day.
    client : distributed.Client, optional
        Counts blocks of channels on its workers; threads of this process by default.
    """
    yield _histogram_table("", 0, [])
    frames = DayFrames(store, day)
    count = Counting(frames, settings.hour_classes, _step(store, day), _grids(store, day))
    yield from spread(count, blocks(frames.keys, frames.seconds), client)


@dataclass(frozen=True)
class Counting:
    """What counts the levels of any channels of a day, on this machine or another."""

    frames: DayFrames
    hour_classes: int
    step: float
    grids: DayGrids

    def __call__(self, keys: list[Key]) -> Iterator[pa.Table]:
        """Yield the rows of some channels, one table each."""
        for frames in self.frames.channels(keys):
            parts = _by_class(frames, self.hour_classes, self.step, self.grids)
            yield _histogram_table(frames.fibre, frames.channel, parts)


def histograms_note(store: Store, day: str, settings: BackgroundSettings) -> dict[str, Any]:
    """Return the metadata of `level_histograms`: what they were made from, and how."""
    metadata = store.metadata("spectrograms", day)
    return {
        "settings_digest": metadata["settings_digest"],
        "spectrograms": store.content_digest("spectrograms", day),
        "hour_classes": settings.hour_classes,
        "step_db": _step(store, day),
        "bands": SpectrogramSettings(**metadata["settings"]).row_shape[1],
    }


def reference_days(store: Store, day: str, settings: BackgroundSettings) -> list[str]:
    """Return the days that are the reference of `day`: those of the look-back before it, or itself if first."""
    first, last = (str(date.fromisoformat(day) - timedelta(days=n)) for n in (settings.look_back_days, 1))
    return store.days("spectrograms", first, last) or [day]


def background(
    store: Store, day: str, settings: BackgroundSettings, reference: Sequence[str] | None = None
) -> tuple[pa.Table, dict[str, Any]]:
    """Return median and median absolute deviation per channel and band.

    They are taken over the earlier days within the look-back that have spectrograms with the settings of the
    day, without the stretches that `anomaly_events` flags there. A channel that the earlier days lack, and the
    first day of all, are their own reference.

    Parameters
    ----------
    store : Store
        Must hold `spectrograms` of `day`.
    day : str
        ISO day.
    settings : BackgroundSettings
    reference : sequence of str, optional
        Days that make the reference, in place of the earlier ones.

    Returns
    -------
    table : pyarrow.Table
        Rows of `background`, dB; vectors of ``n_grids`` × ``hour_classes`` × bands values, grid by grid of the day
        (see `grids`) and class by class. Days count for a grid where they have its like.
    note : dict
        ``days`` used, ``own_reference`` channels, channel-seconds ``flagged`` and left out of each day, channels
        that keep theirs (``flagged_kept``), ``hour_classes``, ``n_grids``, and the settings of the spectrograms.
    """
    metadata = store.metadata("spectrograms", day)
    spectrogram = SpectrogramSettings(**metadata["settings"])
    frames_a_second, bands = spectrogram.row_shape
    classes, step = settings.hour_classes, _step(store, day)
    candidates = reference or reference_days(store, day, settings)
    days = [
        d
        for d in candidates
        if store.metadata("spectrograms", d)["settings_digest"] == metadata["settings_digest"]
    ] or [day]
    grids = {d: _grids(store, d) for d in {*days, day}}
    n_grids = grids[day].most
    flagged = {d: dict(_flagged(store, d, classes, step, spectrogram, grids[d])) for d in days if d != day}
    seconds = {d: sum(h.frames for parts in channels.values() for h in parts) for d, channels in flagged.items()}

    keys: list[Key] = []
    own_reference: list[Key] = []
    kept: list[Key] = []
    medians: list[np.ndarray] = []
    mads: list[np.ndarray] = []
    # Every day yields its channels in the same order, so that one channel at a time is in memory.
    by_channel = heapq.merge(
        *(_channels(store, d, settings, step) for d in sorted({*days, day})), key=lambda c: c[0]
    )
    for key, entries in itertools.groupby(by_channel, key=lambda c: c[0]):
        of_day = {d: parts for _, d, parts in entries}
        # A fibre that the day lacks is told in the bands that it had last.
        wanted = grids[day if key[0] in grids[day].fibres else max(of_day)].of(key[0])
        pairs: list[tuple[np.ndarray, np.ndarray] | None] = []
        for grid in wanted[:n_grids]:
            place = {d: (n or 0) * classes for d in of_day if (n := grids[d].number(key[0], grid)) is not None}
            own = {d: of_day[d][first : first + classes] for d, first in place.items()}
            there = {d: parts for d, parts in own.items() if any(part and part.frames for part in parts)}
            used = there.keys() & set(days)
            if not used and there:
                used = {day}
                own_reference.append(key)
            if not used:
                pairs += [None] * classes
                continue
            parts = [_sum([there[d][c] for d in used]) for c in range(classes)]
            events = [
                _sum([flagged[d][key][place[d] + c] for d in used if key in flagged.get(d, {})])
                for c in range(classes)
            ]
            left = [
                part.plus(event, -1) if part and event else part for part, event in zip(parts, events, strict=True)
            ]
            if sum(p.frames for p in left if p) < LEAST_SHARE * sum(p.frames for p in parts if p):
                kept.append(key)
                left = parts
            whole_day = _sum(left)
            assert whole_day is not None
            enough = LEAST_SECONDS * frames_a_second if classes > 1 else 0
            pairs += [(p if p and p.frames > enough else whole_day).median_and_mad(step) for p in left]
        if not any(pairs):
            continue
        keys.append(key)
        _append(pairs, n_grids * classes, bands, medians, mads)
    note = {
        "days": days,
        "own_reference": [list(key) for key in dict.fromkeys(own_reference)],
        "flagged": {d: round(n / frames_a_second, 3) for d, n in seconds.items()},
        "flagged_kept": [list(key) for key in dict.fromkeys(kept)],
        "hour_classes": classes,
        "n_grids": n_grids,
    }
    note |= {key: metadata[key] for key in ("settings", "settings_digest")}
    return _table(keys, medians, mads, n_grids * classes * bands), note


def day_levels(store: Store, day: str, settings: BackgroundSettings) -> pa.Table:
    """Return median and median absolute deviation of a day's own levels, in the columns of `background`.

    Parts of the day without levels are NaN.

    Parameters
    ----------
    store : Store
        Must hold `spectrograms` of `day`; with its `level_histograms`, those are read instead.
    day : str
        ISO day.
    settings : BackgroundSettings
    """
    step = _step(store, day)
    bands = SpectrogramSettings(**store.metadata("spectrograms", day)["settings"]).row_shape[1]
    keys: list[Key] = []
    medians: list[np.ndarray] = []
    mads: list[np.ndarray] = []
    width = _grids(store, day).most * settings.hour_classes
    for key, _, parts in _channels(store, day, settings, step):
        pairs = [part.median_and_mad(step) if part and part.frames else None for part in parts]
        keys.append(key)
        _append(pairs, width, bands, medians, mads)
    return _table(keys, medians, mads, width * bands)


def _append(
    pairs: Sequence[tuple[np.ndarray, np.ndarray] | None],
    width: int,
    bands: int,
    medians: list[np.ndarray],
    mads: list[np.ndarray],
) -> None:
    """Append the vectors of one channel, NaN where a part has no levels."""
    missing = np.full(bands, np.nan)
    whole = [pair or (missing, missing) for pair in (*pairs, *[None] * (width - len(pairs)))]
    medians.append(np.concatenate([median for median, _ in whole]))
    mads.append(np.concatenate([mad for _, mad in whole]))


def _grids(store: Store, day: str) -> DayGrids:
    return DayGrids(store.metadata("spectrograms", day))


def _table(keys: list[Key], medians: list[np.ndarray], mads: list[np.ndarray], width: int) -> pa.Table:
    median_db, mad_db = (np.array(v, np.float32).reshape(-1, width) for v in (medians, mads))
    return pa.table(
        {
            "fibre": pa.array([fibre for fibre, _ in keys], pa.string()),
            "channel": pa.array([channel for _, channel in keys], pa.int32()),
            "median_db": vector(median_db, width),
            "mad_db": vector(mad_db, width),
        }
    ).select(SCHEMAS["background"].names)


def _step(store: Store, day: str) -> float:
    return store.metadata("spectrograms", day)["settings"]["db_step"] or STEP_DB


def _sum(parts: "list[Histogram | None] | list[Histogram]") -> Histogram | None:
    there: list[Histogram] = [part for part in parts if part is not None]
    return functools.reduce(Histogram.plus, there) if there else None


def _by_class(
    frames: ChannelFrames, classes: int, step: float, grids: DayGrids, inside: np.ndarray | None = None
) -> list[Histogram]:
    """Return the histogram of each grid and part of the day, grid by grid; of all rows, or those `inside`."""
    n = classes * len(grids.of(frames.fibre))
    histograms = [Histogram.empty(frames.power_db.shape[2])] * n
    of_row = frames.start_ns // SECOND_NS % 86_400 * classes // 86_400
    if n > classes:
        of_row += classes * grids.of_rows(frames.fibre, frames.channel, frames.start_ns)
    if inside is not None:
        of_row[~inside] = -1
    for part in row_parts(len(of_row)):
        there = np.unique(of_row[part])
        levels = frames.power_db[part] if (there >= 0).any() else None
        for c in there[there >= 0].tolist():
            assert levels is not None
            of_class = levels if len(there) == 1 else levels[of_row[part] == c]
            histograms[c] = histograms[c].plus(Histogram.of(of_class, step))
    return histograms


def _channels(
    store: Store, day: str, settings: BackgroundSettings, step: float
) -> Iterator[tuple[Key, str, list[Histogram | None]]]:
    """Yield each channel's histograms in a day, from the table where it is of the day's spectrograms."""
    note, grids = histograms_note(store, day, settings), _grids(store, day)
    if store.has_day("level_histograms", day) and store.metadata("level_histograms", day) == note:
        for table in store.iter_day("level_histograms", day):
            if table.num_rows:
                n = settings.hour_classes * len(grids.of(table["fibre"][0].as_py()))
                yield _from_rows(table, note["bands"], n, day)
        return
    for frames in day_frames(store, day):
        parts = _by_class(frames, settings.hour_classes, step, grids)
        if any(part.frames for part in parts):
            yield (frames.fibre, frames.channel), day, list(parts)


def _from_rows(table: pa.Table, bands: int, classes: int, day: str) -> tuple[Key, str, list[Histogram | None]]:
    parts: list[Histogram | None] = [None] * classes
    for c, first, counts in zip(table["hour_class"], table["first_code"], table["counts"], strict=True):
        values = counts.values.to_numpy().astype(np.int64).reshape(bands, -1)
        parts[c.as_py()] = Histogram(first.as_py(), values)
    return (table["fibre"][0].as_py(), table["channel"][0].as_py()), day, parts


def _flagged(
    store: Store, day: str, classes: int, step: float, spectrogram: SpectrogramSettings, grids: DayGrids
) -> Iterator[tuple[Key, list[Histogram]]]:
    """Yield the histograms of the stretches of an earlier day that were called unusual, channel by channel."""
    events = unusual(store, day)
    if not events.num_rows:
        return
    columns = [events[name].to_pylist() for name in ("fibre", "first_channel", "last_channel")]
    times = [events[name].cast(pa.int64()).to_pylist() for name in ("start", "end")]
    rows = list(zip(*columns, *times, strict=True))
    size = spectrogram.group_channels

    def events_of(fibre: str, channel: int) -> list[tuple[int, int]]:
        """Return start and end of the events that touch a channel, or one of its group."""
        return [(a, b) for f, low, high, a, b in rows if f == fibre and low < channel + size and high >= channel]

    for frames in day_frames(store, day, lambda *key: bool(events_of(*key))):
        inside = np.zeros(len(frames.start_ns), bool)
        for start, end in events_of(frames.fibre, frames.channel):
            inside |= (frames.start_ns < end) & (frames.start_ns + SECOND_NS > start)
        yield (frames.fibre, frames.channel), _by_class(frames, classes, step, grids, inside)


def _histogram_table(fibre: str, channel: int, parts: list[Histogram]) -> pa.Table:
    there = [(c, part) for c, part in enumerate(parts) if part.counts.size]
    return pa.table(
        {
            "fibre": pa.array([fibre] * len(there), pa.string()),
            "channel": pa.array([channel] * len(there), pa.int32()),
            "hour_class": pa.array([c for c, _ in there], pa.int32()),
            "first_code": pa.array([part.first for _, part in there], pa.int32()),
            "counts": pa.array([part.counts.ravel().astype(np.int32) for _, part in there], pa.list_(pa.int32())),
        }
    ).select(SCHEMAS["level_histograms"].names)
