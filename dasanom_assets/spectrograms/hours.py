"""Rows of `spectrograms` on their way from the order of time, in which they are computed, to that of channels."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.parquet import Page, RowGroupWriter
from dasanom_assets.tables.schemas import SCHEMAS, TIME, vector
from dasanom_assets.tables.spool import Places, Spool


class Piece(NamedTuple):
    """Rows of one channel that follow each other.

    Attributes
    ----------
    channel : int
        Absolute channel number.
    start_ns : numpy.ndarray
        int64, shape (n_rows,), ns since 1970 UTC.
    levels : Page
        Column ``power_db`` of the rows.
    """

    channel: int
    start_ns: np.ndarray
    levels: Page


class _Part(NamedTuple):
    """Rows that came together: a number for each channel, and by number starts, sizes and content of pages."""

    numbers: dict[int, int]
    starts: list[np.ndarray]
    sizes: np.ndarray
    contents: list[bytes] | Places


class Hour:
    """Rows of a fibre that lie together in the day's file: at most an hour, whose parts come one after another.

    Those of all parts but the last lie in a temporary file, 2 MB a channel, and in memory one row group at a time.
    """

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._spool = Spool("an hour waits until it is complete")
        self._numbers: dict[int, int] = {}

    def add(self, pieces: list[Piece], *, spool: bool) -> None:
        """Append rows; `spool` puts them into the file."""
        numbers = {piece.channel: number for number, piece in enumerate(pieces)}
        if numbers != self._numbers:  # nearly always those of the part before
            self._numbers = numbers
        starts = [piece.start_ns for piece in pieces]
        for number in range(1, len(starts)):
            if np.array_equal(starts[number], starts[number - 1]):
                starts[number] = starts[number - 1]
        sizes = np.array([(piece.levels.n_values, piece.levels.full_size) for piece in pieces])
        contents = [piece.levels.content for piece in pieces]
        held = self._spool.put_all(contents) if spool else contents
        self._parts.append(_Part(self._numbers, starts, sizes, held))

    def row_groups(self, fibre: str, shape: tuple[int, int], together: int) -> Iterator[bytes | list[bytes]]:
        """Yield the rows by channel as `Store.write_day_parts` takes them, and forget them.

        Parameters
        ----------
        fibre : str
        shape : tuple of int
            Frames a second and bands.
        together : int
            Channels of a row group.
        """
        schema = no_rows(shape).schema
        channels = sorted({channel for part in self._parts for channel in part.numbers})
        for first in range(0, len(channels), together):
            files = [self._content(fibre, channel, schema) for channel in channels[first : first + together]]
            if together > 1:
                yield files
            else:
                yield files.pop()
        self.close()

    def _content(self, fibre: str, channel: int, schema: pa.Schema) -> bytes:
        starts, pages = [], []
        for part in self._parts:
            if (number := part.numbers.get(channel)) is None:
                continue
            if isinstance(part.contents, Places):
                content = self._spool.get(part.contents.of(number))
            else:
                content, part.contents[number] = part.contents[number], b""
            starts.append(part.starts[number])
            pages.append(Page(content, *part.sizes[number].tolist()))
        writer = RowGroupWriter(schema)
        writer.add(_places(fibre, channel, np.concatenate(starts)), {"power_db": pages})
        return writer.close()

    def close(self) -> None:
        """Let go of the file."""
        self._spool.close()


def rows_table(fibre: str, channel: int, start_ns: np.ndarray, levels: np.ndarray) -> pa.Table:
    """Return rows of `spectrograms` of one channel; `levels` has the shape (rows, frames a second, bands)."""
    rows = _places(fibre, channel, start_ns)
    power = vector(levels, levels.shape[1] * levels.shape[2])
    return rows.append_column("power_db", power).select(SCHEMAS["spectrograms"].names)


def no_rows(shape: tuple[int, int]) -> pa.Table:
    """Return `spectrograms` without a row; `shape` is frames a second and bands."""
    return rows_table("", 0, np.empty(0, np.int64), np.empty((0, *shape), np.float32))


def _places(fibre: str, channel: int, start_ns: np.ndarray) -> pa.Table:
    """Return all columns but the levels of some rows."""
    n = len(start_ns)
    return pa.table(
        {
            "fibre": pa.repeat(fibre, n),
            "channel": pa.repeat(pa.scalar(channel, pa.int32()), n),
            "start": pa.array(start_ns, pa.int64()).cast(TIME),
            "end": pa.array(start_ns + SECOND_NS, pa.int64()).cast(TIME),
        }
    )
