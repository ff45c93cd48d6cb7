"""A day on worker processes: the same bytes as in threads, whatever dies on the way."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client, LocalCluster

from dasanom_assets.recordings.catalogue import catalogue_day
from dasanom_assets.recordings.signal import Stretch, stretches
from dasanom_assets.settings import DaskSettings, SpectrogramSettings
from dasanom_assets.spectrograms import engine
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.spectrograms.engine import settings_note, spectrogram_parts
from dasanom_assets.tables.store import StorageFullError, Store
from dasanom_tests.conftest import DAYS

SETTINGS = SpectrogramSettings()
PATH = Store("").day_path("spectrograms", DAYS[0])


def signals(root: Path) -> tuple[Store, list[Stretch]]:
    store = Store(str(root))
    return store, stretches(store, catalogue_day(store, DAYS[0]).recordings)


def write(store: Store, found: list[Stretch], client: Client, progress: object = None) -> str:
    parts = spectrogram_parts(found, SETTINGS, DAYS[0], client, progress)
    store.write_day_parts("spectrograms", DAYS[0], parts, settings_note(found, SETTINGS))
    return store.digest(PATH)


@pytest.fixture(autouse=True)
def many_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PART_ROW_SECONDS", 1)


def test_parts_are_fetched_from_workers_unless_dask_is_told_otherwise() -> None:
    with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        settings = DaskSettings(address=cluster.scheduler_address)
        with open_client(settings) as client:
            assert client.direct_to_workers is True
        with dask.config.set({"distributed.client.direct-to-workers": False}), open_client(settings) as client:
            assert client.direct_to_workers is False


def test_a_writer_that_fails_leaves_the_cluster_as_good_as_before(landing: Path, tmp_path: Path) -> None:
    (tmp_path / "landing").symlink_to(landing / "landing")
    store, result = signals(tmp_path)
    with open_client(DaskSettings(threads=2)) as client:
        whole = write(store, result, client)

        def full(rows: int) -> None:
            raise OSError(errno.ENOSPC, "no space")

        with pytest.raises(StorageFullError, match="the old one is untouched"):
            write(store, result, client, full)
        assert store.digest(PATH) == whole
        assert write(store, result, client) == whole


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_leaves_the_day_complete_and_identical(
    landing: Path, tmp_path: Path
) -> None:
    (tmp_path / "landing").symlink_to(landing / "landing")
    store, result = signals(tmp_path)
    with open_client(DaskSettings(threads=2)) as client:
        embedded = write(store, result, client)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert write(store, result, client) == embedded
        killed = []

        def kill_one(rows: int) -> None:
            if not killed:
                killed.extend(list(client.run(os.getpid).values())[:1])
                os.kill(killed[0], signal.SIGKILL)

        assert write(store, result, client, kill_one) == embedded
        assert killed
        assert killed[0] not in client.run(os.getpid).values()


@pytest.mark.slow
def test_a_run_killed_in_the_middle_leaves_other_days_alone_and_a_rerun_completes(
    landing: Path, tmp_path: Path
) -> None:
    (tmp_path / "landing").symlink_to(landing / "landing")
    store, result = signals(tmp_path)
    with open_client(DaskSettings(threads=2)) as client:
        expected = write(store, result, client)
    yesterday = Store("").day_path("spectrograms", "2026-01-04")
    store.write_bytes(yesterday, store.read_bytes(PATH))
    code = (
        "import sys; from dasanom_assets.definitions import defs; "
        "job = defs.resolve_job_def('ingest'); assert job.execute_in_process(partition_key=sys.argv[1]).success"
    )
    environment = {**os.environ, "DASANOM_DATA": str(tmp_path), "DASANOM_SPECTROGRAM__HOP_SECONDS": "0.01"}
    run = subprocess.Popen([sys.executable, "-c", code, DAYS[0]], env=environment, stderr=subprocess.PIPE)
    folder = tmp_path / Path(PATH).parent
    try:
        while not list(folder.glob(".*.partial")):
            assert run.poll() is None, run.stderr.read().decode()
            time.sleep(0.001)
        run.send_signal(signal.SIGKILL)
    finally:
        run.kill()
        run.communicate()
    assert list(folder.glob(".*.partial"))
    assert store.digest(PATH) == store.digest(yesterday) == expected
    again = {**os.environ, "DASANOM_DATA": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, DAYS[0]], env=again, check=True, capture_output=True)
    assert store.read_day("spectrograms", DAYS[0]).num_rows == 32 * 8 * 60
    assert not list(folder.glob(".*.partial"))
    assert store.digest(yesterday) == expected


@pytest.mark.slow
def test_processes_of_the_run_compute_as_its_threads_do(landing: Path, tmp_path: Path) -> None:
    (tmp_path / "landing").symlink_to(landing / "landing")
    store, result = signals(tmp_path)
    digests = set()
    for settings in (DaskSettings(threads=2), DaskSettings(processes=2)):
        with open_client(settings) as client:
            assert sum(client.nthreads().values()) == 2
            digests.add(write(store, result, client))
    assert len(digests) == 1


def test_the_embedded_cluster_listens_on_this_machine_only() -> None:
    with open_client(DaskSettings(threads=3)) as client:
        assert sum(client.nthreads().values()) == 3
        listening = psutil.Process().net_connections("inet")
        assert {c.laddr.ip for c in listening if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_worker_processes_listen_on_this_machine_only() -> None:
    with open_client(DaskSettings(processes=1)) as client:
        client.submit(int, 1).result()
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        sockets = [connection for process in family for connection in process.net_connections("inet")]
    assert {c.laddr.ip for c in sockets if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    original = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda *a, **k: original(*a, **{**k, "timeout": 1}))
    with (
        pytest.raises(ConnectionError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        open_client(DaskSettings(address="tcp://127.0.0.1:9")),
    ):
        pass
