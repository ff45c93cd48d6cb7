"""What each step of a day takes in memory and time, at several sizes, each step in a process of its own.

``dasanom bench memory`` simulates ten minutes of 64 channels at 500 Hz with the contractor's files, and lays them
side by side and one after the other: from the levels on, a day costs the same at any sampling rate. A model is
trained on two such days. Peak memory should not grow with channels and hours; the seconds of a day of 4000
channels follow from those that 448 more channels take. What was measured stays in the folder, so that sizes may be
run one by one.
"""

import json
import shutil
import subprocess
import sys
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from dasanom_assets import chain
from dasanom_assets.benchmarks.machine import kilobytes, write_figures
from dasanom_assets.recordings.simulation.simulate import simulate
from dasanom_assets.recordings.simulation.sites import Line, without_threats
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.tables.provenance import Step
from dasanom_assets.tables.store import Store

LEARNED, DAY = ("2026-01-05", "2026-01-06"), "2026-01-07"
CHANNELS, MINUTES = 64, 10
LINE = Line(
    zones=((100, 100 + CHANNELS - 1),), minutes=MINUTES, file_minutes=MINUTES, sampling_rate_hz=500, hour=0
)
SIZES = ("64x1", "64x4", "512x1")
STEPS: dict[str, Step] = {step.tables[0]: step for step in (*chain.INGEST, *chain.SCORE, *chain.COMPARE)}
TRAINING_SET = "training_set"
"""No step of a day, and measured beside them: the windows that networks learn from."""
WIDE_DAY = 4000 * 24
"""Channel-hours that seconds are extrapolated to."""
PER_VALUE = {".bin": ("<i2", 1), ".prob": ("<f4", 5), ".pow": ("<f4", 1)}
"""Type of the numbers in a file, and how many a row has for each channel."""


def settings_of(root: Path) -> Settings:
    """Return settings for a data root, by which networks train for a moment: what they know does not matter."""
    short = {"max_epochs": 2, "windows_per_epoch": 2048}
    return Settings.model_validate({"data": str(root), "vae": short, "device": "cpu"})


def simulated(folder: Path) -> Path:
    """Simulate the days, and train a model on the first two; return the data root."""
    root = folder / "seed"
    if not (root / "models/live.json").exists():
        shutil.rmtree(root, ignore_errors=True)
        simulate(without_threats(LINE), [date.fromisoformat(day) for day in LEARNED], root, contractor=False)
        simulate(LINE, [date.fromisoformat(DAY)], root)
        store, settings = Store(str(root)), settings_of(root)
        with open_client(settings.dask) as client:
            for day in LEARNED:
                chain.ingest(store, day, settings, client)
        chain.train(store, LEARNED, settings, print)
    return root


def enlarged(folder: Path, channels: int, hours: float) -> Path:
    """Write a data root with the seed's model, and its last day wider and longer; return it."""
    root, seed = folder / f"{channels}x{hours:g}", simulated(folder)
    if (root / "landing").exists():
        return root
    root.mkdir(parents=True)
    for part in ("models", "tables"):
        shutil.copytree(seed / part, root / part)
    given, landing = seed / "landing" / DAY, root / "landing" / DAY
    [sidecar] = given.glob("*.info")
    note, stem = json.loads(sidecar.read_text()), sidecar.name.split(".")[0]
    began = datetime.fromisoformat(note["start_time"])
    wide = {
        "selected_channel_zones": [[100, 100 + channels - 1]],
        "number_of_channels_in_one_sample": channels,
    }
    for i in range(round(hours * 60 / MINUTES)):
        start = began + timedelta(minutes=MINUTES * i)
        for source in (path for path in given.rglob(f"{stem}*") if path.is_file()):
            name = source.name.replace(stem, f"{LINE.fibre}_{start:%Y%m%dT%H%M%S}")
            target = landing / source.relative_to(given).with_name(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source == sidecar:
                target.write_text(json.dumps(note | wide | {"start_time": start.isoformat()}))
            else:
                kind, per_channel = PER_VALUE[source.suffix]
                values = np.fromfile(source, kind).reshape(-1, CHANNELS * per_channel)
                np.tile(values, channels // CHANNELS).tofile(target)
    return root


def measured(root: Path, name: str) -> dict[str, float]:
    """Run a step in this process, and return its seconds, those of all its threads, and its peak memory."""
    store, settings = Store(str(root)), settings_of(root)
    began = time.perf_counter()
    if name == TRAINING_SET:
        from dasanom_assets.models.training_set import build_manifest, load_bank

        load_bank(store, build_manifest(store, [DAY], settings), "train")
    else:
        import inspect

        step = STEPS[name]
        takes = inspect.signature(step.compute).parameters
        with open_client(settings.dask) as client:
            more = {"dask": client, "device": settings.device}
            step(store, DAY, settings, **{key: value for key, value in more.items() if key in takes})
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
    sizes: Annotated[str, typer.Option(help="channels x hours, separated by commas")] = ",".join(SIZES),
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
        channels, hours = size.split("x")
        root = enlarged(folder, int(channels), float(hours))
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
