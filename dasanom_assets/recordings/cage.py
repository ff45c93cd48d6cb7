"""The process in which foreign files are opened: it reads, and can do nothing else.

Started by `apart`, it loads the readers once, and forks a worker for each that asks. A worker is bounded in memory
and processor time, has no network where the system lets it go, writes no file, and looks up no class that a pickle
names. Messages are JSON: neither side unpickles what the other says.
"""

import ctypes
import mmap
import os
import resource
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dasanom_assets.recordings import messages, unpickled
from dasanom_assets.recordings.reasons import CodeError, reason_of

OPEN_FILES = 64
"""Of a worker, at most; HDF5 opens a few for one recording."""
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, CLONE_NEWNET = 1, 38, 0x40000000
"""Numbers of Linux: end with the process that forked; gain no rights; have a network of one's own, and empty."""
REFUSED = (
    "pickle.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "os.remove",
    "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "subprocess.", "socket.", "pty.", "shutil.", "ctypes.", "webbrowser.", "resource.",
)  # fmt: skip
"""Beginnings of the names of audit events that no reading of a file has."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    """Serve the process that started this one, on the socket that is its standard input."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the process that asks decides
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(0))
    libc = ctypes.CDLL(None)
    libc.unshare(CLONE_NEWNET)  # not all systems allow it: what follows holds without
    from dasanom_assets.recordings import foreign_files

    warnings.simplefilter("ignore")
    foreign_files.load_readers()
    asked = Connection(os.dup(control.fileno()))
    while True:
        try:
            _, handles, _, _ = socket.recv_fds(control, 1, 1)
            what, number = messages.decoded(asked.recv_bytes())
        except (EOFError, OSError):
            return
        if what == "wait":
            _, status, used = os.wait4(number, 0)
            answer = [os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024]
        else:
            answer = [os.fork(), 0]
            if not answer[0]:
                asked.close()
                control.close()
                _work(socket.socket(fileno=handles[0]), libc, foreign_files.ANSWERS)
        for handle in handles:
            os.close(handle)
        asked.send_bytes(messages.encoded(answer))


def _work(peer: socket.socket, libc: Any, answers: dict[str, Callable[..., Any]]) -> None:
    """Answer requests until there are no more; never returns."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # what a library prints is no answer
        os.dup2(nothing, standard)
    os.close(nothing)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        resource.setrlimit(limit, (most, most))
    held, armed = _data_bytes(), False

    def guard(event: str, args: tuple[Any, ...]) -> None:
        if armed and _forbidden(event, args):
            raise CodeError(event)

    sys.addaudithook(guard)
    unpickled.install()
    connection = Connection(os.dup(peer.fileno()))
    while True:
        try:
            _, handles, _, _ = socket.recv_fds(peer, 1, 1)
            request = messages.decoded(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])  # it ends the process by SIGPROF
        resource.setrlimit(resource.RLIMIT_DATA, (held + request["bytes"], resource.RLIM_INFINITY))
        armed = True
        try:
            target = mmap.mmap(handles[0], 0) if handles else None
            answer = {"answer": answers[request["ask"]](Path(request["file"]), target, **request["more"])}
        except (Exception, CodeError) as error:
            answer = {"error": reason_of(error)}
        armed, target = False, None
        signal.setitimer(signal.ITIMER_PROF, 0)
        for handle in handles:
            os.close(handle)
        connection.send_bytes(messages.encoded(answer))


def _forbidden(event: str, args: tuple[Any, ...]) -> bool:
    if event == "open":
        return bool(args[2] & WRITING) if isinstance(args[2], int) else any(c in str(args[1]) for c in "wax+")
    if event == "exec":  # of a module that is loaded late there is a file
        return str(args[0].co_filename).startswith("<") and not args[0].co_filename.startswith("<frozen")
    return event.startswith(REFUSED)


def _data_bytes() -> int:
    """Return what `RLIMIT_DATA` counts of this process, bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:"))


if __name__ == "__main__":
    main()
