"""A process beside the server for what takes much memory or a network: the server itself stays small."""

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from threading import Lock, Thread
from typing import Any, TypeVar

from dasanom_assets.tables.store import Store

Made = TypeVar("Made")
PATIENCE_S = 120
_LOCK = Lock()
_POOL: list[ProcessPoolExecutor] = []


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


def computed(function: Callable[..., Made], *arguments: Any) -> Made:
    """Return what a function of a module makes of some values, from the process beside; the last ones are kept.

    Raises
    ------
    Exception
        What the function raises.
    """
    return _computed(function, pickle.dumps(arguments))


@lru_cache(16)
def _computed(function: Callable[..., Made], pickled: bytes) -> Made:
    arguments = pickle.loads(pickled)
    try:
        return _pool().submit(function, *arguments).result(PATIENCE_S)
    except BrokenProcessPool:  # it was killed: begin a new one, once
        with _LOCK:
            _POOL.clear()
        return _pool().submit(function, *arguments).result(PATIENCE_S)


def root_of(store: Store) -> str:
    """Return where the data of a store lie, for another process."""
    return store.full("") if store.is_local else store.url("")


def stop() -> None:
    """End the process, if there is one."""
    with _LOCK:
        for pool in _POOL:
            pool.shutdown(wait=False, cancel_futures=True)
        _POOL.clear()
