"""Parquet as the project writes it, and files that are joined without being decoded.

Parts of a day are encoded where they are computed. Their bytes follow each other in the day's one file, and only
its footer is written anew: whoever joins them moves bytes and nothing else.
"""

import io
import json
from collections.abc import Iterable
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

METADATA_KEY = b"dasanom"
"""Schema metadata: one JSON object with the settings and inputs behind a table."""
MAGIC = b"PAR1"
ROW_GROUP_ROWS = 1 << 20
"""A longer table is written as several row groups."""


def writer_options(schema: pa.Schema, *, dictionaries: bool = True) -> dict[str, Any]:
    """Return the options of every Parquet writer of the project.

    Vectors of floats are stored byte by byte (byte stream split), which takes half the time of a dictionary and
    hardly more space; the other columns have statistics, so that readers can pick row groups by channel and time.
    Without `dictionaries`, which hold for one row group only, whole numbers and times are stored as differences.
    """
    vectors = [f.name for f in schema if pa.types.is_fixed_size_list(f.type) and f.type.value_type == pa.float32()]
    plain = [f.name for f in schema if not pa.types.is_nested(f.type)]
    whole = [f.name for f in schema if pa.types.is_integer(f.type) or pa.types.is_timestamp(f.type)]
    encoding = {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in vectors}
    if not dictionaries:
        encoding |= dict.fromkeys(whole, "DELTA_BINARY_PACKED")
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": plain if dictionaries else False,
        "write_statistics": plain,
        "column_encoding": encoding,
    }


def with_note(schema: pa.Schema, metadata: dict[str, Any] | None) -> pa.Schema:
    """Return `schema` with `metadata` as JSON under `METADATA_KEY`, and nothing else."""
    return schema.with_metadata({METADATA_KEY: json.dumps(metadata or {}, sort_keys=True, default=str).encode()})


