"""The app keeps to its machine and its pages, and what comes from files stays inert."""

from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from dasanom_assets.review.app import create_app
from dasanom_assets.review.openapi import ENDPOINTS
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store
from dasanom_tests.review.conftest import BASE, TOKEN, judge
from dasanom_tests.review.made import DAY, NAME, ours, write

PAGES = ("/days", f"/day/{DAY}", f"/day/{DAY}/alarm/dig", f"/day/{DAY}/map", "/planned")


@pytest.mark.parametrize("path", PAGES)
def test_each_page_answers_with_a_policy_that_lets_no_script_of_others_run(reader: TestClient, path: str) -> None:
    answer = reader.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script>" not in answer.text
    assert " style=" not in answer.text
    assert "onclick" not in answer.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", ""])
def test_another_host_is_refused(reader: TestClient, host: str) -> None:
    assert reader.get("/days", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("path", [f"/day/{DAY}/alarm/none", "/day/2026-02-31", "/day/..%2f..%2fetc", "/nothing"])
def test_what_is_not_there_is_told_in_words(reader: TestClient, path: str) -> None:
    answer = reader.get(path)
    assert answer.status_code == 404
    assert "list of days" in answer.text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (f"/api/days/{DAY}/waterfall?fibre=north&layer=power&from=x&to=2&first=0&last=1&width=1&height=1", "from"),
        (
            f"/api/days/{DAY}/waterfall?fibre=north&layer=colour&from=1&to=2&first=0&last=1&width=1&height=1",
            "layer",
        ),
        (f"/api/days/{DAY}/boxes?fibre=north&from=2&to=1&first=0&last=1", "before"),
        (f"/api/days/{DAY}/alarms/dig/picture?what=x", "what"),
        (f"/api/days/{DAY}/alarms/dig/sound.wav?speed=1000", "speed"),
        (f"/api/days/{DAY}/alarms?limit=x", "limit"),
    ],
)
def test_a_question_that_cannot_be_is_refused_in_words(reader: TestClient, path: str, words: str) -> None:
    answer = reader.get(path)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_names_from_files_are_inert(tmp_path) -> None:
    store = Store(str(tmp_path))
    bad = ours(600, 40, 20, 24, NAME, event_id='"><script>alert(1)</script>')
    write(store, events=[bad], fibre=NAME)
    client = TestClient(create_app(store, Settings(data=str(tmp_path))), base_url=BASE)
    tags: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list) -> None:
            tags.append(tag)
            assert not any(name.startswith("on") for name, _ in attrs)

    for path in ("/days", f"/day/{DAY}"):
        page = client.get(path).text
        Tags().feed(page)
        assert NAME not in page
        assert "&lt;img src=x" in page
    assert "img" not in tags
    assert tags.count("script") == 1


def test_a_server_without_verdicts_takes_nothing(reader: TestClient) -> None:
    answer = judge(reader, "dig", "true", "entry-0001")
    assert answer.status_code == 403
    assert "--verdicts" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer another"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:3000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ],
)
def test_writes_need_the_token_and_json_from_our_own_pages(writer: TestClient, headers: dict[str, str]) -> None:
    body = b'{"entry_id": "entry-0001", "who": "Ada", "verdict": "true"}'
    sent = {"content-type": "application/json"} | headers
    answer = writer.post(f"/api/days/{DAY}/alarms/dig/verdicts", content=body, headers=sent)
    assert answer.status_code == 403


def test_the_link_that_is_printed_lets_in_and_another_does_not(store: Store) -> None:
    app = create_app(store, Settings(data=store.full("")), TOKEN)
    for token, status in (("wrong", 403), (TOKEN, 200)):
        client = TestClient(app, base_url=BASE)
        client.get("/enter", params={"token": token})
        assert judge(client, "dig", "true", "entry-0001").status_code == status


def test_every_path_of_the_api_is_in_its_document(reader: TestClient) -> None:
    document = reader.get("/api/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert {(path, method) for path, item in document["paths"].items() for method in item} == {
        (e.path, e.method.lower()) for e in ENDPOINTS
    }
    for item in document["paths"].values():
        for operation in item.values():
            assert operation["summary"].endswith(".") or ":" in operation["summary"]


def test_too_much_is_not_taken(writer: TestClient) -> None:
    answer = judge(writer, "dig", "true", "entry-0001", note="x" * (2 << 20))
    assert answer.status_code == 413
