"""How fast new windows are placed among clusters, beside hdbscan in the same run, and in how much memory.

``dasanom bench clustering --out docs/clustering.json`` fits 20,000 windows of 16 dimensions,
places 200,000 others with `clustering.assign` and with ``hdbscan.approximate_predict_scores``, prints a table
and writes the figures as JSON. Ours is the median of several runs on all cores; hdbscan, which takes minutes and
has no threads, runs once, on all of the windows.

Two kinds of windows: ``overlapping``, wide clusters under a broad noise, among which no tree can leave much out;
and ``tight``, far apart, where hdbscan's tree is at its best.
"""

import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import hdbscan
import numpy as np
import typer

from dasanom_assets.benchmarks.machine import kilobytes, write_figures
from dasanom_assets.benchmarks.options import Out
from dasanom_assets.benchmarks.timing import timed
from dasanom_assets.detection.detectors.clustering import fit_clusters
from dasanom_assets.detection.detectors.clusters import Clusters, assign, refit
from dasanom_assets.settings import DetectionSettings

D = 16
KINDS = ("overlapping", "tight")


def windows(kind: str, n: int, seed: int) -> np.ndarray:
    """Return `n` latent means of a kind, float32, shape (n, 16): eight clusters, one window in ten beside them."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    centres = fixed.normal(size=(8, D)) * 3
    spread = fixed.uniform(0.2, 0.8, (8, D)) if kind == "tight" else np.full((8, D), 1.5)
    cluster = rng.integers(0, 8, n)
    means = centres[cluster] + spread[cluster] * rng.normal(size=(n, D))
    beside = rng.random(n) < 0.1
    means[beside] = rng.normal(size=(int(beside.sum()), D)) * 4
    return means.astype(np.float32)


def fitted(kind: str, n: int) -> Clusters:
    """Return clusters of `n` windows of a kind."""
    parameters = {"min_samples": 15, "cluster_selection_method": "eom", "allow_single_cluster": False}
    return refit(windows(kind, n, 1), parameters | {"min_cluster_size": max(20, n // 100)})


def bench_assign(kind: str, reference: int, new: int, runs: int) -> dict[str, Any]:
    """Time scores of new windows against hdbscan's, and compare their values."""
    clusters, points = fitted(kind, reference), windows(kind, new, 2)
    seconds = timed(lambda: assign(clusters, points), runs)
    score = assign(clusters, points)[2]
    hdbscans, scaled = clusters.fitted, clusters.scaled(points)
    began = time.perf_counter()
    theirs = hdbscan.approximate_predict_scores(hdbscans, scaled)
    hdbscan_s = time.perf_counter() - began
    return {
        "clusters": clusters.n_clusters,
        "reference_windows": reference,
        "new_windows": new,
        "assign_s": statistics.median(seconds),
        "assign_windows_per_s": new / statistics.median(seconds),
        "hdbscan_scores_s": hdbscan_s,
        "speed_up": hdbscan_s / statistics.median(seconds),
        "worst_difference": float(np.abs(score - theirs).max()),
    }


def bench_memory(reference: int, new: int) -> dict[str, Any]:
    """Measure what `assign` takes at most beside its arguments and results, and for five times the windows."""
    clusters = fitted("tight", reference)
    assign(clusters, clusters.points)  # compiles, builds what is kept
    out = {}
    for name, n in (("new_windows", new), ("five_times_new_windows", 5 * new)):
        points = windows("tight", n, 2)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = kilobytes("VmRSS")
        results = assign(clusters, points)
        size = sum(column.nbytes for column in results)
        out[f"working_mb_{name}"] = (kilobytes("VmHWM") - before) / 1024 - size / 1e6
        out[f"results_mb_{name}"] = size / 1e6
    return out | {"all_neighbours_at_once_mb": 5 * new * 30 * 16 / 1e6}


def bench_fit() -> dict[str, Any]:
    """Time the choice of parameters on as many windows as the default settings take."""
    out: dict[str, Any] = {}
    settings = DetectionSettings()
    for kind in KINDS:
        points = windows(kind, settings.cluster_windows, 1)
        began = time.perf_counter()
        chosen = fit_clusters(points, settings).chosen
        out[f"{kind}_s"] = time.perf_counter() - began
        out[f"{kind}_chosen"] = chosen
    return out | {"slowest_s": max(out[f"{kind}_s"] for kind in KINDS)}


GOALS: tuple[tuple[str, str, str, Callable[[float], bool]], ...] = (
    *((kind, "speed_up", "≥ 3, reach for 5", lambda v: v >= 3) for kind in KINDS),
    *((kind, "worst_difference", "≤ 1e-6", lambda v: v <= 1e-6) for kind in KINDS),
    ("memory", "working_mb_new_windows", "< 50", lambda v: v < 50),
    ("memory", "working_mb_five_times_new_windows", "< 50", lambda v: v < 50),
    ("fit", "slowest_s", "< 15", lambda v: v < 15),
)


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Return the figures that have a goal as a Markdown table."""
    lines = ["| figure | measured | goal | met |", "|---|---|---|---|"]
    for group, name, goal, met in GOALS:
        value = figures[group][name]
        shown = f"{group}: {name.replace('_', ' ')} | {value:.2g} | {goal} | {'yes' if met(value) else 'no'}"
        lines.append(f"| {shown} |")
    return "\n".join(lines)


def main(
    out: Out = None,
    reference: Annotated[int, typer.Option(help="reference windows")] = 20_000,
    new: Annotated[int, typer.Option(help="new windows")] = 200_000,
    runs: Annotated[int, typer.Option(help="runs of ours")] = 5,
) -> None:
    """Run the benchmark."""
    figures = {"memory": bench_memory(reference, new)}  # first: what is freed later hides a peak
    for kind in KINDS:
        figures[kind] = bench_assign(kind, reference, new, runs)
    figures["fit"] = bench_fit()
    write_figures(out, figures, hdbscan=metadata.version("hdbscan"))
    print(table(figures))
