"""A day of signal to the rows of `spectrograms`, in parts that any worker can compute by itself.

Frames lie on one grid for all days and fibres: frame ``k`` has its centre at ``(k + ½) · hop`` after 1970, and is
there where its centre lies in the signal. Only at the ends of a continuous stretch does a frame reach beyond it;
the signal is then continued by reflection, as librosa does. Where files follow each other no frame notices.

A part is an hour of some channels. It is read, transformed and encoded as Parquet where it is computed, in
pieces of `CHUNK_SECONDS`; what comes back is a few per cent of what was read, and is joined without decoding.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future as Fetch
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.spectrograms import conditioning
from dasanom_assets.spectrograms.transform import Transform
from dasanom_assets.spectrograms.windows import SECOND_NS, first_frame
from dasanom_assets.tables.parquet import RowGroupWriter, encode
from dasanom_assets.tables.schemas import SCHEMAS, TIME, vector

if TYPE_CHECKING:  # their modules load DASCore and Dask's scheduler
    from distributed import Client, Future

    from dasanom_assets.recordings.signal import Stretch

CHUNK_SECONDS = 30
"""Signal is transformed in chunks on this grid, whatever the parts, so that the last bit of a level does not
depend on how the day was cut."""
GROUP_SECONDS = 3600
"""Rows of one channel that lie together in the file, and the length of a part."""
PART_ROWS = 16
"""Channels, or groups of them, in a part of a narrow fibre; twice as many where there is half an hour of signal or
less. Each part reads all channels and keeps its own, and its encoded rows wait in memory."""
READ_SHARE = 8
"""A sample is read for at most so many parts: a part of a wide fibre has more channels."""
WRITE_CHANNEL_SECONDS = 7_200
"""Levels that wait in memory to be encoded; fewer cost more calls than they save memory."""
FETCHES = 2
"""Parts that are fetched from workers at a time; they wait in memory to be written."""
READ_BYTES = 1 << 20
"""Bytes of a file in memory at a time."""


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
    """

    fibre: str
    blocks: tuple[np.ndarray, ...]
    first_second: int
    last_second: int


def day_seconds(day: str) -> tuple[int, int]:
    """Return the first second of a UTC day and that of the next, in seconds since 1970."""
    start = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
    return start, start + 86_400


def parts_of_day(signals: "Sequence[Stretch]", settings: SpectrogramSettings, day: str) -> list[Part]:
    """Cut a day into parts, by fibre, hour and channel."""
    first, last = day_seconds(day)
    parts = []
    for fibre in sorted({signal.fibre for signal in signals}):
        mine = [signal for signal in signals if signal.fibre == fibre]
        channels = np.unique(np.concatenate([row_channels(s, settings) for s in mine]))
        for second in range(first, last, GROUP_SECONDS):
            end = second + GROUP_SECONDS
            if there := sum(_seconds(s, second, end) for s in mine):
                rows = PART_ROWS if there > GROUP_SECONDS / 2 else 2 * PART_ROWS
                parts += [Part(fibre, blocks, second, end) for blocks in _tasks(channels, settings, rows)]
    return parts


def rows_expected(signals: "Iterable[Stretch]", settings: SpectrogramSettings, day: str) -> int:
    """Return about how many rows a day will have, for a progress bar."""
    first, last = day_seconds(day)
    seconds = 0.0
    for signal in signals:
        rows = len(np.unique(_group(row_channels(signal, settings), settings)))
        seconds += _seconds(signal, first, last) * rows
    return round(seconds)


