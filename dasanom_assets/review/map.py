"""Windows of a day on the map of the reference, their scores, and the day's clusters."""

import io
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dasanom_assets.comparison.steps import map_path
from dasanom_assets.detection.reference.promise import BUDGETS
from dasanom_assets.models.checkpoints import CheckpointError, latest, load
from dasanom_assets.review.app import Review
from dasanom_assets.review.day import DayView
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.store import Store

BINS = 80
MOST_REFERENCE = 1500


def map_of_day(review: Review, view: DayView) -> dict[str, Any]:
    """Return points, histogram and clusters of a day, for the page to draw."""
    store, day = review.store, view.day
    points: dict[str, list[Any]] = {
        name: [] for name in ("flat", "deep", "who", "score", "channel", "hour", "cluster")
    }
    reference: dict[str, list[Any]] = {"flat": [], "deep": []}
    places = None
    if store.exists(map_path(day)):
        places = pq.read_table(io.BytesIO(store.read_bytes(map_path(day))))
        for name, axes in (("flat", "xy"), ("deep", "xyz")):
            stacked = np.stack([places[f"{axis}{len(axes)}"].to_numpy() for axis in axes], axis=1)
            points[name] = np.round(stacked, 3).tolist()
        start = places["start"].cast(pa.int64()).to_numpy()
        points |= {
            "who": places["who"].to_pylist(),
            "channel": places["channel"].to_pylist(),
            "hour": (start // SECOND_NS % 86_400 / 3600).round(3).tolist(),
        }
        reference = _reference(store, str(view.note.get("model_version")))
    scores = _scores(store, view, places)
    return {
        "points": points | {name: scores[name] for name in ("score", "cluster")},
        "reference": reference,
        "histogram": scores["histogram"] | {"thresholds": _thresholds(store, str(view.note.get("model_version")))},
        "clusters": scores["clusters"],
    }


def _reference(store: Store, version: str) -> dict[str, list[Any]]:
    """Return where the reference's windows lie, as far as the map is of that model."""
    try:
        newest = latest(store, "embedding_map")
        tensors, description = load(store, "embedding_map", newest) if newest else ({}, {})
    except CheckpointError:
        tensors, description = {}, {}
    if description.get("reference_model") != version:
        return {"flat": [], "deep": []}
    step = max(1, len(tensors["map2"]) // MOST_REFERENCE)
    return {name: np.round(tensors[key][::step], 3).tolist() for name, key in (("flat", "map2"), ("deep", "map3"))}


def _scores(store: Store, view: DayView, places: pa.Table | None) -> dict[str, Any]:
    """Return a histogram of all scores, clusters, and score and cluster of the windows on the map.

    A channel is read at a time.
    """
    table, values, inside = view.box_table, [], []
    ours = table["side"] == "us"
    wanted: dict[tuple[str, int, int], int] = {}
    if places is not None:
        keys = zip(places["fibre"].to_pylist(), places["channel"].to_pylist(), strict=True)
        start = places["start"].cast(pa.int64()).to_pylist()
        wanted = {(*key, at): i for i, (key, at) in enumerate(zip(keys, start, strict=True))}
    n = len(wanted)
    score: list[float | None] = [None] * n
    cluster = [-1] * n
    labels: dict[int, list[np.ndarray]] = {}
    columns = ["fibre", "channel", "start", "end", "score"]
    for rows in store.iter_day("anomaly_scores", view.day, columns):
        x = rows["score"].to_numpy(zero_copy_only=False).astype(np.float32)
        start, end = (rows[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
        channel, middle = rows["channel"].to_numpy(), (start + end) // 2000
        fibres = np.array(rows["fibre"].to_pylist(), object) if rows.num_rows else np.empty(0, object)
        flagged = np.zeros(len(x), bool)
        for i in np.flatnonzero(ours & np.isin(table["fibre"], list(set(fibres.tolist())))):
            flagged |= (
                (fibres == table["fibre"][i]) & (channel >= table["first"][i]) & (channel <= table["last"][i])
                & (middle >= table["start"][i]) & (middle < table["end"][i])
            )  # fmt: skip
        known = np.isfinite(x)
        values.append(x[known])
        inside.append(flagged[known])
        if n:
            for k in np.flatnonzero(np.isin(start, [key[2] for key in wanted])):
                place = wanted.get((fibres[k], int(channel[k]), int(start[k])))
                if place is not None and known[k]:
                    score[place] = round(float(x[k]), 3)
    for rows in store.iter_day(
        "cluster_labels", view.day, ["fibre", "channel", "start", "label", "outlier_score"]
    ):
        label, outlier = rows["label"].to_numpy(), rows["outlier_score"].to_numpy()
        for name in np.unique(label):
            labels.setdefault(int(name), []).append(outlier[label == name])
        start = rows["start"].cast(pa.int64()).to_numpy()
        if n:
            fibres, channel = rows["fibre"].to_pylist(), rows["channel"].to_numpy()
            for k in np.flatnonzero(np.isin(start, [key[2] for key in wanted])):
                place = wanted.get((fibres[k], int(channel[k]), int(start[k])))
                if place is not None:
                    cluster[place] = int(label[k])
    every, hot = np.concatenate([*values, np.empty(0)]), np.concatenate([*inside, np.empty(0, bool)]).astype(bool)
    edges = np.linspace(every.min(), every.max(), BINS + 1) if len(every) else np.linspace(0, 1, BINS + 1)
    total = sum(len(part) for parts in labels.values() for part in parts)
    return {
        "score": score,
        "cluster": cluster,
        "histogram": {
            "edges": edges.round(4).tolist(),
            "quiet": np.histogram(every[~hot], edges)[0].tolist(),
            "flagged": np.histogram(every[hot], edges)[0].tolist(),
        },
        "clusters": [
            {
                "label": label,
                "windows": sum(map(len, parts)),
                "share": sum(map(len, parts)) / max(total, 1),
                "outlier": float(np.median(np.concatenate(parts))),
            }
            for label, parts in sorted(labels.items(), key=lambda item: (item[0] == -1, -sum(map(len, item[1]))))
        ],
    }


@lru_cache(8)
def _thresholds(store: Store, version: str) -> list[tuple[str, float]]:
    """Return the median over places and hours of the thresholds of several budgets."""
    from dasanom_assets.detection.reference.model import load_reference

    try:
        rates = load_reference(store, version).rates
    except CheckpointError:
        return []
    keys = sorted({(str(f), int(c)) for f, c in zip(rates.fibre, rates.channel, strict=True)})
    keys = keys[:: max(1, len(keys) // 50)]
    out = []
    for budget in BUDGETS:
        limits = [float(np.median(rates.thresholds(budget, fibre, channel))) for fibre, channel in keys]
        if limits and np.isfinite(np.median(limits)):
            out.append((f"{budget:g}", round(float(np.median(limits)), 4)))
    return out
