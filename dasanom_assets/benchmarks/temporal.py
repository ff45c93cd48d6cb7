"""Temporal dissimilarity on simulated weeks: how right its divergence is, what each term tells, what it costs.

``python -m dasanom_assets.benchmarks.temporal --out docs/temporal.json`` prints tables and writes
the figures as JSON.

The weeks are simulated as whitened frames of some channels beside each other, for some hours of each day: noise
with a heavy tail, a level that drifts over the day and from day to day, a place that always differs from its
neighbours, and a train that passes all channels on every working day at one time. Unusual are the same train at
another time or on a weekend, and faint digging on three channels. All goes through the tables, as in the pipeline.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture

from dasanom_assets.benchmarks.ingest import timed
from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.detection.mixtures import FLOOR, Mixtures, divergence, fit_mixtures
from dasanom_assets.detection.segments import models_of_channels, segment_frames
from dasanom_assets.detection.temporal import TERMS, Temporal, temporal_terms
from dasanom_assets.settings import TemporalSettings
from dasanom_assets.spectrograms.whitening import WhiteChannel
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import empty
from dasanom_assets.tables.store import Store

SETTINGS = TemporalSettings()
FIRST = date(2026, 1, 5)  # a Monday
BANDS, RATE = 16, 2
OPENS, HOURS = 8, 4
"""The hour, UTC, at which a simulated day begins, and its length."""
LEARNED, CALIBRATED, TESTED = 28, 7, 14
"""Days of history, those that p-values are taken from, and those that are scored."""
TRAIN_SECOND, TRAIN_LENGTH = 2 * 3600, 120
DRAWN = 40_000
"""Frames that a Monte Carlo estimate draws of each mixture."""
ALARM = 3.0
"""A segment whose combined p-value is below 1e-3 raises an alarm: p-values of a term end at about 3e-5 here, and
what only one of four terms finds is combined to four times that."""
LACKING = -1e6
"""Stands for a term that a segment lacks."""
FAR = 8
"""Channel that lies by a road, and always differs from its neighbours."""


@dataclass(frozen=True)
class Event:
    """Something on some channels for some seconds of a simulated day; `usual` events are no anomalies."""

    kind: str
    start: int
    end: int
    channels: tuple[int, ...]
    strength: float
    usual: bool = False


def events_of(day: date, channels: int, seed: int, *, unusual: bool) -> list[Event]:
    """Return the train of a working day, and, on a day that is scored, what is unusual."""
    rng = np.random.default_rng([seed, day.toordinal(), 1])
    everywhere = tuple(range(channels))
    working = day.weekday() < 5
    out = []

    def train(kind: str, second: int, usual: bool = False) -> Event:
        late = second + int(rng.integers(-20, 21))
        return Event(kind, late, late + TRAIN_LENGTH, everywhere, rng.uniform(1.2, 2.0), usual)

    if working:
        out.append(train("train in time", TRAIN_SECOND, usual=True))
    if unusual:
        if not working:
            out.append(train("train on a weekend", TRAIN_SECOND))
        elsewhere = TRAIN_SECOND + int(rng.choice([-1, 1])) * int(rng.integers(900, 5400))
        out.append(train("train at another time", elsewhere))
        for _ in range(2):
            start, first = int(rng.integers(0, HOURS * 3600 - 120)), int(rng.integers(0, channels - 2))
            length = int(rng.integers(60, 121))
            where = (first, first + 1, first + 2)
            out.append(Event("digging", start, start + length, where, rng.uniform(0.3, 1.2)))
    return out


def simulated_channels(day: date, channels: int, events: list[Event], seed: int) -> Iterator[WhiteChannel]:
    """Yield the whitened frames of a day, float32, shape (seconds, 2, 16) a channel."""
    fixed = np.random.default_rng(seed)
    signature = {"train": fixed.gamma(2, size=BANDS) / 2, "digging": fixed.gamma(2, size=BANDS) / 2}
    usual = fixed.normal(0, 0.1, (channels, BANDS))
    usual[min(FAR, channels - 1)] += fixed.normal(0, 0.6, BANDS)
    of_day = np.random.default_rng([seed, day.toordinal(), 2])
    second = np.arange(HOURS * 3600)
    slope, offset = of_day.normal(0, 0.1, (2, BANDS))
    drift = offset + np.sin(2 * np.pi * (second[:, None] / 86_400 + of_day.random() / 24)) * slope
    start = int(datetime(day.year, day.month, day.day, OPENS, tzinfo=UTC).timestamp())
    for channel in range(channels):
        rng = np.random.default_rng([seed, day.toordinal(), channel, 3])
        rows = rng.normal(size=(len(second), RATE, BANDS)).astype(np.float32)
        rows *= np.where(rng.random((len(second), RATE, 1)) < 0.1, 1.8, 1.0)
        rows += (usual[channel] + drift)[:, None]
        for event in events:
            if channel in event.channels:
                inside = slice(max(event.start, 0), event.end)
                shape = rows[inside].shape[:2]
                digging = event.kind == "digging"
                # Blows come and go; a train is there all the time, and swells.
                along = rng.random(shape) < 0.3 if digging else rng.normal(1, 0.2, shape)
                rows[inside] += event.strength * along[..., None] * signature["digging" if digging else "train"]
        yield WhiteChannel("north", channel, (start + second) * SECOND_NS, rows, np.ones(len(second), bool), {})


def truth(day: date, channel: int, start: np.ndarray, events: list[Event]) -> np.ndarray:
    """Return which event a segment is of, −1 for none, and −2 where it is touched by one for less than half."""
    opens = int(datetime(day.year, day.month, day.day, OPENS, tzinfo=UTC).timestamp())
    out, length = np.full(len(start), -1), SETTINGS.segment_seconds
    for i, event in enumerate(events):
        if channel in event.channels:
            begin, end = start - opens, start - opens + length
            shared = np.minimum(end, event.end) - np.maximum(begin, event.start)
            out[shared > 0] = np.where(shared[shared > 0] >= length / 2, i, -2)
    return out


def bench_weeks(channels: int, seed: int) -> dict[str, Any]:
    """Score two simulated weeks after five that were learned from; what is found is no reference on later days."""
    days = [FIRST + timedelta(days=n) for n in range(LEARNED + CALIBRATED + TESTED)]
    reference, scored, kinds = [], [], []
    detector = None
    with tempfile.TemporaryDirectory(prefix="dasanom-") as root:
        store = Store(root)
        for n, day in enumerate(days):
            tested = n >= LEARNED + CALIBRATED
            events = events_of(day, channels, seed, unusual=tested)
            rows = models_of_channels(simulated_channels(day, channels, events, seed), SETTINGS)
            store.write_day("segment_models", str(day), rows, _note())
            if n < LEARNED:
                continue
            table = pa.concat_tables(temporal_terms(store, str(day), SETTINGS))
            terms = np.stack([table[name].to_numpy() for name in TERMS], axis=1)
            if not tested:
                reference.append(terms)
                continue
            detector = detector or _detector(np.concatenate(reference))
            store.write_day("anomaly_events", str(day), _alarms(table, detector.score_terms(terms) > ALARM))
            scored.append(terms)
            kinds.append(_kinds(table, day, events))
    return _quality(np.concatenate(reference), np.concatenate(scored), np.concatenate(kinds))


def _detector(reference: np.ndarray) -> Temporal:
    return Temporal.of_terms(reference)


def _alarms(table: pa.Table, alarm: np.ndarray) -> pa.Table:
    """Return rows of `anomaly_events`, one a segment that raised an alarm."""
    rows, schema = table.filter(pa.array(alarm)), empty("anomaly_events").schema
    known = {name: rows[name] for name in ("fibre", "start", "end")}
    known |= {name: rows["channel"] for name in ("first_channel", "last_channel")}
    columns = [known[f.name] if f.name in known else pa.nulls(rows.num_rows, f.type) for f in schema]
    return pa.table(columns, schema=schema)


def _kinds(table: pa.Table, day: date, events: list[Event]) -> np.ndarray:
    """Return the kind of event that each segment is of, ``quiet``, or ``between``: less than half of one."""
    start = table["start"].to_numpy().astype("datetime64[s]").astype(np.int64)
    channel = table["channel"].to_numpy()
    names = np.array([event.kind for event in events] + ["between", "quiet"], object)
    out = np.empty(len(start), object)
    for number in np.unique(channel):
        here = channel == number
        out[here] = names[truth(day, int(number), start[here], events)]  # −1 is the last, −2 the one before
    return out


def _note() -> dict[str, Any]:
    return {"spectrogram": {"group_channels": 1}}


def _quality(reference: np.ndarray, terms: np.ndarray, kinds: np.ndarray) -> dict[str, Any]:
    usual = np.isin(kinds, ["quiet", "train in time"])
    unusual = ~usual & (kinds != "between")

    def auc(score: np.ndarray, positive: np.ndarray = unusual, negative: np.ndarray = usual) -> float:
        value = np.nan_to_num(np.concatenate([score[positive], score[negative]]), nan=LACKING)
        return float(roc_auc_score(np.repeat([1, 0], [positive.sum(), negative.sum()]), value))

    def combined(*names: str) -> np.ndarray:
        left = [name in names for name in TERMS]
        return _detector(np.where(left, reference, np.nan)).score_terms(np.where(left, terms, np.nan))

    everything = combined(*TERMS)
    by_kind = {}
    for kind in sorted(set(kinds[unusual])):
        by_kind[kind] = {name: auc(terms[:, i], kinds == kind) for i, name in enumerate(TERMS)}
        by_kind[kind]["combined"] = auc(everything, kinds == kind)
    return {
        "segments_unusual": int(unusual.sum()),
        "segments_usual": int(usual.sum()),
        "segments_of_trains_in_time": int((kinds == "train in time").sum()),
        "auc_alone": {name: auc(terms[:, i]) for i, name in enumerate(TERMS)},
        "auc_combined": auc(everything),
        "auc_combined_up_to": {name: auc(combined(*TERMS[: i + 1])) for i, name in enumerate(TERMS)},
        "auc_combined_without": {name: auc(combined(*(t for t in TERMS if t != name))) for name in TERMS},
        "auc_against_trains_in_time": {
            **{name: auc(terms[:, i], unusual, kinds == "train in time") for i, name in enumerate(TERMS)},
            "combined": auc(everything, unusual, kinds == "train in time"),
        },
        "auc_by_kind": by_kind,
    }


def bench_divergence(pairs: int, seed: int) -> dict[str, Any]:
    """Hold the divergence of segments against Monte Carlo."""
    event = [Event("train", 600, 600 + TRAIN_LENGTH, (0,), 1.6), Event("digging", 1200, 1320, (0,), 1.6)]
    models = []
    for n in range(pairs):
        day = FIRST + timedelta(days=n)
        (channel,) = simulated_channels(day, 1, event, seed)
        start, frames = segment_frames(channel, SETTINGS)
        some = [int(np.flatnonzero(start - start[0] == second)[0]) for second in (300, 1800, 600, 630, 1230)]
        models.append(fit_mixtures(frames[some], SETTINGS.components))
    quiet, later, train, train_later, digging = (
        Mixtures(*(np.stack([getattr(m, name)[i] for m in models]) for name in Mixtures.__annotations__))
        for i in range(5)
    )
    kinds = {
        "near, quiet": (quiet, later),
        "near, two of a train": (train, train_later),
        "middling, quiet and digging": (quiet, digging),
        "far, quiet and a train": (quiet, train),
        "identical": (train, train),
    }
    return {name: _against_monte_carlo(p, q, seed) for name, (p, q) in kinds.items()}


def _against_monte_carlo(p: Mixtures, q: Mixtures, seed: int) -> dict[str, float]:
    ours = divergence(p, q).astype(float)
    if p is q:
        return {"largest": float(ours.max())}
    rng = np.random.default_rng(seed)

    def one_way(a: Mixtures, b: Mixtures) -> float:
        x = a.sample(DRAWN, rng)
        return float((a.log_likelihood(x) - b.log_likelihood(x)).mean())

    theirs = np.array([0.5 * (one_way(p[i], q[i]) + one_way(q[i], p[i])) for i in range(len(ours))])
    error = np.abs(ours / theirs - 1)
    return {
        "median_nat": float(np.median(theirs)),
        "median_error": float(np.median(error)),
        "error_of_nine_in_ten": float(np.quantile(error, 0.9)),
        "share_within_a_tenth": float((error <= 0.1).mean()),
    }


def bench_fit(segments: int, one_by_one: int, runs: int, seed: int) -> dict[str, Any]:
    """Time the fit of many segments against scikit-learn's, one by one."""
    (channel,) = simulated_channels(FIRST, 1, events_of(FIRST, 3, seed, unusual=True), seed)
    frames = np.concatenate([segment_frames(channel, SETTINGS)[1]] * -(-segments // (HOURS * 120 - 1)))[:segments]
    ours = statistics.median(timed(lambda: fit_mixtures(frames, SETTINGS.components, chained=True), runs))
    found = fit_mixtures(frames[:one_by_one], SETTINGS.components, chained=True)
    used = (found.weights > 0).sum(axis=1)
    some = frames[:: max(1, len(frames) // one_by_one)][:one_by_one]

    def theirs(most: int) -> list[GaussianMixture]:
        return [
            GaussianMixture(k, covariance_type="diag", reg_covar=FLOOR, random_state=seed).fit(x)
            for x in some
            for k in range(1, most + 1)
        ]

    chosen = statistics.median(timed(lambda: theirs(SETTINGS.components), 1)) / len(some)
    least = statistics.median(timed(lambda: theirs(1), 1)) / len(some)
    found = fit_mixtures(some, SETTINGS.components)
    d = frames.shape[2]
    criteria = []
    for x, mixture in zip(some, (found[i] for i in range(len(some))), strict=True):
        bic = [
            GaussianMixture(k, covariance_type="diag", reg_covar=FLOOR, random_state=seed).fit(x).bic(x)
            for k in range(1, SETTINGS.components + 1)
        ]
        k = int((mixture.weights > 0).sum())
        ours_bic = (k * (2 * d + 1) - 1) * np.log(len(x)) - 2 * mixture.log_likelihood(x).sum()
        criteria.append(ours_bic - min(bic))
    return {
        "segments": segments,
        "frames_a_segment": frames.shape[1],
        "dimensions": d,
        "components_used": np.bincount(used, minlength=SETTINGS.components + 1)[1:].tolist(),
        "us_a_segment": 1e6 * ours / segments,
        "scikit_learn_us_a_segment": 1e6 * chosen,
        "scikit_learn_one_component_us_a_segment": 1e6 * least,
        "speed_up": chosen / (ours / segments),
        "bic_above_scikit_learn_mean": float(np.mean(criteria)),
        "share_with_a_better_or_equal_bic": float((np.array(criteria) < 0.5).mean()),
    }


def bench_cost(sizes: tuple[int, ...], history: int, wide: int, runs: int, seed: int) -> dict[str, Any]:
    """Time a whole day of some channels with days of history, from averaged frames to both tables, as files.

    A wide line is extrapolated from the largest size, what does not grow with it included.
    """
    day, whole = FIRST + timedelta(days=history), 86_400
    figures: dict[str, list[float]] = {"models_s": [], "terms_s": [], "processor_s": []}
    size = 0

    def channels(of: date, n: int) -> Iterator[WhiteChannel]:
        start = int(datetime(of.year, of.month, of.day, tzinfo=UTC).timestamp())
        rng = np.random.default_rng([seed, of.toordinal()])
        for channel in range(n):
            rows = rng.standard_normal((whole, RATE, BANDS), np.float32)
            rows[rng.random((whole, RATE)) < 0.1] *= 1.8
            at = (start + np.arange(whole)) * SECOND_NS
            yield WhiteChannel("north", channel, at, rows, np.ones(whole, bool), {})

    for n in sizes:
        with tempfile.TemporaryDirectory(prefix="dasanom-") as root:
            store = Store(root)
            for lag in range(history, 0, -1):
                before = day - timedelta(days=lag)
                rows = models_of_channels(channels(before, n), SETTINGS)
                store.write_day("segment_models", str(before), rows, _note())
            ready = list(channels(day, n))

            def models(store: Store = store, ready: list[WhiteChannel] = ready) -> None:
                store.write_day("segment_models", str(day), models_of_channels(ready, SETTINGS), _note())

            def terms(store: Store = store) -> None:
                store.write_day("temporal_terms", str(day), temporal_terms(store, str(day), SETTINGS))

            figures["models_s"].append(statistics.median(timed(models, runs)))
            figures["terms_s"].append(statistics.median(timed(terms, runs)))
            began = time.process_time()
            models()
            terms()
            figures["processor_s"].append(time.process_time() - began)
            size = os.path.getsize(store.full(store.day_path("segment_models", str(day)))) // n
    both = np.add(figures["models_s"], figures["terms_s"])
    return {
        "channels": list(sizes),
        "history_days": history,
        **figures,
        "s_a_channel": (both / sizes).tolist(),
        "model_bytes_a_channel": size,
        "wide_channels": wide,
        "wide_minutes": float(both[-1]) / sizes[-1] * wide / 60,
        "wide_processor_minutes": figures["processor_s"][-1] / sizes[-1] * wide / 60,
    }


KINDS = ("near, quiet", "near, two of a train", "middling, quiet and digging", "far, quiet and a train")

GOALS: tuple[tuple[str, str, str, Callable[[float], bool]], ...] = (
    *((f"divergence/{kind}", "median_error", "≤ 0.1", lambda v: v <= 0.1) for kind in KINDS),
    ("divergence/identical", "largest", "0", lambda v: v < 1e-9),
    ("weeks", "auc_combined", "≥ 0.97", lambda v: v >= 0.97),
    ("fit", "speed_up", "≥ 10", lambda v: v >= 10),
    ("cost", "wide_minutes", "< 10", lambda v: v < 10),
)


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Return the figures that have a goal, and what each term tells, as Markdown tables."""
    lines = ["| figure | measured | goal | met |", "|---|---|---|---|"]
    for group, name, goal, met in GOALS:
        section, _, part = group.partition("/")
        value = figures[section][part][name] if part else figures[section][name]
        shown = f"{group.replace('/', ': ')}: {name.replace('_', ' ')} | {value:.3g} | {goal}"
        lines.append(f"| {shown} | {'yes' if met(value) else 'no'} |")
    weeks = figures["weeks"]
    kinds = list(weeks["auc_by_kind"])
    lines += ["", f"| ROC AUC | all | {' | '.join(kinds)} | combined up to here | combined without it |"]
    lines.append("|---" * (len(kinds) + 4) + "|")
    for name in TERMS:
        values = [weeks["auc_alone"][name], *(weeks["auc_by_kind"][kind][name] for kind in kinds)]
        values += [weeks[f"auc_combined_{how}"][name] for how in ("up_to", "without")]
        lines.append(f"| `{name}` | {' | '.join(f'{v:.3f}' for v in values)} |")
    values = [weeks["auc_combined"], *(weeks["auc_by_kind"][kind]["combined"] for kind in kinds)]
    lines.append(f"| combined | {' | '.join(f'{v:.3f}' for v in values)} | | |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file to write (default: only the tables are printed)")
    parser.add_argument("--pairs", type=int, default=100, help="pairs of each kind (default: %(default)s)")
    parser.add_argument("--channels", type=int, default=16, help="simulated channels (default: %(default)s)")
    parser.add_argument("--segments", type=int, default=20_000, help="segments fitted (default: %(default)s)")
    parser.add_argument("--one-by-one", type=int, default=100, help="by scikit-learn (default: %(default)s)")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[8, 16, 32], help="channels of whole days (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    figures = {
        "divergence": bench_divergence(options.pairs, options.seed),
        "weeks": bench_weeks(options.channels, options.seed),
        "fit": bench_fit(options.segments, options.one_by_one, 5, options.seed),
        "cost": bench_cost(tuple(options.sizes), 7, 4000, 3, options.seed),
    }
    write_figures(options.out, figures, scikit_learn=metadata.version("scikit-learn"))
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
