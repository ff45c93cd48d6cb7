"""Days, their alarms and their waterfalls, as the API gives them."""

import io
import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dasanom_assets.comparison.steps import REPORTS
from dasanom_assets.review import export
from dasanom_assets.review.app import review_of
from dasanom_assets.review.calendar import month_of
from dasanom_assets.review.day import LAYERS, DayView, boxes_in, chosen, day_view
from dasanom_assets.review.kinds import kinds_of
from dasanom_assets.review.map import map_of_day, tree_path
from dasanom_assets.review.tiles import Picture
from dasanom_assets.review.worker import computed, root_of

MOST_ROWS, MOST_BOXES, MOST_PIXELS = 500, 3000, 4096
PICTURE = "x-picture"
"""Header that says what the bytes of a picture are, as JSON."""


def number(request: Request, name: str, default: int | None = None) -> int:
    """Return a whole number of a query.

    Raises
    ------
    HTTPException
        Where it is none, or missing without a default.
    """
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(float(text or ""))
    except (ValueError, OverflowError) as error:
        raise HTTPException(400, f"{name} must be a whole number") from error


def view(request: Request) -> DayView:
    """Return the day that a path names."""
    return day_view(review_of(request), request.path_params["day"])


def window(request: Request) -> tuple[str, tuple[int, int], tuple[int, int]]:
    """Return fibre, begin and end in µs, and first and last channel of a query."""
    fibre = request.query_params.get("fibre", "")
    time = number(request, "from"), number(request, "to")
    channels = number(request, "first"), number(request, "last")
    if time[0] >= time[1] or channels[0] > channels[1]:
        raise HTTPException(400, "from must be before to, and first not above last")
    if time[1] - time[0] > 8 * 86_400_000_000 or channels[1] - channels[0] > 200_000:
        raise HTTPException(400, "that is more than there is on a day")
    return fibre, time, channels


def days(request: Request) -> Response:
    """List the days of a month, with what an analyst chooses one by."""
    return JSONResponse(month_of(review_of(request), request.query_params.get("month")))


def day(request: Request) -> Response:
    """Tell of a day: its fibres, places to look at first, counts and what was not heard."""
    return JSONResponse(view(request).head())


def alarms(request: Request) -> Response:
    """List the rows of a day's table: alarms folded by cause, filtered and sorted."""
    query, of_day = request.query_params, view(request)
    rows = chosen(of_day, query, query.get("sort", "rank"))
    if query.get("sounds"):
        kind, found = number(request, "sounds"), kinds_of(review_of(request), of_day.day).of_day(of_day.day)
        rows = [row for row in rows if found.get(row["id"]) == kind]
    offset, limit = max(0, number(request, "offset", 0)), min(MOST_ROWS, number(request, "limit", 100))
    return JSONResponse({"total": len(rows), "of": len(of_day.rows), "rows": rows[offset : offset + limit]})


def kinds(request: Request) -> Response:
    """List the kinds of event of the last weeks that a day has, and which rows of its table are of which."""
    of_day = view(request)
    found = kinds_of(review_of(request), of_day.day)
    here = found.of_day(of_day.day)
    rows = {row["id"]: here[row["id"]] for row in of_day.rows if row["id"] in here}
    return JSONResponse({"kinds": [found.as_json(kind) for kind in sorted(set(rows.values()))], "rows": rows})


def triage(request: Request) -> Response:
    """List the places of a day to judge, drawn by lot, and tell which share of each side's alarms is true."""
    return JSONResponse(view(request).triage)


def boxes(request: Request) -> Response:
    """List the boxes of the alarms that are in sight, the rarest first."""
    fibre, time, channels = window(request)
    found, total = boxes_in(view(request), fibre, time, channels, min(MOST_BOXES, number(request, "limit", 1500)))
    return JSONResponse({"total": total, "boxes": found})


def waterfall(request: Request) -> Response:
    """Give a part of a layer as bytes, row by row from the lowest channel; the header x-picture says which."""
    fibre, time, channels = window(request)
    layer = request.query_params.get("layer", "")
    if layer not in LAYERS:
        raise HTTPException(400, f"layer is one of {', '.join(LAYERS)}")
    size = tuple(min(MOST_PIXELS, max(1, number(request, name))) for name in ("height", "width"))
    tiles = view(request).tiles
    if tiles is None:
        raise HTTPException(404, "the day has no waterfalls yet: materialize waterfalls for it")
    ns = time[0] * 1000, time[1] * 1000
    return picture_response(tiles.picture(fibre, layer, ns, channels, (size[0], size[1])))


def picture_response(picture: Picture, **more: Any) -> Response:
    """Return cells as bytes, and in a header where they lie."""
    rows, columns = picture.codes.shape
    head = {
        "rows": rows,
        "columns": columns,
        "start": picture.start_ns // 1000,
        "step": picture.step_ns / 1000,
        "first_channel": picture.first_channel,
        "channel_step": picture.channel_step,
    }
    headers = {PICTURE: json.dumps(head | more), "cache-control": "no-cache"}
    return Response(picture.codes.tobytes(), media_type="application/octet-stream", headers=headers)


def condensed_tree(request: Request) -> Response:
    """Give the picture of how the reference windows of the model that scored a day fall into clusters."""
    store, path = review_of(request).store, tree_path(str(view(request).note.get("model_version")))
    if not store.exists(path):
        raise HTTPException(404, "the model that scored this day has no picture of its clusters")
    return Response(store.read_bytes(path), media_type="image/png")


def thumbnail(request: Request) -> Response:
    """Give the small picture of a day's report."""
    store, iso = review_of(request).store, view(request).day
    path = f"{REPORTS}/day={iso}/thumbnail.png"
    if not store.exists(path):
        raise HTTPException(404, "the day has no report yet: materialize contractor_comparison for it")
    # Dagster's pages, on another port, may show it.
    headers = {"cross-origin-resource-policy": "cross-origin", "cache-control": "no-cache"}
    return Response(store.read_bytes(path), media_type="image/png", headers=headers)


def _file(content: bytes, kind: str, name: str) -> Response:
    return Response(content, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})


def events_csv(request: Request) -> Response:
    """Give the alarms of a day as CSV."""
    of_day = view(request)
    return _file(export.csv_of(of_day), "text/csv", f"events-{of_day.day}.csv")


def events_geojson(request: Request) -> Response:
    """Give the alarms of a day as GeoJSON, along the route in route.csv of the data root."""
    of_day = view(request)
    try:
        content = export.geojson_of(of_day, review_of(request).store)
    except ValueError as error:
        raise HTTPException(404, str(error)) from error
    return _file(content, "application/geo+json", f"events-{of_day.day}.geojson")


def events_parquet(request: Request) -> Response:
    """Give the alarms of a day as Parquet, in µs, with metres and files."""
    of_day, sink = view(request), io.BytesIO()
    export.write_parquet(of_day, review_of(request).store, sink)
    return _file(sink.getvalue(), "application/octet-stream", f"events-{of_day.day}.parquet")


def day_map(request: Request) -> Response:
    """Give the places of a day's windows on the map, their scores, and the day's clusters."""
    of_day, names = view(request), ("fibre", "start", "end", "first", "last")
    ours = of_day.box_table["side"] == "us"
    boxes = {name: of_day.box_table[name][ours] for name in names}
    return JSONResponse(computed(map_of_day, root_of(review_of(request).store), of_day.day, boxes))
