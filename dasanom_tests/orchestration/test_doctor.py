"""The doctor finds planted faults, says what puts each right, and finds nothing where nothing is wrong."""

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dasanom_assets.benchmarks.servers import free_port
from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration import doctor
from dasanom_assets.orchestration.doctor import Finding, examine
from dasanom_assets.recordings import steps as recordings
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_catalogue import deliver

DAY = "2026-01-05"


@pytest.fixture
def healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a recording and a live model, and a home for Dagster."""
    deliver(tmp_path, DAY, "north_20260105T100000")
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    store, settings = Store(str(tmp_path)), Settings()
    made_with = {
        name: getattr(settings, name).model_dump(mode="json") for name in ("window", "background", "reference")
    }
    version = checkpoints.save(store, "reference_model", {}, {"settings": made_with})
    checkpoints.set_live(store, {"reference_model": version})
    return tmp_path


def findings() -> list[Finding]:
    return list(examine(free_port()))


def test_where_nothing_is_wrong_nothing_is_found(healthy: Path) -> None:
    assert findings() == []


def no_home(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("DAGSTER_HOME")


def empty_home(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root / "home" / "dagster.yaml").unlink()


def wrong_zone(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("DASANOM_TEMPORAL__TIME_ZONE", "Europe/Ankara")


def wrong_number(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("DASANOM_SPECTROGRAM__BANDS", "many")


def unreadable_landing(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root / "landing" / DAY / "gone.bin").symlink_to(root / "nowhere")


def landing_is_a_file(root: Path, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / "landing")
    (root / "landing").write_text("")


def no_landing(root: Path, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / "landing")


def foreign_folder(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root / "landing" / "20260105").mkdir()


def unknown_variable(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("DASANOM_SPECTROGRAM__BAND", "32")


def other_recipe(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("DASANOM_REFERENCE__NEIGHBOURS", "9")


def damaged_model(root: Path, patch: pytest.MonkeyPatch) -> None:
    for path in root.glob("models/reference_model/*/model.json"):
        path.write_text("{")


def model_of_other_code(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(checkpoints.CODE, "reference_model", "after")


def no_model(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root / checkpoints.LIVE).unlink()
    ingested = root / Store(str(root)).day_path(
        "background", DAY
    )  # before that, there is nothing to learn from yet
    ingested.parent.mkdir(parents=True)
    ingested.write_bytes(b"")


def clock_ahead(root: Path, patch: pytest.MonkeyPatch) -> None:
    later = time.time() + 3600
    os.utime(next((root / "landing" / DAY).iterdir()), (later, later))


def full_disk(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(doctor.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 10**6))


def missing_reader(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root / "landing" / DAY / "shot.sgy").write_bytes(b"x")
    patch.setattr(doctor.importlib.util, "find_spec", lambda name: None)


def stale_lock(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "tables" / "background" / f"day={DAY}"
    folder.mkdir(parents=True)
    (folder / ".background.parquet.abc.partial").write_bytes(b"half a table")


def rule_without_a_fibre(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root / "sites.toml").write_text('[[site]]\nfolder = "boxA"')


def rule_without_a_file(root: Path, patch: pytest.MonkeyPatch) -> None:
    rules = [f'[[site]]\nfibre = "{name}"\npattern = "{pattern}"\n' for name, pattern in (("a", "*"), ("b", "n*"))]
    (root / "sites.toml").write_text("\n".join(rules))
    recordings.recordings(Store(str(root)), DAY, Settings())


FAULTS: dict[Callable[[Path, pytest.MonkeyPatch], None], tuple[str, str]] = {
    rule_without_a_fibre: ("rule 1 in sites.toml in the data root: fibre: Field required", "mend the rule"),
    rule_without_a_file: (
        f"rule 2 of sites.toml, for the fibre b, fits no file of {DAY} first",
        "move it before",
    ),
    no_home: ("DAGSTER_HOME is not set", "export DAGSTER_HOME="),
    empty_home: ("has no dagster.yaml", "ln -s"),
    wrong_zone: ("DASANOM_TEMPORAL: time_zone 'Europe/Ankara' is not known", "change the variable"),
    wrong_number: ("DASANOM_SPECTROGRAM__BANDS: Input should be a valid integer", "change the variable"),
    unreadable_landing: ("gone.bin cannot be read", "deliver the file itself"),
    landing_is_a_file: ("cannot be listed", "make it a folder"),
    no_landing: ("there is no ", "mkdir -p"),
    foreign_folder: ("20260105 is no recording day", "rename it to 2026-01-05"),
    unknown_variable: ("DASANOM_SPECTROGRAM__BAND is no setting", "rename it to DASANOM_SPECTROGRAM__BANDS"),
    other_recipe: ("reference.neighbours 5, which is 9 now", "DASANOM_REFERENCE__NEIGHBOURS=5, or dasanom train"),
    damaged_model: ("damaged", "materialize live_model"),
    model_of_other_code: (
        f"was made by code {checkpoints.CODE['reference_model']}, which is after now",
        "dasanom train",
    ),
    no_model: ("there is no live model", "dasanom train"),
    clock_ahead: (" UTC, in the future: one clock is ahead", "NTP"),
    full_disk: ("0.001 GB are free", "free some"),
    missing_reader: ("no segyio to read it", "pip install segyio"),
    stale_lock: (".background.parquet.abc.partial was left by a writer that was killed", "rm "),
}


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found_with_its_remedy(
    healthy: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    plant(healthy, monkeypatch)
    problem, remedy = FAULTS[plant]
    (finding,) = findings()
    assert problem in finding.problem
    assert remedy in finding.remedy


def test_a_port_in_use_is_found(healthy: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (finding,) = examine(port)
    assert finding == Finding(
        f"port {port} of 127.0.0.1 is in use",
        f"stop the program that has it, or take another: dasanom run --port {port + 1}",
    )


def test_the_port_of_a_run_that_is_at_work_is_as_it_should_be(healthy: Path) -> None:
    with socket.socket() as other, open(Path(os.environ["DAGSTER_HOME"]) / doctor.RUN_LOCK, "w") as lock:
        other.bind(("127.0.0.1", 0))
        other.listen()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert list(examine(other.getsockname()[1])) == []
