"""A tick asks for every day that can be ingested, and names whatever else lies in landing/."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from dasanom_assets.definitions import build_defs
from dasanom_assets.orchestration.doctor import examine
from dasanom_assets.orchestration.run import _simulate_if_empty
from dasanom_assets.recordings.simulation import simulate
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_catalogue import DAY, deliver

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
STEM = "north_20260105T100000"


def tick(root: Path) -> list[str] | str:
    """What a tick asks for, or why it asks for nothing."""
    defs = build_defs()
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(
            instance=instance, definitions=defs, resources={"store": Store(str(root))}
        )
        result = defs.resolve_sensor_def("new_recordings").evaluate_tick(context)
    return [str(request.partition_key) for request in result.run_requests or []] or str(result.skip_message)


def changed(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() + seconds,) * 2)


def settled(root: Path) -> None:
    for path in (root / "landing").rglob("*"):
        if path.is_file():
            changed(path, -3600)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    deliver(tmp_path, DAY, STEM)
    settled(tmp_path)
    return tmp_path


def in_landing_itself(landing: Path) -> None:
    (landing / "a.bin").write_bytes(b"1")
    (landing / "b.bin").write_bytes(b"1")


BESIDE: dict[Callable[[Path], object], str] = {
    lambda landing: (landing / TOMORROW).mkdir(): f"landing/{TOMORROW} is in the future",
    lambda landing: (landing / "2062-01-06").mkdir(): "landing/2062-01-06 is in the future",
    lambda landing: (landing / "2025-01-06").mkdir(): "landing/2025-01-06 is before the first recording day",
    lambda landing: (landing / "20260106").mkdir(): "20260106 is no recording day: rename it to 2026-01-06",
    lambda landing: (landing / "2026_1_6").mkdir(): "2026_1_6 is no recording day: rename it to 2026-01-06",
    lambda landing: (landing / "disk2").mkdir(): "landing/disk2 is no recording day: name day folders YYYY-MM-DD",
    lambda landing: (landing / "2026-01-06").symlink_to(landing / "gone"): "2026-01-06 is not taken: a link to",
    lambda landing: os.mkfifo(landing / "2026-01-06"): "landing/2026-01-06 is not taken: a pipe",
    in_landing_itself: "landing/a.bin and 1 other files lie directly in landing/",
    lambda landing: changed(landing / DAY / f"{STEM}.bin", 7200): "changed 2.0 h in the future",
}


@pytest.mark.parametrize("put", BESIDE, ids=BESIDE.values())
def test_what_is_beside_the_days_is_named_and_stops_nothing(
    root: Path, put: Callable[[Path], object], capfd: pytest.CaptureFixture[str]
) -> None:
    put(root / "landing")
    assert tick(root) == [DAY]
    assert BESIDE[put] in capfd.readouterr().err
    findings = [f"{finding.problem}: {finding.remedy}" for finding in examine(0)]
    problem = BESIDE[put].replace("changed 2.0 h in", "UTC, in")  # it names the time itself
    assert any(problem in finding for finding in findings)


def test_a_linked_day_is_a_day_and_an_empty_landing_says_so(root: Path) -> None:
    (root / "landing" / DAY).rename(root / "disk")
    assert "no recording day in landing/ yet" in tick(root)
    (root / "landing" / DAY).symlink_to(root / "disk")
    assert tick(root) == [DAY]


@pytest.mark.parametrize("name", ["20260105", DAY, ".2026-01-05", TOMORROW, "north.bin"])
def test_nothing_is_simulated_beside_what_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(simulate, "simulate_days", lambda line, days, root: asked.append(root))
    (tmp_path / "landing" / name).mkdir(parents=True)
    _simulate_if_empty(Settings(data=str(tmp_path)))
    assert asked == []
