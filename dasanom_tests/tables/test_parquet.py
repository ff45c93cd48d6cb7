"""Joined bytes are the file that one writer would have written."""

import io
import os
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thriftpy2.utils import deserialize, serialize

from dasanom_assets.tables.footer import COMPACT, FORMAT, footer_bytes, read_footer, shift, thrift_bytes
from dasanom_assets.tables.groups import Channels, group_keys, inner_footers
from dasanom_assets.tables.parquet import RowGroupWriter, encode, join, writer_options
from dasanom_assets.tables.schemas import SCHEMAS, TIME, vector
from dasanom_assets.tables.store import Store
from dasanom_tests.memory import memory_of


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
    result = file.read()
    assert result.drop(["power_db"]).equals(pa.concat_tables(expected).drop(["power_db"]))
    np.testing.assert_array_equal(
        result["power_db"].combine_chunks().flatten().to_numpy(),
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


def test_what_is_joined_is_what_one_writer_would_have_written(tmp_path: Path) -> None:
    tables = [spectrogram(rows(n, channel)) for channel, n in enumerate((40, 0, 7, 1, 300))]
    store = Store(str(tmp_path))
    store.write_day("spectrograms", "2026-01-05", tables, {"n": 1})
    store.write_day_parts("spectrograms", "2026-01-06", map(encode, tables), {"n": 1})
    one, other = (store.open_day("spectrograms", f"2026-01-0{d}") for d in (5, 6))
    assert one.schema_arrow.equals(other.schema_arrow, check_metadata=True)
    assert store.metadata_of(one) == store.metadata_of(other) == {"n": 1}
    assert [summary(one, i) for i in range(5)] == [summary(other, i) for i in range(other.num_row_groups)]
    assert [t.num_rows for t in store.iter_day("spectrograms", "2026-01-06")] == [40, 0, 7, 1, 300]


def spectrogram(table: pa.Table) -> pa.Table:
    return table.add_column(3, "end", table["start"]).select(SCHEMAS["spectrograms"].names)


def summary(file: pq.ParquetFile, group: int) -> list[object]:
    """Rows and statistics of a row group, by column."""
    content = file.metadata.row_group(group)
    columns = [content.column(i) for i in range(content.num_columns)]
    values = [column.statistics and column.statistics.to_dict() for column in columns]
    return [content.num_rows, [column.num_values for column in columns], values]


def test_statistics_cover_all_batches_where_values_are_missing() -> None:
    columns = {"name": pa.string(), "at": pa.timestamp("ns", tz="UTC"), "none": pa.int32(), "share": pa.float64()}
    late = 1_767_571_200_000_000_001  # no float64 holds it
    batches = [
        {"name": ["m", None], "at": [late + 1, late], "none": [None, None], "share": [0.5, 2.0]},
        {"name": [None, None], "at": [late + 2, None], "none": [None, None], "share": [1.0, -1.0]},
        {"name": ["b", "ä"], "at": [None, None], "none": [None, None], "share": [float("nan"), 0.0]},
    ]
    tables = [pa.table({k: pa.array(v, columns[k]) for k, v in batch.items()}) for batch in batches]
    writer = RowGroupWriter(tables[0].schema)
    for table in tables:
        writer.write(table)
    file = pq.ParquetFile(io.BytesIO(writer.close()))
    assert file.read().drop(["share"]).equals(pa.concat_tables(tables).drop(["share"]))
    name, position, none, share = (file.metadata.row_group(0).column(i).statistics for i in range(4))
    assert (name.min, name.max, name.null_count) == ("b", "ä", 3)
    assert (position.min_raw, position.max_raw, position.null_count) == (late, late + 2, 3)
    assert (none.has_min_max, none.null_count) == (False, 6)
    assert (share.min, share.max) == (-1.0, 2.0)


def test_no_field_of_a_footer_is_lost_that_pyarrow_writes() -> None:
    for schema in SCHEMAS.values():
        sink = io.BytesIO()
        table = schema.empty_table()
        pq.write_table(table, sink, **writer_options(schema), write_page_index=True, store_decimal_as_integer=True)
        content = sink.getvalue()
        footer = content[-8 - int.from_bytes(content[-8:-4], "little") : -8]
        assert serialize(deserialize(FORMAT.FileMetaData(), footer, COMPACT), COMPACT) == footer


@pytest.mark.parametrize("n", [1, 14, 15, 127, 128, 1000])
def test_any_number_of_parts_is_joined(n: int) -> None:
    file = joined([encode(rows(1, channel)) for channel in range(n)])
    assert group_keys(file.metadata) == [("north", channel) for channel in range(n)]


def test_a_row_group_beyond_four_gigabytes_is_found(tmp_path: Path) -> None:
    part, position = encode(rows(300)), 5 << 30
    footer = read_footer(part)
    shift(footer.row_groups[0], position - 4)
    groups = [thrift_bytes(group) for group in footer.row_groups]
    with open(tmp_path / "far.parquet", "wb") as file:  # nearly all of it a hole
        file.write(part[:4])
        file.seek(position)
        file.write(part[4 : -8 - int.from_bytes(part[-8:-4], "little")] + footer_bytes(footer, groups))
    assert pq.read_table(tmp_path / "far.parquet")["start"].equals(rows(300)["start"])
    assert duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/far.parquet' WHERE channel = 7").fetchall() == [(300,)]


def test_readers_skip_row_groups_of_other_channels_and_times(tmp_path: Path) -> None:
    with open(tmp_path / "a.parquet", "wb") as sink:
        join(sink, [encode(rows(60, channel, hour)) for channel in range(4) for hour in (0, 3600)])
    (fragment,) = ds.dataset(tmp_path / "a.parquet").get_fragments()
    after = pa.scalar(3600 * 10**9, pa.int64()).cast(TIME)
    wanted = (ds.field("channel") == 2) & (ds.field("start") >= after)
    assert [g.id for f in fragment.split_by_row_group(wanted) for g in f.row_groups] == [5]


def test_neither_batches_nor_parts_pile_up_in_memory() -> None:
    table = rows(1000, width=64)  # as long as not all of it is noise
    writer = RowGroupWriter(table.schema)

    def write(batches: int) -> None:
        for _ in range(batches):
            writer.write(table)

    write(1)
    of_batches = memory_of(lambda: write(300)).held
    compressed = len(writer.close())
    assert compressed < 300 * table.nbytes / 2
    assert of_batches < 1.5 * compressed

    def join_parts(n: int) -> None:
        with open(os.devnull, "wb") as sink:
            join(sink, (encode(table) for _ in range(n)))

    join_parts(1)
    assert memory_of(lambda: join_parts(300)).peak < compressed / 2


def test_a_row_group_of_several_channels_is_refused() -> None:
    file = joined([encode(pa.concat_tables([rows(3, 1), rows(3, 2)]))])
    with pytest.raises(ValueError, match="row group 0 holds several channels"):
        group_keys(file.metadata)


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


def test_parts_whose_files_are_alike_and_whose_columns_are_not_are_refused() -> None:
    variable = rows(3).set_column(3, "power_db", rows(3)["power_db"].cast(pa.list_(pa.float32())))
    with pytest.raises(ValueError, match=r"parts differ in columns: power_db list<.* in part 2, fixed_size_list"):
        joined([encode(rows(3)), encode(variable)])
    with pytest.raises(ValueError, match=r"parts differ in columns: \['fibre'\] in part 2"):
        joined([encode(rows(3)), encode(rows(3).select(["fibre"]))])


def test_metadata_of_the_parts_may_differ_and_gives_way() -> None:
    parts = [encode(rows(3).replace_schema_metadata({"a": str(i)})) for i in range(3)]
    file = joined(parts, {"b": 1})
    assert file.schema_arrow.metadata == {b"dasanom": b'{"b": 1}'}
    assert file.read().num_rows == 9


@settings(deadline=None, max_examples=20)
@given(
    blocks=st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=4), min_size=1, max_size=4),
    width=st.sampled_from([1, 6]),
)
def test_channels_that_share_a_row_group_are_found_in_it(blocks: list[list[int]], width: int) -> None:
    tables = [[rows(n, 10 * b + i, 50 * b, width) for i, n in enumerate(block)] for b, block in enumerate(blocks)]
    sink = io.BytesIO()
    join(sink, [encode(rows(0, width=width)), *([encode(table) for table in block] for block in tables)])
    file = pq.ParquetFile(io.BytesIO(sink.getvalue()))
    assert file.num_row_groups == 1 + len(blocks)
    every = pa.concat_tables([table for block in tables for table in block])
    assert same_rows(file.read(), every)
    assert duckdb_rows(sink.getvalue()) == every.num_rows
    for number, block in enumerate(tables, 1):
        entry = file.metadata.row_group(number)
        statistics = [entry.column(i).statistics for i in (1, 2)]
        whole = pa.concat_tables(block)
        for column, values in zip(("channel", "start"), statistics, strict=True):
            low_high = pa.compute.min_max(whole[column])
            assert (values.min, values.max) == (low_high["min"].as_py(), low_high["max"].as_py())
    where = Channels(file.metadata)
    for block in tables:
        for table in block:
            [place] = where.places["north", table["channel"][0].as_py()]
            begin, end = where.listed(place.group)
            inner = inner_footers([sink.getvalue()[begin:end]])
            alone = pq.ParquetFile(io.BytesIO(sink.getvalue()), metadata=inner)
            assert alone.num_row_groups == where.size(place.group)
            assert same_rows(alone.read_row_group(place.number), table)
            assert place.rows == table.num_rows


