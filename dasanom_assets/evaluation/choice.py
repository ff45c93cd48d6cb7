"""What speaks for which detector: figures of all of them side by side, from labelled sets and from scored days.

Nobody knows the truth of scored days. There, detectors are measured against each other and against the contractor,
each at the same p-value. What they find and what they cost comes from labelled sets.
"""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.metrics import roc_auc_score

from dasanom_assets.comparison.agreement import (
    BOTH,
    ONLY_CONTRACTOR,
    agreement_summary,
    match_events,
    who_flagged,
    window_agreement,
)
from dasanom_assets.comparison.their_alarms import TheirAlarms, rows_of_table
from dasanom_assets.detection.detectors.clustering import cluster_quality, fit_clusters
from dasanom_assets.detection.detectors.latent import CENTRES, density_scan
from dasanom_assets.detection.events.components import STEPS_APART, components, members
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import detectors_in, empty, stack, with_score
from dasanom_assets.tables.store import Store

FUSED = "fused"
REPORTS = "reports/mimii_benchmark"
FLAGGED_SHARE = 1e-3
"""Share of ordinary windows that each detector may flag. P-values end at 1 / (n + 1): a detector that has judged
fewer than 999 reference windows flags none."""
MAX_WINDOWS = 1_000_000
"""Windows of a day that are looked at: the first channels of it that hold no more."""
RANKED = 50_000
"""Windows that rank correlations are taken over."""
TOP_SHARE = 0.01
"""Of the windows: the strangest ones, whose overlap between detectors is told."""


def gather(store: Store, days: Iterable[str], settings: Settings, say: Callable[[str], Any]) -> dict[str, Any]:
    """Return all figures of the report, JSON-able.

    Parameters
    ----------
    store : Store
    days : iterable of str
        ISO days that have `anomaly_scores`; those that lack a detector of the first one are left out.
    settings : Settings
    say : callable
        Takes a line of text on each step.

    Returns
    -------
    dict
        ``labelled``: the figures of each set in `REPORTS`; ``days``; ``detectors``; ``agreement``: one row a
        detector; ``rank_correlation`` and ``top_overlap``: detector × detector; ``clusterings``: one row a method.
    """
    labelled = [
        json.loads(store.read_bytes(entry["path"]))
        for entry in store.listing(REPORTS)
        if entry["path"].endswith(".json")
    ]
    figures: dict[str, Any] = {"labelled": labelled, "days": [], "detectors": []}
    figures["rate"] = FLAGGED_SHARE
    tables: list[pa.Table] = []
    per_day: list[list[dict[str, Any]]] = []
    for day in days:
        scores = _first_channels(store, day)
        names = [*detectors_in(scores.column_names), FUSED]
        figures["detectors"] = figures["detectors"] or names
        if not scores.num_rows or names != figures["detectors"]:
            say(f"{day} is left out: no window has a score, or other detectors scored it")
            continue
        say(f"{day}: {scores.num_rows:,} windows")
        per_day.append(_against_contractor(store, day, scores, names, settings))
        figures["days"].append(day)
        tables.append(scores.select(["p_value", *(f"p_{name}" for name in names[:-1])]))
    figures["agreement"] = _summed(per_day)
    if tables:
        figures |= disagreement(pa.concat_tables(tables), figures["detectors"])
        figures["clusterings"] = clusterings(_embeddings(store, figures["days"], settings), settings)
    return figures


def _first_channels(store: Store, day: str) -> pa.Table:
    """Return the windows of a day that have a score, of as many channels as `MAX_WINDOWS` lets in."""
    parts, n = [], 0
    for rows in store.iter_day("anomaly_scores", day):
        parts.append(with_score(rows))
        n += parts[-1].num_rows
        if n >= MAX_WINDOWS:
            break
    return pa.concat_tables(parts)


def p_of(scores: pa.Table, detector: str) -> np.ndarray:
    """Return the p-values of a detector, float64, shape (n_windows,); 1 where it has no score."""
    return np.nan_to_num(scores["p_value" if detector == FUSED else f"p_{detector}"].to_numpy(), nan=1.0)


