"""What an event in the Dagster UI says of a table or picture, as plain values."""

import base64
from typing import Any

from dasanom_assets.tables.store import Store

LARGEST_PICTURE = 30_000
"""Bytes of PNG that may go into an event: the event log keeps three copies of each."""


def day_metadata(store: Store, table: str, day: str, rows: int) -> dict[str, Any]:
    """Return the entries under which Dagster shows a partition's row count and place."""
    return {"dagster/partition_row_count": rows, "dagster/uri": store.url(store.day_path(table, day))}


def image(png: bytes) -> str:
    """Return a PNG as Markdown that the Dagster UI renders.

    Raises
    ------
    ValueError
        Where it is larger than `LARGEST_PICTURE`.
    """
    if len(png) > LARGEST_PICTURE:
        raise ValueError(f"a picture of {len(png)} bytes is too large for an event: at most {LARGEST_PICTURE}")
    return f"![](data:image/png;base64,{base64.b64encode(png).decode()})"
