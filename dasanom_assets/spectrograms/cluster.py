"""The Dask cluster that computes the parts of a day: threads or processes of the run, or one that runs already."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dasanom_assets.settings import DaskSettings

if TYPE_CHECKING:
    from distributed import Client

WORKER_MEMORY = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 1 << 29,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 1 << 25,
}
"""Dask lets its worker processes give freed memory back at once, to be cleared before the next use: half of the
time of a part."""


NO_PROFILE = {"distributed.worker.profile.enabled": False}
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
    from distributed import Client, Nanny, Scheduler, SpecCluster, Worker

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
    # `LocalCluster` cannot do without the pages of the dashboard: they take a third of a second to load, and its
    # threads would listen to all networks for them.
    place: dict[str, Any] = (
        {"protocol": "tcp://", "host": "127.0.0.1"} if settings.processes else {"protocol": "inproc://"}
    )
    place |= {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    threads = 1 if settings.processes else settings.threads or CPU_COUNT
    worker = {
        "cls": Nanny if settings.processes else Worker,
        "options": {**place, "nthreads": threads, "memory_limit": None, "silence_logs": logging.WARN},
    }
    with (
        dask.config.set(WORKER_MEMORY | NO_PROFILE),
        SpecCluster(
            workers=dict.fromkeys(range(settings.processes or 1), worker),
            scheduler={"cls": Scheduler, "options": {**place, "port": 0}},
            worker=worker,
            silence_logs=logging.WARN,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
