"""How fast and how large ingest is, each figure beside a named peer in the same run on the same data.

``dasanom bench ingest`` simulates 64 channels for half an hour, prints a table and writes
the figures as JSON. Times are medians of at least five runs, ratios are those of medians.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from dasanom_assets.benchmarks.ingest_day import BANDS, DAY, FRAME, HOP, RATE, SETTINGS, ingest, prepare
from dasanom_assets.benchmarks.ingest_storage import bench_reading, bench_storage
from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.benchmarks.options import Out, words
from dasanom_assets.benchmarks.timing import timed
from dasanom_assets.recordings.health import channel_health
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.spectrograms.cluster import NO_PROFILE, WORKER_MEMORY
from dasanom_assets.spectrograms.transform import Transform
from dasanom_assets.tables.store import Store

FIGURES = ("ingest", "transform", "memory", "storage", "reading", "cluster")


def librosa_in_memory(x: np.ndarray) -> np.ndarray:
    """Return librosa's mel levels with the same settings, of shape (channels, bands, frames)."""
    import librosa

    mel = librosa.feature.melspectrogram(
        y=x, sr=RATE, n_fft=FRAME, hop_length=HOP, n_mels=BANDS, fmin=8, fmax=1000, htk=True, power=2.0
    )
    return librosa.power_to_db(mel, top_db=None)


def librosa_by_window(x: np.ndarray, **settings: Any) -> None:
    """Take one channel as the study did: each overlapping 10 s window by itself."""
    import librosa

    for first in range(0, len(x) - 20_000 + 1, 2000):
        mel = librosa.feature.melspectrogram(y=x[first : first + 20_000], sr=RATE, **settings)
        librosa.power_to_db(mel)


def bench_ingest(root: Path, runs: int) -> dict[str, Any]:
    """Time ingest against librosa."""
    store = Store(str(root))
    files = [p for p in sorted(root.glob("landing/*/*.bin"))]
    x = np.concatenate([np.fromfile(f, "<i2").reshape(-1, 64) for f in files]).T.astype(np.float32)
    channel_seconds = x.size / RATE
    laps = []

    def ours() -> None:
        laps.append(ingest(str(root)))

    ingest_s = statistics.median(timed(ours, runs))
    halves = [x[:32], x[32:]]

    def in_two_threads() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(librosa_in_memory, halves))

    batched = statistics.median(timed(lambda: librosa_in_memory(x), runs))
    threaded = statistics.median(timed(in_two_threads, runs))
    one_channel = np.ascontiguousarray(x[0])
    same = {"n_fft": FRAME, "hop_length": HOP, "n_mels": BANDS, "fmin": 8, "fmax": 1000, "htk": True}
    way_of_2021 = statistics.median(timed(lambda: librosa_by_window(one_channel, **same), runs)) * len(x)
    study = {"n_fft": 512, "hop_length": 512, "n_mels": 128}
    its_settings = statistics.median(timed(lambda: librosa_by_window(one_channel, **study), runs)) * len(x)
    recordings = store.read_day("recordings", DAY)
    health = statistics.median(timed(lambda: channel_health(stretches(store, recordings)), 3))
    return {
        "channel_seconds": channel_seconds,
        "ingest_s": ingest_s,
        "ingest_channel_seconds_per_s": channel_seconds / ingest_s,
        "steps_s": {name: statistics.median(lap[name] for lap in laps[1:]) for name in laps[0]},
        "librosa_batched_s": batched,
        "librosa_two_threads_s": threaded,
        "way_of_2021_s": way_of_2021,
        "way_and_settings_of_2021_s": its_settings,
        "channel_health_s": health,
        "ratio_to_librosa_batched": batched / ingest_s,
        "ratio_to_librosa_two_threads": threaded / ingest_s,
        "ratio_to_2021": way_of_2021 / ingest_s,
        "ratio_to_2021_with_its_settings": its_settings / ingest_s,
        "ratio_to_librosa_batched_with_health": batched / (ingest_s + health),
    }


def bench_transform(runs: int) -> dict[str, Any]:
    """Time the transform, on two threads, against the bare Fourier transforms of the same frames."""
    import scipy.fft
    import torch

    torch.set_num_threads(1)
    transform = Transform(SETTINGS, RATE)
    rng = np.random.default_rng(0)
    n_frames = 240
    channels = rng.normal(scale=100, size=(32, n_frames * HOP + FRAME)).astype(np.float32)
    first = np.arange(n_frames) * HOP
    frames = np.lib.stride_tricks.sliding_window_view(channels, FRAME, axis=1)[:, ::HOP][:, :n_frames].copy()

    def whole_transform(x: np.ndarray) -> None:
        for _ in range(8):
            transform.decibels(transform.band_power(x, first), -40.0)

    def bare_scipy(x: np.ndarray) -> None:
        for _ in range(8):
            for first_frame in range(0, n_frames, 60):
                scipy.fft.rfft(x[first_frame : first_frame + 60], axis=1)

    def bare_mkl(x: np.ndarray) -> None:
        tensor = torch.from_numpy(x)
        for _ in range(8):
            torch.fft.rfft(tensor)

    seconds = {}
    with ThreadPoolExecutor(2) as pool:
        for name, work, data in (
            ("transform", whole_transform, np.split(channels, 2)),
            ("scipy_fft", bare_scipy, frames),
            ("mkl_fft", bare_mkl, frames),
        ):
            both = partial(lambda w, d: list(pool.map(w, d)), work, data)
            seconds[name] = statistics.median(timed(both, max(runs, 15)))
    n = 32 * 8 * n_frames
    return {
        **{f"{name}_us_per_frame": 1e6 * s / n for name, s in seconds.items()},
        "ratio_to_scipy_fft": seconds["transform"] / seconds["scipy_fft"],
        "ratio_to_mkl_fft": seconds["transform"] / seconds["mkl_fft"],
    }


