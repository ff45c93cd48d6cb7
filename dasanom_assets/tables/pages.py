"""Pages of a column of vectors, read without levels of repetition, which cost pyarrow more than the values."""

import io

import numpy as np
import pyarrow as pa

from dasanom_assets.tables.footer import COMPACT, FORMAT

DATA_PAGE, BYTE_STREAM_SPLIT = 0, 9
"""Numbers of the format."""


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

    stream, values, done = io.BytesIO(content), out.reshape(-1).view(np.uint32), 0
    protocol, codec = COMPACT.get_protocol(stream), pa.Codec("zstd")
    while stream.tell() < len(content):
        page = FORMAT.PageHeader()
        try:
            protocol.read_struct(page)
            packed = stream.read(page.compressed_page_size)
            data = page.data_page_header
            if page.type != DATA_PAGE or data.encoding != BYTE_STREAM_SPLIT:
                raise ValueError("vectors are not stored byte by byte: materialize the day again")
            unpacked = codec.decompress(packed, page.uncompressed_page_size)
        except (OSError, TypeError, EOFError) as error:
            raise ValueError(
                f"vectors are not as they were written ({error}): materialize the day again"
            ) from error
        levels_and_bytes = np.frombuffer(unpacked, np.uint8)
        levels = 0
        for _ in range(2):  # of repetition, which all lists of one length share, and of definition
            levels += 4 + int.from_bytes(levels_and_bytes[levels : levels + 4], "little")
        upcoming = values[done : done + data.num_values]
        if len(levels_and_bytes) - levels != 4 * len(upcoming) or len(upcoming) != data.num_values:
            raise ValueError("a vector is missing, or of another length: materialize the day again")
        join_bytes(levels_and_bytes[levels:], upcoming)
        done += len(upcoming)
    if done < len(values):
        raise ValueError(f"{len(values) - done} values are missing: materialize the day again")
