"""How large what ingest stores is, how exact, and how fast it is read."""

import math
import statistics
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dasanom_assets.benchmarks.ingest_day import BANDS, DAY, FRAME, HOP, RATE, SETTINGS
from dasanom_assets.benchmarks.timing import timed
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.settings import WindowSettings
from dasanom_assets.spectrograms.frames import channel_rows, day_frames
from dasanom_assets.spectrograms.hours import rows_table
from dasanom_assets.spectrograms.transform import Transform
from dasanom_assets.tables.parquet import encode
from dasanom_assets.tables.store import Store


def bench_storage(root: Path) -> dict[str, Any]:
    """Compare what is stored with the raw samples, and its levels with those that are not rounded."""
    store = Store(str(root))
    raw = sum(p.stat().st_size for p in root.glob("landing/*/*.bin"))
    stored = store.fs.size(store.full(store.day_path("spectrograms", DAY)))
    exact = SETTINGS.model_copy(update={"db_step": 0.0})
    transform = Transform(exact, RATE)
    (signal,) = stretches(store, store.read_day("recordings", DAY))
    samples = signal.read(0, 130_000).astype(np.float32)
    worst, per_second = 0.0, SETTINGS.row_shape[0]
    rounded = {frames.channel: frames for frames in day_frames(store, DAY)}
    for column, channel in enumerate(signal.channels[:8]):
        first = np.rint((np.arange(1, 60 * per_second) + 0.5) * HOP).astype(np.int64) - FRAME // 2
        levels = transform.decibels(
            transform.band_power(np.ascontiguousarray(samples[None, :, column]), first[1:])[0],
            transform.floor_db(1.0),
        )
        ours = rounded[int(channel)].power_db[:60].reshape(60 * per_second, -1)[2:]
        worst = max(worst, float(np.abs(ours - levels).max()))
    return {"stored_share_of_raw": stored / raw, "worst_error_db": worst}


def bench_reading(root: Path, runs: int) -> dict[str, Any]:
    """Time one channel's hour of windows against `numpy.load` of the same arrays."""
    store, window = Store(str(root / "reading")), WindowSettings()
    rng = np.random.default_rng(0)
    levels = (np.round(rng.normal(0, 7, (3600, math.prod(SETTINGS.row_shape))) * 4) / 4).astype(np.float32)
    _write_hour(store, levels)
    rows = levels.reshape(-1, *SETTINGS.row_shape)
    views = np.lib.stride_tricks.sliding_window_view(rows, window.seconds, axis=0)
    windows = np.ascontiguousarray(views.transpose(0, 3, 1, 2)).reshape(len(views), -1, BANDS)
    paths = {"frames": root / "frames.npy", "windows": root / "windows.npy"}
    np.save(paths["frames"], levels)
    np.save(paths["windows"], windows)

    def ours() -> None:
        rows = channel_rows(store, DAY, "north", 7).power_db
        np.lib.stride_tricks.sliding_window_view(rows, window.seconds, axis=0)

    seconds = statistics.median(timed(ours, max(runs, 15)))
    loads = {name: statistics.median(timed(partial(np.load, p), max(runs, 15))) for name, p in paths.items()}
    return {
        "channel_hour_ms": 1e3 * seconds,
        "numpy_load_windows_ms": 1e3 * loads["windows"],
        "numpy_load_frames_ms": 1e3 * loads["frames"],
        "ratio_to_numpy_load_of_windows": seconds / loads["windows"],
        "ratio_to_numpy_load_of_frames": seconds / loads["frames"],
    }


def _write_hour(store: Store, levels: np.ndarray) -> None:
    """Write one channel's hour among seven others'."""
    start = int(datetime.fromisoformat(DAY).replace(tzinfo=UTC).timestamp()) * 1_000_000_000
    seconds = start + np.arange(len(levels)) * 1_000_000_000
    rows = levels.reshape(-1, *SETTINGS.row_shape)
    parts = (encode(rows_table("north", channel, seconds, rows)) for channel in range(8))
    store.write_day_parts("spectrograms", DAY, parts, {"settings": SETTINGS.model_dump()})
