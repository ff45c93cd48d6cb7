"""Small Gaussian mixtures with diagonal covariances, many at a time: fits to frames, and how they differ."""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

FLOOR = 1e-2
"""Added to every variance: a band that does not move has no infinite density."""
ITERATIONS = 60
TOLERANCE = 1e-3
"""EM ends where the mean log-likelihood of a frame, nats, grows by less."""
LEAST_STEPS, REACH = 4, 30
"""After so many steps, EM that would need more than so many of its last gains to be worth it is given up: twice as
fast, and 1 % of the segments of simulated weeks lose a component that the criterion would have liked."""
BLOCK = 256
"""Rows that a thread takes at a time. With `chained`, the first of each does not start from the row before."""
PRODUCT = 16
"""Factors of a likelihood whose logarithm is taken at once."""

_LOG_2PI = math.log(2 * math.pi)
# Sums may be taken in any order, so that they fill vector registers; what is NaN stays so.
_MATHS = {"reassoc", "contract", "nsz"}


@dataclass(frozen=True)
class Mixtures:
    """Gaussian mixtures with diagonal covariances, as arrays.

    Attributes
    ----------
    weights : numpy.ndarray
        float32, shape (..., K): sum to 1; 0 for a component that is not used, NaN for a mixture that is not
        there.
    means, variances : numpy.ndarray
        float32, shape (..., K, D).
    """

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the batch."""
        return self.weights.shape[:-1]

    def __getitem__(self, some: Any) -> "Mixtures":
        """Return some of the batch, by an index of its leading axes."""
        return Mixtures(self.weights[some], self.means[some], self.variances[some])

    def flat(self) -> "Mixtures":
        """Return the batch with one leading axis."""
        k, d = self.means.shape[-2:]
        return Mixtures(
            self.weights.reshape(-1, k), self.means.reshape(-1, k, d), self.variances.reshape(-1, k, d)
        )

    def log_likelihood(self, frames: np.ndarray) -> np.ndarray:
        """Return the log density of frames, nats, float64, shape (..., T).

        Parameters
        ----------
        frames : numpy.ndarray
            Shape (..., T, D).
        """
        weights, means, variances = (
            x[..., None, :, :].astype(np.float64) for x in (self.weights[..., None], self.means, self.variances)
        )
        square = np.square(frames[..., None, :] - means) / variances
        with np.errstate(divide="ignore"):
            each = np.log(weights[..., 0]) - 0.5 * (square + np.log(variances) + _LOG_2PI).sum(axis=-1)
        return np.logaddexp.reduce(each, axis=-1)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `n` frames of each mixture, float64, shape (..., n, D)."""
        flat = self.flat()
        out = np.empty((len(flat.weights), n, flat.means.shape[-1]))
        for i, weights in enumerate(flat.weights.astype(np.float64)):
            of = rng.choice(len(weights), n, p=weights / weights.sum())
            out[i] = rng.normal(flat.means[i, of], np.sqrt(flat.variances[i, of]))
        return out.reshape(*self.shape, n, -1)


def fit_mixtures(frames: np.ndarray, largest: int = 4, *, floor: float = FLOOR, chained: bool = False) -> Mixtures:
    """Fit a mixture to each row of frames.

    One component in closed form, then one more at a time by EM (Dempster, Laird and Rubin 1977), as long as the
    Bayesian information criterion (Schwarz 1978) gets better. A further component comes from cutting the widest
    one in two across its widest dimension, or all come from the row before where that has as many.

    Parameters
    ----------
    frames : numpy.ndarray
        Shape (n, T, D), with any strides; frames with NaN are missing.
    largest : int
        Most components. There are never so many that they have more parameters than there are frames.
    floor : float
        Added to the variances, as scikit-learn's ``reg_covar``.
    chained : bool
        Whether rows follow each other in time, so that each may start from the one before.

    Returns
    -------
    Mixtures
        Of shape (n,), with `largest` components each; NaN where a row has no frame.
    """
    n, _, d = frames.shape
    weights = np.zeros((n, largest), np.float32)
    means, variances = np.zeros((n, largest, d), np.float32), np.ones((n, largest, d), np.float32)

    def fit(rows: slice) -> None:
        _fit(frames[rows], floor, chained, weights[rows], means[rows], variances[rows])

    _in_threads(fit, n, BLOCK)
    return Mixtures(weights, means, variances)


