"""Vectors are read from their pages as pyarrow reads them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dasanom_assets.spectrograms.hours import rows_table
from dasanom_assets.tables.pages import read_vectors
from dasanom_assets.tables.parquet import encode
from dasanom_assets.tables.store import Store

DAY, DAY_NS = "2026-01-05", np.datetime64("2026-01-05").astype("datetime64[ns]").astype(int)


def table(n: int) -> pa.Table:
    levels = np.random.default_rng(n).normal(-60, 9, (n, 2, 4)).astype(np.float32)
    levels[0, 1] = np.nan
    return rows_table("north", 7, DAY_NS + np.arange(n) * 1_000_000_000, levels)


@pytest.mark.parametrize("pieces", [[5], [300, 1, 40], [90_000]])
@pytest.mark.parametrize("by", ["pages", "pyarrow"])
def test_values_are_those_that_pyarrow_reads(tmp_path: Path, pieces: list[int], by: str) -> None:
    store, tables = Store(str(tmp_path)), [table(n) for n in pieces]
    if by == "pages":
        store.write_day_parts("spectrograms", DAY, map(encode, tables))
    else:
        store.write_day("spectrograms", DAY, tables)
    with store.open_day("spectrograms", DAY) as file:
        for group, n in enumerate(pieces):
            out = np.zeros((n, 2, 4), np.float32)
            read_vectors(file.vector_pages(group, "power_db"), out)
            wanted = file.read_row_group(group, ["power_db"])["power_db"].combine_chunks().flatten()
            np.testing.assert_array_equal(out.ravel(), wanted.to_numpy())


def test_pages_of_another_kind_or_length_are_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_day("spectrograms", DAY, table(9))
    with store.open_day("spectrograms", DAY) as file:
        for rows in (8, 10):
            with pytest.raises(ValueError, match="materialize the day again"):
                read_vectors(file.vector_pages(0, "power_db"), np.zeros((rows, 2, 4), np.float32))
    path = tmp_path / store.day_path("spectrograms", DAY)
    pq.write_table(table(9), path, compression="zstd", use_dictionary=False)
    with store.open_day("spectrograms", DAY) as file, pytest.raises(ValueError, match="not stored byte by byte"):
        read_vectors(file.vector_pages(0, "power_db"), np.zeros((9, 2, 4), np.float32))