def flagged_events(scores: pa.Table, flagged: np.ndarray, settings: Settings) -> pa.Table:
    """Return what flagged windows hang together to, as `match_events` wants it.

    Parameters
    ----------
    scores : pyarrow.Table
        Rows of `anomaly_scores`.
    flagged : numpy.ndarray
        bool, shape (n_windows,).
    settings : Settings
    """
    rows = scores.filter(pa.array(flagged))
    reach = int(STEPS_APART * settings.window.shift_seconds * SECOND_NS)
    events = members(components(rows, reach, settings.spectrogram.group_channels))
    columns: dict[str, list[Any]] = {
        name: [] for name in ("fibre", "event_id", "start", "end", "first_channel", "last_channel")
    }
    for i, positions in enumerate(events):
        part = rows.take(pa.array(positions))
        values = (
            part["fibre"][0].as_py(),
            str(i),
            pc.min(part["start"]),
            pc.max(part["end"]),
            pc.min(part["channel"]).as_py(),
            pc.max(part["channel"]).as_py(),
        )
        for name, value in zip(columns, values, strict=True):
            columns[name].append(value)
    types = {"fibre": pa.string(), "event_id": pa.string(), "start": rows["start"].type, "end": rows["end"].type}
    return pa.table({name: pa.array(values, types.get(name, pa.int32())) for name, values in columns.items()})


def _against_contractor(
    store: Store, day: str, scores: pa.Table, names: list[str], settings: Settings
) -> list[dict[str, Any]]:
    """Return for each detector who flagged each window, how events match, and how long was scored."""
    channels = pa.array(np.unique(scores["channel"].to_numpy()))
    rows, events = empty("contractor_scores"), empty("contractor_events")
    if store.has_day("contractor_scores", day) and store.has_day("contractor_events", day):
        rows = pa.concat_tables(
            part.filter(pc.is_in(part["channel"], channels)) for part in store.iter_day("contractor_scores", day)
        )
        events = store.read_day("contractor_events", day)
    reached = pc.and_(
        pc.less_equal(events["first_channel"], pc.max(channels)),
        pc.greater_equal(events["last_channel"], pc.min(channels)),
    )
    events = events.filter(reached)
    hours = len(scores) * settings.window.shift_seconds / len(channels) / 3600
    theirs, out = TheirAlarms(rows_of_table(rows), settings.comparison), []
    for name in names:
        p = p_of(scores, name)
        flagged = p <= FLAGGED_SHARE
        column = scores.column_names.index("is_anomaly")
        who = who_flagged(scores.set_column(column, "is_anomaly", pa.array(flagged)), theirs)
        our_events = flagged_events(scores, flagged, settings)
        out.append(
            {
                "detector": name,
                "p": p,
                "who": who,
                "matches": match_events(our_events, events),
                "hours": hours,
                "contractor": rows.num_rows > 0,
            }
        )
    return out


