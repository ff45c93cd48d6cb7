"""How well threats are told from ordinary ground, and whether rates are kept, where no choice was made.

``python -m dasanom_assets.benchmarks.detection --out docs/detection.json`` simulates sites of every family (see
`recordings.sites`), whose seeds begin at 100: nothing was chosen on them. Each site has four ordinary days to
learn from, one to count false events on, a day of faint threats and one of usual ones, and two on which ground is
only louder, or only quieter. With ``--street FOLDER``, a recorded street is a ground too (see `street`): files
before 09:30:00 are learned from, later ones scored, as they are and with threats planted.

With ``DASANOM_PRESET=original`` and ``--detectors vae latent``, the study of 2021 stands beside them.

Every score stands in one table: the plain baseline, each detector alone, their fusion, the fusion less each of its
detectors and with each other one. Intervals are the least and the greatest of the grounds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from distributed import Client

from dasanom_assets import chain
from dasanom_assets.benchmarks import street
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
from dasanom_assets.detection.calibration.conformal import fused
from dasanom_assets.detection.calibration.rates import poisson_ratio
from dasanom_assets.detection.events.outlines import find_events, hour_of
from dasanom_assets.detection.events.support import ChannelScores, with_support
from dasanom_assets.detection.reference.model import Reference, load_reference
from dasanom_assets.detection.reference.promise import expected_and_realised
from dasanom_assets.recordings.simulate import ACTIVITY, simulate
from dasanom_assets.recordings.sites import FAMILIES, Line, draw_site, with_threats, without_threats
from dasanom_assets.settings import DetectionSettings, Settings
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import TIME, with_score
from dasanom_assets.tables.store import Store

FIRST = date(2026, 1, 5)
LEARNED = 4
"""Days that each site is learned from."""
FAINT_DB, USUAL_DB = (2.0, 6.0, 12.0), (6.0, 10.0, 15.0)
"""Strongest 0.1-s burst of a threat against the background of its band: 1.3 to 4, and 2 to 5.6 times its
amplitude."""
THREATS_PER_HOUR = {"walking": 12.0, "pickaxe": 12.0, "shovel": 8.0, "cutting": 8.0, "machine": 8.0}
CHANGE_DB = 8.0
CHANGE_SECONDS, CHANGE_CHANNELS = 20, 4
ASKED = (1e-2, 1e-3)
SCORED = (
    *("neighbours", "ranked", "plain", "mahalanobis", "vae", "latent", "temporal", "infogan"),
    *("kmeans", "dbscan", "isolation_forest"),
)
FIGURES = ("auc", "average_precision", "partial_auc")
STREET_BUDGET = 1000.0


@dataclass(frozen=True)
class Ground:
    """A data root, and which of its days are what.

    Attributes
    ----------
    name : str
    root : pathlib.Path
    learned : list of str
    days : dict of str to str
        ``ordinary``, and kinds of days with threats.
    """

    name: str
    root: Path
    learned: list[str]
    days: dict[str, str]


def day(i: int) -> date:
    """Return the day that lies `i` days after the first."""
    return FIRST + timedelta(days=i)


def simulated_ground(line: Line, root: Path, minutes: float) -> Ground:
    """Simulate the days of a site below `root`."""
    plain = without_threats(line)
    kinds = ("ordinary", "faint", "usual", "louder", "quieter")
    days = dict(zip(kinds, map(day, range(LEARNED, LEARNED + len(kinds))), strict=True))

    def write(what: Line, of: Iterable[date], length: float) -> None:
        simulate(what.model_copy(update={"minutes": length}), of, root, contractor=False)

    write(plain, map(day, range(LEARNED)), minutes)
    write(plain, [days["ordinary"]], 2 * minutes)
    write(with_threats(plain, THREATS_PER_HOUR, FAINT_DB), [days["faint"]], minutes)
    write(with_threats(plain, THREATS_PER_HOUR, USUAL_DB), [days["usual"]], minutes)
    silent = plain.model_copy(update={"events_per_hour": {}})
    for kind, change_db in (("louder", CHANGE_DB), ("quieter", -CHANGE_DB)):
        write(silent, [days[kind]], minutes / 2)
        change_level(root, str(days[kind]), plain, change_db)
    learned = [str(day(i)) for i in range(LEARNED)]
    return Ground(line.fibre, root, learned, {kind: str(of) for kind, of in days.items()})


def change_level(root: Path, of_day: str, line: Line, change_db: float) -> None:
    """Raise or lower the samples of some channels for some seconds, and say so in the truth."""
    columns: dict[str, list[Any]] = {"channel": [], "start": []}
    channels = line.channels
    for path in sorted((root / "landing" / of_day).glob("*.bin")):
        note = json.loads(Path(f"{path}.info").read_text())
        rate, began = note["sampling_rate_hz"], datetime.fromisoformat(note["start_time"])
        mapped = np.memmap(path, "<i2", "r+")
        samples = mapped.reshape(-1, len(channels))
        for i, second in enumerate(range(20, len(samples) // rate - CHANGE_SECONDS - 10, 45)):
            # Places take turns over the line, so that none is changed often.
            first = (7 * i + 3) % (len(channels) - CHANGE_CHANNELS)
            part = samples[second * rate : (second + CHANGE_SECONDS) * rate, first : first + CHANGE_CHANNELS]
            part[:] = np.clip(np.rint(part * 10 ** (change_db / 20)), -32768, 32767)
            for channel in channels[first : first + CHANGE_CHANNELS].tolist():
                seconds = int(began.timestamp()) + second + np.arange(CHANGE_SECONDS)
                columns["channel"] += [channel] * CHANGE_SECONDS
                columns["start"] += (seconds * SECOND_NS).tolist()
        mapped.flush()
    n = len(columns["channel"])
    activity = {
        "fibre": [line.fibre] * n,
        "channel": columns["channel"],
        "start": pa.array(columns["start"], pa.int64()).cast(TIME),
        "kind": ["changed"] * n,
        "snr_db": [abs(change_db)] * n,
    }
    store = Store(str(root))
    with store.fs.open(store.full(f"truth/day={of_day}/activity.parquet"), "wb") as file:
        pq.write_table(pa.table(activity, schema=ACTIVITY), file)


def street_ground(folder: Path, root: Path, seed: int, held_back: bool) -> Ground:
    """Write the recorded street below `root`: what is learned, and what is scored as it is and with threats.

    Parameters
    ----------
    folder : pathlib.Path
        See `street.write_street`.
    root : pathlib.Path
    seed : int
        Of the planted threats.
    held_back : bool
        Score the files from `street.DEVELOP_UNTIL` on, and learn from all before; otherwise the third of these
        that is last is scored.
    """
    learn_until, until = (street.DEVELOP_UNTIL, "240000") if held_back else ("092000", street.DEVELOP_UNTIL)
    planted = street.Planting(seed=seed)
    street.write_street(folder, root, day(0), "000000", learn_until)
    street.write_street(folder, root, day(1), learn_until, until)
    street.write_street(folder, root, day(2), learn_until, until, planted)
    return Ground("street, recorded", root, [str(day(0))], {"ordinary": str(day(1)), "planted": str(day(2))})


def run(ground: Ground, settings: Settings, client: Client) -> dict[str, Any]:
    """Ingest a ground, train on its first days, score the others; return its figures."""
    store = Store(str(ground.root))
    for of_day in (*ground.learned, *ground.days.values()):
        chain.ingest(store, of_day, settings, client)
    chain.train(store, ground.learned, settings, lambda line: print(line, file=sys.stderr))
    reference = load_reference(store)
    out: dict[str, Any] = {
        "ground": ground.name,
        "km_days": reference.rates.km_days,
        "events": len(reference.rates.strength),
        "left_out": reference.note["left_out"],
        "ranking": {},
        "found": {},
    }
    spacing = reference.note["spacing_m"]
    for kind, of_day in ground.days.items():
        if kind == "ordinary":
            out["cost"] = scoring_cost(store, of_day)
            scores = with_score(store.read_day("anomaly_scores", of_day))
            p = scores["p_value"].to_numpy()
            out["windows"] = {"n": len(p)} | {f"{asked:g}": float((p <= asked).mean()) for asked in ASKED}
            out["counts"] = [
                {"budget": budget, **count}
                for budget, count in expected_and_realised(store, of_day, reference).items()
            ]
            continue
        chain.score(store, of_day, settings)
        scores = with_score(store.read_day("anomaly_scores", of_day))
        activity = read_truth(store, of_day, "activity")
        if kind in ("faint", "usual"):
            truth = read_truth(store, of_day, "events")
            off = off_nuisances(scores, truth, activity)
            out["ranking"][f"{kind}, ordinary events too"] = rank_all(scores, activity, reference, settings)
            out["ranking"][kind] = rank_all(scores, activity, reference, settings, off)
        else:
            out["ranking"][kind] = rank_all(scores, activity, reference, settings)
        if kind in ("faint", "usual", "planted"):
            out["found"][kind] = found_at(store, of_day, reference, settings, spacing)
    return out


def rank_all(
    scores: pa.Table,
    activity: pa.Table,
    reference: Reference,
    settings: Settings,
    some: np.ndarray | None = None,
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
    some : numpy.ndarray, optional
        bool, shape (n_windows,): windows that count.
    """
    mine = list(reference.fused)
    others = [name for name in reference.names if name not in mine]
    sets = {name: [name] for name in reference.names} | {"fusion": mine}
    if len(mine) > 1:
        sets |= {f"fusion less {name}": [n for n in mine if n != name] for name in mine}
    sets |= {f"fusion with {name}": [*mine, name] for name in others}
    out = {}
    for name, of in sets.items():
        table = scores.append_column("told", pa.array(strength_of(scores, reference, of)))
        table = table if some is None else table.filter(pa.array(some))
        found = evaluate_windows(table, activity, "told", settings.window.seconds / 2)
        out[name] = {figure: found[figure] for figure in FIGURES}
    return out


