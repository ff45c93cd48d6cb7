"""Has foreign files looked at and read in processes of their own, which can do nothing else: see `cage`.

The libraries under DASCore's readers are of C: bytes that are turned over in an HDF5 file can end them with a
segmentation fault, which no `except` catches. Others never end, or take all memory.
"""

import atexit
import contextlib
import fcntl
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from dasanom_assets.recordings import messages
from dasanom_assets.recordings.reasons import RefusedError
from dasanom_assets.recordings.site_rules import Site
from dasanom_assets.settings import LimitSettings

SECONDS, BYTES_A_SECOND = 2, 20_000_000
"""Processor time for a file, and how much of its size has another second."""
WAIT = 8
"""Times as long may it take by the clock, on a machine that does other things, or a disk that is slow."""
MEMORY, TIMES_SIZE = 600_000_000, 4
"""Bytes of memory for a file, beside the readers' own, and how many times its size, or that of its samples."""
LARGE_BYTES = 64_000_000
"""Of larger files, or samples, one at a time is read."""
ANSWER_BYTES = 1 << 26
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "HDF5_USE_FILE_LOCKING")
"""Of the environment: a reader has no use for the keys of a store."""
ALONE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_MAX_THREADS": "1",
    "HDF5_PLUGIN_PRELOAD": "::",  # no filter is loaded that a file asks for
}


def look(
    local: Path, path: str, extent: tuple[int, int] | None, limits: LimitSettings, rules: Sequence[Site]
) -> dict[str, Any]:
    """Return what `file_checks.file_row` does, of a file that is no bundle.

    Parameters
    ----------
    local : Path
        Where the file lies.
    path, extent, limits, rules
        As there.

    Raises
    ------
    RefusedError
        Where that raises anything, takes too much, or its process ends, with the reason.
    """
    more = {
        "path": path,
        "extent": extent,
        "limits": limits.model_dump(),
        "rules": [rule.model_dump() for rule in rules],
    }
    row: dict[str, Any] = _READERS.ask("look", local, more)
    site = row["site"]
    return row | {"site": None if site is None else rules[site]}


def pieces(local: Path, limits: LimitSettings) -> Iterator[tuple[float, np.ndarray]]:
    """Yield sampling rate (Hz) and samples, shape (n_samples, n_channels), of each piece of a file.

    Parameters
    ----------
    local : Path
        Where the file lies.
    limits : LimitSettings

    Raises
    ------
    RefusedError
        As `look`.
    """
    found = _READERS.ask("outline", local, {"limits": limits.model_dump()})
    for number, piece in enumerate(found["pieces"]):
        dtype, of = np.dtype(piece["dtype"]), (number, len(found["pieces"]))
        yield piece["rate"], samples(local, found["format"], tuple(piece["shape"]), dtype, of)


