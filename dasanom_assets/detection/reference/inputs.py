"""What detectors ask for beside frames and embeddings: computed for those that score, and for no others."""

import threading
from collections.abc import Iterable

import numpy as np

from dasanom_assets.detection.detectors.base import Detector
from dasanom_assets.detection.minutes.terms import TABLE, TERMS, DayTerms
from dasanom_assets.models.checkpoints import CheckpointError
from dasanom_assets.models.encoding import encode_gan
from dasanom_assets.models.infogan_training import load_infogan
from dasanom_assets.models.training_set import WindowIndex
from dasanom_assets.spectrograms.windows import SECOND_NS, WindowBank
from dasanom_assets.tables.store import Store

INFOGAN_STEP = 0.5
"""Windows that begin within this part of their length share what infoGAN makes of the first of them: they share
half of their frames and more, and three networks cost several times what the VAE does."""
FEATURES, ERROR = "infogan_features", "infogan_error"
_READING = threading.Lock()
"""Channels are scored side by side, and a file is read by one thread."""
KNOWN = (TABLE, FEATURES, ERROR)


class Inputs:
    """Fills `detectors.Windows.more`.

    Parameters
    ----------
    detectors : iterable of Detector or type
        Those that score, for their `inputs`.
    store : Store
        Must hold `temporal_terms` of the days, where a detector asks for them.
    models : Store
        Must hold the infoGAN, where a detector asks for what it makes of windows.
    infogan_version : str or None
    device : str
        Torch device.

    Raises
    ------
    ValueError
        Where a detector asks for something that is not known.
    checkpoints.CheckpointError
        Where a detector asks for an infoGAN and there is none, or it is damaged.
    """

    def __init__(
        self,
        detectors: Iterable[Detector | type[Detector]],
        store: Store,
        models: Store,
        infogan_version: str | None,
        device: str,
    ) -> None:
        self.names = sorted({name for detector in detectors for name in detector.inputs})
        if unknown := [name for name in self.names if name not in KNOWN]:
            raise ValueError(f"a detector asks for {', '.join(unknown)}; known inputs are {', '.join(KNOWN)}")
        self._store, self._device = store, device
        self._days: dict[str, DayTerms] = {}
        self._infogan = None
        if {FEATURES, ERROR} & set(self.names):
            if infogan_version is None:
                raise CheckpointError(
                    "a detector asks for an infoGAN and there is none: materialize infogan_checkpoint first, or "
                    "leave infogan out of detection.detectors"
                )
            self._infogan = load_infogan(models, infogan_version)

    @property
    def tables(self) -> list[str]:
        """Tables of the day that inputs are read from."""
        return [TABLE] if TABLE in self.names else []

    def of(self, bank: WindowBank, index: WindowIndex) -> dict[str, np.ndarray]:
        """Return each input of some windows, float32, shape (n_windows, ...)."""
        out: dict[str, np.ndarray] = {}
        if TABLE in self.names:
            out[TABLE] = self._terms(index, bank.rows_per_window * SECOND_NS)
        if self._infogan is not None:
            first, group = _every(index, max(1, int(INFOGAN_STEP * bank.rows_per_window)))
            encoded = encode_gan(self._infogan, bank.subset(first), self._device)
            out |= {FEATURES: encoded.features[group], ERROR: encoded.reconstruction_error[group]}
        return out

    def _terms(self, index: WindowIndex, length_ns: int) -> np.ndarray:
        out = np.empty((len(index), len(TERMS)), np.float32)
        for (day, fibre, channel), windows in index.groups().items():
            start = index.start_ns[windows]
            with _READING:
                if day not in self._days:
                    self._days[day] = DayTerms(self._store, day)
                out[windows] = self._days[day].of(fibre, channel, start, start + length_ns)
        return out


def _every(index: WindowIndex, seconds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first windows of a channel in each step of time, and which of these stands for each window."""
    groups = list(index.groups().values())
    order = np.concatenate([np.empty(0, np.int64), *groups])
    step = index.start_ns[order] // (seconds * SECOND_NS)
    new = np.diff(step, prepend=-1) != 0
    new[np.cumsum([0, *map(len, groups)])[:-1]] = True
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(new) - 1
    return order[new], group