def strength_of(scores: pa.Table, reference: Reference, names: Sequence[str]) -> np.ndarray:
    """Return the score that some detectors and a window's surroundings give, float64, shape (n_windows,)."""
    of = {name: reference.conformal[name] for name in names}
    step = reference.settings["spectrogram"]["group_channels"]
    shift_ns = reference.settings["window"]["shift_seconds"] * SECOND_NS
    whole = fused(of, {name: scores[f"score_{name}"].to_numpy() for name in names})
    fibre, channel = scores["fibre"].to_numpy(zero_copy_only=False).astype(str), scores["channel"].to_numpy()
    start = scores["start"].cast(pa.int64()).to_numpy()
    order = np.lexsort((start, channel, fibre))
    border = np.flatnonzero((np.diff(channel[order]) != 0) | (fibre[order][1:] != fibre[order][:-1])) + 1
    parts = np.split(order, border)
    channels = (
        ChannelScores(fibre[at[0]], int(channel[at[0]]), start[at], whole[at], reference.recipe, shift_ns)
        for at in parts
    )
    out = np.empty(len(whole))
    for at, (_, strength) in zip(parts, with_support(channels, reference.recipe, step), strict=True):
        out[at] = strength
    return out


def off_nuisances(scores: pa.Table, events: pa.Table, activity: pa.Table) -> np.ndarray:
    """Return which windows hold a threat or are near no other event, bool, shape (n_windows,)."""
    channel, start, end = (scores[name].cast(pa.int64()).to_numpy() for name in ("channel", "start", "end"))
    held = np.zeros(scores.num_rows, bool)
    for row in events.filter(pc.invert(events["threat"])).to_pylist():
        begin, stop = (
            int(np.datetime64(row[name].replace(tzinfo=None), "ns").astype(np.int64)) for name in ("start", "end")
        )
        inside = channel >= row["first_channel"] - GUARD_CHANNELS
        inside &= channel <= row["last_channel"] + GUARD_CHANNELS
        held |= inside & (start < stop + GUARD_SECONDS * SECOND_NS) & (end > begin - GUARD_SECONDS * SECOND_NS)
    return ~held | (window_truth(scores, activity) == 1)


