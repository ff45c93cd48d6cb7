"""The Dask cluster that computes the parts of a day: threads or processes of the run, or one that runs already."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dasanom_assets.settings import DaskSettings

if TYPE_CHECKING:
    from distributed import Client

DASHBOARD = "127.0.0.1:8787"
"""Where the dashboard is; where that is taken, Dask takes another port and says so."""

WORKER_MEMORY = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 1 << 29,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 1 << 25,
}
"""Dask lets its worker processes give freed memory back at once, to be cleared before the next use: half of the
time of a part."""


PROFILE = {"distributed.worker.profile.interval": "200ms", "distributed.worker.profile.cycle": "5s"}
"""Dask looks a hundred times a second at what its threads do, for its dashboard, and stops them for it."""


@contextmanager
def open_client(settings: DaskSettings) -> "Iterator[Client]":
    """Connect to the cluster of `settings`, or start one within this process for as long as the context lasts.

    Parameters
    ----------
    settings : DaskSettings

    Raises
    ------
    ConnectionError
        Where no scheduler answers at the address.
    """
    import dask
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster

    if settings.address:
        try:
            # Or all results would go through the scheduler; Dask's own setting keeps to that.
            direct = dask.config.get("distributed.client.direct-to-workers") is not False
            client = Client(settings.address, timeout=20, set_as_default=False, direct_to_workers=direct)
        except OSError as error:
            raise ConnectionError(
                f"no Dask scheduler answers at {settings.address}: start one with `dask scheduler`, or unset "
                "DASANOM_DASK__ADDRESS to compute in the run itself"
            ) from error
        with client:
            yield client
        return
    with (
        # Dask would show the machine's own address, at which nothing listens.
        dask.config.set(
            {"distributed.dashboard.link": "http://127.0.0.1:{port}/status", **WORKER_MEMORY, **PROFILE}
        ),
        LocalCluster(
            n_workers=settings.processes or 1,
            threads_per_worker=1 if settings.processes else settings.threads or CPU_COUNT,
            processes=settings.processes > 0,
            memory_limit=None,
            dashboard_address=DASHBOARD,
            worker_dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
