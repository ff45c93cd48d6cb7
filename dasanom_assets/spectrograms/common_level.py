"""How loud a whole stretch of fibre is in each second, against what is usual for its channels.

Wind, rain, temperature and the laser move all channels of a stretch together. That is no event on the ground, and
it differs from day to day more than an event stands out: what most channels share is taken off each of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy import ndimage

from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.usual import Usual
from dasanom_assets.spectrograms.white_rows import WhiteChannel, chosen_rows
from dasanom_assets.spectrograms.whitening import WhiteDay
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import SCHEMAS, TIME, vector
from dasanom_assets.tables.store import Store

TABLE = "common_levels"
SAMPLED = 32
"""Channels of a stretch that its level is taken from, evenly spread; more change the median little."""
HOUR = 3600
LEAST = 16
"""With fewer channels in a second, an event could be most of them: nothing is taken off then."""


@dataclass
class _Block:
    """Channels of one fibre, `channels` ascending, of which `sampled` are read."""

    fibre: str
    channels: list[int]

    @property
    def sampled(self) -> list[int]:
        n = len(self.channels)
        return [self.channels[i] for i in sorted({int((k + 0.5) * n / SAMPLED) for k in range(SAMPLED)})]


def common_levels(
    store: Store, day: str, settings: BackgroundSettings, against: Usual | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of `common_levels` of a day, one table a stretch of `common_channels` channels.

    ``level`` is the median over channels of their whitened levels, each the mean of a second's frames, and over
    `common_seconds`. Seconds with fewer than `LEAST` channels have no row.

    Parameters
    ----------
    store : Store
        Must hold `spectrograms`, `background` and `channel_health` of the day.
    day : str
        ISO day.
    settings : BackgroundSettings
        With ``common_channels`` 0 there is no row.
    against : Usual, optional
        Instead of the day's `background`.
    """
    spectrogram = SpectrogramSettings(**store.metadata("spectrograms", day)["settings"])
    bands = spectrogram.row_shape[1]
    yield _table(_Block("", [0]), np.empty(0, np.int64), np.empty((0, bands), np.float32))
    if not settings.common_channels:
        return
    raw = settings.model_copy(update={"common_channels": 0, "own_spread": False})
    usual = store.read_day("background", day, ["fibre", "channel"]) if against is None else against.levels
    plan = WhiteDay(store, day, raw, WindowSettings(), against=against)
    healthy, extents = set(plan.keys), plan.frames.extents()
    for block in _blocks(
        usual.select(["fibre", "channel"]), settings.common_channels * spectrogram.group_channels
    ):
        sampled = [key for channel in block.sampled if (key := (block.fibre, channel)) in healthy]
        if len(sampled) < LEAST:
            continue
        begin, end = extents[block.fibre][1]
        hours = ((first, first + HOUR) for first in range(begin // HOUR * HOUR, end, HOUR))
        levels = [_hour_level(plan.channels(sampled, hour), hour, bands) for hour in hours]
        second, level = (np.concatenate(column) for column in zip(*levels, strict=True))
        if len(second):
            yield _table(block, second * SECOND_NS, _smoothed(second, level, settings.common_seconds))


def _blocks(usual: pa.Table, size: int) -> Iterator[_Block]:
    """Cut each fibre at its gaps, and then into stretches of about `size` channel numbers, all about as long."""
    rows = zip(usual["fibre"].to_pylist(), usual["channel"].to_pylist(), strict=True)
    fibres: dict[str, list[int]] = {}
    for fibre, channel in sorted(rows):
        fibres.setdefault(fibre, []).append(channel)
    for fibre, channels in fibres.items():
        step = int(np.median(np.diff(channels))) if len(channels) > 1 else 1
        for zone in _zones(np.array(channels), step, size):
            pieces = min(round(len(zone) * step / size), len(zone) // LEAST)
            for stretch in np.array_split(zone, max(1, pieces)):
                yield _Block(fibre, stretch.tolist())


def _zones(channels: np.ndarray, step: int, size: int) -> list[np.ndarray]:
    """Cut channels, ascending and usually `step` apart, at gaps that are wider than `LEAST` channels.

    Zones of fewer channels are one with the next where both lie within `size` channel numbers: alone they would
    have no level.
    """
    zones: list[np.ndarray] = []
    for zone in np.split(channels, np.flatnonzero(np.diff(channels) > LEAST * step) + 1):
        few = zones and min(len(zone), len(zones[-1])) < LEAST
        if few and zone[-1] - zones[-1][0] < size:
            zones[-1] = np.concatenate([zones[-1], zone])
        else:
            zones.append(zone)
    return zones


def _hour_level(
    channels: Iterator[WhiteChannel], hour: tuple[int, int], bands: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds of an hour that have a level, int64, and the levels, float32, shape (seconds, bands)."""
    seconds = [np.empty(0, np.int64)]
    means = [np.empty((0, bands), np.float16)]
    for channel in channels:
        inside = channel.usable & (channel.start_ns >= hour[0] * SECOND_NS)
        inside &= channel.start_ns < hour[1] * SECOND_NS
        with np.errstate(invalid="ignore"):
            means.append(np.nanmean(chosen_rows(channel.rows, inside), axis=1).astype(np.float16))
        seconds.append(channel.start_ns[inside] // SECOND_NS)
    second = np.unique(np.concatenate(seconds))
    levels = np.full((len(means), len(second), bands), np.nan, np.float16)
    for row, own, mean in zip(levels, seconds, means, strict=True):
        row[np.searchsorted(second, own)] = mean
    out = np.empty((len(second), bands), np.float32)
    count = np.empty(len(second), np.int64)
    for first in range(0, len(second), 1024):
        piece = slice(first, first + 1024)
        part = levels[:, piece].astype(np.float32)
        count[piece] = np.isfinite(part[:, :, 0]).sum(axis=0)
        out[piece] = np.nanmedian(part, axis=0)
    return second[count >= LEAST], out[count >= LEAST]


def _smoothed(second: np.ndarray, level: np.ndarray, seconds: int) -> np.ndarray:
    """Return levels averaged over some seconds of those that follow each other."""
    for run in np.split(np.arange(len(second)), np.flatnonzero(np.diff(second) > 1) + 1):
        level[run] = ndimage.uniform_filter1d(level[run], seconds, axis=0, mode="nearest")
    return level


def _table(block: _Block, start_ns: np.ndarray, level: np.ndarray) -> pa.Table:
    n = len(start_ns)
    return pa.table(
        {
            "fibre": pa.array(np.full(n, block.fibre, object), pa.string()),
            "start": pa.array(start_ns, pa.int64()).cast(TIME),
            "end": pa.array(start_ns + SECOND_NS, pa.int64()).cast(TIME),
            "first_channel": pa.array(np.full(n, block.channels[0], np.int32)),
            "last_channel": pa.array(np.full(n, block.channels[-1], np.int32)),
            "level": vector(level, level.shape[1]),
        }
    ).select(SCHEMAS[TABLE].names)
