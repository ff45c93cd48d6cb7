"""What is usual for each channel and band: the `background` that levels are measured against."""

import heapq
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.settings import BackgroundSettings
from dasanom_assets.spectrograms.windows import day_frames
from dasanom_assets.tables.schemas import SCHEMAS, vector
from dasanom_assets.tables.store import Store

ROWS_A_DAY = 1200
"""Seconds of a channel and day that the median and MAD are taken from, evenly spread: 9600 frames give a median to
within 0.1 dB, and a week stays small."""


def reference_days(days: list[str], day: str, settings: BackgroundSettings) -> list[str]:
    """Return the days of `days` that are the reference of `day`: the latest earlier ones, or itself if first."""
    oldest = str(np.datetime64(day) - settings.look_back_days)
    return [d for d in days if oldest <= d < day] or [day]


def background(store: Store, day: str, settings: BackgroundSettings) -> tuple[pa.Table, dict[str, Any]]:
    """Return median and median absolute deviation per channel and band.

    They are taken over the earlier days within the look-back that have spectrograms with the settings of `day`.
    A channel that the earlier days lack, and the first day of all, are their own reference.

    Parameters
    ----------
    store : Store
        Must hold `spectrograms` of `day`.
    day : str
        ISO day.
    settings : BackgroundSettings

    Returns
    -------
    table : pyarrow.Table
        Rows of `background`, dB.
    note : dict
        ``days`` used, ``own_reference`` channels, and the settings of the spectrograms.
    """
    wanted = store.metadata("spectrograms", day)
    candidates = reference_days(store.days("spectrograms"), day, settings)
    days = [
        d for d in candidates if store.metadata("spectrograms", d)["settings_digest"] == wanted["settings_digest"]
    ] or [day]
    bands = wanted["settings"]["bands"]
    keys: list[tuple[str, int]] = []
    own: list[tuple[str, int]] = []
    medians: list[np.ndarray] = []
    mads: list[np.ndarray] = []
    # Every day yields its channels in the same order, so that one channel at a time is in memory.
    by_channel = heapq.merge(*(_channels(store, d) for d in sorted({*days, day})), key=lambda c: c[:2])
    for key, entries in itertools.groupby(by_channel, key=lambda c: c[:2]):
        levels = {d: rows for _, _, d, rows in entries}
        if not levels.keys() & set(days):
            own.append(key)
        reference = np.concatenate([levels[d] for d in levels if d in days or key in own]).reshape(-1, bands)
        keys.append(key)
        medians.append(np.nanmedian(reference, axis=0))
        mads.append(np.nanmedian(np.abs(reference - medians[-1]), axis=0))
    median, mad = (np.array(v, np.float32).reshape(-1, bands) for v in (medians, mads))
    table = pa.table(
        {
            "fibre": pa.array([fibre for fibre, _ in keys], pa.string()),
            "channel": pa.array([channel for _, channel in keys], pa.int32()),
            "median_db": vector(median, bands),
            "mad_db": vector(mad, bands),
        }
    ).select(SCHEMAS["background"].names)
    note = {"days": days, "own_reference": [list(key) for key in own]}
    return table, note | {key: wanted[key] for key in ("settings", "settings_digest")}


def _channels(store: Store, day: str) -> Iterator[tuple[str, int, str, np.ndarray]]:
    for frames in day_frames(store, day):
        n = len(frames.start_ns)
        thinned = np.linspace(0, n - 1, min(n, ROWS_A_DAY)).astype(int)
        yield frames.fibre, frames.channel, day, frames.power_db[thinned]
