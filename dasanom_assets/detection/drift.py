"""Whether a day is still like those that the model learned from, so that its p-values mean what they say."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.events import find_events, taking_part
from dasanom_assets.detection.reference import Reference
from dasanom_assets.detection.support import REACH, REACH_SECONDS
from dasanom_assets.settings import BackgroundSettings, Settings
from dasanom_assets.spectrograms.background import day_levels
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import stack, with_score
from dasanom_assets.tables.store import Store

APART_CHANNELS = 3
"""Windows lean on those of the next channels: of so many channels, one is looked at."""
SMALL = 0.01
"""A p-value whose share among quiet windows is looked at by itself: alarms are made of the small ones."""

LEAST_BLOCKS = 200
"""With fewer independent windows, chance alone moves their p-values as far as what is told here."""
MOST_DISTANCE = 0.2
"""Distance of the p-values from uniform ones up to which the day counts as known."""
MOST_SMALL = 0.03
LEAST_QUIET = 0.5
"""Share of the windows outside events; with fewer it is not the day that is unusual, but the model that is old."""
MOST_SHIFT_MADS, MOST_SPREAD = 1.0, 1.6
"""How far the levels of a fibre may move, in usual spreads, and how many times more or less they may spread."""


@dataclass(frozen=True)
class Drift:
    """How far a day is from what the model knows.

    Attributes
    ----------
    figures : dict
        ``windows``: independent windows outside events. ``quiet_share``: windows outside events. ``distance``: the
        largest difference between the share of p-values below any number and that number (Kolmogorov–Smirnov), 0
        to 1. ``share_below_0.01``. By fibre, ``background_shift_db/<fibre>``, ``background_shift_mads/<fibre>``
        and ``background_spread/<fibre>``: how far what is usual on the day is from what was on the training days,
        with and without its sign, and how many times as much it spreads; with ``level`` in place of
        ``background``: the day's own levels. They are medians over channels of medians over bands; fibres that the
        model has not learned from have none. Numbers that nothing stands behind are left out.
    reasons : list of str
        What is beyond its tolerance, in words.
    """

    figures: dict[str, float]
    reasons: list[str]

    @property
    def sentence(self) -> str:
        """What to do."""
        if self.reasons:
            return (
                f"{'; '.join(self.reasons)}. Look at the interrogator's settings; if this is how the line is now, "
                "run the job train with recent days and rescore."
            )
        return "The day is like those that the model learned from: nothing to do."


def drift(store: Store, day: str, reference: Reference, settings: Settings) -> Drift:
    """Compare a scored day with what its model learned from.

    P-values of quiet stretches are uniform as long as the model fits. Tolerances are effect sizes, not
    significance: of millions of windows the least difference would be significant.

    Parameters
    ----------
    store : Store
        Must hold `anomaly_scores`, `cluster_labels`, `background` and `spectrograms` of the day.
    day : str
        ISO day.
    reference : Reference
        The one that scored the day.
    settings : Settings
    """
    figures, reasons = _of_p_values(*quiet_p_values(store, day, settings))
    tables = {
        "background": store.read_day("background", day),
        "level": day_levels(store, day, settings.background),
    }
    for fibre in sorted(set(reference.usual["fibre"].tolist())):
        for name, what in (("background", "what is usual on"), ("level", "the day's levels on")):
            if found := _moved(tables[name], reference.usual, fibre, settings.background):
                figures |= {f"{name}_{figure}/{fibre}": value for figure, value in found.items()}
                decibels, mads, spread = found.values()
                if mads > MOST_SHIFT_MADS:
                    reasons.append(f"{what} {fibre} moved by {mads:.1f} MADs (in sum {decibels:+.1f} dB)")
                if not 1 / MOST_SPREAD < spread < MOST_SPREAD:
                    reasons.append(f"{what} {fibre} spread {spread:.1f} times as much")
    return Drift(figures, reasons)


def quiet_p_values(store: Store, day: str, settings: Settings) -> tuple[np.ndarray, float]:
    """Return p-values of windows that are no part of an event and do not depend on each other.

    Events are found anew in the day's scores, since `anomaly_events` may be of an earlier scoring. Windows that
    share a second or a neighbour with one, or with a window that it supports, are left out with it. Of what is
    left one window is taken every two lengths of a window, on every `APART_CHANNELS`-th channel.

    Returns
    -------
    p_value : numpy.ndarray
        float64, shape (n_windows,).
    share : float
        Share of all windows outside events; NaN where there is no window.
    """
    group, length = settings.spectrogram.group_channels, settings.window.seconds * SECOND_NS
    reach = REACH_SECONDS * SECOND_NS
    scores, labels = taking_part(store, day, settings.detection)
    events = find_events(scores, labels, None, settings.detection, settings.window, group)
    of_fibre = events["fibre"].to_numpy(zero_copy_only=False)
    first, last = (events[name].to_numpy() for name in ("first_channel", "last_channel"))
    begin, end = (events[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    taken, total, outside = [np.empty(0)], 0, 0
    columns = ["fibre", "channel", "start", "p_value", "invalid"]
    for rows in store.iter_day("anomaly_scores", day, columns):
        if not (rows := with_score(rows)).num_rows:
            continue
        fibre, channel = rows["fibre"][0].as_py(), rows["channel"][0].as_py()
        start = rows["start"].cast(pa.int64()).to_numpy()
        quiet = np.ones(len(start), bool)
        beside = (of_fibre == fibre) & (first - REACH * group <= channel) & (channel <= last + REACH * group)
        for a, b in zip(begin[beside], end[beside], strict=True):
            quiet &= (start + length + reach <= a) | (start >= b + reach)
        total, outside = total + len(start), outside + int(quiet.sum())
        if channel // group % APART_CHANNELS == 0:
            _, one = np.unique(start[quiet] // (2 * length), return_index=True)
            taken.append(rows["p_value"].to_numpy()[quiet][one])
    return np.concatenate(taken), outside / total if total else float("nan")


def distance_from_uniform(p_value: np.ndarray) -> float:
    """Return the Kolmogorov–Smirnov distance of p-values from the uniform distribution, 0 to 1."""
    p, n = np.sort(p_value), len(p_value)
    return float(max((np.arange(1, n + 1) / n - p).max(), (p - np.arange(n) / n).max()))


def _of_p_values(p_value: np.ndarray, quiet_share: float) -> tuple[dict[str, float], list[str]]:
    figures, reasons = {"windows": float(len(p_value))}, []
    if np.isfinite(quiet_share):
        figures["quiet_share"] = quiet_share
        if quiet_share < LEAST_QUIET:
            reasons.append(f"{1 - quiet_share:.0%} of the windows belong to events")
    if len(p_value) >= LEAST_BLOCKS:
        small = float((p_value <= SMALL).mean())
        figures |= {"distance": distance_from_uniform(p_value), f"share_below_{SMALL:g}": small}
        if figures["distance"] > MOST_DISTANCE:
            side = "lower" if np.median(p_value) < 0.5 else "higher"
            reasons.append(
                f"p-values of quiet windows are {side} than they should be, by {figures['distance']:.2f}"
            )
        if small > MOST_SMALL:
            reasons.append(f"{small:.1%} of the quiet windows have a p-value below {SMALL:g}")
    return figures, reasons


def _moved(
    of_day: pa.Table, usual: dict[str, np.ndarray], fibre: str, settings: BackgroundSettings
) -> dict[str, float] | None:
    """Compare the channels of a fibre with what the model knows of them; None where it knows none."""
    own, known = of_day["fibre"].to_numpy(zero_copy_only=False) == fibre, usual["fibre"] == fibre
    _, here, there = np.intersect1d(
        of_day["channel"].to_numpy()[own], usual["channel"][known], assume_unique=True, return_indices=True
    )
    if not len(here):
        return None
    median, mad = (stack(of_day[name])[own][here] for name in ("median_db", "mad_db"))
    usual_median, usual_mad = (usual[name][known][there] for name in ("median_db", "mad_db"))
    spread, usual_spread = (1.4826 * x + settings.scale_floor_db for x in (mad, usual_mad))
    moved = median - usual_median
    parts = {"shift_db": moved, "shift_mads": np.abs(moved) / usual_spread, "spread": spread / usual_spread}
    return {name: float(np.median(np.nanmedian(part, axis=1))) for name, part in parts.items()}
