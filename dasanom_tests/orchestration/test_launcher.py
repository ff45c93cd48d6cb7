"""A killed run is missed, and one that hangs is gone, with all that it started, before it is tried again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.base import WorkerStatus

from dasanom_assets.orchestration.launcher import end, process_of

HERE = "dasanom_tests.orchestration.test_launcher"


@dg.op(config_schema=str)
def hang(context: dg.OpExecutionContext) -> None:
    """Hear no signal, as a call into C does not, and leave a child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(context.op_config).write_text(str(child.pid))
    while True:
        time.sleep(1)


@dg.job
def hanging() -> None:
    hang()


def within(seconds: float, holds: Callable[[], object]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(holds())


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    launcher = {"module": "dasanom_assets.orchestration.launcher", "class": "ProcessRunLauncher"}
    with dg.instance_for_test(
        overrides={"run_launcher": launcher | {"config": {"grace_seconds": 1.0}}}
    ) as instance:
        yield instance


def launched(instance: DagsterInstance, note: Path) -> tuple[DagsterRun, psutil.Process, int]:
    """A hanging run, its process, and the process id of the child that it has started."""
    run = instance.create_run_for_job(
        hanging,
        run_config={"ops": {"hang": {"config": str(note)}}},
        job_code_origin=ReconstructableJob.for_module(HERE, "hanging").get_python_origin(),
        status=DagsterRunStatus.STARTING,
    )
    instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    assert within(120, lambda: note.exists() and note.read_text())
    run = instance.get_run_by_id(run.run_id)
    process = process_of(run)
    assert process is not None
    return run, process, int(note.read_text())


@pytest.mark.slow
def test_a_killed_run_is_missed_and_a_hung_one_is_gone_before_its_retry(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    run, process, child = launched(instance, tmp_path / "note")
    health = instance.run_launcher.check_run_worker_health(run)
    assert (run.status, health.status) == (DagsterRunStatus.STARTED, WorkerStatus.RUNNING)
    assert os.getsid(process.pid) == process.pid  # Ctrl-C at a terminal, or the end of the daemon, is not its own

    assert instance.run_launcher.terminate(run.run_id)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.CANCELED
    assert not instance.run_launcher.terminate(run.run_id)

    run, process, child = launched(instance, tmp_path / "other note")
    process.kill()
    assert within(30, lambda: process_of(run) is None)
    health = instance.run_launcher.check_run_worker_health(run)
    assert health.status == WorkerStatus.FAILED
    assert str(process.pid) in health.msg
    end(psutil.Process(child), 0.1)
