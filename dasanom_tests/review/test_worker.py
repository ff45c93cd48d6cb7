"""What the process beside the server computes is kept, and waited for once; a killed one is begun again."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from starlette.testclient import TestClient

from dasanom_assets.review import worker
from dasanom_assets.review.worker import StillComputingError, computed, stop
from dasanom_tests.review.made import DAY


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    stop()
    yield
    stop()


def count(path: str, seconds: float = 0.0, fails: bool = False) -> int:
    """Say how often this was called, by the length of a file."""
    with open(path, "a") as file:
        file.write("x")
    time.sleep(seconds)
    if fails:
        raise LookupError("on purpose")
    return os.path.getsize(path)


def test_what_takes_long_is_computed_once_however_often_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tmp_path / "calls")
    computed(count, str(tmp_path / "warm"))
    monkeypatch.setattr(worker, "PATIENCE_S", 0.2)
    for _ in range(3):
        with pytest.raises(StillComputingError, match="reload"):
            computed(count, file, 1.5)
    monkeypatch.setattr(worker, "PATIENCE_S", 20.0)
    assert computed(count, file, 1.5) == computed(count, file, 1.5) == 1


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(LookupError, match="on purpose"):
            computed(count, str(tmp_path / "calls"), 0.0, True)
    assert (tmp_path / "calls").read_text() == "xx"


def test_a_killed_process_is_begun_again(tmp_path: Path) -> None:
    [first] = {computed(os.getpid)}
    psutil.Process(first).send_signal(signal.SIGKILL)
    assert computed(count, str(tmp_path / "calls")) == 1
    assert computed(os.getpid) != first


def test_pages_say_that_something_is_still_computed(reader: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PATIENCE_S", 0.0)
    answer = reader.get(f"/api/days/{DAY}/kinds")
    assert answer.status_code == 503
    assert "still being computed" in answer.json()["error"]
