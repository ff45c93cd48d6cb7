"""Agreement by the channel-seconds that events of the two sides cover, with intervals from blocks of time.

A window or cell lies on a grid of one side's making; a second of a channel is the same for both. What was
recorded is divided into what both sides, one or none cover, exactly and by stretch of time. Seconds follow each
other within an event and within an hour of work, so intervals come from whole blocks of time, drawn on a circle.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import norm
from scipy.stats import t as student

from dasanom_assets.comparison.agreement import (
    BOTH,
    NEITHER,
    ONLY_CONTRACTOR,
    ONLY_US,
    ac1,
    boxes_of,
    chance_agreement,
    kappa,
    positive,
)
from dasanom_assets.recordings.of_day import extent
from dasanom_assets.recordings.places import parsed
from dasanom_assets.tables.schemas import SCHEMAS, empty

CELL_S = 60
"""Blocks of time are whole cells of so many seconds."""
BLOCK_S, LEAST_BLOCKS = 900, 24
"""A block is so long, or shorter where a day would have fewer of them."""
LEAST_HELD = 3
"""Blocks that hold an event of a side, at least, or there is no interval."""
RESAMPLES = 2000
SEED = 20080101
LEVEL = 0.95
"""Of all intervals here."""
LEAST_DEFINED = 0.9
"""Share of resamples in which a measure must be defined, or it has no interval."""
MEASURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "kappa": kappa,
    "ac1": ac1,
    "positive_agreement": positive,
}


class Interval(NamedTuple):
    """A value and the ends of its interval; each NaN where it is not defined."""

    value: float
    low: float
    high: float


def covered(ours: pa.Table, theirs: pa.Table, recordings: pa.Table, day: str) -> np.ndarray:
    """Return what of the recorded channel-seconds of a day both sides, one, or none cover, by cell of time.

    Parameters
    ----------
    ours, theirs : pyarrow.Table
        Rows of `anomaly_events` and `contractor_events`.
    recordings : pyarrow.Table
        Rows of `recordings`: what an event covers beyond them does not count.
    day : str
        ISO day.

    Returns
    -------
    numpy.ndarray
        float64, shape (n_cells, 4), channel-seconds in the order of `agreement.who_flagged`; of each `CELL_S` of
        the day in which something was recorded, all fibres together.
    """
    first, last = extent(day)
    edges = np.arange(first, last + 1, CELL_S * 1_000_000_000)
    total = np.zeros((len(edges) - 1, 4))
    for fibre in sorted({*recordings["fibre"].to_pylist()}):
        own = recordings.filter(pa.array([name == fibre for name in recordings["fibre"].to_pylist()]))
        channels, ground = _ground(own)
        sides = [_on_line(boxes_of(events, fibre), channels, edges) for events in (ours, theirs)]
        a, b, r = (*sides, _on_line(ground, channels, edges))

        def measure(*sets: np.ndarray, n: int = len(channels)) -> np.ndarray:
            return _measured(np.concatenate(sets, axis=1), edges, n)

        # What sets have in common follows from what they cover together.
        in_a, in_b = (measure(side) + measure(r) - measure(side, r) for side in (a, b))
        common = measure(a, b, r) - measure(a, b) - measure(a, r) - measure(b, r)
        common += measure(a) + measure(b) + measure(r)
        total[:, BOTH] += common
        total[:, ONLY_US] += in_a - common
        total[:, ONLY_CONTRACTOR] += in_b - common
        total[:, NEITHER] += measure(r) - in_a - in_b + common
    return total[total.sum(axis=1) > 0] / 1e9


def _ground(recordings: pa.Table) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the channels of a fibre's files, ascending, and what was recorded as boxes."""
    rows = recordings.select(["channels", "first_channel", "n_channels"]).to_pylist()
    said = [
        row["channels"] or f"{row['first_channel']}..{row['first_channel'] + row['n_channels'] - 1}"
        for row in rows
    ]
    numbers = {text: np.unique(parsed(text)) for text in set(said)}
    start, end = (recordings[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    boxes = []
    for text, channels in sorted(numbers.items()):
        mine = np.array([other == text for other in said])
        runs = np.split(channels, np.flatnonzero(np.diff(channels) != 1) + 1)
        # Files follow each other: as one stretch they are few.
        begin, stop = _united(start[mine], end[mine])
        boxes += [(s, e, run[0], run[-1]) for run in runs for s, e in zip(begin, stop, strict=True)]
    names = ("start", "end", "first_channel", "last_channel")
    columns = np.array(boxes, np.int64).reshape(-1, 4).T
    return np.unique(np.concatenate(list(numbers.values()))), dict(zip(names, columns, strict=True))


def _on_line(boxes: dict[str, np.ndarray], channels: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return what boxes cover as intervals, int64, shape (2, n): channels lie one after the other on a line."""
    begin, end = (np.clip(boxes[name], edges[0], edges[-1]) - edges[0] for name in ("start", "end"))
    low = np.searchsorted(channels, boxes["first_channel"])
    size = np.searchsorted(channels, boxes["last_channel"], side="right") - low
    size = np.where(begin < end, size, 0)
    within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    offset = (np.repeat(low, size) + within) * (edges[-1] - edges[0])
    return np.stack([np.repeat(begin, size) + offset, np.repeat(end, size) + offset])


def _united(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return begins and ends of what intervals, at least one, cover together, ascending."""
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], np.maximum.accumulate(end[order])
    gap = begin[1:] > end[:-1]
    return begin[np.append(True, gap)], end[np.append(gap, True)]


def _measured(intervals: np.ndarray, edges: np.ndarray, n_channels: int) -> np.ndarray:
    """Return how much of each cell of time intervals on a line cover together, all channels, int64 ns."""
    if not intervals.shape[1]:
        return np.zeros(len(edges) - 1, np.int64)
    begin, end = _united(*intervals)
    before = np.concatenate([[0], np.cumsum(end - begin)])
    time = edges - edges[0]
    total = np.zeros(len(time) - 1, np.int64)
    for channel in range(n_channels):
        at = time + channel * time[-1]
        i = np.maximum(np.searchsorted(begin, at, side="right") - 1, 0)
        total += np.diff(before[i] + np.clip(at - begin[i], 0, end[i] - begin[i]))
    return total


def measures(cells: np.ndarray) -> dict[str, Interval]:
    """Return κ, AC1 and positive agreement of channel-seconds, each with its interval.

    Intervals are percentiles over resamples of a circular block bootstrap (Politis and Romano 1992): blocks of
    `BLOCK_S` begin anywhere on the circle of all cells. Where few blocks hold events of a side, the percentiles
    lie as far out as those of Student's t (expanded percentile interval, Hesterberg 2015). The same cells give the
    same interval.

    Parameters
    ----------
    cells : numpy.ndarray
        As `covered` returns them.

    Examples
    --------
    >>> cells = np.tile([50.0, 5.0, 1.0, 2.0], (1440, 1))
    >>> [round(float(x), 3) for x in measures(cells)["positive_agreement"]]
    [0.769, 0.769, 0.769]
    """
    whole, length = cells.sum(axis=0), max(1, min(BLOCK_S // CELL_S, len(cells) // LEAST_BLOCKS))
    sums = _resampled(cells, length)
    begins = np.arange(0, len(cells), length)
    blocks = np.add.reduceat(cells, begins) if len(cells) else cells
    held = min(int((blocks[:, [BOTH, alone]].sum(axis=1) > 0).sum()) for alone in (ONLY_US, ONLY_CONTRACTOR))
    out = {}
    for name, statistic in MEASURES.items():
        values = statistic(sums)
        defined = values[np.isfinite(values)]
        ends = (np.nan, np.nan)
        if held >= LEAST_HELD and len(defined) >= LEAST_DEFINED * RESAMPLES:
            tail = norm.cdf(-np.sqrt(held / (held - 1)) * student.ppf((1 + LEVEL) / 2, held - 1))
            low, high = np.quantile(defined, [tail, 1 - tail])
            ends = float(low), float(high)
        out[name] = Interval(float(statistic(whole)), *ends)
    return out


def _resampled(cells: np.ndarray, length: int) -> np.ndarray:
    """Return the sums of cells over resamples of blocks of so many cells, shape (RESAMPLES, 4)."""
    n = len(cells)
    around = np.concatenate([np.zeros((1, 4)), np.cumsum(np.concatenate([cells, cells[:length]]), axis=0)])
    blocks = (around[length:] - around[:-length])[:n]
    return blocks[np.random.default_rng(SEED).integers(0, n, (RESAMPLES, -(-n // length)))].sum(axis=1)


def agreement_of_day(
    ours: pa.Table, theirs: pa.Table, matches: pa.Table, recordings: pa.Table, day: str
) -> pa.Table:
    """Return how far both sides agree on a day: the row of `agreement`.

    Parameters
    ----------
    ours, theirs, matches, recordings : pyarrow.Table
        Rows of `anomaly_events`, `contractor_events`, `event_matches` and `recordings`.
    day : str
        ISO day.
    """
    if not recordings.num_rows:
        return empty("agreement")
    cells = covered(ours, theirs, recordings, day)
    period = tuple(
        int(np.clip(pick(recordings[name].cast(pa.int64()).to_numpy()), *extent(day)))
        for name, pick in (("start", np.min), ("end", np.max))
    )
    chance = chance_agreement(ours, theirs, (period[0], period[1]))
    matched = matches.filter(pc.equal(matches["agreement"], "both"))
    seconds = cells.sum(axis=0)
    row: dict[str, float | None] = {
        "start": period[0],
        "end": period[1],
        "ours": ours.num_rows,
        "theirs": theirs.num_rows,
        "ours_matched": pc.count_distinct(matched["event_id"]).as_py(),
        "theirs_matched": pc.count_distinct(matched["contractor_event_id"]).as_py(),
        "ours_by_chance": chance["ours"],
        "theirs_by_chance": chance["theirs"],
        "both_s": seconds[BOTH],
        "only_us_s": seconds[ONLY_US],
        "only_contractor_s": seconds[ONLY_CONTRACTOR],
        "neither_s": seconds[NEITHER],
    }
    for name, interval in measures(cells).items():
        for suffix, value in zip(("", "_low", "_high"), interval, strict=True):
            row[name + suffix] = float(value) if np.isfinite(value) else None
    return pa.Table.from_pylist([row], SCHEMAS["agreement"])
