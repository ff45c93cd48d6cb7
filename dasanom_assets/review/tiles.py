"""Any part of a day's waterfalls, from the few tiles of the pyramid that it needs."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np
import pyarrow as pa

from dasanom_assets.comparison.pyramid import TILE_CELLS, TILE_CHANNELS, ZOOMS
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.store import Store

TABLE = "waterfalls"
CACHED_BYTES = 48 << 20
"""Cells of row groups that are kept."""


@dataclass(frozen=True)
class Picture:
    """A part of a layer.

    Attributes
    ----------
    codes : numpy.ndarray
        uint8, shape (rows, columns): see `comparison.pyramid`; the first row is the lowest channel.
    start_ns, step_ns : int
        Begin of the first column, ns since 1970, and what a column covers.
    first_channel, channel_step : int
        Lowest channel of the first row, and channels of a row.
    """

    codes: np.ndarray
    start_ns: int
    step_ns: int
    first_channel: int
    channel_step: int


class Tiles:
    """The pyramid of one day; what was read last stays in memory, up to `CACHED_BYTES`.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.

    Raises
    ------
    MissingDayError
        Where the day has no waterfalls.
    """

    def __init__(self, store: Store, day: str) -> None:
        self._groups: OrderedDict[int, list[bytes]] = OrderedDict()
        self._lock = Lock()
        # It stays open: an old day that is replaced meanwhile can still be read to its end.
        self._file = store.open_day(TABLE, day)
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        columns = [name for name in self._file.schema_arrow.names if name != "cells"]
        index = self._file.read(columns=columns)
        self._index: dict[str, np.ndarray] = {
            name: index[name].cast(pa.int64()).to_numpy() for name in columns if name not in ("fibre", "layer")
        }
        self._index |= {name: np.array(index[name].to_pylist(), object) for name in ("fibre", "layer")}
        self._index["group"] = np.repeat(np.arange(len(sizes)), sizes)
        self._index["place"] = np.concatenate([np.arange(size) for size in sizes] or [np.empty(0, int)])

    def picture(
        self, fibre: str, layer: str, time: tuple[int, int], channels: tuple[int, int], size: tuple[int, int]
    ) -> Picture:
        """Return a part of a layer, in at most `size` rows and columns.

        Parameters
        ----------
        fibre, layer : str
        time : tuple of int
            Begin and end, ns since 1970; they are widened to whole columns.
        channels : tuple of int
            First and last, included.
        size : tuple of int
            Rows and columns, at most.
        """
        seconds = max(1, -(-(time[1] - time[0]) // SECOND_NS))
        least = max(1, -(-seconds // size[1]))
        zoom = max(k for k, covered in enumerate(ZOOMS) if covered <= least)
        step = -(-least // ZOOMS[zoom]) * ZOOMS[zoom]
        step_ns, cell_ns = step * SECOND_NS, ZOOMS[zoom] * SECOND_NS
        start = time[0] // step_ns * step_ns
        columns = max(1, -(-(time[1] - start) // step_ns))
        n_cells = columns * step_ns // cell_ns
        index = self._index
        mine = (index["fibre"] == fibre) & (index["layer"] == layer) & (index["zoom"] == zoom)
        base = int(index["channel_step"][mine][0]) if mine.any() else 1
        first = channels[0] // base * base
        n_rows = (channels[1] - first) // base + 1
        codes = np.zeros((n_rows, n_cells), np.uint8)
        mine &= (index["start"] < start + n_cells * cell_ns) & (index["end"] > start)
        mine &= (index["first_channel"] <= channels[1]) & (index["last_channel"] >= first)
        for row in np.flatnonzero(mine):
            tile = np.frombuffer(self._cells(int(index["group"][row]))[int(index["place"][row])], np.uint8)
            tile = tile.reshape(TILE_CHANNELS, -1)
            x = int(index["start"][row] - start) // cell_ns
            y = (int(index["first_channel"][row]) - first) // base
            x0, x1 = max(0, x), min(n_cells, x + tile.shape[1])
            y0, y1 = max(0, y), min(n_rows, y + TILE_CHANNELS)
            codes[y0:y1, x0:x1] = tile[y0 - y : y1 - y, x0 - x : x1 - x]
        codes = codes.reshape(n_rows, columns, -1).max(axis=2)
        rows = max(1, -(-n_rows // size[0]))
        if rows > 1:
            codes = np.maximum.reduceat(codes, np.arange(0, n_rows, rows), axis=0)
        return Picture(codes, start, step_ns, first, rows * base)

    def _cells(self, group: int) -> list[bytes]:
        with self._lock:
            if group not in self._groups:
                self._groups[group] = self._file.read_row_group(group, columns=["cells"])["cells"].to_pylist()
                most = CACHED_BYTES // (TILE_CHANNELS * TILE_CELLS)
                while len(self._groups) > 1 and sum(map(len, self._groups.values())) > most:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(group)
            return self._groups[group]
