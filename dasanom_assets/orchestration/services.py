"""The processes behind `make run`: code location, web server, daemon, review app; each is kept at work."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dagster import DagsterInstance

CODE = "dasanom_assets.definitions"
LOCATION = "dasanom"
WITHOUT_TELEMETRY = {"DAGSTER_DISABLE_TELEMETRY": "yes"}
"""Dagster posts what lies in DAGSTER_HOME/logs even without telemetry in `dagster.yaml`; by this it does not."""
QUIET = ["--log-level", "warning"]
"""Each tick of a year would be some lines otherwise."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a service is started again; twice as many each time that it ends soon."""
WITH_ITS_PARENT = [SETPRIV, "--pdeathsig", "KILL", "--"] if (SETPRIV := shutil.which("setpriv")) else []
"""Linux ends a service with the thread that has started it: `make run` may be killed, too."""
LARGEST_LOG_BYTES = 20 << 20
"""A longer log goes to a file beside it, in place of the one that went before, and begins anew."""


class Services:
    """Processes that are kept at work.

    Parameters
    ----------
    commands : mapping
        What to run, by the service's name.
    log : file
        Takes what they write; opened to append, since it is cut while they write.
    """

    def __init__(self, commands: Mapping[str, list[str]], log: IO[str]) -> None:
        self.commands, self.log = dict(commands), log
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._began: dict[str, float] = {}
        self._pauses = dict.fromkeys(commands, FIRST_PAUSE)
        self._due: dict[str, float] = {}
        self._stopping, self._idle, self._stopped = (threading.Event() for _ in range(3))
        self._watcher = threading.Thread(target=self._watch, name="services", daemon=True)

    def start(self) -> None:
        """Start all services and the thread that watches them."""
        for name in self.commands:
            self._start(name)
        self._watcher.start()

    def stop(self, patience: float = 30.0) -> None:
        """End all services; what is left after `patience`, s, is killed."""
        self._stopping.set()
        self._idle.wait()
        for process in self.processes.values():
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + patience
        for process in self.processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._stopped.set()
        self._watcher.join()

    def _start(self, name: str) -> None:
        self._began[name] = time.monotonic()
        self.processes[name] = subprocess.Popen(
            [*WITH_ITS_PARENT, *self.commands[name]],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            process_group=0,
            env=os.environ | WITHOUT_TELEMETRY,
        )

    def _watch(self) -> None:
        while not self._stopping.wait(0.5):
            self._cut_log()
            now = time.monotonic()
            for name, process in self.processes.items():
                if process.poll() is None:
                    if now - self._began[name] > LONGEST_PAUSE:
                        self._pauses[name] = FIRST_PAUSE
                elif name not in self._due:
                    pause = self._pauses[name]
                    self._due[name] = now + pause
                    self._pauses[name] = min(2 * pause, LONGEST_PAUSE)
                    ended = f"the {name} ended with status {process.returncode}"
                    print(f"{ended}; it is started again in {pause:.0f} s (log: {self.log.name})", flush=True)
                elif now >= self._due[name]:
                    del self._due[name]
                    self._start(name)
        self._idle.set()
        self._stopped.wait()  # what this thread has started would be killed with it

    def _cut_log(self) -> None:
        path = Path(self.log.name)
        if path.stat().st_size > LARGEST_LOG_BYTES:
            shutil.copyfile(path, path.with_suffix(".before.log"))
            os.truncate(path, 0)  # those who append go on at its begin


@contextmanager
def services(port: int, more: Mapping[str, list[str]] | None = None) -> Iterator[tuple[Services, Path]]:
    """Start the code location, the web server and the daemon; yield them and their log; stop them at the end.

    Parameters
    ----------
    port : int
        Of the UI on 127.0.0.1. The code location listens on a socket that only this user reaches.
    more : mapping, optional
        Commands of other services, by name.
    """
    with DagsterInstance.get():  # its storage is made: services that make it at once trip over each other
        pass
    folder = Path(os.environ["DAGSTER_HOME"]) / "services"
    folder.mkdir(exist_ok=True)
    log = folder / "make-run.log"
    log.write_text("")
    with (
        # Not in DAGSTER_HOME: the path of a socket has some hundred letters at most.
        tempfile.TemporaryDirectory(prefix="dasanom-") as private,
        open(log, "a") as sink,
    ):
        socket, workspace = f"{private}/code.sock", Path(private) / "workspace.yaml"
        location = {"grpc_server": {"socket": socket, "location_name": LOCATION}}
        workspace.write_text(json.dumps({"load_from": [location]}))  # which is YAML, too
        python, where = sys.executable, ["--workspace", str(workspace)]
        code = ["--module-name", CODE, "--location-name", LOCATION, "--socket", socket, *QUIET]
        running = Services(
            {
                "code location": [python, "-m", "dagster", "api", "grpc", *code],
                "web server": [python, "-m", "dasanom_assets.cli", "web", "--port", str(port), *where],
                "daemon": [python, "-m", "dagster._daemon", "run", *where, *QUIET],
            }
            | dict(more or {}),
            sink,
        )
        print(f"Starting Dagster (log: {log})", flush=True)
        running.start()
        try:
            yield running, log
        finally:
            running.stop()
