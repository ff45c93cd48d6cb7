"""The table `fibres`: the one place that tells metres from channel numbers."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.recordings.landing import shifted
from dasanom_assets.tables.schemas import SCHEMAS, empty
from dasanom_assets.tables.store import Store

LOOK_BACK_DAYS = 28
"""Earlier days that are asked where a fibre lies."""
SAME_PLACE_M = 0.5
"""Metres by which a channel may move, to be where it was."""


def fibres_before(store: Store, day: str) -> pa.Table:
    """Return where each fibre was said to lie last, among the `LOOK_BACK_DAYS` before a day: rows of `fibres`."""
    known = [empty("fibres")]
    seen: set[str] = set()
    for other in reversed(store.days("fibres", shifted(day, -LOOK_BACK_DAYS), shifted(day, -1))):
        rows = store.read_day("fibres", other)
        new = set(rows["fibre"].to_pylist()) - seen
        known.append(rows.filter(pa.array([name in new for name in rows["fibre"].to_pylist()], pa.bool_())))
        seen |= new
    return pa.concat_tables(known)


def spacings_of(fibres: pa.Table) -> dict[str, float]:
    """Return the spacing of each fibre that has one, m, from rows of `fibres`."""
    pairs = zip(fibres["fibre"].to_pylist(), fibres["spacing_m"].to_pylist(), strict=True)
    return {fibre: spacing for fibre, spacing in pairs if spacing is not None}


def fibres_table(rows: Sequence[Mapping[str, Any]], before: pa.Table) -> pa.Table:
    """Return the rows of `fibres` of a day.

    A channel that lies where it did before keeps the time from which it did.

    Parameters
    ----------
    rows : sequence of mapping
        Those of the catalogue, with ``channels``, ``distance`` and ``channel_spacing_m``.
    before : pyarrow.Table
        See `fibres_before`.
    """
    places: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in before.set_column(4, "valid_from", before["valid_from"].cast(pa.int64())).to_pylist():
        places[row["fibre"], row["channel"]].append(row)
    of_day: dict[int, dict[str, Any]] = {}
    layouts: dict[tuple[str, bytes], bytes] = {}
    for row in sorted(rows, key=lambda row: (row["fibre"], row["start"], row["path"])):
        metres = distance_of(row)
        key = row["fibre"], row["channels"].tobytes()
        if layouts.get(key) == metres.tobytes():
            continue
        layouts[key] = metres.tobytes()
        for channel, distance in zip(row["channels"].tolist(), metres.tolist(), strict=True):
            known = places[row["fibre"], channel]
            if not known or not _same_place(known[-1]["distance_m"], distance):
                known.append(
                    {
                        "fibre": row["fibre"],
                        "channel": channel,
                        "distance_m": None if np.isnan(distance) else distance,
                        "spacing_m": row["channel_spacing_m"],
                        "valid_from": row["start"],
                    }
                )
            of_day[id(known[-1])] = known[-1]
    table = pa.Table.from_pylist(list(of_day.values()), SCHEMAS["fibres"])
    return table.sort_by([(name, "ascending") for name in ("fibre", "channel", "valid_from")])


def distance_of(row: Mapping[str, Any]) -> np.ndarray:
    """Return the distance of each channel of a row of the catalogue, m, float64; NaN where nothing says it."""
    if row["distance"] is not None:
        return np.asarray(row["distance"], float)
    return row["channels"] * (row["channel_spacing_m"] or np.nan)


def _same_place(known: float | None, distance: float) -> bool:
    if np.isnan(distance):  # a file that does not say it moves nothing
        return True
    return known is not None and abs(known - distance) <= SAME_PLACE_M


class Places:
    """Where channels of fibres lie: all that asks for metres asks here.

    Parameters
    ----------
    fibres : pyarrow.Table
        Rows of `fibres`, of one day or of several.
    unsaid_m : float, optional
        Distance of neighbouring channels of a fibre of which no file says any; None: nothing is known of it.
    """

    def __init__(self, fibres: pa.Table, unsaid_m: float | None = None) -> None:
        self._unsaid_m = unsaid_m
        rows = fibres.sort_by([(name, "ascending") for name in ("fibre", "channel", "valid_from")])
        rows = rows.filter(pc.is_valid(rows["distance_m"]))
        channel, valid = (rows[name].cast(pa.int64()).to_numpy() for name in ("channel", "valid_from"))
        metres, spacing = (rows[name].to_numpy() for name in ("distance_m", "spacing_m"))
        names = np.array(rows["fibre"].to_pylist(), object)
        self._rows = {
            name: tuple(column[names == name] for column in (channel, valid, metres, spacing))
            for name in np.unique(names)
        }

    def layout(self, fibre: str, time_ns: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the channels of a fibre whose place is said, ascending, and their distances, m.

        Parameters
        ----------
        fibre : str
        time_ns : int, optional
            When they lay there, ns since 1970; by default at last. Before all that is said, at first.

        Returns
        -------
        channels : numpy.ndarray
            int64, shape (n_channels,).
        metres : numpy.ndarray
            float64, of the same shape.
        """
        if fibre not in self._rows:
            return np.empty(0, np.int64), np.empty(0)
        channel, valid, metres, _ = self._rows[fibre]
        channels, first, n = np.unique(channel, return_index=True, return_counts=True)
        known = n if time_ns is None else np.add.reduceat((valid <= time_ns).astype(int), first)
        return channels, metres[first + np.maximum(known - 1, 0)]

    def metres(self, fibre: str, channels: np.ndarray) -> np.ndarray:
        """Return the distances of channels, m, float64, shape (n,); NaN where nothing is known of the fibre.

        A number between two channels that are said lies between them, one beyond all of them as far beyond.
        """
        known, metres = self.layout(fibre)
        spacing = self.spacing_m(fibre)
        if not len(known):
            return np.asarray(channels) * (spacing or np.nan)
        beyond = np.asarray(channels) - np.clip(channels, known[0], known[-1])
        sign = 1.0 if metres[-1] >= metres[0] else -1.0
        return np.interp(channels, known, metres) + sign * beyond * (spacing or 0.0)

    def spacing_m(self, fibre: str) -> float | None:
        """Return how far neighbouring channels of a fibre lie apart, m: the median over those that are said."""
        channels, metres = self.layout(fibre)
        if len(channels) > 1:
            return float(np.median(np.abs(np.diff(metres)) / np.diff(channels))) or self._unsaid_m
        said = self._rows[fibre][3] if fibre in self._rows else np.empty(0)
        return float(said[-1]) if len(said) and np.isfinite(said[-1]) else self._unsaid_m


