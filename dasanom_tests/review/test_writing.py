"""Verdicts and planned works are added and never changed, survive a kill and a new model, and change tomorrow."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from dasanom_assets.review.app import create_app
from dasanom_assets.settings import Settings
from dasanom_assets.tables import verdicts
from dasanom_assets.tables.store import Store
from dasanom_tests.review.conftest import judge, rows_of
from dasanom_tests.review.made import DAY, ours, write

WORK = {
    "who": "Grace",
    "fibre": "north",
    "first_m": 90,
    "last_m": 130,
    "start": f"{DAY}T00:05:00Z",
    "end": f"{DAY}T00:20:00+00:00",
    "why": "new valve",
}


def verdict_of(client: TestClient, event: str) -> str | None:
    return next(row["verdict"] for row in rows_of(client) if event in row["members"])


def test_a_verdict_shows_and_is_taken_back_by_an_entry(writer: TestClient, store: Store) -> None:
    assert judge(writer, "dig", "true", "entry-0001", kind="pickaxe", note="two men").json() == {"stored": True}
    row = next(row for row in rows_of(writer) if row["id"] == "dig")
    assert (row["verdict"], row["kind"], row["note"], row["by"]) == ("true", "pickaxe", "two men", "Ada")
    undo = {"entry_id": "entry-0002", "who": "Ada", "undoes": "entry-0001"}
    assert writer.post(f"/api/days/{DAY}/alarms/dig/verdicts/undo", json=undo).status_code == 200
    assert verdict_of(writer, "dig") is None
    assert verdicts.entries(store, DAY)["entry_id"].to_pylist() == ["entry-0001", "entry-0002"]
    undo |= {"entry_id": "entry-0003", "undoes": "entry-0002"}  # an undoing can be taken back, too
    assert writer.post(f"/api/days/{DAY}/alarms/dig/verdicts/undo", json=undo).status_code == 200
    assert verdict_of(writer, "dig") == "true"


def test_what_is_sent_twice_is_there_once(writer: TestClient, store: Store) -> None:
    for verdict in ("true", "false"):
        assert judge(writer, "dig", verdict, "entry-0001").status_code == 200
    assert verdicts.entries(store, DAY)["verdict"].to_pylist() == ["true"]


def test_the_last_verdict_counts(writer: TestClient) -> None:
    for i, verdict in enumerate(("true", "unknown", "false")):
        judge(writer, "dig", verdict, f"entry-000{i}")
    assert verdict_of(writer, "dig") == "false"


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "maybe"},
        {"verdict": "undo"},
        {"who": " "},
        {"entry_id": "../../etc/passwd"},
        {"entry_id": "short"},
        {"note": "x" * 2001},
    ],
)
def test_what_is_no_verdict_is_refused_and_leaves_nothing(
    writer: TestClient, store: Store, change: dict[str, str]
) -> None:
    body = {"entry_id": "entry-0001", "who": "Ada", "verdict": "true"} | change
    answer = writer.post(f"/api/days/{DAY}/alarms/dig/verdicts", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert not store.exists("verdicts")


def test_a_verdict_survives_a_new_model_that_finds_the_event_otherwise(writer: TestClient, store: Store) -> None:
    judge(writer, "dig", "true", "entry-0001")
    write(store, events=[ours(605, 38, 19, 24, event_id="other"), ours(2000, 30, 10, 12, event_id="alone")])
    assert verdict_of(writer, "other") == "true"
    assert verdict_of(writer, "alone") is None


def test_a_row_of_many_pieces_is_judged_as_a_whole(writer: TestClient, store: Store) -> None:
    judge(writer, "lorry-1", "false", "entry-0001")
    (entry,) = verdicts.entries(store, DAY).to_pylist()
    assert (entry["first_channel"], entry["last_channel"]) == (40, 52)
    assert verdict_of(writer, "lorry-2") == "false"


def test_planned_work_explains_its_alarms_and_hides_none(writer: TestClient) -> None:
    before = len(rows_of(writer))
    assert writer.post("/api/planned", json=WORK | {"entry_id": "work-0001"}).status_code == 200
    rows = rows_of(writer)
    assert len(rows) == before
    dig = next(row for row in rows if row["id"] == "dig")
    assert dig["planned"] == "new valve (Grace)"
    assert dig["rank"] > 1
    assert "planned: new valve" in dig["why"]
    assert not any(row["planned"] for row in rows if row["id"] == "alone")
    undo = {"entry_id": "work-0002", "who": "Grace", "undoes": "work-0001"}
    assert writer.post("/api/planned/undo", json=undo).status_code == 200
    assert rows_of(writer)[0]["id"] == "dig"
    assert writer.get("/api/planned").json() == {"planned": []}


@pytest.mark.parametrize("change", [{"first_m": 200}, {"start": "soon"}, {"end": f"{DAY}T00:00:00Z"}, {"why": ""}])
def test_planned_work_that_cannot_be_is_refused(writer: TestClient, change: dict) -> None:
    answer = writer.post("/api/planned", json=WORK | {"entry_id": "work-0001"} | change)
    assert answer.status_code == 400
    assert "planned work" in answer.json()["error"]


def test_planned_works_come_from_a_file_all_or_none_and_once(writer: TestClient) -> None:
    names = "fibre,first_m,last_m,start,end,why\n"
    good = f"north,90,130,{DAY}T00:05,{DAY}T00:20,valve\nnorth,0,10,{DAY}T00:00,{DAY}T01:00,mast\n"
    bad = writer.post("/api/planned/import", json={"who": "Grace", "csv": f"{names}{good}north,9,1,x,y,z\n"})
    assert bad.status_code == 400
    assert "line 4" in bad.json()["error"]
    assert writer.get("/api/planned").json()["planned"] == []
    for _ in range(2):
        assert writer.post("/api/planned/import", json={"who": "Grace", "csv": names + good}).status_code == 200
    assert sorted(work["why"] for work in writer.get("/api/planned").json()["planned"]) == ["mast", "valve"]


def test_a_confirmed_nuisance_is_remembered_at_its_place_for_a_while(writer: TestClient, store: Store) -> None:
    judge(writer, "alone", "false", "entry-0001")
    for day, remembered in (("2026-03-03", True), ("2026-05-03", False)):
        write(store, day, events=[ours(3000, 30, 10, 12, event_id=f"again-{day}")])
        (row,) = rows_of(writer, day)
        assert (row["memory"] is not None) == remembered


def test_tomorrow_leaves_out_threats_and_keeps_nuisances(writer: TestClient, store: Store) -> None:
    def boxes() -> set[tuple[int, int]]:
        table = verdicts.unusual(store, DAY)
        return set(zip(table["first_channel"].to_pylist(), table["last_channel"].to_pylist(), strict=True))

    assert {(20, 24), (10, 12)} <= boxes()
    judge(writer, "alone", "false", "entry-0001")
    judge(writer, "cell-1", "true", "entry-0002")
    assert (10, 12) not in boxes()
    assert {(20, 24), (50, 50)} <= boxes()


def test_eight_writers_at_once_lose_nothing_and_enter_nothing_twice(store: Store) -> None:
    app = create_app(store, Settings(data=store.full("")), "token-of-the-test")
    headers = {"authorization": "Bearer token-of-the-test"}

    def write_some(number: int) -> None:
        client = TestClient(app, base_url="http://127.0.0.1", headers=headers)
        for i in range(10):
            for _ in range(2):  # each is sent twice, as after an answer that was lost
                assert judge(client, "dig", "true", f"entry-{number}-{i:04d}").status_code == 200

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_some, range(8)))
    names = verdicts.entries(store, DAY)["entry_id"].to_pylist()
    assert len(names) == len(set(names)) == 80
