"""The measure of memory that other tests rely on: it sees what is allocated, whatever was freed before."""

from collections.abc import Callable

import numpy as np
import pytest

from dasanom_tests.memory import memory_of

MB = 2**20


@pytest.mark.parametrize("make", [lambda n: np.ones(n, np.uint8), lambda n: bytearray(b"a" * n)])
def test_what_is_allocated_and_freed_is_in_the_peak_and_not_held(make: Callable[[int], object]) -> None:
    freed = [np.ones(4 * MB, np.uint8) for _ in range(20)]
    del freed  # leaves 80 MB that may be used again
    for _ in range(3):
        growth = memory_of(lambda: len([make(4 * MB) for _ in range(10)]))
        assert 0.9 < growth.peak / (40 * MB) < 1.3
        assert growth.held < 4 * MB


def test_what_is_kept_is_held() -> None:
    kept: list[np.ndarray] = []
    growth = memory_of(lambda: kept.extend(np.ones(4 * MB, np.uint8) for _ in range(10)))
    assert 0.9 < growth.held / (40 * MB) < 1.2
