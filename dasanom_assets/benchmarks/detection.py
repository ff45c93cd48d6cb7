"""How well threats are told from ordinary ground, and whether rates are kept, where no choice was made.

``dasanom bench detection --out docs/detection.json`` simulates sites of every family (see
`simulation.sites`), whose seeds begin at 100: nothing was chosen on them. Each site has four ordinary days to
learn from, one to count false events on, a day of faint threats and one of usual ones, and two on which ground is
only louder, or only quieter. With ``--street FOLDER``, a recorded street is a ground too (see `street`): files
before 09:30:00 are learned from, later ones scored, as they are and with threats planted.

``--sound 6,7`` adds sound of made machines, and ``--original`` the study of 2021 on the same grounds.

Every score stands in one table: the plain baseline, each detector alone, their fusion, the fusion less each of its
detectors and with each other one. Intervals are the least and the greatest of the grounds. ``--resume`` goes on
where an earlier run with the same ``--out`` stopped.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from distributed import Client

from dasanom_assets import chain
from dasanom_assets.benchmarks.detection_tables import FIGURES, STREET_BUDGET, summary
from dasanom_assets.benchmarks.grounds import Ground, MakeGround, grounds_of
from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.benchmarks.machines import make_set
from dasanom_assets.benchmarks.options import Out, Street, numbers, words
from dasanom_assets.benchmarks.simulated import (
    GUARD_CHANNELS,
    GUARD_SECONDS,
    evaluate_events,
    evaluate_windows,
    read_truth,
    window_truth,
)
from dasanom_assets.detection.calibration.conformal import fused
from dasanom_assets.detection.events.outlines import find_events, hour_of
from dasanom_assets.detection.events.support import ChannelScores, with_support
from dasanom_assets.detection.events.unusual import unusual
from dasanom_assets.detection.reference.model import Reference, load_reference
from dasanom_assets.detection.reference.promise import expected_and_realised
from dasanom_assets.evaluation.labelled import run as run_labelled
from dasanom_assets.models.device import resolve_device
from dasanom_assets.recordings.labelled_sets import LabelledSet
from dasanom_assets.recordings.simulation.sites import FAMILIES
from dasanom_assets.settings import DetectionSettings, Settings
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import with_score
from dasanom_assets.tables.store import Store

ASKED = (1e-2, 1e-3)
SCORED = (
    *("neighbours", "ranked", "plain", "mahalanobis", "vae", "latent", "temporal", "infogan"),
    *("kmeans", "dbscan", "isolation_forest"),
)
STUDY = "2021: "
"""Before the names of scores that the study of 2021 gives."""


def run(ground: Ground, settings: Settings, client: Client) -> dict[str, Any]:
    """Ingest a ground, train on its first days, score the others; return its figures."""
    store, reference = train(ground, settings, client)
    figures: dict[str, Any] = {
        "ground": ground.name,
        "km_days": reference.rates.km_days,
        "events": len(reference.rates.strength),
        "left_out": reference.note["left_out"],
        "ranking": {},
        "found": {},
    }
    if ordinary := ground.days.get("ordinary"):
        figures["cost"] = scoring_cost(store, ordinary, settings)
        p = with_score(store.read_day("anomaly_scores", ordinary))["p_value"].to_numpy()
        figures["windows"] = {"n": len(p)} | {f"{asked:g}": float((p <= asked).mean()) for asked in ASKED}
        counts = expected_and_realised(store, ordinary, reference)
        figures["counts"] = [{"budget": budget, **count} for budget, count in counts.items()]
    for kind, threat_day in ground.days.items():
        if kind == "ordinary":
            continue
        chain.score(store, threat_day, settings)
        figures["ranking"] |= rank_day(store, kind, threat_day, reference, settings)
        if kind in ("faint", "usual", "planted"):
            figures["found"][kind] = found_at(store, threat_day, reference, settings)
    return figures


def run_original(ground: Ground, settings: Settings, client: Client) -> dict[str, Any]:
    """Rank the days of a ground by the study of 2021: its windows, its network and its outlier score."""
    original = Settings(preset="original")
    detection = DetectionSettings(detectors=("vae", "latent"))
    original = original.model_copy(update={"detection": detection})
    store, reference = train(ground, original, client)
    ranking: dict[str, Any] = {}
    for kind in ground.days.keys() - {"ordinary"}:
        chain.score(store, ground.days[kind], original)
        ranking |= rank_day(store, kind, ground.days[kind], reference, original)
    named = {
        kind: {STUDY + name: figures for name, figures in scores.items() if name in reference.names}
        for kind, scores in ranking.items()
    }
    return {"ground": f"{ground.name}, 2021", "ranking": named}


def run_sound(root: Path, client: Client, settings: Settings, seed: int) -> dict[str, Any]:
    """Rank clips of made machines, each learned from its normal ones; return means over the four machines.

    Two detectors are fused of sound, so the fusion less one of them is the other one alone.
    """
    make_set(root, seed=seed)
    detectors = settings.detection.detectors
    labelled = run_labelled(
        LabelledSet(root, "mimii", None, (0,)), settings, resolve_device(settings.device), detectors, say=_say
    )
    means = {row["detector"]: row for row in labelled["means"] if row["machine"] == "all"}
    scores = {
        "fusion" if name == "fused" else name: {figure: row[figure] for figure in FIGURES if figure in row}
        for name, row in means.items()
    }
    return {"ground": f"made machines {seed}", "ranking": {"made sound": scores}}


def train(ground: Ground, settings: Settings, client: Client) -> tuple[Store, Reference]:
    """Ingest all days of a ground and train on its first ones."""
    store = Store(str(ground.root))
    for recorded in (*ground.learned, *ground.days.values()):
        chain.ingest(store, recorded, settings, client)
    chain.train(store, ground.learned, settings, _say)
    return store, load_reference(store)


def rank_day(
    store: Store, kind: str, scored: str, reference: Reference, settings: Settings
) -> dict[str, dict[str, dict[str, float]]]:
    """Return how well each score tells the changed windows of a day, beside ordinary events and off them."""
    scores = with_score(store.read_day("anomaly_scores", scored))
    activity = read_truth(store, scored, "activity")
    if kind not in ("faint", "usual"):
        return {kind: rank_all(scores, activity, reference, settings)}
    mask = off_nuisances(scores, read_truth(store, scored, "events"), activity)
    return {
        f"{kind}, ordinary events too": rank_all(scores, activity, reference, settings),
        kind: rank_all(scores, activity, reference, settings, mask),
    }


def rank_all(
    scores: pa.Table,
    activity: pa.Table,
    reference: Reference,
    settings: Settings,
    mask: np.ndarray | None = None,
) -> dict[str, dict[str, float]]:
    """Return ROC AUC, average precision and partial AUC of each score, alone or fused, with its surroundings.

    Parameters
    ----------
    scores : pyarrow.Table
        Rows of `anomaly_scores` that have a score.
    activity : pyarrow.Table
        Truth.
    reference : Reference
    settings : Settings
    mask : numpy.ndarray, optional
        bool, shape (n_windows,): windows that count.
    """
    fusion = list(reference.fused)
    others = [name for name in reference.names if name not in fusion]
    sets = {name: [name] for name in reference.names} | {"fusion": fusion}
    if len(fusion) > 1:
        sets |= {f"fusion less {name}": [n for n in fusion if n != name] for name in fusion}
    sets |= {f"fusion with {name}": [*fusion, name] for name in others}
    ranking = {}
    for name, detectors in sets.items():
        table = scores.append_column("ranked_by", pa.array(strength_of(scores, reference, detectors)))
        table = table if mask is None else table.filter(pa.array(mask))
        figures = evaluate_windows(table, activity, "ranked_by", settings.window.seconds / 2)
        ranking[name] = {figure: figures[figure] for figure in FIGURES}
    return ranking


def strength_of(scores: pa.Table, reference: Reference, names: Sequence[str]) -> np.ndarray:
    """Return the score that some detectors and a window's surroundings give, float64, shape (n_windows,)."""
    conformal = {name: reference.conformal[name] for name in names}
    step = reference.settings["spectrogram"]["group_channels"]
    shift_ns = reference.settings["window"]["shift_seconds"] * SECOND_NS
    joint = fused(conformal, {name: scores[f"score_{name}"].to_numpy() for name in names})
    fibre, channel = scores["fibre"].to_numpy(zero_copy_only=False).astype(str), scores["channel"].to_numpy()
    start = scores["start"].cast(pa.int64()).to_numpy()
    order = np.lexsort((start, channel, fibre))
    border = np.flatnonzero((np.diff(channel[order]) != 0) | (fibre[order][1:] != fibre[order][:-1])) + 1
    parts = np.split(order, border)
    channels = (
        ChannelScores(fibre[rows[0]], int(channel[rows[0]]), start[rows], joint[rows], reference.recipe, shift_ns)
        for rows in parts
    )
    strength = np.empty(len(joint))
    for rows, (_, supported) in zip(parts, with_support(channels, reference.recipe, step), strict=True):
        strength[rows] = supported
    return strength


