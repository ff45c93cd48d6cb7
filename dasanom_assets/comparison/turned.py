"""Rows that files have in the order of time, turned to that of channels: each file is read once."""

from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa

from dasanom_assets.tables.spool import Place, Spool

CODEC = "zstd"
"""Of what waits, column by column and byte by byte."""


class _Waiting(NamedTuple):
    """Some rows of one channel, packed."""

    first: int
    shape: tuple[int, int]
    column: int
    place: Place


class Turned:
    """Numbers of many rows and channels, given by time and taken by channel; they wait in a temporary file.

    Parameters
    ----------
    n_channels, n_rows, n_columns : int
        Of all that will be given.
    """

    def __init__(self, n_channels: int, n_rows: int, n_columns: int) -> None:
        self._waiting: list[list[_Waiting]] = [[] for _ in range(n_channels)]
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
        shape = values.shape[0], values.shape[2]
        for channel, own in zip(channels.tolist(), values.swapaxes(0, 1), strict=True):
            by_byte = np.ascontiguousarray(own.T).view(np.uint8).reshape(-1, 4).T
            packed = self._codec.compress(np.ascontiguousarray(by_byte), asbytes=True)
            self._waiting[channel].append(_Waiting(first, shape, column, self._spool.put(packed)))

    def of(self, channel: int) -> np.ndarray:
        """Return the rows of a channel, float32, shape (n_rows, n_columns), NaN where none was given."""
        out = np.full(self._shape, np.nan, np.float32)
        for first, (rows, columns), column, place in self._waiting[channel]:
            content = self._codec.decompress(self._spool.get(place), 4 * rows * columns)
            by_byte = np.frombuffer(content, np.uint8).reshape(4, -1).T
            by_column = np.ascontiguousarray(by_byte).view(np.float32).reshape(columns, rows)
            out[first : first + rows, column : column + columns] = by_column.T
        return out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._spool.close()