def found_at(
    store: Store, of_day: str, reference: Reference, settings: Settings, spacing_m: dict[str, float]
) -> list[dict[str, Any]]:
    """Return the threats found and the other events told at the finest budget that is resolved, and at others."""
    truth = read_truth(store, of_day, "events")
    scores = with_score(store.read_day("anomaly_scores", of_day))
    out = []
    for budget in (reference.rates.finest, STREET_BUDGET, settings.detection.budget):
        events = events_within(scores, reference, settings, budget)
        found = evaluate_events(events, truth)
        kept = ("n_threats", "n_found", "n_events", "false_alarms", "onset_errors_s", "channel_errors", "apart")
        out.append({"budget": budget} | {name: found[name] for name in kept})
    return out


def events_within(scores: pa.Table, reference: Reference, settings: Settings, budget: float) -> pa.Table:
    """Return the rows that `anomaly_events` of a scored day would have with another budget."""
    flagged = np.zeros(scores.num_rows, bool)
    fibre, channel = scores["fibre"].to_numpy(zero_copy_only=False).astype(str), scores["channel"].to_numpy()
    hour, score = hour_of(scores["start"].cast(pa.int64()).to_numpy()), scores["score"].to_numpy()
    for name in np.unique(fibre):
        for number in np.unique(channel[fibre == name]).tolist():
            at = (fibre == name) & (channel == number)
            flagged[at] = score[at] >= reference.rates.thresholds(budget, str(name), number)[hour[at]]
    scores = scores.set_column(scores.column_names.index("is_anomaly"), "is_anomaly", pa.array(flagged))
    group = settings.spectrogram.group_channels
    return find_events(scores, None, None, reference.rates, reference.level, settings.window, group)


