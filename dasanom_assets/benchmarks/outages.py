"""What becomes of days, and of what analysts say, where servers are killed or away.

``dasanom bench outages`` starts what `make run` starts, on an empty data root with a model, and lets small days
come, one a morning. Meanwhile it kills the daemon, or PostgreSQL, at random moments. In other rows PostgreSQL, or
a store that speaks S3, is away for a while as soon as an ingest is at work, and again as soon as a scoring is.
Nobody helps. At the end each day must be scored, once, with the tables that one process makes of the same files.
Each failed run is told once, and nothing is left over. ``review`` kills the analysts' app while clients enter
verdicts: what it said that it has stored must be there, once.

The clock is set from night to morning, as that of ``dasanom bench season``.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import typer

from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.benchmarks.outages_at_work import live
from dasanom_assets.benchmarks.outages_of_review import judged
from dasanom_assets.benchmarks.season import LINE
from dasanom_assets.benchmarks.season import SETTINGS as OF_SEASON
from dasanom_assets.benchmarks.season_plan import FIRST_DAY

ROWS = ("daemon", "postgresql", "review", "postgresql-away", "s3-away")
SETTINGS = OF_SEASON | {"DASANOM_TRAINING_SET__BLOCK_SECONDS": "20"}  # a few days of some minutes
LEARNED = [FIRST_DAY - timedelta(days=n) for n in (6, 5, 4, 3, 2, 1)]
DAYS = [FIRST_DAY + timedelta(days=n) for n in range(12)]
"""That may come: as many do as the kills take."""


def seeded(folder: Path) -> Path:
    """Make recordings of all days, and a model of those before them; return where they are."""
    seed = folder / "seed"
    if not (seed / "models/live.json").exists():
        shutil.rmtree(seed, ignore_errors=True)
        command = [sys.executable, "-m", "dasanom_assets.benchmarks.outages", str(seed)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | SETTINGS)
    return seed


def make_seed(seed: Path) -> None:
    """Simulate the days, train on the first, and score the last of those."""
    from dasanom_assets import chain
    from dasanom_assets.recordings.simulation.simulate import simulate
    from dasanom_assets.recordings.simulation.sites import without_threats
    from dasanom_assets.settings import Settings
    from dasanom_assets.spectrograms.cluster import open_client
    from dasanom_assets.tables.store import Store

    simulate(without_threats(LINE), LEARNED[:-1], seed)
    simulate(LINE, [LEARNED[-1], *DAYS], seed)
    store, settings = Store(str(seed)), Settings(data=str(seed))
    names = [day.isoformat() for day in LEARNED]
    with open_client(settings.dask) as client:
        for day in names:
            chain.ingest(store, day, settings, client)
    chain.train(store, names[:-1], settings, print)
    chain.score(store, names[-1], settings)
    chain.compare(store, names[-1], settings)


def main(
    folder: Annotated[Path, typer.Argument(help="where data are made and kept")] = Path("outages"),
    rows: Annotated[str, typer.Option(help="separated by commas")] = ",".join(ROWS),
    kills: Annotated[int, typer.Option(help="of each server")] = 20,
    seed: Annotated[int, typer.Option(help="of the moments")] = 2026,
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures")] = None,
) -> None:
    """Kill servers, or let them be away, while days come and analysts judge."""
    source, figures = seeded(folder), {}
    for row in rows.split(","):
        with tempfile.TemporaryDirectory(dir=folder) as top, patch.dict(os.environ, SETTINGS):
            rng = random.Random(f"{seed} {row}")
            if row == "review":
                figures[row] = judged(Path(top), source, LEARNED[-1].isoformat(), kills, rng)
            else:
                figures[row] = live(row, Path(top), source, DAYS, kills, rng)
        print(f"{row}: {figures[row]}", flush=True)
    write_figures(out, {"rows": figures})
    raise typer.Exit(any(figure["wrong"] for figure in figures.values()))


if __name__ == "__main__":
    make_seed(Path(sys.argv[1]))
