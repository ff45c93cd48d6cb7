"""How each channel is: dead, saturated, noisy or ok, found before anything is scored."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numba import njit
from scipy import ndimage

from dasanom_assets.recordings.signal import Stretch
from dasanom_assets.tables.schemas import KEYS, SCHEMAS

DEAD_SHARE = 0.5
SATURATED_SHARE = 0.01
CLIPPED_SHARE = 0.002
"""Share of a second's samples: four of 2000. A clipped sample or two is a glitch of the converter."""
NOISY_DB = 12.0
NOISY_MADS = 6.0
NEIGHBOURS = 10
"""Channels on each side that a channel's level is compared with."""
FLAT_RUN = 3
"""Equal extreme samples in a row that are taken for clipping where the sample type has no limits."""
FAR = 100
"""Steps that integers jump by, at least, to a value that is none of theirs, as fill values of lost samples are."""
LEAST_SAMPLES = 8
"""Of a second that can be constant: with fewer a second, blocks are longer."""
STUCK_SECONDS = 0.25
"""Time for which floats that measure something are never the same."""

_COUNTS = ("seconds", "blocks", "dead", "clipped")


@dataclass(frozen=True)
class Sums:
    """What is summed over seconds of some channels of a fibre; those of several parts of a day add up.

    Attributes
    ----------
    fibre : str
    channels : numpy.ndarray
        int32, shape (n_channels,).
    counts : numpy.ndarray
        float64, shape (n_channels, 4): see `_COUNTS`.
    moments : numpy.ndarray
        float64, shape (n_channels, 3): number, mean and summed squared deviations of samples of finite seconds.
    clipped : pyarrow.Table
        Rows of `clipped_seconds`.
    """

    fibre: str
    channels: np.ndarray
    counts: np.ndarray
    moments: np.ndarray
    clipped: pa.Table


def channel_health(stretches: Iterable[Stretch]) -> tuple[pa.Table, pa.Table]:
    """Return what `health_of` does, of whole stretches."""
    return health_of(part for stretch in stretches if (part := sums(stretch)))


def health_of(parts: Iterable[Sums]) -> tuple[pa.Table, pa.Table]:
    """Return the rows of `channel_health`, and those of `clipped_seconds`.

    Signal is read second by second and summed in float64. ``rms`` is that of the signal less its mean, in the
    base unit of the samples; means and squared deviations of the parts are combined as in Chan, Golub and LeVeque
    (1983), so that a large offset costs no digits. ``dead_fraction`` is the share of seconds that are constant or
    hold NaN. ``clipped_fraction`` is the share of samples at the limits of an integer type, or at a fill value
    that is far from all others, or, for floats, that repeat the extreme of their second at least `FLAT_RUN` times
    in a row. A channel is noisy where its level lies `NOISY_DB` and `NOISY_MADS` median absolute deviations above
    the median of its neighbours. `clipped_seconds`
    has the stretches of a channel of which at least `CLIPPED_SHARE` of the samples are clipped, and those in which
    floats do not change for `STUCK_SECONDS`: rounding makes levels of them that mean nothing.

    Parameters
    ----------
    parts : iterable of Sums
        In the order of time.
    """
    counts: dict[tuple[str, int], np.ndarray] = {}
    moments: dict[tuple[str, int], np.ndarray] = {}
    clipped = [SCHEMAS["clipped_seconds"].empty_table()]
    for part in parts:
        clipped.append(part.clipped)
        for channel, count, moment in zip(part.channels.tolist(), part.counts, part.moments, strict=True):
            key = part.fibre, channel
            counts[key] = counts.get(key, 0) + count
            moments[key] = _combined(moments.get(key, np.zeros(3)), moment)
    keys = sorted(counts)
    totals = dict(zip(_COUNTS, np.array([counts[key] for key in keys]).reshape(-1, len(_COUNTS)).T, strict=True))
    samples, _, squares = np.array([moments[key] for key in keys]).reshape(-1, 3).T
    n = np.maximum(samples, 1)
    rms = np.sqrt(squares / n)
    rms[samples == 0] = np.nan  # never a finite second: unknown, not silent
    clipped_share = totals["clipped"] / n
    dead_share = totals["dead"] / totals["blocks"]
    fibres = np.array([fibre for fibre, _ in keys], object)
    noisy = np.zeros(len(keys), bool)
    for fibre in set(fibres):
        noisy[fibres == fibre] = _noisy(rms[fibres == fibre], dead_share[fibres == fibre] <= DEAD_SHARE)
    state = np.select(
        [dead_share > DEAD_SHARE, clipped_share > SATURATED_SHARE, noisy], ["dead", "saturated", "noisy"], "ok"
    )
    columns = {
        "fibre": fibres,
        "channel": np.array([channel for _, channel in keys], np.int32),
        "seconds": totals["seconds"],
        "rms": rms,
        "clipped_fraction": clipped_share,
        "dead_fraction": dead_share,
        "state": state.astype(object),
    }
    table = pa.table({name: pa.array(v) for name, v in columns.items()}).cast(SCHEMAS["channel_health"])
    return table, pa.concat_tables(clipped).sort_by([(name, "ascending") for name in KEYS["clipped_seconds"]])


