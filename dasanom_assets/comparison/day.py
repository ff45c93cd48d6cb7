"""A day's tables gathered for its map and its report."""

from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.comparison import agreement, waterfall
from dasanom_assets.comparison.contractor import threat
from dasanom_assets.comparison.figures import EmbeddingMap
from dasanom_assets.comparison.maps import MIN_POINTS, fit_map, place
from dasanom_assets.comparison.report import Findings
from dasanom_assets.comparison.waterfall import Panels
from dasanom_assets.detection.calibration.rates import Rates
from dasanom_assets.detection.detectors.clustering import QUALITY_WINDOWS, cluster_quality
from dasanom_assets.detection.reference.drift import unknown_fibres
from dasanom_assets.detection.reference.model import Reference
from dasanom_assets.detection.reference.promise import promise
from dasanom_assets.models import checkpoints
from dasanom_assets.recordings.fibres import places_of
from dasanom_assets.recordings.of_day import recorded_hours
from dasanom_assets.settings import ComparisonSettings, Settings
from dasanom_assets.tables.schemas import stack, with_score
from dasanom_assets.tables.store import Store

MAP_NAME = "embedding_map"
MAP_REFERENCE = 2000
"""Reference windows on the map: enough for its shape, few enough to fit it in seconds."""


def reference_map(store: Store, reference: Reference) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Return the reference's points on the map and their coordinates, fitted once a reference model.

    Without clusters there are none.

    Returns
    -------
    points : numpy.ndarray
        float64, shape (n, d), scaled.
    coordinates : dict
        2 and 3 to float64 arrays of shape (n, 2) and (n, 3).
    """
    if reference.latent is None:
        return np.empty((0, 0)), {}
    points = reference.latent.clusters.scaled(reference.latent.clusters.points)
    points = points[np.linspace(0, len(points) - 1, min(len(points), MAP_REFERENCE)).astype(int)]
    version = checkpoints.latest(store, MAP_NAME)
    if version is not None:
        tensors, description = checkpoints.load(store, MAP_NAME, version)
        if description["reference_model"] == reference.version:
            return points, {2: tensors["map2"], 3: tensors["map3"]}
    coordinates = {k: fit_map(points, k) for k in (2, 3)}
    tensors = {f"map{k}": values for k, values in coordinates.items()}
    version = checkpoints.save(store, MAP_NAME, tensors, {"reference_model": reference.version})
    checkpoints.set_latest(store, MAP_NAME, version)
    return points, coordinates


def day_map(store: Store, day: str, reference: Reference, settings: ComparisonSettings) -> EmbeddingMap | None:
    """Place windows of a day on the reference's map; None where it has none, or the reference too few.

    Half the places are kept for windows that a side flags; the rest are drawn from all, always the same ones.
    """
    scores = with_score(store.read_day("anomaly_scores", day))
    points, coordinates = reference_map(store, reference) if scores.num_rows else (np.empty((0, 0)), {})
    if reference.latent is None or len(points) < MIN_POINTS:
        return None
    who = agreement.who_flagged(scores, store.read_day("contractor_scores", day), settings)
    rng = np.random.default_rng(0)
    flagged = rng.permutation(np.flatnonzero(who != agreement.NEITHER))[: settings.map_windows // 2]
    others = rng.permutation(np.flatnonzero(who == agreement.NEITHER))[: settings.map_windows - len(flagged)]
    drawn = np.sort(np.concatenate([flagged, others]))
    mu = stack(store.read_day("embeddings", day, ["mu"])["mu"])[drawn]
    new = reference.latent.clusters.scaled(mu)
    rows = scores.take(drawn)
    return EmbeddingMap(
        reference=coordinates,
        placed={k: place(new, points, coordinates[k]) for k in coordinates},
        fibre=rows["fibre"].to_numpy(zero_copy_only=False),
        channel=rows["channel"].to_numpy(),
        start_ns=rows["start"].cast(pa.int64()).to_numpy(),
        who=who[drawn],
    )


def map_table(points: EmbeddingMap) -> pa.Table:
    """Return the day's windows on the map, one row each: ``x2, y2`` and ``x3, y3, z3`` are their places."""
    return pa.table(
        {
            "fibre": pa.array(points.fibre, pa.string()),
            "channel": pa.array(points.channel, pa.int32()),
            "start": pa.array(points.start_ns).cast(pa.timestamp("ns", tz="UTC")),
            **{f"{axis}2": points.placed[2][:, i] for i, axis in enumerate("xy")},
            **{f"{axis}3": points.placed[3][:, i] for i, axis in enumerate("xyz")},
            "who": pa.array(points.who, pa.int8()),
        }
    )