def off_nuisances(scores: pa.Table, events: pa.Table, activity: pa.Table) -> np.ndarray:
    """Return which windows hold a threat or are near no other event, bool, shape (n_windows,)."""
    channel, start, end = (scores[name].cast(pa.int64()).to_numpy() for name in ("channel", "start", "end"))
    disturbed = np.zeros(scores.num_rows, bool)
    for row in events.filter(pc.invert(events["threat"])).to_pylist():
        begin, stop = (
            int(np.datetime64(row[name].replace(tzinfo=None), "ns").astype(np.int64)) for name in ("start", "end")
        )
        inside = channel >= row["first_channel"] - GUARD_CHANNELS
        inside &= channel <= row["last_channel"] + GUARD_CHANNELS
        during = (start < stop + GUARD_SECONDS * SECOND_NS) & (end > begin - GUARD_SECONDS * SECOND_NS)
        disturbed |= inside & during
    return ~disturbed | (window_truth(scores, activity) == 1)


def found_at(store: Store, scored: str, reference: Reference, settings: Settings) -> list[dict[str, Any]]:
    """Return the threats found and the other events at the finest budget that is resolved, and at others."""
    truth = read_truth(store, scored, "events")
    scores = with_score(store.read_day("anomaly_scores", scored))
    rows = []
    for budget in (reference.rates.finest, STREET_BUDGET, settings.detection.budget):
        figures = evaluate_events(events_within(scores, reference, settings, budget), truth)
        kept = ("n_threats", "n_found", "n_events", "false_alarms", "onset_errors_s", "channel_errors", "apart")
        rows.append({"budget": budget} | {name: figures[name] for name in kept})
    return rows


