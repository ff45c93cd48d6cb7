"""How each channel is: dead, saturated, noisy or ok, found before anything is scored."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from scipy import ndimage

from dasanom_assets.recordings.signal import Stretch
from dasanom_assets.tables.schemas import SCHEMAS

DEAD_SHARE = 0.5
SATURATED_SHARE = 0.01
NOISY_DB = 12.0
NOISY_MADS = 6.0
NEIGHBOURS = 10
"""Channels on each side that a channel's level is compared with."""
FLAT_RUN = 3
"""Equal extreme samples in a row that are taken for clipping where the sample type has no limits."""


_SUMS = ("seconds", "blocks", "dead", "samples", "total", "squares", "clipped")


def channel_health(stretches: Iterable[Stretch]) -> pa.Table:
    """Return the rows of `channel_health`.

    Signal is read second by second and summed in float64. ``rms`` is that of the signal less its mean, in the
    unit of the samples. ``dead_fraction`` is the share of seconds that are constant or hold NaN.
    ``clipped_fraction`` is the share of samples at the limits of an integer type, or, for floats, that repeat the
    extreme of their second at least `FLAT_RUN` times in a row. A channel is noisy where its level lies `NOISY_DB`
    and `NOISY_MADS` median absolute deviations above the median of its neighbours.

    Parameters
    ----------
    stretches : iterable of Stretch
    """
    sums: dict[tuple[str, int], np.ndarray] = {}
    for stretch in stretches:
        of_stretch = _sums(stretch)
        for channel, some in zip(stretch.channels, of_stretch.T, strict=True):
            key = (stretch.fibre, int(channel))
            sums[key] = sums.get(key, 0) + some
    keys = sorted(sums)
    of = dict(zip(_SUMS, np.array([sums[key] for key in keys]).reshape(-1, len(_SUMS)).T, strict=True))
    n = np.maximum(of["samples"], 1)
    rms = np.sqrt(np.maximum(of["squares"] / n - (of["total"] / n) ** 2, 0.0))
    rms[of["samples"] == 0] = np.nan  # never a finite second: unknown, not silent
    clipped_share = of["clipped"] / n
    dead_share = of["dead"] / of["blocks"]
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
        "seconds": of["seconds"],
        "rms": rms,
        "clipped_fraction": clipped_share,
        "dead_fraction": dead_share,
        "state": state.astype(object),
    }
    return pa.table({name: pa.array(v) for name, v in columns.items()}).cast(SCHEMAS["channel_health"])


def _sums(stretch: Stretch) -> np.ndarray:
    """Return the sums named by `_SUMS` over the seconds of a stretch, float64, shape (sums, channels)."""
    sums = np.zeros((len(_SUMS), len(stretch.channels)))
    for block in _seconds(stretch):
        x = block.astype(np.float64)
        bad = ~np.isfinite(x).all(axis=0)
        x[:, bad] = 0.0
        dead = bad | (x.max(axis=0) == x.min(axis=0))
        good = ~bad
        ones = np.ones(x.shape[1])
        sums += [
            ones * len(x) / stretch.sampling_rate_hz,
            ones,
            dead,
            good * len(x),
            x.sum(axis=0),
            np.square(x).sum(axis=0),
            good * _clipped(block),
        ]
    return sums


def _seconds(stretch: Stretch) -> Iterator[np.ndarray]:
    step = max(2, round(stretch.sampling_rate_hz))
    for first in range(0, stretch.n_samples, step):
        yield stretch.read(first, min(first + step, stretch.n_samples))


def _clipped(block: np.ndarray) -> np.ndarray:
    """Return the number of clipped samples of each channel, shape (n_channels,)."""
    if block.dtype.kind in "iu":
        limits = np.iinfo(block.dtype)
        return ((block == limits.min) | (block == limits.max)).sum(axis=0)
    extreme = (block == block.max(axis=0)) | (block == block.min(axis=0))
    extreme &= block.max(axis=0) > block.min(axis=0)  # a constant second is dead, not clipped
    runs = ndimage.binary_opening(extreme, structure=np.ones((FLAT_RUN, 1), bool))
    return runs.sum(axis=0)


def _noisy(rms: np.ndarray, alive: np.ndarray) -> np.ndarray:
    level = 20 * np.log10(np.maximum(rms, np.finfo(float).tiny))
    if alive.sum() < 3:  # nobody to compare with
        return np.zeros(len(rms), bool)
    level[~alive] = np.median(level[alive])
    excess = level - ndimage.median_filter(level, 2 * NEIGHBOURS + 1, mode="nearest")
    spread = np.median(np.abs(excess[alive] - np.median(excess[alive])))
    return alive & (excess > NOISY_DB) & (excess > NOISY_MADS * spread)
