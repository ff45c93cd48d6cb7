"""Parquet as the project writes it, and files that are joined without being decoded.

Parts of a day are encoded where they are computed. Their bytes follow each other in the day's one file, and only
its footer is written anew: whoever joins them moves bytes and nothing else.
"""

import functools
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dasanom_assets.tables.footer import (
    MAGIC,
    body,
    footer_bytes,
    read_footer,
    shift,
    thrift_bytes,
    varint,
)
from dasanom_assets.tables.groups import Listing, together
from dasanom_assets.tables.pages import BYTE_STREAM_SPLIT, RLE, page_start

METADATA_KEY = b"dasanom"
"""Schema metadata: one JSON object with the settings and inputs behind a table."""
DIGEST_KEY = b"dasanom.digest"
"""Footer: SHA-256 of all that precedes it, which is the rows as they are stored, and of the note on them."""
RECORD_KEY = b"dasanom.made_of"
"""Footer: what the step read that made the table; see `provenance`."""
ROW_GROUP_ROWS = 1 << 20
"""A longer table is written as several row groups."""
ZSTD_LEVEL = 1


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
        "compression_level": ZSTD_LEVEL,
        "use_dictionary": plain if dictionaries else False,
        "write_statistics": plain,
        "column_encoding": encoding,
    }


def with_note(schema: pa.Schema, metadata: dict[str, Any] | None) -> pa.Schema:
    """Return `schema` with `metadata` as JSON under `METADATA_KEY`, and nothing else."""
    return schema.with_metadata({METADATA_KEY: json.dumps(metadata or {}, sort_keys=True, default=str).encode()})


class HashingSink:
    """A file that is written to, and the SHA-256 of what was written so far."""

    closed = False

    def __init__(self, sink: BinaryIO) -> None:
        self._sink, self._hash = sink, hashlib.sha256()

    def write(self, content: bytes | memoryview) -> int:
        """Write bytes and return their number."""
        self._hash.update(content)
        return self._sink.write(content)

    def flush(self) -> None:
        """Do nothing: the owner of the file flushes it."""

    def digest(self, note: bytes) -> bytes:
        """Return the SHA-256 of what was written and of a note, as hexadecimal digits."""
        digest = self._hash.copy()
        digest.update(note)
        return digest.hexdigest().encode()


class RowGroupWriter:
    """One Parquet file in memory with one row group, filled table by table.

    pyarrow makes a row group of each table that it is given, and would hold all rows to make it one; it also
    spends most of the time of a vector on repetition levels, which are the same for all of one length. Here a
    table's vectors become a page at once, and only the compressed pages are kept. The other columns are small;
    pyarrow writes them at the end. The same tables give the same bytes; other lengths of tables give other pages.

    Parameters
    ----------
    schema : pyarrow.Schema
        Columns that are not nested, and fixed-size lists of float32.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._vectors = list(_vectors(schema))
        self._template = _template(schema)
        self._pages: dict[str, list[Page]] = {name: [] for name in self._vectors}
        self._others = [schema.empty_table().drop(self._vectors)]

    def write(self, table: pa.Table) -> None:
        """Append rows; raises ValueError where the columns are not those of the schema, or a vector is missing."""
        self.add(table.drop(self._vectors), {name: [page] for name, page in _table_pages(table).items()})

    def add(self, others: pa.Table, vectors: "Mapping[str, Sequence[Page]]") -> None:
        """Append rows whose vectors are pages already: see `vector_page`; raises as `write`."""
        if not others.schema.equals(self._others[0].schema):
            raise ValueError(f"columns {others.schema.names} do not fit {self._others[0].schema.names}")
        if not others.num_rows:
            return
        for name, pages in self._pages.items():
            pages += vectors[name]
        self._others.append(others)

    def close(self) -> bytes:
        """Return the file. Where nothing was written, its row group is empty."""
        table = pa.concat_tables(self._others)
        if not table.num_rows:
            return self._template
        content = _written(table.combine_chunks())
        plain, footer = read_footer(content), read_footer(self._template)
        (group,), (written,) = footer.row_groups, plain.row_groups
        pieces: list[bytes | memoryview] = [MAGIC, body(content)]
        end, others, columns = sum(map(len, pieces)), iter(written.columns), []
        for column in group.columns:
            pages = self._pages.get(column.meta_data.path_in_schema[0])
            if pages is None:
                columns.append(next(others))
                continue
            meta = column.meta_data
            meta.num_values = sum(page.n_values for page in pages)
            meta.total_compressed_size = sum(len(page.content) for page in pages)
            meta.total_uncompressed_size = sum(page.full_size for page in pages)
            meta.data_page_offset, meta.encoding_stats = end, None
            meta.encodings = [BYTE_STREAM_SPLIT, RLE]
            pieces += [page.content for page in pages]
            end += meta.total_compressed_size
            columns.append(column)
        group.columns = columns
        group.num_rows = footer.num_rows = written.num_rows
        group.total_byte_size = sum(c.meta_data.total_uncompressed_size for c in columns)
        group.total_compressed_size = sum(c.meta_data.total_compressed_size for c in columns)
        group.ordinal = None
        return b"".join([*pieces, footer_bytes(footer, [thrift_bytes(group)])])


@dataclass(frozen=True)
class Page:
    """A data page with its header, the number of its values, and its size before compression.

    Several that follow each other are one, too.
    """

    content: bytes
    n_values: int
    full_size: int

    @classmethod
    def joined(cls, pages: "Sequence[Page]") -> "Page":
        """Return pages that follow each other as one."""
        if len(pages) == 1:
            return pages[0]
        sizes = (sum(page.n_values for page in pages), sum(page.full_size for page in pages))
        return cls(b"".join([page.content for page in pages]), *sizes)


def _table_pages(table: pa.Table) -> dict[str, Page]:
    """Return each column of vectors as a page, none of a table without rows; ValueError where one is missing."""
    pages = {}
    for name in _vectors(table.schema) if table.num_rows else ():
        column = table[name].combine_chunks()
        if column.null_count or column.flatten().null_count:
            raise ValueError("a vector is missing: levels without a value are NaN")
        pages[name] = vector_page(column.flatten().to_numpy().reshape(len(column), -1), table.schema.field(name))
    return pages


@functools.lru_cache(maxsize=8)
def _vectors(schema: pa.Schema) -> list[str]:
    """Return the names of the columns of vectors."""
    return [f.name for f in schema if pa.types.is_fixed_size_list(f.type)]


def vector_page(vectors: np.ndarray, field: pa.Field) -> Page:
    """Return a column of vectors as one data page: levels, then values byte by byte, compressed.

    The format's levels say where a list starts and what is missing. Where all lists have one length and nothing is
    missing they are runs: of a 0 and ones for each list, and of the highest definition level.

    Parameters
    ----------
    vectors : numpy.ndarray
        float32, shape (n, size) with n of at least 1.
    field : pyarrow.Field
        The column: a fixed-size list, whose place in the schema does not matter.
    """
    n = vectors.size
    head = _levels(*vectors.shape, 1 + field.nullable + field.type.value_field.nullable)
    page = np.empty(len(head) + 4 * n, np.uint8)
    page[: len(head)] = np.frombuffer(head, np.uint8)
    from dasanom_assets.tables.byte_split import (
        split_bytes,
    )  # its compiler is slow to load, and few tables need it

    split_bytes(np.ascontiguousarray(vectors).reshape(-1).view(np.uint32), page[len(head) :])
    packed = pa.Codec("zstd", ZSTD_LEVEL).compress(page, asbytes=True)
    before, after = page_start(n, len(page))
    start = before + varint(2 * len(packed)) + after
    return Page(start + packed, n, len(start) + len(page))


@functools.lru_cache(maxsize=64)
def _levels(n: int, size: int, definition: int) -> bytes:
    """Return the levels of repetition and of definition of so many lists, with their lengths."""
    starts = _run(n, 0) if size == 1 else (_run(1, 0) + _run(size - 1, 1)) * n
    parts = starts, _run(n * size, definition)
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def _run(n: int, value: int) -> bytes:
    """Return a run of one level in the format's run-length encoding."""
    return varint(n << 1) + bytes([value])


