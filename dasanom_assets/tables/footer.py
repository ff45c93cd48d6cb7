"""Footers of Parquet files, read and written as the structures that the format defines in Thrift.

pyarrow reads them, but cannot write one that was changed. `parquet.thrift` names the structures.
"""

import copy
from pathlib import Path
from typing import Any

import thriftpy2
from thriftpy2.protocol import TCompactProtocolFactory
from thriftpy2.utils import deserialize, serialize

MAGIC = b"PAR1"
FORMAT: Any = thriftpy2.load(str(Path(__file__).with_name("parquet.thrift")), module_name="dasanom_parquet_thrift")
"""A class for each structure, with the fields that the format gives it."""
COMPACT = TCompactProtocolFactory()


def thrift_bytes(structure: Any) -> bytes:
    """Return a structure of `FORMAT` in Thrift's compact protocol."""
    return serialize(structure, COMPACT)


def body(part: bytes) -> memoryview:
    """Return what lies between the magic number of a file and its footer: the row groups."""
    return memoryview(part)[len(MAGIC) : len(part) - 8 - _footer_size(part)]


def _footer_size(part: bytes) -> int:
    return int.from_bytes(part[-8:-4], "little")


def read_footer(part: bytes) -> Any:
    """Return the footer of a Parquet file, the format's ``FileMetaData``.

    Raises
    ------
    ValueError
        Where it is no whole Parquet file.
    """
    size = _footer_size(part)
    if len(part) < 12 or part[:4] != MAGIC or part[-4:] != MAGIC or size > len(part) - 12:
        raise ValueError("a part is no whole Parquet file")
    return deserialize(FORMAT.FileMetaData(), part[-8 - size : -8], COMPACT)


def footer_bytes(footer: Any, groups: list[bytes]) -> bytes:
    """Return what follows the last row group of a file: a footer with other row groups, its length, the end.

    Parameters
    ----------
    footer : FileMetaData
        Its own row groups are left out.
    groups : list of bytes
        Row groups in thrift's compact protocol, in which a list of structs is its length and their bytes.
    """
    empty = copy.copy(footer)
    empty.row_groups = []
    start = copy.copy(empty)
    for name in ("key_value_metadata", "created_by", "column_orders"):
        setattr(start, name, None)
    head = thrift_bytes(start)[:-2]  # less the header of the empty list, and the end
    tail = thrift_bytes(empty)[len(head) + 1 :]  # less the header of the empty list
    content = b"".join([head, _struct_list_header(len(groups)), *groups, tail])
    return content + len(content).to_bytes(4, "little") + MAGIC


def _struct_list_header(n: int) -> bytes:
    if n < 15:
        return bytes([n << 4 | 12])
    return b"\xfc" + varint(n)


def shift(group: Any, by: int) -> None:
    """Move a row group of a footer by some bytes."""
    _move(group, by, "file_offset")
    group.ordinal = None  # only encrypted files need it
    for column in group.columns:
        shift_column(column, by)


def shift_column(column: Any, by: int) -> None:
    """Move a column of a row group by some bytes."""
    _move(column, by, "file_offset", "offset_index_offset", "column_index_offset")
    _move(column.meta_data, by, "data_page_offset", "index_page_offset", "dictionary_page_offset")


def _move(thing: Any, by: int, *names: str) -> None:
    for name in names:
        if getattr(thing, name):
            setattr(thing, name, getattr(thing, name) + by)


def varint(n: int) -> bytes:
    """Return a whole number in groups of seven bits, the lowest first."""
    out = []
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])