def _summed(per_day: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return one row a detector over all days: agreement of windows where the contractor was there, and events."""
    out = []
    for of_detector in zip(*per_day, strict=True):
        both_sides = [day for day in of_detector if day["contractor"]]
        row: dict[str, Any] = {"detector": of_detector[0]["detector"]}
        p = np.concatenate([day["p"] for day in of_detector])
        row["flagged_share"] = float((p <= FLAGGED_SHARE).mean())
        hours = sum(day["hours"] for day in of_detector)
        our_events = sum(len(day["matches"]["event_id"].drop_null().unique()) for day in of_detector)
        row["events_an_hour"] = our_events / hours
        row |= {f"events_{k}": v for k, v in agreement_summary(_joined(both_sides), 0).items()}
        who = np.concatenate([day["who"] for day in both_sides]) if both_sides else np.empty(0, np.int8)
        row |= {f"windows_{key}": value for key, value in window_agreement(np.bincount(who, minlength=4)).items()}
        theirs = np.isin(who, (BOTH, ONLY_CONTRACTOR))
        row["auc_against_contractor"] = None
        if theirs.any() and not theirs.all():
            p = np.concatenate([day["p"] for day in both_sides])
            row["auc_against_contractor"] = float(roc_auc_score(theirs, -p))
        out.append(row)
    return out


def _joined(days: list[dict[str, Any]]) -> pa.Table:
    return pa.concat_tables([empty("event_matches"), *(day["matches"] for day in days)])


def disagreement(scores: pa.Table, names: list[str]) -> dict[str, Any]:
    """Return how alike detectors rank windows, and how many of their strangest ones they share.

    Parameters
    ----------
    scores : pyarrow.Table
        With `p_value` and ``p_<detector>``.
    names : list of str
        Detectors; the last one is `FUSED`.

    Returns
    -------
    dict
        ``rank_correlation`` (Spearman) over at most `RANKED` windows, evenly spread; ``top_overlap``: share of the
        `TOP_SHARE` of windows with the least p-values of one that are among those of the other; ``n_top``. None
        with a detector that tells no windows apart.
    """
    p = np.stack([p_of(scores, name) for name in names], axis=1)
    sample = np.linspace(0, len(p) - 1, min(len(p), RANKED)).astype(int)
    with np.errstate(invalid="ignore"):
        ranks = stats.rankdata(p[sample], axis=0)
        ranks = (ranks - ranks.mean(axis=0)) / ranks.std(axis=0)
    n = max(1, round(TOP_SHARE * len(p)))
    top = np.zeros(p.shape)
    for i in range(p.shape[1]):
        top[np.argsort(p[:, i], kind="stable")[:n], i] = 1
    top[:, p.min(axis=0) == p.max(axis=0)] = np.nan
    return {
        "rank_correlation": _rounded(ranks.T @ ranks / len(ranks)),
        "top_overlap": _rounded(top.T @ top / n),
        "n_top": n,
    }


def _rounded(matrix: np.ndarray) -> list[list[float | None]]:
    return [[round(float(value), 4) if np.isfinite(value) else None for value in row] for row in matrix]


def _embeddings(store: Store, days: list[str], settings: Settings) -> np.ndarray:
    """Return latent means of windows spread evenly over days, float32, shape (n, latent)."""
    each = max(1, settings.detection.cluster_windows // len(days))
    parts = []
    for day in days:
        mu = [stack(rows["mu"]) for rows in store.iter_day("embeddings", day, ["mu"]) if rows.num_rows]
        points = np.concatenate(mu)
        parts.append(points[np.linspace(0, len(points) - 1, min(each, len(points))).astype(int)])
    return np.concatenate(parts)


def clusterings(points: np.ndarray, settings: Settings) -> list[dict[str, Any]]:
    """Cluster the same windows by HDBSCAN, DBSCAN and K-Means, and say how good the clusters are.

    All see the means in units of their spread, without dimensions that carry nothing; figures are taken there.

    Parameters
    ----------
    points : numpy.ndarray
        float32, shape (n, latent): latent means.
    settings : Settings

    Returns
    -------
    list of dict
        ``method``, ``seconds``, and `cluster_quality`.
    """
    began = time.perf_counter()
    clusters = fit_clusters(points, settings.detection)  # tries several parameters, which the others do not
    taken = time.perf_counter() - began
    scaled = clusters.scaled(points).astype(np.float32)
    seed = settings.detection.seed

    out: list[dict[str, Any]] = [
        {"method": "HDBSCAN", "seconds": taken, **cluster_quality(scaled, clusters.labels, seed)}
    ]
    others: dict[str, Callable[[], Any]] = {
        "DBSCAN": lambda: density_scan(scaled),
        "K-Means": lambda: KMeans(min(CENTRES, len(scaled)), n_init=4, random_state=seed).fit(scaled),
    }
    for method, fit in others.items():
        began = time.perf_counter()
        labels = fit().labels_
        taken = time.perf_counter() - began
        out.append({"method": method, "seconds": taken, **cluster_quality(scaled, labels, seed)})
    return [row | {"windows": len(points)} for row in out]
