"""Vectors are read from their pages as pyarrow reads them."""

import contextlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.spectrograms.hours import rows_table
from dasanom_assets.tables.pages import read_vectors
from dasanom_assets.tables.parquet import encode, vector_page
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


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 30, 31]), min_size=1, max_size=6), st.data())
def test_pages_of_one_column_follow_each_other_whatever_their_sizes(sizes: list[int], data: st.DataObject) -> None:
    rng = np.random.default_rng(len(sizes))
    levels = [np.round(rng.normal(-60, 9, (n, 8)), data.draw(st.integers(0, 3))).astype(np.float32) for n in sizes]
    field = table(1).schema.field("power_db")
    content = b"".join(vector_page(part, field).content for part in levels)
    whole = np.concatenate(levels)
    out = np.zeros_like(whole)
    read_vectors(content, out)
    np.testing.assert_array_equal(out, whole)
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    with pytest.raises(ValueError, match="materialize the day again"):
        read_vectors(cut, out)
    broken = bytearray(content)
    broken[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(ValueError):  # the format has no checksum of what lies in a page
        read_vectors(bytes(broken), out)
