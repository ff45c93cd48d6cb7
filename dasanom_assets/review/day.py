"""A day as the pages show it: its fibres, and its alarms folded by cause, ranked and judged."""

import gc
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.comparison.pyramid import LAYERS
from dasanom_assets.models.checkpoints import CheckpointError, load
from dasanom_assets.recordings.of_day import extent
from dasanom_assets.review import incidents
from dasanom_assets.review.app import Review
from dasanom_assets.review.heard import heard_of
from dasanom_assets.review.tiles import TABLE, Tiles
from dasanom_assets.review.triage import triage_of
from dasanom_assets.tables import verdicts
from dasanom_assets.tables.schemas import empty
from dasanom_assets.tables.store import MissingDayError, Store

__all__ = ["LAYERS", "DayView", "boxes_in", "chosen", "day_view"]

KEPT_DAYS, KEPT_ROWS = 3, 40_000
"""Kept in memory: so many days, or fewer where they have more rows; the last one always."""
PLACES = 5
"""Rows that the first screen names."""
MADE_OF = ("anomaly_events", "events_below", "event_matches", "agreement", "contractor_events", "verdicts", TABLE)
SORTABLE = ("rank", "start", "first_m", "seconds", "rate", "score", "kind", "agreement", "fibre", "verdict")


@dataclass(frozen=True)
class Fibre:
    """A fibre on a day.

    Attributes
    ----------
    name : str
    channels : numpy.ndarray
        int32, ascending.
    metres : numpy.ndarray
        float64, by channel; NaN where no file says it.
    start_us, end_us : int
        When it was recorded, µs since 1970.
    """

    name: str
    channels: np.ndarray
    metres: np.ndarray
    start_us: int
    end_us: int

    def metre(self, channel: float) -> float | None:
        """Return where a channel lies, m; None where it is not known."""
        known = np.isfinite(self.metres)
        if not known.any():
            return None
        return float(np.interp(channel, self.channels[known], self.metres[known]))

    def as_json(self) -> dict[str, Any]:
        """Return it for the pages: metres of each channel, None where not known."""
        return {
            "name": self.name,
            "channels": self.channels.tolist(),
            "metres": [None if np.isnan(m) else round(m, 2) for m in self.metres.tolist()],
            "start": self.start_us,
            "end": self.end_us,
        }


