"""Windows of a day on the map of the reference, their scores, and the day's clusters."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dasanom_assets.comparison.steps import map_path
from dasanom_assets.models.checkpoints import CheckpointError, latest, load
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.store import Store

BINS = 80
MOST_REFERENCE = 1500


def map_of_day(root: str, day: str, boxes: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return points, histogram and clusters of a day, for the page to draw; a process beside the server runs it.

    Parameters
    ----------
    root, day : str
        Data root and ISO day.
    boxes : dict
        Of our alarms: ``fibre``, ``start`` and ``end``, µs since 1970, ``first`` and ``last`` channel.
    """
    store = Store(root)
    version = str(store.metadata("anomaly_events", day).get("model_version"))
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
        reference = _reference(store, version)
    scores = _scores(store, day, boxes, places)
    return {
        "points": points | {name: scores[name] for name in ("score", "cluster")},
        "reference": reference,
        "histogram": scores["histogram"] | {"thresholds": _thresholds(store, version)},
        "clusters": scores["clusters"],
        "tree": _tree(store, version),
    }


def tree_path(version: str) -> str:
    """Return where the picture of the condensed tree of a reference model lies, relative to the data root."""
    return f"reports/reference_model/version={version}/condensed_tree.png"


def _tree(store: Store, version: str) -> dict[str, Any] | None:
    """Return what the condensed tree of a model's clusters shows; None where it has nothing to tell apart."""
    if not store.exists(tree_path(version)):
        return None
    names = ("n_clusters", "noise_share")
    try:
        model = store.read_json(f"models/reference_model/{version}/model.json")
        clusters = {name: model["description"]["note"]["clusters"][name] for name in names}
    except (OSError, KeyError):  # the model may have been tidied away before its picture
        return None
    return clusters if clusters["n_clusters"] > 1 else None


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


def _scores(store: Store, day: str, boxes: dict[str, np.ndarray], places: pa.Table | None) -> dict[str, Any]:
    """Return a histogram of all scores, clusters, and score and cluster of the windows on the map.

    A row group, which is a channel, is read at a time.
    """
    wanted: dict[tuple[str, int], list[tuple[int, int]]] = {}
    if places is not None:
        keys = zip(places["fibre"].to_pylist(), places["channel"].to_pylist(), strict=True)
        for i, (key, start) in enumerate(zip(keys, places["start"].cast(pa.int64()).to_pylist(), strict=True)):
            wanted.setdefault(key, []).append((start, i))
    n = 0 if places is None else places.num_rows
    found: dict[str, list[Any]] = {"score": [None] * n, "cluster": [-1] * n}
    values, inside, labels = [], [], dict[int, list[np.ndarray]]()

    def placed(rows: pa.Table, start: np.ndarray, name: str, of_rows: np.ndarray) -> None:
        key = rows["fibre"][0].as_py(), rows["channel"][0].as_py()
        for at, i in wanted.get(key, ()):
            k = int(np.searchsorted(start, at))
            if k < len(start) and start[k] == at and np.isfinite(of_rows[k]):
                found[name][i] = of_rows[k].item()

    for rows in store.iter_day("anomaly_scores", day, ["fibre", "channel", "start", "end", "score"]):
        if rows.num_rows:
            x = rows["score"].to_numpy(zero_copy_only=False).astype(np.float32)
            start, end = (rows[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
            known = np.isfinite(x)
            values.append(x[known])
            inside.append(_within(boxes, rows, (start + end) // 2000)[known])
            placed(rows, start, "score", x)
    for rows in store.iter_day("cluster_labels", day, ["fibre", "channel", "start", "label", "outlier_score"]):
        if rows.num_rows:
            label, outlier = rows["label"].to_numpy(), rows["outlier_score"].to_numpy()
            for name in np.unique(label):
                labels.setdefault(int(name), []).append(outlier[label == name])
            placed(rows, rows["start"].cast(pa.int64()).to_numpy(), "cluster", label)
    every, hot = np.concatenate([*values, np.empty(0)]), np.concatenate([*inside, np.empty(0, bool)]).astype(bool)
    edges = np.linspace(every.min(), every.max(), BINS + 1) if len(every) else np.linspace(0, 1, BINS + 1)
    total = sum(len(part) for parts in labels.values() for part in parts)
    return found | {
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


def _within(boxes: dict[str, np.ndarray], rows: pa.Table, middle: np.ndarray) -> np.ndarray:
    """Return whether the middle of each window of a channel, µs, lies in one of some boxes."""
    fibre, channel = rows["fibre"][0].as_py(), rows["channel"][0].as_py()
    mine = (boxes["fibre"] == fibre) & (boxes["first"] <= channel) & (boxes["last"] >= channel)
    change = np.zeros(len(middle) + 1, np.int64)
    np.add.at(change, np.searchsorted(middle, boxes["start"][mine]), 1)
    np.add.at(change, np.searchsorted(middle, boxes["end"][mine]), -1)
    return np.cumsum(change[:-1]) > 0


def _thresholds(store: Store, version: str) -> list[tuple[str, float]]:
    """Return the median over places and hours of the thresholds of several budgets."""
    from dasanom_assets.detection.reference.model import load_reference
    from dasanom_assets.detection.reference.promise import BUDGETS

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
