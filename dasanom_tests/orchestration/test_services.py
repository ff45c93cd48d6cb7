"""A service that ends, by an error or a kill, is started again; at the end none is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dasanom_assets.orchestration import services
from dasanom_assets.orchestration.services import Services
from dasanom_tests.orchestration.test_launcher import within


def test_a_service_that_ends_is_started_again_with_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(services, "FIRST_PAUSE", 0.1)
    starts = tmp_path / "starts"
    failing = f"print('telemetry', file=open({str(starts)!r}, 'a')); raise SystemExit(3)"
    commands = {
        "failing": [sys.executable, "-c", failing],
        "standing": [sys.executable, "-c", "import time; time.sleep(600)"],
    }
    with open(tmp_path / "log", "a") as log:
        running = Services(commands, log)
        running.start()
        try:
            first = running.processes["standing"]
            os.kill(first.pid, signal.SIGKILL)
            assert within(30, lambda: running.processes["standing"].pid != first.pid)
            assert within(30, lambda: starts.exists() and len(starts.read_text().splitlines()) >= 3)
        finally:
            running.stop(5)
    said = capsys.readouterr().out
    assert "the standing ended with status -9" in said
    assert "the failing ended with status 3" in said
    assert all(process.poll() is not None for process in running.processes.values())
    time.sleep(0.6)
    assert not [
        p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE and "600" in p.cmdline()
    ]


def test_services_are_told_to_send_no_telemetry(tmp_path: Path) -> None:
    told = [sys.executable, "-c", "import os; print(os.environ['DAGSTER_DISABLE_TELEMETRY'], flush=True)"]
    with open(tmp_path / "log", "a") as log:
        running = Services({"one": told}, log)
        running.start()
        assert within(30, lambda: (tmp_path / "log").read_text().startswith("yes"))
        running.stop(5)


def test_a_log_of_a_year_keeps_its_end_and_what_came_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "LARGEST_LOG_BYTES", 10_000)
    writing = "import time\nfor i in range(10**6): print(i, 'x' * 90, flush=True); time.sleep(0.001)"
    path = tmp_path / "make-run.log"
    with open(path, "a") as log:
        running = Services({"talking": [sys.executable, "-c", writing]}, log)
        running.start()
        try:
            assert within(60, lambda: path.with_suffix(".before.log").exists())
            first = path.with_suffix(".before.log").read_text()
            assert within(60, lambda: path.with_suffix(".before.log").read_text() != first)
        finally:
            running.stop(5)
    before, now = (p.read_text().splitlines() for p in (path.with_suffix(".before.log"), path))
    assert not first.startswith("\0")
    assert now[0].split()[0] > "0"
    assert int(before[-1].split()[0]) > int(first.splitlines()[-1].split()[0])


@pytest.mark.skipif(not services.WITH_ITS_PARENT, reason="only Linux ends services with who has started them")
def test_services_end_with_a_killed_parent(tmp_path: Path) -> None:
    starting = f"""
import sys, time
from dasanom_assets.orchestration.services import Services
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
with open({str(tmp_path / "log")!r}, "a") as log:
    running = Services({{"one": sleep, "other": sleep}}, log)
    running.start()
    first = running.processes["one"]
    first.kill()  # so that one of them is started by the thread that watches
    while running.processes["one"] is first:
        time.sleep(0.1)
    time.sleep(1)
    print("pids", *(process.pid for process in running.processes.values()), flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", starting], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        words = next(line for line in parent.stdout if line.startswith("pids")).split()[1:]
        assert len(words) == 2
        assert all(psutil.pid_exists(int(pid)) for pid in words)
        parent.kill()
    assert within(10, lambda: not any(psutil.pid_exists(int(pid)) for pid in words))
