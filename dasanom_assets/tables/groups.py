"""Row groups of several channels, which keep the footer of a wide fibre small, and where each channel lies there.

Files of one channel each become one row group, column by column, without being decoded. Behind it lies a footer
that lists it as if each channel had a row group of its own: who knows of it reads one channel and nothing else.
"""

import copy
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dasanom_assets.tables.footer import MAGIC, footer_bytes, shift_column, thrift_bytes

CHANNELS_KEY = b"dasanom.channels"
"""Footer: the channels of the row groups that hold several, their rows, and the size of the footer behind them."""
INTEGERS, BYTES = (1, 2), 6
"""Numbers of types in the format whose statistics are joined."""

Key = tuple[str, int]


class Place(NamedTuple):
    """Where rows of a channel lie: row group, number within it (None: all of it), how many they are."""

    group: int
    number: int | None
    rows: int


class Together(NamedTuple):
    """Files as one row group.

    Attributes
    ----------
    content : list of memoryview
        Its bytes, column by column.
    group : RowGroup
        Its entry in the footer.
    inner : bytes
        The footer that lists the row groups of the files.
    channels, rows : list of int
        Channel and number of rows of each file.
    """

    content: list[memoryview]
    group: Any
    inner: bytes
    channels: list[int]
    rows: list[int]


def together(files: Sequence[bytes], footers: Sequence[Any], at: int) -> Together:
    """Return some files, each with one row group of one channel, as one row group that begins at byte `at`.

    Raises
    ------
    ValueError
        Where a file has several row groups, or dictionaries, which hold for one row group only.
    """
    if any(len(footer.row_groups) != 1 for footer in footers):
        raise ValueError("a file to be joined in a row group has several of its own")
    groups = [footer.row_groups[0] for footer in footers]
    whole, content, end = copy.copy(groups[0]), list[memoryview](), at
    whole.columns = []
    for columns in zip(*(group.columns for group in groups), strict=True):
        first = end
        for file, column in zip(files, columns, strict=True):
            meta = column.meta_data
            if meta.dictionary_page_offset:
                raise ValueError("a file to be joined in a row group has a dictionary")
            begin = meta.data_page_offset
            content.append(memoryview(file)[begin : begin + meta.total_compressed_size])
            shift_column(column, end - begin)
            end += meta.total_compressed_size
        whole.columns.append(_joined(columns, first))
    for name in ("total_byte_size", "total_compressed_size", "num_rows"):
        setattr(whole, name, sum(getattr(group, name) for group in groups))
    whole.ordinal = None
    listing = copy.copy(footers[0])
    listing.num_rows = whole.num_rows
    inner = footer_bytes(listing, [thrift_bytes(group) for group in groups])
    path = [column.meta_data.path_in_schema for column in whole.columns].index(["channel"])
    numbers = [group.columns[path].meta_data.statistics.min_value for group in groups]
    channels = [int.from_bytes(number, "little", signed=True) for number in numbers]
    return Together(content, whole, inner, channels, [group.num_rows for group in groups])


def _joined(columns: Sequence[Any], first: int) -> Any:
    """Return the entry of a column whose pieces follow each other from byte `first` on."""
    column = copy.copy(columns[0])
    meta = column.meta_data = copy.copy(columns[0].meta_data)
    metas = [piece.meta_data for piece in columns]
    for name in ("num_values", "total_compressed_size", "total_uncompressed_size"):
        setattr(meta, name, sum(getattr(piece, name) for piece in metas))
    meta.data_page_offset = first
    meta.encodings = sorted({encoding for piece in metas for encoding in piece.encodings})
    meta.encoding_stats = meta.size_statistics = None  # readers do without, and footers are a third smaller
    meta.statistics = _statistics(meta.type, [piece.statistics for piece in metas])
    return column


def _statistics(kind: int, pieces: Sequence[Any]) -> Any:
    """Return the least and greatest value of several statistics; None where one does not say."""
    if kind not in (*INTEGERS, BYTES) or any(piece is None or piece.min_value is None for piece in pieces):
        return None

    def value(content: bytes) -> int | bytes:
        return int.from_bytes(content, "little", signed=True) if kind in INTEGERS else content

    joined = copy.copy(pieces[0])
    joined.min_value = min((piece.min_value for piece in pieces), key=value)
    joined.max_value = max((piece.max_value for piece in pieces), key=value)
    joined.null_count = sum(piece.null_count or 0 for piece in pieces)
    joined.min = joined.max = joined.distinct_count = None  # of older readers
    return joined


