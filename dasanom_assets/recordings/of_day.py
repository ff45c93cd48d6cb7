"""What of recordings belongs to a day, and what to do where one is lost while it is read."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.recordings.landing import shifted
from dasanom_assets.recordings.listing import closed
from dasanom_assets.recordings.opened import ChangedError
from dasanom_assets.recordings.quarantine import Refusal, add_records
from dasanom_assets.recordings.sidecar import SIDECAR, BundleError
from dasanom_assets.recordings.signal import Stretch
from dasanom_assets.tables.store import Store

Made = TypeVar("Made")
ROUNDING = 1e-6
"""Of a sample: times are in ns, and a sample that should begin a day may seem to lie just before it."""


def extent(day: str) -> tuple[int, int]:
    """Return start and end of a day, ns since 1970."""
    start, end = (int(np.datetime64(d, "ns").astype(np.int64)) for d in (day, shifted(day, 1)))
    return start, end


def of_day(signals: Iterable[Stretch], day: str) -> Iterator[Stretch]:
    """Yield what of some stretches lies on a day: recordings may run over one midnight, or several."""
    for signal in signals:
        first, last = (
            min(max(0, int(np.ceil((edge - signal.start_ns) * signal.sampling_rate_hz / 1e9 - ROUNDING))), n)
            for edge, n in zip(extent(day), (signal.n_samples,) * 2, strict=True)
        )
        if first < last:
            yield _cut(signal, first, last) if (first, last) != (0, signal.n_samples) else signal


def _cut(signal: Stretch, first: int, last: int) -> Stretch:
    pieces = []
    for piece in signal.pieces:
        begin, end = max(piece.first, first), min(piece.first + piece.n_samples, last)
        if begin < end:
            skip = piece.skip + begin - piece.first
            pieces.append(replace(piece, first=begin - first, skip=skip, n_samples=end - begin))
    start_ns = signal.start_ns + round(first * 1e9 / signal.sampling_rate_hz)
    return replace(signal, start_ns=start_ns, n_samples=last - first, pieces=tuple(pieces))


def recorded_hours(recordings: pa.Table, day: str) -> float:
    """Return for how many hours of a day there are recordings, all fibres together."""
    start, end = (recordings[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    spans = np.clip(end, *extent(day)) - np.clip(start, *extent(day))
    return float(spans.sum()) / 3.6e12


def while_there(
    store: Store,
    day: str,
    recordings: pa.Table,
    compute: Callable[[pa.Table], Made],
    warn: Callable[[str], object],
) -> Made:
    """Return what `compute` makes of recordings; where some are lost or changed meanwhile, of the others.

    Those that are lost get records in `quarantine/`, which go with the day's next catalogue.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    recordings : pyarrow.Table
        Rows of `recordings`.
    compute : callable
        Called again, from the beginning, without those rows.
    warn : callable
        Told of each of them.

    Raises
    ------
    OSError, BundleError
        Those of `compute`, where all files are still there.
    """
    while True:
        try:
            return compute(recordings)
        except (OSError, BundleError, ChangedError) as error:
            lost = {path: why for path in recordings["path"].to_pylist() if (why := _lost(store, path))}
            if not lost and isinstance(error, ChangedError):
                lost = {error.path: error.reason}
            if not lost:
                raise
            for path, why in lost.items():
                warn(f"left out: {path}: {why}")
            out = pa.array([path in lost for path in recordings["path"].to_pylist()])
            gone = recordings.filter(out).select(["path", "sha256"]).to_pylist()
            refused = [Refusal(size=0, reason=lost[row["path"]], **row) for row in gone]
            for unwritten in add_records(store, day, refused):
                warn(unwritten)
            recordings = recordings.filter(pc.invert(out))


def _lost(store: Store, path: str) -> str:
    for file in (path, path + SIDECAR) if path.endswith(".bin") else (path,):
        if why := closed(store, file):
            return why
        if not store.exists(file):
            return f"{file} was removed while it was read: leave deliveries in place"
    return ""
