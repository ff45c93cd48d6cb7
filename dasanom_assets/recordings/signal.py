"""Files to continuous signal: what follows in time is one stretch, overlaps are resolved once, gaps stay gaps."""

import secrets
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.recordings.sidecar import SIDECAR, Sidecar, read_sidecar
from dasanom_assets.tables.store import Store

OPEN_FILES = 4
"""Files that all stretches of a day hold open together: a block at a border needs two, and two threads read."""


@dataclass(frozen=True)
class Recording:
    """One readable file.

    Attributes
    ----------
    channels : numpy.ndarray
        int32, shape (n_channels,): absolute channel numbers.
    samples : numpy.ndarray or BundleSamples
        Shape (n_samples, n_channels), in memory, or read when sliced.
    """

    channels: np.ndarray
    samples: "np.ndarray | BundleSamples"


@dataclass(frozen=True)
class BundleSamples:
    """The samples of a bundle, read slice by slice: from an object store no more of it comes than is asked for."""

    store: Store
    path: str
    dtype: np.dtype
    n_channels: int

    def __getitem__(self, rows: slice) -> np.ndarray:
        stride = self.dtype.itemsize * self.n_channels
        content = self.store.read_range(self.path, rows.start * stride, rows.stop * stride)
        return np.frombuffer(content, self.dtype).reshape(-1, self.n_channels)


def open_recording(store: Store, path: str) -> Recording:
    """Open a recording of any known format.

    A vendor bundle is read piece by piece. Files of other formats are read whole, once.

    Parameters
    ----------
    store : Store
    path : str
        Relative to the data root.

    Raises
    ------
    BundleError
        See `sidecar.read_sidecar`.
    """
    import dascore as dc

    from dasanom_assets.recordings.patches import time_first

    if path.endswith(".bin"):
        sidecar = stored_sidecar(store, path)
        samples = BundleSamples(store, path, sidecar.dtype, len(sidecar.channels))
        return Recording(sidecar.channels, samples)
    with store.local(path) as local:
        (patch,) = dc.read(local)
        patch = time_first(patch)
        return Recording(absolute_channels(patch), np.ascontiguousarray(patch.data))


def stored_sidecar(store: Store, path: str) -> Sidecar:
    """Read the sidecar of a bundle, and of its `.bin` file no more than the size; raises as `read_sidecar`."""
    with store.local(path + SIDECAR) as local:
        return read_sidecar(Path(str(local).removesuffix(SIDECAR)), store.fs.size(store.full(path)))


def absolute_channels(patch: Any) -> np.ndarray:
    """Return the absolute channel numbers of a DASCore patch, int32.

    They are its coordinate ``channel`` where it has one. Otherwise they count from the start of the fibre,
    ``distance / spacing`` of the first channel, where channels are evenly spaced, and from 0 where not.
    """
    if "channel" in patch.coords.coord_map:
        return np.asarray(patch.coords.get_array("channel")).astype(np.int32)
    distance = patch.get_coord("distance")
    step = distance.step
    spacing = float(step) if step is not None and np.isfinite(step) and step != 0 else None
    first = (
        0 if spacing is None else round(float(distance.min() if spacing > 0 else distance.max()) / abs(spacing))
    )
    return (first + np.arange(len(distance))).astype(np.int32)


@dataclass(frozen=True)
class Piece:
    """A part of a file within a stretch: samples ``[skip, skip + n_samples)`` of the file, from ``first`` on."""

    path: str
    first: int
    skip: int
    n_samples: int


@dataclass
class _Files:
    """The files last read from, shared by the stretches of a day: a day of gaps holds no more of them."""

    store: Store
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    opened: OrderedDict[str, Recording] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def __getitem__(self, path: str) -> Recording:
        with self.lock:
            if path not in self.opened:
                while len(self.opened) >= OPEN_FILES:
                    self.opened.popitem(last=False)
                self.opened[path] = open_recording(self.store, path)
            self.opened.move_to_end(path)
            return self.opened[path]

    def __reduce__(self) -> tuple[Any, ...]:
        return _same_files, (self.store, self.token)


_FILES: OrderedDict[str, _Files] = OrderedDict()
_FILES_LOCK = Lock()


def _same_files(store: Store, token: str) -> _Files:
    """Return the one object that all tasks of a day share in a worker process, so that each file is read once."""
    with _FILES_LOCK:
        files = _FILES.setdefault(token, _Files(store, token))
        _FILES.move_to_end(token)
        while len(_FILES) > 2:
            _FILES.popitem(last=False)
        return files


