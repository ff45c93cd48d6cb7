"""A day's waterfalls as a pyramid of maxima: any part of them is drawn from a few small tiles.

Zoom ``k`` has a cell for each channel and ``4**k`` seconds, which holds the loudest of what it covers. Cells are
bytes: 0 where there is nothing, and 1 to 255 on the scale of their layer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dasanom_assets.comparison.contractor import threat
from dasanom_assets.comparison.heard import heard_row, mean_level
from dasanom_assets.recordings.of_day import extent
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.frames import row_parts
from dasanom_assets.spectrograms.streams import blocks, spread
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import SCHEMAS, whole_times
from dasanom_assets.tables.store import Store

if TYPE_CHECKING:
    from distributed import Client

    from dasanom_assets.spectrograms.whitening import WhiteDay

LAYERS = ("power", "contractor", "ours")
DAY_SECONDS = 86_400
ZOOMS = (1, 4, 16, 64)
"""Seconds of a cell, by zoom."""
TILE_CHANNELS, TILE_CELLS = 256, 512
GROUP_TILES = 8
"""Tiles of one row group: what is read at once."""
LOWEST_Z, CODES_A_SPREAD = -2.0, 8
BAND_SHARE = 0.9
"""Events have few bands, and are short: a second is as loud as this band of its loudest frame."""
LEAST_SPREAD = 0.05
ROWS_AT_ONCE = 1024


def code_of_z(z: np.ndarray) -> np.ndarray:
    """Return the bytes of spreads above usual, in steps of an eighth from −2 on; 0 where they are NaN.

    >>> code_of_z(np.array([np.nan, -9, -2, 0, 3, 99])).tolist()
    [0, 1, 1, 17, 41, 255]
    """
    code = np.clip(np.rint((np.nan_to_num(z) - LOWEST_Z) * CODES_A_SPREAD) + 1, 1, 255)
    return np.where(np.isfinite(z), code, 0).astype(np.uint8)


def z_of_code(code: np.ndarray) -> np.ndarray:
    """Undo `code_of_z`, float32.

    >>> z_of_code(np.array([0, 1, 17, 41], np.uint8)).tolist()
    [nan, -2.0, 0.0, 3.0]
    """
    return np.where(code, (code - np.float32(1)) / CODES_A_SPREAD + np.float32(LOWEST_Z), np.float32(np.nan))


def code_of_probability(p: np.ndarray) -> np.ndarray:
    """Return the bytes of probabilities, 1 to 255; 0 where they are NaN."""
    code = np.rint(np.clip(np.nan_to_num(p), 0, 1) * 254) + 1
    return np.where(np.isfinite(p), code, 0).astype(np.uint8)


def loudness(rows: np.ndarray) -> np.ndarray:
    """Return how loud each second is as events show it, float32, shape (n_rows,), in whitened levels.

    Parameters
    ----------
    rows : numpy.ndarray
        float32, shape (n_rows, frames a second, bands): whitened levels, with what the channels share taken off.
    """
    band = int(BAND_SHARE * (rows.shape[2] - 1))
    loud = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        loud[part] = np.fmax.reduce(np.partition(rows[part], band, axis=2)[:, :, band], axis=1)
    return loud


def spreads_above(loud: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Return loudness in robust spreads of its channel above the median, float32, NaN where not `usable`.

    Parameters
    ----------
    loud : numpy.ndarray
        float32, shape (n_rows,): see `loudness`.
    usable : numpy.ndarray
        bool, shape (n_rows,).
    """
    loud = np.where(usable, loud, np.float32(np.nan))
    known = loud[np.isfinite(loud)]
    if not len(known):
        return loud
    median = np.median(known)
    return (loud - median) / max(1.4826 * float(np.median(np.abs(known - median))), LEAST_SPREAD)


class PowerCells(NamedTuple):
    """What is seen and told of one channel: its cells, uint8, shape (DAY_SECONDS,), and its row of `heard`."""

    fibre: str
    channel: int
    cells: np.ndarray
    heard: dict[str, Any]


