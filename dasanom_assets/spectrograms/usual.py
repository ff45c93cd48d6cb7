"""What levels are measured against: background, and what the channels of a stretch share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dasanom_assets.tables.groups import group_values
from dasanom_assets.tables.schemas import stack
from dasanom_assets.tables.store import Store


@dataclass(frozen=True)
class Usual:
    """What a day is measured against, in place of what its tables say.

    Attributes
    ----------
    levels : pyarrow.Table
        Rows of `background`.
    hour_classes : int
        Parts of the day that these have.
    n_grids : int
        Grids of bands that these have.
    common : sequence of pyarrow.Table
        Rows of `common_levels`, one table a stretch.
    """

    levels: pa.Table
    hour_classes: int
    common: Sequence[pa.Table] = ()
    n_grids: int = 1


Stretch = tuple[str, int, int]
"""Fibre, first and last channel of those that share a level."""


def stretches_of(store: Store, day: str, against: Usual | None = None) -> list[tuple[int, Stretch]]:
    """Return the stretches of a day of `common_levels`, or of what it is measured against, by their row groups."""
    names = ("fibre", "first_channel", "last_channel")
    if against is not None:
        return [(i, tuple(t[n][0].as_py() for n in names)) for i, t in enumerate(against.common) if t.num_rows]
    with store.open_day("common_levels", day) as file:
        return [(i, values) for i, values in enumerate(group_values(file.metadata, *names)) if values is not None]


@dataclass(frozen=True)
class StretchLevel:
    """What the channels of a stretch share: int64 starts, ns since 1970, and float32 levels, shape (n, bands)."""

    start_ns: np.ndarray
    level: np.ndarray

    def of(self, start_ns: np.ndarray) -> np.ndarray:
        """Return the level in some seconds, float32, shape (n_rows, 1, bands), 0 where there is none."""
        out = np.zeros((len(start_ns), 1, self.level.shape[1]), np.float32)
        row = np.minimum(np.searchsorted(self.start_ns, start_ns), len(self.start_ns) - 1)
        there = self.start_ns[row] == start_ns
        out[there, 0] = self.level[row[there]]
        return out


class CommonLevels:
    """What the channels of a stretch share on a day, read once for channels that follow each other.

    Parameters
    ----------
    store : Store
        Must hold `common_levels` of the day, unless it is told otherwise.
    day : str
        ISO day.
    stretches : sequence
        See `stretches_of`.
    against : Usual, optional
        Holds the levels instead.
    """

    def __init__(
        self, store: Store, day: str, stretches: Sequence[tuple[int, Stretch]], against: Usual | None = None
    ) -> None:
        self._store, self._day, self._stretches, self._against = store, day, stretches, against
        self._last: tuple[int, StretchLevel] | None = None

    def of(self, fibre: str, channel: int) -> StretchLevel | None:
        """Return the level of the stretch that a channel lies in; None where it has none."""
        for group, (name, first, last) in self._stretches:
            if name == fibre and first <= channel <= last:
                known = self._last  # of several threads, which look at neighbours
                if known is None or known[0] != group:
                    rows = self._rows(group)
                    start = rows["start"].cast(pa.int64()).to_numpy()
                    self._last = known = group, StretchLevel(start, stack(rows["level"]))
                return known[1]
        return None

    def _rows(self, group: int) -> pa.Table:
        if self._against is not None:
            return self._against.common[group]
        with self._store.open_day("common_levels", self._day) as file:
            return file.read_row_group(group, ["start", "level"])
