"""The review app beside the UI of `make run`."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


@contextmanager
def reviewing(url: str, dagster: str) -> Iterator[str | None]:
    """Serve the review app where links of Dagster's pages lead to, as long as the context lasts.

    It links runs to the UI at the address `dagster`.

    Yields its address; None where it is to run on another machine, or something else has its port: the chain does
    without.
    """
    address = urlsplit(url)
    if address.hostname not in ("127.0.0.1", "localhost") or not address.port:
        yield None
        return
    if _taken(address.port):
        print(f"Port {address.port} is in use, perhaps by a review app of before: none is started", flush=True)
        yield None
        return
    command = [sys.executable, "-m", "dasanom_assets.cli", "review", "--port", str(address.port)]
    env = {"DASANOM_NOTIFY__BASE_URL": dagster} | os.environ  # what is set holds
    app = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0, env=env)
    try:
        yield url
    finally:
        app.terminate()
        try:
            app.wait(10)
        except subprocess.TimeoutExpired:
            app.kill()


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
