"""Clusters of normal windows in the latent space, and how far new windows lie outside them."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from tempfile import TemporaryDirectory
from typing import Any

import hdbscan
import numpy as np
from sklearn import metrics
from sklearn.neighbors import NearestNeighbors

from dasanom_assets.settings import DetectionSettings

ACTIVE_STD = 0.1
"""Dimensions that spread less carry nothing: `Var(mu)` of 0.01 is where a unit of the VAE counts as active."""
BLOCK = 8192
"""Windows whose neighbours are looked up at a time."""
QUALITY_WINDOWS = 5000
"""Windows that the silhouette, whose cost is quadratic, is taken over."""


@dataclass(frozen=True)
class Clusters:
    """HDBSCAN fitted on reference windows.

    Attributes
    ----------
    points : numpy.ndarray
        float32, shape (n, d): the windows it was fitted on, not scaled.
    centre, scale : numpy.ndarray
        float64, shape (d,): of each dimension; collapsed dimensions have scale infinity, and count for nothing.
    fitted : hdbscan.HDBSCAN
    chosen : dict
        Parameters, and the figures by which they were chosen.
    """

    points: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    fitted: hdbscan.HDBSCAN
    chosen: dict[str, Any]

    @property
    def n_clusters(self) -> int:
        """Clusters found; 0 where all windows are noise."""
        return int(self.fitted.labels_.max()) + 1

    def parameters(self) -> dict[str, Any]:
        """Return what `refit` needs beside the points, as JSON-able values."""
        return self.chosen

    def scaled(self, points: np.ndarray) -> np.ndarray:
        """Return points in units of the reference's spread, float64."""
        return (points - self.centre) / self.scale

    @cached_property
    def neighbours(self) -> NearestNeighbors:
        """Index of the scaled reference points."""
        return NearestNeighbors(algorithm="brute").fit(self.scaled(self.points))

    @cached_property
    def tree(self) -> "_Tree":
        """The condensed tree as arrays."""
        return _Tree.of(self.fitted)


def candidates(n: int) -> Iterator[dict[str, Any]]:
    """Yield the parameters that are tried on `n` reference windows."""
    sizes = sorted({max(5, round(n * share)) for share in (0.01, 0.03, 0.1)})
    for min_samples, min_cluster_size, method in itertools.product((5, 15), sizes, ("eom", "leaf")):
        yield _parameters(min_cluster_size, min_samples, method, allow_single_cluster=False)
    yield _parameters(sizes[-1], 15, "eom", allow_single_cluster=True)


def _parameters(
    min_cluster_size: int, min_samples: int, method: str, *, allow_single_cluster: bool
) -> dict[str, Any]:
    return {
        "min_cluster_size": min_cluster_size,
        "min_samples": min_samples,
        "cluster_selection_method": method,
        "allow_single_cluster": allow_single_cluster,
    }


def fit_clusters(points: np.ndarray, settings: DetectionSettings) -> Clusters:
    """Fit HDBSCAN with the parameters that give the best DBCV under a bound on the noise share.

    DBCV is hdbscan's ``relative_validity_`` (Moulavi et al. 2014, by its mutual-reachability approximation). A
    single cluster has no such figure; it is chosen where no candidate with more keeps the bound. Where that finds
    nothing either, all windows are noise, and outlier scores become distances to neighbours (see `assign`).
    `Clusters.parameters` says which of them it is.

    Parameters
    ----------
    points : numpy.ndarray
        float32, shape (n, d): latent means.
    settings : DetectionSettings
    """
    tried = []
    # hdbscan's own cache: candidates that share min_samples share the spanning tree, which takes most of the time.
    with TemporaryDirectory(prefix="dasanom-") as folder:
        for parameters in candidates(len(points)):
            fitted = _fit(points, parameters, memory=folder)
            n_clusters = int(fitted.labels_.max()) + 1
            noise = float((fitted.labels_ < 0).mean())
            dbcv = float(fitted.relative_validity_) if n_clusters > 1 else None
            figures = {"n_clusters": n_clusters, "noise_share": round(noise, 4), "dbcv": dbcv}
            tried.append(parameters | figures | {"keeps_noise_bound": noise <= settings.max_noise_share})
    valid = [entry for entry in tried if entry["dbcv"] is not None and entry["keeps_noise_bound"]]
    best = max(valid, key=lambda entry: entry["dbcv"]) if valid else tried[-1]
    neighbour = f"distance to reference window {best['min_samples']}"
    return refit(points, best | {"outlier_score": "GLOSH" if best["n_clusters"] else neighbour})