def places_of(store: Store, days: Iterable[str], unsaid_m: float | None = None) -> Places:
    """Return where channels lie, as `fibres` of some days tell; see `Places`."""
    tables = [store.read_day("fibres", day) for day in days if store.has_day("fibres", day)]
    return Places(pa.concat_tables([empty("fibres"), *tables]), unsaid_m)


def with_metres(events: pa.Table, places: Places) -> pa.Table:
    """Fill `first_m` and `last_m` of rows of `anomaly_events`: the least and greatest distance of their channels.

    They are null where no file says where channels lie.

    Parameters
    ----------
    events : pyarrow.Table
    places : Places
        Those of the day.
    """
    columns: tuple[list[float | None], ...] = [], []
    begins = events["start"].cast(pa.int64()).to_pylist()
    for begin, row in zip(
        begins, events.select(["fibre", "first_channel", "last_channel"]).to_pylist(), strict=True
    ):
        channels, metres = places.layout(row["fibre"], begin)
        inside = metres[(channels >= row["first_channel"]) & (channels <= row["last_channel"])]
        for column, pick in zip(columns, (np.min, np.max), strict=True):
            column.append(float(pick(inside)) if len(inside) else None)
    for name, column in zip(("first_m", "last_m"), columns, strict=True):
        events = events.set_column(events.schema.get_field_index(name), name, pa.array(column, pa.float64()))
    return events
