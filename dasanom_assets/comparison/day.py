"""A day's tables gathered for its map and its report."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dasanom_assets.comparison import agreement, waterfall
from dasanom_assets.comparison.boxes import by_alarms, rows_of_alarms
from dasanom_assets.comparison.figures import EmbeddingMap
from dasanom_assets.comparison.maps import MIN_POINTS, fit_map, place
from dasanom_assets.comparison.report import Findings
from dasanom_assets.comparison.their_alarms import TheirAlarms, rows_of_day, rows_of_table
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
SHOWN_WINDOWS = 1_000_000
"""Windows that the report's histogram and clusters are made of, evenly spread over a day that has more."""
PLACE = ["fibre", "channel"]
SHOWN, JUDGED = ("score", "is_anomaly", "label", "outlier_score"), ("label", "mu")
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
    if reference.latent is None:
        return None
    points, coordinates = reference_map(store, reference)
    if len(points) < MIN_POINTS:
        return None
    theirs = TheirAlarms(rows_of_day(store, "contractor_scores", day), settings)
    drawn = _Drawn(settings.map_windows)
    encoded = (rows for rows in store.iter_day("embeddings", day, ["mu"]) if rows.num_rows)
    columns = ["fibre", "channel", "start", "end", "is_anomaly", "invalid"]
    events = store.read_day("anomaly_events", day)
    for rows in store.iter_day("anomaly_scores", day, columns):
        if (rows := by_alarms(with_score(rows), events)).num_rows:
            drawn.add(rows.append_column("mu", next(encoded)["mu"]), agreement.who_flagged(rows, theirs))
    rows = drawn.rows()
    if rows is None:
        return None
    new = reference.latent.clusters.scaled(stack(rows["mu"]))
    return EmbeddingMap(
        reference=coordinates,
        placed={k: place(new, points, coordinates[k]) for k in coordinates},
        fibre=rows["fibre"].to_numpy(zero_copy_only=False),
        channel=rows["channel"].to_numpy(),
        start_ns=rows["start"].cast(pa.int64()).to_numpy(),
        who=rows["who"].to_numpy(),
    )


class _Drawn:
    """Windows drawn from all of a day as they pass: half of the places are kept for those that a side flags.

    Each window draws a lot; of those that are flagged, and of the others, the lowest are kept.
    """

    def __init__(self, places: int) -> None:
        self._places, self._rng = places, np.random.default_rng(0)
        self._kept: dict[bool, list[pa.Table]] = {True: [], False: []}

    def add(self, rows: pa.Table, who: np.ndarray) -> None:
        """Let the windows of a channel take part."""
        rows = rows.append_column("who", pa.array(who)).append_column("lot", pa.array(self._rng.random(len(who))))
        for flagged, kept in self._kept.items():
            own = rows.filter(pa.array((who != agreement.NEITHER) == flagged))
            kept.append(own.take(np.argsort(own["lot"].to_numpy(), kind="stable")[: self._places]))
            if sum(map(len, kept)) > 2 * self._places:
                kept[:] = [self._lowest(kept)]

    def _lowest(self, kept: list[pa.Table]) -> pa.Table:
        return pa.concat_tables(kept).sort_by("lot").slice(0, self._places)

    def rows(self) -> pa.Table | None:
        """Return the windows that are drawn, in their order; None where there are none."""
        if not self._kept[True]:
            return None
        flagged = self._lowest(self._kept[True]).slice(0, self._places // 2)
        others = self._lowest(self._kept[False]).slice(0, self._places - len(flagged))
        both = pa.concat_tables([flagged, others])
        return both.sort_by([(name, "ascending") for name in ("fibre", "channel", "start")])


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
        for name in ("recordings", "anomaly_events", "contractor_events", "event_matches", "agreement")
    }
    theirs = TheirAlarms(rows_of_day(store, "contractor_scores", day), settings.comparison)
    with store.open_day("contractor_scores", day) as file:
        both_sides = file.metadata.num_rows > 0
    windows = _windows(store, day, theirs, table["anomaly_events"])
    note: dict[str, Any] = store.metadata("anomaly_events", day)
    mu = stack(windows.judged["mu"])
    placed = mu if reference.latent is None else reference.latent.clusters.scaled(mu)
    hours = recorded_hours(table["recordings"], day)
    ours = rows_of_alarms(table["anomaly_events"])
    return Findings(
        day=day,
        hours=hours,
        recordings=table["recordings"],
        events=table["anomaly_events"],
        contractor_events=table["contractor_events"] if both_sides else None,
        matches=table["event_matches"],
        panels=waterfall.day_panels(store, day, rows_of_table(ours), theirs.rows if both_sides else None),
        scores=windows.shown["score"].to_numpy(),
        flagged=windows.shown["is_anomaly"].to_numpy(zero_copy_only=False),
        n_windows=int(windows.who.sum()),
        n_flagged=int(windows.who[[agreement.BOTH, agreement.ONLY_US]].sum()),
        threshold=usual_threshold(reference.rates, note["budget"], windows.scored),
        budget=note["budget"],
        promise=promise(reference, note["budget"]).sentence,
        counts=note["counts"],
        km_days=reference.rates.km_days,
        labels=windows.shown["label"].to_numpy(),
        outlier_scores=windows.shown["outlier_score"].to_numpy(),
        quality=cluster_quality(placed, windows.judged["label"].to_numpy()),
        points=points,
        agreement=next(iter(table["agreement"].to_pylist()), None),
        unknown=unknown_fibres(windows.places, reference, store.metadata("spectrograms", day)),
        model_version=reference.version,
        vae_version=reference.vae_version,
        left_out=store.metadata("contractor_scores", day)["left_out"],
        places=places_of(store, [day]),
    )


