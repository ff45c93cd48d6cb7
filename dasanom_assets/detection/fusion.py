"""Several detectors to one p-value: their fusion, and its calibration on held-out windows."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.components import SLACK, components
from dasanom_assets.detection.support import REACH, REACH_SECONDS, ChannelScores, supported
from dasanom_assets.detection.thresholds import Calibration
from dasanom_assets.models.training_set import WindowIndex
from dasanom_assets.settings import DetectionSettings, WindowSettings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import TIME

STRANGEST = 5.0
"""Largest −log10 of a p-value that counts: one window that is stranger than all others is no longer event than
many are, and no p-value is known so far out."""
ALONE = 1.5
"""What a detector that finds a window strange alone, against the others, has to give up of its −log10 p-value."""
WHOLE_SUPPORT, WHOLE_WINDOWS = 0.9, 1000
"""Share of its weights in time that the surroundings of a window must have, for the fusion to be calibrated on it,
where there are so many of these: blocks end, days do not."""
FLANK_P_VALUE = 0.02
"""Calibration windows below this that touch one taken for an event are part of it."""
ALARM_P_VALUE = 0.003
"""Where quiet windows below this hang together, they are taken for what a false alarm looks like."""
MOST_EVENTS = 0.1
"""Share of windows with events, at most: where surroundings seem to hold more, ground has several states."""
RESTLESS_SHARE, RESTLESS_P_VALUE, RESTLESS_DAYS = 0.05, 0.01, 2
"""A channel is restless where so many of its windows by themselves have such a p-value on so many days or more."""
RESTLESS_WINDOWS = 2000
"""Restless channels are calibrated by themselves where they and the others have at least so many windows."""
DAY_QUANTILES = (0.1, 0.5, 0.9)
"""Of means over surroundings: the second is what is usual on a day, and how far the third lies above it says how
far quiet windows rise. The distance of the first and the second is what shifts are counted in."""
DIFFER_SHIFT, DIFFER_SPREAD = 1.0, 0.3
"""Standard deviations over quiet channels: of the shift of what is usual, and of the logarithm of how far windows
rise above it."""
MOST_SHIFT, MOST_SPREAD = 1.5, 0.5
"""What is taken off at most: something that never ends stays an event."""
INDEPENDENT_SECONDS = 25
"""Means over surroundings that are so far from each other hardly depend on each other."""
EVENT_SECONDS = 60
"""What a day may hold that is not usual and must not be taken for it."""


class Vote(NamedTuple):
    """What a detector's p-value counts in the fusion: its weight, and the least that it counts as."""

    weight: float = 1.0
    least_p: float = 0.0


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate` found; see `Reference`."""

    calibrations: dict[str, dict[str, Calibration]]
    restless: frozenset[tuple[str, int]]
    note: dict[str, Any]


def calibrate(
    scores: np.ndarray,
    votes: Mapping[str, Vote],
    where: WindowIndex,
    window: WindowSettings,
    step: int,
    settings: DetectionSettings,
    known: Collection[tuple[str, int]] = (),
    terms: np.ndarray | None = None,
) -> Calibrated:
    """Calibrate detectors, and their fusion, on the scores of held-out windows.

    Parameters
    ----------
    scores : numpy.ndarray
        float32, shape (n_windows, detectors).
    votes : mapping of str to Vote
        Of the detectors in the fusion, by name, in the order of the columns of `scores`.
    where : WindowIndex
        Where each window comes from.
    window : WindowSettings
    step : int
        From one channel number to the next: the size of groups of channels.
    settings : DetectionSettings
    known : collection of (str, int)
        Fibre and channel of all that could be calibrated on: what lies beside one that was left out of `where` has
        less support than it will have, and so has the first and the last window of a block.
    terms : numpy.ndarray, optional
        float32, shape (n_windows, terms): what adds up over surroundings; see `Detector.terms`.
    """
    names, shift_ns = list(votes), window.shift_seconds * SECOND_NS
    # Windows that share frames are not independent: they are of one block.
    lane = np.empty(len(scores), np.int64)
    for i, at in enumerate(where.groups().values()):
        lane[at] = i
    block = lane * 1_000_000 + where.start_ns // (2 * window.seconds * SECOND_NS) % 1_000_000
    places = pa.array([f"{day} {fibre}" for day, fibre in zip(where.day, where.fibre, strict=True)])
    group = places.dictionary_encode().indices.to_numpy()
    rows = pa.table(
        {
            "fibre": places,
            "channel": where.channel,
            "start": pa.array(where.start_ns, pa.int64()).cast(TIME),
        }
    )

    def fit(some: np.ndarray, trim_mads: float) -> dict[str, Calibration]:
        return {name: Calibration.fit(scores[some, i], trim_mads, block[some]) for i, name in enumerate(names)}

    def fit_around(
        around: np.ndarray, trim_mads: float, of_block: np.ndarray, of_group: np.ndarray | None = None
    ) -> dict[str, Calibration]:
        def fit_one(values: np.ndarray) -> Calibration:
            found = Calibration.fit(values, trim_mads, of_block, of_group)
            if found.trimmed_share > MOST_EVENTS:
                return Calibration.fit(values, np.inf, of_block, of_group)
            return found

        lanes = {name: fit_one(around[:, i]) for i, name in enumerate(lane_names(around.shape[1]))}
        return lanes | {"fused": fit_one(strength(lanes, around))}

    everything = np.ones(len(scores), bool)
    rough = fit(everything, settings.trim_mads)
    fused = fuse(rough, votes, scores)
    around, _, width = _supported_all(where, fused, terms, shift_ns, step)
    around = _evened(around, width, np.median(around, axis=0))
    rough |= fit_around(around, settings.trim_mads, block)
    told = np.column_stack([scores, around, strength(rough, around)])
    told_by = [*names, *lane_names(around.shape[1]), "fused"]
    loud = np.any([~rough[name].is_quiet(told[:, i]) for i, name in enumerate(told_by)], axis=0)
    p_value = rough["fused"].p_values(told[:, -1])
    restless = _restless(where, Calibration.fit(fused, settings.trim_mads, block).p_values(fused))
    of_restless = np.array(
        [key in restless for key in zip(where.fibre, where.channel.tolist(), strict=True)], bool
    )
    quiet = _quiet(rows, loud, p_value, window, step)
    # Where hardly a channel is quieter than others, none is restless.
    if min(of_restless.sum(), (quiet & ~of_restless).sum()) < RESTLESS_WINDOWS:
        restless, of_restless = frozenset(), ~everything
    kept = {"usual": quiet & ~of_restless}
    if restless:  # what is loud elsewhere may be usual there
        own = fit(of_restless, settings.trim_mads)
        calm = np.all([own[name].is_quiet(scores[:, i]) for i, name in enumerate(names)], axis=0)
        kept["restless"] = of_restless & calm
    calibrations = {}
    fused = np.empty(len(scores))
    for name, some in kept.items():
        calibrations[name] = fit(some, np.inf)
        inside = of_restless if name == "restless" else ~of_restless
        fused[inside] = fuse(calibrations[name], votes, scores[inside])
    around, whole, width = _supported_all(where, fused, terms, shift_ns, step, known)
    p_value = np.empty(len(scores))
    for name, some in kept.items():
        best = some & whole if (some & whole).sum() >= WHOLE_WINDOWS else some
        inside = of_restless if name == "restless" else ~of_restless
        around[inside] = _evened(around[inside], width[inside], np.median(around[best], axis=0))
        calibrations[name] |= fit_around(around[best], np.inf, block[best], group[best])
        p_value[inside] = calibrations[name]["fused"].p_values(strength(calibrations[name], around[inside]))
    left = np.any(list(kept.values()), axis=0)
    alarm = left & (p_value < ALARM_P_VALUE)
    n_alarms = components(rows.filter(pa.array(alarm)), int(SLACK * shift_ns), step).max(initial=-1) + 1
    note = {
        "taken_for_events": round(float(1 - left.mean()), 5),
        "restless_channels": len(restless),
        "windows_per_alarm": round(float(alarm.sum() / max(n_alarms, 1)), 2) if n_alarms else 1.0,
    }
    return Calibrated(calibrations, restless, note)


def _quiet(rows: pa.Table, loud: np.ndarray, p_value: np.ndarray, window: WindowSettings, step: int) -> np.ndarray:
    """Say which calibration windows are taken for quiet ground.

    An event is more than its loudest windows: what touches them and is itself unusual goes with them, and all
    windows whose surroundings it reaches. What is unusual without touching anything loud stays, since quiet
    ground does that too.
    """
    unusual = np.flatnonzero(loud | (p_value < FLANK_P_VALUE))
    label = components(rows.take(unusual), int(SLACK * window.shift_seconds * SECOND_NS), step)
    seconds = window.seconds + REACH_SECONDS
    events = unusual[np.isin(label, label[loud[unusual]])]
    quiet = np.ones(len(loud), bool)
    if not len(events):
        return quiet
    fibre = rows["fibre"].combine_chunks().dictionary_encode().indices.to_numpy()
    channel = rows["channel"].to_numpy().astype(np.int64) // step
    second = rows["start"].cast(pa.int64()).to_numpy() // SECOND_NS
    width = int(second.max() - second.min()) + 2 * seconds + 1
    lanes = int(channel.max()) + 2 * REACH + 1
    key = (fibre.astype(np.int64) * lanes + channel + REACH) * width + second - second.min() + seconds
    for beside in range(-REACH, REACH + 1):
        at = np.sort(key[events] + beside * width)
        nearest = np.searchsorted(at, key)
        for side in (nearest - 1, nearest):
            inside = (side >= 0) & (side < len(at))
            quiet[inside] &= np.abs(at[side[inside]] - key[inside]) >= seconds
    return quiet


def _restless(where: WindowIndex, p_value: np.ndarray) -> frozenset[tuple[str, int]]:
    """Return the channels that are unusual more often than others, day after day: by a road or a pump."""
    days: dict[tuple[str, int], int] = {}
    for (_, fibre, channel), at in where.groups().items():
        if (p_value[at] < RESTLESS_P_VALUE).mean() > RESTLESS_SHARE:
            days[fibre, channel] = days.get((fibre, channel), 0) + 1
    return frozenset(key for key, n in days.items() if n >= RESTLESS_DAYS)


def fuse(calibrations: dict[str, Calibration], votes: Mapping[str, Vote], scores: np.ndarray) -> np.ndarray:
    """Return how strange windows are to several detectors, in units of −log10 of a p-value, float64, shape (n,).

    It is the weighted mean of the detectors' −log10 p-values (a weighted form of Fisher's combination), since what
    is faint is a little strange to each, or that of the one to which a window is strangest less `ALONE`, since
    some see what others do not. It is no p-value before it is calibrated again. `votes` are those of the
    detectors, by name, in the order of the columns of `scores`; one without a value is left out. A detector to
    which all calibration windows are alike, as those of a collapsed network are, has no say: its p-values of 1
    would outweigh the others'.
    """
    names = list(votes)
    told = [i for i, name in enumerate(names) if calibrations[name].tells_apart]
    told = told or list(range(len(names)))
    weight, least = (np.array(part) for part in zip(*(votes[names[i]] for i in told), strict=True))
    p = np.stack([calibrations[names[i]].p_values(scores[:, i]) for i in told], axis=1)
    strength = np.minimum(-np.log10(np.maximum(p, least)), STRANGEST)
    total, weights = np.nansum(weight * strength, axis=1), ~np.isnan(strength) @ weight
    alone = np.fmax.reduce(strength, axis=1) - ALONE  # NaN where all are
    with np.errstate(invalid="ignore"):
        return np.maximum(total / weights, alone)


def lane_names(n: int) -> list[str]:
    """Return the names of the calibrations of `n` means over surroundings: the fusion's, then those of terms."""
    return [f"around_{i}" for i in range(n)]


def strength(calibrations: dict[str, Calibration], around: np.ndarray) -> np.ndarray:
    """Return how strange surroundings are, in units of −log10 of a p-value, float64, shape (n,).

    It is the sum of what the fusion says and what the most alarmed of the terms does: they look at the same frames
    in different ways, and a threat is strange to both. It is no p-value before it is calibrated again.

    Parameters
    ----------
    calibrations : dict
        With one of each of `lane_names`.
    around : numpy.ndarray
        float64, shape (n, 1 + terms): see `supported`.
    """
    names = lane_names(around.shape[1])
    told = -np.log10([calibrations[name].p_values(around[:, i]) for i, name in enumerate(names)])
    return told[0] + told[1:].max(axis=0, initial=0)


def settled(
    calibrations: dict[str, Calibration], around: np.ndarray, width: np.ndarray, shift_seconds: float
) -> np.ndarray:
    """Return the means over surroundings of the windows of a channel's day, as those of other channels are.

    Where part of the surroundings is missing, means spread more, and are drawn nearer to the usual. Where all of a
    day is a little stranger than elsewhere or rises further above its usual, as beside a pump or on ground that no
    model learned from, that is taken off, as far as the day is long enough to tell it from chance and from events:
    differences are shrunk towards none by how much quiet channels differ (empirical Bayes: Efron and Morris 1973;
    the centre of the data tells the null distribution: Efron 2004). A day that is calmer is left as it is. What is
    far stranger all day stays so but for a little.

    Parameters
    ----------
    calibrations : dict
        With one of each of `lane_names`.
    around, width : numpy.ndarray
        float64, shape (n, 1 + terms) and (n,): see `supported`.
    shift_seconds : float
        From one window's start to the next.
    """
    quiet = [calibrations[name].scores for name in lane_names(around.shape[1])]
    low, usual, high = (
        np.array([scores[int(share * len(scores))] for scores in quiet]) for share in DAY_QUANTILES
    )
    around = _evened(around, width, usual)
    if not len(around):
        return around
    own_usual, own_high = np.quantile(around, DAY_QUANTILES[1:], axis=0)
    seconds = len(around) * shift_seconds
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = (own_usual - usual) / (usual - low)
        spread = np.log((own_high - own_usual) / (high - usual))
    # To a normal distribution, sampling variances are about 1 / n and 2 / n.
    shift = _shrunk(shift, 1, DAY_QUANTILES[1], seconds, DIFFER_SHIFT, MOST_SHIFT)
    spread = _shrunk(spread, 2, DAY_QUANTILES[2], seconds, DIFFER_SPREAD, MOST_SPREAD)
    own_usual = usual + shift * (usual - low)
    return np.where(around > own_usual, usual + (around - own_usual) / np.exp(spread), around - own_usual + usual)


def _shrunk(
    found: np.ndarray, variance: float, quantile: float, seconds: float, differ: float, most: float
) -> np.ndarray:
    """Return a difference of quantiles as far as it is none of chance or an event, from 0 to `most`."""
    of_chance = variance * INDEPENDENT_SECONDS / seconds + (EVENT_SECONDS / ((1 - quantile) * seconds)) ** 2
    return np.clip(np.nan_to_num(found, posinf=0, neginf=0) * differ**2 / (differ**2 + of_chance), 0, most)


def _evened(around: np.ndarray, width: np.ndarray, usual: np.ndarray) -> np.ndarray:
    return usual + (around - usual) / width[:, None]


def _supported_all(
    where: WindowIndex,
    fused: np.ndarray,
    terms: np.ndarray | None,
    shift_ns: int,
    step: int,
    known: Collection[tuple[str, int]] = (),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means and width of `supported` for the windows of a bank, and between them whether all is there."""
    rows = where.groups()
    channels = {
        (day, fibre, number): ChannelScores(
            fibre, number, where.start_ns[at], fused[at], shift_ns, None if terms is None else terms[at]
        )
        for (day, fibre, number), at in rows.items()
    }
    out = np.empty((len(fused), 1 + (0 if terms is None else terms.shape[1])))
    whole, width = np.empty(len(fused), bool), np.empty(len(fused))
    for (day, fibre, number), at in rows.items():
        near = [number + n * step for n in range(-REACH, REACH + 1) if n]
        beside = [channels[day, fibre, n] for n in near if (day, fibre, n) in channels]
        out[at], there, width[at] = supported(channels[day, fibre, number], beside, step)
        missing = any((fibre, n) in known and (day, fibre, n) not in channels for n in near)
        whole[at] = (there >= WHOLE_SUPPORT) & (not missing)
    return out, whole, width