def divergence(p: Mixtures, q: Mixtures) -> np.ndarray:
    """Return the symmetric divergence of mixtures, ``J = ½ (KL(p‖q) + KL(q‖p))``, nats.

    KL is Hershey and Olsen's variational approximation (ICASSP 2007, equation 20), clipped at 0::

        KL(p‖q) ≈ Σₐ πₐ log( Σₐ′ πₐ′ exp(−KL(pₐ‖pₐ′)) / Σ_b ω_b exp(−KL(pₐ‖q_b)) )

    which is exact for one component each.

    Parameters
    ----------
    p, q : Mixtures
        Of the same dimensions; their shapes are broadcast.

    Returns
    -------
    numpy.ndarray
        float32, of the broadcast shape; 0 for identical mixtures, NaN where one is not there.
    """
    shape = np.broadcast_shapes(p.shape, q.shape)
    left, right = (np.broadcast_to(np.arange(math.prod(x.shape)).reshape(x.shape), shape).ravel() for x in (p, q))
    return paired_divergence(Prepared.of(p), Prepared.of(q), left, right).reshape(shape)


def paired_divergence(p: "Prepared", q: "Prepared", left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the `divergence` of pairs.

    Parameters
    ----------
    p, q : Prepared
    left, right : numpy.ndarray
        int64, shape (n,): mixture ``left[i]`` of `p` is held against ``right[i]`` of `q`.

    Returns
    -------
    numpy.ndarray
        float32, shape (n,).
    """
    out = np.empty(len(left), np.float32)

    def compute(rows: slice) -> None:
        _divergences(p.scalars, p.vectors, q.scalars, q.vectors, left[rows], right[rows], out[rows])

    _in_threads(compute, len(left), 16 * BLOCK)
    return out


def least_divergence(p: "Prepared", q: "Prepared", first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the least `divergence` of each mixture of `p` from runs of mixtures of `q`.

    Parameters
    ----------
    p, q : Prepared
    first, last : numpy.ndarray
        int64, shape (n, runs): mixture ``i`` of `p` is held against ``first[i, r]`` to ``last[i, r] - 1`` of `q`.

    Returns
    -------
    numpy.ndarray
        float32, shape (n, runs); NaN where there is none to hold it against.
    """
    out = np.empty(first.shape, np.float32)

    def compute(rows: slice) -> None:
        _least(
            *(p.scalars[rows], p.vectors[rows], q.scalars, q.vectors),
            *(first[rows], last[rows], out[rows]),
        )

    _in_threads(compute, len(first), BLOCK)
    return out


@dataclass(frozen=True)
class Prepared:
    """Mixtures with what every divergence from them needs, computed once.

    Attributes
    ----------
    scalars : numpy.ndarray
        float64, shape (n, K, 3): weight, log determinant and ``log Σₐ′ πₐ′ exp(−KL(pₐ‖pₐ′))`` of each component;
        those that are not used come last, and those that no mixture uses are left out.
    vectors : numpy.ndarray
        float64, shape (n, K, 3, D): means, variances and their reciprocals.
    """

    scalars: np.ndarray
    vectors: np.ndarray

    def __getitem__(self, some: np.ndarray) -> "Prepared":
        """Return some of the mixtures."""
        return Prepared(self.scalars[some], self.vectors[some])

    @staticmethod
    def of(mixtures: Mixtures) -> "Prepared":
        """Prepare mixtures."""
        flat = mixtures.flat()
        used = flat.weights > 0
        k = max(1, int(used.sum(axis=1).max(initial=0)))
        if used[:, k:].any() or (used[:, 1:] & ~used[:, :-1]).any():
            order = np.argsort(~used, axis=1, kind="stable")
            flat = Mixtures(
                np.take_along_axis(flat.weights, order, 1),
                np.take_along_axis(flat.means, order[..., None], 1),
                np.take_along_axis(flat.variances, order[..., None], 1),
            )
        n, d = len(flat.weights), flat.means.shape[2]
        scalars, vectors = np.empty((n, k, 3)), np.empty((n, k, 3, d))
        _prepare(flat.weights[:, :k], flat.means[:, :k], flat.variances[:, :k], scalars, vectors)
        return Prepared(scalars, vectors)


def _in_threads(work: Callable[[slice], None], n: int, block: int) -> None:
    """Do `work` on blocks of `n` rows; the kernels hold no lock."""
    blocks = [slice(first, min(first + block, n)) for first in range(0, n, block)]
    if len(blocks) < 2:
        for rows in blocks:
            work(rows)
        return
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _ in pool.map(work, blocks):
            pass


@njit(nogil=True, cache=True)
def _fit(
    frames: np.ndarray,
    floor: float,
    chained: bool,
    weights: np.ndarray,
    means: np.ndarray,
    variances: np.ndarray,
) -> None:
    """Fit the rows of a block one after the other; see `fit_mixtures`."""
    rows, length, d = frames.shape
    largest = weights.shape[1]
    x, share = np.empty((d, length), np.float32), np.empty((largest, length), np.float32)
    w, m, v = np.empty(largest, np.float32), np.empty((largest, d), np.float32), np.empty((largest, d), np.float32)
    for row in range(rows):
        n = 0
        for t in range(length):
            whole = True
            for a in range(d):
                x[a, n] = frames[row, t, a]
                whole &= not np.isnan(x[a, n])
            n += whole
        if n == 0:
            weights[row, :], means[row], variances[row] = np.nan, np.nan, np.nan
            continue
        w[0] = 1.0
        share[0, :n] = 1.0
        _maximise(x, n, share, 1, floor, w, m, v)
        best = -2 * _expect(x, n, share, 1, w, m, v) + 2 * d * np.log(n)
        weights[row, 0], means[row, 0], variances[row, 0] = w[0], m[0], v[0]
        for k in range(2, largest + 1):
            parameters = k * (2 * d + 1) - 1
            if parameters > n:
                break
            if chained and row > 0 and weights[row - 1, k - 1] > 0 and (k == largest or weights[row - 1, k] == 0):
                w[:k], m[:k], v[:k] = weights[row - 1, :k], means[row - 1, :k], variances[row - 1, :k]
            else:
                _split(w, m, v, k - 1)
            wanted = 0.5 * (parameters * np.log(n) - best)
            value = -2 * _em(x, n, share, k, floor, wanted, w, m, v) + parameters * np.log(n)
            if not value < best:
                break
            best = value
            weights[row, :k], means[row, :k], variances[row, :k] = w[:k], m[:k], v[:k]


@njit(nogil=True, cache=True)
def _split(w: np.ndarray, m: np.ndarray, v: np.ndarray, k: int) -> None:
    """Cut the widest of `k` components in two across its widest dimension."""
    widest, axis, most = 0, 0, -1.0
    for j in range(k):
        for a in range(m.shape[1]):
            if w[j] * v[j, a] > most:
                widest, axis, most = j, a, w[j] * v[j, a]
    half = np.sqrt(v[widest, axis])
    w[widest] /= 2
    w[k], m[k], v[k] = w[widest], m[widest], v[widest]
    m[widest, axis] -= half
    m[k, axis] += half


@njit(nogil=True, cache=True)
def _em(
    x: np.ndarray,
    n: int,
    share: np.ndarray,
    k: int,
    floor: float,
    wanted: float,
    w: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
) -> float:
    """Improve `k` components until it hardly helps, and return the log-likelihood.

    −∞ where a component is lost, or `wanted`, from which it would be worth it, is out of reach.
    """
    before = -np.inf
    for step in range(ITERATIONS):
        found = _expect(x, n, share, k, w, m, v)
        gain = found - before
        if gain < TOLERANCE * n:
            break
        if step >= LEAST_STEPS and found + REACH * gain < wanted:
            return -np.inf
        before = found
        if not _maximise(x, n, share, k, floor, w, m, v):
            return -np.inf
    return found


@njit(nogil=True, cache=True, fastmath=_MATHS)
def _expect(
    x: np.ndarray, n: int, share: np.ndarray, k: int, w: np.ndarray, m: np.ndarray, v: np.ndarray
) -> float:
    """Set the share of each component in each frame, and return the log-likelihood of all frames."""
    d = x.shape[0]
    for j in range(k):
        constant = np.float32(np.log(w[j]))
        for a in range(d):
            constant -= np.float32(0.5) * (np.log(v[j, a]) + np.float32(_LOG_2PI))
        share[j, :n] = constant
        for a in range(d):
            mean, factor = m[j, a], np.float32(-0.5) / v[j, a]
            for t in range(n):
                share[j, t] += factor * (x[a, t] - mean) ** 2
    total, product = 0.0, 1.0
    for t in range(n):
        top = share[0, t]
        for j in range(1, k):
            top = max(top, share[j, t])
        total += top
        if k > 1:
            together = np.float32(0.0)
            for j in range(k):
                share[j, t] = np.exp(share[j, t] - top)
                together += share[j, t]
            for j in range(k):
                share[j, t] /= together
            product *= float(together)
            if t % PRODUCT == 0:
                total += np.log(product)
                product = 1.0
    return total + np.log(product)


@njit(nogil=True, cache=True, fastmath=_MATHS)
def _maximise(
    x: np.ndarray, n: int, share: np.ndarray, k: int, floor: float, w: np.ndarray, m: np.ndarray, v: np.ndarray
) -> bool:
    """Set weights, means and variances from the shares; False where a component holds less than one frame."""
    for j in range(k):
        of = np.float32(0.0)
        for t in range(n):
            of += share[j, t]
        if not of >= 1.0:
            return False
        w[j] = of / np.float32(n)
        for a in range(x.shape[0]):
            total = np.float32(0.0)
            for t in range(n):
                total += share[j, t] * x[a, t]
            mean, total = total / of, np.float32(0.0)
            for t in range(n):
                total += share[j, t] * (x[a, t] - mean) ** 2
            m[j, a], v[j, a] = mean, total / of + np.float32(floor)
    return True


@njit(nogil=True, cache=True, fastmath=_MATHS)
def _log_sum(values: np.ndarray, row: int, scalars: np.ndarray, i: int, k: int) -> float:
    """Return the logarithm of the sum of ``weight · exp(value)`` of `k` components of mixture `i`."""
    if k == 1:
        return values[row, 0]
    top = values[row, 0]
    for j in range(1, k):
        top = max(top, values[row, j])
    total = 0.0
    for j in range(k):
        total += scalars[i, j, 0] * np.exp(values[row, j] - top)
    return top + np.log(total)


@njit(nogil=True, cache=True, fastmath=_MATHS)
def _used(scalars: np.ndarray, i: int) -> int:
    """Return how many components mixture `i` has; 0 where it is not there."""
    n = 0
    while n < scalars.shape[1] and scalars[i, n, 0] > 0:
        n += 1
    return n


@njit(nogil=True, cache=True, fastmath=_MATHS)
def _prepare(
    weights: np.ndarray, means: np.ndarray, variances: np.ndarray, scalars: np.ndarray, vectors: np.ndarray
) -> None:
    """Set what `Prepared` holds."""
    d = vectors.shape[3]
    minus = np.empty((1, vectors.shape[1]))
    for i in range(len(scalars)):
        scalars[i, :, 0] = weights[i]
        n = _used(scalars, i)
        for a in range(n):
            product, log_det = 1.0, 0.0
            for c in range(d):
                variance = float(variances[i, a, c])
                vectors[i, a, 0, c], vectors[i, a, 1, c], vectors[i, a, 2, c] = (
                    means[i, a, c],
                    variance,
                    1 / variance,
                )
                product *= variance
                if not 1e-100 < product < 1e100:
                    log_det += np.log(product)
                    product = 1.0
            scalars[i, a, 1] = log_det + np.log(product)
        for a in range(n):
            for b in range(n):
                total = 0.0
                for c in range(d):
                    square = (vectors[i, a, 0, c] - vectors[i, b, 0, c]) ** 2
                    total += (vectors[i, a, 1, c] + square) * vectors[i, b, 2, c]
                minus[0, b] = -0.5 * (scalars[i, b, 1] - scalars[i, a, 1] - d + total)
            scalars[i, a, 2] = _log_sum(minus, 0, scalars, i, n)


@njit(nogil=True, cache=True, fastmath=_MATHS)
def _one(
    p_scalars: np.ndarray,
    p: np.ndarray,
    i: int,
    q_scalars: np.ndarray,
    q: np.ndarray,
    j: int,
    there: np.ndarray,
    back: np.ndarray,
) -> float:
    """Return the divergence of two mixtures; `there` and `back` are room for K × K numbers."""
    d, n, o = p.shape[3], _used(p_scalars, i), _used(q_scalars, j)
    if n == 0 or o == 0:
        return np.nan
    for a in range(n):
        for b in range(o):
            forward, backward = 0.0, 0.0
            for c in range(d):
                square = (p[i, a, 0, c] - q[j, b, 0, c]) ** 2
                forward += (p[i, a, 1, c] + square) * q[j, b, 2, c]
                backward += (q[j, b, 1, c] + square) * p[i, a, 2, c]
            gap = q_scalars[j, b, 1] - p_scalars[i, a, 1]
            there[a, b] = -0.5 * (forward - d + gap)
            back[b, a] = -0.5 * (backward - d - gap)
    forward, backward = 0.0, 0.0
    for a in range(n):
        forward += p_scalars[i, a, 0] * (p_scalars[i, a, 2] - _log_sum(there, a, q_scalars, j, o))
    for b in range(o):
        backward += q_scalars[j, b, 0] * (q_scalars[j, b, 2] - _log_sum(back, b, p_scalars, i, n))
    return 0.5 * (max(forward, 0.0) + max(backward, 0.0))


@njit(nogil=True, cache=True)
def _divergences(
    p_scalars: np.ndarray,
    p: np.ndarray,
    q_scalars: np.ndarray,
    q: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    out: np.ndarray,
) -> None:
    """Set the divergence of each pair of rows."""
    there, back = np.empty((p.shape[1], q.shape[1])), np.empty((q.shape[1], p.shape[1]))
    for r in range(len(out)):
        out[r] = _one(p_scalars, p, left[r], q_scalars, q, right[r], there, back)


@njit(nogil=True, cache=True)
def _least(
    p_scalars: np.ndarray,
    p: np.ndarray,
    q_scalars: np.ndarray,
    q: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    out: np.ndarray,
) -> None:
    """Set the least divergence of each row from runs of rows."""
    there, back = np.empty((p.shape[1], q.shape[1])), np.empty((q.shape[1], p.shape[1]))
    for i in range(out.shape[0]):
        for r in range(out.shape[1]):
            least = np.nan
            for j in range(first[i, r], last[i, r]):
                found = _one(p_scalars, p, i, q_scalars, q, j, there, back)
                if not least <= found:
                    least = found
            out[i, r] = least