class RowGroupWriter:
    """One Parquet file in memory with one row group, filled table by table.

    pyarrow makes a row group of each table that it is given, and would hold all rows to make it one. This encodes
    each table at once and keeps the compressed pages only; at the end those of each column are laid one after
    the other. The same tables give the same bytes; other lengths of tables give other pages.

    Parameters
    ----------
    schema : pyarrow.Schema
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._sink = io.BytesIO()
        self._writer = pq.ParquetWriter(self._sink, schema, **writer_options(schema, dictionaries=False))
        self._empty: pa.Table | None = schema.empty_table()

    def write(self, table: pa.Table) -> None:
        """Append rows; raises ValueError where the columns are not those of the schema."""
        if table.num_rows:
            self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            self._empty = None

    def close(self) -> bytes:
        """Return the file. Where nothing was written, its row group is empty."""
        if self._empty is not None:
            self._writer.write_table(self._empty)
        self._writer.close()
        return _one_row_group(self._sink.getvalue())


def encode(table: pa.Table) -> bytes:
    """Return a table as a Parquet file of one row group."""
    writer = RowGroupWriter(table.schema)
    writer.write(table)
    return writer.close()


def join(sink: BinaryIO, parts: Iterable[bytes], metadata: dict[str, Any] | None = None) -> int:
    """Write Parquet files as one, without decoding them, and return its number of rows.

    Parameters
    ----------
    sink : file object
        Written from start to end.
    parts : iterable of bytes
        Parquet files of one schema; their order is that of the rows. At least one.
    metadata : dict, optional
        JSON-serialisable; replaces that of the parts.

    Raises
    ------
    ValueError
        Where there is no part, one is no Parquet file, or its columns are not those of the first.
    """
    sink.write(MAGIC)
    end, n_rows = len(MAGIC), 0
    first, schema = None, pa.schema([])
    groups: list[bytes] = []  # as bytes they are a fiftieth of the size of the objects
    for number, part in enumerate(parts, 1):
        footer = read_footer(part)
        if first is None:
            first, schema = footer, _schema(part)
        # To compare bytes is quicker than to compare schemas; they differ where the parts' own metadata does.
        elif footer.schema != first.schema or footer.key_value_metadata != first.key_value_metadata:
            _require_same(schema, _schema(part), number)
        for group in footer.row_groups or []:
            shift(group, end - len(MAGIC))
            groups.append(bytes(group.to_bytes()))
            n_rows += group.num_rows
        body = memoryview(part)[len(MAGIC) : len(part) - 8 - _footer_size(part)]
        sink.write(body)
        end += len(body)
    if first is None:
        raise ValueError("there is no part to join")
    noted = io.BytesIO()
    pq.write_metadata(with_note(schema, metadata), noted)
    first.key_value_metadata = read_footer(noted.getvalue()).key_value_metadata
    first.num_rows = n_rows
    sink.write(footer_bytes(first, groups))
    return n_rows


def _schema(part: bytes) -> pa.Schema:
    return pq.read_schema(pa.BufferReader(part))


def _require_same(schema: pa.Schema, other: pa.Schema, number: int) -> None:
    if other.names != schema.names:
        raise ValueError(f"parts differ in columns: {other.names} in part {number}, {schema.names} in the first")
    for want, have in zip(schema, other, strict=True):
        if not have.equals(want):
            raise ValueError(
                f"parts differ in columns: {want.name} {have.type} in part {number}, {want.type} in the first"
            )


def _footer_size(part: bytes) -> int:
    return int.from_bytes(part[-8:-4], "little")


def read_footer(part: bytes) -> Any:
    """Return the footer of a Parquet file, as fastparquet's object of the format's ``FileMetaData``.

    Raises
    ------
    ValueError
        Where it is no whole Parquet file.
    """
    from fastparquet.cencoding import from_buffer

    size = _footer_size(part)
    if len(part) < 12 or part[:4] != MAGIC or part[-4:] != MAGIC or size > len(part) - 12:
        raise ValueError("a part is no whole Parquet file")
    return from_buffer(part[-8 - size : -8], "FileMetaData")


def footer_bytes(footer: Any, groups: list[bytes]) -> bytes:
    """Return what follows the last row group of a file: a footer with other row groups, its length, the end.

    Parameters
    ----------
    footer : fastparquet.cencoding.ThriftObject
        Its own row groups are left out.
    groups : list of bytes
        Row groups in thrift's compact protocol, in which a list of structs is its length and their bytes.
    """
    from fastparquet.cencoding import ThriftObject

    start = footer.copy()
    start.row_groups = []
    for name in ("key_value_metadata", "created_by", "column_orders"):
        setattr(start, name, None)
    head = bytes(start.to_bytes())[:-2]  # less the header of the empty list, and the end
    footer.row_groups = [ThriftObject("RowGroup", {})]
    tail = bytes(footer.to_bytes())[len(head) + 2 :]  # less the header of the list of one, and that one
    content = b"".join([head, _struct_list_header(len(groups)), *groups, tail])
    return content + len(content).to_bytes(4, "little") + MAGIC


def _struct_list_header(n: int) -> bytes:
    if n < 15:
        return bytes([n << 4 | 12])
    out = [0xFC]
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def shift(group: Any, by: int) -> None:
    """Move a row group of a footer by some bytes."""

    def move(thing: Any, *names: str) -> None:
        for name in names:
            if getattr(thing, name):
                setattr(thing, name, getattr(thing, name) + by)

    move(group, "file_offset")
    group.ordinal = None  # its type, a short integer, is lost in fastparquet, and only encrypted files need it
    for column in group.columns:
        move(column, "file_offset", "offset_index_offset", "column_index_offset")
        move(column.meta_data, "data_page_offset", "index_page_offset", "dictionary_page_offset")


def _one_row_group(content: bytes) -> bytes:
    """Make the row groups of a file, none with a dictionary, one: the pages of each column follow each other."""
    footer = read_footer(content)
    if len(footer.row_groups) == 1:
        return content
    groups, parsed = footer.row_groups, pq.read_metadata(pa.BufferReader(content))
    whole = groups[0]
    out = [MAGIC]
    end = len(MAGIC)
    for i, column in enumerate(whole.columns):
        each = [group.columns[i].meta_data for group in groups]
        pages = [content[m.data_page_offset : m.data_page_offset + m.total_compressed_size] for m in each]
        meta = column.meta_data
        if meta.statistics is not None:
            _cover(
                [m.statistics for m in each],
                [parsed.row_group(g).column(i).statistics for g in range(len(groups))],
            )
        for name in ("num_values", "total_compressed_size", "total_uncompressed_size"):
            setattr(meta, name, sum(getattr(m, name) for m in each))
        meta.data_page_offset, meta.encoding_stats = end, None
        out += pages
        end += meta.total_compressed_size
    for name in ("num_rows", "total_byte_size", "total_compressed_size"):
        setattr(whole, name, sum(getattr(group, name) for group in groups))
    whole.ordinal = None
    footer.num_rows = whole.num_rows
    return b"".join([*out, footer_bytes(footer, [bytes(whole.to_bytes())])])


def _cover(each: list[Any], parsed: list[pq.Statistics]) -> None:
    """Let the statistics of a column in the first of some row groups cover all of them."""
    whole = each[0]
    whole.null_count = sum(statistics.null_count for statistics in each)
    with_values = [i for i, statistics in enumerate(parsed) if statistics.num_values]
    if all(parsed[i].has_min_max for i in with_values):
        low = min(with_values, key=lambda i: parsed[i].min_raw, default=0)
        high = max(with_values, key=lambda i: parsed[i].max_raw, default=0)
        bounds = each[low].min, each[low].min_value, each[high].max, each[high].max_value
    else:  # a column of which nothing is known in some rows
        bounds = None, None, None, None
    whole.min, whole.min_value, whole.max, whole.max_value = bounds


def group_keys(metadata: pq.FileMetaData) -> list[tuple[str, int] | None]:
    """Return fibre and channel of each row group, from statistics; None for an empty one.

    Raises
    ------
    ValueError
        Where a row group holds several channels.
    """
    names = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    fibre, channel = names.index("fibre"), names.index("channel")
    keys: list[tuple[str, int] | None] = []
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        if not group.num_rows:
            keys.append(None)
            continue
        names_of, channels = group.column(fibre).statistics, group.column(channel).statistics
        if (names_of.min_raw, channels.min_raw) != (names_of.max_raw, channels.max_raw):
            raise ValueError(f"row group {i} holds several channels: materialize the day again")
        keys.append((names_of.min, channels.min))
    return keys
