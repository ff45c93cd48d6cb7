"""Items stay in order and few are in memory, whatever threads make of them."""

import os
import pickle
import threading
from collections.abc import Iterator

import cloudpickle
import numpy as np
import pytest

from dasanom_assets.spectrograms.streams import BLOCK_SECONDS, _Packed, blocks, in_order, spread, with_neighbours


def test_blocks_hold_about_as_many_seconds_each_and_at_least_one_channel() -> None:
    keys = [("north", i) for i in range(7)]
    seconds = dict(zip(keys, [BLOCK_SECONDS // 2] * 4 + [3 * BLOCK_SECONDS] * 2 + [1], strict=True))
    made = list(blocks(keys, seconds.__getitem__))
    assert [len(block) for block in made] == [2, 2, 1, 1, 1]
    assert [key for block in made for key in block] == keys
    assert list(blocks([], seconds.__getitem__)) == []


class OpensAtWork:
    """Work that no worker could hand on once it has begun."""

    def __init__(self) -> None:
        self.numbers = np.arange(5.0)
        self.open: list[threading.Lock] = []

    def __call__(self, item: int) -> list[float]:
        self.open.append(threading.Lock())
        return [self.numbers[item]]


def test_a_worker_hands_work_on_that_it_has_begun() -> None:
    first = pickle.loads(pickle.dumps(_Packed(OpensAtWork()), 5))
    assert first.work(2) == [2.0]
    with pytest.raises(TypeError, match="pickle"):
        cloudpickle.dumps(first.work)
    second = pickle.loads(pickle.dumps(first, 5))
    assert second.work(3) == [3.0]
    assert len(second.work.open) == 1


def test_what_is_packed_is_not_copied() -> None:
    work = OpensAtWork()
    assert np.shares_memory(_Packed(work).work.numbers, work.numbers)


def test_an_error_comes_where_its_item_would() -> None:
    def work(item: int) -> list[int]:
        if item == 2:
            raise OSError("no third")
        return [item, item]

    found = spread(work, range(5))
    assert [next(found) for _ in range(4)] == [0, 0, 1, 1]
    with pytest.raises(OSError, match="no third"):
        next(found)


def test_results_come_in_order_and_few_items_wait() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for i in range(50):
            read.append(i)
            yield i

    for n, result in enumerate(in_order(lambda i: i * i, items())):
        assert result == n * n
        assert len(read) <= n + len(os.sched_getaffinity(0)) + 1


def test_an_item_has_its_neighbours_on_both_sides_and_no_more_are_read() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for i in range(9):
            read.append(i)
            yield i

    for n, (item, nearby) in enumerate(with_neighbours(items(), 2)):
        assert item == n
        assert nearby == [i for i in range(max(n - 2, 0), min(n + 3, 9)) if i != n]
        assert len(read) == min(n + 3, 9)
    assert list(with_neighbours([7], 0)) == [(7, [])]
