"""Dagster's web server behind the gate, on 127.0.0.1 alone, without its telemetry."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dagster import DagsterInstance

from dasanom_assets.orchestration.gate import Gate, own_hosts

HOST = "127.0.0.1"
STATEMENT_MS, RECYCLE_S, OVERFLOW = 15_000, 3_600, 20
"""Of connections to a database, as `dagster-webserver` has them."""


def gated_app(context: Any, hosts: Iterable[str], *, read_only: bool) -> Gate:
    """Return Dagster's web server as an ASGI application behind a `Gate`.

    Parameters
    ----------
    context : dagster.WorkspaceProcessContext
    hosts : iterable of str
        Values of `Host` that are answered.
    read_only : bool
        Whether mutations are refused.
    """
    from dagster_webserver.app import create_app_from_workspace_process_context

    app = create_app_from_workspace_process_context(context, live_data_poll_rate=2000, lifespan=_lifespan)
    return Gate(app, hosts, read_only=read_only)


def serve(port: int, workspace: Path, hosts: Iterable[str], *, read_only: bool) -> None:
    """Serve Dagster's UI until the process is told to end.

    Parameters
    ----------
    port : int
        Of 127.0.0.1.
    workspace : Path
        A ``workspace.yaml``, which says where code locations are.
    hosts : iterable of str
        Names by which the server may be asked beside its own: those that a proxy in front passes on.
    read_only : bool
        Whether it is for analysts, who look and change nothing.
    """
    import uvicorn
    from dagster import __version__
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget

    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(STATEMENT_MS, RECYCLE_S, OVERFLOW)
        with WorkspaceProcessContext(
            instance,
            version=__version__,
            read_only=read_only,
            workspace_load_target=WorkspaceFileTarget([str(workspace)]),
        ) as context:
            app: Any = gated_app(context, own_hosts(port, hosts), read_only=read_only)
            uvicorn.run(app, host=HOST, port=port, log_level="warning", server_header=False)


@asynccontextmanager
async def _lifespan(app: Any) -> AsyncIterator[None]:
    yield
