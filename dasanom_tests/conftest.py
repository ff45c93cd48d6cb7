"""What several stages' tests share: real recordings, and one small simulated line that all jobs have run on."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from dasanom_assets.tables.store import Store

DAYS = ("2026-01-05", "2026-01-06", "2026-01-07")


@pytest.fixture(scope="session")
def samples() -> Path:
    """Real recordings; see the README of the folder."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DASANOM_SAMPLES", beside))
    if not (folder / "das").is_dir():
        pytest.skip(f"no real recordings: {folder}/das does not exist; set DASANOM_SAMPLES")
    return folder


@dataclass(frozen=True)
class Line:
    """A simulated line after `ingest`, `train` (on all days but the last) and `rescore` (on all)."""

    root: Path
    store: Store
    instance: dg.DagsterInstance
    days: tuple[str, ...] = DAYS


@pytest.fixture(scope="session")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with nothing but simulated recordings, and their truth."""
    from dasanom_assets.recordings import simulate

    root = tmp_path_factory.mktemp("landing")
    arguments = ["--data", str(root), "--days", str(len(DAYS)), "--first-day", DAYS[0]]
    assert simulate.main([*arguments, "--channels", "32", "--minutes", "8", "--seed", "7"]) == 0
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
        assert defs.resolve_job_def("train").execute_in_process(run_config=config, instance=instance).success
        for day in DAYS:
            assert defs.resolve_job_def("rescore").execute_in_process(partition_key=day, instance=instance).success
        yield Line(root, Store(str(root)), instance)
