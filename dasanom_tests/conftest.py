"""What several stages' tests share: real recordings, and one small simulated line that all jobs have run on."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from distributed import Client, LocalCluster

from dasanom_assets.benchmarks.servers import object_store
from dasanom_assets.tables.store import Store

DAYS = ("2026-01-05", "2026-01-06", "2026-01-07")
QUICKER = {
    "DASANOM_VAE__WINDOWS_PER_EPOCH": "4096",
    "DASANOM_INFOGAN__WIDTHS": "[8, 16, 32]",
    "DASANOM_INFOGAN__WINDOWS_PER_EPOCH": "1024",
}
"""Settings of networks that learn enough for a small line, sooner than usual."""


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several processes cores of its own: threads of two that share cores wait for each other."""
    worker = getattr(config, "workerinput", None)
    if worker:
        cores = sorted(os.sched_getaffinity(0))
        own = cores[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]
        os.sched_setaffinity(0, own or cores)


@pytest.fixture(scope="session")
def samples() -> Path:
    """Real recordings; see the README of the folder."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DASANOM_SAMPLES", beside))
    if not (folder / "das").is_dir():
        pytest.skip(f"no real recordings: {folder}/das does not exist; set DASANOM_SAMPLES")
    return folder


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """The embedded cluster: threads of this process."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


BUDGET = "1000"
"""Of the line: two days of eight minutes resolve no finer one."""


@dataclass(frozen=True)
class Line:
    """A simulated line after `ingest`, `train` (on all days but the last) and `rescore` (on all)."""

    root: Path
    store: Store
    instance: dg.DagsterInstance
    days: tuple[str, ...] = DAYS


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server: a process that speaks the protocol over HTTP, at the address that is given."""
    with object_store() as url:
        yield url


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh bucket, by its URL; its address and keys are in the environment, where S3 clients look for them."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-the-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"line-{secrets.token_hex(6)}"
    s3fs.S3FileSystem().mkdir(bucket)
    yield f"s3://{bucket}/data"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with nothing but simulated recordings, and their truth."""
    from dasanom_assets.recordings.simulation.simulate import simulate_days
    from dasanom_assets.recordings.simulation.sites import Line as SimulatedLine

    root = tmp_path_factory.mktemp("landing")
    simulated = SimulatedLine(zones=((100, 131),), minutes=8, seed=7)
    simulate_days(simulated, [date.fromisoformat(day) for day in DAYS], root)
    return root


@pytest.fixture(scope="session")
def line(landing: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """All three jobs, through `execute_in_process`, on a fresh data root."""
    from dasanom_assets.definitions import defs

    root = tmp_path_factory.mktemp("line")
    (root / "landing").symlink_to(landing / "landing")
    with pytest.MonkeyPatch.context() as patch, dg.instance_for_test() as instance:
        patch.setenv("DASANOM_DATA", str(root))
        for day in DAYS:
            assert defs.resolve_job_def("ingest").execute_in_process(partition_key=day, instance=instance).success
        config = {"ops": {"training_set": {"config": {"days": list(DAYS[:-1])}}}}
        with pytest.MonkeyPatch.context() as quicker:
            for name, value in QUICKER.items():
                quicker.setenv(name, value)
            assert defs.resolve_job_def("train").execute_in_process(run_config=config, instance=instance).success
        with pytest.MonkeyPatch.context() as larger:
            larger.setenv("DASANOM_DETECTION__BUDGET", BUDGET)
            for day in DAYS:
                job = defs.resolve_job_def("rescore")
                assert job.execute_in_process(partition_key=day, instance=instance).success
        yield Line(root, Store(str(root)), instance)
