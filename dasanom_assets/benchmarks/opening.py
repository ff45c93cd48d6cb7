"""How soon a day of spectrograms of a wide fibre is open, and how soon DuckDB has one channel's hour of it.

``dasanom bench opening <folder>`` writes the day with the project's writer: one hour of the channels
around the one that is read is whole, all others have two seconds, so that the footer is that of a whole day.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import typer

from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.spectrograms.engine import GROUP_SECONDS, HOUR_GROUPS, day_seconds
from dasanom_assets.spectrograms.frames import DayFrames
from dasanom_assets.spectrograms.hours import rows_table
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.parquet import encode
from dasanom_assets.tables.store import Store

DAY, FIBRE, HOUR = "2026-01-05", "pipeline", 10
SETTINGS = SpectrogramSettings()


def main(
    folder: Annotated[Path, typer.Argument(help="data root that is written")],
    channels: Annotated[int, typer.Option(help="of the fibre")] = 4000,
    hours: Annotated[int, typer.Option(min=HOUR + 1, help="of the day")] = 24,
    runs: Annotated[int, typer.Option(help="of each")] = 5,
) -> None:
    """Write the day, unless it is there, and print seconds by the clock and of CPU as JSON."""
    store = Store(str(folder))
    if not store.has_day("spectrograms", DAY):
        note = {"settings": SETTINGS.model_dump(), "left_out": []}
        store.write_day_parts("spectrograms", DAY, day_parts(channels, hours), note)
    print(json.dumps(opening(store, channels // 3, runs), indent=1))


def day_parts(channels: int, hours: int) -> Iterator[bytes | list[bytes]]:
    """Yield the row groups of a day, as `engine.spectrogram_parts` groups them."""
    together = max(1, -(-channels // HOUR_GROUPS))
    rng, (midnight, _), shape = np.random.default_rng(0), day_seconds(DAY), SETTINGS.row_shape
    read = channels // 3 // together
    for hour in range(hours):
        for first in range(0, channels, together):
            whole = hour == HOUR and first // together == read
            seconds = GROUP_SECONDS if whole else 2
            files = []
            for channel in range(first, min(first + together, channels)):
                levels = (np.round(rng.normal(-20, 5, (seconds, *shape)) * 4) / 4).astype(np.float32)
                start = (midnight + hour * GROUP_SECONDS + np.arange(seconds)) * SECOND_NS
                files.append(encode(rows_table(FIBRE, channel, start, levels)))
            if together > 1:
                yield files
            else:
                yield files.pop()


def opening(store: Store, channel: int, runs: int) -> dict[str, Any]:
    """Return size of the footer, number of row groups, and medians of seconds by the clock and of CPU."""
    path = store.full(store.day_path("spectrograms", DAY))
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    begin, end = (f"'{DAY} {HOUR:02}:{minute}+00'::TIMESTAMPTZ_NS" for minute in ("00:00", "59:59"))
    rows = f"FROM '{path}' WHERE fibre = '{FIBRE}' AND channel = {channel} AND start BETWEEN {begin} AND {end}"
    metadata = pq.read_metadata(path)
    works: dict[str, Callable[[], object]] = {
        "footer": lambda: pq.read_metadata(path),
        "where_channels_lie": lambda: DayFrames(store, DAY),
        "duckdb_columns": lambda: database.sql(f"DESCRIBE FROM '{path}'").fetchall(),
        "duckdb_hour": lambda: database.sql(f"SELECT start, power_db {rows}").to_arrow_table(),
    }
    figures: dict[str, Any] = {"row_groups": metadata.num_row_groups, "footer_bytes": metadata.serialized_size}
    figures["rows"] = database.sql(f"SELECT count(*) {rows}").fetchall()[0][0]
    for name, work in works.items():
        figures[f"{name}_s"], figures[f"{name}_cpu_s"] = _medians(work, runs)
    return figures


def _medians(work: Callable[[], object], runs: int) -> tuple[float, float]:
    """Return medians of seconds by the clock and of CPU."""
    seconds = []
    for _ in range(runs):
        began = time.perf_counter(), time.process_time()
        work()
        seconds.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return statistics.median(s for s, _ in seconds), statistics.median(s for _, s in seconds)
