"""Rows of tables whose windows or segments belong to one channel."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import VECTOR, vector


def channel_rows(
    schema: pa.Schema, fibre: str, channel: int, start_ns: np.ndarray, seconds: int, columns: Mapping[str, Any]
) -> pa.Table:
    """Return the rows of one channel.

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
        The others, by name; those that are not there are null.
    """
    n = len(start_ns)
    place = {"fibre": np.full(n, fibre, object), "channel": np.full(n, channel)}
    values = place | {"start": start_ns, "end": start_ns + seconds * SECOND_NS} | dict(columns)

    def column(field: pa.Field) -> pa.Array:
        if field.name not in values:
            return pa.nulls(n, field.type)
        return (vector if field.type == VECTOR else partial(pa.array, type=field.type))(values[field.name])

    return pa.table({field.name: column(field) for field in schema})
