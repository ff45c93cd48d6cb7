"""When the contractor alarms, one channel in memory at a time."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.comparison.contractor import alarmed
from dasanom_assets.settings import ComparisonSettings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.groups import group_keys
from dasanom_assets.tables.store import Store

RowsOf = Callable[[str, int], pa.Table]
"""From fibre and channel to the rows of a table that they have."""


def rows_of_day(store: Store, table: str, day: str) -> RowsOf:
    """Return what reads the rows of one channel of a day.

    Parameters
    ----------
    store : Store
    table : str
        A table whose row groups hold one channel each.
    day : str
        ISO day.

    Raises
    ------
    MissingDayError
        Where the table lacks the day.
    """
    with store.open_day(table, day) as file:
        metadata, nothing = file.metadata, file.schema_arrow.empty_table()
    groups: dict[tuple[str, int], list[int]] = {}
    for group, key in enumerate(group_keys(metadata)):
        if key is not None:
            groups.setdefault(key, []).append(group)

    def of(fibre: str, channel: int) -> pa.Table:
        if (fibre, channel) not in groups:
            return nothing
        with store.open_day(table, day, metadata) as file:
            return pa.concat_tables(file.read_row_group(group) for group in groups[fibre, channel])

    return of


def rows_of_table(rows: pa.Table) -> RowsOf:
    """Return what takes the rows of one channel from those of all."""
    places = by_channel(rows, "start")
    none = np.empty(0, np.int64)
    return lambda fibre, channel: rows.take(places[fibre, channel][1] if (fibre, channel) in places else none)


class TheirAlarms:
    """When the contractor alarms; who asks for channels one after the other reads each once.

    Parameters
    ----------
    rows_of : callable
        Returns rows of `contractor_scores`; see `rows_of_day`.
    settings : ComparisonSettings
    """

    def __init__(self, rows_of: RowsOf, settings: ComparisonSettings) -> None:
        self._rows_of, self._settings = rows_of, settings
        self._last: tuple[tuple[str, int], pa.Table, int] | None = None

    def rows(self, fibre: str, channel: int) -> pa.Table:
        """Return the rows of `contractor_scores` of a channel by which the contractor alarms."""
        return self._of(fibre, channel)[0]

    def within(self, fibre: str, channel: int, start_ns: np.ndarray, end_ns: np.ndarray) -> np.ndarray:
        """Return whether a row alarms within the central second of each window, bool, shape (n_windows,)."""
        rows, length = self._of(fibre, channel)
        times = np.sort(rows["start"].cast(pa.int64()).to_numpy())
        half, middle = SECOND_NS // 2, (start_ns + end_ns) // 2
        after = np.searchsorted(times, middle - half - length, side="right")
        return np.searchsorted(times, middle + half, side="left") > after

    def _of(self, fibre: str, channel: int) -> tuple[pa.Table, int]:
        """Return alarmed rows, and how long a row is, ns: the last of a recording may be shorter."""
        if self._last is None or self._last[0] != (fibre, channel):
            rows = self._rows_of(fibre, channel)
            lengths = pc.subtract(rows["end"].cast(pa.int64()), rows["start"].cast(pa.int64()))
            alarms = alarmed(rows, self._settings).combine_chunks()
            self._last = (fibre, channel), alarms, pc.max(lengths).as_py() or 0
        return self._last[1:]


def by_channel(table: pa.Table, time: str) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """Return times (int64, ns) and row numbers of each fibre and channel."""
    if not table.num_rows:
        return {}
    fibre = table["fibre"].combine_chunks().dictionary_encode()
    codes, names = fibre.indices.to_numpy(zero_copy_only=False), fibre.dictionary.to_pylist()
    channel, times = table["channel"].to_numpy(), table[time].cast(pa.int64()).to_numpy()
    order = np.lexsort((channel, codes))
    border = np.flatnonzero(np.diff(codes[order]) | np.diff(channel[order])) + 1
    groups = np.split(order, border)
    return {(names[codes[rows[0]]], int(channel[rows[0]])): (times[rows], rows) for rows in groups}
