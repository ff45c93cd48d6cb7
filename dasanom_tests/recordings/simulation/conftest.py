"""A small simulated line, and what its files hold."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from dasanom_assets.cli import app
from dasanom_assets.recordings.simulation.ground import USUAL_GROUND, Background
from dasanom_assets.recordings.simulation.kinds import KINDS
from dasanom_assets.recordings.simulation.simulate import simulate
from dasanom_assets.recordings.simulation.sites import Line

DAY = date(2026, 1, 5)
SHORT = [kind for kind, about in KINDS.items() if not about.lasting]
THREATS = [kind for kind, about in KINDS.items() if about.threat]
BUSY = {"walking": 60, "pickaxe": 60, "shovel": 60, "cutting": 60, "machine": 60, "traffic": 120, "wind": 60}
SMALL = Line(
    zones=((100, 106), (200, 204)), minutes=1, file_minutes=0.5, events_per_hour=BUSY, snrs_db=(15.0,), seed=3
)


def typed(root: Path, *options: str) -> Result:
    """What `dasanom simulate` does with a data root and options."""
    return CliRunner().invoke(app, ["simulate", "--data", str(root), *options])


def samples(root: Path, line: Line, day: date = DAY) -> np.ndarray:
    """All samples of a day, (n_samples, n_channels), in the order of their files."""
    files = sorted((root / "landing" / f"{day}").glob(f"{line.fibre}_*.bin"))
    return np.concatenate([np.fromfile(file, "<i2").reshape(-1, len(line.channels)) for file in files])


def truth(root: Path, name: str, day: date = DAY) -> pa.Table:
    return pq.read_table(root / "truth" / f"day={day}" / f"{name}.parquet", partitioning=None)


def background(line: Line = SMALL) -> Background:
    return Background((1, 2, 0), (1, 2, 1, 3), line.zones, 5.0, line.gauge_length_m, 2000, 700.0, USUAL_GROUND)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    simulate(SMALL, [DAY], root)
    return root


@pytest.fixture(scope="session")
def long_line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Line]:
    line = Line(minutes=4, events_per_hour={**BUSY, "traffic": 60, "wind": 15}, snrs_db=(6.0, 10.0, 15.0))
    root = tmp_path_factory.mktemp("long")
    simulate(line, [DAY], root)
    return root, line
