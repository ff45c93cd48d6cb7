"""A temporary file of the run, where what comes in one order waits to be asked for in another."""

import errno
import tempfile
from typing import Any, NamedTuple, Self

from dasanom_assets.tables.store import StorageFullError


class Place(NamedTuple):
    """Where something lies in the file."""

    position: int
    size: int


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
