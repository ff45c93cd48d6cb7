"""A day of signal to the rows of `spectrograms`, in parts that any worker can compute by itself.

A part is an hour of a fibre, or less, in which a file is opened once. It is read, transformed (see `levels`)
and encoded as Parquet where it is computed, in pieces of `CHUNK_SECONDS`; what comes back is a few per cent of
what was read, and is joined without decoding. The health of its channels is summed on the way.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future as Fetch
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.spectrograms.grids import grids_note
from dasanom_assets.spectrograms.levels import CHUNK_SECONDS, levels_of, overlaps, row_channels, row_of
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.parquet import RowGroupWriter, encode
from dasanom_assets.tables.schemas import SCHEMAS, TIME, vector

if TYPE_CHECKING:  # their modules load DASCore and Dask's scheduler
    from distributed import Client, Future

    from dasanom_assets.recordings.health import Sums
    from dasanom_assets.recordings.signal import Stretch

GROUP_SECONDS, LEAST_SECONDS = 3600, 600
"""Rows of one channel that lie together in the file, and the length of a part, at most and at least."""
DAY_PARTS = 8
"""A fibre of a short day is cut into about so many, for threads to share them."""
PART_ROWS, BLOCK_ROWS = 64, 16
"""Channels, or groups of them, in a part, and those of them that are transformed together. Each part reads all
channels and keeps its own, and its encoded rows, 1 MB a channel, wait in memory."""
READ_SHARE = 8
"""A sample is read for at most so many parts: a part of a wide fibre has more channels."""
WRITE_CHANNEL_SECONDS = 7_200
"""Levels that wait in memory to be encoded; fewer cost more calls than they save memory."""
FETCHES = 2
"""Parts that are fetched from workers at a time; they wait in memory to be written."""


@dataclass(frozen=True)
class Part:
    """What one task computes: the rows of some channels of a fibre in some seconds.

    Attributes
    ----------
    fibre : str
    blocks : tuple of numpy.ndarray
        int32, absolute channel numbers in ascending order; channels of one block share their common mode.
    first_second, last_second : int
        Seconds since 1970; the last one is not in the part.
    hears : bool
        Whether it sums the health of all channels of the fibre, one part a stretch of time.
    """

    fibre: str
    blocks: tuple[np.ndarray, ...]
    first_second: int
    last_second: int
    hears: bool = False


def day_seconds(day: str) -> tuple[int, int]:
    """Return the first second of a UTC day and that of the next, in seconds since 1970."""
    start = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
    return start, start + 86_400


def parts_of_day(
    signals: "Sequence[Stretch]", settings: SpectrogramSettings, day: str, heard: "Sequence[Stretch]" = ()
) -> list[Part]:
    """Cut a day into parts, by fibre, time and channel.

    Parameters
    ----------
    signals : sequence of Stretch
        Those that have levels.
    settings : SpectrogramSettings
    day : str
        ISO day.
    heard : sequence of Stretch, optional
        Those whose channels' health is asked for, cut at midnight.
    """
    first, last = day_seconds(day)
    parts = []
    for fibre in sorted({signal.fibre for signal in (*signals, *heard)}):
        of_fibre, own = ([s for s in some if s.fibre == fibre] for some in (signals, heard))
        channels = [row_channels(s, settings) for s in of_fibre]
        tasks = _tasks(np.unique(np.concatenate(channels)), settings, PART_ROWS) if channels else []
        step = _part_seconds([*of_fibre, *own], first, last)
        for second in range(first, last, step):
            end = min(second + step, last)
            blocks = tasks if any(_seconds(s, second, end) for s in of_fibre) else []
            hears = any(_seconds(s, second, end) for s in own)
            parts += [
                Part(fibre, own, second, end, hears and not i) for i, own in enumerate(blocks or [()] * hears)
            ]
    return parts


def _part_seconds(signals: "Sequence[Stretch]", first: int, last: int) -> int:
    """Return how long parts of a fibre's day are, s, on the grid of `CHUNK_SECONDS`."""
    inside = [signal for signal in signals if overlaps(signal, first, last)]
    ends = [signal.start_ns / SECOND_NS + signal.n_samples / signal.sampling_rate_hz for signal in inside]
    start = min((signal.start_ns / SECOND_NS for signal in inside), default=first)
    span = min(last, max(ends, default=last)) - max(first, start)
    return max(min(LEAST_SECONDS, GROUP_SECONDS), min(GROUP_SECONDS, -int(-span // (DAY_PARTS * 60)) * 60))


def rows_expected(signals: "Iterable[Stretch]", settings: SpectrogramSettings, day: str) -> int:
    """Return about how many rows a day will have, for a progress bar."""
    first, last = day_seconds(day)
    seconds = 0.0
    for signal in signals:
        rows = len(np.unique(row_of(row_channels(signal, settings), settings)))
        seconds += _seconds(signal, first, last) * rows
    return round(seconds)


def spectrogram_parts(
    signals: "Sequence[Stretch]",
    settings: SpectrogramSettings,
    day: str,
    client: "Client",
    progress: Callable[[int], None] | None = None,
    heard: "Sequence[Stretch]" = (),
    keep: "Callable[[list[Sums]], object]" = len,
) -> Iterator[bytes]:
    """Compute a day on a Dask cluster and yield its rows in order, as small Parquet files.

    A part is lost with the worker that computes it, and then computed again by another.

    Parameters
    ----------
    signals : sequence of Stretch
        Stretches in any order; those of one fibre that share channels do not overlap.
    settings : SpectrogramSettings
    day : str
        ISO day; seconds outside it are left to the days they belong to.
    client : distributed.Client
        Its workers must be able to read the files of the stretches.
    progress : callable, optional
        Called with the rows finished since its last call.
    heard : sequence of Stretch, optional
        Those whose channels' health is asked for, cut at midnight.
    keep : callable, optional
        Given the sums of the health of each part, in the order of time.

    Yields
    ------
    bytes
        Parts for `Store.write_day_parts`. The first is empty, so that a day without a full frame is a table too.
    """
    yield encode(rows_table("", 0, np.empty(0, np.int64), np.empty((0, *settings.row_shape), np.float32)))
    waiting: deque[Future] = deque()
    fetches: deque[Fetch[tuple[list[bytes], int, list[Sums]]]] = deque()
    parts = deque(parts_of_day(signals, settings, day, heard))
    pool = ThreadPoolExecutor(FETCHES)
    try:
        while parts or waiting or fetches:
            # More tasks than threads, so that none waits for work; not many more, or results would pile up.
            threads = max(1, sum(client.nthreads().values()))
            while parts and len(waiting) + len(fetches) < threads + max(1, threads // 2):
                part = parts.popleft()
                inside = [s for s in signals if s.fibre == part.fibre and _reaches(s, part)]
                own = [s for s in heard if part.hears and s.fibre == part.fibre and _reaches(s, part)]
                task = client.submit(compute_part, inside, settings, part, own, pure=False, key=_key(part))
                waiting.append(task)
            while waiting and len(fetches) < FETCHES:
                fetches.append(pool.submit(_taken, waiting.popleft()))
            files, rows, sums = fetches.popleft().result()
            keep(sums)
            files.reverse()
            while files:  # each is let go of once it is written
                yield files.pop()
            if progress:
                progress(rows)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _taken(future: "Future") -> "tuple[list[bytes], int, list[Sums]]":
    """Return what `compute_part` does, and let the worker forget it."""
    result: tuple[list[bytes], int, list[Sums]] = future.result()
    future.release()
    return result


def compute_part(
    signals: "Sequence[Stretch]", settings: SpectrogramSettings, part: Part, heard: "Sequence[Stretch]" = ()
) -> "tuple[list[bytes], int, list[Sums]]":
    """Return one Parquet file for each channel of a part that has rows, the number of rows, and sums of health.

    Parameters
    ----------
    signals : sequence of Stretch
        Of the fibre, that have levels there.
    settings : SpectrogramSettings
    part : Part
    heard : sequence of Stretch, optional
        Those whose channels' health is summed.
    """
    import torch

    from dasanom_assets.recordings.health import sums

    torch.set_num_threads(1)  # parts run side by side; threads of their own would fight over the same cores
    writers: dict[int, RowGroupWriter] = {}
    n_rows = 0
    summed: list[Sums | None] = []
    wide = 1 + sum(map(len, part.blocks))
    step = CHUNK_SECONDS * max(2, WRITE_CHANNEL_SECONDS // (CHUNK_SECONDS * wide))
    for second in range(part.first_second, part.last_second, step):
        last = min(second + step, part.last_second)
        summed += [sums(s, second * SECOND_NS, last * SECOND_NS) for s in heard if overlaps(s, second, last)]
        inside = [s for s in signals if overlaps(s, second, last)]
        if not inside or not part.blocks:
            continue
        for channel, values in zip(*levels_of(inside, settings, part.blocks, second, last), strict=True):
            there = np.flatnonzero(np.isfinite(values[:, :, 0]).any(axis=1))
            if len(there):
                values = values if len(there) == len(values) else values[there]
                table = rows_table(part.fibre, int(channel), (second + there) * SECOND_NS, values)
                if channel not in writers:
                    writers[channel] = RowGroupWriter(table.schema)
                writers[channel].write(table)
                n_rows += len(there)
    files = [writers.pop(channel).close() for channel in sorted(writers)]
    return files, n_rows, [part_sums for part_sums in summed if part_sums]


def settings_note(signals: "Iterable[Stretch]", settings: SpectrogramSettings) -> dict[str, Any]:
    """Return the metadata of `spectrograms`: the settings, and what they became at each sampling rate."""
    note = {"settings": settings.model_dump(), "settings_digest": settings.digest()}
    return note | grids_note(signals, settings)


def _tasks(channels: np.ndarray, settings: SpectrogramSettings, rows: int) -> list[tuple[np.ndarray, ...]]:
    """Cut a fibre's channels into blocks that share a common mode, and the blocks into parts."""
    if not len(channels):
        return []
    groups = np.split(channels, np.flatnonzero(np.diff(channels // settings.group_channels)) + 1)
    n_parts = -(-len(groups) // max(rows, -(-len(groups) // READ_SHARE)))
    shared = settings.common_mode_channels
    n_blocks = max(1, len(channels) // shared) if shared else -(-len(groups) // min(rows, BLOCK_ROWS))
    cuts = np.array_split(range(len(groups)), n_blocks)
    blocks = [np.concatenate([groups[i] for i in cut]) for cut in cuts]
    return [tuple(blocks[i] for i in cut) for cut in np.array_split(range(n_blocks), min(n_parts, n_blocks))]


def _seconds(signal: "Stretch", first_second: int, last_second: int) -> float:
    """Return how much of a signal lies between two seconds, s."""
    start = signal.start_ns / SECOND_NS
    end = start + signal.n_samples / signal.sampling_rate_hz
    return max(0.0, min(end, last_second) - max(start, first_second))


def _reaches(signal: "Stretch", part: Part) -> bool:
    return overlaps(signal, part.first_second, part.last_second)


def _key(part: Part) -> str:
    """Return a name for Dask's dashboard, which groups tasks by what comes before the last dash."""
    import secrets

    start = datetime.fromtimestamp(part.first_second, UTC)
    channel = f" channel {part.blocks[0][0]}" if part.blocks else ""
    return f"{part.fibre} {start:%Y-%m-%d %H:%M}{channel}-{secrets.token_hex(16)}"


def rows_table(fibre: str, channel: int, start_ns: np.ndarray, levels: np.ndarray) -> pa.Table:
    """Return rows of `spectrograms` of one channel; `levels` has the shape (rows, frames a second, bands)."""
    n = len(start_ns)
    return pa.table(
        {
            "fibre": pa.repeat(fibre, n),
            "channel": pa.repeat(pa.scalar(channel, pa.int32()), n),
            "start": pa.array(start_ns, pa.int64()).cast(TIME),
            "end": pa.array(start_ns + SECOND_NS, pa.int64()).cast(TIME),
            "power_db": vector(levels, levels.shape[1] * levels.shape[2]),
        }
    ).select(SCHEMAS["spectrograms"].names)