def events_within(scores: pa.Table, reference: Reference, settings: Settings, budget: float) -> pa.Table:
    """Return the rows that `anomaly_events` of a scored day would have with another budget."""
    flagged = np.zeros(scores.num_rows, bool)
    fibre, channel = scores["fibre"].to_numpy(zero_copy_only=False).astype(str), scores["channel"].to_numpy()
    hour, score = hour_of(scores["start"].cast(pa.int64()).to_numpy()), scores["score"].to_numpy()
    for name in np.unique(fibre):
        for number in np.unique(channel[fibre == name]).tolist():
            rows = (fibre == name) & (channel == number)
            flagged[rows] = score[rows] >= reference.rates.thresholds(budget, str(name), number)[hour[rows]]
    scores = scores.set_column(scores.column_names.index("is_anomaly"), "is_anomaly", pa.array(flagged))
    group = settings.spectrogram.group_channels
    windows = unusual(scores, None, reference.least_score)
    return find_events([windows], None, reference.rates, reference.least_score, settings.window, group)[0]


def scoring_cost(store: Store, scored: str, settings: Settings) -> dict[str, Any]:
    """Score a day in a process of its own; return its seconds by step, channel-seconds and peak memory."""
    command = [sys.executable, "-m", "dasanom_assets.cli", "bench", "cost", store.url(""), store.url(""), scored]
    detectors = json.dumps(settings.detection.detectors)
    environment = os.environ | {"DASANOM_DETECTION__DETECTORS": detectors}
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(process.stdout)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


Measurement = Callable[[Path, Client], dict[str, Any]]


def measurements(
    makers: Mapping[str, MakeGround], settings: Settings, sound: Sequence[int], *, original: bool
) -> Iterator[tuple[str, Measurement]]:
    """Yield the name of each ground as its figures have it, and what measures it in an empty folder."""
    for name, make in makers.items():
        yield name, partial(_measure, run, make, settings)
    for name, make in makers.items() if original else ():
        yield f"{name}, 2021", partial(_measure, run_original, make, settings)
    for seed in sound:
        yield f"made machines {seed}", partial(run_sound, settings=settings, seed=seed)


def _measure(
    method: Callable[[Ground, Settings, Client], dict[str, Any]],
    make: MakeGround,
    settings: Settings,
    root: Path,
    client: Client,
) -> dict[str, Any]:
    return method(make(root), settings, client)


@contextmanager
def workplace(settings: Settings) -> Iterator[tuple[Path, Client]]:
    """Yield an empty folder that is deleted afterwards, and a Dask client."""
    with tempfile.TemporaryDirectory(prefix="dasanom-detection-") as root, open_client(settings.dask) as client:
        yield Path(root), client


def main(
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="keep the figures that --out holds already")] = False,
    families: Annotated[str, typer.Option(help="of sites")] = ",".join(FAMILIES),
    seeds: Annotated[str, typer.Option(help="of sites of each family")] = "100,101",
    minutes: Annotated[float, typer.Option(help="of a day")] = 10,
    channels: Annotated[int, typer.Option(help="of each site")] = 48,
    detectors: Annotated[str, typer.Option(help="that score")] = ",".join(SCORED),
    street: Street = None,
    develop: Annotated[
        bool, typer.Option("--develop", help="score the part of the street that may be looked at")
    ] = False,
    sound: Annotated[str, typer.Option(help="seeds of made machines")] = "",
    original: Annotated[
        bool, typer.Option("--original", help="score the same grounds by the study of 2021, too")
    ] = False,
) -> None:
    """Run the benchmark."""
    settings = Settings()
    detection = DetectionSettings(detectors=tuple(words(detectors)))
    settings = settings.model_copy(update={"detection": detection})
    grounds: list[dict[str, Any]] = []
    if resume and out and out.exists():
        grounds = json.loads(out.read_text())["grounds"]
    makers = grounds_of(words(families), numbers(seeds), minutes, channels, street, develop=develop)
    for name, measure in measurements(makers, settings, numbers(sound), original=original):
        if name in (ground["ground"] for ground in grounds):
            continue
        with workplace(settings) as (root, client):
            grounds.append(measure(root, client))
        print(summary(grounds[-1:]), file=sys.stderr, flush=True)
        write_figures(out, {"grounds": grounds})
    print(summary(grounds))
