"""What the pages ask the server for: one list, of which both routes and the OpenAPI document are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dasanom_assets.review import alarm_api, day_api, writing
from dasanom_assets.review.app import Handler

BYTES = "application/octet-stream"


@dataclass(frozen=True)
class Endpoint:
    """A path of the API.

    Attributes
    ----------
    method, path : str
    handler : callable
        Its docstring is what the document says.
    query : mapping
        Parameters of the query to their meaning; a name that ends in ``*`` must be there.
    body : mapping
        Fields of the posted JSON object to their meaning, named alike.
    gives : str
        Content type of the answer.
    """

    method: str
    path: str
    handler: Handler
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str] = field(default_factory=dict)
    gives: str = "application/json"


def document(request: Request) -> Response:
    """Return the OpenAPI document of this API."""
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        in_path = [part[1:-1] for part in endpoint.path.split("/") if part.startswith("{")]
        parameters: list[dict[str, Any]] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path
        ]
        for name, meaning in endpoint.query.items():
            parameters.append(
                {
                    "name": name.removesuffix("*"),
                    "in": "query",
                    "required": name.endswith("*"),
                    "description": meaning,
                    "schema": {"type": "string"},
                }
            )
        operation: dict[str, Any] = {
            "summary": (endpoint.handler.__doc__ or "").strip().split("\n")[0],
            "operationId": endpoint.handler.__name__,
            "parameters": parameters,
            "responses": {
                "200": {"description": "the answer", "content": {endpoint.gives: {}}},
                "default": {
                    "description": "what went wrong, in words",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                },
            },
        }
        if endpoint.body:
            schema = {
                "type": "object",
                "required": [name.removesuffix("*") for name in endpoint.body if name.endswith("*")],
                "properties": {
                    name.removesuffix("*"): {"description": meaning} for name, meaning in endpoint.body.items()
                },
            }
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
            operation["security"] = [{"cookie": []}, {"bearer": []}]
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return JSONResponse(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "dasanom review",
                "version": version("dasanom"),
                "description": "What the pages of the app use. Times are whole µs since 1970, UTC, "
                "unless a field says otherwise; intervals are half-open.",
            },
            "paths": paths,
            "components": {
                "schemas": {
                    "Error": {
                        "type": "object",
                        "required": ["error"],
                        "properties": {"error": {"type": "string"}},
                    }
                },
                "securitySchemes": {
                    "cookie": {"type": "apiKey", "in": "cookie", "name": "dasanom_review"},
                    "bearer": {"type": "http", "scheme": "bearer"},
                },
            },
        }
    )


WINDOW = {
    "fibre*": "name of the fibre",
    "from*": "begin, µs since 1970",
    "to*": "end, µs since 1970",
    "first*": "lowest channel",
    "last*": "highest channel",
}
FILTER = {
    "fibre": "of this fibre only",
    "agreement": "both, only_us, only_contractor, or below: no alarm, below our threshold",
    "kind": "of this kind only",
    "verdict": "true, false, planned, unknown, or open: none yet",
    "sounds": "number of a kind of event of the last weeks: rows of it only",
    "text": "words that a row must have",
    "hide": "always and explained, joined by a comma: rows of places that alarm always, of planned works",
}
VERDICT = {
    "entry_id*": "name of the entry, chosen by the sender: sent twice, it is there once",
    "who*": "who judges",
    "verdict*": "true, false, planned or unknown",
    "kind": "what it was",
    "note": "in words",
}
NAME = {"entry_id*": "name of the entry, chosen by the sender", "who*": "who names it", "kind*": "its name"}
PLANNED = {
    "entry_id*": "name of the entry, chosen by the sender",
    "who*": "who enters it",
    "fibre*": "name of the fibre",
    "first_m*": "begin, m along the fibre",
    "last_m*": "end, m along the fibre",
    "start*": "ISO time from which it explains alarms",
    "end*": "ISO time at which it expires",
    "why*": "what is done there",
}
UNDO = {"entry_id*": "name of the new entry", "who*": "who takes back", "undoes*": "name of the entry"}
ALARM = "/api/days/{day}/alarms/{event}"

ENDPOINTS = [
    Endpoint("GET", "/api/openapi.json", document),
    Endpoint("GET", "/api/days", day_api.days, {"month": "as 2026-01; by default the last with a day"}),
    Endpoint("GET", "/api/days/{day}", day_api.day),
    Endpoint(
        "GET",
        "/api/days/{day}/alarms",
        day_api.alarms,
        FILTER
        | {"sort": "column, with - in front for descending", "offset": "rows to skip", "limit": "at most 500"},
    ),
    Endpoint("GET", "/api/days/{day}/kinds", day_api.kinds),
    Endpoint("GET", "/api/days/{day}/triage", day_api.triage),
    Endpoint("GET", "/api/days/{day}/boxes", day_api.boxes, WINDOW | {"limit": "at most 3000"}),
    Endpoint(
        "GET",
        "/api/days/{day}/waterfall",
        day_api.waterfall,
        WINDOW | {"layer*": "power, contractor or ours", "width*": "columns, at most", "height*": "rows, at most"},
        gives=BYTES,
    ),
    Endpoint("GET", "/api/days/{day}/thumbnail.png", day_api.thumbnail, gives="image/png"),
    Endpoint("GET", "/api/days/{day}/events.csv", day_api.events_csv, gives="text/csv"),
    Endpoint("GET", "/api/days/{day}/events.geojson", day_api.events_geojson, gives="application/geo+json"),
    Endpoint("GET", "/api/days/{day}/events.parquet", day_api.events_parquet, gives=BYTES),
    Endpoint("GET", "/api/days/{day}/map", day_api.day_map),
    Endpoint("GET", "/api/days/{day}/condensed_tree.png", day_api.condensed_tree, gives="image/png"),
    Endpoint("GET", ALARM, alarm_api.alarm),
    Endpoint(
        "GET", ALARM + "/picture", alarm_api.picture, {"what*": "spectrogram, input, reconstruction or residual"}
    ),
    Endpoint("GET", ALARM + "/spectrum", alarm_api.spectrum),
    Endpoint("GET", ALARM + "/earlier", alarm_api.earlier),
    Endpoint("GET", ALARM + "/kind", alarm_api.kind),
    Endpoint(
        "GET",
        ALARM + "/sound.wav",
        alarm_api.sound,
        {"speed": "times faster than it was, 1 to 32"},
        gives="audio/wav",
    ),
    Endpoint("POST", ALARM + "/verdicts", writing.judge, body=VERDICT),
    Endpoint("POST", ALARM + "/verdicts/undo", writing.undo_verdict, body=UNDO),
    Endpoint("POST", ALARM + "/kind", writing.name_kind, body=NAME),
    Endpoint("POST", "/api/kinds/undo", writing.undo_kind, body=UNDO),
    Endpoint("GET", "/api/planned", writing.planned),
    Endpoint("POST", "/api/planned", writing.plan, body=PLANNED),
    Endpoint("POST", "/api/planned/undo", writing.undo_planned, body=UNDO),
    Endpoint(
        "POST", "/api/planned/import", writing.import_planned, body={"who*": "who", "csv*": "text of the file"}
    ),
]
