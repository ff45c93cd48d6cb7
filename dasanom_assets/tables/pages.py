"""Pages of a column of vectors, read without levels of repetition, which cost pyarrow more than the values."""

import functools
import io
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dasanom_assets.tables.footer import COMPACT, FORMAT, thrift_bytes

DATA_PAGE, RLE, BYTE_STREAM_SPLIT = 0, 3, 9
"""Numbers of the format."""


@functools.lru_cache(maxsize=64)
def page_start(n_values: int, full_size: int) -> tuple[bytes, bytes]:
    """Return the header of a page of vectors, before and behind its compressed size; that is a zigzag varint.

    Parameters
    ----------
    n_values : int
        Numbers in the page.
    full_size : int
        Bytes that it has before it is compressed.
    """
    data = FORMAT.DataPageHeader(
        num_values=n_values,
        encoding=BYTE_STREAM_SPLIT,
        definition_level_encoding=RLE,
        repetition_level_encoding=RLE,
    )

    def header(size: int) -> bytes:
        page: dict[str, Any] = {"uncompressed_page_size": full_size, "compressed_page_size": size}
        return thrift_bytes(FORMAT.PageHeader(type=DATA_PAGE, data_page_header=data, **page))

    one, other = header(0), header(1)
    place = next(i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
    return one[:place], one[place + 1 :]


def read_vectors(content: bytes, out: np.ndarray) -> None:
    """Write the values of the pages of a column of vectors, of which none is missing, to an array.

    Parameters
    ----------
    content : bytes
        The column's pages, as `parquet.writer_options` has them written.
    out : numpy.ndarray
        float32, contiguous; all of it is written.

    Raises
    ------
    ValueError
        Where the pages are not such, or hold more or fewer values.
    """
    from dasanom_assets.tables.byte_split import join_bytes  # its compiler is slow to load

    values, done, position = out.reshape(-1).view(np.uint32), 0, 0
    codec, header, view = pa.Codec("zstd"), _Header(0, 0, 0, 0), memoryview(content)
    while position < len(content):
        try:
            header = _repeated(header, content, position) or _read(content, position)
            packed = view[header.end : header.end + header.size]
            unpacked = codec.decompress(packed, header.full_size) if header.fits(len(values) - done) else b""
        except Exception as error:  # what thriftpy2, struct and Arrow raise between them
            raise ValueError(
                f"vectors are not as they were written ({error}): materialize the day again"
            ) from error
        if not header.by_bytes:
            raise ValueError("vectors are not stored byte by byte: materialize the day again")
        position = header.end + header.size
        levels_and_bytes = np.frombuffer(unpacked, np.uint8)
        levels = 0
        for _ in range(2):  # of repetition, which all lists of one length share, and of definition
            levels += 4 + int.from_bytes(levels_and_bytes[levels : levels + 4], "little")
        upcoming = values[done : done + header.n_values]
        if len(levels_and_bytes) - levels != 4 * len(upcoming) or len(upcoming) != header.n_values:
            raise ValueError("a vector is missing, or of another length: materialize the day again")
        join_bytes(levels_and_bytes[levels:], upcoming)
        done += len(upcoming)
    if done < len(values):
        raise ValueError(f"{len(values) - done} values are missing: materialize the day again")


class _Header(NamedTuple):
    """What the header of a page says, and where it ends."""

    n_values: int
    full_size: int
    size: int
    end: int
    by_bytes: bool = True

    def fits(self, most: int) -> bool:
        """Whether it can be that of a page of at most so many vectors' values, before memory is asked for."""
        return self.by_bytes and 0 < self.n_values <= most and 0 <= self.full_size <= 64 + 8 * self.n_values


def _read(content: bytes, position: int) -> _Header:
    stream, page = io.BytesIO(content), FORMAT.PageHeader()
    stream.seek(position)
    COMPACT.get_protocol(stream).read_struct(page)
    data = page.data_page_header
    by_bytes = page.type == DATA_PAGE and data.encoding == BYTE_STREAM_SPLIT
    values = data.num_values if by_bytes else 0
    return _Header(values, page.uncompressed_page_size, page.compressed_page_size, stream.tell(), by_bytes)


def _repeated(last: _Header, content: bytes, position: int) -> _Header | None:
    """Return a header that differs from the one before in its compressed size alone, in a tenth of the time."""
    before, after = page_start(last.n_values, last.full_size)
    if not content.startswith(before, position):
        return None
    size, shift, end = 0, 0, position + len(before)
    while end < len(content) and shift < 35:
        size |= (content[end] & 0x7F) << shift
        shift, end = shift + 7, end + 1
        if content[end - 1] < 0x80:
            break
    if not content.startswith(after, end):
        return None
    return _Header(last.n_values, last.full_size, size >> 1, end + len(after))
