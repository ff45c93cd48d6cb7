"""How fast the whole chain is, as a user starts it, each figure beside a peer of the same run.

``dasanom bench chain data/chain --out docs/chain.json`` runs whole jobs, each in a process of its own, on days of
`simulated_day` at 2000 Hz. A row is a figure and, where it has one, a size in channels × hours: ``rescore:64x2``.
What was measured stays in the folder, so that rows and runs can be added one by one; medians are of all runs.

- ``ingest``, ``rescore``: a job from the start of its process to the end, beside librosa's mel levels of the same
  samples in memory, ten minutes after the other.
- ``workers``: both jobs on one Dask worker and on two, each a process with a core of its own.
- ``neighbour``: training beside a process that keeps a core busy; see ``dasanom bench training``.
- ``closed``: from the last change of a file to its alarms in the table, by daemon, sensor and launch.
- ``lookup``: one channel's hour of spectrograms through DuckDB, which opens the day for it.
- ``start``: the command's help, Dagster's code location, and jobs that find nothing to do.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from dasanom_assets.benchmarks.closed import of_closed
from dasanom_assets.benchmarks.ingest import librosa_in_memory, pinned_cluster
from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.benchmarks.memory import STEPS
from dasanom_assets.benchmarks.options import Out, words
from dasanom_assets.benchmarks.simulated_day import CHANNELS, DAY, enlarged, simulated
from dasanom_assets.tables.store import Store

RATE_HZ = 2000
JOBS = ("ingest", "rescore")
ROWS = (
    *(f"{job}:{size}" for size in ("64x2", "64x1", "512x1") for job in JOBS),
    *("workers:64x1", "neighbour", "closed", "lookup:512x1", "start"),
)
WIDE_DAY = 4000 * 24
"""Channel-hours that seconds are extrapolated to."""
EXECUTE = "import sys; from dasanom_assets.cli import execute; sys.exit(execute(*sys.argv[1:3], {}))"
NOTHING_TO_DO = EXECUTE.format("tags={'dasanom/stale_only': 'true'}")
HELP = "from dasanom_assets.cli import app; app(['--help'])"

Laps = dict[str, float]


def in_a_process(code: str, *arguments: str, root: Path, **environment: str) -> Laps:
    """Return the seconds, and those of processor time, of a process that runs some Python on a data root.

    Settings are the default ones.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DASANOM_")}
    # As `dasanom` sets it.
    own = {"DASANOM_DATA": str(root), "DAGSTER_HOME": str(root.absolute() / "home"), "OMP_NUM_THREADS": "1"}
    began, before = time.perf_counter(), os.times()
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=kept | own | environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": time.perf_counter() - began, "cpu_seconds": cpu}


def run_job(root: Path, job: str, **environment: str) -> Laps:
    """Make all tables of a job anew, and return its seconds: of the whole process, and of each step."""
    from dagster import DagsterInstance

    laps = in_a_process(EXECUTE.format(""), job, DAY, root=root, **environment)
    with DagsterInstance.from_config(str(root.absolute() / "home")) as instance:
        [run] = instance.get_runs(limit=1)
        steps = {step.step_key: step for step in instance.get_run_step_stats(run.run_id)}
    for name in STEPS.keys() & steps.keys():
        laps[name] = (steps[name].end_time or 0) - (steps[name].start_time or 0)
    return laps


def librosa_laps(folder: Path, channels: int, hours: float) -> Laps:
    """Return the seconds that librosa takes for the samples of a day, which lie in memory file by file."""
    [path] = simulated(folder, RATE_HZ).glob(f"landing/{DAY}/*.bin")
    x = np.ascontiguousarray(np.fromfile(path, "<i2").reshape(-1, CHANNELS).T, np.float32)
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(round(channels * hours * 3600 * RATE_HZ / x.size)):
        librosa_in_memory(x)
    return {"librosa": time.perf_counter() - began, "librosa_cpu": time.process_time() - cpu}


