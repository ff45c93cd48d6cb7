"""What the contractor says of a simulated day: class probabilities that are often wrong, as in life."""

import numpy as np
from scipy import special

from dasanom_assets.recordings.simulation.events import Event
from dasanom_assets.recordings.simulation.ground import BLOCK_SECONDS
from dasanom_assets.recordings.simulation.lasting import Lasting
from dasanom_assets.recordings.simulation.plans import ROWS_PER_SECOND, Plan
from dasanom_assets.recordings.simulation.sites import Line

CLASSES = ("kazma", "yurume", "kesici", "makine", "gurultu")
"""The contractor's classes, in the order of its files."""

LAG_ROWS = 6
"""Row i of the class probabilities belongs to power row i + 6."""

_TAKEN_FOR = {
    "walking": (0.2, 0.75, 0.0, 0.05),
    "pickaxe": (0.8, 0.2, 0.0, 0.0),
    "shovel": (0.7, 0.15, 0.0, 0.15),
    "cutting": (0.0, 0.0, 0.75, 0.25),
    "machine": (0.1, 0.0, 0.1, 0.8),
    "traffic": (0.2, 0.1, 0.0, 0.7),
    "wind": (0.3, 0.5, 0.0, 0.2),
    "vehicle": (0.2, 0.1, 0.0, 0.7),
    "tram": (0.1, 0.0, 0.0, 0.9),
    "plant": (0.0, 0.0, 0.2, 0.8),
    "shower": (0.2, 0.4, 0.3, 0.1),
}
"""How likely the contractor takes a kind for each of its classes but noise, once it raises an alarm."""

_NUISANCE_ALARMS = {"traffic": 0.5, "wind": 0.3, "vehicle": 0.1, "tram": 0.3, "plant": 0.5, "shower": 0.2}
"""How likely it raises an alarm on a nuisance."""


def opinion(plan: Plan) -> tuple[bool, int]:
    """Return whether the contractor raises an alarm on an event, and the class it takes it for.

    Threats are noticed with a probability that rises with their ratio: one half at 7.5 dB, about 70 % over the
    usual mix of 6, 10 and 15 dB.
    """
    rng = np.random.default_rng((*plan.seed, 1))
    noticed = _NUISANCE_ALARMS.get(plan.kind, special.expit((plan.snr_db - 7.5) / 2))
    return bool(rng.random() < noticed), int(rng.choice(len(CLASSES) - 1, p=_TAKEN_FOR[plan.kind]))


def class_probabilities(
    line: Line, day_seed: tuple[int, ...], index: int, events: list[Event | Lasting]
) -> np.ndarray:
    """Return the contractor's class probabilities of a block.

    Returns
    -------
    numpy.ndarray
        float32, shape (rows of the block, n_channels, 5), summing to 1 over classes; row i describes power row i.
    """
    first_row, n_rows = index * BLOCK_SECONDS * ROWS_PER_SECOND, BLOCK_SECONDS * ROWS_PER_SECOND
    rng = np.random.default_rng((*day_seed, 4, index))
    logits = 0.5 * rng.standard_normal((n_rows, len(line.channels), len(CLASSES)), dtype=np.float32)
    logits[..., -1] += 3.5
    for event in events:
        alarm, as_class = opinion(event.plan)
        start = event.plan.first_row - first_row
        begin, end = max(start, 0), min(start + event.plan.n_rows, n_rows)
        columns, level_db = event.levels(begin - start, end - start)
        support = np.clip(level_db / 4, 0, 1) * (6.0 if alarm else 1.0)
        logits[begin:end, columns, as_class] += support.T
    return special.softmax(logits, axis=-1)
