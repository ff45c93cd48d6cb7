"""What becomes of a day whose steps are killed, or find the disk full, in their middle.

``dasanom bench kills`` makes the small day of ``dasanom bench memory``, from recordings to the report, and trains
on one day more. Each step runs in a process of its own and is killed at a random moment: what was there before
must be there still, or be replaced whole. Then the step runs to its end, and all files must be those of a run that
was left alone. With ``--disk`` the data root is a small disk instead, which has room for a share of what a step
writes; that takes root, to mount it.
"""

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated

import psutil
import typer

from dasanom_assets import chain
from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.benchmarks.memory import RATE_HZ, STEPS, run_step
from dasanom_assets.benchmarks.simulated_day import DAY, LEARNED, settings_of
from dasanom_assets.tables.store import Store

JOBS = {
    "ingest": tuple(step.tables[0] for step in chain.INGEST),
    "rescore": tuple(step.tables[0] for step in (*chain.SCORE, *chain.COMPARE)),
    "train": ("training_set", "vae", "reference_model"),
}
SHARES = (0.0, 0.5, 0.9)
"""Room on the full disk, as shares of what a step writes."""
ROOM = 1 << 20
"""More than enough for what is not full, in bytes, beside what the step writes."""
TIMED = ("trained.json", "reports/training/")
"""They tell how long a training took."""
LEFT = (".*.partial", "unfinished/*", "joblib*", "dask-scratch-space/worker-*")
PRELOADED = [
    *("torch", "numba", "matplotlib.figure", "plotly.graph_objects", "distributed", "openTSNE", "hdbscan"),
    *("dasanom_assets.benchmarks.kills", "dasanom_assets.models.process"),
    "dasanom_assets.detection.reference.fitting",
]
"""Modules of the process that steps are forked from: a step begins at once."""


def run(root: Path, name: str) -> None:
    """Run a step of the day, or of the training, in this process."""
    if name in STEPS:
        run_step(root, name)
        return
    from dasanom_assets.detection.reference.fitting import fit_reference
    from dasanom_assets.detection.reference.model import promote, save_reference
    from dasanom_assets.models import checkpoints
    from dasanom_assets.models.process import train_network
    from dasanom_assets.models.training import load_vae
    from dasanom_assets.models.training_set import build_manifest

    store, settings = Store(str(root)), settings_of(root)
    if name == "training_set":
        manifest = build_manifest(store, list(LEARNED[:1]), settings)
        checkpoints.set_latest(store, name, checkpoints.save(store, name, {}, manifest))
        return
    training_set = checkpoints.require_latest(store, "training_set", "")
    if name == "vae":
        train_network(store, name, training_set, settings.vae, settings.device, print)
        return
    _, manifest = checkpoints.load(store, "training_set", training_set)
    version = checkpoints.live(store, "vae")  # the new one learned for a moment, and may be of no use
    assert version is not None
    vae = load_vae(store, version)
    promote(store, save_reference(store, fit_reference(store, manifest, vae, version, settings, settings.device)))


def _child(root: Path, name: str, out: Connection, scratch: Path) -> None:
    os.setsid()
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    out.send("begun")
    try:
        run(root, name)
    except Exception as error:
        out.send(f"{type(error).__name__}: {error}")
        os._exit(1)
    os._exit(0)


class Run:
    """A step at work in a process of its own, with temporary files below `scratch`."""

    def __init__(self, root: Path, name: str, scratch: Path) -> None:
        self.error, (self._in, out) = "", _FORKED.Pipe(duplex=False)
        self.process = _FORKED.Process(target=_child, args=(root, name, out, scratch))
        self.process.start()
        out.close()
        self._in.recv()
        self.began = time.monotonic()

    def end(self) -> float:
        """Wait for its end, and return its seconds."""
        with contextlib.suppress(EOFError):
            self.error = self._in.recv()
        self.process.join()
        return time.monotonic() - self.began

    def kill(self, seconds: float) -> bool:
        """Kill it after so long; return whether it was still at work."""
        self.process.join(seconds)
        at_work = self.process.is_alive()
        self.process.kill()
        self.process.join()
        return at_work

    def orphans(self) -> list[int]:
        """Return what of it is alive five seconds after its end."""
        for _ in range(50):
            alive = [p.pid for p in psutil.process_iter() if _session(p.pid) == self.process.pid]
            if not alive:
                break
            time.sleep(0.1)
        return alive


