"""What detectors ask for beside frames and embeddings: computed for those that score, and for no others."""

from collections.abc import Iterable

import numpy as np

from dasanom_assets.detection.detectors import Detector
from dasanom_assets.detection.temporal import TABLE, TERMS, DayTerms
from dasanom_assets.models.training_set import WindowIndex
from dasanom_assets.spectrograms.windows import SECOND_NS, WindowBank
from dasanom_assets.tables.store import Store

KNOWN = (TABLE,)


class Inputs:
    """Fills `detectors.Windows.more`.

    Parameters
    ----------
    detectors : iterable of Detector or type
        Those that score, for their `inputs`.
    store : Store
        Must hold `temporal_terms` of the days, where a detector asks for them.

    Raises
    ------
    ValueError
        Where a detector asks for something that is not known.
    """

    def __init__(self, detectors: Iterable[Detector | type[Detector]], store: Store) -> None:
        self.names = sorted({name for detector in detectors for name in detector.inputs})
        if unknown := [name for name in self.names if name not in KNOWN]:
            raise ValueError(f"a detector asks for {', '.join(unknown)}; known inputs are {', '.join(KNOWN)}")
        self._store = store
        self._days: dict[str, DayTerms] = {}

    def of(self, bank: WindowBank, where: WindowIndex) -> dict[str, np.ndarray]:
        """Return each input of some windows, float32, shape (n_windows, ...)."""
        out: dict[str, np.ndarray] = {}
        if TABLE in self.names:
            out[TABLE] = self._terms(where, bank.rows_per_window * SECOND_NS)
        return out

    def _terms(self, where: WindowIndex, length_ns: int) -> np.ndarray:
        out = np.empty((len(where), len(TERMS)), np.float32)
        for (day, fibre, channel), at in where.groups().items():
            if day not in self._days:
                self._days[day] = DayTerms(self._store, day)
            start = where.start_ns[at]
            out[at] = self._days[day].of(fibre, channel, start, start + length_ns)
        return out