class DayView:
    """What is shown of a day.

    Parameters
    ----------
    review : Review
    day : str
        ISO day.

    Raises
    ------
    MissingDayError
        Where the day has no events.
    """

    def __init__(self, review: Review, day: str) -> None:
        store = review.store
        self.day, self.store, self.settings = day, store, review.settings
        self.note = store.metadata("anomaly_events", day)
        self.events = store.read_day("anomaly_events", day)
        self.contractor_events = _read(store, "contractor_events", day)
        self.below = _read(store, "events_below", day)
        self.matches = _read(store, "event_matches", day)
        self.agreement = next(
            iter(_read(store, "agreement", day).drop_columns(["start", "end"]).to_pylist()), None
        )
        self.explanations = _read(store, "event_explanations", day, ["event_id", "band_hz", "profile"])
        self.km_days = reference_km_days(store, str(self.note.get("model_version", "")))
        self.both_sides = bool(_rows(store, "contractor_scores", day))
        self.fibres = fibres_of(store, day)
        self.verdicts = verdicts.entries(store, day)
        self.rows = incidents.rows_of(self, store)
        self.by_event = {event: row for row in self.rows for event in row["members"]}
        self.tiles = Tiles(store, day) if store.has_day(TABLE, day) else None

    def fibre(self, name: str) -> Fibre:
        """Return a fibre of the day; an empty one where it has none of that name."""
        return self.fibres.get(name) or Fibre(name, np.empty(0, np.int32), np.empty(0), 0, 0)

    @cached_property
    def triage(self) -> dict[str, Any]:
        """The places that an analyst is asked to judge; see `triage.triage_of`."""
        with _without_collections():
            return triage_of(self)

    @cached_property
    def box_table(self) -> dict[str, np.ndarray]:
        """Columns of all events of both sides, and of those below our threshold, of which boxes are drawn."""
        parts = []
        sides = {"us": self.events, "contractor": self.contractor_events, "below": self.below}
        for side, table in sides.items():
            times = [table[name].cast(pa.int64()).to_numpy() // 1000 for name in ("start", "end")]
            n = table.num_rows
            row = [self.by_event.get(event) for event in table["event_id"].to_pylist()]
            parts.append(
                {
                    "fibre": np.array(table["fibre"].to_pylist(), object),
                    "start": times[0],
                    "end": times[1],
                    "first": table["first_channel"].to_numpy(),
                    "last": table["last_channel"].to_numpy(),
                    "side": np.full(n, side, object),
                    "id": np.array(table["event_id"].to_pylist(), object),
                    "row": np.array([r["id"] if r else "" for r in row], object),
                    "agreement": np.array([r["agreement"] if r else "" for r in row], object),
                    "rank": np.array([r["rank"] if r else len(self.rows) for r in row], float),
                }
            )
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def head(self) -> dict[str, Any]:
        """Return all but the rows: what the first screen and the axes need."""
        heard = heard_of(self.store, self.day)
        if heard:
            breaks = [b | {"metre": self.fibre(b["fibre"]).metre(b["first_channel"])} for b in heard["breaks"]]
            heard = heard | {"breaks": breaks}
        counts = {side: sum(row["agreement"] == side for row in self.rows) for side in incidents.AGREEMENTS}
        return {
            "day": self.day,
            "zone": self.settings.temporal.time_zone,
            "fibres": [fibre.as_json() for fibre in self.fibres.values()],
            "places": [row for row in self.rows if not row["settled"] and not row["cells"]][:PLACES],
            "rows": len(self.rows),
            "alarms": self.events.num_rows,
            "contractor_alarms": self.contractor_events.num_rows,
            "both_sides": self.both_sides,
            "counts": counts | {incidents.BELOW: sum(not row["alarms"] for row in self.rows)},
            "agreement": self.agreement,
            "kinds": sorted({row["kind"] for row in self.rows}),
            "budget": self.note.get("budget"),
            "expected": self.note.get("counts", {}),
            "model": self.note.get("model_version"),
            "waterfalls": self.tiles is not None,
            "heard": heard,
        }


@lru_cache(16)
def reference_km_days(store: Store, version: str) -> float:
    """Return how much ground, km·days, the reference of a model has; NaN where it cannot be read."""
    if not version or not store.exists(f"models/reference_model/{version}/model.json"):
        return float("nan")
    try:
        return float(load(store, "reference_model", version)[0]["rates.block_exposure"].sum())
    except (CheckpointError, OSError):  # of other code, or damaged: the day is still there to be looked at
        return float("nan")


def _read(store: Store, table: str, day: str, columns: list[str] | None = None) -> pa.Table:
    """Return a day of a table; without rows where it is missing."""
    try:
        return store.read_day(table, day, columns)
    except MissingDayError:
        rows = empty(table)
        return rows.select(columns) if columns else rows


def _rows(store: Store, table: str, day: str) -> int:
    if not store.has_day(table, day):
        return 0
    with store.open_day(table, day) as file:
        return file.metadata.num_rows


def fibres_of(store: Store, day: str) -> dict[str, Fibre]:
    """Return the fibres of a day by name: their channels, where these lie, and when they were recorded."""
    recordings, places = _read(store, "recordings", day), _read(store, "fibres", day)
    names = np.array(recordings["fibre"].to_pylist(), object)
    first, last = extent(day)
    start, end = (
        np.clip(recordings[name].cast(pa.int64()).to_numpy(), first, last) // 1000 for name in ("start", "end")
    )
    places = places.sort_by([("channel", "ascending"), ("valid_from", "ascending")])
    of = np.array(places["fibre"].to_pylist(), object)
    channel, metre = (
        places["channel"].to_numpy(),
        places["distance_m"].to_numpy(zero_copy_only=False).astype(float),
    )
    out = {}
    for name in sorted(set(names.tolist())):
        mine = of == name
        latest = np.flatnonzero(np.diff(channel[mine], append=np.iinfo(np.int32).max))
        span = names == name
        out[name] = Fibre(
            name, channel[mine][latest], metre[mine][latest], int(start[span].min()), int(end[span].max())
        )
    return out


_KEPT: OrderedDict[tuple[str, ...], DayView] = OrderedDict()
_LOCK = Lock()


def day_view(review: Review, day: str) -> DayView:
    """Return a day; it is gathered again once one of its tables has changed.

    Raises
    ------
    MissingDayError
        Where it has no events, or is no day.
    """
    store = review.store
    if not is_day(day) or not store.has_day("anomaly_events", day):
        raise MissingDayError(f"there is no scored day {day}: see the list of days")
    digests = [store.content_digest(name, day) if store.has_day(name, day) else "" for name in MADE_OF]
    works = "".join(item["path"] for item in store.listing("planned_works"))
    key = (store.full(""), day, works, *digests)
    with _LOCK:
        if key not in _KEPT:
            for old in [k for k in _KEPT if k[:2] == key[:2]]:
                del _KEPT[old]
            with _without_collections():
                _KEPT[key] = DayView(review, day)
            while len(_KEPT) > 1 and (
                len(_KEPT) > KEPT_DAYS or sum(len(v.rows) for v in _KEPT.values()) > KEPT_ROWS
            ):
                _KEPT.popitem(last=False)
        _KEPT.move_to_end(key)
        return _KEPT[key]


@contextmanager
def _without_collections() -> Iterator[None]:
    """Look for no garbage meanwhile: of rows by the ten thousand none is, and to walk them all takes longer."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def is_day(text: str) -> bool:
    """Whether a text is an ISO day."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).strftime("%Y-%m-%d") == text
    except ValueError:
        return False


def chosen(view: DayView, query: Mapping[str, str], sort: str) -> list[dict[str, Any]]:
    """Return the rows that pass the filter of a query, sorted; see `openapi.FILTER`."""
    hidden = set(query.get("hide", "").split(","))
    text = query.get("text", "").casefold()

    def passes(row: dict[str, Any]) -> bool:
        return (
            all(query.get(name) in (None, "", row[name]) for name in ("fibre", "agreement", "kind"))
            and query.get("verdict") in (None, "", row["verdict"] or "open")
            and not (row["always"] and "always" in hidden)
            and not (row["planned"] and "explained" in hidden)
            and (
                not text
                or text in f"{row['kind']} {row['why']} {row['fibre']} {row['id']} {row['note']}".casefold()
            )
        )

    rows = [row for row in view.rows if passes(row)]
    name, down = sort.removeprefix("-"), sort.startswith("-")
    if name not in SORTABLE:
        return rows
    known = [row for row in rows if row[name] is not None]
    unknown = [row for row in rows if row[name] is None]  # last, whichever way
    return sorted(known, key=lambda row: row[name], reverse=down) + unknown


def boxes_in(
    view: DayView, fibre: str, time: tuple[int, int], channels: tuple[int, int], limit: int
) -> tuple[list[list[Any]], int]:
    """Return boxes that a window of time, µs, and channels holds, the rarest first, and how many there are.

    Each is ``[start, end, first, last, side, agreement, event, row]``.
    """
    table = view.box_table
    inside = (table["fibre"] == fibre) & (table["start"] < time[1]) & (table["end"] > time[0])
    inside &= (table["first"] <= channels[1]) & (table["last"] >= channels[0])
    found = np.flatnonzero(inside)
    best = found[np.argsort(table["rank"][found], kind="stable")[:limit]]
    names = ("start", "end", "first", "last", "side", "agreement", "id", "row")
    columns = [table[name][best].tolist() for name in names]
    return [list(row) for row in zip(*columns, strict=True)], len(found)
