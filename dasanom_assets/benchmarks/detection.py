"""How well threats are told from quiet ground, on simulated sites that no model learned from.

``python -m dasanom_assets.benchmarks.detection --out docs/detection.json`` trains on two sites and scores days of
a third: one for each ratio of threats to the background, a quiet one, one on which ground is only louder, and an
hour of the line as it is simulated by default, whose threats are less faint and fewer. It
does so with several seeds (other sites, other events, another network), beside the preset ``original`` and mean
energy, and once with 24 h, for time and memory. It prints tables and writes all figures as JSON. Intervals are
the least and the greatest of the seeds.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from distributed import Client
from scipy import stats

from dasanom_assets.benchmarks import chain
from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.benchmarks.simulated import (
    GUARD_CHANNELS,
    GUARD_SECONDS,
    evaluate_events,
    evaluate_windows,
    median_errors,
    read_truth,
    window_truth,
)
from dasanom_assets.detection.events import find_events
from dasanom_assets.detection.reference import Reference, fit_reference, load_reference
from dasanom_assets.detection.scoring import anomaly_scores, spacing_m, thresholds
from dasanom_assets.models import checkpoints
from dasanom_assets.models.training import load_vae, resolve_device
from dasanom_assets.recordings.simulate import ACTIVITY, Line, simulate
from dasanom_assets.settings import DetectionSettings, Settings
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.spectrograms.windows import SECOND_NS, day_frames
from dasanom_assets.tables.schemas import TIME, with_score
from dasanom_assets.tables.store import Store

FIRST = date(2026, 1, 5)
LEARNED = ("learned-a", "learned-b")
SITE = "site"
HARD_SNRS_DB = (2.0, 5.0, 8.0, 11.0)
"""Strongest 0.1-s burst of a threat against the background of its band: 1.3 to 3.5 times its amplitude."""
RATES = {"walking": 12, "pickaxe": 12, "shovel": 8, "cutting": 8, "machine": 8, "traffic": 48, "wind": 12}
"""Events an hour on days with threats: twice as many threats as usual."""
LOUDER_DB = 8.0
LOUDER_SECONDS, LOUDER_CHANNELS = 20, 4
LASTING_SECONDS = 4.0
"""What a window needs of a threat to count as one. The truth of a faint threat may be a single burst."""
ASKED = (1e-2, 1e-3, 1e-4)
BUDGETS = (1.0, 10.0, 100.0, 1000.0)
"""False events a km and day: an hour of a short line says nothing of one, but does of a thousand."""
COMPARED = ("kmeans", "dbscan", "isolation_forest")
FIGURES = ("auc", "average_precision", "partial_auc")


def days(n: int, after: int = 0) -> list[date]:
    """Return `n` days in a row, the first of them `after` days after `FIRST`."""
    return [FIRST + timedelta(days=after + i) for i in range(n)]


def prepare(root: Path, seed: int, minutes: float, channels: int) -> dict[str, list[str]]:
    """Simulate the sites of a seed below `root`; return which days of the new site are what."""
    zones = ((100, 99 + channels),)
    for i, fibre in enumerate(LEARNED):
        line = Line(fibre=fibre, zones=zones, minutes=2 * minutes, seed=100 * seed + i)
        simulate(line, days(2), root / "learned", contractor=False)
    site = Line(fibre=SITE, zones=zones, minutes=2 * minutes, seed=100 * seed + 50)
    simulate(site, days(1), root / SITE, contractor=False)
    hard = days(len(HARD_SNRS_DB), 1)
    for day, snr in zip(hard, HARD_SNRS_DB, strict=True):
        changes = {"minutes": minutes, "events_per_hour": RATES, "snrs_db": (snr,)}
        simulate(site.model_copy(update=changes), [day], root / SITE, contractor=False)
    quiet, louder, usual = days(3, 1 + len(hard))
    simulate(site.model_copy(update={"minutes": 6 * minutes}), [usual], root / SITE, contractor=False)
    for day, length in ((quiet, 6 * minutes), (louder, minutes)):
        silent = site.model_copy(update={"minutes": length, "events_per_hour": {}})
        simulate(silent, [day], root / SITE, contractor=False)
    make_louder(root / SITE, str(louder), channels)
    return {
        "hard": [str(day) for day in hard],
        "quiet": [str(quiet)],
        "louder": [str(louder)],
        "usual": [str(usual)],
    }


def make_louder(root: Path, day: str, channels: int) -> None:
    """Raise the samples of some channels for some seconds by `LOUDER_DB`, and say so in the truth."""
    columns: dict[str, list[Any]] = {"channel": [], "start": []}
    for path in sorted((root / "landing" / day).glob("*.bin")):
        note = json.loads(Path(f"{path}.info").read_text())
        rate, began = note["sampling_rate_hz"], datetime.fromisoformat(note["start_time"])
        mapped = np.memmap(path, "<i2", "r+")
        samples = mapped.reshape(-1, channels)
        for i, second in enumerate(range(20, len(samples) // rate - LOUDER_SECONDS - 10, 45)):
            # Places take turns over the line, so that none is louder often.
            first = (7 * i + 3) % (channels - LOUDER_CHANNELS)
            part = samples[second * rate : (second + LOUDER_SECONDS) * rate, first : first + LOUDER_CHANNELS]
            part[:] = np.clip(np.rint(part * 10 ** (LOUDER_DB / 20)), -32768, 32767)
            for channel in range(100 + first, 100 + first + LOUDER_CHANNELS):
                seconds = int(began.timestamp()) + second + np.arange(LOUDER_SECONDS)
                columns["channel"] += [channel] * LOUDER_SECONDS
                columns["start"] += (seconds * SECOND_NS).tolist()
        mapped.flush()
    n = len(columns["channel"])
    activity = {
        "fibre": [SITE] * n,
        "channel": columns["channel"],
        "start": pa.array(columns["start"], pa.int64()).cast(TIME),
        "kind": ["louder"] * n,
        "snr_db": [LOUDER_DB] * n,
    }
    store = Store(str(root))
    with store.fs.open(store.full(f"truth/day={day}/activity.parquet"), "wb") as file:
        pq.write_table(pa.table(activity, schema=ACTIVITY), file)


def mean_energy(store: Store, day: str, scores: pa.Table) -> np.ndarray:
    """Return the mean level of each window, dB, float32, shape (n_windows,)."""
    out = np.empty(scores.num_rows, np.float32)
    channel, start, end = (scores[name].cast(pa.int64()).to_numpy() for name in ("channel", "start", "end"))
    for frames in day_frames(store, day):
        at = np.flatnonzero(channel == frames.channel)
        total = np.concatenate([[0.0], np.cumsum(np.nanmean(frames.power_db, axis=(1, 2), dtype=np.float64))])
        first, last = (np.searchsorted(frames.start_ns, side[at]) for side in (start, end))
        out[at] = (total[last] - total[first]) / np.maximum(last - first, 1)
    return out


def off_nuisances(scores: pa.Table, events: pa.Table, activity: pa.Table) -> pa.Table:
    """Return the windows less those near a nuisance that hold no threat."""
    channel, start, end = (scores[name].cast(pa.int64()).to_numpy() for name in ("channel", "start", "end"))
    held = np.zeros(scores.num_rows, bool)
    for row in events.filter(pc.invert(events["threat"])).to_pylist():
        begin, stop = (
            int(np.datetime64(row[name].replace(tzinfo=None), "ns").astype(np.int64)) for name in ("start", "end")
        )
        inside = channel >= row["first_channel"] - GUARD_CHANNELS
        inside &= channel <= row["last_channel"] + GUARD_CHANNELS
        held |= inside & (start < stop + GUARD_SECONDS * SECOND_NS) & (end > begin - GUARD_SECONDS * SECOND_NS)
    return scores.filter(pa.array(~held | (window_truth(scores, activity) == 1)))


def ranked(scores: pa.Table, activity: pa.Table, columns: Iterable[str], seconds: int) -> dict[str, Any]:
    """Return ROC AUC, average precision, partial AUC and AUC by kind of each score."""
    out = {}
    for column in columns:
        found = evaluate_windows(scores, activity, column, seconds / 2)
        out[column.removeprefix("score_")] = {name: found[name] for name in (*FIGURES, "auc_by_kind")}
    return out


def run_method(root: Path, which: dict[str, list[str]], settings: Settings, client: Client) -> dict[str, Any]:
    """Ingest the sites below `root`, train on one folder, score the other; return its figures."""
    models, site = Store(str(root / "learned")), Store(str(root / SITE))
    for day in map(str, days(2)):
        chain.ingest(models, day, settings, client)
    for day in (str(FIRST), *itertools.chain.from_iterable(which.values())):
        chain.ingest(site, day, settings, client)
    chain.train(models, [str(day) for day in days(2)], settings, lambda line: print(line, file=sys.stderr))
    compared = None
    if settings.preset == "default":
        reference = load_reference(models)
        vae = load_vae(models, reference.vae_version)
        _, trained = checkpoints.load(models, "vae", reference.vae_version)
        _, manifest = checkpoints.load(models, "training_set", trained["training_set"])
        device = resolve_device(settings.device)
        others = settings.model_copy(update={"detection": DetectionSettings(detectors=COMPARED)})
        compared = fit_reference(models, manifest, vae, reference.vae_version, others, device)
    tables: dict[str, list[pa.Table]] = {"hard": [], "louder": []}
    seconds = settings.window.seconds
    for kind, of in tables.items():
        for name in which[kind]:
            chain.score(site, name, models, settings)
            scores = with_score(site.read_day("anomaly_scores", name))
            scores = scores.append_column("score_mean_energy", pa.array(mean_energy(site, name, scores)))
            if compared:
                more = with_score(
                    pa.concat_tables(
                        anomaly_scores(site, name, compared, others, compared.inputs(site, models, "cpu"))
                    )
                )
                for column in (f"score_{other}" for other in COMPARED):
                    scores = scores.append_column(column, more[column])
            of.append(scores.replace_schema_metadata())
    columns = tuple(name for name in tables["hard"][0].column_names if name.startswith("score"))
    activity = {kind: [read_truth(site, day, "activity") for day in which[kind]] for kind in tables}
    events = [read_truth(site, day, "events") for day in which["hard"]]
    hard, hard_activity = pa.concat_tables(tables["hard"]), pa.concat_tables(activity["hard"])
    out: dict[str, Any] = {
        "hard": ranked(hard, hard_activity, columns, seconds),
        "hard_off_nuisances": ranked(
            off_nuisances(hard, pa.concat_tables(events), hard_activity), hard_activity, columns, seconds
        ),
        "louder": ranked(tables["louder"][0], activity["louder"][0], columns, seconds),
        "by_snr": {
            f"{snr:g}": ranked(scores, of_day, ["score"], seconds)["score"]
            for snr, scores, of_day in zip(HARD_SNRS_DB, tables["hard"], activity["hard"], strict=True)
        },
    }
    if settings.preset == "default":
        out["events"] = [
            {"snr_db": snr} | evaluate_events(site.read_day("anomaly_events", day), of_day)
            for snr, day, of_day in zip(HARD_SNRS_DB, which["hard"], events, strict=True)
        ]
        out["quiet"] = quiet_figures(site, models, which["quiet"][0], settings)
        (usual,) = which["usual"]
        chain.score(site, usual, models, settings)
        out["usual"] = evaluate_events(site.read_day("anomaly_events", usual), read_truth(site, usual, "events"))
        out["budgets"] = budget_figures(site, which, load_reference(models), settings)
    return out


def events_within(site: Store, day: str, reference: Reference, settings: Settings, budget: float) -> pa.Table:
    """Return the rows that `anomaly_events` of a scored day would have with another budget."""
    detection = settings.detection.model_copy(update={"budget": budget})
    limit = thresholds(reference, detection, spacing_m(site, day, settings))["budget"]
    scores = with_score(site.read_day("anomaly_scores", day))
    flagged = pc.fill_null(pc.greater_equal(scores["score"], limit), False)
    scores = scores.set_column(scores.column_names.index("is_anomaly"), "is_anomaly", flagged)
    return find_events(scores, None, None, detection, settings.window, settings.spectrogram.group_channels)


def budget_figures(
    site: Store, which: dict[str, list[str]], reference: Reference, settings: Settings
) -> list[dict[str, float]]:
    """Return false events on the quiet days, and threats found on the others, for each of `BUDGETS`."""
    out = []
    for budget in BUDGETS:
        quiet = [events_within(site, day, reference, settings, budget).num_rows for day in which["quiet"]]
        hard = [
            evaluate_events(events_within(site, day, reference, settings, budget), read_truth(site, day, "events"))
            for day in which["hard"]
        ]
        found, threats = (sum(one[name] for one in hard) for name in ("n_found", "n_threats"))
        out.append({"budget": budget, "false_events": sum(quiet), "n_found": found, "n_threats": threats})
    return out


def scoring_cost(site: Store, models: Store, day: str) -> dict[str, Any]:
    """Score a day in a process of its own; return its seconds by step, channel-seconds and peak memory."""
    command = [sys.executable, "-m", "dasanom_assets.benchmarks.chain", site.url(""), models.url(""), day]
    told = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, env=os.environ | {"DASANOM_PRESET": "default"}
    )
    return json.loads(told.stdout)


def whole_day(root: Path, seed: int, channels: int, models: Store, client: Client) -> dict[str, Any]:
    """Simulate 24 h of a line with events, below `root`, and score it; return what that cost, and its events."""
    line = Line(fibre="whole", zones=((100, 99 + channels),), hour=0, minutes=24 * 60, file_minutes=30, seed=seed)
    simulate(line, [FIRST], root, contractor=False)
    site, day = Store(str(root)), str(FIRST)
    chain.ingest(site, day, Settings(preset="default"), client)
    return scoring_cost(site, models, day) | {"events": site.read_day("anomaly_events", day).num_rows}


def quiet_figures(site: Store, models: Store, day: str, settings: Settings) -> dict[str, Any]:
    """Score a quiet day in a process of its own; return false alarm rates, events, time and memory."""
    cost = scoring_cost(site, models, day)
    scores = with_score(site.read_day("anomaly_scores", day))
    p_value = scores["p_value"].to_numpy()
    kilometres = len(np.unique(scores["channel"])) * settings.detection.channel_spacing_m / 1000
    return {
        "windows": len(p_value),
        "realised": {f"{p:g}": float((p_value <= p).mean()) for p in ASKED},
        "realised_by_detector": {
            name.removeprefix("p_"): {f"{p:g}": float((scores[name].to_numpy() <= p).mean()) for p in ASKED}
            for name in scores.column_names
            if name.startswith("p_") and name != "p_value"
        },
        "false_events": site.read_day("anomaly_events", day).num_rows,
        "kilometre_days": kilometres * len(p_value) / len(np.unique(scores["channel"])) / 86_400,
        **cost,
    }


def summary(seeds: list[dict[str, Any]]) -> str:
    """Return the tables of the docs, in Markdown."""
    lines = [
        "| score | AUC | average precision | partial AUC | AUC, nuisances too | only louder, AUC |",
        "|---" * 6 + "|",
    ]
    names = {"score": "**fused**", "mean_energy": "mean energy"}
    rows = [("default", name, names.get(name, f"`{name}`")) for name in seeds[0]["default"]["hard"]]
    rows += [
        ("original", name, f"`original`: {names.get(name, name).strip('*')}")
        for name in seeds[0]["original"]["hard"]
        if name != "mean_energy"
    ]
    for method, name, shown in rows:
        off = [seed[method]["hard_off_nuisances"][name] for seed in seeds]
        cells = [interval([one[figure] for one in off]) for figure in FIGURES]
        cells += [interval([seed[method][of][name]["auc"] for seed in seeds]) for of in ("hard", "louder")]
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    kinds = sorted(seeds[0]["default"]["hard_off_nuisances"]["score"]["auc_by_kind"])
    lines += ["", f"| AUC of the kind | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for method, name, shown in rows:
        of_kind = [seed[method]["hard_off_nuisances"][name]["auc_by_kind"] for seed in seeds]
        cells = [interval([one.get(kind, np.nan) for one in of_kind]) for kind in kinds]
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    lines += [
        "",
        "| ratio of threats, dB | AUC | average precision | events found | false on nuisances | other false |",
    ]
    lines.append("|---" * 6 + "|")
    for i, snr in enumerate(HARD_SNRS_DB):
        cells = [interval([s["default"]["by_snr"][f"{snr:g}"][name] for s in seeds]) for name in FIGURES[:2]]
        events = [seed["default"]["events"][i] for seed in seeds]
        on = [sum(e["false_alarms_on"].values()) for e in events]
        found = f"{sum(e['n_found'] for e in events)} of {sum(e['n_threats'] for e in events)}"
        other = sum(max(0, e["false_alarms"] - n) for e, n in zip(events, on, strict=True))
        lines.append(f"| {snr:g} | {' | '.join(cells)} | {found} | {sum(on)} | {other} |")
    quiet = [seed["default"]["quiet"] for seed in seeds]
    lines += ["", "| on quiet days | asked 1e-2 | asked 1e-3 | asked 1e-4 |", "|---|---|---|---|"]
    realised = [interval([q["realised"][f"{p:g}"] / p for q in quiet]) for p in ASKED]
    lines.append(f"| realised ÷ asked, fused | {' | '.join(realised)} |")
    for name in quiet[0]["realised_by_detector"]:
        ratios = [interval([q["realised_by_detector"][name][f"{p:g}"] / p for q in quiet]) for p in ASKED]
        lines.append(f"| realised ÷ asked, `{name}` | {' | '.join(ratios)} |")
    length, false = sum(q["kilometre_days"] for q in quiet), sum(q["false_events"] for q in quiet)
    most = float(stats.chi2.ppf(0.95, 2 * (false + 1)) / 2 / length)
    lines += ["", "| false events a km and day, asked | expected on quiet days | there were | threats found |"]
    lines.append("|---" * 4 + "|")
    for i, budget in enumerate(BUDGETS):
        of_seeds = [seed["default"]["budgets"][i] for seed in seeds]
        there, got, of = (sum(one[name] for one in of_seeds) for name in ("false_events", "n_found", "n_threats"))
        lines.append(f"| {budget:g} | {budget * length:.2g} | {there} | {got} of {of} |")
    hard = [e for seed in seeds for e in seed["default"]["events"]]
    onset, apart, channel = median_errors(hard).values()
    steps: dict[str, float] = {}
    for q in quiet:
        for name, value in q["seconds"].items():
            steps[name] = steps.get(name, 0) + value
    total = sum(steps.values())
    pace = [q["channel_seconds"] / sum(q["seconds"].values()) for q in quiet]
    found, threats = (sum(e[name] for e in hard) for name in ("n_found", "n_threats"))
    usual = [seed["default"]["usual"] for seed in seeds]
    of_usual, all_usual = (sum(e[name] for e in usual) for name in ("n_found", "n_threats"))
    # One event may lie on a vehicle and on wind: what is left by the count is the least that lies on nothing.
    nothing = sum(max(0, e["false_alarms"] - sum(e["false_alarms_on"].values())) for e in usual)
    lasting = [f for e in hard for f, s in zip(e["found"], e["durations_s"], strict=True) if s >= LASTING_SECONDS]
    return "\n".join(
        [
            *lines,
            "",
            f"Events: {found} of {threats} threats found, {sum(lasting)} of {len(lasting)} of those that are "
            f"above the background, from the first burst to the last, for {LASTING_SECONDS:g} s or more; medians "
            f"of onset error {onset:.1f} s ({apart:.1f} s of those whose event is of nothing else) and of channel "
            f"error {channel:.0f}. Quiet days: {false} false events in {length:.3f} km·days (95 % upper bound "
            f"{most:.0f} a km and day).",
            "",
            f"The usual line, an hour a seed: {of_usual} of {all_usual} threats found, "
            f"{sum(e['false_alarms'] for e in usual)} other events, at least {nothing} on nothing; medians of "
            f"onset error {median_errors(usual)['onset_error_s']:.1f} s and of channel error "
            f"{median_errors(usual)['channel_error']:.0f}.",
            "",
            f"Scoring: {interval(pace, 0)} channel-seconds a second, peak memory "
            f"{max(q['peak_mb'] for q in quiet):.0f} MB; "
            + ", ".join(f"{name} {value / total:.0%}" for name, value in steps.items())
            + ".",
        ]
    )


def whole_day_line(cost: dict[str, Any]) -> str:
    """Return what `whole_day` found, in words."""
    total = sum(cost["seconds"].values())
    shares = ", ".join(f"{name} {value / total:.0%}" for name, value in cost["seconds"].items())
    channels = cost["channel_seconds"] / 86_400
    return (
        f"A whole day of {channels:.0f} channels with {cost['events']} events: "
        f"{cost['channel_seconds'] / total:.0f} channel-seconds a second, peak memory {cost['peak_mb']:.0f} MB; "
        f"{shares}."
    )


def interval(values: list[float], digits: int = 3) -> str:
    """Return the mean of the seeds, and the least and the greatest."""
    if not np.isfinite(values).any():
        return "–"
    return f"{np.nanmean(values):.{digits}f} ({np.nanmin(values):.{digits}f}–{np.nanmax(values):.{digits}f})"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file to write (default: only the tables are printed)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=10, help="of a day with threats (default: %(default)s)")
    parser.add_argument("--channels", type=int, default=48, help="of each site (default: %(default)s)")
    parser.add_argument("--whole-day", type=int, default=8, help="channels with 24 h (default: %(default)s)")
    options = parser.parse_args(arguments)
    seeds: list[dict[str, Any]] = []
    for seed in options.seeds:
        with ExitStack() as stack:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dasanom-detection-")))
            which = prepare(root, seed, options.minutes, options.channels)
            client = stack.enter_context(open_client(Settings().dask))
            figures: dict[str, Any] = {"seed": seed}
            for preset in ("default", "original"):
                settings = Settings(preset=preset)
                below = root / preset
                for folder in ("learned", SITE):
                    (below / folder).mkdir(parents=True)
                    for name in ("landing", "truth"):
                        if (root / folder / name).exists():
                            (below / folder / name).symlink_to(root / folder / name)
                changes: dict[str, Any] = {"vae": settings.vae.model_copy(update={"seed": seed})}
                if preset == "original":
                    # What the study of 2021 had.
                    changes["detection"] = DetectionSettings(detectors=("vae", "latent"))
                figures[preset] = run_method(below, which, settings.model_copy(update=changes), client)
                print(json.dumps(figures[preset]), file=sys.stderr)
            if options.whole_day and not seeds:
                models = Store(str(root / "default" / "learned"))
                figures["whole_day"] = whole_day(root / "whole", seed, options.whole_day, models, client)
        seeds.append(figures)
        write_figures(options.out, {"seeds": seeds})
    print(summary(seeds))
    if "whole_day" in seeds[0]:
        print(f"\n{whole_day_line(seeds[0]['whole_day'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
