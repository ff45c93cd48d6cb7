"""Joined bytes are the file that one writer would have written."""

import io

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fastparquet.cencoding import from_buffer
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.tables.parquet import RowGroupWriter, encode, group_keys, join, read_footer, shift
from dasanom_assets.tables.schemas import TIME, vector


def rows(n: int, channel: int = 7, first: int = 0, width: int = 6) -> pa.Table:
    levels = np.round(np.random.default_rng(n + channel).normal(0, 7, (n, width)) * 4) / 4
    if n > 2:
        levels[1, 0] = np.nan
    start = pa.array(np.arange(first, first + n) * 1_000_000_000, pa.int64()).cast(TIME)
    return pa.table(
        {
            "fibre": pa.array(["north"] * n, pa.string()),
            "channel": pa.array(np.full(n, channel, np.int32)),
            "start": start,
            "power_db": vector(levels.astype(np.float32), width),
        }
    )


def joined(parts: list[bytes], metadata: dict | None = None) -> pq.ParquetFile:
    sink = io.BytesIO()
    n = join(sink, parts, metadata)
    file = pq.ParquetFile(io.BytesIO(sink.getvalue()))
    assert file.metadata.num_rows == n
    return file


@settings(deadline=None, max_examples=30)
@given(
    channels=st.lists(st.lists(st.integers(0, 400), max_size=5), min_size=1, max_size=6),
    width=st.sampled_from([1, 6, 512]),
)
def test_any_batches_of_any_channels_come_back_in_order(channels: list[list[int]], width: int) -> None:
    parts, expected = [], []
    for channel, batches in enumerate(channels):
        tables = [rows(n, channel, 1000 * i, width) for i, n in enumerate(batches)]
        writer = RowGroupWriter(rows(0, width=width).schema)
        for table in tables:
            writer.write(table)
        parts.append(writer.close())
        expected.append(pa.concat_tables([rows(0, width=width), *tables]).combine_chunks())
    file = joined(parts)
    found = file.read()
    assert found.drop(["power_db"]).equals(pa.concat_tables(expected).drop(["power_db"]))
    np.testing.assert_array_equal(
        found["power_db"].combine_chunks().flatten().to_numpy(),
        pa.concat_tables(expected)["power_db"].combine_chunks().flatten().to_numpy(),
    )
    assert file.num_row_groups == len(channels)
    for i, table in enumerate(expected):
        group = file.metadata.row_group(i)
        assert group.num_rows == table.num_rows
        assert group_keys(file.metadata)[i] == (("north", i) if table.num_rows else None)
        if table.num_rows:
            start = group.column(2).statistics
            assert (start.min, start.max) == (
                pa.compute.min(table["start"]).as_py(),
                pa.compute.max(table["start"]).as_py(),
            )


def test_other_programs_read_a_joined_file(tmp_path: object) -> None:
    writer = RowGroupWriter(rows(0).schema)
    for i in range(4):
        writer.write(rows(50, 8, 50 * i))
    path = f"{tmp_path}/joined.parquet"
    with open(path, "wb") as sink:
        join(sink, [encode(rows(0)), encode(rows(100)), writer.close()], {"settings": {"bands": 6}})
    assert list(pd.read_parquet(path)["channel"]) == [7] * 100 + [8] * 200
    assert pl.read_parquet(path)["start"].is_sorted() is False
    query = f"SELECT channel, count(*), min(start) FROM '{path}' WHERE channel = 8 GROUP BY channel"
    assert duckdb.sql(query).fetchall()[0][:2] == (8, 200)
    assert ds.dataset(path).to_table(filter=ds.field("channel") == 8).num_rows == 200
    assert pq.read_schema(path).metadata == {b"dasanom": b'{"settings": {"bands": 6}}'}


def test_what_is_joined_has_the_same_bytes_each_time() -> None:
    def once() -> bytes:
        sink = io.BytesIO()
        join(sink, [encode(rows(30)), encode(rows(40, 9))], {"a": 1})
        return sink.getvalue()

    assert once() == once()


def test_a_row_group_moves_far_beyond_four_gigabytes() -> None:
    footer = read_footer(encode(rows(30)))
    (group,) = footer.row_groups
    before = [column.meta_data.data_page_offset for column in group.columns]
    shift(group, 7 << 40)
    again = from_buffer(bytes(footer.to_bytes()), "FileMetaData")
    after = [column.meta_data.data_page_offset for column in again.row_groups[0].columns]
    assert after == [offset + (7 << 40) for offset in before]


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"no parquet file at all"])
def test_bytes_that_are_no_file_are_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match="no whole Parquet file"):
        joined([encode(rows(3)), damage])
    with pytest.raises(ValueError, match="no whole Parquet file"):
        joined([encode(rows(300))[:-20]])


def test_a_part_of_other_columns_is_refused_and_so_is_nothing() -> None:
    with pytest.raises(ValueError, match=r"parts differ in columns: .*power_db fixed_size_list.*\[5\]"):
        joined([encode(rows(3)), encode(rows(3, width=5))])
    with pytest.raises(ValueError, match="no part"):
        joined([])
