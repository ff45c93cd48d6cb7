"""Items stay in order and few are in memory, whatever threads make of them."""

import os
import threading
from collections.abc import Iterator

import pytest

from dasanom_assets.detection.streams import ahead, in_order, with_neighbours


def test_the_next_item_is_made_while_one_is_used_and_none_further() -> None:
    made: list[int] = []
    ready = [threading.Event() for _ in range(10)]

    def items() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            ready[i].set()
            yield i

    for i in ahead(items()):
        if i < 9:
            assert ready[i + 1].wait(10)
        assert made == list(range(min(i + 2, 10)))
    assert list(ahead([])) == []


def test_an_error_comes_where_its_item_would_and_items_may_be_left() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("no fourth")

    result = ahead(items())
    assert [next(result) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="no fourth"):
        next(result)
    assert next(ahead(items())) == 0


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
