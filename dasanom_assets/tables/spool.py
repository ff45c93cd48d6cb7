"""A temporary file of the run, where what comes in one order waits to be asked for in another."""

import errno
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from dasanom_assets.tables.store import StorageFullError


class Place(NamedTuple):
    """Where something lies in the file."""

    position: int
    size: int


class Places(NamedTuple):
    """Where things that were put there together lie: of millions, a tuple each would take gigabytes.

    Attributes
    ----------
    position : int
        Of the first.
    offsets : numpy.ndarray
        uint32, shape (n + 1,): where each begins behind it, and where the last ends.
    """

    position: int
    offsets: np.ndarray

    def of(self, number: int) -> Place:
        """Return where one of them is."""
        begin, end = self.offsets[number : number + 2].tolist()
        return Place(self.position + begin, end - begin)


class Spool:
    """Bytes that wait in a temporary file, which is made when it is first written to and gone when it is closed.

    Parameters
    ----------
    what : str
        What waits there, for the error of a full disk.

    Examples
    --------
    >>> with Spool("levels wait") as spool:
    ...     place = spool.put(b"abc")
    ...     spool.get(place)
    b'abc'
    """

    def __init__(self, what: str) -> None:
        self._what, self._end = what, 0
        self._file: Any = None

    def put(self, content: bytes) -> Place:
        """Append bytes, and return where they are.

        Raises
        ------
        StorageFullError
            Where the folder of temporary files is full.
        """
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="dasanom-")  # noqa: SIM115, closed by `close`
        try:
            self._file.seek(self._end)
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFullError(
                    error.errno,
                    f"no space left in {tempfile.gettempdir()}, where {self._what}: "
                    "free some, or set TMPDIR to a folder with more, and run again",
                ) from error
            raise
        place = Place(self._end, len(content))
        self._end += len(content)
        return place

    def put_all(self, contents: Sequence[bytes]) -> Places:
        """Append several, at once; raises as `put`."""
        offsets = np.cumsum([0, *map(len, contents)], dtype=np.int64).astype(np.uint32)
        return Places(self.put(b"".join(contents)).position, offsets)

    def get(self, place: Place) -> bytes:
        """Return bytes that were put there."""
        self._file.seek(place.position)
        return self._file.read(place.size)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
