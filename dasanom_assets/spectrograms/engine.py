"""A day of signal to rows of the `spectrograms` table, streamed in blocks of time and channels.

Frames lie on a grid of UTC seconds: frame ``j`` of a second has its centre at ``(j + ½) / frames_per_second``, and
is there where its centre lies in the signal. Only at the ends of a continuous stretch does a frame reach beyond
it; the signal is then continued by reflection, as librosa does. Where files follow each other no frame notices.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.spectrograms.transform import Transform
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import SCHEMAS, TIME, vector

if TYPE_CHECKING:  # its module loads DASCore
    from dasanom_assets.recordings.signal import Stretch

CHUNK_SECONDS = 30
"""Signal is transformed in chunks on this grid. Every chunk has the same array shapes, whatever it holds, so that
the last bit of a level does not depend on how the day was cut."""
GROUP_SECONDS = 1800
"""Rows of one channel that lie together in the file."""
GROUP_CHANNELS = 64
"""Channels in memory at a time: 64 channels × 30 min × 2 kB = 240 MB of levels."""


@dataclass(frozen=True)
class _Block:
    """The part of the output that is being filled: seconds × channels."""

    first_second: int
    channels: np.ndarray
    levels: np.ndarray


def day_seconds(day: str) -> tuple[int, int]:
    """Return the first second of a UTC day and that of the next, in seconds since 1970."""
    start = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
    return start, start + 86_400


def spectrogram_tables(
    signals: "Sequence[Stretch]",
    settings: SpectrogramSettings,
    day: str,
    threads: int = 2,
    progress: Callable[[float], None] | None = None,
) -> Iterator[pa.Table]:
    """Yield the rows of a day, one table for each half hour of each channel.

    Parameters
    ----------
    signals : sequence of Stretch
        Stretches in any order; those of one fibre do not overlap.
    settings : SpectrogramSettings
    day : str
        ISO day; seconds outside it are left to the days they belong to.
    threads : int
        Channels that are transformed at the same time.
    progress : callable, optional
        Called with the channel-seconds finished since its last call.

    Yields
    ------
    pyarrow.Table
        Rows of `spectrograms`. The first is empty, so that a day without a full frame is a table too.
    """
    yield _table(
        "", 0, np.empty(0, np.int64), np.empty((0, settings.frames_per_second, settings.bands), np.float32)
    )
    first, last = day_seconds(day)
    # BLAS threads of its own under ours would fight over the same cores: four times slower on two.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        for fibre in sorted({signal.fibre for signal in signals}):
            mine = [signal for signal in signals if signal.fibre == fibre]
            channels = np.unique(np.concatenate([signal.channels for signal in mine]))
            for group in range(first, last, GROUP_SECONDS):
                inside = [s for s in mine if _overlaps(s, group, group + GROUP_SECONDS)]
                if not inside:
                    continue
                for at in range(0, len(channels), GROUP_CHANNELS):
                    some = channels[at : at + GROUP_CHANNELS]
                    shape = (len(some), GROUP_SECONDS, settings.frames_per_second, settings.bands)
                    block = _Block(group, some, np.full(shape, np.nan, np.float32))
                    for signal in inside:
                        _fill(block, signal, settings, pool, progress)
                    yield from _rows(fibre, block)


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


def too_slow(signal: "Stretch", settings: SpectrogramSettings) -> str | None:
    """Say why a signal's sampling rate leaves no band, or None where it does."""
    try:
        Transform(settings, signal.sampling_rate_hz)
    except ValueError as error:
        return f"{signal.fibre}: {error}"
    return None


def _overlaps(signal: "Stretch", first_second: int, last_second: int) -> bool:
    end_ns = signal.start_ns + signal.n_samples / signal.sampling_rate_hz * SECOND_NS
    return signal.start_ns < last_second * SECOND_NS and end_ns > first_second * SECOND_NS


def _fill(
    block: _Block,
    signal: "Stretch",
    settings: SpectrogramSettings,
    pool: ThreadPoolExecutor,
    progress: Callable[[float], None] | None,
) -> None:
    """Write the frames of `signal` that lie in `block`."""
    source = np.flatnonzero(np.isin(signal.channels, block.channels))
    target = np.searchsorted(block.channels, signal.channels[source])
    if not len(source):
        return
    transform = Transform(settings, signal.sampling_rate_hz)
    floor_db = transform.floor_db(signal.quantization)
    per_chunk = CHUNK_SECONDS * settings.frames_per_second
    half, win, n = transform.win_length // 2, transform.win_length, signal.n_samples
    for second in range(block.first_second, block.first_second + GROUP_SECONDS, CHUNK_SECONDS):
        offset_ns = second * SECOND_NS - signal.start_ns
        seconds = offset_ns / SECOND_NS + (np.arange(per_chunk) + 0.5) / settings.frames_per_second
        centre = np.rint(seconds * signal.sampling_rate_hz).astype(np.int64)
        there = (centre >= 0) & (centre < n)
        if not there.any():
            continue
        samples, begin = _read_reflected(signal, source, centre[there][0] - half, centre[there][-1] - half + win)
        # Frames that are not there transform the first one that is: shapes stay fixed, results are dropped.
        first = np.where(there, centre - half - begin, centre[there][0] - half - begin)
        row = second - block.first_second
        outs = [block.levels[i, row : row + CHUNK_SECONDS].reshape(per_chunk, -1) for i in target]

        def one(x: np.ndarray, out: np.ndarray, first: np.ndarray = first, there: np.ndarray = there) -> None:
            frames = np.lib.stride_tricks.sliding_window_view(x, win)[first]
            np.copyto(out, transform.levels(frames, floor_db), where=there[:, None])

        list(pool.map(one, samples, outs))
        if progress:
            progress(len(source) * there.sum() / settings.frames_per_second)


def _read_reflected(signal: "Stretch", source: np.ndarray, first: int, last: int) -> tuple[np.ndarray, int]:
    """Return float32 samples ``[first, last)`` of channels, shape (channels, samples), and `first`.

    What lies before the signal or behind it is its reflection about its first or last sample.
    """
    n = signal.n_samples
    begin = max(0, min(first, 2 * (n - 1) - (last - 1)))
    end = min(n, max(last, 1 - first))
    samples = np.ascontiguousarray(signal.read(begin, end)[:, source].T, dtype=np.float32)
    before, after = max(0, -first), max(0, last - n)
    if before or after:
        samples = np.pad(samples, ((0, 0), (before, after)), mode="reflect")
        begin -= before
    return samples, begin


def _rows(fibre: str, block: _Block) -> Iterator[pa.Table]:
    for channel, levels in zip(block.channels, block.levels, strict=True):
        there = np.flatnonzero(np.isfinite(levels[:, :, 0]).any(axis=1))
        if len(there):
            yield _table(fibre, int(channel), (block.first_second + there) * SECOND_NS, levels[there])


def _table(fibre: str, channel: int, start_ns: np.ndarray, levels: np.ndarray) -> pa.Table:
    n = len(start_ns)
    return pa.table(
        {
            "fibre": pa.array(np.full(n, fibre, object), pa.string()),
            "channel": pa.array(np.full(n, channel, np.int32)),
            "start": pa.array(start_ns, pa.int64()).cast(TIME),
            "end": pa.array(start_ns + SECOND_NS, pa.int64()).cast(TIME),
            "power_db": vector(levels, levels.shape[1] * levels.shape[2]),
        }
    ).select(SCHEMAS["spectrograms"].names)
