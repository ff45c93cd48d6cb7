"""Looks at files in a process of its own: a damaged file may end the process that reads it, and not the day's.

The libraries under DASCore's readers are of C: bytes that are turned over in an HDF5 file can end them with a
segmentation fault, which no `except` catches.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from threading import Lock
from typing import Any

from dasanom_assets.recordings.file_checks import file_row
from dasanom_assets.recordings.reasons import RefusedError, reason_of
from dasanom_assets.recordings.site_rules import Site
from dasanom_assets.settings import LimitSettings
from dasanom_assets.tables.store import Store


class _Reader:
    """A process that lives as long as this one, and is started anew where it ended."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._parent = 0

    def ask(self, asked: tuple[Any, ...]) -> Any:
        """Return what the process answers; raises `RefusedError` where it ends instead."""
        with self._lock:
            process = self._running()
            assert process.stdin
            assert process.stdout
            try:
                absent = [name for name, module in sys.modules.items() if module is None]
                pickle.dump((dict(os.environ), absent, asked), process.stdin)
                process.stdin.flush()
                return pickle.load(process.stdout)
            except (EOFError, OSError) as error:
                code = process.wait()
                self._process = None
                raise RefusedError(_why_ended(code)) from error
            except BaseException:  # an answer that nobody took would be that of the next file
                process.kill()
                process.wait()
                self._process = None
                raise

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None or self._parent != os.getpid():
            paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": paths},
            )
            self._parent = os.getpid()
        return self._process


_READER = _Reader()


def _why_ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its reader was ended by the system, perhaps for want of memory: split it into shorter files"
    how = signal.Signals(-code).name if code < 0 else f"status {code}"
    return f"it is damaged: its reader ends at it ({how}); deliver it again"


def file_row_apart(
    store: Store, path: str, extent: tuple[int, int] | None, limits: LimitSettings, rules: Sequence[Site]
) -> dict[str, Any]:
    """Return what `file_checks.file_row` does.

    Raises
    ------
    RefusedError
        Where that raises anything, or its process ends, with the reason.
    """
    if path.endswith(".bin"):  # no foreign code reads bundles
        return file_row(store, path, extent, limits, rules)
    made: dict[str, Any] | str = _READER.ask((store, path, extent, limits, tuple(rules)))
    if isinstance(made, str):
        raise RefusedError(made)
    return made


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    hidden: dict[str, Any] = {}
    while True:
        try:
            environment, absent, asked = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        os.environ.clear()
        os.environ.update(environment)
        for name in hidden:
            sys.modules.pop(name, None)
        hidden = dict.fromkeys(absent)
        sys.modules.update(hidden)  # None: what cannot be imported there, cannot be here
        try:
            made: Any = file_row(*asked)
        except Exception as error:
            made = reason_of(error)
        pickle.dump(made, answers)
        answers.flush()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the process that asks decides
        signal.signal(number, signal.SIG_IGN)
    _serve()
