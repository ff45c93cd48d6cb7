"""Temporal dissimilarity on simulated weeks: what each term tells, and what it costs.

``dasanom bench temporal --out docs/temporal.json`` prints tables and writes
the figures as JSON.

The weeks are simulated as whitened frames of some channels beside each other, for some hours of each day: noise
with a heavy tail, a level that drifts over the day and from day to day, a place that always differs from its
neighbours, and a train that passes all channels on every working day at one time. Unusual are the same train at
another time or on a weekend, and faint digging on three channels. All goes through the tables, as in the pipeline.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer
from sklearn.metrics import roc_auc_score

from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.benchmarks.options import Out, numbers
from dasanom_assets.benchmarks.timing import timed
from dasanom_assets.detection.minutes.segments import models_of_channels
from dasanom_assets.detection.minutes.temporal import Temporal
from dasanom_assets.detection.minutes.terms import TERMS, temporal_terms
from dasanom_assets.settings import TemporalSettings
from dasanom_assets.spectrograms.white_rows import WhiteChannel
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import empty
from dasanom_assets.tables.store import Store

SETTINGS = TemporalSettings()
FIRST = date(2026, 1, 5)  # a Monday
BANDS, FRAMES_PER_SECOND = 16, 2
OPENS, HOURS = 8, 4
"""The hour, UTC, at which a simulated day begins, and its length."""
LEARNED, CALIBRATED, TESTED = 28, 7, 14
"""Days of history, those that p-values are taken from, and those that are scored."""
TRAIN_SECOND, TRAIN_LENGTH = 2 * 3600, 120
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
            dug_channels = (first, first + 1, first + 2)
            out.append(Event("digging", start, start + length, dug_channels, rng.uniform(0.3, 1.2)))
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
        rows = rng.normal(size=(len(second), FRAMES_PER_SECOND, BANDS)).astype(np.float32)
        rows *= np.where(rng.random((len(second), FRAMES_PER_SECOND, 1)) < 0.1, 1.8, 1.0)
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
            detector = detector or Temporal.of_terms(np.concatenate(reference))
            store.write_day("anomaly_events", str(day), _alarms(table, detector.score_terms(terms) > ALARM))
            scored.append(terms)
            kinds.append(_kinds(table, day, events))
    return _quality(np.concatenate(reference), np.concatenate(scored), np.concatenate(kinds))


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
        detector = Temporal.of_terms(np.where(left, reference, np.nan))
        return detector.score_terms(np.where(left, terms, np.nan))

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


def bench_cost(sizes: tuple[int, ...], history: int, wide: int, runs: int, seed: int) -> dict[str, Any]:
    """Time a whole day of some channels with days of history, from averaged frames to both tables, as files.

    A wide line is extrapolated from the largest size, what does not grow with it included.
    """
    day, day_seconds = FIRST + timedelta(days=history), 86_400
    figures: dict[str, list[float]] = {"models_s": [], "terms_s": [], "processor_s": []}
    size = 0

    def channels(simulated_day: date, n: int) -> Iterator[WhiteChannel]:
        start = int(datetime(simulated_day.year, simulated_day.month, simulated_day.day, tzinfo=UTC).timestamp())
        rng = np.random.default_rng([seed, simulated_day.toordinal()])
        for channel in range(n):
            rows = rng.standard_normal((day_seconds, FRAMES_PER_SECOND, BANDS), np.float32)
            rows[rng.random((day_seconds, FRAMES_PER_SECOND)) < 0.1] *= 1.8
            starts = (start + np.arange(day_seconds)) * SECOND_NS
            yield WhiteChannel("north", channel, starts, rows, np.ones(day_seconds, bool), {})

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


GOALS: tuple[tuple[str, str, str, Callable[[float], bool]], ...] = (
    ("weeks", "auc_combined", "≥ 0.97", lambda v: v >= 0.97),
    ("cost", "wide_minutes", "< 10", lambda v: v < 10),
)


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Return the figures that have a goal, and what each term tells, as Markdown tables."""
    lines = ["| figure | measured | goal | met |", "|---|---|---|---|"]
    for group, name, goal, met in GOALS:
        value = figures[group][name]
        shown = f"{group}: {name.replace('_', ' ')} | {value:.3g} | {goal}"
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


def main(
    out: Out = None,
    channels: Annotated[int, typer.Option(help="simulated channels")] = 16,
    sizes: Annotated[str, typer.Option(help="channels of whole days")] = "8,16,32",
    seed: int = 0,
) -> None:
    """Run the benchmark."""
    figures = {
        "weeks": bench_weeks(channels, seed),
        "cost": bench_cost(tuple(numbers(sizes)), 7, 4000, 3, seed),
    }
    write_figures(out, figures)
    print(table(figures))