class _Windows(NamedTuple):
    """What a report shows of the windows of a day.

    Attributes
    ----------
    who : numpy.ndarray
        int64, shape (4,): how many of those with a score each side flagged; see `agreement.who_flagged`.
    shown, judged : pyarrow.Table
        Those that are shown one by one, and those that clusters are judged by: columns `SHOWN` and `JUDGED`.
    places, scored : pyarrow.Table
        The channels that there are, and those that have a score.
    """

    who: np.ndarray
    shown: pa.Table
    judged: pa.Table
    places: pa.Table
    scored: pa.Table


def _windows(store: Store, day: str, theirs: TheirAlarms, events: pa.Table) -> _Windows:
    """Look at the windows of a day, one channel at a time."""
    with store.open_day("cluster_labels", day) as file:
        n = file.metadata.num_rows
    wanted = np.linspace(0, n - 1, min(n, SHOWN_WINDOWS)).astype(int)
    who, seen = np.zeros(4, np.int64), 0
    chosen = wanted[np.linspace(0, len(wanted) - 1, min(len(wanted), QUALITY_WINDOWS)).astype(int)]
    tables: tuple[list[pa.Table], ...] = ([], [], [], [])
    shown, judged, places, scored = tables
    beside = (
        rows.append_column("mu", encoded["mu"])
        for rows, encoded in zip(
            store.iter_day("cluster_labels", day, ["label", "outlier_score"]),
            store.iter_day("embeddings", day, ["mu"]),
            strict=True,
        )
        if rows.num_rows
    )
    nothing = next(store.iter_day("embeddings", day, ["mu"]))
    columns = [*PLACE, "start", "end", "score", "is_anomaly", "invalid"]
    for every in store.iter_day("anomaly_scores", day, columns):
        rows = by_alarms(with_score(every), events)
        places.append(
            every.select(PLACE).take(np.arange(min(1, len(every))))
        )  # no slice, which would hold all of it
        scored.append(rows.select(PLACE).take(np.arange(min(1, len(rows)))))
        if rows.num_rows:
            who += np.bincount(agreement.who_flagged(rows, theirs), minlength=4)
            own = next(beside)
            for kept, names, of in ((shown, SHOWN, wanted), (judged, JUDGED, chosen)):
                here = of[slice(*np.searchsorted(of, [seen, seen + len(rows)]))] - seen
                kept.append(
                    pa.table(
                        {name: (own if name in own.column_names else rows)[name].take(here) for name in names}
                    )
                )
            seen += len(rows)
    if not shown:
        kinds = {
            "score": pa.float32(),
            "is_anomaly": pa.bool_(),
            "label": pa.int32(),
            "outlier_score": pa.float32(),
        }
        shown.append(pa.table({name: pa.array([], kind) for name, kind in kinds.items()}))
        judged.append(shown[0].select(["label"]).append_column("mu", nothing["mu"].slice(0, 0)))
    return _Windows(who, *map(pa.concat_tables, tables))
