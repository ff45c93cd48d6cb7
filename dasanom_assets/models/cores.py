"""On how many cores a training computes, beside other trainings of the machine."""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dask.system import cpu_count

TRAININGS = 2
"""Trainings that a machine's cores are divided among: a VAE's and infoGAN's."""

LOOK_SECONDS = 0.5
"""Time between two looks at whether another training has ended."""


def training_threads() -> int:
    """Return how many threads a training takes: an even share of the cores that affinity and cgroup leave.

    The threads of a step wait for each other, so one that has to share its core holds up all of them.
    """
    return max(1, cpu_count() // TRAININGS)


@contextmanager
def share_of_cores(
    say: Callable[[str], object], stop: Callable[[], bool] = lambda: False, folder: Path | None = None
) -> Iterator[None]:
    """Hold one of the machine's shares of cores while the context lasts; wait where none is free.

    A share is a locked file, which the system frees however its holder ends.

    Parameters
    ----------
    say : callable
        Takes a line of text, where there is a wait.
    stop : callable
        Asked while waiting; where it says so, the wait ends without a share.
    folder : pathlib.Path, optional
        Where the locks lie; the machine's folder for temporary files by default.
    """
    shares = min(TRAININGS, cpu_count())
    paths = [
        (folder or Path(tempfile.gettempdir())) / f"dasanom-{os.getuid()}-training-{share}.lock"
        for share in range(shares)
    ]
    with ExitStack() as files:
        locks = [files.enter_context(open(path, "a")) for path in paths]
        said = False
        while not any(_locked(lock) for lock in locks) and not stop():
            if not said:
                say(f"waiting: {shares} trainings are at work on this machine's cores already")
                said = True
            time.sleep(LOOK_SECONDS)
        yield


def _locked(file: object) -> bool:
    """Take the lock of an open file, or say that somebody else has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[arg-type]
    except BlockingIOError:
        return False
    return True