@functools.lru_cache(maxsize=8)
def _template(schema: pa.Schema) -> bytes:
    return _written(schema.empty_table())


def _written(table: pa.Table) -> bytes:
    """Return a table as pyarrow writes it, in one row group."""
    sink = io.BytesIO()
    options = writer_options(table.schema, dictionaries=False)
    pq.write_table(table, sink, row_group_size=max(1, table.num_rows), **options)
    return sink.getvalue()


def encode(table: pa.Table) -> bytes:
    """Return a table as a Parquet file of one row group."""
    writer = RowGroupWriter(table.schema)
    writer.write(table)
    return writer.close()


def join(
    sink: BinaryIO,
    parts: Iterable[bytes | Sequence[bytes]],
    metadata: dict[str, Any] | None = None,
    record: Callable[[], dict[bytes, bytes]] = dict,
    describe: Callable[[pa.Schema], pa.Schema] = lambda schema: schema,
) -> int:
    """Write Parquet files as one, without decoding them, and return its number of rows.

    Parameters
    ----------
    sink : file object
        Written from start to end.
    parts : iterable of bytes
        Parquet files of one schema; their order is that of the rows. At least one. Several files of one channel
        each, in a sequence, become one row group: see `groups`.
    metadata : dict, optional
        JSON-serialisable; replaces that of the parts.
    record : callable
        Called once all parts are written: what else the footer holds.
    describe : callable
        Adds to the schema what its columns mean.

    Raises
    ------
    ValueError
        Where there is no part, one is no Parquet file, or its columns are not those of the first.
    """
    hashing = HashingSink(sink)
    hashing.write(MAGIC)
    end, n_rows = len(MAGIC), 0
    first, schema = None, pa.schema([])
    groups: list[bytes] = []  # as bytes they are a fiftieth of the size of the objects
    listing = Listing()
    for number, part in enumerate(parts, 1):
        files = [part] if isinstance(part, bytes) else part
        footers = [read_footer(file) for file in files]
        for footer, file in zip(footers, files, strict=True):
            if first is None:
                first, schema = footer, _schema(file)
            # To compare bytes is quicker than to compare schemas; they differ where the parts' own metadata does.
            elif footer.schema != first.schema or footer.key_value_metadata != first.key_value_metadata:
                _require_same(schema, _schema(file), number)
        if isinstance(part, bytes):
            content = [body(part)]
            entries = footers[0].row_groups or []
            for entry in entries:
                shift(entry, end - len(MAGIC))
        else:
            joined = together(files, footers, end)
            listing.add(len(groups), joined)
            content, entries = [*joined.content, memoryview(joined.inner)], [joined.group]
        groups += map(thrift_bytes, entries)
        n_rows += sum(entry.num_rows for entry in entries)
        for rows in content:
            hashing.write(rows)
            end += len(rows)
    if first is None:
        raise ValueError("there is no part to join")
    noted = with_note(schema, metadata)
    keys = {DIGEST_KEY: hashing.digest(noted.metadata[METADATA_KEY])} | listing.footer() | record()
    first.key_value_metadata = _key_values(describe(noted)) + [
        pair for pair in _key_values(pa.schema([], keys)) if pair.key in keys
    ]
    first.num_rows = n_rows
    sink.write(footer_bytes(first, groups))
    return n_rows


def _key_values(schema: pa.Schema) -> list[Any]:
    """Return keys and values as they stand in the footer of a file of a schema."""
    sink = io.BytesIO()
    pq.write_metadata(schema, sink)
    return read_footer(sink.getvalue()).key_value_metadata


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
