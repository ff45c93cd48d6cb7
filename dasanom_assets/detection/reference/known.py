"""What a reference model knows of the ground, apart from its detectors: read without a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dasanom_assets.models import checkpoints
from dasanom_assets.recordings.measured import SAME_HZ
from dasanom_assets.tables.store import Store

NAME = "reference_model"


@dataclass(frozen=True, kw_only=True)
class KnownGround:
    """The ground that a model was made on.

    Attributes
    ----------
    grids : list of list of float
        Centre frequencies of the bands, Hz, as they were on the fibres of the training days.
    usual : dict
        The median over the training days of their `background`: ``fibre``, ``channel``, ``median_db``, ``mad_db``.
    version : str
        Of the stored checkpoint; empty before it is stored.
    """

    grids: list[list[float]]
    usual: dict[str, np.ndarray]
    version: str = ""

    def knows(self, centre_hz: Sequence[float]) -> bool:
        """Whether a fibre of the training days had bands with these centres, Hz; none are like any."""
        return not len(centre_hz) or any(
            len(centre_hz) == len(own) and np.allclose(centre_hz, own, rtol=SAME_HZ) for own in self.grids
        )


def load_known_ground(store: Store, version: str) -> KnownGround:
    """Return what a reference model knows of the ground.

    Raises
    ------
    checkpoints.CheckpointError
        Where there is no such model, or it is damaged.
    """
    tensors, note = checkpoints.load(store, NAME, version)
    try:
        return KnownGround(grids=note["grids"], usual=places("usual", tensors, note), version=version)
    except KeyError as error:
        raise checkpoints.CheckpointError(
            f"reference model {version} was made by another version of dasanom ({error}): run the job train"
        ) from error


def places(part: str, tensors: Mapping[str, np.ndarray], note: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays of a stored model by channel, ``usual`` or ``windows``, with the names of their fibres."""
    arrays = {key.removeprefix(f"{part}."): of for key, of in tensors.items() if key.startswith(f"{part}.")}
    return arrays | {"fibre": np.array(note["fibres"], str)[arrays["fibre"]]}


def other_bands(known: KnownGround, metadata: Mapping[str, Any]) -> dict[tuple[str, float, str], str]:
    """Return, in words, which bands of a day the model does not know, by fibre, sampling rate, Hz, and unit.

    Parameters
    ----------
    known : KnownGround
    metadata : mapping
        That of the day of `spectrograms`.
    """
    learned = " or ".join(f"{centres[0]:g} to {centres[-1]:g} Hz" for centres in known.grids if centres)
    return {
        (grid["fibre"], grid["sampling_rate_hz"], grid.get("units", "")): (
            f"the {len(hz)} bands of fibre {grid['fibre']}, sampled at {grid['sampling_rate_hz']:g} Hz, have "
            f"their centres at {hz[0]:g} to {hz[-1]:g} Hz (model: {learned})"
        )
        for grid in metadata["grids"]
        if not known.knows(hz := grid["centre_hz"])
    }
