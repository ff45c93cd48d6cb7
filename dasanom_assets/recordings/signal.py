"""Files to continuous signal: what follows in time is one stretch, overlaps are resolved once, gaps stay gaps."""

from bisect import bisect_right
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.recordings.fibres import Places
from dasanom_assets.recordings.measured import MOST, SAME_RATE, in_base_units, rounding_ns
from dasanom_assets.recordings.opened import BundleSamples, ChangedError, File, Files
from dasanom_assets.recordings.overlaps import resolve
from dasanom_assets.recordings.places import parsed
from dasanom_assets.recordings.reasons import REWRITTEN
from dasanom_assets.tables.store import Store

HELD_BYTES = 1 << 20
"""Bytes that are read at a time into what is held."""


@dataclass(frozen=True)
class Piece:
    """A part of a file within a stretch: samples ``[skip, skip + n_samples)`` of the file, from ``first`` on.

    ``columns`` of the file are those of the stretch, None: all.
    """

    file: File
    first: int
    skip: int
    n_samples: int
    columns: slice | np.ndarray | None = field(default=None, compare=False)

    @property
    def path(self) -> str:
        """Of the file, relative to the data root."""
        return self.file.path


@dataclass(frozen=True)
class Stretch:
    """Continuous signal of one fibre.

    Attributes
    ----------
    fibre : str
    channels : numpy.ndarray
        int32, shape (n_channels,): absolute channel numbers.
    sampling_rate_hz : float
        Samples by the time that they take.
    start_ns : int
        Time of the first sample, ns since 1970 UTC.
    n_samples : int
    dtype : numpy.dtype
        Of the samples.
    distance_m : numpy.ndarray
        float64, shape (n_channels,): where channels lie; NaN where that is not known.
    units : str
        Base unit of what is measured; empty where no file says.
    scale : float
        What samples are multiplied by to be in this unit; they are read as they are stored.
    pieces : tuple of Piece
        In time order, without a hole.
    """

    fibre: str
    channels: np.ndarray
    sampling_rate_hz: float
    start_ns: int
    n_samples: int
    dtype: np.dtype
    distance_m: np.ndarray
    units: str
    scale: float
    pieces: tuple[Piece, ...]
    files: Files = field(repr=False, compare=False)

    @property
    def quantization(self) -> float | None:
        """Step of integer samples; None for floats, whose step is not known."""
        return 1.0 if self.dtype.kind in "iu" else None

    def read(self, first: int, last: int) -> np.ndarray:
        """Return samples ``[first, last)``, shape (last − first, n_channels), across file borders.

        Floats that cannot be samples, beyond `MOST`, are NaN.

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
            samples = self.files[piece.file].samples
            parts.append(_samples_only(self._of_piece(samples, piece, first + shift, end + shift)))
            first, index = end, index + 1
        if not parts:
            return np.empty((0, len(self.channels)), self.dtype)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _of_piece(self, samples: "np.ndarray | BundleSamples", piece: Piece, first: int, last: int) -> np.ndarray:
        """Return samples of a file; raises `ChangedError` where it does not have them any more."""
        try:
            x = samples[first:last]
            x = x if piece.columns is None else x[:, piece.columns]
        except (OSError, ValueError, IndexError) as error:
            raise ChangedError.of(error, self.files.store, piece.path) from error
        if x.shape != (last - first, len(self.channels)):
            raise ChangedError(piece.path, REWRITTEN)
        return x


class Held:
    """A stretch of which some samples are in memory: what is read of these is not read again.

    Parameters
    ----------
    stretch : Stretch
    of : Held, optional
        A longer stretch of the same recordings, which holds the samples.
    offset : int
        The sample of the longer stretch that this one begins with.
    """

    def __init__(self, stretch: Stretch, of: "Held | None" = None, offset: int = 0) -> None:
        self._stretch, self._of, self.offset = stretch, of, offset
        dtype = _samples_only(np.empty(0, stretch.dtype)).dtype
        self._first, self._samples = 0, np.empty((0, len(stretch.channels)), dtype)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stretch, name)

    def part(self, stretch: Stretch) -> "Held | None":
        """Return a stretch as one that is read through this one; None where it is no part of it."""
        if stretch.fibre != self.fibre or not np.array_equal(stretch.channels, self.channels):
            return None
        offset = round((stretch.start_ns - self.start_ns) * self.sampling_rate_hz / 1e9)
        return Held(stretch, self, offset) if 0 <= offset <= self.n_samples - stretch.n_samples else None

    def hold(self, first: int, last: int) -> None:
        """Hold samples ``[first, last)`` and no others; those that were held are not read again."""
        known = self._samples[first - self._first :] if first >= self._first else self._samples[:0]
        samples = np.empty((last - first, len(self.channels)), self._samples.dtype)
        samples[: len(known)] = known[: len(samples)]
        step = max(1, HELD_BYTES // (self.dtype.itemsize * len(self.channels)))
        for sample in range(first + len(known), last, step):  # of pieces that stay in cache
            end = min(sample + step, last)
            samples[sample - first : end - first] = self._stretch.read(sample, end)
        self._first, self._samples = first, samples

    def read(self, first: int, last: int) -> np.ndarray:
        """Return samples as `Stretch.read` does."""
        if self._of is not None:
            return self._of.read(first + self.offset, last + self.offset)
        if self._first <= first and last <= self._first + len(self._samples):
            return self._samples[first - self._first : last - self._first]
        return self._stretch.read(first, last)


def _samples_only(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind != "f":
        return x
    if x.itemsize == 2:  # half precision has no room for MOST
        return x.astype(np.float32)
    if x.itemsize > 8:  # long doubles, which kernels do not know
        x = x.astype(np.float64)
    with np.errstate(invalid="ignore"):
        none = np.abs(x) > MOST
    return np.where(none, x.dtype.type(np.nan), x) if none.any() else x


@dataclass
class _Line:
    """A stretch that may still grow."""

    fibre: str
    channels: np.ndarray
    sampling_rate_hz: float
    dtype: np.dtype
    units: tuple[str, float]
    start_ns: int
    end_ns: int
    pieces: list[Piece]

    @property
    def n_samples(self) -> int:
        return self.pieces[-1].first + self.pieces[-1].n_samples

    @property
    def measured_hz(self) -> float:
        """The rate of the files, or that of their starts, where half a sample tells these apart."""
        apart = self.end_ns - self.start_ns - self.n_samples * 1e9 / self.sampling_rate_hz
        if abs(apart) * self.sampling_rate_hz / 1e9 <= 0.5:
            return self.sampling_rate_hz
        return self.n_samples * 1e9 / (self.end_ns - self.start_ns)


def stretches(store: Store, recordings: pa.Table, places: Places | None = None) -> list[Stretch]:
    """Join the files of a day into continuous stretches.

    Files of a fibre with the same rate, unit, sample type and channels that follow each other within half a
    sample, or what their step is rounded by, are one stretch, whatever else the fibre delivers in between. A rate
    that is measured anew in each file is the same rate. Where two that share channels overlap, one counts
    there, see `overlaps.resolve`.

    Parameters
    ----------
    store : Store
    recordings : pyarrow.Table
        Rows of `recordings`.
    places : Places, optional
        Where channels lie; None: nothing is known of it.

    Returns
    -------
    list of Stretch
        By fibre and start.
    """
    rows = recordings.set_column(
        recordings.schema.get_field_index("start"), "start", recordings["start"].cast(pa.int64())
    ).to_pylist()
    for row in rows:
        row["channels"] = parsed(row["channels"])
    lines: list[_Line] = []
    latest: dict[tuple[Any, ...], _Line] = {}  # of each fibre, rate, unit, sample type and channels
    rates: list[float] = []
    for part in resolve(rows)[0]:
        row, start, skip = part.row, part.start_ns, part.first
        fibre, rate, dtype = row["fibre"], row["sampling_rate_hz"], np.dtype(row["sample_type"])
        channels = row["channels"][part.columns]
        units = in_base_units(row["units"])
        known = next((other for other in rates if abs(rate - other) <= SAME_RATE * other), None)
        if known is None:
            rates.append(rate)
        key = (fibre, known or rate, dtype.str, units, channels.tobytes())
        line = latest.get(key)
        # What half a sample, or a rounded step, cannot tell from the next sample is the next sample.
        slack_ns = 0.5e9 / rate + rounding_ns(row["format"], line.pieces[-1].n_samples if line else 0)
        end_ns = row["start"] + round(part.last * 1e9 / rate)
        follows = line is not None and abs(start - line.end_ns) <= slack_ns
        early = 0 if follows or line is None else max(0, round((line.end_ns - start) * rate / 1e9))
        n = part.last - skip - early
        if n <= 0:
            continue
        columns = None if len(channels) == len(row["channels"]) else _columns(part.columns)
        if line is not None and (follows or abs((start - line.end_ns) * rate / 1e9 + early) <= 0.5):
            line.pieces.append(Piece(File.of(row), line.n_samples, skip + early, n, columns))
            line.end_ns = end_ns
            continue
        piece = Piece(File.of(row), 0, skip + early, n, columns)
        start_ns = start + round(early * 1e9 / rate)
        latest[key] = _Line(fibre, channels, rate, dtype, units, start_ns, end_ns, [piece])
        lines.append(latest[key])
    files = Files(store)
    lines.sort(key=lambda line: (line.fibre, line.start_ns))
    return [
        Stretch(
            line.fibre, line.channels, line.measured_hz, line.start_ns, line.n_samples, line.dtype,
            _metres(line, places), *line.units, tuple(line.pieces), files,
        )
        for line in lines
    ]  # fmt: skip


def _metres(line: _Line, places: Places | None) -> np.ndarray:
    known, metres = (np.empty(0),) * 2 if places is None else places.layout(line.fibre, line.start_ns)
    if not len(known):
        return np.full(len(line.channels), np.nan)
    place = np.minimum(np.searchsorted(known, line.channels), len(known) - 1)
    return np.where(known[place] == line.channels, metres[place], np.nan)


def _columns(columns: np.ndarray) -> slice | np.ndarray:
    """Return positions as a slice where they follow each other: that makes a view, not a copy."""
    follow = len(columns) == columns[-1] - columns[0] + 1
    return slice(int(columns[0]), int(columns[-1]) + 1) if follow else columns
