"""What a step has freed is given back between its blocks."""

import platform

import numpy as np
import pytest

from dasanom_assets.benchmarks.machine import kilobytes
from dasanom_assets.tables.trimming import trim


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others give memory back by themselves")
def test_what_lies_below_memory_in_use_is_given_back() -> None:
    arrays = [np.ones(50_000, np.uint8) for _ in range(4000)]
    last = arrays.pop()
    arrays.clear()
    before = kilobytes("VmRSS")
    trim()
    assert kilobytes("VmRSS") < before - 150_000
    assert last.all()