def sums(stretch: Stretch, first_ns: int | None = None, last_ns: int | None = None) -> Sums | None:
    """Return what is summed over the seconds of a stretch, None where there are none.

    Parameters
    ----------
    stretch : Stretch
    first_ns, last_ns : int, optional
        Seconds that begin between these times count, ns since 1970; the last one is left out. None: all.
    """
    cut: list[tuple[np.ndarray, ...]] = []
    counts = np.zeros((len(_COUNTS), len(stretch.channels)))
    moments = np.zeros((3, len(stretch.channels)))
    edges = seconds_of(stretch, first_ns, last_ns)
    if len(edges) < 2:
        return None
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        read = stretch.read(first, last)
        block = np.ascontiguousarray(read, read.dtype.newbyteorder("="))
        n, ones = len(block), np.ones(block.shape[1])
        extremes, times, (mean, squares) = _looked_at(block)
        good = np.isfinite(mean)
        dead = ~good | (extremes[0] == extremes[1])
        if block.dtype.kind == "f":
            clipped, still = _runs(block, *extremes[:2])
            stuck = good & (still >= max(FLAT_RUN, int(STUCK_SECONDS * stretch.sampling_rate_hz)))
        else:
            clipped, stuck = _clipped(block, extremes, times), ~good
        clipped = good * clipped
        counts += [ones * n / stretch.sampling_rate_hz, ones, dead, clipped]
        columns = np.flatnonzero((clipped >= CLIPPED_SHARE * n) | stuck)
        ends = [np.full(len(columns), round(i / stretch.sampling_rate_hz * 1e9)) for i in (first, last)]
        reasons = np.where(stuck[columns], "stuck", "clipped").astype(object)
        cut.append((stretch.channels[columns], *ends, clipped[columns] / n, reasons))
        moments = _combined(moments, np.where(good, [ones * n, mean, squares], 0))
    moments[1:] *= np.array([[stretch.scale], [stretch.scale**2]])
    channel, start, end, share, reason = (np.concatenate(part) for part in zip(*cut, strict=True))
    rows = {
        "fibre": np.full(len(channel), stretch.fibre, object),
        "channel": channel.astype(np.int32),
        "start": stretch.start_ns + start,
        "end": stretch.start_ns + end,
        "clipped_fraction": share,
        "reason": reason,
    }
    clipped_rows = pa.table({name: pa.array(values) for name, values in rows.items()})
    return Sums(
        stretch.fibre, stretch.channels, counts.T, moments.T, clipped_rows.cast(SCHEMAS["clipped_seconds"])
    )


