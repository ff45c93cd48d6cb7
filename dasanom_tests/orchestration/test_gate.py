"""No request that a page of another site could send changes anything: all mutations of the schema are tried."""

import json
from collections.abc import Iterator
from urllib.parse import quote

import dagster as dg
import pytest
from dagster_graphql.schema import create_schema
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    get_named_type,
    is_composite_type,
    is_required_argument,
    is_required_input_field,
    parse,
    validate,
)
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from dasanom_assets.orchestration.gate import own_hosts
from dasanom_assets.orchestration.webserver import gated_app

PORT = 3000
OWN = f"http://127.0.0.1:{PORT}"
SCHEMA = create_schema().graphql_schema
MUTATIONS = SCHEMA.mutation_type.fields


def literal(kind) -> str:
    """A value that an argument of a type may have."""
    if isinstance(kind, GraphQLNonNull):
        return literal(kind.of_type)
    if isinstance(kind, GraphQLList):
        return f"[{literal(kind.of_type)}]"
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    if isinstance(kind, GraphQLInputObjectType):
        needed = {name: field for name, field in kind.fields.items() if is_required_input_field(field)}
        return "{" + ", ".join(f"{name}: {literal(field.type)}" for name, field in needed.items()) + "}"
    assert isinstance(kind, GraphQLScalarType)
    return {"Int": "1", "Float": "1.0", "Boolean": "true"}.get(kind.name, '"x"')


def mutation(name: str, field: GraphQLField) -> str:
    """A whole mutation, as a hostile page would write it."""
    needed = [f"{n}: {literal(a.type)}" for n, a in field.args.items() if is_required_argument(a)]
    arguments = f"({', '.join(needed)})" if needed else ""
    answer = "{ __typename }" if is_composite_type(get_named_type(field.type)) else ""
    return f"mutation {{ {name}{arguments} {answer} }}"


ATTACKS = {name: mutation(name, field) for name, field in MUTATIONS.items()}


@pytest.fixture(scope="module", params=[False, True], ids=["operators", "analysts"])
def client(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """The web server's own application, with an instance of its own; `read_only` of it says for whom it is."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import EmptyWorkspaceTarget

    with (
        dg.instance_for_test() as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget(), "0", read_only=request.param) as context,
    ):
        app = gated_app(context, own_hosts(PORT, ["das.example.org"]), read_only=request.param)
        with TestClient(app, base_url=OWN, raise_server_exceptions=False) as client:
            client.read_only = request.param
            yield client


def test_every_attack_is_a_mutation_that_the_schema_takes() -> None:
    assert len(ATTACKS) > 30
    for text in ATTACKS.values():
        assert validate(SCHEMA, parse(text)) == []


@pytest.mark.parametrize("name", ATTACKS)
def test_no_mutation_passes_but_as_json_from_a_page_of_the_server(client: TestClient, name: str) -> None:
    text = ATTACKS[name]
    url, body = f"/graphql?query={quote(text)}", {"query": text}
    refused = [
        client.get(url),
        client.get(url, headers={"Accept": "text/html"}),
        client.head(url),
        client.post(url),
        client.post(url, content="x=1", headers={"Content-Type": "application/x-www-form-urlencoded"}),
        client.post("/graphql", content=json.dumps(body), headers={"Content-Type": "text/plain"}),
        client.post(
            "/graphql", content=json.dumps(body), headers={"Content-Type": "text/plain; application/json"}
        ),
        client.post("/graphql", content=text, headers={"Content-Type": "application/graphql"}),
        client.post("/graphql", json=body, headers={"Origin": "http://evil.example"}),
        client.post("/graphql", json=body, headers={"Origin": "null"}),
        client.post("/graphql", json=body, headers={"Origin": f"http://127.0.0.1:{PORT + 1}"}),
        client.post("/graphql", json=body, headers={"Sec-Fetch-Site": "cross-site"}),
        client.post("/graphql", json=body, headers={"Host": "evil.example"}),
        client.post("/graphql", json=body, headers={"Host": f"evil.example:{PORT}"}),
        client.post("/graphql/", json=body, headers={"Origin": "http://evil.example"}),
        client.options("/graphql", headers={"Origin": "http://evil.example"}),
    ]
    assert [answer.status_code for answer in refused if answer.status_code not in (403, 405, 415, 421)] == []
    if client.read_only:
        assert client.post("/graphql", json=body, headers={"Origin": OWN}).status_code == 403


def test_its_own_pages_read_and_operators_change(client: TestClient) -> None:
    read = client.post("/graphql", json={"query": "{ version }"}, headers={"Origin": OWN})
    assert read.json() == {"data": {"version": "0"}}
    change = client.post("/graphql", json={"query": "mutation { setNuxSeen }"}, headers={"Origin": OWN})
    assert (change.status_code == 403) if client.read_only else (change.json() == {"data": {"setNuxSeen": True}})
    named = {"Host": "das.example.org", "Origin": "https://das.example.org"}
    assert client.post("/graphql", json={"query": "{ version }"}, headers=named).status_code == 200


def test_several_operations_or_a_fragment_hide_no_mutation_from_the_analysts_server(client: TestClient) -> None:
    if not client.read_only:
        pytest.skip("operators may")
    hidden = "query A { version } mutation B { setNuxSeen }"
    for body in ({"query": hidden, "operationName": "B"}, {"query": hidden}, [{"query": hidden}], {"query": "{"}):
        assert client.post("/graphql", json=body).status_code == 403


def test_events_are_not_reported_from_elsewhere_nor_to_the_analysts_server(client: TestClient) -> None:
    for kind in ("materialization", "check", "observation"):
        url = f"/report_asset_{kind}/recordings?check_name=x&passed=true"
        assert client.post(url).status_code == 415
        assert client.post(url, json={}, headers={"Origin": "http://evil.example"}).status_code == 403
        if client.read_only:
            assert client.post(url, json={}).status_code == 403


def test_pages_open_by_links_and_by_own_names_and_in_no_foreign_frame(client: TestClient) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    page = client.get("/runs", headers=link)
    assert page.status_code == 200
    assert page.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert client.get("/runs", headers=link | {"Sec-Fetch-Dest": "iframe"}).status_code == 403
    assert client.get("/server_info", headers={"Host": f"localhost:{PORT}"}).status_code == 200
    assert client.get("/server_info", headers={"Host": "evil.example"}).status_code == 421


def test_a_socket_is_for_own_pages_and_takes_no_mutation(client: TestClient) -> None:
    host = OWN.removeprefix("http://")
    for headers in ({}, {"Origin": "http://evil.example", "Host": host}, {"Origin": OWN, "Host": "evil.example"}):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/graphql", headers=headers):
            pass
    with client.websocket_connect(
        "/graphql", ["graphql-ws"], headers={"Origin": OWN, "Host": OWN.removeprefix("http://")}
    ) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json()["type"] == "connection_ack"
        socket.send_json({"type": "start", "id": "1", "payload": {"query": "mutation { setNuxSeen }"}})
        assert socket.receive_json()["type"] == "error"
