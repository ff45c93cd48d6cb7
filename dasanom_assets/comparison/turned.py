"""Rows that files have in the order of time, turned to that of channels: each file is read once."""

from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa

from dasanom_assets.tables.spool import Places, Spool

CODEC = "zstd"
"""Of what waits, column by column and byte by byte."""


class _Waiting(NamedTuple):
    """Some rows of some channels: where they wait.

    Attributes
    ----------
    first, column : int
        Of the rows and columns.
    shape : tuple of int
        Rows and columns.
    number : numpy.ndarray
        int32, by channel: its number among those that the rows are of, −1 where they are not of it.
    places : Places
        Of the bytes of each.
    """

    first: int
    column: int
    shape: tuple[int, int]
    number: np.ndarray
    places: Places


class Turned:
    """Numbers of many rows and channels, given by time and taken by channel; they wait in a temporary file.

    Parameters
    ----------
    n_channels, n_rows, n_columns : int
        Of all that will be given.
    """

    def __init__(self, n_channels: int, n_rows: int, n_columns: int) -> None:
        self._waiting: list[_Waiting] = []
        self._numbers = np.full(n_channels, -1, np.int32)
        self._shape = n_rows, n_columns
        self._codec = pa.Codec(CODEC, 1)
        self._spool = Spool("the contractor's rows wait until those of a channel are together")

    def add(self, first: int, channels: np.ndarray, values: np.ndarray, column: int = 0) -> None:
        """Take rows of some channels.

        Parameters
        ----------
        first : int
            Number of the first row.
        channels : numpy.ndarray
            int64, shape (n,): places of the channels.
        values : numpy.ndarray
            float32, shape (rows, n, columns).
        column : int
            The first column that they are of.
        """
        numbers = np.full(len(self._numbers), -1, np.int32)
        numbers[channels] = np.arange(len(channels))
        if not np.array_equal(numbers, self._numbers):  # nearly always those of the rows before
            self._numbers = numbers
        places = self._spool.put_all([self._packed(own) for own in values.swapaxes(0, 1)])
        shape = values.shape[0], values.shape[2]
        self._waiting.append(_Waiting(first, column, shape, self._numbers, places))

    def _packed(self, values: np.ndarray) -> bytes:
        by_byte = np.ascontiguousarray(values.T).view(np.uint8).reshape(-1, 4).T
        return self._codec.compress(np.ascontiguousarray(by_byte), asbytes=True)

    def of(self, channel: int) -> np.ndarray:
        """Return the rows of a channel, float32, shape (n_rows, n_columns), NaN where none was given."""
        out = np.full(self._shape, np.nan, np.float32)
        for first, column, (rows, columns), numbers, places in self._waiting:
            if numbers[channel] < 0:
                continue
            packed = self._spool.get(places.of(numbers[channel]))
            content = self._codec.decompress(packed, 4 * rows * columns)
            by_byte = np.frombuffer(content, np.uint8).reshape(4, -1).T
            by_column = np.ascontiguousarray(by_byte).view(np.float32).reshape(columns, rows)
            out[first : first + rows, column : column + columns] = by_column.T
        return out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._spool.close()