def scoring_cost(store: Store, of_day: str) -> dict[str, Any]:
    """Score a day in a process of its own; return its seconds by step, channel-seconds and peak memory."""
    command = [sys.executable, "-m", "dasanom_assets.benchmarks.cost", store.url(""), store.url(""), of_day]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(told.stdout)


def summary(grounds: Sequence[dict[str, Any]]) -> str:
    """Return the tables of the docs, in Markdown."""
    lines: list[str] = []
    kinds = list(dict.fromkeys(kind for ground in grounds for kind in ground["ranking"]))
    for kind in kinds:
        of = [ground["ranking"][kind] for ground in grounds if kind in ground["ranking"]]
        lines += [f"**{kind}**, {len(of)} grounds", "", "| score | AUC | AP | partial AUC |", "|---|---|---|---|"]
        for name in dict.fromkeys(name for one in of for name in one):
            cells = [interval([one[name][figure] for one in of if name in one]) for figure in FIGURES]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    lines += [
        "| ground | reference, km·days | events | window p ≤ 1e-2, realised ÷ asked | 1e-3 |",
        "|---" * 5 + "|",
    ]
    for ground in grounds:
        ratios = [f"{ground['windows'][f'{asked:g}'] / asked:.2f}" for asked in ASKED]
        lines.append(
            f"| {ground['ground']} | {ground['km_days']:.3g} | {ground['events']} | {' | '.join(ratios)} |"
        )
    lines += ["", "| budget, a km and day | due | there were | realised ÷ asked (95 %) |", "|---|---|---|---|"]
    counts = [count for ground in grounds for count in ground["counts"]]
    for budget in sorted({count["budget"] for count in counts}):
        expected = sum(count["expected"] for count in counts if count["budget"] == budget)
        realised = sum(count["realised"] for count in counts if count["budget"] == budget)
        ratio, low, high = poisson_ratio(realised, expected)
        lines.append(f"| {budget:g} | {expected:.1f} | {realised} | {ratio:.2f} ({low:.2f}–{high:.2f}) |")
    lines += [
        "",
        "| threats | budget, a km and day | found | other events | onset, s | channel |",
        "|---" * 6 + "|",
    ]
    for kind in ("faint", "usual", "planted"):
        of_kind = [ground["found"][kind] for ground in grounds if kind in ground["found"]]
        for i, shown in enumerate(
            ("the finest resolved", f"{STREET_BUDGET:g}", f"{Settings().detection.budget:g}")
        ):
            rows = [one[i] for one in of_kind]
            if rows:
                found, threats, false = (
                    sum(row[name] for row in rows) for name in ("n_found", "n_threats", "false_alarms")
                )
                onset, _, channel = median_errors(rows).values()
                lines.append(
                    f"| {kind} | {shown} | {found} of {threats} | {false} | {onset:.1f} | {channel:.0f} |"
                )
    pace = [ground["cost"]["channel_seconds"] / sum(ground["cost"]["seconds"].values()) for ground in grounds]
    peak = max(ground["cost"]["peak_mb"] for ground in grounds)
    lines += ["", f"Scoring: {interval(pace, 0)} channel-seconds a second, peak memory {peak:.0f} MB."]
    left_out = {name: reason for ground in grounds for name, reason in ground["left_out"].items()}
    lines += [f"Left out somewhere: {name}, {reason}." for name, reason in left_out.items()]
    return "\n".join(lines)


