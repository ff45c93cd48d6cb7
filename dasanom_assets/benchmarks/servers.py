"""Servers of others that the project stands on, each a process: PostgreSQL, and a store that speaks S3."""

import asyncio
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
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        threading.Thread(target=self._loop.run_forever, name="door", daemon=True).start()
        self.open()

    def open(self) -> None:
        """Let through who knocks."""
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result(10)

    def shut(self) -> None:
        """Refuse who knocks, and cut who is inside."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)

    async def _begin(self) -> None:
        self._server = await asyncio.start_server(self._let_in, "127.0.0.1", self.port)

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside, to_inside = await asyncio.open_connection("127.0.0.1", self._target)
        both = {writer, to_inside}
        self._open |= both
        try:
            await asyncio.gather(_carried(reader, to_inside), _carried(inside, writer))
        finally:
            self._open -= both
            for one in both:
                one.close()


async def _carried(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while content := await source.read(1 << 16):
            target.write(content)
            await target.drain()
        target.write_eof()