def of_job(folder: Path, job: str, channels: int, hours: float) -> Laps:
    """Time a job, and librosa; a day that is to be scored is ingested before."""
    root = enlarged(folder, channels, hours, RATE_HZ)
    if job == "rescore" and not Store(str(root)).has_day("recordings", DAY):
        run_job(root, "ingest")
    laps = run_job(root, job)
    if job == "ingest" and channels == CHANNELS:
        laps |= librosa_laps(folder, channels, hours)
    return laps


def of_workers(folder: Path, channels: int, hours: float) -> Laps:
    """Time both jobs on one worker and on two, which have loaded all modules."""
    root, laps = enlarged(folder, channels, hours, RATE_HZ), {}
    for workers in (1, 2):
        with pinned_cluster(workers) as address:
            for job in JOBS:
                run_job(simulated(folder, RATE_HZ), job, DASANOM_DASK__ADDRESS=address)
            laps[f"{workers}"] = sum(run_job(root, job, DASANOM_DASK__ADDRESS=address)["seconds"] for job in JOBS)
    return laps


def of_neighbour() -> Laps:
    """Time the training beside a neighbour."""
    from dasanom_assets.benchmarks.training import bench_neighbour

    return bench_neighbour(windows=20_000, steps=16, runs=1)


def of_lookup(day: Path) -> Laps:
    """Return the seconds that DuckDB takes for the last channel's first hour of a day of spectrograms.

    Parameters
    ----------
    day : pathlib.Path
        Folder of the day, with its Parquet files somewhere below.
    """
    import duckdb

    files = f"read_parquet('{day}/**/*.parquet')"
    with duckdb.connect() as first:
        last = f"select fibre, channel, min(start) from {files} group by all order by all desc limit 1"
        fibre, channel, start = first.execute(last).fetchall()[0]
    began = time.perf_counter()
    with duckdb.connect() as fresh:
        begin, end = (at.isoformat() for at in (start, start + timedelta(hours=1)))
        hour = f"fibre = ? and channel = ? and start >= '{begin}' and start < '{end}'"
        fresh.execute(f"create table hour as select * from {files} where {hour}", [fibre, channel])
        seconds = time.perf_counter() - began
        [[rows]] = fresh.execute("select count(*) from hour").fetchall()
    return {"seconds": seconds, "rows": rows}


def of_start(folder: Path) -> Laps:
    """Time what comes before any work: help, code location, and jobs of a day that is as it would be now."""
    root = simulated(folder, RATE_HZ)
    codes = {"help": HELP, "code_location": "import dasanom_assets.definitions"}
    seconds = {name: in_a_process(code, root=root)["seconds"] for name, code in codes.items()}
    for job in JOBS:  # so that there is nothing left to do
        in_a_process(NOTHING_TO_DO, job, DAY, root=root)
    idle = {f"{job}_with_nothing_to_do": in_a_process(NOTHING_TO_DO, job, DAY, root=root) for job in JOBS}
    return seconds | {name: laps["seconds"] for name, laps in idle.items()}


def turn(folder: Path, row: str) -> Laps:
    """Measure a row once."""
    name, _, size = row.partition(":")
    channels, hours = (float(part) for part in size.split("x")) if size else (0.0, 0.0)
    if name in JOBS:
        return of_job(folder, name, int(channels), hours)
    if name == "workers":
        return of_workers(folder, int(channels), hours)
    if name == "lookup":
        store = Store(str(enlarged(folder, int(channels), hours, RATE_HZ)))
        return of_lookup(Path(store.full(store.day_path("spectrograms", DAY))).parent)
    if name == "closed":
        return of_closed(folder, RATE_HZ)
    return of_neighbour() if name == "neighbour" else of_start(folder)