_FORKED = get_context("forkserver")


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def contents(root: Path) -> dict[str, str]:
    """Return the digests of the files that readers look for, by path."""
    found = (path for part in ("tables", "models", "reports") for path in (root / part).rglob("*"))
    files = sorted(path for path in found if path.is_file() and not path.name.startswith("."))
    names = {str(path.relative_to(root)): path for path in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in names.items()
        if "/unfinished/" not in name and not any(part in name for part in TIMED)
    }


def left_over(*roots: Path) -> list[str]:
    """Return what a killed writer may leave below folders."""
    return [str(path.relative_to(root)) for root in roots for pattern in LEFT for path in root.rglob(pattern)]


def wrong(now: dict[str, str], before: dict[str, str], made: dict[str, str]) -> list[str]:
    """Return the files that are neither as before nor as a run that was left alone makes them."""
    torn = [name for name, digest in now.items() if digest not in (before.get(name), made.get(name))]
    return torn + sorted(before.keys() - now.keys())


def copied(source: Path, target: Path, models: Path, job: str = "") -> Path:
    """Copy a data root, with other models; what a job makes of the day becomes one that was half as long."""
    target.mkdir(parents=True, exist_ok=True)
    for part, root in (("tables", source), ("reports", source), ("models", models)):
        if (root / part).exists():
            shutil.copytree(root / part, target / part)
    (target / "landing").symlink_to((source / "landing").resolve())
    store = Store(str(target))
    for table in (table for name in JOBS.get(job, ()) if name in STEPS for table in STEPS[name].tables):
        if store.has_day(table, DAY):
            rows = store.read_day(table, DAY)
            store.write_day(table, DAY, rows.slice(0, rows.num_rows // 2), {"half": True})
    return target


@dataclass
class Tally:
    """What a step took when it was left alone, with the digests of what it wrote, and what became of it."""

    seconds: float = 0.0
    written: int = 0
    made: dict[str, str] = field(default_factory=dict)
    tries: int = 0
    stopped: int = 0
    partial: int = 0
    faults: list[str] = field(default_factory=list)
    errors: set[str] = field(default_factory=set)


def completed(tally: Tally, root: Path, name: str, scratch: Path) -> None:
    """Run a step to its end, and note what differs from one that was left alone."""
    again = Run(root, name, scratch)
    again.end()
    if again.error:
        tally.faults.append(f"the run after it: {again.error}")
    now = contents(root)
    unlike = [path for path, digest in tally.made.items() if now.get(path) != digest]
    tally.faults += [f"{path} differs after the run after it" for path in unlike]
    tally.faults += [f"{path} is left over" for path in left_over(root, scratch)]


def killed(tally: Tally, root: Path, name: str, rng: random.Random, scratch: Path) -> None:
    """Kill a step once at a random moment, and run it again."""
    before, span = contents(root), tally.seconds
    for _ in range(5):
        tally.tries += 1
        at_work = Run(root, name, scratch)
        if at_work.kill(span * rng.random()):
            tally.stopped += 1
            break
        span /= 2
    tally.faults += [f"{path} is torn" for path in wrong(contents(root), before, tally.made)]
    tally.faults += [f"process {pid} lives on" for pid in at_work.orphans()]
    tally.partial += bool(left_over(root, scratch))
    completed(tally, root, name, scratch)


def filled(tally: Tally, disk: Path, root: Path, name: str, share: float) -> None:
    """Run a step once with too little room, and once with enough."""
    before, scratch = contents(root), disk / "tmp"
    _resize(disk, int(share * tally.written))
    tally.tries += 1
    cramped = Run(root, name, scratch)
    cramped.end()
    if cramped.error:
        tally.stopped += 1
        tally.errors.add(cramped.error)
        tally.faults += [f"{path} is torn" for path in wrong(contents(root), before, tally.made)]
        tally.faults += [f"{path} is left of it" for path in left_over(root, scratch)]
    _resize(disk, 4 * tally.written + 64 * ROOM)
    completed(tally, root, name, scratch)


def _resize(disk: Path, free: int) -> None:
    """Give a small disk so many bytes more than are on it."""
    of = os.statvfs(disk)
    used = (of.f_blocks - of.f_bfree) * of.f_frsize
    size = max(used + free, used, of.f_frsize)
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk in memory for as long as the context lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", str(folder)], check=True)
    try:
        (folder / "tmp").mkdir()
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def left_alone(seed: Path, root: Path, scratch: Path) -> dict[str, Tally]:
    """Run every step once, and return what each took and made."""
    shutil.rmtree(root, ignore_errors=True)
    copied(seed, root, seed)
    before, tallies = contents(root), {}
    for name in (name for job in JOBS.values() for name in job):
        alone = Run(root, name, scratch)
        seconds = alone.end()
        if alone.error:
            raise RuntimeError(f"{name}, left alone: {alone.error}")
        now = contents(root)
        made = {path: digest for path, digest in now.items() if before.get(path) != digest}
        tallies[name] = Tally(seconds, sum((root / path).stat().st_size for path in made), made)
        before = now
        print(f"{name}: {seconds:.1f} s", file=sys.stderr)
    return tallies


def table(tallies: dict[str, Tally], what: str) -> str:
    """Return in Markdown what became of each step."""
    lines = [f"| step | s | MB | {what} | left something for the next run | faults |", "|---" * 6 + "|"]
    for name, t in tallies.items():
        lines.append(
            f"| {name} | {t.seconds:.1f} | {t.written / 1e6:.2f} | {t.stopped} | {t.partial} | {len(t.faults)} |"
        )
    for name, t in tallies.items():
        lines += [f"{name}: {fault}" for fault in dict.fromkeys(t.faults)] + [
            f"{name}: {e}" for e in sorted(t.errors)
        ]
    return "\n".join(lines)


def main(
    folder: Annotated[Path, typer.Argument(help="where data are made and kept")] = Path("kills"),
    kills: Annotated[int, typer.Option(help="of each job, spread over its steps")] = 20,
    disk: Annotated[bool, typer.Option("--disk", help="fill the disk instead of killing")] = False,
    jobs: Annotated[str, typer.Option(help="separated by commas")] = ",".join(JOBS),
    seed: Annotated[int, typer.Option(help="of the moments")] = 2026,
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures")] = None,
) -> None:
    """Stop each step of a day in its middle, and look what is left."""
    os.environ["OMP_NUM_THREADS"] = "1"  # sums in the same order each time, and no thread that spins
    made = [sys.executable, "-c", MAKE, str(folder), str(RATE_HZ)]
    # Apart: what is forked later has no threads yet.
    told = subprocess.run(made, check=True, stdout=subprocess.PIPE, text=True).stdout
    seed_root = Path(told.splitlines()[-1])
    _FORKED.set_forkserver_preload(PRELOADED)
    rng = random.Random(seed)
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        (work / "tmp").mkdir()
        tallies = left_alone(seed_root, work / "clean", work / "tmp")
        place = stack.enter_context(small_disk(work / "disk")) if disk else work
        for job in jobs.split(","):
            done = 0
            while done < (len(SHARES) * len(JOBS[job]) if disk else kills):
                root = copied(work / "clean", place / "root", seed_root, job)
                for name in JOBS[job]:
                    if disk:
                        filled(tallies[name], place, root, name, SHARES[done // len(JOBS[job])])
                    else:
                        killed(tallies[name], root, name, rng, work / "tmp")
                    done += 1
                    print(f"{job} {done}: {name}", file=sys.stderr)
                shutil.rmtree(root)
    print(table(tallies, "found the disk full" if disk else "killed"))
    write_figures(out, {"steps": {name: vars(t) | {"errors": sorted(t.errors)} for name, t in tallies.items()}})
    raise typer.Exit(any(t.faults for t in tallies.values()))


MAKE = (
    "import sys; from pathlib import Path; from dasanom_assets.benchmarks.simulated_day import simulated; "
    "print(simulated(Path(sys.argv[1]), int(sys.argv[2])))"
)
