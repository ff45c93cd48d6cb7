"""Whether a day is still like those that the model learned from, so that its p-values mean what they say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.detection.reference.known import KnownGround, other_bands
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
MOST_LEVEL_SHIFT_MADS, MOST_SPREAD_RATIO = 1.0, 1.6
"""How far the levels of a fibre may move, in usual spreads, and how many times more or less they may spread."""


@dataclass(frozen=True)
class Drift:
    """How far a day is from what the model knows.

    Attributes
    ----------
    figures : dict
        ``windows``: windows that hardly depend on each other. ``distance``: the largest difference between the
        share of p-values below any number and that number (Kolmogorov–Smirnov), 0 to 1. ``share_below_0.01``. By
        fibre, ``background_shift_db/<fibre>``, ``background_shift_mads/<fibre>``
        and ``background_spread/<fibre>``: how far what is usual on the day is from what was on the training days,
        with and without its sign, and how many times as much it spreads; with ``level`` in place of
        ``background``: the day's own levels. They are medians over channels of medians over bands; fibres that the
        model has not learned from have none, and are among the reasons. Numbers that nothing stands behind are
        left out.
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


def drift(store: Store, day: str, known: KnownGround, settings: Settings) -> Drift:
    """Compare a scored day with what its model learned from.

    P-values are uniform as long as the day is like the reference. Tolerances are effect sizes, not
    significance: of millions of windows the least difference would be significant.

    Parameters
    ----------
    store : Store
        Must hold `anomaly_scores`, `background` and `spectrograms` of the day.
    day : str
        ISO day.
    known : KnownGround
        What the model that scored the day learned from.
    settings : Settings
    """
    figures, reasons = _of_p_values(independent_p_values(store, day, settings))
    tables = {
        "background": store.read_day("background", day),
        "level": day_levels(store, day, settings.background),
    }
    note = store.metadata("spectrograms", day)
    other = {fibre for fibre, _, _ in other_bands(known, note)}
    reasons += unknown_fibres(tables["level"], known, note)
    for fibre in sorted(set(known.usual["fibre"].tolist()) - other):
        for name, what in (("background", "what is usual on"), ("level", "the day's levels on")):
            if change := _moved(tables[name], known.usual, fibre, settings.background):
                figures |= {f"{name}_{figure}/{fibre}": value for figure, value in change.items()}
                decibels, mads, spread = change.values()
                if mads > MOST_LEVEL_SHIFT_MADS:
                    reasons.append(f"{what} {fibre} moved by {mads:.1f} MADs (in sum {decibels:+.1f} dB)")
                if not 1 / MOST_SPREAD_RATIO < spread < MOST_SPREAD_RATIO:
                    reasons.append(f"{what} {fibre} spread {spread:.1f} times as much")
    return Drift(figures, reasons)


def unknown_fibres(of_day: pa.Table, known: KnownGround, note: Mapping[str, Any]) -> list[str]:
    """Say of which fibres the model has seen no channel, or not those bands, and what that means for their scores.

    Parameters
    ----------
    of_day : pyarrow.Table
        ``fibre`` and ``channel`` of what was recorded on the day.
    known : KnownGround
    note : mapping
        Metadata of the day of `spectrograms`.
    """
    usual, others = known.usual, other_bands(known, note)
    seen: dict[str, set[int]] = {}
    for fibre, channel in zip(usual["fibre"].tolist(), usual["channel"].tolist(), strict=True):
        seen.setdefault(fibre, set()).add(channel)
    reasons = [f"{words}, so that what was recorded so has no score" for words in others.values()]
    for fibre in sorted(set(of_day["fibre"].to_pylist()) - {fibre for fibre, _, _ in others}):
        channels = of_day.filter(pc.equal(of_day["fibre"], fibre))["channel"].to_pylist()
        if not seen.get(fibre, set()).isdisjoint(channels):
            continue
        what = f"the channels of {fibre} are" if fibre in seen else f"the fibre {fibre} is"
        reasons.append(
            f"{what} unknown: no training day has {'them' if fibre in seen else 'it'}, so that scores and rates "
            f"are those of {', '.join(sorted(seen))}. If it is a known fibre by another name, give that in "
            "sites.toml"
        )
    return reasons


def independent_p_values(store: Store, day: str, settings: Settings) -> np.ndarray:
    """Return p-values of windows that hardly depend on each other, float64, shape (n_windows,).

    One window is taken every two lengths of a window, on every `APART_CHANNELS`-th channel.
    """
    group, length = settings.spectrogram.group_channels, settings.window.seconds * SECOND_NS
    p_values = [np.empty(0)]
    for rows in store.iter_day("anomaly_scores", day, ["channel", "start", "p_value", "invalid"]):
        if not (rows := with_score(rows)).num_rows or rows["channel"][0].as_py() // group % APART_CHANNELS:
            continue
        start = rows["start"].cast(pa.int64()).to_numpy()
        _, apart = np.unique(start // (2 * length), return_index=True)
        p_values.append(rows["p_value"].to_numpy()[apart])
    return np.concatenate(p_values)


def _of_p_values(p_value: np.ndarray) -> tuple[dict[str, float], list[str]]:
    figures, reasons = {"windows": float(len(p_value))}, []
    if len(p_value) >= LEAST_BLOCKS:
        small = float((p_value <= SMALL).mean())
        figures |= {"distance": _from_uniform(p_value), f"share_below_{SMALL:g}": small}
        if figures["distance"] > MOST_DISTANCE:
            side = "lower" if np.median(p_value) < 0.5 else "higher"
            reasons.append(f"p-values are {side} than they should be, by {figures['distance']:.2f}")
    return figures, reasons


def _from_uniform(p_value: np.ndarray) -> float:
    """Return the statistic of Kolmogorov and Smirnov against the uniform distribution."""
    x, n = np.sort(p_value), len(p_value)
    return float(max((np.arange(1, n + 1) / n - x).max(), (x - np.arange(n) / n).max()))


def _moved(
    of_day: pa.Table, usual: dict[str, np.ndarray], fibre: str, settings: BackgroundSettings
) -> dict[str, float] | None:
    """Compare the channels of a fibre with what the model knows of them; None where it knows none."""
    new, old = (np.flatnonzero(np.asarray(table["fibre"]) == fibre) for table in (of_day, usual))
    channels = of_day["channel"].to_numpy()[new], usual["channel"][old]
    _, i, j = np.intersect1d(*channels, assume_unique=True, return_indices=True)
    if not len(i):
        return None
    median, mad = (stack(of_day[name])[new[i]] for name in ("median_db", "mad_db"))
    if stack(of_day["median_db"]).shape[1] != usual["median_db"].shape[1]:  # not of the same bands
        return None
    usual_median, usual_mad = (usual[name][old[j]] for name in ("median_db", "mad_db"))
    spread, usual_spread = (1.4826 * x + settings.scale_floor_db for x in (mad, usual_mad))
    moved = median - usual_median
    parts = {"shift_db": moved, "shift_mads": np.abs(moved) / usual_spread, "spread": spread / usual_spread}
    return {name: float(np.median(np.nanmedian(part, axis=1))) for name, part in parts.items()}
