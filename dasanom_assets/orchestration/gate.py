"""What stands before a web server without a login: requests that a page of another site could send are refused.

Dagster's web server takes mutations by GET, as plain text, from pages of any origin and under any host name. A
browser sends such requests for whoever looks at a hostile page or picture. What a browser cannot send for another
site is JSON by POST with an origin of the server's own.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

GRAPHQL = "/graphql"
LARGEST_BODY = 4 << 20
"""Bytes of a request to a server that only reads, at most: each is looked into."""


@dataclass(frozen=True)
class Refusal:
    """An HTTP status, and in words why."""

    status: int
    reason: str


def own_hosts(port: int, more: Iterable[str] = ()) -> frozenset[str]:
    """Return the values of `Host` that a server on `port` of this machine answers to.

    Parameters
    ----------
    port : int
    more : iterable of str
        Names that a proxy in front passes on, as ``das.example.org`` or ``das.example.org:8443``.
    """
    names = ("127.0.0.1", "localhost", "[::1]")
    return frozenset([*(f"{name}:{port}" for name in names), *(host.lower() for host in more)])


class Gate:
    """ASGI middleware that lets through what comes from the server's own pages, or from no browser.

    Parameters
    ----------
    app : ASGI application
    hosts : iterable of str
        Values of `Host` that are answered; see `own_hosts`.
    read_only : bool
        Whether every mutation is refused, too, also those that need no permission of Dagster's.
    """

    def __init__(self, app: App, hosts: Iterable[str], *, read_only: bool = False) -> None:
        self.app, self.hosts, self.read_only = app, frozenset(hosts), read_only

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        refusal = self.refusal(scope)
        if refusal is None and self.read_only and scope["type"] == "http" and scope["method"] == "POST":
            body, refusal = await _body(receive)
            refusal = refusal or mutates(body)
            receive = _replayed(body, receive)
        if refusal is None:
            return await self.app(scope, receive, _guarded(send) if scope["type"] == "http" else send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
        return await PlainTextResponse(refusal.reason + "\n", refusal.status)(scope, receive, send)

    def refusal(self, scope: MutableMapping[str, Any]) -> Refusal | None:
        """Say why a request is refused, from its first line and headers; None where it is not."""
        headers = Headers(scope=scope)
        if len(hosts := headers.getlist("host")) != 1 or hosts[0].lower() not in self.hosts:
            return Refusal(421, "this server has another name: set DASANOM_WEB__HOSTS to names that it may have")
        origins = [f"{scheme}://{hosts[0]}".lower() for scheme in ("http", "https")]
        given = headers.getlist("origin")
        foreign = any(origin.lower() not in origins for origin in given)
        if scope["type"] == "websocket":
            # Browsers always name the origin of a socket, and would let any page read what it tells.
            return None if given and not foreign else Refusal(403, "a socket is for pages of this server only")
        method = scope["method"]
        # A link from elsewhere may lead here; pictures, frames and scripts of other sites may not be from here.
        followed = method == "GET" and headers.get("sec-fetch-dest") == "document"
        if foreign or (headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not followed):
            return Refusal(403, "the request comes from a page of another site")
        if method not in ("GET", "HEAD", "POST"):
            return Refusal(405, f"{method} is nothing that this server does")
        if method != "POST" and scope["path"].rstrip("/").endswith(GRAPHQL):
            return Refusal(405, "GraphQL is asked by POST")
        if (
            method == "POST"
            and headers.get("content-type", "").split(";")[0].strip().lower() != "application/json"
        ):
            return Refusal(415, "what is posted must be JSON, and say so: Content-Type: application/json")
        return None


def mutates(body: bytes) -> Refusal | None:
    """Refuse a GraphQL request that holds a mutation, or cannot be read; None for one that only reads."""
    try:
        document = parse(str(json.loads(body)["query"]))
    except (ValueError, KeyError, TypeError, GraphQLError, RecursionError):
        return Refusal(403, "this server only reads, and what was posted is no GraphQL query")
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode) and node.operation is not OperationType.QUERY:
            return Refusal(403, "this server only reads: mutations are for the operators' one")
    return None


async def _body(receive: Receive) -> tuple[bytes, Refusal | None]:
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body, Refusal(400, "the request ended early")
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            return body, Refusal(413, f"a request has {LARGEST_BODY} bytes at most")
        if not message.get("more_body"):
            return body, None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read once more, and then what else comes."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _guarded(send: Send) -> Send:
    """Forbid other sites to show an answer in a frame, where clicks could be led astray."""

    async def with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Frame-Options"] = "SAMEORIGIN"
        await send(message)

    return with_header
