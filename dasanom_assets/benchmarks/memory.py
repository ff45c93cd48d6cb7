"""What each step of a day takes in memory and time, at several sizes, each step in a process of its own.

``dasanom bench memory`` measures days of `simulated_day` at 500 Hz: from the levels on, a day costs the same at
any sampling rate. Peak memory should not grow with channels and hours; the seconds of a day of 4000 channels
follow from those that 448 more channels take. What was measured stays in the folder: sizes may be run one by one.
"""

import contextlib
import inspect
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from dasanom_assets import chain
from dasanom_assets.benchmarks.machine import kilobytes, write_figures
from dasanom_assets.benchmarks.simulated_day import DAY, enlarged, settings_of
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.tables.provenance import Step
from dasanom_assets.tables.store import Store

RATE_HZ = 500
SIZES = ("64x1", "64x4", "512x1")
STEPS: dict[str, Step] = {step.tables[0]: step for step in (*chain.INGEST, *chain.SCORE, *chain.COMPARE)}
TRAINING_SET = "training_set"
"""No step of a day, and measured beside them: the windows that networks learn from."""
WIDE_DAY = 4000 * 24
"""Channel-hours that seconds are extrapolated to."""


def run_step(root: Path, name: str) -> None:
    """Run a step of the day, or the reading of a training set, in this process."""
    store, settings = Store(str(root)), settings_of(root)
    if name == TRAINING_SET:
        from dasanom_assets.models.training_set import build_manifest
        from dasanom_assets.models.training_windows import load_bank

        load_bank(store, build_manifest(store, [DAY], settings), "train")
        return
    step = STEPS[name]
    takes = inspect.signature(step.compute).parameters
    with open_client(settings.dask) if "dask" in takes else contextlib.nullcontext() as client:
        more: dict[str, Any] = {"dask": client, "device": settings.device}
        step(store, DAY, settings, **{key: value for key, value in more.items() if key in takes})


def measured(root: Path, name: str) -> dict[str, float]:
    """Run a step in this process, and return its seconds, those of all its threads, and its peak memory."""
    began = time.perf_counter()
    run_step(root, name)
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time(),
        "peak_mb": kilobytes("VmHWM") / 1024,
    }


def table(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the figures in Markdown: peak memory and seconds of each step by size, and what grows."""
    sizes = [size for size in SIZES if size in figures] + sorted(set(figures) - set(SIZES))
    names = list(dict.fromkeys(name for size in sizes for name in figures[size]))
    lines = [f"| step | {' | '.join(f'{s}, MB | {s}, s (CPU)' for s in sizes)} | largest ÷ smallest |"]
    lines.append("|---" * (2 + 2 * len(sizes)) + "|")
    for name in names:
        rows = [figures[size].get(name) for size in sizes]
        cells = [
            f"{r['peak_mb']:.0f} | {r['seconds']:.1f} ({r['cpu_seconds']:.1f})" if r else "– | –" for r in rows
        ]
        peaks = [row["peak_mb"] for row in rows if row]
        lines.append(f"| {name} | {' | '.join(cells)} | {max(peaks) / min(peaks):.2f} |")
    if {"64x1", "512x1"} <= set(figures):
        small, large = figures["64x1"], figures["512x1"]
        both = [name for name in names if name in small and name in large and name != TRAINING_SET]
        for what, share in (("seconds", 1.0), ("cpu_seconds", 0.5)):
            slope = sum(large[name][what] - small[name][what] for name in both) / (512 - 64)
            words = "as they were taken" if share == 1 else "of CPU time, shared evenly by two cores"
            lines.append(f"\n4000 channels × 24 h: {slope * WIDE_DAY * share / 3600:.1f} h {words}.")
    return "\n".join(lines)


def main(
    folder: Annotated[Path, typer.Argument(help="where data are made and figures are kept")] = Path("memory"),
    sizes: Annotated[str, typer.Option(help="channels x hours, or minutes as in 4032x10m")] = ",".join(SIZES),
    steps: Annotated[str, typer.Option(help="some of them, separated by commas; by default all")] = "",
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures")] = None,
    only: Annotated[str, typer.Option(help="run one step of a size in this process", hidden=True)] = "",
) -> None:
    """Measure each step of a day at several sizes."""
    if only:
        print(json.dumps(measured(folder, only)))
        return
    names = steps.split(",") if steps else [*STEPS, TRAINING_SET]
    kept = folder / "figures.json"
    figures: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for size in sizes.split(","):
        channels, _, length = size.partition("x")
        hours = float(length.removesuffix("m")) / (60 if length.endswith("m") else 1)
        root = enlarged(folder, int(channels), hours, RATE_HZ)
        for name in names:
            command = [sys.executable, "-c", CHILD, str(root), "--only", name]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            if ran.returncode:
                print(f"{size} {name}: {ran.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                raise typer.Exit(1)
            row = json.loads(ran.stdout.splitlines()[-1])
            figures.setdefault(size, {})[name] = row
            kept.write_text(json.dumps(figures, indent=1))
            print(f"{size} {name}: {row['peak_mb']:.0f} MB, {row['seconds']:.1f} s", file=sys.stderr)
    print(table(figures))
    write_figures(out, {"sizes": figures})


CHILD = "import typer; from dasanom_assets.benchmarks.memory import main; typer.run(main)"