def refit(points: np.ndarray, parameters: dict[str, Any]) -> Clusters:
    """Fit HDBSCAN with given parameters; the same points and parameters give the same clusters."""
    centre, scale = _centre_and_scale(points)
    fitted = _fit(points, parameters)
    fitted.generate_prediction_data()
    return Clusters(points, centre, scale, fitted, parameters)


def _centre_and_scale(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = points.std(axis=0, dtype=np.float64)
    return points.mean(axis=0, dtype=np.float64), np.where(spread > ACTIVE_STD, spread, np.inf)


def _fit(points: np.ndarray, parameters: dict[str, Any], **more: str) -> hdbscan.HDBSCAN:
    centre, scale = _centre_and_scale(points)
    names = ("min_cluster_size", "min_samples", "cluster_selection_method", "allow_single_cluster")
    return hdbscan.HDBSCAN(
        **{name: parameters[name] for name in names},
        gen_min_span_tree=True,
        core_dist_n_jobs=1,
        **more,
    ).fit((points - centre) / scale)


def assign(clusters: Clusters, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place new windows in existing clusters.

    The vectorised equal of ``hdbscan.approximate_predict`` and ``approximate_predict_scores``, which look at one
    point at a time.

    Parameters
    ----------
    clusters : Clusters
    points : numpy.ndarray
        float32, shape (m, d), not scaled.

    Returns
    -------
    label : numpy.ndarray
        int32, shape (m,): cluster, −1 for noise.
    probability : numpy.ndarray
        float32, shape (m,): strength of membership, 0 for noise.
    outlier_score : numpy.ndarray
        float32, shape (m,): GLOSH (Campello et al. 2015), 0 deep inside a cluster, towards 1 far outside. Where
        there is no cluster, the distance to the ``min_samples``-th reference window instead.
    """
    parts = [_assign(clusters, points[i : i + BLOCK]) for i in range(0, len(points), BLOCK)]
    if not parts:
        return np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.float32)
    label, probability, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    return label.astype(np.int32), probability.astype(np.float32), score.astype(np.float32)


def _assign(clusters: Clusters, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    min_samples, tree = clusters.chosen["min_samples"], clusters.tree
    scaled = clusters.scaled(points)
    reference = clusters.scaled(clusters.points)
    index = clusters.neighbours.kneighbors(scaled, 2 * min_samples, return_distance=False)
    # The search's own distances come from a product of matrices and lose digits where points nearly coincide.
    distance = np.sqrt(np.square(scaled[:, None] - reference[index]).sum(axis=2))
    order = np.argsort(distance, axis=1, kind="stable")
    index, distance = np.take_along_axis(index, order, 1), np.take_along_axis(distance, order, 1)
    core = distance[:, min_samples]
    if not clusters.n_clusters:
        return np.full(len(points), -1), np.zeros(len(points)), core

    reach = np.maximum(np.maximum(distance, tree.core_distances[index]), core[:, None])
    nearest = reach.argmin(axis=1)[:, None]
    neighbour = np.take_along_axis(index, nearest, 1)[:, 0]
    least = np.take_along_axis(reach, nearest, 1)[:, 0]
    with np.errstate(divide="ignore"):
        lam = np.where(least > 0, 1 / least, np.finfo(float).max)

    cluster = tree.parent[neighbour]
    same = distance[:, 0] == 0
    deepest = tree.deepest[cluster - tree.root]
    score = np.where(deepest > 0, (deepest - np.where(same, tree.lam[neighbour], lam)) / deepest, 0.0)

    climbing = tree.lam[neighbour] > lam
    while climbing.any():
        row = cluster - tree.root
        climbing &= (cluster > tree.root) & (tree.cluster_lam[row] >= lam)
        cluster = np.where(climbing, tree.cluster_parent[row], cluster)
    label = tree.label[cluster - tree.root]
    top = tree.label_lam[np.maximum(label, 0)]
    with np.errstate(invalid="ignore"):
        probability = np.where(top > 0, np.minimum(top, lam) / top, 1.0)
    return label, np.where(label >= 0, probability, 0.0), score


@dataclass(frozen=True)
class _Tree:
    """A condensed tree as arrays: by reference point, and by cluster number less `root`.

    ``parent`` and ``lam`` are where a point falls out of the tree; ``cluster_parent`` and ``cluster_lam`` where a
    cluster does (lambda −1: the root, or a leaf's missing entry); ``deepest`` is the largest lambda in or below
    a cluster; ``label`` the number of a selected cluster, −1 otherwise; ``label_lam`` the largest lambda of it.
    """

    root: int
    core_distances: np.ndarray
    parent: np.ndarray
    lam: np.ndarray
    cluster_parent: np.ndarray
    cluster_lam: np.ndarray
    deepest: np.ndarray
    label: np.ndarray
    label_lam: np.ndarray

    @staticmethod
    def of(fitted: hdbscan.HDBSCAN) -> "_Tree":
        raw, data = fitted.condensed_tree_._raw_tree, fitted.prediction_data_
        root, n = int(raw["parent"].min()), len(data.core_distances)
        parent, lam = np.full(n, root), np.zeros(n)
        points = raw[raw["child"] < n]
        parent[points["child"]], lam[points["child"]] = points["parent"], points["lambda_val"]
        size = int(raw["parent"].max()) - root + 1
        deepest = np.full(size, 0.0)
        np.maximum.at(deepest, raw["parent"] - root, raw["lambda_val"])
        cluster_parent, cluster_lam = np.full(size, root), np.full(size, -1.0)
        below = raw[raw["child"] >= n]
        for row in below[::-1]:  # children come after their parents
            child, above = row["child"] - root, row["parent"] - root
            cluster_parent[child], cluster_lam[child] = row["parent"], row["lambda_val"]
            deepest[above] = max(deepest[above], deepest[child])
        label = np.full(size, -1)
        label_lam = np.zeros(max(len(data.cluster_map), 1))
        for cluster, number in data.cluster_map.items():
            label[cluster - root] = number
            label_lam[number] = data.max_lambdas[cluster]
        return _Tree(
            root, data.core_distances, parent, lam, cluster_parent, cluster_lam, deepest, label, label_lam
        )


def cluster_quality(points: np.ndarray, labels: np.ndarray, seed: int = 0) -> dict[str, float | int | None]:
    """Return silhouette, Calinski–Harabasz and Davies–Bouldin, beside what they hide.

    Parameters
    ----------
    points : numpy.ndarray
        float32, shape (n, d).
    labels : numpy.ndarray
        int32, shape (n,); −1 is noise, which is no cluster and is left out.
    seed : int
        Of the silhouette's sample.

    Returns
    -------
    dict
        ``n_clusters``, ``noise_share``, and the three figures, None with fewer than two clusters.
    """
    kept = labels >= 0
    names, count = np.unique(labels[kept], return_counts=True)
    out: dict[str, float | int | None] = {
        "n_clusters": len(names),
        "noise_share": round(float(1 - kept.mean()), 4) if len(labels) else 0.0,
        "silhouette": None,
        "calinski_harabasz": None,
        "davies_bouldin": None,
    }
    if len(names) < 2 or count.sum() <= len(names):
        return out
    x, y = points[kept], labels[kept]
    some = np.random.default_rng(seed).permutation(len(x))[:QUALITY_WINDOWS]
    if 2 <= len(np.unique(y[some])) < len(some):
        out["silhouette"] = float(metrics.silhouette_score(x[some], y[some]))
    out["calinski_harabasz"] = float(metrics.calinski_harabasz_score(x, y))
    out["davies_bouldin"] = float(metrics.davies_bouldin_score(x, y))
    return out