@dataclass(frozen=True)
class PowerOf:
    """Gives the power of any channels of a day, on this machine or another.

    Attributes
    ----------
    day : str
        ISO day.
    levels : WhiteDay
    """

    day: str
    levels: "WhiteDay"

    def __call__(self, keys: list[tuple[str, int]]) -> list[PowerCells]:
        """Return what is seen and told of each of some channels."""
        midnight, out = extent(self.day)[0], []
        for white in self.levels.channels(keys):
            loud, level = np.empty((2, len(white.start_ns)), np.float32)
            for part in row_parts(len(loud)):
                rows = white.rows[part]
                loud[part], level[part] = loudness(rows), mean_level(rows)
            cells = np.zeros(DAY_SECONDS, np.uint8)
            cells[(white.start_ns - midnight) // SECOND_NS] = code_of_z(spreads_above(loud, white.usable))
            out.append(PowerCells(white.fibre, white.channel, cells, heard_row(white, level)))
        return out


def waterfall_tiles(
    store: Store,
    day: str,
    settings: Settings,
    client: "Client | None" = None,
    hear: Callable[[dict[str, Any]], object] = lambda row: None,
) -> Iterator[pa.Table]:
    """Yield the rows of `waterfalls` of a day, a table a row group, in bounded memory.

    Parameters
    ----------
    store : Store
        Must hold what `white_day` reads, `anomaly_scores` and `contractor_scores` of the day.
    day : str
        ISO day.
    settings : Settings
    client : distributed.Client, optional
        Its workers, which must reach the store, read the power; threads of this process by default.
    hear : callable, optional
        Called with the row of `heard` of each channel, also of those that are not scored.
    """
    from dasanom_assets.spectrograms.whitening import WhiteDay  # its compiler takes a second to load

    yield SCHEMAS["waterfalls"].empty_table()
    levels = WhiteDay(store, day, settings.background, settings.window, bad=True)
    size = levels.spectrogram.group_channels
    power = spread(PowerOf(day, levels), blocks(levels.keys, levels.frames.seconds), client)
    upcoming = next(power, None)
    keys = levels.frames.keys
    for fibre in dict.fromkeys(fibre for fibre, _ in keys):
        channels = [channel for name, channel in keys if name == fibre]
        for first in range(channels[0], channels[-1] + 1, TILE_CHANNELS * size):
            block = (fibre, first, first + TILE_CHANNELS * size)
            if not any(block[1] <= channel < block[2] for channel in channels):
                continue
            codes = np.zeros((TILE_CHANNELS, DAY_SECONDS), np.uint8)
            while upcoming is not None and upcoming.fibre == fibre and upcoming.channel < block[2]:
                codes[(upcoming.channel - first) // size] = upcoming.cells
                hear(upcoming.heard)
                upcoming = next(power, None)
            yield from tiles_of(codes, day, LAYERS[0], block, size)
            del codes  # 22 MB: those of one layer are in memory at a time
            yield from tiles_of(_contractor_codes(store, day, block, size), day, LAYERS[1], block, size)
            yield from tiles_of(_our_codes(store, day, block, size), day, LAYERS[2], block, size)


def power_codes(store: Store, day: str) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield fibre, channel and cells of a second, uint8, shape (DAY_SECONDS,), of channels that have power.

    Parameters
    ----------
    store : Store
        Must hold `waterfalls` of the day; a block of their channels is in memory.
    day : str
        ISO day.

    Raises
    ------
    MissingDayError
        Where it lacks the day.
    """
    midnight, block, codes = extent(day)[0], ("", 0, 1), np.empty((0, DAY_SECONDS), np.uint8)

    def channels() -> Iterator[tuple[str, int, np.ndarray]]:
        for row in np.flatnonzero(codes.any(axis=1)).tolist():
            yield block[0], block[1] + row * block[2], codes[row]

    with store.open_day("waterfalls", day) as file:
        for group in range(file.num_row_groups):
            if (
                bounds(file.metadata, group, "zoom")[0] != 0
                or bounds(file.metadata, group, "layer")[0] != LAYERS[0]
            ):
                continue
            for tile in whole_times(file.read_row_group(group)):
                of_tile = tile["fibre"], tile["first_channel"], tile["channel_step"]
                if of_tile != block:
                    yield from channels()
                    block, codes = of_tile, np.zeros((TILE_CHANNELS, DAY_SECONDS), np.uint8)
                cells = np.frombuffer(tile["cells"], np.uint8).reshape(TILE_CHANNELS, -1)
                begin = (tile["start"] - midnight) // SECOND_NS
                codes[:, begin : begin + cells.shape[1]] = cells
        yield from channels()


def _contractor_codes(store: Store, day: str, block: tuple[str, int, int], size: int) -> np.ndarray:
    """Return the cells of the contractor's layer of a block, uint8, shape (TILE_CHANNELS, DAY_SECONDS)."""
    midnight = extent(day)[0]
    codes = np.zeros((TILE_CHANNELS, DAY_SECONDS), np.uint8)
    for rows in _rows_of(store, "contractor_scores", day, block, None):
        start, stop = (rows[name].cast(pa.int64()).to_numpy() - midnight for name in ("start", "end"))
        _place(
            codes, rows, block, size, (start + (stop - start) // 2) // SECOND_NS, code_of_probability(threat(rows))
        )
    return codes


def _our_codes(store: Store, day: str, block: tuple[str, int, int], size: int) -> np.ndarray:
    """Return the cells of our layer, as `_contractor_codes` does."""
    midnight = extent(day)[0]
    codes = np.zeros((TILE_CHANNELS, DAY_SECONDS), np.uint8)
    for rows in _rows_of(store, "anomaly_scores", day, block, ["fibre", "channel", "start", "end", "score"]):
        start, stop = (rows[name].cast(pa.int64()).to_numpy() - midnight for name in ("start", "end"))
        score = rows["score"].to_numpy(zero_copy_only=False).astype(np.float32)
        _place(codes, rows, block, size, (start + (stop - start) // 2) // SECOND_NS, code_of_z(score))
    return codes


def _rows_of(
    store: Store, table: str, day: str, block: tuple[str, int, int], columns: list[str] | None
) -> Iterator[pa.Table]:
    """Yield the rows of a block of channels, one row group in memory at a time."""
    fibre, first, end = block
    with store.open_day(table, day) as file:
        for group in range(file.num_row_groups):
            low, high = bounds(file.metadata, group, "channel")
            names = bounds(file.metadata, group, "fibre")
            if low is None or low >= end or high < first or not names[0] <= fibre <= names[1]:
                continue
            rows = file.read_row_group(group, columns=columns)
            channel, name = rows["channel"].to_numpy(), rows["fibre"].combine_chunks().dictionary_encode()
            code = name.dictionary.index(fibre).as_py()
            yield rows.filter(
                pa.array((name.indices.to_numpy() == code) & (channel >= first) & (channel < end), pa.bool_())
            )


def bounds(metadata: pq.FileMetaData, group: int, column: str) -> tuple[Any, Any]:
    """Return the least and greatest value of a column in a row group, from its statistics; None without any."""
    names = metadata.schema.names
    statistics = metadata.row_group(group).column(names.index(column)).statistics
    if statistics is None or not statistics.has_min_max:
        return None, None
    return statistics.min, statistics.max


def _place(
    codes: np.ndarray, rows: pa.Table, block: tuple[str, int, int], size: int, second: np.ndarray, code: np.ndarray
) -> None:
    row = (rows["channel"].to_numpy() - block[1]) // size
    inside = (second >= 0) & (second < DAY_SECONDS)
    np.maximum.at(codes, (row[inside], second[inside]), code[inside])


def tiles_of(
    codes: np.ndarray, day: str, layer: str, block: tuple[str, int, int], channel_step: int
) -> Iterator[pa.Table]:
    """Yield the tiles of a layer of a block, zoom by zoom; those that are empty are left out.

    Parameters
    ----------
    codes : numpy.ndarray
        uint8, shape (TILE_CHANNELS, DAY_SECONDS).
    day, layer : str
    block : tuple
        Fibre, first channel, and that after the last.
    channel_step : int
        Channels of a row.
    """
    fibre, first, end = block
    midnight = extent(day)[0]
    for zoom, seconds in enumerate(ZOOMS):
        if zoom:
            codes = codes.reshape(len(codes), -1, ZOOMS[zoom] // ZOOMS[zoom - 1]).max(axis=2)
        begins = [b for b in range(0, codes.shape[1], TILE_CELLS) if codes[:, b : b + TILE_CELLS].any()]
        for k in range(0, len(begins), GROUP_TILES):
            rows = []
            for begin in begins[k : k + GROUP_TILES]:
                tile = codes[:, begin : begin + TILE_CELLS]
                rows.append(
                    {
                        "fibre": fibre,
                        "layer": layer,
                        "zoom": zoom,
                        "first_channel": first,
                        "last_channel": end - 1,
                        "start": midnight + begin * seconds * SECOND_NS,
                        "end": midnight + (begin + tile.shape[1]) * seconds * SECOND_NS,
                        "channel_step": channel_step,
                        "cells": np.ascontiguousarray(tile).tobytes(),
                    }
                )
            yield pa.Table.from_pylist(rows, SCHEMAS["waterfalls"])
