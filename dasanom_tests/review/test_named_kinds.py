"""Kinds of event are found over weeks, and the name that an analyst gives to one stays with it."""

from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from dasanom_assets.review import kinds
from dasanom_assets.review.app import create_app
from dasanom_assets.settings import Settings
from dasanom_assets.tables.schemas import vector
from dasanom_assets.tables.store import Store
from dasanom_tests.detection.events.test_kinds import BANDS, lone, sounds
from dasanom_tests.review.conftest import BASE, TOKEN, rows_of
from dasanom_tests.review.made import event, ours, write

DAYS = ("2026-03-02", "2026-03-03", "2026-03-04")
EACH = 6


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two days with six events each of two kinds, and one that is like no other."""
    store = Store(str(tmp_path_factory.mktemp("kinds")))
    for i, day in enumerate(DAYS[:2]):
        add(store, day, i)
    return store


def add(store: Store, day: str, seed: int) -> None:
    names = [f"{kind}{i}-{day}" for kind in ("low", "high") for i in range(EACH)] + [f"lone-{day}"]
    events = [ours(100 * i, 10, i, i, event_id=name, rate=0.01 + i) for i, name in enumerate(names)]
    write(store, day, events=events)
    rng = np.random.default_rng(seed)
    profiles = np.concatenate([sounds(rng, 8, EACH), sounds(rng, 28, EACH), lone(rng, 1)])
    table = store.read_day("event_explanations", day)
    column = table.schema.get_field_index("profile")
    store.write_day("event_explanations", day, table.set_column(column, "profile", vector(profiles, BANDS)))


@pytest.fixture
def client(written: Store) -> TestClient:
    app = create_app(written, Settings(data=written.full("")), TOKEN)
    return TestClient(app, base_url=BASE, headers={"authorization": f"Bearer {TOKEN}"})


def kind_of(client: TestClient, event: str, day: str = DAYS[1]) -> dict | None:
    return client.get(f"/api/days/{day}/alarms/{event}-{day}/kind").json()["kind"]


def test_a_day_tells_its_kinds_and_shows_the_rows_of_one(client: TestClient) -> None:
    told = client.get(f"/api/days/{DAYS[1]}/kinds").json()
    assert [(kind["events"], kind["days"], kind["first_day"]) for kind in told["kinds"]] == [(12, 2, DAYS[0])] * 2
    assert {event.split("-")[0][:3] for event in told["rows"]} == {"low", "hig"}
    low = told["rows"][f"low0-{DAYS[1]}"]
    assert {row["id"] for row in rows_of(client, DAYS[1], sounds=str(low))} == {
        f"low{i}-{DAYS[1]}" for i in range(EACH)
    }


def test_an_alarm_names_others_of_its_kind_and_one_that_is_like_no_other_is_of_none(client: TestClient) -> None:
    told = client.get(f"/api/days/{DAYS[1]}/alarms/low0-{DAYS[1]}/kind").json()
    assert {other["event"][:3] for other in told["others"]} == {"low"}
    assert {other["day"] for other in told["others"]} == set(DAYS[:2])
    assert kind_of(client, "lone") is None


def test_a_name_is_added_shows_on_days_before_and_after_and_is_taken_back(
    client: TestClient, written: Store
) -> None:
    at = f"/api/days/{DAYS[1]}/alarms/low0-{DAYS[1]}/kind"
    entry = {"entry_id": "name-0001", "who": "Ada", "kind": "rail <works>"}
    assert client.post(at, json=entry).json() == {"stored": True}
    add(written, DAYS[2], 7)  # another day: kinds are found again
    for day in DAYS:
        assert kind_of(client, "low1", day)["name"] == "rail <works>"
        assert kind_of(client, "high1", day)["name"] is None
    assert kind_of(client, "low1")["by"] == "Ada"
    undo = {"entry_id": "name-0002", "who": "Grace", "undoes": "name-0001"}
    assert client.post("/api/kinds/undo", json=undo).status_code == 200
    assert kind_of(client, "low1")["name"] is None
    assert len(written.listing("kind_names")) == 2


def test_what_is_no_name_is_refused_in_words(client: TestClient) -> None:
    entry = {"entry_id": "name-0003", "who": "Ada", "kind": " "}
    for name, more, status, words in (
        ("low0", {}, 400, "name"),
        ("low0", {"who": None, "kind": "x"}, 400, "who you are"),
        ("lone", {"kind": "x"}, 404, "no kind"),
    ):
        at = f"/api/days/{DAYS[1]}/alarms/{name}-{DAYS[1]}/kind"
        answer = client.post(at, json=entry | more)
        assert answer.status_code == status
        assert words in answer.json()["error"]
    answer = client.post("/api/kinds/undo", json={"entry_id": "name-0004", "who": "Ada", "undoes": "nothing"})
    assert answer.status_code == 404


def test_of_very_many_events_those_of_the_last_days_count(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "MOST_EVENTS", 2 * EACH + 2)  # those of one day
    told = client.get(f"/api/days/{DAYS[1]}/kinds").json()
    assert [(kind["events"], kind["first_day"]) for kind in told["kinds"]] == [(EACH, DAYS[1])] * 2


def test_a_day_without_alarms_of_ours_has_no_kinds(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    theirs = [event(5, 9, 1, 2, event_id="theirs") | {"contractor_class": "digging", "probability": 0.9}]
    write(store, DAYS[0], theirs=theirs)
    client = TestClient(create_app(store, Settings(data=store.full(""))), base_url=BASE)
    assert client.get(f"/api/days/{DAYS[0]}/kinds").json() == {"kinds": [], "rows": {}}
    assert client.get(f"/api/days/{DAYS[0]}/alarms/theirs/kind").json() == {"kind": None, "others": []}
