"""The review app beside the UI of `make run`."""

import socket
import sys
from urllib.parse import urlsplit


def review_command(url: str) -> list[str] | None:
    """Return what serves the review app where links of Dagster's pages lead to.

    None where it is to run on another machine, or something else has its port: the chain does without.
    """
    address = urlsplit(url)
    if address.hostname not in ("127.0.0.1", "localhost") or not address.port:
        return None
    if _taken(address.port):
        print(f"Port {address.port} is in use, perhaps by a review app of before: none is started", flush=True)
        return None
    return [sys.executable, "-m", "dasanom_assets.cli", "review", "--port", str(address.port)]


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