def map_of(table: pa.Table, coordinates: dict[int, np.ndarray]) -> EmbeddingMap:
    """Undo `map_table`, given the reference's coordinates."""
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names if name != "start"}
    return EmbeddingMap(
        reference=coordinates,
        placed={
            2: np.stack([columns["x2"], columns["y2"]], axis=1),
            3: np.stack([columns["x3"], columns["y3"], columns["z3"]], axis=1),
        },
        fibre=columns["fibre"],
        channel=columns["channel"],
        start_ns=table["start"].cast(pa.int64()).to_numpy(),
        who=columns["who"],
    )


def day_panels(store: Store, day: str, settings: Settings) -> list[Panels]:
    """Return the three waterfalls of each fibre of a day, small enough to draw."""
    scores, theirs = (store.read_day(name, day) for name in ("anomaly_scores", "contractor_scores"))
    ours = waterfall.centred(scores.filter(scores["is_anomaly"]), settings.window.shift_seconds)
    alarmed = np.nan_to_num(threat(theirs), nan=0.0) >= settings.comparison.contractor_probability
    theirs_alarmed = theirs.filter(pa.array(alarmed))
    return [
        Panels(
            power=waterfall.shrink(power),
            us=waterfall.shrink(waterfall.masked(power, ours)),
            contractor=waterfall.shrink(waterfall.masked(power, theirs_alarmed)) if theirs.num_rows else None,
        )
        for power in waterfall.power_waterfall(store, day).values()
    ]


def usual_threshold(rates: Rates, budget: float, scores: pa.Table) -> float:
    """Return the median over channels and hours of the thresholds of a budget; NaN without rows of `scores`."""
    places = scores.group_by(["fibre", "channel"]).aggregate([]).to_pylist()
    limits = [rates.thresholds(budget, place["fibre"], place["channel"]) for place in places]
    return float(np.median(limits)) if limits else np.nan


def day_findings(
    store: Store, day: str, reference: Reference, points: EmbeddingMap | None, settings: Settings
) -> Findings:
    """Gather all that the report of a day shows.

    Raises
    ------
    MissingDayError
        Where one of the day's tables is missing.
    """
    table = {
        name: store.read_day(name, day)
        for name in (
            "recordings", "anomaly_scores", "anomaly_events",
            "contractor_scores", "contractor_events", "event_matches",
        )
    }  # fmt: skip
    scores = with_score(table["anomaly_scores"])
    note: dict[str, Any] = store.metadata("anomaly_events", day)
    labels = store.read_day("cluster_labels", day, ["label", "outlier_score"])
    label = labels["label"].to_numpy()
    mu = stack(store.read_day("embeddings", day, ["mu"])["mu"])
    judged = np.linspace(0, len(label) - 1, min(len(label), QUALITY_WINDOWS)).astype(int)
    placed = mu[judged] if reference.latent is None else reference.latent.clusters.scaled(mu[judged])
    hours = recorded_hours(table["recordings"], day)
    contractor = table["contractor_scores"]
    both_sides = contractor.num_rows > 0
    who = agreement.who_flagged(scores, contractor, settings.comparison)
    return Findings(
        day=day,
        hours=hours,
        recordings=table["recordings"],
        events=table["anomaly_events"],
        contractor_events=table["contractor_events"] if both_sides else None,
        matches=table["event_matches"],
        panels=day_panels(store, day, settings),
        scores=scores["score"].to_numpy(),
        flagged=scores["is_anomaly"].to_numpy(zero_copy_only=False),
        threshold=usual_threshold(reference.rates, note["budget"], scores),
        budget=note["budget"],
        promise=promise(reference, note["budget"]).sentence,
        counts=note["counts"],
        km_days=reference.rates.km_days,
        labels=label,
        outlier_scores=labels["outlier_score"].to_numpy(),
        quality=cluster_quality(placed, label[judged]),
        points=points,
        event_agreement=agreement.agreement_summary(table["event_matches"], hours) if both_sides else None,
        window_agreement=agreement.window_agreement(who) if both_sides else None,
        unknown=unknown_fibres(
            table["anomaly_scores"].group_by(["fibre", "channel"]).aggregate([]), reference.usual
        ),
        model_version=reference.version,
        vae_version=reference.vae_version,
        left_out=store.metadata("contractor_scores", day)["left_out"],
        places=places_of(store, [day]),
    )