def figures_of(laps: dict[str, list[Laps]]) -> dict[str, dict[str, float]]:
    """Return medians over the runs of each row, what follows from them, and the hours of a wide day."""
    out: dict[str, dict[str, float]] = {}
    for row, runs in laps.items():
        names = dict.fromkeys(name for run in runs for name in run)
        median = {name: statistics.median(run[name] for run in runs if name in run) for name in names}
        job, _, size = row.partition(":")
        if job in JOBS:
            channels, hours = map(float, size.split("x"))
            pace = channels * hours * 3600 / median["seconds"]
            median |= {"channel_seconds_per_s": pace, "mb_per_s": 2e-6 * RATE_HZ * pace}
        if "librosa" in median:
            median["times_librosa"] = median["librosa"] / median["seconds"]
            median["times_librosa_by_cpu"] = median["librosa_cpu"] / median["cpu_seconds"]
        if job == "workers":
            median["speed_up"] = median["1"] / median["2"]
        out[row] = median | {"runs": len(runs)}
    if all(f"{job}:{size}" in out for job in JOBS for size in ("64x1", "512x1")):
        for name, share, kind in (("hours", 1, "seconds"), ("hours_by_cpu_on_two_cores", 2, "cpu_seconds")):
            small, large = (sum(out[f"{job}:{size}"][kind] for job in JOBS) for size in ("64x1", "512x1"))
            out.setdefault("wide", {})[name] = (large - small) / (512 - 64) * WIDE_DAY / 3600 / share
    return out


GOALS: tuple[tuple[str, str, str, Callable[[float], bool]], ...] = (
    ("ingest:64x2", "times_librosa", "≥ 2", lambda v: v >= 2),
    ("rescore:64x2", "channel_seconds_per_s", "≥ 20,000", lambda v: v >= 20_000),
    ("wide", "hours", "≤ 6", lambda v: v <= 6),
    ("workers:64x1", "speed_up", "≥ 1.7", lambda v: v >= 1.7),
    ("neighbour", "times_alone", "≤ 3", lambda v: v <= 3),
    *(("closed", f"file_{number}", "≤ 120", lambda v: v <= 120) for number in (1, 2)),
    ("lookup:512x1", "seconds", "< 0.2", lambda v: v < 0.2),
    *(
        ("start", name, "< 2", lambda v: v < 2)
        for name in ("help", "code_location", *(f"{job}_with_nothing_to_do" for job in JOBS))
    ),
)


def table(figures: dict[str, dict[str, float]]) -> str:
    """Return in Markdown the pace of jobs, and the figures that have a goal."""
    lines = ["| job | s (CPU) | MB/s | channel-seconds/s | runs |", "|---|---|---|---|---|"]
    for row, of_row in figures.items():
        if "mb_per_s" in of_row:
            cells = [f"{of_row['seconds']:.1f} ({of_row['cpu_seconds']:.1f})", f"{of_row['mb_per_s']:.0f}"]
            cells += [f"{of_row['channel_seconds_per_s']:,.0f}", f"{of_row['runs']}"]
            lines.append(f"| {row} | {' | '.join(cells)} |")
    lines += ["", "| figure | measured | goal | met |", "|---|---|---|---|"]
    for row, name, goal, met in GOALS:
        if name in figures.get(row, {}):
            value = figures[row][name]
            shown = f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"
            figure = f"{row}: {name.replace('_', ' ')}"
            lines.append(f"| {figure} | {shown} | {goal} | {'yes' if met(value) else 'no'} |")
    return "\n".join(lines)


def main(
    folder: Annotated[Path, typer.Argument(help="where data are made and figures are kept")] = Path("chain"),
    rows: Annotated[str, typer.Option(help="separated by commas; none only prints")] = ",".join(ROWS),
    runs: Annotated[int, typer.Option(help="runs of each row, beside those that are kept")] = 5,
    out: Out = None,
) -> None:
    """Measure the chain."""
    kept = folder / "chain.json"
    laps: dict[str, list[Laps]] = json.loads(kept.read_text()) if kept.exists() else {}
    for row in words(rows):
        if row.partition(":")[0] not in {name.partition(":")[0] for name in ROWS}:
            raise typer.BadParameter(f"--rows: {row} is none of {', '.join(ROWS)}")
        for _ in range(runs):
            laps.setdefault(row, []).append(turn(folder, row))
            kept.write_text(json.dumps(laps, indent=1))
            print(f"{row}: {json.dumps(laps[row][-1])}", file=sys.stderr)
    figures: dict[str, Any] = figures_of(laps)
    print(table(figures))
    write_figures(out, {"figures": figures})