def bench_memory(root: Path, long: Path) -> dict[str, Any]:
    """Run ingest of half an hour and of four hours, each in a process of its own, and report its peak memory."""
    out = {}
    for name, data_root in (("30_min", root), ("4_h", long)):
        # Not getrusage: what it reports counts the parent that a process was forked from.
        code = (
            "import sys; from dasanom_assets.benchmarks.ingest_day import ingest; ingest(sys.argv[1]); "
            "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(data_root)], check=True, capture_output=True, text=True
        )
        out[f"peak_mb_{name}"] = int(done.stdout.split()[-1]) / 1024
    return {**out, "ratio_4_h_to_30_min": out["peak_mb_4_h"] / out["peak_mb_30_min"]}


@contextmanager
def pinned_cluster(n: int) -> Iterator[str]:
    """Start a cluster of `n` worker processes, one thread and one core each, and yield its address."""
    import dask
    from distributed import LocalCluster

    cores = sorted(os.sched_getaffinity(0))
    options = {"host": "127.0.0.1", "dashboard_address": None, "memory_limit": None}
    with (
        dask.config.set({**WORKER_MEMORY, **NO_PROFILE}),
        LocalCluster(n_workers=n, threads_per_worker=1, processes=True, **options) as cluster,
    ):
        for i, pid in enumerate(worker["pid"] for worker in _worker_processes(cluster)):
            os.sched_setaffinity(pid, {cores[i % len(cores)]})
        yield cluster.scheduler_address


def _worker_processes(cluster: Any) -> list[dict[str, int]]:
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        return [{"pid": pid} for pid in client.run(os.getpid).values()]


def bench_cluster(root: Path, runs: int) -> dict[str, Any]:
    """Compare threads of one process with one and two worker processes of one core each.

    One and two take turns, so that what else the machine does falls on both. The first two runs of a cluster are
    not counted: modules are loaded in the one, and memory still grows in the other.
    """
    store = Store(str(root))
    ingest(str(root))
    embedded = store.digest(store.day_path("spectrograms", DAY))
    laps: dict[int, list[float]] = {1: [], 2: []}
    same = True
    for n in (1, 2) * 3:
        with pinned_cluster(n) as address:
            timings = [ingest(str(root), address)["spectrograms"] for _ in range(2 + -(-runs // 3))]
        laps[n] += timings[2:]
        same &= store.digest(store.day_path("spectrograms", DAY)) == embedded
    seconds = {n: statistics.median(timings) for n, timings in laps.items()}
    return {
        "one_worker_s": seconds[1],
        "two_workers_s": seconds[2],
        "speed_up": seconds[1] / seconds[2],
        "identical_to_embedded": same,
    }


GOALS: tuple[tuple[str, str, str, Callable[[float], bool]], ...] = (
    ("ingest", "ratio_to_librosa_batched", "≥ 2, reach for 3", lambda v: v >= 2),
    ("ingest", "ratio_to_2021", "≥ 60, reach for 100", lambda v: v >= 60),
    ("transform", "ratio_to_scipy_fft", "≤ 2, reach for 1.5", lambda v: v <= 2),
    ("memory", "peak_mb_4_h", "< 1500", lambda v: v < 1500),
    ("memory", "ratio_4_h_to_30_min", "≤ 1.1", lambda v: v <= 1.1),
    ("storage", "stored_share_of_raw", "≤ 0.25", lambda v: v <= 0.25),
    ("storage", "worst_error_db", "≤ 0.25", lambda v: v <= 0.25),
    ("reading", "ratio_to_numpy_load_of_windows", "≤ 3", lambda v: v <= 3),
    ("cluster", "identical_to_embedded", "yes", bool),
    ("cluster", "speed_up", "≥ 1.7", lambda v: v >= 1.7),
)


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Return the figures that have a goal as a Markdown table."""
    lines = ["| figure | measured | goal | met |", "|---|---|---|---|"]
    for group, name, goal, met in GOALS:
        if group in figures:
            value = figures[group][name]
            shown = "yes" if value is True else "no" if value is False else f"{value:.3g}"
            figure = f"{group}: {name.replace('_', ' ')}"
            lines.append(f"| {figure} | {shown} | {goal} | {'yes' if met(value) else 'no'} |")
    return "\n".join(lines)


def main(
    out: Out = None,
    runs: Annotated[int, typer.Option(help="runs of each timing")] = 5,
    only: Annotated[str, typer.Option(help="of the figures")] = ",".join(FIGURES),
) -> None:
    """Run the benchmark."""
    chosen = words(only)
    if unknown := set(chosen) - set(FIGURES):
        raise typer.BadParameter(f"--only: no figures of {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="dasanom-bench-") as folder:
        root, long = Path(folder) / "half-hour", Path(folder) / "four-hours"
        prepare(root, long)
        ingest(str(root))
        benches: dict[str, Callable[[], dict[str, Any]]] = {
            "ingest": lambda: bench_ingest(root, runs),
            "transform": lambda: bench_transform(runs),
            "memory": lambda: bench_memory(root, long),
            "storage": lambda: bench_storage(root),
            "reading": lambda: bench_reading(root, runs),
            "cluster": lambda: bench_cluster(root, runs),
        }
        figures: dict[str, dict[str, Any]] = {}
        for name in chosen:
            figures[name] = benches[name]()
            print(f"{name}: {json.dumps(figures[name])}", file=sys.stderr)
    write_figures(out, figures)
    print(table(figures))