def interval(values: Sequence[float], digits: int = 3) -> str:
    """Return the mean of the grounds, and the least and the greatest."""
    if not np.isfinite(values).any():
        return "–"
    return f"{np.nanmean(values):.{digits}f} ({np.nanmin(values):.{digits}f}–{np.nanmax(values):.{digits}f})"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, help="JSON file to write (default: only the tables are printed)")
    add("--families", nargs="*", default=list(FAMILIES), help="of sites (default: all)")
    add("--seeds", type=int, nargs="+", default=[100, 101], help="of sites of each family (default: %(default)s)")
    add("--minutes", type=float, default=10, help="of a day (default: %(default)s)")
    add("--channels", type=int, default=48, help="of each site (default: %(default)s)")
    add("--detectors", nargs="+", default=list(SCORED), help="that score (default: all)")
    add("--street", type=Path, help="folder with the recordings of the street (default: it is left out)")
    add("--develop", action="store_true", help="score the part of the street that may be looked at")
    options = parser.parse_args(arguments)
    settings = Settings()
    detection = DetectionSettings(detectors=tuple(options.detectors))
    settings = settings.model_copy(update={"detection": detection})
    os.environ["DASANOM_DETECTION__DETECTORS"] = json.dumps(options.detectors)
    places: list[tuple[str | None, int]] = [(name, seed) for name in options.families for seed in options.seeds]
    places += [(None, seed) for seed in options.seeds] if options.street else []
    grounds: list[dict[str, Any]] = []
    for family, seed in places:
        with ExitStack() as stack:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dasanom-detection-")))
            if family is None:
                ground = street_ground(options.street, root, seed, not options.develop)
            else:
                ground = simulated_ground(draw_site(family, seed, options.channels), root, options.minutes)
            client = stack.enter_context(open_client(settings.dask))
            grounds.append(run(ground, settings, client))
        print(summary(grounds[-1:]), file=sys.stderr, flush=True)
        write_figures(options.out, {"grounds": grounds, "seeds": options.seeds})
    print(summary(grounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
