"""Files to continuous signal: what follows in time is one stretch, overlaps are resolved once, gaps stay gaps."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.recordings.bundle import SIDECAR, read_sidecar, samples
from dasanom_assets.tables.store import Store

OPEN_FILES = 2
"""Files of a stretch that are held open: a block at a border needs two."""


@dataclass(frozen=True)
class Recording:
    """One readable file.

    Attributes
    ----------
    channels : numpy.ndarray
        int32, shape (n_channels,): absolute channel numbers.
    samples : numpy.ndarray
        Shape (n_samples, n_channels), mapped or in memory.
    """

    channels: np.ndarray
    samples: np.ndarray


def open_recording(store: Store, path: str) -> Recording:
    """Open a recording of any known format.

    A vendor bundle on a disk is mapped and read piece by piece. Files of other formats are read whole, once.

    Parameters
    ----------
    store : Store
    path : str
        Relative to the data root.

    Raises
    ------
    BundleError
        See `bundle.read_sidecar`.
    """
    import dascore as dc

    if path.endswith(".bin"):
        with store.local(path, path + SIDECAR) as local:
            sidecar = read_sidecar(local)
            data = samples(local, sidecar)
            return Recording(sidecar.channels, data if store.is_local else np.array(data))
    with store.local(path) as local:
        (patch,) = dc.read(local)
        patch = patch.transpose("time", "distance")
        return Recording(absolute_channels(patch), np.ascontiguousarray(patch.data))


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
    pieces : tuple of Piece
        In time order, without a hole.
    """

    fibre: str
    channels: np.ndarray
    sampling_rate_hz: float
    start_ns: int
    n_samples: int
    dtype: np.dtype
    pieces: tuple[Piece, ...]
    store: Store = field(repr=False)
    _open: OrderedDict[str, Recording] = field(default_factory=OrderedDict, repr=False, compare=False)

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
        for piece in self.pieces:
            begin, end = max(first, piece.first), min(last, piece.first + piece.n_samples)
            if begin < end:
                shift = piece.skip - piece.first
                parts.append(self._recording(piece.path).samples[begin + shift : end + shift])
        if not parts:
            return np.empty((0, len(self.channels)), self.dtype)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _recording(self, path: str) -> Recording:
        if path not in self._open:
            self._open[path] = open_recording(self.store, path)
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path]


def stretches(store: Store, recordings: pa.Table) -> list[Stretch]:
    """Join the files of a day into continuous stretches.

    Files of a fibre with the same rate, sample type and channels that follow each other within half a sample are
    one stretch. Where two overlap, the samples of the earlier file count and the later one begins after them.

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
    found: list[Stretch] = []
    for row in rows:
        rate, start, n = row["sampling_rate_hz"], row["start"], row["n_samples"]
        recording = open_recording(store, row["path"])
        last = found[-1] if found and found[-1].fibre == row["fibre"] else None
        alike = (
            last is not None
            and last.sampling_rate_hz == rate
            and last.dtype == recording.samples.dtype
            and np.array_equal(last.channels, recording.channels)
        )
        skip = 0
        if last is not None:
            late = (start - last.start_ns) * rate / 1e9 - last.n_samples  # samples after the end of the last
            shared = not alike and np.isin(recording.channels, last.channels).any()
            if late < -0.5 and (alike or shared):
                end_ns = last.start_ns + last.n_samples / last.sampling_rate_hz * 1e9
                skip = round((end_ns - start) * rate / 1e9)
                if skip >= n:
                    continue
            if alike and late < 0.5:
                piece = Piece(row["path"], last.n_samples, skip, n - skip)
                found[-1] = Stretch(
                    last.fibre, last.channels, rate, last.start_ns, last.n_samples + n - skip, last.dtype,
                    (*last.pieces, piece), store,
                )  # fmt: skip
                continue
        start += round(skip * 1e9 / rate)
        piece = Piece(row["path"], 0, skip, n - skip)
        opened = Stretch(
            row["fibre"], recording.channels, rate, start, n - skip, recording.samples.dtype, (piece,), store
        )
        found.append(opened)
    return found