def same_rows(one: pa.Table, other: pa.Table) -> bool:
    """Whether tables are equal, NaN being NaN."""
    levels = [t["power_db"].combine_chunks().flatten().to_numpy() for t in (one, other)]
    np.testing.assert_array_equal(*levels)
    return one.drop(["power_db"]).equals(other.drop(["power_db"]))


def duckdb_rows(content: bytes) -> int:
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        file.write(content)
        file.flush()
        return len(duckdb.sql(f"SELECT start, power_db FROM '{file.name}'").fetchall())


def test_the_footer_of_channels_that_share_row_groups_is_small() -> None:
    alone, shared = io.BytesIO(), io.BytesIO()
    files = [encode(rows(5, channel, hour)) for hour in (0, 3600, 7200) for channel in range(64)]
    join(alone, files)
    join(shared, [files[i : i + 16] for i in range(0, len(files), 16)])
    sizes = [int.from_bytes(sink.getvalue()[-8:-4], "little") for sink in (alone, shared)]
    assert sizes[1] < sizes[0] / 8


def test_files_that_cannot_share_a_row_group_are_refused() -> None:
    sink = io.BytesIO()
    pq.write_table(rows(5), sink, use_dictionary=True)
    with pytest.raises(ValueError, match="has a dictionary"):
        joined([[sink.getvalue(), sink.getvalue()]])
    several = io.BytesIO()
    join(several, [encode(rows(3)), encode(rows(3, 8))])
    with pytest.raises(ValueError, match="has several of its own"):
        joined([[several.getvalue()]])
