"""Channels of a day on their way through several steps, on all cores and in bounded memory."""

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import cloudpickle
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from distributed import Client

Key = tuple[str, int]
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


BLOCK_SECONDS = 14_400
"""Channel-seconds of a block, about; a block is at least one channel, and what is in memory grows with it."""


def blocks(keys: Sequence[Key], seconds: Callable[[Key], int]) -> Iterator[list[Key]]:
    """Cut channels into blocks of about `BLOCK_SECONDS`, by the rows that each has."""
    block: list[Key] = []
    total = 0
    for key in keys:
        block.append(key)
        total += seconds(key)
        if total >= BLOCK_SECONDS:
            yield block
            block, total = [], 0
    if block:
        yield block


def spread(
    work: Callable[[Item], Iterable[Result]], items: Iterable[Item], client: "Client | None" = None
) -> Iterator[Result]:
    """Yield the results of `work` on each item, in order, while those that follow are at work; few wait.

    Parameters
    ----------
    work : callable
        Returns the results of an item. It reaches each worker once, so that it may hold what all items need.
    items : iterable
    client : distributed.Client, optional
        Does the work on its workers: what is lost with one is done again by another. Threads of this process by
        default.
    """
    # Threads side by side; those that matrix products have of their own would fight over the same cores.
    with threadpool_limits(limits=1, user_api="blas"):
        # As lists: what yields its results one by one would do its work here, when they are asked for.
        alone = in_order(lambda item: list(work(item)), items)
        for results in alone if client is None else _on_workers(work, items, client):
            yield from results


def _on_workers(
    work: Callable[[Item], Iterable[Result]], items: Iterable[Item], client: "Client"
) -> Iterator[Iterable[Result]]:
    # As the result of a task: what is scattered is lost for good with the last worker that has it.
    held = client.submit(_itself, _Packed(work), pure=False)
    waiting: deque[Any] = deque()
    upcoming = iter(items)
    threads = max(1, sum(client.nthreads().values()))
    while True:
        # More than threads, so that none waits for work; not many more, or results would pile up.
        for item in islice(upcoming, threads + max(1, threads // 2) - len(waiting)):
            waiting.append(client.submit(_apply, held, item, pure=False))
        if not waiting:
            return
        yield waiting.popleft().result()


class _Packed:
    """Work as it was packed, which a worker hands on to the next whatever has become of its own.

    Work that is in use holds open files, or changes while it is packed: Dask then asks for it again, for ever.
    """

    def __init__(self, work: Callable[[Any], Iterable[Any]]) -> None:
        self._buffers: list[Any] = []
        self._packed = cloudpickle.dumps(work, protocol=5, buffer_callback=self._buffers.append)

    def __getstate__(self) -> dict[str, Any]:
        return {"_buffers": self._buffers, "_packed": self._packed}

    @cached_property
    def work(self) -> Callable[[Any], Iterable[Any]]:
        """The work of this process; its arrays are those of the pack."""
        return pickle.loads(self._packed, buffers=self._buffers)


def _itself(packed: _Packed) -> _Packed:
    return packed


def _apply(packed: _Packed, item: Item) -> list[Any]:
    threadpool_limits(limits=1, user_api="blas")
    return list(packed.work(item))


class Neighbours(Generic[Item]):
    """Items that come one by one, and wait until their neighbours are there.

    Parameters
    ----------
    n : int
        Neighbours on each side; so many of them before and after an item are in memory with it.
    """

    def __init__(self, n: int) -> None:
        self._before: deque[Item] = deque(maxlen=n)
        self._waiting: deque[Item] = deque()
        self._n = n

    def add(self, item: Item) -> Iterator[tuple[Item, list[Item]]]:
        """Take an item, and yield those whose neighbours are all there, with them."""
        self._waiting.append(item)
        if len(self._waiting) > self._n:
            yield self._next()

    def rest(self) -> Iterator[tuple[Item, list[Item]]]:
        """Yield those that wait, as no other comes."""
        while self._waiting:
            yield self._next()

    def _next(self) -> tuple[Item, list[Item]]:
        item = self._waiting.popleft()
        beside = [*self._before, *self._waiting]
        self._before.append(item)
        return item, beside


def with_neighbours(items: Iterable[Item], n: int) -> Iterator[tuple[Item, list[Item]]]:
    """Yield each item with those, at most `n` before and `n` after it, that are in memory with it."""
    waiting = Neighbours[Item](n)
    for item in items:
        yield from waiting.add(item)
    yield from waiting.rest()
