"""Embeddings to clusters, scores and p-values, one row group at a time."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.clustering import assign
from dasanom_assets.detection.reference import ChannelScores, Reference, fuse, scores_of, supported
from dasanom_assets.settings import DetectionSettings
from dasanom_assets.tables.schemas import DETECTORS, SCHEMAS, stack
from dasanom_assets.tables.store import Store

T = TypeVar("T")
INTERVAL = ["fibre", "channel", "start", "end"]


def cluster_labels(store: Store, day: str, reference: Reference) -> Iterator[pa.Table]:
    """Yield the rows of `cluster_labels` of a day: nearest cluster of the reference, and GLOSH outlier score."""
    for rows in store.iter_day("embeddings", day, [*INTERVAL, "mu"]):
        label, probability, outlier = assign(reference.clusters, stack(rows["mu"]))
        columns = {"label": label, "probability": probability, "outlier_score": outlier}
        yield _extended("cluster_labels", rows, columns)


def anomaly_scores(
    store: Store, day: str, reference: Reference, settings: DetectionSettings
) -> Iterator[pa.Table]:
    """Yield the rows of `anomaly_scores` of a day.

    Raises
    ------
    ValueError
        Where `cluster_labels` belongs to other windows than `embeddings`.
    """
    limit = thresholds(reference, settings)[settings.threshold]
    step = reference.settings["spectrogram"]["group_channels"]
    for before, (rows, scores, channel), after in _with_neighbours(_scored(store, day, reference)):
        beside = [neighbour[2] for neighbour in (before, after) if neighbour is not None]
        p_value = reference.calibrations["fused"].p_values(supported(channel, beside, step))
        score = -np.log10(p_value)
        columns = {f"score_{name}": scores[:, i] for i, name in enumerate(DETECTORS)}
        columns |= {
            f"p_{name}": reference.calibrations[name].p_values(scores[:, i]) for i, name in enumerate(DETECTORS)
        }
        columns |= {"score": score.astype(np.float32), "p_value": p_value, "is_anomaly": score >= limit}
        columns["model_version"] = np.full(len(score), reference.version, object)
        yield _extended("anomaly_scores", rows, columns)


def _scored(store: Store, day: str, reference: Reference) -> Iterator[tuple[pa.Table, np.ndarray, ChannelScores]]:
    """Yield the rows of a channel, its scores by detector, and their fusion."""
    labelled = store.iter_day("cluster_labels", day, [*INTERVAL[:3], "outlier_score"])
    for rows, labels in zip(store.iter_day("embeddings", day), labelled, strict=True):
        if not rows.select(INTERVAL[:3]).equals(labels.select(INTERVAL[:3])):
            raise ValueError(
                f"cluster_labels of {day} are older than its embeddings: materialize cluster_labels again"
            )
        scores = scores_of(
            stack(rows["mu"]),
            rows["reconstruction_error"].to_numpy(),
            rows["kl"].to_numpy(),
            labels["outlier_score"].to_numpy(),
        )
        first: dict[str, list] = (
            rows.slice(0, 1).to_pydict() if rows.num_rows else {"fibre": [""], "channel": [-1]}
        )
        start_ns = rows["start"].cast(pa.int64()).to_numpy()
        fused = fuse(reference.calibrations, scores)
        yield rows, scores, ChannelScores(first["fibre"][0], first["channel"][0], start_ns, fused)


def _with_neighbours(items: Iterable[T]) -> Iterator[tuple[T | None, T, T | None]]:
    """Yield each item between the one before and the one after."""
    before, here = None, None
    for after in items:
        if here is not None:
            yield before, here, after
        before, here = here, after
    if here is not None:
        yield before, here, None


def thresholds(reference: Reference, settings: DetectionSettings) -> dict[str, float]:
    """Return the threshold of each kind in units of ``score``, −log10 of the fused p-value."""
    fused = reference.calibrations["fused"]
    raw = [
        fused.threshold(kind, settings.false_alarm_rate, settings.quantile) for kind in ("gaussian", "quantile")
    ]
    gaussian, quantile = -np.log10(fused.p_values(np.array(raw)))
    conformal = -np.log10(settings.false_alarm_rate)
    return {"conformal": float(conformal), "gaussian": float(gaussian), "quantile": float(quantile)}


def _extended(table: str, rows: pa.Table, columns: dict[str, np.ndarray]) -> pa.Table:
    schema = SCHEMAS[table]
    out = rows.select(INTERVAL)
    for name, values in columns.items():
        out = out.append_column(name, pa.array(values, schema.field(name).type))
    return out.select(schema.names)
