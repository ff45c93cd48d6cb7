"""Which clusters reference windows have: HDBSCAN's parameters, chosen by validity and stability; and how good."""

import itertools
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sklearn import metrics

from dasanom_assets.detection.detectors.clusters import PARAMETERS, Clusters, fit_hdbscan, labels_of, refit
from dasanom_assets.settings import DetectionSettings

FINALISTS = 3
"""Candidates, by DBCV, whose stability is looked at."""
SUBSAMPLES = 5
"""Subsamples that stability is the mean over."""
SUBSAMPLE_SHARE = 0.8
STABLE = 0.6
"""Stability from which the best DBCV decides."""
QUALITY_WINDOWS = 5000
"""Windows that the silhouette, whose cost is quadratic, is taken over."""


def candidates(n: int) -> list[dict[str, Any]]:
    """Return the `PARAMETERS` that are tried on `n` reference windows."""
    sizes = sorted({max(5, round(n * share)) for share in (0.01, 0.03, 0.1)})
    several = itertools.product((5, 15), sizes, ("eom", "leaf"))
    values = [*((size, samples, method, False) for samples, size, method in several), (sizes[-1], 15, "eom", True)]
    return [dict(zip(PARAMETERS, row, strict=True)) for row in values]


def fit_clusters(points: np.ndarray, settings: DetectionSettings) -> Clusters:
    """Fit HDBSCAN with the parameters that give the best DBCV under a bound on the noise share, if stable.

    DBCV is hdbscan's ``relative_validity_`` (Moulavi et al. 2014, by its mutual-reachability approximation). Of
    the `FINALISTS` best that keep the bound, the best with a `stability` of at least `STABLE` is chosen, and the
    most stable where there is none. Where no candidate keeps the bound, a single cluster of all windows is tried.
    Where hdbscan finds several even then, all windows are noise, and outlier scores become distances to
    neighbours (see `assign`). `Clusters.chosen` says which of them it is.

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
            fitted = fit_hdbscan(points, parameters, folder)
            labels = labels_of(fitted)
            n_clusters, noise = int(labels.max()) + 1, float((labels < 0).mean())
            dbcv = float(fitted.relative_validity_) if n_clusters > 1 else np.nan
            figures = {
                "n_clusters": n_clusters,
                "noise_share": round(noise, 4),
                "dbcv": dbcv if np.isfinite(dbcv) else None,
                "keeps_noise_bound": noise <= settings.max_noise_share,
            }
            tried.append((parameters | figures, labels))
        valid = {
            labels.tobytes(): (entry, labels)
            for entry, labels in reversed(tried)
            if entry["dbcv"] is not None and entry["keeps_noise_bound"]
        }
        finalists = sorted(valid.values(), key=lambda item: item[0]["dbcv"], reverse=True)[:FINALISTS]
        if not finalists and tried[-1][0]["n_clusters"] == 1:
            finalists = tried[-1:]
        scored = [
            entry | {"stability": stability(points, labels, entry, settings.seed, folder)}
            for entry, labels in finalists
        ]
    if not scored:
        # No two clusters of more than half of the windows fit, so nothing is found, now and in `refit`.
        nothing = {"min_cluster_size": len(points) // 2 + 1, "allow_single_cluster": False, "n_clusters": 0}
        figures = {"noise_share": 1.0, "dbcv": None, "keeps_noise_bound": False, "stability": None}
        neighbour = f"distance to the {tried[-1][0]['min_samples']}th nearest reference window"
        return refit(points, tried[-1][0] | nothing | figures | {"outlier_score": neighbour})
    stable = [entry for entry in scored if entry["stability"] >= STABLE]
    best = stable[0] if stable else max(scored, key=lambda entry: entry["stability"])
    return refit(points, best | {"outlier_score": "GLOSH"})


def stability(
    points: np.ndarray, labels: np.ndarray, parameters: dict[str, Any], seed: int, memory: str | None = None
) -> float:
    """Return how alike the clusters of subsamples are to those of all windows.

    The mean, over `SUBSAMPLES` random subsamples, of the adjusted Rand index (Hubert and Arabie 1985) between the
    labels of the windows in a subsample's own fit and in the fit of all; noise counts as a label. After Ben-Hur,
    Elisseeff and Guyon 2002. ``min_cluster_size``, which is a share of the windows, shrinks with them.

    Parameters
    ----------
    points : numpy.ndarray
        float32, shape (n, d), not scaled.
    labels : numpy.ndarray
        Integer, shape (n,): those of the fit of all.
    parameters : dict
        Of that fit; see `candidates`.
    seed : int
    memory : str, optional
        Folder where hdbscan keeps spanning trees.

    Returns
    -------
    float
        1: the same clusters each time; 0: no more alike than by chance.
    """
    rng = np.random.default_rng(seed)
    size = max(2, round(SUBSAMPLE_SHARE * parameters["min_cluster_size"]))
    indices = []
    for _ in range(SUBSAMPLES):
        drawn = np.sort(rng.permutation(len(points))[: round(SUBSAMPLE_SHARE * len(points))])
        fitted = fit_hdbscan(points[drawn], parameters | {"min_cluster_size": size}, memory)
        indices.append(metrics.adjusted_rand_score(labels[drawn], labels_of(fitted)))
    return round(float(np.mean(indices)), 4)


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
    noise_share = round(float(1 - kept.mean()), 4) if len(labels) else 0.0
    out: dict[str, float | int | None] = {"n_clusters": len(names), "noise_share": noise_share}
    out |= dict.fromkeys(("silhouette", "calinski_harabasz", "davies_bouldin"))
    if len(names) < 2 or count.sum() <= len(names):
        return out
    x, y = points[kept], labels[kept]
    drawn = np.random.default_rng(seed).permutation(len(x))[:QUALITY_WINDOWS]
    if 2 <= len(np.unique(y[drawn])) < len(drawn):
        out["silhouette"] = float(metrics.silhouette_score(x[drawn], y[drawn]))
    out["calinski_harabasz"] = float(metrics.calinski_harabasz_score(x, y))
    out["davies_bouldin"] = float(metrics.davies_bouldin_score(x, y))
    return out
