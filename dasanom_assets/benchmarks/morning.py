"""How well a day is told to an analyst, held against what was planted in days that the model has not learned from.

``dasanom bench morning data/morning --seeds 31,32 --out docs/morning.json`` simulates the line of ``make run`` for
each seed: four ordinary days that are learned from, and some with threats. All days are ingested, and scored in
their order, once for each budget of false alarms. `morning_figures` measures the days with threats.

What was made lies in the folder, and what would be the same now is not made again.
"""

import os
import shutil
import sys
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from dasanom_assets import chain
from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.benchmarks.morning_figures import GOALS, figures_of, totals
from dasanom_assets.benchmarks.options import Out, numbers, words
from dasanom_assets.models.checkpoints import live
from dasanom_assets.recordings.simulation.simulate import simulate_days
from dasanom_assets.recordings.simulation.sites import Line
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.tables.store import Store

FIRST, LEARNED = date(2026, 1, 5), 4


def days_of(scored: int) -> tuple[list[str], list[str]]:
    """Return the days that are learned from, and so many after them that are scored."""
    days = [f"{FIRST + timedelta(days=i)}" for i in range(LEARNED + scored)]
    return days[:LEARNED], days[LEARNED:]


def learned(folder: Path, line: Line, scored: int, settings: Settings) -> Path:
    """Simulate and ingest the days of a line, and train on the first of them; return the data root.

    Parameters
    ----------
    folder : pathlib.Path
        Where data roots are kept for the next time.
    line : Line
        With threats, which happen on the scored days alone.
    scored : int
        Number of scored days.
    settings : Settings
    """
    ordinary, others = days_of(scored)
    root = folder / f"{line.fibre}-{line.seed}-{scored}"
    if not root.exists():
        made = root.with_name(f"{root.name}.part")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        simulate_days(line, list(map(date.fromisoformat, (*ordinary, *others))), made, threat_days=scored)
        made.rename(root)
    store = Store(str(root))
    if todo := [day for day in (*ordinary, *others) if chain.stale(store, day, settings, chain.INGEST)]:
        with open_client(settings.dask) as client:
            for day in todo:
                chain.ingest(store, day, settings, client)
    if todo or live(store, "reference_model") is None:
        chain.train(store, ordinary, settings, _say)
    return root


def scored_with(root: Path, days: Iterable[str], compared: Iterable[str], settings: Settings) -> Store:
    """Score days with the budget of the settings in a data root beside `root`, and compare some of them.

    Parameters
    ----------
    root : pathlib.Path
        See `learned`.
    days, compared : iterable of str
        In their order: pages tell of what a place did on the days before.
    settings : Settings
    """
    beside = root.with_name(f"{root.name}-{settings.detection.budget:g}")
    store = Store(str(beside))
    if not beside.exists() or live(store, "reference_model") != live(Store(str(root)), "reference_model"):
        made = beside.with_name(f"{beside.name}.part")
        for old in (made, beside):
            shutil.rmtree(old, ignore_errors=True)
        # Tables are replaced, and never written into: links are as good as copies.
        shutil.copytree(root, made, copy_function=os.link)
        made.rename(beside)
    compared = set(compared)
    for day in days:
        if chain.stale(store, day, settings, chain.SCORE):
            chain.score(store, day, settings)
        if day in compared and chain.stale(store, day, settings, chain.COMPARE):
            chain.compare(store, day, settings)
    return store


def run(
    folder: Path, line: Line, scored: int, budgets: Iterable[float], settings: Settings
) -> list[dict[str, Any]]:
    """Return the figures of a line: for each budget those of each day, and of all days."""
    ordinary, others = days_of(scored)
    root = learned(folder, line, scored, settings)
    rows = []
    for budget in budgets:
        detection = settings.detection.model_copy(update={"budget": budget})
        mine = settings.model_copy(update={"detection": detection})
        store = scored_with(root, (*ordinary, *others), others, mine)
        days = [figures_of(store, day, mine) for day in others]
        total = totals(days)
        met = {goal: reached(total) for goal, reached in GOALS.items()}
        rows.append({"seed": line.seed, "budget": budget, "total": total, "met": met, "days": days})
        _say(summary(rows[-1:]))
    return rows


def summary(rows: list[dict[str, Any]]) -> str:
    """Return a table of all days of each seed and budget: a figure a line, and goals below."""
    columns = {f"seed {row['seed']}, budget {row['budget']:g}": row["total"] | row["met"] for row in rows}
    return pd.DataFrame(columns, dtype=object).to_string(na_rep="-")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(
    folder: Annotated[Path, typer.Argument(help="in which recordings, models and tables are kept")],
    seeds: Annotated[str, typer.Option(help="of the simulated line")] = "31,32",
    budgets: Annotated[str, typer.Option(help="false alarms a km and day")] = "1,1000",
    days: Annotated[int, typer.Option(min=1, help="with threats, of each seed")] = 4,
    out: Out = None,
) -> None:
    """Run the benchmark."""
    figures: list[dict[str, Any]] = []
    settings, limits = Settings(), [float(budget) for budget in words(budgets)]
    for seed in numbers(seeds):
        line = Line(seed=seed)
        figures += run(folder, line, days, limits, settings)
        write_figures(out, {"runs": figures})
    print(summary(figures))