def _combined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return number, mean and squared deviations of two sets together, each of shape (3, ...)."""
    n = a[0] + b[0]
    share = b[0] / np.maximum(n, 1)
    apart = b[1] - a[1]
    return np.array([n, a[1] + share * apart, a[2] + b[2] + a[0] * share * apart**2])


def seconds_of(stretch: Stretch, first_ns: int | None, last_ns: int | None) -> np.ndarray:
    """Return the borders of blocks of about a second, of equal length: a short last one would count as much.

    Those that begin between two times, see `sums`; int64, shape (blocks + 1,), or fewer than two.
    """
    n = stretch.n_samples
    blocks = max(1, min(n // LEAST_SAMPLES, round(n / stretch.sampling_rate_hz)))
    edges = np.arange(blocks + 1) * n // blocks
    begin = stretch.start_ns + np.rint(edges[:-1] * (1e9 / stretch.sampling_rate_hz)).astype(np.int64)
    first = 0 if first_ns is None else int(np.searchsorted(begin, first_ns))
    last = blocks if last_ns is None else int(np.searchsorted(begin, last_ns))
    return edges[first : last + 1]


@njit(nogil=True, cache=True)
def _looked_at(block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what samples, shape (n, channels), are in each channel: two passes, while they stay in cache.

    Returns
    -------
    extremes : numpy.ndarray
        Of the samples' type, shape (4, channels): the least, the greatest, and those next to them.
    times : numpy.ndarray
        int32, shape (2, channels): how often the least and the greatest occur.
    moments : numpy.ndarray
        float64, shape (2, channels): mean, and summed squared deviations from it.
    """
    n, channels = block.shape
    extremes = np.empty((4, channels), block.dtype)
    times, moments = np.zeros((2, channels), np.int32), np.zeros((2, channels))
    low, high, above, below = extremes[0], extremes[1], extremes[2], extremes[3]
    mean, squares = moments[0], moments[1]
    low[:], high[:] = block[0], block[0]
    for i in range(n):
        for j in range(channels):
            value = block[i, j]
            low[j] = value if value < low[j] else low[j]
            high[j] = value if value > high[j] else high[j]
            mean[j] += value
    mean /= n
    above[:], below[:] = high, low
    for i in range(n):
        for j in range(channels):  # a processor does several channels at once where nothing branches
            value = block[i, j]
            times[0, j] += value == low[j]
            times[1, j] += value == high[j]
            more, less = high[j] if value == low[j] else value, low[j] if value == high[j] else value
            above[j] = more if more < above[j] else above[j]
            below[j] = less if less > below[j] else below[j]
        for j in range(channels):
            apart = block[i, j] - mean[j]
            squares[j] += apart * apart
    return extremes, times, moments


def _clipped(block: np.ndarray, extremes: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the number of clipped integers of each channel, int64, shape (channels,); see `_looked_at`.

    They are at the limits of their type; or they are fill values, which are equal, `FLAT_RUN` in a row, and
    farther from all others than these lie apart.
    """
    limits = np.iinfo(block.dtype)
    low, high, above, below = extremes
    clipped = (low == limits.min) * times[0] + (high == limits.max) * times[1]
    for extreme, beside, opposite, n in ((high, below, low, times[1]), (low, above, high, times[0])):
        near, far = (np.abs(extreme.astype(float) - value) for value in (beside, opposite))
        filled = (n >= FLAT_RUN) & (clipped == 0) & (near > np.maximum(FAR, far - near))
        for column in np.flatnonzero(filled):
            equal = block[:, column] == extreme[column]
            clipped[column] += ndimage.binary_opening(equal, structure=np.ones(FLAT_RUN, bool)).sum()
    return clipped


@njit(nogil=True, cache=True)
def _runs(block: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many floats of each channel are clipped, and for how many samples they do not change at most.

    Both are int32, shape (channels,). Clipped are those that repeat an extreme at least `FLAT_RUN` times in a row;
    of a channel that is constant none is: it is dead.
    """
    channels = block.shape[1]
    clipped, longest, run, still = np.zeros((4, channels), np.int32)
    for i in range(len(block)):
        for j in range(channels):
            value = block[i, j]
            run[j] = run[j] + 1 if low[j] < high[j] and (value == low[j] or value == high[j]) else 0
            clipped[j] += FLAT_RUN if run[j] == FLAT_RUN else run[j] > FLAT_RUN
            still[j] = still[j] + 1 if i and value == block[i - 1, j] else 0
            longest[j] = max(longest[j], still[j])
    return clipped, longest


def _noisy(rms: np.ndarray, alive: np.ndarray) -> np.ndarray:
    level = 20 * np.log10(np.maximum(rms, np.finfo(float).tiny))
    if alive.sum() < 3:  # nobody to compare with
        return np.zeros(len(rms), bool)
    level[~alive] = np.median(level[alive])
    excess = level - ndimage.median_filter(level, 2 * NEIGHBOURS + 1, mode="nearest")
    spread = np.median(np.abs(excess[alive] - np.median(excess[alive])))
    return alive & (excess > NOISY_DB) & (excess > NOISY_MADS * spread)
