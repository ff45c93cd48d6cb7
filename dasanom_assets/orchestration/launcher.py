"""Runs as processes of their own: they outlive who started them, are missed when they die, and end when told to.

Dagster's own launcher starts runs within the code location. There a killed run is not noticed, one that hangs
outlives its cancellation, and the end of the code location is the end of its runs.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import psutil
from dagster import DagsterRun, Field
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass, ConfigurableClassData, serialize_value

PROCESS_TAG = "dasanom/process"
"""Tag of a run: host, process id and time of start of the process that makes it."""
GRACE_SECONDS = 30.0
"""A run that was told to stop has so long to save and say so; then it is killed."""


class ProcessRunLauncher(RunLauncher, ConfigurableClass):
    """Starts each run as a process in a session of its own.

    `dagster.yaml` names it. Processes inherit the environment, and with it settings and secrets, of whoever
    launches: the daemon.
    """

    def __init__(
        self, grace_seconds: float = GRACE_SECONDS, inst_data: ConfigurableClassData | None = None
    ) -> None:
        super().__init__()
        self.grace_seconds, self._inst_data = grace_seconds, inst_data

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """What `dagster.yaml` says of it."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return what `dagster.yaml` may say of it."""
        return {"grace_seconds": Field(float, is_required=False, default_value=GRACE_SECONDS)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> "ProcessRunLauncher":
        """Make one from `dagster.yaml`."""
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the process of a run and note in a tag which it is."""
        run = context.dagster_run
        origin = context.job_code_origin
        if origin is None:
            raise ValueError(f"run {run.run_id} does not say which code it is of")
        arguments = ExecuteRunArgs(job_origin=origin, run_id=run.run_id, instance_ref=None)
        # In the environment: other users of the machine can read a command line.
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "api", "execute_run"],
            env=os.environ | {"DAGSTER_EXECUTE_RUN_ARGS": serialize_value(arguments)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        note = {"host": socket.gethostname(), "pid": process.pid}
        with contextlib.suppress(psutil.NoSuchProcess):  # so soon: the monitor will miss it
            note["started"] = psutil.Process(process.pid).create_time()
        self._instance.add_run_tags(run.run_id, {PROCESS_TAG: json.dumps(note)})

    def terminate(self, run_id: str) -> bool:
        """Tell a run to stop, kill what of it is left after the grace, and return whether it was at work.

        When this returns nothing of the run is at work any more.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        process = process_of(run)
        self._instance.report_run_canceling(run)
        if process is not None:
            end(process, self.grace_seconds)
        run = self._instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:  # it could not say so any more
            self._instance.report_run_canceled(run, "It was told to stop and did not; it was killed.")
        return process is not None

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether a run that dies is missed: yes."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Say whether the process of a run is there; of one on another machine nothing is known."""
        note = json.loads(run.tags.get(PROCESS_TAG, "{}"))
        if note.get("host") != socket.gethostname() or process_of(run) is not None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"its process {note['pid']} is gone: killed, or for want of memory"
        )


def process_of(run: DagsterRun) -> psutil.Process | None:
    """Return the process that makes a run; None where it has ended, or runs on another machine."""
    note = json.loads(run.tags.get(PROCESS_TAG, "{}"))
    if note.get("host") != socket.gethostname():
        return None
    try:
        process = psutil.Process(note["pid"])
        if process.create_time() != note.get("started") or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.NoSuchProcess:
        return None
    return process


def end(process: psutil.Process, grace_seconds: float) -> None:
    """Interrupt a process, and kill it and all that it started where any is left after a grace, s."""
    family = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
        process.send_signal(signal.SIGINT)
    _, left = psutil.wait_procs(family, grace_seconds)
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            family += one.children(recursive=True)
            one.kill()
    psutil.wait_procs(family, 5)