class Listing:
    """What a footer says of the row groups that hold several channels, as they are written."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, ...], int] = {}
        self._groups: dict[int, list[Any]] = {}

    def add(self, number: int, group: Together) -> None:
        """Note a row group by its number in the file."""
        block = self._blocks.setdefault(tuple(group.channels), len(self._blocks))
        rows = group.rows[0] if len(set(group.rows)) == 1 else group.rows
        self._groups[number] = [block, rows, len(group.inner)]

    def footer(self) -> dict[bytes, bytes]:
        """Return what `CHANNELS_KEY` holds; nothing where each row group has one channel."""
        if not self._groups:
            return {}
        note = {"blocks": list(self._blocks), "groups": self._groups}
        return {CHANNELS_KEY: json.dumps(note, separators=(",", ":")).encode()}


class Channels:
    """Where the channels of a file lie.

    Parameters
    ----------
    metadata : pyarrow.parquet.FileMetaData

    Raises
    ------
    ValueError
        Where a row group holds several channels and nothing says which.
    """

    def __init__(self, metadata: pq.FileMetaData) -> None:
        self._metadata = metadata
        self._note = note = json.loads(
            (metadata.metadata or {}).get(CHANNELS_KEY, b'{"blocks": [], "groups": {}}')
        )
        self.places: dict[Key, list[Place]] = {}
        """By fibre and channel, in the order of row groups."""
        for group, fibre in enumerate(group_values(metadata, "fibre")):
            if fibre is not None and str(group) in note["groups"]:
                block, rows, _ = note["groups"][str(group)]
                for number, channel in enumerate(note["blocks"][block]):
                    n = rows if isinstance(rows, int) else rows[number]
                    self.places.setdefault((*fibre, channel), []).append(Place(group, number, n))
        single = [group for group in range(metadata.num_row_groups) if str(group) not in note["groups"]]
        for group, key in zip(single, group_values(metadata, "fibre", "channel", groups=single), strict=True):
            if key is not None:
                n = metadata.row_group(group).num_rows
                self.places.setdefault(key, []).append(Place(group, None, n))

    def size(self, group: int) -> int:
        """Return how many channels a row group of several holds."""
        return len(self._note["blocks"][self._note["groups"][str(group)][0]])

    def listed(self, group: int) -> tuple[int, int]:
        """Return first byte, and the one after the last, of the footer behind a row group of several channels."""
        entry = self._metadata.row_group(group)
        columns = [entry.column(i) for i in range(entry.num_columns)]
        end = max(column.data_page_offset + column.total_compressed_size for column in columns)
        return end, end + self._note["groups"][str(group)][2]


def group_keys(metadata: pq.FileMetaData) -> list[tuple[str, int] | None]:
    """Return fibre and channel of each row group; see `group_values`."""
    return group_values(metadata, "fibre", "channel")


def group_values(metadata: pq.FileMetaData, *names: str, groups: Iterable[int] | None = None) -> list[Any]:
    """Return the values of some columns that all rows of a row group share, by row group, from statistics.

    Each is a tuple, or None for an empty row group. `groups` are the numbers of row groups, all by default.

    Raises
    ------
    ValueError
        Where rows of a row group differ in one.
    """
    paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    columns = [paths.index(name) for name in names]
    values: list[Any] = []
    for i in range(metadata.num_row_groups) if groups is None else groups:
        group = metadata.row_group(i)
        if not group.num_rows:
            values.append(None)
            continue
        statistics = [group.column(column).statistics for column in columns]
        if any(s.min_raw != s.max_raw for s in statistics):
            raise ValueError(f"row group {i} holds several channels: materialize the day again")
        values.append(tuple(s.min for s in statistics))
    return values


def inner_footers(contents: Sequence[bytes]) -> pq.FileMetaData:
    """Return the footers behind some row groups as that of a file, which has their channels one after another."""
    footers = [pq.read_metadata(pa.BufferReader(MAGIC + content)) for content in contents]
    for footer in footers[1:]:
        footers[0].append_row_groups(footer)
    return footers[0]
