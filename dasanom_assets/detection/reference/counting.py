"""How often the reference has events, a kilometre and day: its windows, once judged, as `Rates`."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.calibration.rates import Rates, exposure
from dasanom_assets.detection.events.outlines import hour_of, outlines
from dasanom_assets.detection.reference.crossfit import Heard
from dasanom_assets.recordings.fibres import Places
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import TIME


def count_events(
    heard: Sequence[Heard],
    strength: Sequence[np.ndarray],
    least_score: float,
    layout: Places,
    settings: Settings,
    step: int,
) -> Rates:
    """Return the events of the reference, found as those of any day are.

    Parameters
    ----------
    heard : sequence of Heard
    strength : sequence of numpy.ndarray
        Of the same length: the score of each window; NaN where there is none.
    least_score : float
        Score from which a window can be part of an event.
    layout : Places
        Where channels lie; fibres of which no file says it must have a spacing, too.
    settings : Settings
    step : int
        Channels that a row stands for.
    """
    recipe, window = settings.reference, settings.window
    block_ns = recipe.block_seconds * SECOND_NS
    places = sorted({(part.fibre, part.channel) for part in heard})
    of_place = {key: i for i, key in enumerate(places)}
    spacing_m = {name: layout.spacing_m(name) or np.nan for name in {part.fibre for part in heard}}
    place_exposure, hour_exposure = np.zeros(len(places)), np.zeros(24)
    blocks: dict[tuple[str, int], float] = {}
    columns: list[tuple[np.ndarray, ...]] = []
    for part, score in zip(heard, strength, strict=True):
        valid = np.isfinite(score)
        start = part.start_ns[valid]
        of_window = exposure(1, spacing_m[part.fibre] * step, window.shift_seconds)
        number = of_place[part.fibre, part.channel]
        place_exposure[number] += len(start) * of_window
        hour_exposure += np.bincount(hour_of(start), minlength=24) * of_window
        for block, n in zip(*np.unique(start // block_ns, return_counts=True), strict=True):
            key = (part.fibre, int(block))
            blocks[key] = blocks.get(key, 0.0) + n * of_window
        loud = valid & (score >= least_score)
        columns.append((np.full(loud.sum(), number), part.start_ns[loud], score[loud]))
    of_block = {key: i for i, key in enumerate(sorted(blocks))}
    place, start, score = (np.concatenate(column) for column in zip(*columns, strict=True))
    fibre = np.array([name for name, _ in places], object)
    channel = np.array([number for _, number in places], np.int32)
    rows = pa.table(
        {
            "fibre": pa.array(fibre[place], pa.string()),
            "channel": channel[place],
            "start": pa.array(start, pa.int64()).cast(TIME),
            "score": score,
        }
    )
    distance_m = np.empty(len(places))
    for name in spacing_m:
        distance_m[fibre == name] = layout.metres(name, channel[fibre == name])
    peak = np.array([event.peak for event in outlines(rows, least_score, recipe, window, step)], np.int64)
    peak = peak[np.argsort(-score[peak], kind="stable")]
    blocks_of_peaks = [of_block[fibre[place[i]], int(start[i] // block_ns)] for i in peak]
    return Rates(
        strength=score[peak].astype(np.float32),
        place=place[peak].astype(np.int32),
        block=np.array(blocks_of_peaks, np.int32),
        hour=hour_of(start[peak]).astype(np.int8),
        fibre=fibre.astype(str),
        channel=channel,
        distance_m=distance_m,
        place_exposure=place_exposure,
        block_exposure=np.array([blocks[key] for key in sorted(blocks)]),
        hour_exposure=hour_exposure,
        days=len({part.day for part in heard}),
        recipe=recipe,
    )
