"""Embeddings to clusters, scores and p-values, one row group at a time."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.clustering import assign
from dasanom_assets.detection.reference import Reference, fuse, scores_of
from dasanom_assets.settings import DetectionSettings
from dasanom_assets.tables.schemas import DETECTORS, SCHEMAS, stack
from dasanom_assets.tables.store import Store

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
    labelled = store.iter_day("cluster_labels", day, [*INTERVAL[:3], "outlier_score"])
    embedded = store.iter_day("embeddings", day)
    for rows, labels in zip(embedded, labelled, strict=True):
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
        p_value = reference.calibrations["fused"].p_values(fuse(reference.calibrations, scores))
        score = -np.log10(p_value)
        columns = {f"score_{name}": scores[:, i] for i, name in enumerate(DETECTORS)}
        columns |= {
            f"p_{name}": reference.calibrations[name].p_values(scores[:, i]) for i, name in enumerate(DETECTORS)
        }
        columns |= {"score": score.astype(np.float32), "p_value": p_value, "is_anomaly": score >= limit}
        columns["model_version"] = np.full(len(score), reference.version, object)
        yield _extended("anomaly_scores", rows, columns)


def thresholds(reference: Reference, settings: DetectionSettings) -> dict[str, float]:
    """Return the threshold of each kind in units of ``score``, −log10 of the fused p-value."""
    fused = reference.calibrations["fused"]
    raw = {
        kind: fused.threshold(kind, settings.false_alarm_rate, settings.quantile)
        for kind in ("conformal", "gaussian", "quantile")
    }
    return {kind: float(-np.log10(fused.p_values(np.array([value]))[0])) for kind, value in raw.items()}


def _extended(table: str, rows: pa.Table, columns: dict[str, np.ndarray]) -> pa.Table:
    schema = SCHEMAS[table]
    out = rows.select(INTERVAL)
    for name, values in columns.items():
        out = out.append_column(name, pa.array(values, schema.field(name).type))
    return out.select(schema.names)
