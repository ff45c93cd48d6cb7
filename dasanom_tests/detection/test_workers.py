"""Worker processes that die take their part with them, and no more: the day is the same to the byte."""

import os
import signal
from pathlib import Path

import pytest
from distributed import Client, LocalCluster, WorkerPlugin

from dasanom_assets.tables.provenance import STEPS
from dasanom_assets.tables.store import Store
from dasanom_tests.detection.conftest import EVENTFUL, SETTINGS


class DiesAtWork(WorkerPlugin):
    """Kills its worker as that begins a task, unless another has died already."""

    name = "dies-at-work"

    def __init__(self, died: Path) -> None:
        self.died = died

    def transition(self, key: str, start: str, finish: str, **more: object) -> None:
        if finish == "executing" and "_apply" in str(key):
            try:
                self.died.touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_the_only_worker_dies_at_work_and_every_step_is_complete_and_identical(
    later: Store, tmp_path: Path
) -> None:
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        for name, more in (("segment_models", {}), ("temporal_terms", {}), ("embeddings", {"device": "cpu"})):
            step = STEPS[name]
            paths = [later.day_path(table, EVENTFUL) for table in step.tables]
            step(later, EVENTFUL, SETTINGS, **more)
            alone = [later.digest(path) for path in paths]
            died = tmp_path / name
            client.register_plugin(DiesAtWork(died))
            step(later, EVENTFUL, SETTINGS, dask=client, **more)
            assert died.exists(), name
            assert [later.digest(path) for path in paths] == alone, name