@dataclass(frozen=True)
class Stretch:
    """Continuous signal of one fibre.

    Attributes
    ----------
    fibre : str
    channels : numpy.ndarray
        int32, shape (n_channels,): absolute channel numbers.
    sampling_rate_hz : float
    start_ns : int
        Time of the first sample, ns since 1970 UTC.
    n_samples : int
    dtype : numpy.dtype
        Of the samples.
    channel_spacing_m : float or None
        None where no file says.
    pieces : tuple of Piece
        In time order, without a hole.
    """

    fibre: str
    channels: np.ndarray
    sampling_rate_hz: float
    start_ns: int
    n_samples: int
    dtype: np.dtype
    channel_spacing_m: float | None
    pieces: tuple[Piece, ...]
    files: _Files = field(repr=False, compare=False)

    @property
    def quantization(self) -> float | None:
        """Step of integer samples; None for floats, whose step is not known."""
        return 1.0 if self.dtype.kind in "iu" else None

    def read(self, first: int, last: int) -> np.ndarray:
        """Return samples ``[first, last)``, shape (last − first, n_channels), across file borders.

        Raises
        ------
        IndexError
            Where they are not all within the stretch.
        """
        if not 0 <= first <= last <= self.n_samples:
            raise IndexError(f"samples [{first}, {last}) are not within [0, {self.n_samples})")
        parts = []
        index = max(0, bisect_right(self.pieces, first, key=attrgetter("first")) - 1)
        while first < last:
            piece = self.pieces[index]
            end = min(last, piece.first + piece.n_samples)
            shift = piece.skip - piece.first
            parts.append(self.files[piece.path].samples[first + shift : end + shift])
            first, index = end, index + 1
        if not parts:
            return np.empty((0, len(self.channels)), self.dtype)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass
class _Line:
    """A stretch that may still grow."""

    fibre: str
    channels: np.ndarray
    sampling_rate_hz: float
    dtype: np.dtype
    channel_spacing_m: float | None
    start_ns: int
    pieces: list[Piece]

    @property
    def n_samples(self) -> int:
        return self.pieces[-1].first + self.pieces[-1].n_samples

    @property
    def end_ns(self) -> int:
        return self.start_ns + round(self.n_samples * 1e9 / self.sampling_rate_hz)


def stretches(store: Store, recordings: pa.Table) -> list[Stretch]:
    """Join the files of a day into continuous stretches.

    Files of a fibre with the same rate, sample type, spacing and channels that follow each other within half a
    sample are one stretch, whatever else the fibre delivers in between. Where two that share channels overlap,
    the samples of the one that started earlier count and the other begins after them.

    Parameters
    ----------
    store : Store
    recordings : pyarrow.Table
        Rows of `recordings`.

    Returns
    -------
    list of Stretch
        By fibre and start.
    """
    rows = recordings.set_column(
        recordings.schema.get_field_index("start"), "start", recordings["start"].cast(pa.int64())
    ).to_pylist()
    rows.sort(key=lambda row: (row["fibre"], row["start"], row["path"]))
    lines: list[_Line] = []
    latest: dict[tuple[Any, ...], _Line] = {}  # of each fibre, rate, sample type and channels
    for row in rows:
        fibre, rate, start, n = row["fibre"], row["sampling_rate_hz"], row["start"], row["n_samples"]
        channels, dtype = _layout(store, row["path"])
        spacing = row["channel_spacing_m"]
        key = (fibre, rate, dtype.str, spacing, channels.tobytes())
        covered_ns = max(
            (
                line.end_ns
                for other, line in latest.items()
                if other[0] == fibre and (other == key or np.isin(channels, line.channels).any())
            ),
            default=start,
        )
        skip = max(0, round((covered_ns - start) * rate / 1e9))
        if skip >= n:
            continue
        line = latest.get(key)
        if line is not None and abs((start - line.end_ns) * rate / 1e9 + skip) <= 0.5:
            line.pieces.append(Piece(row["path"], line.n_samples, skip, n - skip))
            continue
        piece = Piece(row["path"], 0, skip, n - skip)
        latest[key] = _Line(fibre, channels, rate, dtype, spacing, start + round(skip * 1e9 / rate), [piece])
        lines.append(latest[key])
    files = _Files(store)
    lines.sort(key=lambda line: (line.fibre, line.start_ns))
    return [
        Stretch(
            line.fibre, line.channels, line.sampling_rate_hz, line.start_ns, line.n_samples, line.dtype,
            line.channel_spacing_m, tuple(line.pieces), files,
        )
        for line in lines
    ]  # fmt: skip


def _layout(store: Store, path: str) -> tuple[np.ndarray, np.dtype]:
    """Return the channels of a recording and the type of its samples."""
    if path.endswith(".bin"):
        sidecar = stored_sidecar(store, path)
        return sidecar.channels, sidecar.dtype
    recording = open_recording(store, path)
    return recording.channels, recording.samples.dtype