def spectrogram_parts(
    signals: "Sequence[Stretch]",
    settings: SpectrogramSettings,
    day: str,
    client: "Client",
    progress: Callable[[int], None] | None = None,
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

    Yields
    ------
    bytes
        Parts for `Store.write_day_parts`. The first is empty, so that a day without a full frame is a table too.
    """
    yield encode(rows_table("", 0, np.empty(0, np.int64), np.empty((0, *settings.row_shape), np.float32)))
    waiting: deque[Future] = deque()
    fetches: deque[Fetch[tuple[list[bytes], int]]] = deque()
    parts = deque(parts_of_day(signals, settings, day))
    pool = ThreadPoolExecutor(FETCHES)
    try:
        while parts or waiting or fetches:
            # More tasks than threads, so that none waits for work; not many more, or results would pile up.
            threads = max(1, sum(client.nthreads().values()))
            while parts and len(waiting) + len(fetches) < threads + max(1, threads // 2):
                part = parts.popleft()
                inside = [s for s in signals if s.fibre == part.fibre and _reaches(s, part)]
                waiting.append(client.submit(compute_part, inside, settings, part, pure=False, key=_key(part)))
            while waiting and len(fetches) < FETCHES:
                fetches.append(pool.submit(_taken, waiting.popleft()))
            files, rows = fetches.popleft().result()
            files.reverse()
            while files:  # each is let go of once it is written
                yield files.pop()
            if progress:
                progress(rows)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _taken(future: "Future") -> tuple[list[bytes], int]:
    """Return a part's files and rows, and let the worker forget them."""
    result: tuple[list[bytes], int] = future.result()
    future.release()
    return result


def compute_part(
    signals: "Sequence[Stretch]", settings: SpectrogramSettings, part: Part
) -> tuple[list[bytes], int]:
    """Return a part as one Parquet file for each of its channels that has rows, and the number of rows."""
    import torch

    torch.set_num_threads(1)  # parts run side by side; threads of their own would fight over the same cores
    writers: dict[int, RowGroupWriter] = {}
    n_rows = 0
    wide = sum(map(len, part.blocks))
    step = CHUNK_SECONDS * max(2, WRITE_CHANNEL_SECONDS // (CHUNK_SECONDS * wide))
    for second in range(part.first_second, part.last_second, step):
        last = min(second + step, part.last_second)
        inside = [s for s in signals if _overlaps(s, second, last)]
        if not inside:
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
    return [writers.pop(channel).close() for channel in sorted(writers)], n_rows


def levels_of(
    signals: "Sequence[Stretch]",
    settings: SpectrogramSettings,
    blocks: Sequence[np.ndarray],
    first_second: int,
    last_second: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the levels of some channels of a fibre in some seconds.

    Parameters
    ----------
    signals : sequence of Stretch
        Of one fibre; those that share channels do not overlap.
    settings : SpectrogramSettings
    blocks : sequence of numpy.ndarray
        int32, ascending: absolute channel numbers, whole groups of them; those of one block share a common mode.
    first_second, last_second : int
        Seconds since 1970, on the grid of `CHUNK_SECONDS`; the last one is left out.

    Returns
    -------
    rows : numpy.ndarray
        int32, shape (n_rows,): the lowest channel number of each group; the channels without groups.
    levels : numpy.ndarray
        float32, shape (n_rows, seconds, frames a second, bands), dB; NaN where there is no frame.
    """
    rows = np.unique(_group(np.concatenate(blocks), settings))
    levels = np.full((len(rows), last_second - first_second, *settings.row_shape), np.nan, np.float32)
    for signal in signals:
        for second in range(first_second, last_second, CHUNK_SECONDS):
            if _overlaps(signal, second, second + CHUNK_SECONDS):
                at = second - first_second
                _fill(levels[:, at : at + CHUNK_SECONDS], rows, signal, settings, blocks, second)
    return rows, levels


def row_channels(signal: "Stretch", settings: SpectrogramSettings) -> np.ndarray:
    """Return the channels of a signal that have levels: with differences, those that have neighbours."""
    if settings.difference == "none":
        return signal.channels
    return conditioning.with_neighbours(signal.channels, settings.difference, _difference_step(signal, settings))


def settings_note(signals: "Iterable[Stretch]", settings: SpectrogramSettings) -> dict[str, Any]:
    """Return the metadata of `spectrograms`: the settings, and what they became at each sampling rate."""
    rates = sorted({(signal.fibre, signal.sampling_rate_hz) for signal in signals})
    grids = []
    for fibre, rate in rates:
        t = Transform(settings, rate)
        grids.append(
            {
                "fibre": fibre,
                "sampling_rate_hz": rate,
                "win_length": t.win_length,
                "n_fft": t.n_fft,
                "centre_hz": [round(float(hz), 3) for hz in t.centre_hz],
            }
        )
    return {"settings": settings.model_dump(), "settings_digest": settings.digest(), "grids": grids}


def unfit(signal: "Stretch", settings: SpectrogramSettings) -> str | None:
    """Say why a signal cannot have the levels that the settings ask for, or None where it can."""
    try:
        Transform(settings, signal.sampling_rate_hz)
        if settings.difference != "none":
            row_channels(signal, settings)
    except ValueError as error:
        return f"{signal.fibre}: {error}"
    return None


def _tasks(channels: np.ndarray, settings: SpectrogramSettings, rows: int) -> list[tuple[np.ndarray, ...]]:
    """Cut a fibre's channels into blocks that share a common mode, and the blocks into parts."""
    if not len(channels):
        return []
    groups = np.split(channels, np.flatnonzero(np.diff(channels // settings.group_channels)) + 1)
    n_parts = -(-len(groups) // max(rows, -(-len(groups) // READ_SHARE)))
    shared = settings.common_mode_channels
    n_blocks = max(1, len(channels) // shared) if shared else -(-len(groups) // rows)
    cuts = np.array_split(range(len(groups)), n_blocks)
    blocks = [np.concatenate([groups[i] for i in some]) for some in cuts]
    return [tuple(blocks[i] for i in some) for some in np.array_split(range(n_blocks), min(n_parts, n_blocks))]


def _difference_step(signal: "Stretch", settings: SpectrogramSettings) -> int:
    if signal.channel_spacing_m is None:
        raise ValueError(
            f"no file says how far apart channels are, so spectrogram.difference_m = {settings.difference_m:g} m "
            "is no number of channels; add channel_spacing_m to the sidecar"
        )
    return max(1, round(settings.difference_m / signal.channel_spacing_m))


def _seconds(signal: "Stretch", first_second: int, last_second: int) -> float:
    """Return how much of a signal lies between two seconds, s."""
    start = signal.start_ns / SECOND_NS
    end = start + signal.n_samples / signal.sampling_rate_hz
    return max(0.0, min(end, last_second) - max(start, first_second))


def _overlaps(signal: "Stretch", first_second: int, last_second: int) -> bool:
    end_ns = signal.start_ns + signal.n_samples / signal.sampling_rate_hz * SECOND_NS
    return signal.start_ns < last_second * SECOND_NS and end_ns > first_second * SECOND_NS


def _reaches(signal: "Stretch", part: Part) -> bool:
    return _overlaps(signal, part.first_second, part.last_second)


def _key(part: Part) -> str:
    """Return a name for Dask's dashboard, which groups tasks by what comes before the last dash."""
    import secrets

    start = datetime.fromtimestamp(part.first_second, UTC)
    return f"{part.fibre} {start:%Y-%m-%d %H}h channel {part.blocks[0][0]}-{secrets.token_hex(16)}"


@lru_cache(maxsize=8)
def _transform(settings: SpectrogramSettings, sampling_rate_hz: float) -> Transform:
    return Transform(settings, sampling_rate_hz)


def _fill(
    levels: np.ndarray,
    rows: np.ndarray,
    signal: "Stretch",
    settings: SpectrogramSettings,
    blocks: Sequence[np.ndarray],
    second: int,
) -> None:
    """Write the frames of `signal` in one chunk to `levels`, shape (rows, chunk seconds, frames, bands)."""
    hop, transform = settings.hop_ns, _transform(settings, signal.sampling_rate_hz)
    # Frames whose centres (2k + 1)·hop/2 lie in the chunk, and the second and the place in it of each.
    k = np.arange(first_frame(second, hop), first_frame(second + CHUNK_SECONDS, hop))
    of_second = (2 * k + 1) * hop // (2 * SECOND_NS)
    slot = k - first_frame(of_second, hop)
    offset = ((2 * k + 1) * hop - 2 * signal.start_ns) / (2 * SECOND_NS)
    centre = np.rint(offset * signal.sampling_rate_hz).astype(np.int64)
    there = (centre >= 0) & (centre < signal.n_samples)
    has_levels = row_channels(signal, settings)
    targets = [some for block in blocks if len(some := np.intersect1d(has_levels, block))]
    if not there.any() or not targets:
        return
    # Frames that are not there repeat the first one that is: shapes stay the same, results are dropped.
    first = np.where(there, centre, centre[there][0]) - transform.win_length // 2
    begin, end = int(first.min()), int(first.max()) + transform.win_length
    floor_db = transform.floor_db(signal.quantization)
    for channels, x in _conditioned(signal, settings, targets, begin, end):
        power = transform.band_power(x, first - begin)
        group = _group(channels, settings)
        named = np.unique(group)
        if len(named) < len(group):
            power = np.stack([_mean_power(power[group == row]) for row in named])
        out = transform.decibels(power, floor_db)
        target = np.searchsorted(rows, named)
        if out[0].size == levels[0].size and there.all():  # every place has its frame
            levels[target] = out.reshape(-1, *levels.shape[1:])
        else:
            levels[target[:, None], (of_second[there] - second)[None], slot[there][None]] = out[:, there]


def _group(channels: np.ndarray, settings: SpectrogramSettings) -> np.ndarray:
    """Return the lowest channel number of each channel's group."""
    return channels // settings.group_channels * settings.group_channels


def _mean_power(power: np.ndarray) -> np.ndarray:
    """Return the mean over channels, shape (channels, ...), of those that are finite; NaN where none is."""
    finite = np.isfinite(power)
    n = finite.sum(axis=0)
    total = np.where(finite, power, 0).sum(axis=0, dtype=np.float32)
    return np.where(n, total / np.maximum(n, 1), np.nan).astype(np.float32)


def _conditioned(
    signal: "Stretch", settings: SpectrogramSettings, targets: Sequence[np.ndarray], first: int, last: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield samples ``[first, last)`` of each block of channels, after high-pass, common mode and difference.

    Yields
    ------
    channels : numpy.ndarray
        One of `targets`.
    x : numpy.ndarray
        float32, shape (channels, samples). What lies before the signal or behind it is its reflection.
    """
    step, taps, margin = 0, None, 0
    reach = [0]
    if settings.difference != "none":
        step = _difference_step(signal, settings)
        reach = [-step, 0, step]
    if settings.high_pass_hz:
        taps = conditioning.high_pass_taps(settings.high_pass_hz, signal.sampling_rate_hz)
        margin = len(taps) // 2
    needed = [np.intersect1d(signal.channels, np.add.outer(reach, channels)) for channels in targets]
    read = np.unique(np.concatenate(needed))
    x_read = _read_reflected(signal, _columns(signal, read), first - margin, last + margin)
    for channels, with_reach in zip(targets, needed, strict=True):
        x = x_read[_slice(np.searchsorted(read, with_reach))]
        if taps is not None:
            x = conditioning.high_pass(x, taps)
        if settings.common_mode_channels:
            x = conditioning.remove_common_mode(x.copy())  # with differences, blocks share channels
        if settings.difference != "none":
            x = conditioning.difference(x, with_reach, channels, settings.difference, step)
        yield channels, x


def _read_reflected(signal: "Stretch", columns: np.ndarray, first: int, last: int) -> np.ndarray:
    """Return samples ``[first, last)`` of channels, float32, shape (columns, samples).

    What lies before the signal or behind it is its reflection about its first or last sample.
    """
    n = signal.n_samples
    begin = max(0, min(first, 2 * (n - 1) - (last - 1)))
    end = min(n, max(last, 1 - first))
    step = max(1, READ_BYTES // (signal.dtype.itemsize * len(signal.channels)))
    x, which = np.empty((len(columns), end - begin), np.float32), _slice(columns)
    for at in range(begin, end, step):  # a piece that stays in cache is turned several times as fast
        samples = signal.read(at, min(at + step, end))
        x[:, at - begin : at - begin + len(samples)] = samples[:, which].T
    before, after = max(0, -first), max(0, last - n)
    if before or after:
        x = np.pad(x, ((0, 0), (before, after)), mode="reflect")
    skip = first - begin + before
    return x[:, skip : skip + last - first]


def _columns(signal: "Stretch", channels: np.ndarray) -> np.ndarray:
    """Return the positions of channels in a signal, whose zones may lie in any order."""
    order = np.argsort(signal.channels, kind="stable")
    return order[np.searchsorted(signal.channels, channels, sorter=order)]


def _slice(columns: np.ndarray) -> Any:
    """Return columns as a slice where they follow each other: that makes a view, not a copy."""
    follow = bool((np.diff(columns) == 1).all())
    return slice(columns[0], columns[-1] + 1) if follow else columns


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
