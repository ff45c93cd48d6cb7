"""The benchmark of outages kills what it says, shuts doors, and waits for what comes back."""

import contextlib
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from dasanom_assets.benchmarks import outages_at_work
from dasanom_assets.benchmarks.outages_at_work import Absence, Killer, Patient, living
from dasanom_assets.benchmarks.servers import Door
from dasanom_assets.orchestration import services
from dasanom_assets.orchestration.services import Services


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(services, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(
        outages_at_work.time, "sleep", lambda seconds, sleep=outages_at_work.time.sleep: sleep(0.05)
    )


def test_a_service_is_killed_as_often_as_asked_and_is_back_each_time(tmp_path: Path) -> None:
    with open(tmp_path / "log", "a") as log:
        running = Services({"one": [sys.executable, "-c", "import time; time.sleep(600)"]}, log)
        running.start()
        first = running.processes["one"].pid
        killer = Killer(running, "one", 3, random.Random(1), (0.0, 0.1))
        killer.start()
        killer.join(60)
        running.stop(5)
    assert killer.done == ["server"] * 3
    assert running.processes["one"].pid != first


@pytest.fixture
def door() -> Iterator[Door]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Door(server.getsockname()[1])


def knocks(door: Door) -> bool:
    try:
        socket.create_connection(("127.0.0.1", door.port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_door_that_is_shut_refuses_and_cuts_who_is_inside(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), 5) as inside:
        assert knocks(door)
        door.shut()
        assert not knocks(door)
        with contextlib.suppress(ConnectionError):
            assert inside.recv(1) == b""
    door.open()
    assert knocks(door)


def test_a_server_is_away_once_for_each_job_and_back_at_the_end(door: Door) -> None:
    seen: list[str] = []

    def get_runs(what: Any, limit: int) -> list[str]:
        seen.append(what.job_name)
        return ["run"] if len(seen) > 2 else []

    absence = Absence(SimpleNamespace(get_runs=get_runs), door, 0.1, random.Random(1))
    absence.start()
    absence.join(30)
    assert absence.done == ["away during ingest", "away during rescore"]
    assert knocks(door)


def test_what_a_database_is_asked_is_asked_again_until_it_is_back() -> None:
    asked: list[int] = []

    def get(number: int) -> int:
        asked.append(number)
        if len(asked) < 3:
            raise OperationalError("select", {}, Exception("refused"))
        return number

    assert Patient(SimpleNamespace(get=get, name="x")).get(7) == 7
    assert asked == [7] * 3


def test_a_process_that_lives_on_is_named(tmp_path: Path) -> None:
    assert living(tmp_path, 0) == []
    command = [sys.executable, "-c", "print(1, flush=True); import time; time.sleep(60)"]
    with subprocess.Popen(
        command, env=os.environ | {"DAGSTER_HOME": str(tmp_path)}, stdout=subprocess.PIPE
    ) as left:
        assert left.stdout is not None
        left.stdout.readline()
        assert "time.sleep(60)" in living(tmp_path, 0)[0]
        left.kill()