def samples(
    local: Path, format: str, shape: tuple[int, int], dtype: np.dtype, piece: tuple[int, int] = (0, 1)
) -> np.ndarray:
    """Return the samples of a file, in memory that is shared with the process that reads it.

    Parameters
    ----------
    local : Path
        Where the file lies.
    format : str
        Name and version, as the catalogue says; the file is not asked again.
    shape : (int, int)
        Samples and channels, as the catalogue says.
    dtype : numpy.dtype
        Of a sample, as the catalogue says.
    piece : (int, int), optional
        Which of how many the file consists of.

    Raises
    ------
    RefusedError
        Where it does not hold these any more, takes too much, or its reader ends, with the reason.
    """
    n_bytes = shape[0] * shape[1] * dtype.itemsize
    target = os.memfd_create("samples", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(target, n_bytes)
        # Nor can a reader that a file has taken over cut it, which would end this process.
        fcntl.fcntl(target, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        more = {"format": format, "shape": shape, "dtype": dtype.str, "piece": piece[0], "pieces": piece[1]}
        _READERS.ask("samples", local, more, target, n_bytes)
        return np.frombuffer(mmap.mmap(target, n_bytes, prot=mmap.PROT_READ), dtype).reshape(shape)
    finally:
        os.close(target)


@dataclass
class _Reader:
    """A process that reads one file after the other."""

    pid: int
    socket: socket.socket
    connection: Connection

    def ask(self, request: dict[str, Any], target: int | None, seconds: float) -> Any:
        """Return what it answers; raises OSError or EOFError where it ends instead."""
        socket.send_fds(self.socket, [b"\0"], [] if target is None else [target])
        self.connection.send_bytes(messages.encoded(request))
        if not self.connection.poll(seconds):
            raise TimeoutError
        return messages.decoded(self.connection.recv_bytes(ANSWER_BYTES))


class _Readers:
    """The readers of this process: as many as ask at once, forked from one that has loaded all formats."""

    def __init__(self) -> None:
        self._lock, self._large = Lock(), Lock()
        self._idle: list[_Reader] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._control: tuple[socket.socket, Connection] | None = None
        self._parent = 0
        self._most_bytes = 0

    def ask(
        self, what: str, local: Path, more: dict[str, Any], target: int | None = None, n_bytes: int = 0
    ) -> Any:
        """Return what a reader answers; raises `RefusedError` where it refuses, or ends instead."""
        size = max(local.stat().st_size, n_bytes)
        seconds = SECONDS + size / BYTES_A_SECOND
        request = {
            "ask": what,
            "file": str(local.absolute()),
            "more": more,
            "seconds": seconds,
            "bytes": MEMORY + TIMES_SIZE * size,
        }
        with self._large if size > LARGE_BYTES else contextlib.nullcontext():
            return self._answer(request, target, seconds)

    def _answer(self, request: dict[str, Any], target: int | None, seconds: float) -> Any:
        reader = self._take()
        try:
            answer = reader.ask(request, target, WAIT * seconds)
        except (EOFError, OSError, ValueError) as error:
            code = self._end(reader)
            why = _too_long(WAIT * seconds) if isinstance(error, TimeoutError) else _why_ended(code, seconds)
            raise RefusedError(why) from error
        except BaseException:  # an answer that nobody took would be that of the next file
            self._end(reader)
            raise
        if "error" in answer:  # what a damaged file leaves behind in a library is not for the next one
            self._end(reader)
            raise RefusedError(answer["error"])
        with self._lock:
            if self._parent == os.getpid():
                self._idle.append(reader)
        return answer["answer"]

    def _take(self) -> _Reader:
        with self._lock:
            while self._parent == os.getpid() and self._idle:
                reader = self._idle.pop()
                if not reader.connection.poll():  # it says nothing unasked: else it was ended
                    return reader
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    pid, _ = self._tell("fork", 0, theirs.fileno())
                except (EOFError, OSError):  # the first one, or its forerunner was ended
                    self._start()
                    pid, _ = self._tell("fork", 0, theirs.fileno())
            return _Reader(pid, ours, Connection(os.dup(ours.fileno())))

    def _end(self, reader: _Reader) -> int:
        """End a reader, and return how it ended, as `subprocess` does."""
        reader.socket.close()
        reader.connection.close()
        with self._lock, contextlib.suppress(EOFError, OSError):
            os.kill(reader.pid, signal.SIGKILL)  # one that ended is still there, until it is waited for
            code, held = self._tell("wait", reader.pid)
            self._most_bytes = max(self._most_bytes, held)
            return code
        return -signal.SIGKILL

    def rest(self) -> int:
        """End the readers that wait for a file, and return how much memory one held at most so far, bytes."""
        while self._idle:
            self._end(self._idle.pop())
        return self._most_bytes

    def _tell(self, what: str, number: int, handle: int | None = None) -> tuple[int, int]:
        """Have a reader forked, or waited for; return its number, or how it ended, and the memory that it held."""
        if self._control is None or self._parent != os.getpid():
            raise EOFError
        socket.send_fds(self._control[0], [b"\0"], [] if handle is None else [handle])
        self._control[1].send_bytes(messages.encoded([what, number]))
        number, held = messages.decoded(self._control[1].recv_bytes())
        return number, held

    def _start(self) -> None:
        """Start the process that loads all formats, from which readers are forked."""
        if self._parent == os.getpid():
            self.close()
        self._idle.clear()
        ours, theirs = socket.socketpair()
        with theirs:
            paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
            kept = {name: os.environ[name] for name in KEPT if name in os.environ}
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "dasanom_assets.recordings.cage"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=kept | ALONE | {"PYTHONPATH": paths},
                cwd="/",
            )
        self._control = ours, Connection(os.dup(ours.fileno()))
        self._parent = os.getpid()

    def close(self) -> None:
        """End all processes."""
        if self._parent != os.getpid() or self._process is None:
            return
        for reader in self._idle:
            reader.connection.close()
            reader.socket.close()
        assert self._control
        for end in self._control:
            end.close()
        self._control = None
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_READERS = _Readers()
atexit.register(_READERS.close)


def _too_long(seconds: float) -> str:
    return f"it was not read within {seconds:.0f} s: it is damaged, or its disk does not answer; deliver it again"


def _why_ended(code: int, seconds: float) -> str:
    if code == -signal.SIGPROF:
        return f"it is damaged: its reader was still at it after {seconds:.0f} s; deliver it again"
    if code == -signal.SIGKILL:
        return "its reader was ended by the system, perhaps for want of memory: split it into shorter files"
    how = signal.Signals(-code).name if code < 0 else f"status {code}"
    return f"it is damaged: its reader ends at it ({how}); deliver it again"
