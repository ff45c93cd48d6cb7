"""How much memory something takes: resident pages of this process, as the kernel counts them."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from dasanom_assets.benchmarks.machine import kilobytes


class Growth(NamedTuple):
    """Bytes of resident memory beyond those of before: the most there was on the way, and what stays."""

    peak: int
    held: int


def memory_of(work: Callable[[], object]) -> Growth:
    """Run something and return what it added to the resident memory of this process.

    What was freed before goes back to the system first: else it would be used again and not be counted. Libraries
    and compiled code count where `work` is the first to load them, so run it once before, on little.
    """
    _give_back()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = kilobytes("VmRSS")
    work()
    peak = kilobytes("VmHWM")
    _give_back()
    return Growth(1024 * (peak - before), 1024 * (kilobytes("VmRSS") - before))


def _give_back() -> None:
    gc.collect()
    pa.default_memory_pool().release_unused()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
