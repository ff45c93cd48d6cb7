"""A process beside the server for what takes much memory or a network: the server itself stays small."""

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Lock, Thread
from typing import Any, TypeVar

from dasanom_assets.tables.store import Store

Made = TypeVar("Made")
PATIENCE_S = 120
_LOCK = Lock()
_POOL: list[ProcessPoolExecutor] = []
Key = tuple[Callable[..., Any], bytes]
MOST_KEPT = 16
_ASKED: dict[Key, Future[Any]] = {}
"""What was asked for last, computed or not yet."""


def _begin() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(server: int) -> None:
    """End this process once the server is gone, which a signal may end without a word."""
    while os.getppid() == server:
        time.sleep(1)
    os._exit(0)


def _pool() -> ProcessPoolExecutor:
    with _LOCK:
        if not _POOL:
            _POOL.append(ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin))
        return _POOL[0]


class StillComputingError(RuntimeError):
    """An answer that takes longer than a page waits for; it is kept for who asks again."""


def computed(function: Callable[..., Made], *arguments: Any) -> Made:
    """Return what a function of a module makes of some values, from the process beside; the last ones are kept.

    Raises
    ------
    StillComputingError
        Where it takes more than `PATIENCE_S`; who asks again waits for the same computation.
    Exception
        What the function raises.
    """
    key = function, pickle.dumps(arguments)
    for last in (False, True):
        pool = _pool()
        with _LOCK:
            future = _ASKED.pop(key, None) or pool.submit(function, *arguments)
            _ASKED[key] = future
            while len(_ASKED) > MOST_KEPT:
                _ASKED.pop(next(iter(_ASKED)))
        try:
            return future.result(PATIENCE_S)
        except TimeoutError as error:
            if not future.done():
                raise StillComputingError(
                    "this takes long: it is still being computed; reload in a minute"
                ) from error
            _forget(key)
            raise
        except BrokenProcessPool:  # it was killed: begin a new one, once
            with _LOCK:
                if _POOL and _POOL[0] is pool:  # no other request has begun one
                    _POOL.clear()
                    _ASKED.clear()
            if last:
                raise
        except BaseException:
            _forget(key)
            raise
    raise AssertionError("unreachable")


def _forget(key: Key) -> None:
    with _LOCK:
        _ASKED.pop(key, None)


def root_of(store: Store) -> str:
    """Return where the data of a store lie, for another process."""
    return store.full("") if store.is_local else store.url("")


def stop() -> None:
    """End the process, if there is one."""
    with _LOCK:
        for pool in _POOL:
            pool.shutdown(wait=False, cancel_futures=True)
        _POOL.clear()
        _ASKED.clear()
