"""The files that samples are read from: each is opened once, as what the catalogue found it to be."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from dasanom_assets.recordings import apart
from dasanom_assets.recordings.reasons import REWRITTEN, RefusedError, reason_of
from dasanom_assets.recordings.sidecar import SIDECAR, Sidecar, read_sidecar
from dasanom_assets.tables.store import Store

OPEN_FILES, HELD_BYTES, MOST_FILES = 4, 256_000_000, 64
"""Files that all stretches of a day hold open together: a block at a border needs two, and two threads read. More
are held as long as their samples are small."""
FETCHED_BYTES = 64_000_000
"""A bundle in an object store is fetched whole up to this size: each piece would be a request."""


class ChangedError(Exception):
    """A recording that is no longer what the catalogue found.

    Attributes
    ----------
    path, reason : str
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    @classmethod
    def of(cls, error: Exception, store: Store, path: str) -> Exception:
        """Return what to raise at an error of a file: that of a network, or of memory, is no fault of the file."""
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and not store.is_local):
            return error
        return cls(path, reason_of(error))


@dataclass(frozen=True)
class File:
    """What the catalogue says of a file: where it lies, its format, samples and channels, and their type."""

    path: str
    format: str
    shape: tuple[int, int]
    sample_type: str

    @classmethod
    def of(cls, row: dict[str, Any]) -> "File":
        """Return that of a row of `recordings`."""
        shape = row["n_samples"], len(row["channels"])
        return cls(row["path"], row["format"], shape, row["sample_type"])


@dataclass(frozen=True)
class Recording:
    """One readable file.

    Attributes
    ----------
    samples : numpy.ndarray or BundleSamples
        Shape (n_samples, n_channels), in memory, or read when sliced.
    """

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
        content = self.store.read_range(self.path, (rows.start or 0) * stride, rows.stop * stride)
        return np.frombuffer(content, self.dtype).reshape(-1, self.n_channels)


def open_recording(store: Store, file: "File") -> Recording:
    """Open a recording of any known format.

    A vendor bundle is read piece by piece, a small one in an object store whole. Files of other formats are read
    whole, once, by a process of their own.

    Parameters
    ----------
    store : Store
    file : File

    Raises
    ------
    BundleError
        See `sidecar.read_sidecar`.
    RefusedError
        Where it holds other channels or another type than the catalogue found; see `apart.samples`.
    """
    if file.path.endswith(".bin"):
        sidecar = stored_sidecar(store, file.path)
        if (len(sidecar.channels), sidecar.dtype.str) != (file.shape[1], file.sample_type):
            raise RefusedError(REWRITTEN)
        samples = BundleSamples(store, file.path, sidecar.dtype, len(sidecar.channels))
        n_bytes = sidecar.n_samples * len(sidecar.channels) * sidecar.dtype.itemsize
        fetched = not store.is_local and n_bytes <= FETCHED_BYTES
        return Recording(samples[: sidecar.n_samples] if fetched else samples)
    with store.local(file.path) as local:
        return Recording(apart.samples(local, file.format, file.shape, np.dtype(file.sample_type)))


def stored_sidecar(store: Store, path: str, size: int | None = None) -> Sidecar:
    """Read the sidecar of a bundle, and of its `.bin` file no more than the size; raises as `read_sidecar`."""
    with store.local(path + SIDECAR) as local:
        size = store.fs.size(store.full(path)) if size is None else size
        return read_sidecar(Path(str(local).removesuffix(SIDECAR)), size)


@dataclass
class Files:
    """The files last read from, shared by the stretches of a day: a day of gaps holds no more of them."""

    store: Store
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    opened: OrderedDict[str, Recording] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def __getitem__(self, file: File) -> Recording:
        path = file.path
        with self.lock:
            if path not in self.opened:
                while len(self.opened) >= (OPEN_FILES if self._held() > HELD_BYTES else MOST_FILES):
                    self.opened.popitem(last=False)
                try:
                    self.opened[path] = open_recording(self.store, file)
                except Exception as error:  # of a foreign reader, at what was one of its files
                    raise ChangedError.of(error, self.store, path) from error
            self.opened.move_to_end(path)
            return self.opened[path]

    def _held(self) -> int:
        return sum(x.nbytes for file in self.opened.values() if isinstance(x := file.samples, np.ndarray))

    def __reduce__(self) -> tuple[Any, ...]:
        return _same_files, (self.store, self.token)


_FILES: OrderedDict[str, Files] = OrderedDict()
_FILES_LOCK = Lock()


def _same_files(store: Store, token: str) -> Files:
    """Return the one object that all tasks of a day share in a worker process, so that each file is read once."""
    with _FILES_LOCK:
        files = _FILES.setdefault(token, Files(store, token))
        _FILES.move_to_end(token)
        while len(_FILES) > 2:
            _FILES.popitem(last=False)
        return files
