"""Memory that was freed, given back to the system between the blocks of a long step."""

import ctypes
import functools
from collections.abc import Callable

import pyarrow as pa

TRIM_BYTES = 128 << 20
"""So much of tables goes through the process before memory is given back again."""
_gone_through = 0


def gone_through(n_bytes: int) -> None:
    """Count bytes of tables that were read or written, and `trim` now and then."""
    global _gone_through
    _gone_through += n_bytes  # a thread's bytes that are lost here only delay it
    if _gone_through >= TRIM_BYTES:
        _gone_through = 0
        trim()


def trim() -> None:
    """Give back what allocators keep for later; nothing happens where the C library is not glibc.

    glibc keeps what lies below memory in use. Over the blocks of a day that adds up, so that the peak would be a
    function of the day's length.
    """
    pa.default_memory_pool().release_unused()
    _malloc_trim()(0)


@functools.cache
def _malloc_trim() -> Callable[[int], object]:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda pad: None
