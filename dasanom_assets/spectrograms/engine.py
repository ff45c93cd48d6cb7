"""A day of signal to the rows of `spectrograms`, in parts that any worker can compute by itself.

A part is a stretch of time of all channels of a fibre: a sample is read once, by one worker, however wide the
fibre. It is transformed (see `levels`) and made pages of Parquet where it is read; what comes back is a few per
cent of what was read. Pages of an hour are put in the order of channels (see `hours`) and joined without decoding.
The health of channels is summed from the same samples.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future as Fetch
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.spectrograms.grids import grids_note
from dasanom_assets.spectrograms.hours import Hour, Piece, no_rows
from dasanom_assets.spectrograms.levels import (
    CHUNK_SECONDS,
    chunk_seconds,
    levels_of,
    overlaps,
    row_channels,
    row_of,
    samples_of,
)
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.parquet import Page, encode, vector_page
from dasanom_assets.tables.trimming import trim

if TYPE_CHECKING:  # their modules load DASCore and Dask's scheduler
    from distributed import Client, Future

    from dasanom_assets.recordings.health import Sums
    from dasanom_assets.recordings.signal import Held, Stretch

GROUP_SECONDS = 3600
"""Rows of one channel that lie together in the file, at most."""
DAY_PARTS, LEAST_SECONDS = 8, 600
"""A fibre of a short day is cut into about so many parts, for threads to share them; none is shorter than this."""
PART_ROW_SECONDS = 8 * 3600
"""Rows of a part, at most, unless it is as short as can be: they wait in memory, half a kB each."""
BLOCK_ROWS = 16
"""Channels, or groups of them, that are transformed together, where chunks have their full length."""
HOUR_GROUPS = 256
"""Row groups of a fibre's hour, at most: with more channels, each holds several. Programs that open a day read the
entries of all."""
WRITE_CHANNEL_SECONDS = 7_200
"""Levels that wait in memory to be encoded; fewer cost more calls than they save memory."""
FETCHES = 2
"""Parts that are fetched from workers at a time; they wait in memory to be written."""


@dataclass(frozen=True)
class Part:
    """What one task computes: the rows of a fibre in some seconds, and the health of its channels.

    Attributes
    ----------
    fibre : str
    blocks : tuple of numpy.ndarray
        int32, absolute channel numbers in ascending order; channels of one block share their common mode.
    first_second, last_second : int
        Seconds since 1970; the last one is not in the part.
    ends : bool
        Whether rows of the fibre that wait are written after it.
    together : int
        Channels, or groups of them, of a row group.
    """

    fibre: str
    blocks: tuple[np.ndarray, ...]
    first_second: int
    last_second: int
    ends: bool = True
    together: int = 1


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
        channels = np.unique(np.concatenate([row_channels(s, settings) for s in of_fibre] or [np.empty(0, int)]))
        blocks = _blocks(channels, settings, of_fibre)
        n_rows = len(np.unique(row_of(channels, settings)))
        step = _part_seconds(n_rows, [*of_fibre, *own], first, last)
        for begin in range(first, last, GROUP_SECONDS):
            of_hour = []
            for second in range(begin, min(begin + GROUP_SECONDS, last), step):
                end = min(second + step, begin + GROUP_SECONDS, last)
                there = any(_seconds(s, second, end) for s in of_fibre)
                if there or any(_seconds(s, second, end) for s in own):
                    of_hour.append((blocks if there else (), second, end))
            together = max(1, -(-n_rows // HOUR_GROUPS))
            parts += [Part(fibre, *part, i == len(of_hour), together) for i, part in enumerate(of_hour, 1)]
    return parts


def _part_seconds(n_rows: int, signals: "Sequence[Stretch]", first: int, last: int) -> int:
    """Return how long parts of so many rows a second are, s, on the grid of `CHUNK_SECONDS`."""
    # Files that are no bundles are read whole, so that a part should have a whole one.
    files = {piece.file.path: piece.file.shape[0] / s.sampling_rate_hz for s in signals for piece in s.pieces}
    longest = max((seconds for path, seconds in files.items() if not path.endswith(".bin")), default=0)
    seconds = max(PART_ROW_SECONDS // max(1, n_rows), longest, CHUNK_SECONDS)
    seconds = min(seconds, GROUP_SECONDS, max(LEAST_SECONDS, _span(signals, first, last) / DAY_PARTS))
    return int(seconds // CHUNK_SECONDS) * CHUNK_SECONDS


def _span(signals: "Sequence[Stretch]", first: int, last: int) -> float:
    """Return how long it is from the first sample between two seconds to the last, s."""
    inside = [signal for signal in signals if overlaps(signal, first, last)]
    start = min((signal.start_ns / SECOND_NS for signal in inside), default=first)
    ends = [signal.start_ns / SECOND_NS + signal.n_samples / signal.sampling_rate_hz for signal in inside]
    return min(last, max(ends, default=last)) - max(first, start)


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
) -> Iterator[bytes | list[bytes]]:
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
    bytes or list of bytes
        Parts for `Store.write_day_parts`. The first is empty, so that a day without a full frame is a table too.
    """
    yield encode(no_rows(settings.row_shape))
    waiting: deque[Future] = deque()
    fetches: deque[Fetch[tuple[list[Piece], int, list[Sums]]]] = deque()
    parts = deque(parts_of_day(signals, settings, day, heard))
    to_write, hour = deque(parts), Hour()
    pool = ThreadPoolExecutor(FETCHES)
    try:
        while parts or waiting or fetches:
            # More tasks than threads, so that none waits for work; not many more, or results would pile up.
            threads = max(1, sum(client.nthreads().values()))
            while parts and len(waiting) + len(fetches) < threads + max(1, threads // 2):
                part = parts.popleft()
                inside = [s for s in signals if s.fibre == part.fibre and _reaches(s, part)]
                own = [s for s in heard if s.fibre == part.fibre and _reaches(s, part)]
                task = client.submit(compute_part, inside, settings, part, own, pure=False, key=_key(part))
                waiting.append(task)
            while waiting and len(fetches) < FETCHES:
                fetches.append(pool.submit(_taken, waiting.popleft()))
            pieces, rows, sums = fetches.popleft().result()
            keep(sums)
            part = to_write.popleft()
            hour.add(pieces, spool=not part.ends)
            del pieces
            trim()
            if part.ends:
                yield from hour.row_groups(part.fibre, settings.row_shape, part.together)
                hour = Hour()
            if progress:
                progress(rows)
    finally:
        hour.close()
        pool.shutdown(wait=False, cancel_futures=True)


def _taken(future: "Future") -> "tuple[list[Piece], int, list[Sums]]":
    """Return what `compute_part` does, and let the worker forget it."""
    result: tuple[list[Piece], int, list[Sums]] = future.result()
    future.release()
    return result


def compute_part(
    signals: "Sequence[Stretch]", settings: SpectrogramSettings, part: Part, heard: "Sequence[Stretch]" = ()
) -> "tuple[list[Piece], int, list[Sums]]":
    """Return the rows of a part in order of time, their number, and sums of health.

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
    from dasanom_assets.recordings.signal import Held

    torch.set_num_threads(1)  # parts run side by side; threads of their own would fight over the same cores
    held = [Held(signal) for signal in signals if part.blocks]
    within = {id(s): [own for stretch in heard if (own := s.part(stretch)) is not None] for s in held}
    alone = [s for s in heard if not any(own.part(s) is not None for own in held)]
    starts: defaultdict[int, list[np.ndarray]] = defaultdict(list)
    pages: defaultdict[int, list[Page]] = defaultdict(list)
    column = no_rows(settings.row_shape).schema.field("power_db")
    summed: list[Sums | None] = []

    def hear(signal: "Held", second: int, seconds: int) -> None:
        first, last = second * SECOND_NS, (second + seconds) * SECOND_NS
        signal.hold(*_needed(signal, settings, second, seconds, within[id(signal)]))
        summed.extend(sums(own, first, last) for own in within[id(signal)])  # type: ignore[arg-type]

    wide = 1 + sum(map(len, part.blocks))
    step = CHUNK_SECONDS * max(1, WRITE_CHANNEL_SECONDS // (CHUNK_SECONDS * wide))
    for second in range(part.first_second, part.last_second, step):
        last = min(second + step, part.last_second)
        summed += [sums(s, second * SECOND_NS, last * SECOND_NS) for s in alone if overlaps(s, second, last)]
        inside = [s for s in held if overlaps(s, second, last)]  # type: ignore[arg-type]
        if not inside:
            continue
        levels = levels_of(inside, settings, part.blocks, second, last, hear)  # type: ignore[arg-type]
        for channel, values in zip(*levels, strict=True):
            there = np.flatnonzero(np.isfinite(values[:, :, 0]).any(axis=1))
            if len(there):
                values = values if len(there) == len(values) else values[there]
                starts[int(channel)].append((second + there) * SECOND_NS)
                pages[int(channel)].append(vector_page(values.reshape(len(there), -1), column))
    pieces = [Piece(channel, np.concatenate(starts[channel]), Page.joined(own)) for channel, own in pages.items()]
    return pieces, sum(len(piece.start_ns) for piece in pieces), [of_part for of_part in summed if of_part]


def _needed(
    signal: "Held", settings: SpectrogramSettings, second: int, seconds: int, parts: "Sequence[Held]"
) -> tuple[int, int]:
    """Return the samples of some seconds that levels and health need: the first, and the one after the last."""
    from dasanom_assets.recordings.health import seconds_of

    ranges = [samples_of(signal, settings, second, seconds)]  # type: ignore[arg-type]
    for part in parts:
        edges = seconds_of(part, second * SECOND_NS, (second + seconds) * SECOND_NS)  # type: ignore[arg-type]
        if len(edges) > 1:
            ranges.append((int(edges[0]) + part.offset, int(edges[-1]) + part.offset))
    ranges = [(first, last) for first, last in ranges if first < last] or [(0, 0)]
    return min(first for first, _ in ranges), max(last for _, last in ranges)


def settings_note(signals: "Iterable[Stretch]", settings: SpectrogramSettings) -> dict[str, Any]:
    """Return the metadata of `spectrograms`: the settings, and what they became at each sampling rate."""
    note = {"settings": settings.model_dump(), "settings_digest": settings.digest()}
    return note | grids_note(signals, settings)


def _blocks(
    channels: np.ndarray, settings: SpectrogramSettings, signals: "Sequence[Stretch]"
) -> tuple[np.ndarray, ...]:
    """Cut a fibre's channels into blocks that are transformed together, and may share a common mode."""
    if not len(channels):
        return ()
    groups = np.split(channels, np.flatnonzero(np.diff(channels // settings.group_channels)) + 1)
    shared = settings.common_mode_channels
    rows = BLOCK_ROWS * CHUNK_SECONDS // max(map(chunk_seconds, signals))
    n_blocks = max(1, len(channels) // shared) if shared else -(-len(groups) // rows)
    return tuple(np.concatenate([groups[i] for i in cut]) for cut in np.array_split(range(len(groups)), n_blocks))


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
