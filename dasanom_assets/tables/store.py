"""The data root: days of tables replaced whole, models, reports and landing files, local or remote.

One day of a table is one Parquet file. Replacing one file is atomic on a local disk (rename) and on object
stores (a put is all or nothing), so a reader sees the old rows or the new rows and a killed writer leaves the
old ones. A file that is being written carries a name that no reader looks for.

It is one file of more than 350 lines: reading, replacing and locking a path are one promise on two storages.
"""

import contextlib
import copy
import errno
import fcntl
import fnmatch
import glob
import hashlib
import itertools
import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from dasanom_assets.tables import parquet
from dasanom_assets.tables.columns import described
from dasanom_assets.tables.contract import Contract
from dasanom_assets.tables.parquet import METADATA_KEY
from dasanom_assets.tables.schemas import in_memory, in_memory_schema, mismatch, stored, stored_schema
from dasanom_assets.tables.trimming import gone_through

READ_AHEAD = 4 << 20
"""Bytes that are read beyond what is asked for, remotely: one channel's hour is half of it."""


class MissingDayError(LookupError):
    """A day of a table that has not been materialized."""


class StorageFullError(OSError):
    """There is no space left to write a file; the one that it was to replace is untouched."""


class Store:
    """The data root.

    Parameters
    ----------
    root : str
        Local folder or fsspec URL.

    Raises
    ------
    ValueError
        Where the URL holds a password, which would show wherever a path is named.
    """

    def __init__(self, root: str) -> None:
        if re.search(r"://[^/]*:(?!\d*(/|$))", root):  # a colon that does not lead to a port
            raise ValueError("the data root's URL holds a password; give keys in the environment, as AWS_… for S3")
        # Other programs write there too: what a listing has told is not true for long.
        self.fs, self._base = fsspec.core.url_to_fs(root, use_listings_cache=False)
        self.is_local = "file" in (
            self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,)
        )
        self._base = self._base.rstrip("/")
        self._apart: tuple[str, str] | None = None
        self._selected: frozenset[str] | None = None
        self._aside: tuple[str, tuple[str, ...]] = "", ()

    @property
    def unnoted(self) -> "Store":
        """The store itself, for what is looked up and has no part in what is made."""
        return self

    # -- paths ------------------------------------------------------------------------------------------

    def full(self, path: str) -> str:
        """Return the path that the file system understands for `path`, relative to the root."""
        folder, moved = self._aside
        if any(path == other or path.startswith(f"{other}/") for other in moved):
            path = f"{folder}/{path}"
        return f"{self._base}/{path}" if path else self._base

    def aside(self, folder: str, paths: Iterable[str]) -> "Store":
        """Return this store as one that has some files and folders, by their paths, below `folder`.

        Examples
        --------
        >>> aside = Store("/data").aside("trial", ["models/live.json", "tables/anomaly_events"])
        >>> aside.full("tables/anomaly_events/day=2026-01-05")
        '/data/trial/tables/anomaly_events/day=2026-01-05'
        >>> aside.full("tables/background")
        '/data/tables/background'
        """
        other = copy.copy(self)
        other._aside = folder, tuple(paths)
        return other

    def url(self, path: str) -> str:
        """Return a URL without secrets that names `path` to a person or program."""
        return self.fs.unstrip_protocol(self.full(path))

    def relative(self, full: str) -> str:
        """Undo `full`."""
        return full.removeprefix(self._base).lstrip("/")

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder."""
        return self.fs.exists(self.full(path))

    def listing(self, folder: str, *, recursive: bool = False) -> list[dict[str, Any]]:
        """Return files below `folder`, sorted: ``{"path", "size", "modified"}``; none where it is missing.

        Files that are being written, or that killed writers left, are not among them.
        ``modified`` is seconds since 1970 (float).
        """
        if not self.fs.isdir(self.full(folder)):
            return []
        files = self.fs.find(self.full(folder), maxdepth=None if recursive else 1, detail=True)
        return [
            {"path": self.relative(name), "size": info["size"] or 0, "modified": _modified(info)}
            for name, info in sorted(files.items())
            if not fnmatch.fnmatch(PurePosixPath(name).name, _partial("*", "*"))
        ]

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders directly below `folder`, sorted."""
        if not self.fs.isdir(self.full(folder)):
            return []
        entries = self.fs.ls(self.full(folder), detail=True)
        return sorted(PurePosixPath(e["name"]).name for e in entries if e["type"] == "directory")

    @contextmanager
    def local(self, path: str, *beside: str) -> Iterator[Path]:
        """Give a local path to read `path` from: itself on a disk, a temporary copy otherwise.

        `beside` are files of the same folder that its reader looks for; they are copied along.
        """
        if self.is_local:
            yield Path(self.full(path))
            return
        with tempfile.TemporaryDirectory(prefix="dasanom-") as folder:
            for name in (path, *beside):
                self.fs.get_file(self.full(name), str(Path(folder) / PurePosixPath(name).name))
            yield Path(folder) / PurePosixPath(path).name

    # -- bytes ------------------------------------------------------------------------------------------

    def read_bytes(self, path: str) -> bytes:
        """Return a file's content."""
        return self.fs.cat_file(self.full(path))

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """Return bytes ``[start, end)`` of a file.

        Raises
        ------
        OSError
            Where the file ends before.
        """
        if start == end:
            return b""
        try:
            if self.is_local:  # fsspec takes as long to open a file as to read a piece of it
                with open(self.full(path), "rb") as file:
                    file.seek(start)
                    content = file.read(end - start)
            else:
                content = self.fs.cat_file(self.full(path), start=start, end=end)
        except OSError as error:
            if (
                error.errno != errno.EINVAL or self.fs.size(self.full(path)) > start
            ):  # S3 says so where a range begins behind the end
                raise
            content = b""
        if len(content) != end - start:
            size = self.fs.size(self.full(path))
            raise OSError(f"{path} ends early: {size} bytes of at least {end}; was it replaced?")
        return content

    def write_bytes(self, path: str, content: bytes) -> str:
        """Replace a file whole and return its URL."""
        with self._replacing(path) as sink:
            sink.write(content)
        return self.url(path)

    def read_json(self, path: str) -> Any:
        """Return a JSON file's content."""
        return json.loads(self.read_bytes(path))

    def write_json(self, path: str, content: Any) -> str:
        """Replace a JSON file whole and return its URL."""
        return self.write_bytes(path, json.dumps(content, indent=1, sort_keys=True, default=str).encode())

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.full(path))

    @contextmanager
    def _replacing(self, path: str) -> Iterator[Any]:
        """Give a file to write to, which takes the place of `path` when the context is left without an error."""
        try:
            with (self._replacing_local if self.is_local else self._replacing_remote)(self.full(path)) as sink:
                yield sink
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and not isinstance(error, StorageFullError):
                raise StorageFullError(
                    error.errno,
                    f"no space left for {path}: free some and run again; the old one is untouched",
                ) from error
            raise

    @contextmanager
    def _replacing_remote(self, target: str) -> Iterator[Any]:
        # Not fs.transaction: that is one for all threads of a file system.
        sink = self.fs.open(target, "wb", autocommit=False)
        try:
            yield sink
            sink.close()
            sink.commit()
        except BaseException:
            with contextlib.suppress(Exception):  # what led here is told; an upload that stays open shows nowhere
                sink.closed = True  # or it would be sent after all when it is collected
                sink.discard()
            raise

    @contextmanager
    def _replacing_local(self, target: str) -> Iterator[Any]:
        final = Path(target)
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(final)
        with _open_locked(final) as sink:
            partial = Path(sink.name)
            try:
                yield sink
                sink.flush()
                os.fsync(sink.fileno())
                os.replace(partial, target)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    # -- tables -----------------------------------------------------------------------------------------

    def part_of_day(self, day: str, folder: str, files: Collection[str]) -> "Store":
        """Return this store as one in which a day is made of some of its files, and has its tables elsewhere.

        Other days, models and reports are those of this store.

        Parameters
        ----------
        day : str
            ISO day.
        folder : str
            Relative to the root: where the tables of the day are, one file each.
        files : collection of str
            Paths in `landing/`; others, those of other days too, are passed over.
        """
        part = copy.copy(self)
        part._apart, part._selected = (day, folder), frozenset(files)
        return part

    def selects(self, path: str) -> bool:
        """Whether a file in `landing/` is one that days are made of: all are, but in a `part_of_day`."""
        return self._selected is None or path in self._selected

    def day_path(self, table: str, day: str) -> str:
        """Return the path of a day of a table, relative to the root."""
        if self._apart and day == self._apart[0]:
            return f"{self._apart[1]}/{table}.parquet"
        return f"tables/{table}/day={day}/{table}.parquet"

    def days(self, table: str, first: str = "", last: str = "9999") -> list[str]:
        """Return the days that a table has, sorted, from `first` to `last`."""
        names = self.folders(f"tables/{table}")
        days = [name.removeprefix("day=") for name in names if name.startswith("day=")]
        if self._apart:
            days = sorted({*days, self._apart[0]})
        return [day for day in days if first <= day <= last and self.exists(self.day_path(table, day))]

    def has_day(self, table: str, day: str) -> bool:
        """Whether the day of the table has been materialized."""
        return self.exists(self.day_path(table, day))

    def write_day(
        self,
        table: str,
        day: str,
        rows: pa.Table | Iterable[pa.Table],
        metadata: dict[str, Any] | None = None,
    ) -> int:
        """Replace a day of a table whole.

        Parameters
        ----------
        table, day : str
            Name of a table of `schemas.SCHEMAS`, and ISO day.
        rows : pyarrow.Table or iterable of them
            An iterable is written as it comes, each item as one row group, in bounded memory; it must
            yield at least one table.
        metadata : dict, optional
            JSON-serialisable; kept in the schema's metadata.

        Returns
        -------
        int
            Rows written.

        Raises
        ------
        ValueError
            Where the columns are not those of the contract; the old day stays.
        """
        with self._writing(table, day, metadata) as write:
            return sum(map(write, [rows] if isinstance(rows, pa.Table) else rows))

    def write_days(
        self, day: str, rows: Iterable[Mapping[str, pa.Table]], metadata: Mapping[str, dict[str, Any]]
    ) -> None:
        """Replace a day of several tables whole, once all rows are there.

        Parameters
        ----------
        day : str
            ISO day.
        rows : iterable of mapping
            From the table's name to its next row group; the first has all tables.
        metadata : mapping of str to dict
            The notes of the tables; see `write_day`.
        """
        with contextlib.ExitStack() as stack:
            writers = {
                table: stack.enter_context(self._writing(table, day, note)) for table, note in metadata.items()
            }
            for number, tables in enumerate(rows):
                for table, group in tables.items():
                    if group.num_rows or not number:
                        writers[table](group)

    @contextmanager
    def _writing(
        self, table: str, day: str, metadata: dict[str, Any] | None
    ) -> Iterator[Callable[[pa.Table], int]]:
        """Give what writes rows and returns their number; the day is replaced when the context is left."""
        with self._replacing(self.day_path(table, day)) as file:
            sink = parquet.HashingSink(file)
            writer: pq.ParquetWriter | None = None
            schema, contract = pa.schema([]), Contract(table, day)

            def write(rows: pa.Table) -> int:
                nonlocal writer, schema
                if writer is None:
                    if wrong := mismatch(table, rows.schema):
                        raise ValueError(wrong)
                    schema = described(table, parquet.with_note(stored_schema(table, rows.schema), metadata))
                    writer = pq.ParquetWriter(sink, schema, **parquet.writer_options(schema))
                contract.add(rows)
                rows = stored(table, rows).replace_schema_metadata(schema.metadata)
                writer.write_table(rows, row_group_size=parquet.ROW_GROUP_ROWS)
                gone_through(rows.nbytes)
                return rows.num_rows

            try:
                yield write
                assert writer is not None, "a day needs at least one table, which may be empty"
                keys = {parquet.DIGEST_KEY: sink.digest(schema.metadata[METADATA_KEY])} | contract.footer()
                writer.add_key_value_metadata(keys | self._record(table, day))
            finally:
                if writer is not None:
                    writer.close()

    def write_day_parts(
        self,
        table: str,
        day: str,
        parts: Iterable[bytes | Sequence[bytes]],
        metadata: dict[str, Any] | None = None,
    ) -> int:
        """Replace a day of a table whole with rows that are Parquet already; see `parquet.join`.

        Parameters
        ----------
        table, day : str
            Name of a table of `schemas.SCHEMAS`, and ISO day.
        parts : iterable of bytes or sequence of bytes
            Parquet files, at least one; taken one at a time. Those of a sequence become one row group.
        metadata : dict, optional
            JSON-serialisable; kept in the schema's metadata.

        Returns
        -------
        int
            Rows written.

        Raises
        ------
        ValueError
            Where the columns are not those of the contract; the old day stays.
        """
        contract, parts = Contract(table, day), iter(parts)
        first = next(parts)
        file = first if isinstance(first, bytes) else first[0]
        if wrong := mismatch(table, pq.read_schema(pa.BufferReader(file))):
            raise ValueError(wrong)
        with self._replacing(self.day_path(table, day)) as sink:
            parts = contract.looked_at(itertools.chain([first], parts))
            return parquet.join(
                sink,
                parts,
                metadata,
                lambda: contract.footer() | self._record(table, day),
                lambda schema: described(table, schema),
            )

    def _record(self, table: str, day: str) -> dict[bytes, bytes]:
        """Return what the footer of a table says of how it was made: nothing, where no step makes it."""
        return {}

    def drop_day(self, table: str, day: str) -> None:
        """Remove a day of a table; nothing happens where it is not there."""
        if self.has_day(table, day):
            self.fs.rm_file(self.full(self.day_path(table, day)))

    def open_day(self, table: str, day: str, known: pq.FileMetaData | None = None) -> "DayFile":
        """Open a day of a table, to read it by row group; `known` is the footer of an earlier opening.

        Raises
        ------
        MissingDayError
            Where it has not been materialized.
        """
        path = self.day_path(table, day)
        if not self.exists(path):
            raise MissingDayError(f"{table} has no day {day} yet: materialize {table} for {day} first")
        source = self.fs.open(self.full(path), "rb", block_size=READ_AHEAD)
        # The columns of a row group come by one request.
        return DayFile(table, source, metadata=known, pre_buffer=True)

    def read_day(self, table: str, day: str, columns: list[str] | None = None) -> pa.Table:
        """Return a day of a table; raises as `open_day`."""
        with self.open_day(table, day) as file:
            return file.read(columns=columns)

    def iter_day(self, table: str, day: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield a day of a table by row group, for work in bounded memory; raises as `open_day`."""
        with self.open_day(table, day) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=columns)

    def metadata(self, table: str, day: str) -> dict[str, Any]:
        """Return what `write_day` was given as metadata; raises as `open_day`."""
        with self.open_day(table, day) as file:
            return self.metadata_of(file)

    @staticmethod
    def metadata_of(file: pq.ParquetFile) -> dict[str, Any]:
        """Return what `write_day` was given as metadata, from an open file."""
        return json.loads((file.schema_arrow.metadata or {}).get(METADATA_KEY, b"{}"))

    def content_digest(self, table: str, day: str) -> str:
        """Return the SHA-256 of the rows and note of a day, from its footer; raises as `open_day`."""
        return self.footer(table, day).get(parquet.DIGEST_KEY, b"").decode()

    def footer(self, table: str, day: str) -> dict[bytes, bytes]:
        """Return the keys and values in the footer of a day; raises as `open_day`."""
        with self.open_day(table, day) as file:
            return file.metadata.metadata

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a file, as hexadecimal digits."""
        with self.fs.open(self.full(path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class DayFile(pq.ParquetFile):
    """A day of a table: its columns are those of `schemas.SCHEMAS`, whatever unit of time the file has."""

    def __init__(self, table: str, source: Any, **options: Any) -> None:
        self._table, self._source = table, source
        super().__init__(source, **options)

    @property
    def schema_arrow(self) -> pa.Schema:
        """Columns as they are read."""
        return in_memory_schema(self._table, super().schema_arrow)

    def read(self, columns: list[str] | None = None, **options: Any) -> pa.Table:
        """Return all rows."""
        return in_memory(self._table, super().read(columns, **options))

    def read_row_group(self, i: int, columns: list[str] | None = None, **options: Any) -> pa.Table:
        """Return a row group."""
        rows = in_memory(self._table, super().read_row_group(i, columns, **options))
        gone_through(rows.nbytes)
        return rows

    def vector_pages(self, i: int, name: str) -> bytes:
        """Return the pages of a column of vectors of a row group, for `pages.read_vectors`."""
        entry = self.metadata.row_group(i)
        columns = (entry.column(number) for number in range(entry.num_columns))
        column = next(column for column in columns if column.path_in_schema.split(".")[0] == name)
        self._source.seek(column.data_page_offset)
        return self._source.read(column.total_compressed_size)


def _partial(name: str, token: str) -> str:
    """Return the name under which a file is written."""
    return f".{name}.{token}.partial"


def _open_locked(final: Path) -> BinaryIO:
    """Open a new file beside `final` that is locked until it is closed, also by a kill."""
    while True:
        sink = open(final.with_name(_partial(final.name, secrets.token_hex(4))), "wb")  # noqa: SIM115, the caller closes
        with contextlib.suppress(OSError):  # where there are no locks, nothing is taken for abandoned either
            fcntl.flock(sink, fcntl.LOCK_EX)
        if os.fstat(sink.fileno()).st_nlink:
            return sink
        sink.close()  # another writer took it for abandoned before it was locked


def _remove_abandoned(final: Path) -> None:
    """Remove what killed writers of a file left behind: the files that no living writer holds a lock on."""
    for partial in filter(Path.is_file, final.parent.glob(_partial(glob.escape(final.name), "*"))):
        with contextlib.suppress(OSError), open(partial, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()


def _modified(info: dict[str, Any]) -> float:
    """Return a listing entry's time of change in seconds since 1970, whatever the file system calls it."""
    for key in ("mtime", "LastModified", "last_modified", "created"):
        value = info.get(key)
        if value is not None:
            return value.timestamp() if hasattr(value, "timestamp") else float(value)
    return 0.0
