"""The web app: routes, and what keeps it to its own machine, its own pages and its own words."""

import hmac
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from dasanom_assets.comparison.page import templates
from dasanom_assets.review.worker import StillComputingError
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import MissingDayError, Store

HOSTS = ["127.0.0.1", "localhost"]
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; "
    "media-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
MOST_BYTES = 1 << 20
"""Of what is posted."""
COOKIE = "dasanom_review"


@dataclass
class Review:
    """What handlers work with.

    Attributes
    ----------
    store : Store
    settings : Settings
    token : str or None
        What a writer must show; None: nobody writes.
    """

    store: Store
    settings: Settings
    token: str | None = None
    pages: Environment = field(default_factory=lambda: _templates())

    def writes(self, request: Request) -> bool:
        """Whether a request shows the token, as a cookie or in its header."""
        shown = request.headers.get("authorization", "").removeprefix("Bearer ") or request.cookies.get(COOKIE, "")
        return self.token is not None and hmac.compare_digest(shown.encode(), self.token.encode())


def _templates() -> Environment:
    environment = templates("dasanom_assets.review")
    environment.globals |= {"clock_in": clock_in, "weekday": lambda day: date.fromisoformat(day).weekday()}
    return environment


def clock_in(us: int, zone: str) -> str:
    """Return a time, µs since 1970, as people of a zone read it.

    >>> clock_in(0, "Europe/Istanbul")
    '02:00:00'
    """
    return datetime.fromtimestamp(us / 1e6, ZoneInfo(zone)).strftime("%H:%M:%S")


def create_app(store: Store, settings: Settings, token: str | None = None) -> Starlette:
    """Return the app.

    Parameters
    ----------
    store : Store
        The data root.
    settings : Settings
    token : str, optional
        Switches verdicts on, for those who show it.
    """
    from dasanom_assets.review import openapi, pages

    app = Starlette(
        routes=[
            *(Route(e.path, e.handler, methods=[e.method]) for e in openapi.ENDPOINTS),
            *pages.ROUTES,
            Mount("/static", StaticFiles(directory=str(files("dasanom_assets.review") / "static"))),
        ],
        middleware=[
            Middleware(Guard),
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
        ],
        exception_handlers={
            HTTPException: _failed,
            MissingDayError: _missing,
            StillComputingError: _not_yet,
            Exception: _failed,
        },
    )
    app.state.review = Review(store, settings, token)
    return app


def review_of(request: Request) -> Review:
    """Return what a request's app works with."""
    return request.app.state.review


class Guard:
    """Give each answer the headers that keep it to itself, and refuse what is not posted by a page of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                more = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in there]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        request = Request(scope)
        if scope["method"] not in ("GET", "HEAD") and (why := _refusal(request)):
            await JSONResponse({"error": why}, 403)(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)


def _refusal(request: Request) -> str:
    """Say why a request may not change anything; empty where it may."""
    review = review_of(request)
    if review.token is None:
        return "this server only reads: start it with dasanom review --verdicts"
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return "send JSON, with the content type application/json"
    origin, own = request.headers.get("origin"), f"http://{request.headers.get('host')}"
    if (origin or own) != own or request.headers.get("sec-fetch-site", "same-origin") not in (
        "same-origin",
        "none",
    ):
        return "another page may not write here"
    if not review.writes(request):
        return "open the link that the server printed when it started: it carries the token that writers need"
    return ""


async def posted(request: Request) -> dict[str, Any]:
    """Return the JSON object that was posted.

    Raises
    ------
    HTTPException
        Where it is none, or larger than `MOST_BYTES`.
    """
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > MOST_BYTES:
            raise HTTPException(413, f"at most {MOST_BYTES} bytes")
    try:
        values = json.loads(content)
    except ValueError as error:
        raise HTTPException(400, f"this is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise HTTPException(400, "a JSON object is wanted")
    return values


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(24)


def page(request: Request, template: str, code: int = 200, **values: Any) -> HTMLResponse:
    """Return a page made of a template of this package."""
    review = review_of(request)
    common = {"writes": review.writes(request), "verdicts": review.token is not None, "version": _version()}
    content = review.pages.get_template(template).render(**common, **values)
    return HTMLResponse(content, code, headers={"cache-control": "no-store"})


@lru_cache(1)
def _version() -> str:
    """Return what a changed script or style is loaded anew for."""
    import hashlib

    folder = files("dasanom_assets.review") / "static"
    names = sorted(item.name for item in folder.iterdir())
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()[:12]


async def _missing(request: Request, error: Exception) -> Response:
    return await _failed(request, HTTPException(404, str(error)))


async def _not_yet(request: Request, error: Exception) -> Response:
    return await _failed(request, HTTPException(503, str(error)))


async def _failed(request: Request, error: Exception) -> Response:
    """Say in words what went wrong, to a program or to a person."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = str(error.detail if isinstance(error, HTTPException) else f"{type(error).__name__}: {error}")
    if request.url.path.startswith("/api"):
        return JSONResponse({"error": words}, status)
    return page(request, "error.html.j2", status, words=words, status=status)


Handler = Callable[[Request], Response | Awaitable[Response]]
