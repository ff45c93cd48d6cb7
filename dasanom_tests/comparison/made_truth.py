"""Days of events of both sides of which the truth is known: places that cannot be taken for each other."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dasanom_assets.comparison.agreement import BOTH, NEITHER, ONLY_CONTRACTOR, ONLY_US
from dasanom_assets.recordings.of_day import extent
from dasanom_assets.tables.schemas import SCHEMAS

DAY = "2026-01-05"
SECOND = 1_000_000_000
MIDNIGHT = extent(DAY)[0]
CHANNELS, WIDTH, STRIPE = 32, 4, 8
SLOT_S = 120
CHANCES = {BOTH: 0.025, ONLY_US: 0.0125, ONLY_CONTRACTOR: 0.03}
"""That a slot, a stripe of channels for two minutes, holds an event of both sides, or of one alone."""
TRUE = {BOTH: 0.9, ONLY_US: 0.5, ONLY_CONTRACTOR: 0.15}
"""That it is something."""
SHORTEST, LONGEST, LATE = 10.0, 60.0, 4.0
"""Seconds of an event, uniform; the contractor's begins and ends later than ours by up to `LATE`, uniform."""


class MadeDay(NamedTuple):
    """A day's tables, the kind of each place by its first event, and which of them are something."""

    ours: pa.Table
    theirs: pa.Table
    recordings: pa.Table
    kinds: dict[str, int]
    true: dict[str, bool]


def recordings(hours: float = 24, channels: int = CHANNELS) -> pa.Table:
    row = {"fibre": "north", "path": "made", "start": MIDNIGHT, "end": MIDNIGHT + round(hours * 3600 * SECOND)}
    row |= {"first_channel": 0, "n_channels": channels, "channels": f"0..{channels - 1}", "issues": []}
    return pa.Table.from_pylist([row], SCHEMAS["recordings"])


def expected() -> np.ndarray:
    """Share of channel-seconds that both sides, one, or none cover, in the mean of all such days."""
    length, late = (SHORTEST + LONGEST) / 2, LATE / 2
    out = np.zeros(4)
    out[BOTH] = CHANCES[BOTH] * (length - late)
    out[ONLY_US] = CHANCES[BOTH] * late + CHANCES[ONLY_US] * length
    out[ONLY_CONTRACTOR] = CHANCES[BOTH] * late + CHANCES[ONLY_CONTRACTOR] * length
    out *= WIDTH / (SLOT_S * STRIPE)
    out[NEITHER] = 1 - out.sum()
    return out


def made_day(seed: int) -> MadeDay:
    rng = np.random.default_rng(seed)
    sides: dict[str, list[dict[str, Any]]] = {"anomaly_events": [], "contractor_events": []}
    kinds, true = {}, {}
    slots = 86_400 // SLOT_S, CHANNELS // STRIPE
    drawn = rng.choice([*CHANCES, NEITHER], slots, p=[*CHANCES.values(), 1 - sum(CHANCES.values())])
    for slot, stripe in np.argwhere(drawn != NEITHER).tolist():
        kind = int(drawn[slot, stripe])
        begin, late = slot * SLOT_S + rng.uniform(2, 40), rng.uniform(0, LATE)
        end, first = begin + rng.uniform(SHORTEST, LONGEST), stripe * STRIPE + 2
        name = f"{slot}-{stripe}"
        for table, letter, shift, whose in (
            ("anomaly_events", "a", 0.0, (BOTH, ONLY_US)),
            ("contractor_events", "c", late if kind == BOTH else 0.0, (BOTH, ONLY_CONTRACTOR)),
        ):
            if kind in whose:
                sides[table].append(
                    {
                        "fibre": "north",
                        "event_id": f"{letter}{name}",
                        "start": MIDNIGHT + round((begin + shift) * SECOND),
                        "end": MIDNIGHT + round((end + shift) * SECOND),
                        "first_channel": first,
                        "last_channel": first + WIDTH - 1,
                    }
                )
        key = f"{'c' if kind == ONLY_CONTRACTOR else 'a'}{name}"
        kinds[key], true[key] = kind, bool(rng.random() < TRUE[kind])
    ours, theirs = (pa.Table.from_pylist(rows, SCHEMAS[name]) for name, rows in sides.items())
    return MadeDay(ours, theirs, recordings(), kinds, true)
