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

    pyarrow holds all rows of a row group until it is whole. This encodes each table at once and keeps no more than
    that; at the end the pages of each column are laid one after the other.

    Parameters
    ----------
    schema : pyarrow.Schema
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._parts: list[bytes] = []

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        if table.num_rows:
            self._parts.append(encode(table))

    def close(self) -> bytes:
        """Return the file; an empty one where nothing was written."""
        parts = self._parts or [encode(self._schema.empty_table())]
        return parts[0] if len(parts) == 1 else _one_row_group(parts)


def encode(table: pa.Table) -> bytes:
    """Return a table as a Parquet file of one row group, whose pages may be joined with others'."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, **writer_options(table.schema, dictionaries=False)) as writer:
        writer.write_table(table, row_group_size=1 << 30)
    return sink.getvalue()


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
        Where a part is no Parquet file, or its columns are not those of the first.
    """
    sink.write(MAGIC)
    end, footer, schema, groups = len(MAGIC), None, None, []
    for part in parts:
        found, own = read_footer(part), pq.read_schema(pa.BufferReader(part))
        if footer is None:
            footer, schema = found, own
        elif not own.equals(schema):
            raise ValueError(f"parts differ in columns: {_named(own)} is not {_named(schema)}")
        body = memoryview(part)[len(MAGIC) : len(part) - 8 - _footer_size(part)]
        for group in found.row_groups or []:
            shift(group, end - len(MAGIC))
            groups.append(group)
        sink.write(body)
        end += len(body)
    if footer is None:
        raise ValueError("no part to join")
    noted = io.BytesIO()
    pq.write_metadata(with_note(schema, metadata), noted)
    footer.key_value_metadata = read_footer(noted.getvalue()).key_value_metadata
    footer.row_groups = groups
    footer.num_rows = sum(group.num_rows for group in groups)
    sink.write(_footer_bytes(footer))
    return footer.num_rows


def _named(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def _footer_size(part: bytes) -> int:
    return int.from_bytes(part[-8:-4], "little")


def _footer_bytes(footer: Any) -> bytes:
    content = bytes(footer.to_bytes())
    return content + len(content).to_bytes(4, "little") + MAGIC


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


def _one_row_group(parts: list[bytes]) -> bytes:
    """Join files of one row group each, none with a dictionary, to a file of one row group."""
    footers = [read_footer(part) for part in parts]
    statistics = [pq.read_metadata(pa.BufferReader(part)).row_group(0) for part in parts]
    footer, groups = footers[0], [f.row_groups[0] for f in footers]
    out = [MAGIC]
    end = len(MAGIC)
    for i, column in enumerate(groups[0].columns):
        each = [group.columns[i].meta_data for group in groups]
        for part, of_part in zip(parts, each, strict=True):
            at = of_part.data_page_offset
            out.append(part[at : at + of_part.total_compressed_size])
        whole = column.meta_data
        if whole.statistics is not None:
            _cover(whole.statistics, each, [group.column(i).statistics for group in statistics])
        for name in ("num_values", "total_compressed_size", "total_uncompressed_size"):
            setattr(whole, name, sum(getattr(of_part, name) for of_part in each))
        whole.data_page_offset, whole.encoding_stats = end, None
        end += whole.total_compressed_size
    for name in ("num_rows", "total_byte_size", "total_compressed_size"):
        setattr(groups[0], name, sum(getattr(group, name) for group in groups))
    groups[0].file_offset = len(MAGIC)
    footer.num_rows = groups[0].num_rows
    return b"".join([*out, _footer_bytes(footer)])


def _cover(whole: Any, each: list[Any], values: list[pq.Statistics]) -> None:
    """Let the statistics of a column cover those of all its parts."""
    low = min(range(len(values)), key=lambda i: values[i].min)
    high = max(range(len(values)), key=lambda i: values[i].max)
    least, most = each[low].statistics, each[high].statistics
    least, most = (least.min, least.min_value), (most.max, most.max_value)
    (whole.min, whole.min_value), (whole.max, whole.max_value) = least, most
    whole.null_count = sum(of_part.statistics.null_count or 0 for of_part in each)


def shift(group: Any, by: int) -> None:
    """Move a row group of a footer by some bytes."""
    if group.file_offset:
        group.file_offset += by
    for column in group.columns:
        if column.file_offset:
            column.file_offset += by
        meta = column.meta_data
        for name in ("data_page_offset", "dictionary_page_offset", "index_page_offset", "bloom_filter_offset"):
            if getattr(meta, name) is not None:
                setattr(meta, name, getattr(meta, name) + by)


def group_keys(metadata: pq.FileMetaData) -> list[tuple[str, int] | None]:
    """Return fibre and channel of each row group, from statistics; None for an empty one.

    Every row group of a per-channel table holds one channel.
    """
    names = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    fibre, channel = names.index("fibre"), names.index("channel")
    keys: list[tuple[str, int] | None] = []
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        if group.num_rows:
            keys.append((group.column(fibre).statistics.min, group.column(channel).statistics.min))
        else:
            keys.append(None)
    return keys
