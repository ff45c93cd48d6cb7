"""A day's alarms for other programs: CSV, GeoJSON and Parquet."""

import csv
import io
import json
import re
from datetime import UTC, datetime
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dasanom_assets.review.day import DayView
from dasanom_assets.tables.schemas import MICROSECONDS, whole_times
from dasanom_assets.tables.store import Store

ROUTE = "route.csv"
"""In the data root: channel, longitude, latitude, and fibre where there are several."""
FORMULA = re.compile(r"((?:^|[;\t\r\n])\s*)(?=[=+@-])")
"""Where a cell of a spreadsheet begins that is a formula."""
EVENTS = pa.schema(
    [
        ("event_id", pa.string()),
        ("side", pa.string()),
        ("fibre", pa.string()),
        ("start", MICROSECONDS),
        ("end", MICROSECONDS),
        ("first_channel", pa.int32()),
        ("last_channel", pa.int32()),
        ("first_m", pa.float64()),
        ("last_m", pa.float64()),
        ("kind", pa.string()),
        ("row", pa.string()),
        ("agreement", pa.string()),
        ("score", pa.float32()),
        ("rate_per_km_day", pa.float64()),
        ("contractor_class", pa.string()),
        ("contractor_probability", pa.float32()),
        ("verdict", pa.string()),
        ("planned", pa.string()),
        ("file", pa.string()),
        ("model_version", pa.string()),
    ]
)
"""One row an event of either side; ``row`` is that of the day's table that it is folded into."""


def events_of(view: DayView, store: Store) -> pa.Table:
    """Return the events of both sides of a day, with metres and the file that each begins in: rows of `EVENTS`."""
    files = [
        (row["fibre"], row["start"], row["end"], row["path"])
        for row in whole_times(store.read_day("recordings", view.day, ["fibre", "start", "end", "path"]))
    ]
    rows = []
    for side, table in (("us", view.events), ("contractor", view.contractor_events)):
        for event in whole_times(table):
            row = view.by_event.get(event["event_id"], {})
            fibre, start = view.fibre(event["fibre"]), event["start"]
            metres = sorted(
                m
                for m in (fibre.metre(event["first_channel"]), fibre.metre(event["last_channel"]))
                if m is not None
            )
            rows.append(
                {
                    **{name: event.get(name) for name in EVENTS.names},
                    "side": side,
                    "start": start // 1000,
                    "end": event["end"] // 1000,
                    "first_m": metres[0] if metres else None,
                    "last_m": metres[-1] if metres else None,
                    "contractor_probability": event.get("contractor_probability", event.get("probability")),
                    "kind": row.get("kind"),
                    "row": row.get("id"),
                    "agreement": row.get("agreement"),
                    "verdict": row.get("verdict"),
                    "planned": row.get("planned"),
                    "file": next((p for f, a, b, p in files if f == event["fibre"] and a <= start < b), None),
                }
            )
    return pa.Table.from_pylist(rows, EVENTS)


def write_parquet(view: DayView, store: Store, sink: BinaryIO) -> None:
    """Write `events_of` as Parquet."""
    pq.write_table(events_of(view, store), sink, compression="zstd")


def csv_of(view: DayView) -> bytes:
    """Return `events_of` as CSV, UTF-8, times in ISO 8601.

    What a spreadsheet would take for a formula begins with an apostrophe, also behind a semicolon, where many of
    them part cells.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(EVENTS.names)
    for row in events_of(view, view.store).to_pylist():
        writer.writerow([_cell(row[name]) for name in EVENTS.names])
    return out.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return FORMULA.sub(r"\1'", value)
    return "" if value is None else value


def route_of(store: Store) -> dict[str | None, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return channels, longitudes and latitudes of the route of each fibre; under None that of all.

    Raises
    ------
    ValueError
        Where there is no route, or a row of it is none.
    """
    if not store.exists(ROUTE):
        raise ValueError(f"put a file {ROUTE} with the columns channel, longitude, latitude into the data root")
    points: dict[str | None, list[tuple[float, float, float]]] = {}
    for line, row in enumerate(csv.DictReader(io.StringIO(store.read_bytes(ROUTE).decode("utf-8-sig"))), 2):
        try:
            place = float(row["channel"]), float(row["longitude"]), float(row["latitude"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{ROUTE}, line {line}: channel, longitude and latitude must be numbers") from error
        if not (abs(place[1]) <= 180 and abs(place[2]) <= 90):
            raise ValueError(f"{ROUTE}, line {line}: longitude is −180 to 180 and latitude −90 to 90 degrees")
        points.setdefault(row.get("fibre") or None, []).append(place)
    out = {}
    for fibre, rows in points.items():
        channel, longitude, latitude = np.array(sorted(rows)).T
        out[fibre] = channel, longitude, latitude
    return out


def geojson_of(view: DayView, store: Store) -> bytes:
    """Return `events_of` as GeoJSON (RFC 7946): a line from first to last channel along the route, or a point.

    Raises
    ------
    ValueError
        Where there is no route.
    """
    routes, features = route_of(store), []
    for row in events_of(view, store).to_pylist():
        route = routes.get(row["fibre"], routes.get(None))
        geometry = None
        if route is not None:
            channel, longitude, latitude = route
            first, last = row["first_channel"], row["last_channel"]
            along = np.unique([first, *channel[(channel > first) & (channel < last)], last])
            inside = along[(along >= channel[0]) & (along <= channel[-1])]
            points = [
                [round(float(np.interp(c, channel, axis)), 7) for axis in (longitude, latitude)] for c in inside
            ]
            if len(points) == 1:
                geometry = {"type": "Point", "coordinates": points[0]}
            elif points:
                geometry = {"type": "LineString", "coordinates": points}
        properties = {
            name: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
            for name, value in row.items()
        }
        features.append({"type": "Feature", "id": row["event_id"], "geometry": geometry, "properties": properties})
    return json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False).encode()
