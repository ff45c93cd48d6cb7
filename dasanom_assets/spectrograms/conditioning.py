"""What is done to the samples of several channels before they are transformed: all linear, none of it needed."""

from functools import lru_cache

import numpy as np
import scipy  # its parts are loaded when they are used, and most settings use none

STOP_BAND_DB = 60.0
LEAN = 0.01
"""Share of a spacing by which the nearer of two channels counts as nearer, where both are as far from a place."""


@lru_cache(maxsize=16)
def high_pass_taps(cutoff_hz: float, sampling_rate_hz: float) -> np.ndarray:
    """Return a linear-phase high-pass, float32, an odd number of taps.

    A Kaiser window design (Kaiser 1974, `scipy.signal.firwin`): half the amplitude at `cutoff_hz`, at least
    `STOP_BAND_DB` below half of it, all of it above one and a half times it. A finite response keeps a
    filtered stretch the same wherever it is cut.
    """
    n, beta = scipy.signal.kaiserord(STOP_BAND_DB, cutoff_hz / (sampling_rate_hz / 2))
    return scipy.signal.firwin(
        n | 1, cutoff_hz, window=("kaiser", beta), pass_zero=False, fs=sampling_rate_hz
    ).astype(np.float32)


def high_pass(x: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Filter each channel; half a filter's length is lost at both ends.

    Parameters
    ----------
    x : numpy.ndarray
        float32, shape (channels, n).
    taps : numpy.ndarray
        From `high_pass_taps`.

    Returns
    -------
    numpy.ndarray
        float32, shape (channels, n - len(taps) + 1); NaN where a sample that the filter reaches is not finite.
    """
    finite = np.isfinite(x)
    if not finite.all():  # by Fourier transform, one such sample would reach a whole block
        return _high_pass_around(x, taps, finite)
    return scipy.signal.oaconvolve(x, taps[None], mode="valid", axes=1).astype(np.float32, copy=False)


def _high_pass_around(x: np.ndarray, taps: np.ndarray, finite: np.ndarray) -> np.ndarray:
    out = high_pass(np.where(finite, x, np.float32(0)), taps)
    before = np.pad(np.cumsum(~finite, axis=1), ((0, 0), (1, 0)))
    out[before[:, len(taps) :] > before[:, : -len(taps)]] = np.nan
    return out


def remove_common_mode(x: np.ndarray) -> np.ndarray:
    """Subtract from each channel its regression on the median of all, sample by sample.

    What all channels share, such as a vibrating interrogator, goes, and so would a source that more than half of
    them hear. Samples that are not finite take no part and stay as they are.

    Parameters
    ----------
    x : numpy.ndarray
        float32, shape (channels, n); overwritten.
    """
    finite = np.flatnonzero(np.isfinite(x).any(axis=1))
    if len(finite) < 3:  # the median of two is their mean, which holds half of either
        return x
    if not np.isfinite(x[finite]).all():
        return _remove_common_mode_around(x, finite)
    common = np.median(x[finite], axis=0)
    common -= common.mean(dtype=np.float64).astype(np.float32)
    energy = float(np.dot(common, common))
    if energy > 0:
        x[finite] -= (x[finite] @ common / np.float32(energy))[:, None] * common
    return x


def _remove_common_mode_around(x: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Do the same where some samples of `channels` are not finite.

    The median is that of the channels that are whole, or, with fewer than three, of what is there of each sample.
    """
    known = np.isfinite(x[channels])
    whole = known.all(axis=1)
    if whole.sum() < 3:
        shares, judged = np.where(known, x[channels], np.nan), channels
    else:
        shares, judged = x[channels[whole]], channels[~whole]
        x[channels[whole]] = remove_common_mode(shares.copy())
    common = np.zeros(x.shape[1], np.float32)
    enough = np.isfinite(shares).sum(axis=0) >= 3
    common[enough] = np.nanmedian(shares[:, enough], axis=0)
    common[enough] -= common[enough].mean(dtype=np.float64).astype(np.float32)
    known = np.isfinite(x[judged])
    energy = known @ np.square(common)
    shared = np.where(known, x[judged], np.float32(0)) @ common
    x[judged] -= (shared / np.where(energy > 0, energy, np.float32(1)))[:, None] * common
    return x


def difference(x: np.ndarray, channels: np.ndarray, partners: np.ndarray) -> np.ndarray:
    """Return differences between channels.

    Parameters
    ----------
    x : numpy.ndarray
        float32, shape (channels, n).
    channels : numpy.ndarray
        Channel number of each row of `x`, ascending.
    partners : numpy.ndarray
        Columns of what `neighbours` returns, for channels j whose partners are all there: ``x[j] - x[before]``
        where it has two rows, ``x[before] - 2 x[j] + x[after]`` where it has three.
    """
    here, before, *after = (np.searchsorted(channels, row) for row in partners)
    return x[before] - 2 * x[here] + x[after[0]] if after else x[here] - x[before]


def neighbours(channels: np.ndarray, metres: np.ndarray, order: str, distance_m: float) -> np.ndarray:
    """Return the channels that have a difference, and those that it is taken to.

    A partner is the channel nearest to `distance_m` away, or to the usual spacing where that is more. It lies
    there but for half the way to the next channel, so that there is none around a gap.

    Parameters
    ----------
    channels : numpy.ndarray
        Channel numbers, shape (n,).
    metres : numpy.ndarray
        Where they lie, m, shape (n,); NaN where that is not known.
    order : {"first", "laplacian"}
    distance_m : float

    Returns
    -------
    numpy.ndarray
        Channel numbers, shape (2, k) or (3, k): the channel, ascending; its partner at less metres; for a
        laplacian, that at more.

    Examples
    --------
    >>> neighbours(np.arange(5), np.array([0.0, 5, 10, 15, 40]), "first", 10.0)
    array([[2, 3],
           [0, 1]])
    """
    by_place = np.argsort(metres, kind="stable")[: np.isfinite(metres).sum()]  # NaN come last
    places = metres[by_place]
    gaps = np.diff(np.unique(places))
    rows = 3 if order == "laplacian" else 2
    if not len(gaps):
        return np.empty((rows, 0), channels.dtype)
    away = max(distance_m, float(np.median(gaps)))
    which = np.searchsorted(np.unique(places), places)
    own = np.minimum(np.r_[np.inf, gaps][which], np.r_[gaps, np.inf][which])  # to the next channel
    there, found = np.ones(len(places), bool), [by_place]
    for sign in (-1, 1)[: rows - 1]:
        target = places + sign * (away - LEAN * own)
        after = np.clip(np.searchsorted(places, target), 1, len(places) - 1)
        nearest = after - (target - places[after - 1] <= places[after] - target)
        off = np.abs(places[nearest] - target)
        there &= (sign * (places[nearest] - places) > 0) & (off <= np.minimum(own, own[nearest]) / 2)
        found.append(by_place[nearest])
    partners = channels[np.array(found)[:, there]]
    return partners[:, np.argsort(partners[0], kind="stable")]
