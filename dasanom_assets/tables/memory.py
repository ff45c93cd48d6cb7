"""Memory that was freed, given back to the system between the blocks of a long step."""

import ctypes
import functools
from collections.abc import Callable

import pyarrow as pa


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
