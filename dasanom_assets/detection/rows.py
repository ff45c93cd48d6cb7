"""Rows of tables whose windows or segments belong to one channel."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.spectrograms.windows import SECOND_NS


def channel_rows(
    schema: pa.Schema, fibre: str, channel: int, start_ns: np.ndarray, seconds: int, columns: Mapping[str, Any]
) -> pa.Table:
    """Return the rows of one channel: of a day's first, without any, a table takes its columns.

    Parameters
    ----------
    schema : pyarrow.Schema
        With `fibre`, `channel`, `start` and `end`.
    fibre : str
    channel : int
    start_ns : numpy.ndarray
        int64, shape (n_rows,), ns since 1970 UTC.
    seconds : int
        Length of each row.
    columns : mapping of str to array
        The others, by name; those that are not there are null. Vectors are given as Arrow arrays.
    """
    n = len(start_ns)
    values = {
        "fibre": np.full(n, fibre, object),
        "channel": np.full(n, channel),
        "start": start_ns,
        "end": start_ns + seconds * SECOND_NS,
        **columns,
    }

    def column(field: pa.Field) -> pa.Array:
        given = values.get(field.name)
        if given is None:
            return pa.nulls(n, field.type)
        return given if isinstance(given, pa.Array) else pa.array(given, field.type)

    return pa.table({field.name: column(field) for field in schema})
