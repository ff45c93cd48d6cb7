"""Servers of others that the project stands on, each a process: PostgreSQL, and a store that speaks S3."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dasanom_assets.orchestration.services import Services

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""Of Debian's PostgreSQL, the newest last; none where it is not installed."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def postgresql(*, durable: bool = True) -> Iterator[tuple[Services, dict[str, str]]]:
    """Serve an empty database `dasanom`, and start the server again where it ends.

    Parameters
    ----------
    durable : bool
        Whether what it has stored outlives a crash of the machine; without, it is quicker.

    Yields
    ------
    Services
        What keeps it at work; the service is called ``PostgreSQL``.
    dict of str to str
        The variables by which it is found.
    """
    # It does not run as root, and what root has made is not open to it.
    folder, port = Path(tempfile.mkdtemp(prefix="dasanom-pg-")), free_port()
    root = os.geteuid() == 0
    account = "postgres" if root else pwd.getpwuid(os.geteuid()).pw_name
    shutil.chown(folder, account)
    other = ["setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups"] if root else []
    program = BINARIES[-1]

    def run(name: str, *arguments: str, **more: str) -> None:
        command = [*other, f"{program}/{name}", *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, env=os.environ | more)

    run("initdb", "-D", f"{folder}/data", "-U", "dasanom", "-A", "trust", "-N")
    options = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": str(folder)}
    options |= {} if durable else {"fsync": "off"}
    given = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    variables = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "dasanom", "PGPASSWORD": "hidden"}
    with open(folder / "log", "a") as log:
        server = Services({"PostgreSQL": [*other, f"{program}/postgres", "-D", f"{folder}/data", *given]}, log)
        server.start()
        try:
            for _ in range(300):
                with contextlib.suppress(subprocess.CalledProcessError):
                    run("createdb", "dasanom", **variables)
                    break
                time.sleep(0.1)
            yield server, variables | {"PGDATABASE": "dasanom"}
        finally:
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def object_store() -> Iterator[str]:
    """Serve S3 from memory, at the address that is given."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
                break
            if server.poll() is not None:
                raise RuntimeError("the S3 server did not start")
            time.sleep(0.1)
        yield url
    finally:
        server.kill()
        server.wait()


class Door:
    """A port of 127.0.0.1 that leads to another, and can be shut: who knocks then is refused.

    Parameters
    ----------
    target : int
        The other port.
    """

    def __init__(self, target: int) -> None:
        self.port, self._target = free_port(), target
        self._lock, self._inside = threading.Lock(), set[socket.socket]()
        self.open()

    def open(self) -> None:
        """Let through who knocks."""
        self._listening = socket.create_server(("127.0.0.1", self.port), backlog=128)
        threading.Thread(target=self._let_in, args=(self._listening,), daemon=True).start()

    def shut(self) -> None:
        """Refuse who knocks, and cut who is inside."""
        with self._lock:
            for one in (self._listening, *self._inside):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._listening.close()

    def _let_in(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it is shut
            while True:
                outer, _ = listening.accept()
                try:
                    inner = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    outer.close()
                    continue
                with self._lock:
                    if listening.fileno() < 0:
                        outer.close()
                        inner.close()
                        return
                    self._inside |= {outer, inner}
                for both in ((outer, inner), (inner, outer)):
                    threading.Thread(target=self._carry, args=both, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(1 << 16):
                target.sendall(content)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            self._inside.discard(source)
