"""Which clips of a group are learned from, and which are evaluated on."""

from dataclasses import dataclass

import numpy as np

TRAIN_SHARE, VALIDATION_SHARE = 0.7, 0.1
"""Of the normal clips that are not held out; the rest sets thresholds."""
LEAST_NORMAL = 4
"""Normal clips that a group needs: one to train on, to stop by, to set the threshold, and to evaluate."""


class TooFewError(ValueError):
    """A group that nothing can be said of; the message says what it lacks."""


@dataclass(frozen=True)
class Parts:
    """Positions of clips by what they are for; no clip is in two of them."""

    train: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray
    evaluation: np.ndarray


def split(abnormal: np.ndarray) -> Parts:
    """Split clips, which are in order of their names, into those to learn from and those to evaluate on.

    As in MIMII's own baseline, as many normal clips are held out as there are abnormal ones, the first by name;
    where there are too few, half of the normal ones. The others go to training, validation and calibration in
    stretches, since neighbours by name may be neighbours in time.

    Parameters
    ----------
    abnormal : numpy.ndarray
        bool, shape (n_clips,).

    Raises
    ------
    TooFewError
        Without an abnormal clip, or with fewer than `LEAST_NORMAL` normal ones.
    """
    normal = np.flatnonzero(~abnormal)
    if len(normal) < LEAST_NORMAL or not abnormal.any():
        raise TooFewError(
            f"{len(normal)} normal and {int(abnormal.sum())} abnormal clips: {LEAST_NORMAL} and 1 are needed"
        )
    n_held_out = min(int(abnormal.sum()), max(1, len(normal) // 2), len(normal) - 3)
    remaining = normal[n_held_out:]
    validation = max(1, round(VALIDATION_SHARE * len(remaining)))
    train = min(max(1, round(TRAIN_SHARE * len(remaining))), len(remaining) - validation - 1)
    learned, stopped, limits = np.split(remaining, [train, train + validation])
    return Parts(learned, stopped, limits, np.concatenate([normal[:n_held_out], np.flatnonzero(abnormal)]))
