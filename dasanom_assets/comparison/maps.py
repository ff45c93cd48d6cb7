"""The map of embeddings: a t-SNE that is fitted once on reference windows and does not move afterwards.

New windows are placed onto it one by one, each by its neighbours among the reference alone, so that the same place
means the same kind of sound on every day. The map is plain arrays: reference points and their coordinates.
"""

from typing import Any

import numpy as np
from openTSNE import TSNE, TSNEEmbedding, initialization
from openTSNE.affinity import PerplexityBasedNN

PERPLEXITY = 30.0
PLACING_PERPLEXITY = 5.0
THREADS = 2
MIN_POINTS = 10
"""With fewer points there are no neighbours to speak of."""


def _gradient(n_points: int) -> dict[str, Any]:
    """Return how openTSNE takes its gradient; the result is the same to the last bit for any number of threads.

    Barnes–Hut, since interpolation (FFT) exists in one and two dimensions only. An angle of 0.8 halves the time.
    Few points are done before a second thread would have woken up.
    """
    return {"negative_gradient_method": "bh", "theta": 0.8, "n_jobs": 1 if n_points < 1000 else THREADS}


def _affinities(points: np.ndarray, seed: int) -> PerplexityBasedNN:
    if len(points) < MIN_POINTS:
        raise ValueError(f"a map needs at least {MIN_POINTS} reference windows, got {len(points)}")
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    return PerplexityBasedNN(points, perplexity, method="exact", n_jobs=THREADS, random_state=seed)


def fit_map(points: np.ndarray, n_components: int = 2, seed: int = 0) -> np.ndarray:
    """Return the coordinates of reference windows on a new map.

    Parameters
    ----------
    points : numpy.ndarray
        Float array, shape (n, d): latent means, each dimension scaled by its spread.
    n_components : int
        2 or 3.
    seed : int

    Returns
    -------
    numpy.ndarray
        float64, shape (n, n_components). The middle of its range is the origin.

    Raises
    ------
    ValueError
        With fewer than `MIN_POINTS` points, NaN among them, or another number of components.

    Notes
    -----
    Poličar, Stražar, Zupan (2024), openTSNE, J. Stat. Softw. 109(3); initialised by PCA (Kobak and Berens 2019).
    """
    if n_components not in (2, 3):
        raise ValueError(f"a map has 2 or 3 components, not {n_components}")
    affinities = _affinities(points, seed)
    missing = max(0, n_components - points.shape[1])
    start = initialization.pca(np.pad(points, ((0, 0), (0, missing))), n_components, random_state=seed)
    tsne = TSNE(n_components, early_exaggeration_iter=100, n_iter=300, random_state=seed, **_gradient(len(points)))
    fitted = np.asarray(tsne.fit(affinities=affinities, initialization=start))
    return fitted - (fitted.max(axis=0) + fitted.min(axis=0)) / 2


def place(
    points: np.ndarray, reference_points: np.ndarray, reference_coordinates: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Return where windows lie on an existing map, whose reference stays where it is.

    Parameters
    ----------
    points : numpy.ndarray
        Float array, shape (m, d), scaled as the reference.
    reference_points : numpy.ndarray
        Float array, shape (n, d): what `fit_map` was given.
    reference_coordinates : numpy.ndarray
        float64, shape (n, 2 or 3): what it returned.
    seed : int

    Returns
    -------
    numpy.ndarray
        float64, shape (m, 2 or 3). A point's place does not depend on the other points.

    Raises
    ------
    ValueError
        As `fit_map`.
    """
    if not len(points):
        return np.empty((0, reference_coordinates.shape[1]))
    # openTSNE centres the reference about its range when it places points; `offset` takes that back.
    offset = (reference_coordinates.max(axis=0) + reference_coordinates.min(axis=0)) / 2
    fixed = TSNEEmbedding(
        reference_coordinates, _affinities(reference_points, seed), random_state=seed, **_gradient(len(points))
    )
    placed = fixed.transform(points, perplexity=PLACING_PERPLEXITY, n_iter=100)
    return np.asarray(placed) + offset
