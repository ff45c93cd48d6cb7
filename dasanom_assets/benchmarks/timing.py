"""How long something takes."""

import time
from collections.abc import Callable


def timed(work: Callable[[], object], runs: int) -> list[float]:
    """Return the seconds of each of some runs, after one that is not counted."""
    work()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds
