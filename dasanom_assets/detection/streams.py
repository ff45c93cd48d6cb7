"""Channels of a day on their way through several steps, on all cores and in bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `work` of each item in order, done by threads while the items that follow are read; few wait."""
    threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads) as pool:
        under_way: deque[Future[Result]] = deque()
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) > threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items in order, the next of which is made in a thread while one is used."""
    end = object()
    upcoming = iter(items)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, upcoming, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, upcoming, end)
            yield item  # type: ignore[misc]


def with_neighbours(items: Iterable[Item], n: int) -> Iterator[tuple[Item, list[Item]]]:
    """Yield each item with those, at most `n` before and `n` after it, that are in memory with it."""
    upcoming = iter(items)
    before: deque[Item] = deque(maxlen=n)
    after = deque(islice(upcoming, n + 1))
    while after:
        item = after.popleft()
        yield item, [*before, *after]
        before.append(item)
        after.extend(islice(upcoming, 1))
