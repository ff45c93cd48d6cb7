"""Clusters of normal windows in the latent space, as HDBSCAN fits them, and how far new windows lie outside them.

With which parameters they are fitted is chosen in `clustering`.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import hdbscan
import numpy as np

from dasanom_assets.detection.detectors.nearest import Nearest
from dasanom_assets.spectrograms.streams import in_order

PARAMETERS = ("min_cluster_size", "min_samples", "cluster_selection_method", "allow_single_cluster")
"""What HDBSCAN is fitted with."""
ACTIVE_STD = 0.1
"""Dimensions that spread less carry nothing: `Var(mu)` of 0.01 is where a unit of the VAE counts as active."""
BLOCK_WINDOWS = 2048
"""Windows that a thread places at a time."""


@dataclass(frozen=True)
class Tree:
    """A condensed tree as arrays: by reference point, and by cluster number less `root`.

    ``parent`` and ``lam`` are where a point falls out of the tree; ``cluster_parent`` and ``cluster_lam`` where a
    cluster does (lambda −1: the root, or a leaf's missing entry); ``deepest`` is the largest lambda in or below
    a cluster; ``label`` the number of a selected cluster, −1 otherwise; ``label_lam`` the largest lambda of it.
    Lambda is infinite where points coincide; in ``deepest`` and ``label_lam`` the largest finite one stands in.
    """

    core_distances: np.ndarray
    parent: np.ndarray
    lam: np.ndarray
    cluster_parent: np.ndarray
    cluster_lam: np.ndarray
    deepest: np.ndarray
    label: np.ndarray
    label_lam: np.ndarray

    @property
    def root(self) -> int:
        """Number of the root: clusters are numbered from that of the points on."""
        return len(self.core_distances)

    @staticmethod
    def of(fitted: hdbscan.HDBSCAN) -> "Tree":
        """Return the tree of a fit with prediction data."""
        raw, data = fitted.condensed_tree_._raw_tree, fitted.prediction_data_
        root = n = len(data.core_distances)
        parent, lam = np.full(n, root), np.zeros(n)
        points = raw[raw["child"] < n]
        parent[points["child"]], lam[points["child"]] = points["parent"], points["lambda_val"]
        size = int(raw["parent"].max()) - root + 1
        finite = raw["lambda_val"][np.isfinite(raw["lambda_val"])]
        cap = finite.max() if len(finite) else 1.0
        deepest = np.full(size, 0.0)
        np.maximum.at(deepest, raw["parent"] - root, np.minimum(raw["lambda_val"], cap))
        cluster_parent, cluster_lam = np.full(size, root), np.full(size, -1.0)
        below = raw[raw["child"] >= n]
        for row in below[::-1]:  # children come after their parents
            child, above = row["child"] - root, row["parent"] - root
            cluster_parent[child], cluster_lam[child] = row["parent"], row["lambda_val"]
            deepest[above] = max(deepest[above], deepest[child])
        label = np.full(size, -1)
        label_lam = np.zeros(max(len(data.cluster_map), 1))
        selected = data.cluster_map if fitted.labels_.max() >= 0 else {}
        for cluster, number in selected.items():
            label[cluster - root] = number
            label_lam[number] = min(data.max_lambdas[cluster], cap)
        core_distances = np.asarray(data.core_distances)
        return Tree(core_distances, parent, lam, cluster_parent, cluster_lam, deepest, label, label_lam)


@dataclass(frozen=True)
class Clusters:
    """HDBSCAN fitted on reference windows.

    Attributes
    ----------
    points : numpy.ndarray
        float32, shape (n, d): the windows it was fitted on, not scaled.
    chosen : dict
        Parameters, and the figures by which they were chosen.
    tree : Tree
        The condensed tree as arrays.
    just_fitted : hdbscan.HDBSCAN or None
        What they come from; None where they were restored.
    """

    points: np.ndarray
    chosen: dict[str, Any]
    tree: Tree
    just_fitted: hdbscan.HDBSCAN | None = None

    @property
    def n_clusters(self) -> int:
        """Clusters found; 0 where all windows are noise."""
        return int(self.tree.label.max()) + 1

    @cached_property
    def fitted(self) -> hdbscan.HDBSCAN:
        """What hdbscan itself makes of the points; where they were restored, it fits them again."""
        return self.just_fitted or _fit_to_predict(self.points, self.chosen)

    @property
    def labels(self) -> np.ndarray:
        """Cluster of each point, integer, shape (n,), −1 for noise; a single cluster has all of them."""
        return labels_of(self.fitted)

    def scaled(self, points: np.ndarray) -> np.ndarray:
        """Return points in units of the reference's spread, float64; collapsed dimensions count for nothing."""
        centre, scale = self._units
        return (points - centre) / scale

    def nearest(self, points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the `k` nearest reference points, nearest first, and their distances in units of the spread.

        Of points of shape (m, d), not scaled, both have the shape (m, k); they are int64 and float64.
        """
        distance, which = self._search(self.scaled(points), k)
        return which, distance

    @cached_property
    def _search(self) -> Nearest:
        return Nearest(self._reference)

    @cached_property
    def _reference(self) -> np.ndarray:
        return self.scaled(self.points)

    @cached_property
    def _units(self) -> tuple[np.ndarray, np.ndarray]:
        return _centre_and_scale(self.points)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the JSON-able values that `restore` needs; to fit again would take seconds."""
        return {"points": self.points} | asdict(self.tree), self.chosen

    @staticmethod
    def restore(tensors: dict[str, np.ndarray], values: dict[str, Any]) -> "Clusters":
        """Undo `state`."""
        arrays = dict(tensors)
        return Clusters(arrays.pop("points"), values, Tree(**arrays))


def labels_of(fitted: hdbscan.HDBSCAN) -> np.ndarray:
    """Return hdbscan's labels, but of a single cluster, which is the root of the tree, all windows.

    hdbscan itself gives only the ``min_cluster_size`` densest windows to such a cluster, while
    ``approximate_predict`` gives it everything.
    """
    single = fitted.labels_.max() == 0
    return np.zeros_like(fitted.labels_) if single else fitted.labels_


def refit(points: np.ndarray, parameters: dict[str, Any]) -> Clusters:
    """Fit HDBSCAN with given parameters; the same points and parameters give the same clusters."""
    fitted = _fit_to_predict(points, parameters)
    return Clusters(points, parameters, Tree.of(fitted), fitted)


def _centre_and_scale(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = points.std(axis=0, dtype=np.float64)
    return points.mean(axis=0, dtype=np.float64), np.where(spread > ACTIVE_STD, spread, np.inf)


def fit_hdbscan(points: np.ndarray, parameters: dict[str, Any], memory: str | None = None) -> hdbscan.HDBSCAN:
    """Fit HDBSCAN to points in units of their spread; spanning trees are kept in the folder `memory`, if any."""
    centre, scale = _centre_and_scale(points)
    chosen = {name: parameters[name] for name in PARAMETERS} | ({"memory": memory} if memory else {})
    return hdbscan.HDBSCAN(**chosen, gen_min_span_tree=True, core_dist_n_jobs=1).fit((points - centre) / scale)


def _fit_to_predict(points: np.ndarray, parameters: dict[str, Any]) -> hdbscan.HDBSCAN:
    fitted = fit_hdbscan(points, parameters)
    fitted.generate_prediction_data()
    return fitted


def assign(clusters: Clusters, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place new windows in existing clusters.

    The equal of ``hdbscan.approximate_predict`` and ``approximate_predict_scores``, which look at one point at a
    time, but for three cases in which they give nothing: where windows of the reference coincide, lambda is
    infinite, and here stands for the largest finite one; a single cluster without parts is one, and no noise; and
    where there is no cluster, scores are distances. Memory beside that of the results is bounded by a block.

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
        float32, shape (m,): GLOSH (Campello et al. 2015), 0 deep inside a cluster, below it where a window lies
        denser than any of the reference, towards 1 far outside. Where there is no cluster, the distance to the
        ``min_samples``-th reference window instead, in units of the reference's spread.

    Raises
    ------
    ValueError
        Where a point is not finite.
    """
    label, probability, score = (np.empty(len(points), kind) for kind in (np.int32, np.float32, np.float32))
    blocks = [slice(first, first + BLOCK_WINDOWS) for first in range(0, len(points), BLOCK_WINDOWS)]
    placed = in_order(lambda block: _assign(clusters, points[block]), blocks)
    for block, results in zip(blocks, placed, strict=True):
        label[block], probability[block], score[block] = results
    return label, probability, score


def _assign(clusters: Clusters, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not np.isfinite(points).all():
        raise ValueError("latent means that are not finite have no place among clusters")
    min_samples, tree = clusters.chosen["min_samples"], clusters.tree
    k = min(2 * min_samples, len(clusters.points))
    index, distance = clusters.nearest(points, k)
    if not clusters.n_clusters:
        return np.full(len(points), -1), np.zeros(len(points)), distance[:, min(min_samples, k) - 1]

    core = distance[:, min(min_samples, k - 1)]
    reach = np.maximum(np.maximum(distance, tree.core_distances[index]), core[:, None])
    nearest = reach.argmin(axis=1)[:, None]
    neighbour = np.take_along_axis(index, nearest, 1)[:, 0]
    least = np.take_along_axis(reach, nearest, 1)[:, 0]
    with np.errstate(divide="ignore"):
        lam = np.where(least > 0, 1 / least, np.finfo(float).max)

    cluster = tree.parent[neighbour]
    deepest = tree.deepest[cluster - tree.root]
    same = distance[:, 0] == 0
    score = (deepest - np.where(same, np.minimum(tree.lam[neighbour], deepest), lam)) / deepest

    climbing = tree.lam[neighbour] > lam
    while climbing.any():
        row = cluster - tree.root
        climbing &= (cluster > tree.root) & (tree.cluster_lam[row] >= lam)
        cluster = np.where(climbing, tree.cluster_parent[row], cluster)
    label = tree.label[cluster - tree.root]
    top = tree.label_lam[np.maximum(label, 0)]
    return label, np.where(label >= 0, np.minimum(top, lam) / top, 0.0), score
