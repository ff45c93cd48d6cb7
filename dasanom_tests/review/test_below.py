"""What lies below the threshold is told, looked at and judged, and is an alarm nowhere."""

import pytest
from starlette.testclient import TestClient

from dasanom_assets.tables.store import Store
from dasanom_tests.review.conftest import judge, rows_of
from dasanom_tests.review.made import DAY, event, ours, write


@pytest.fixture
def store(store: Store) -> Store:
    """Two alarms of ours, three of the contractor, of which one is a cell, and what lies below our threshold."""
    walk, drive, cell = (
        {"contractor_class": kind, "probability": p}
        for kind, p in (("walking", 0.99), ("machine", 0.9), ("walking", 0.6))
    )
    write(
        store,
        events=[
            ours(600, 40, 20, 24, rate=0.1, event_id="rare"),
            ours(1200, 40, 20, 24, rate=0.9, event_id="less"),
        ],
        theirs=[
            event(1800, 30, 40, 44, event_id="walk") | walk,
            event(2400, 30, 40, 44, event_id="drive") | drive,
            event(3000, 0.2, 50, 50, event_id="cell") | cell,
            event(3100, 0.2, 50, 50, event_id="cell-alone") | cell,
        ],
        below=[
            ours(300, 20, 5, 6, rate=2.0, event_id="faint"),
            ours(610, 20, 22, 26, rate=2.5, event_id="of-rare"),
            ours(2405, 20, 41, 44, rate=3.0, event_id="of-drive"),
            ours(2999, 3, 49, 51, rate=4.0, event_id="of-cell"),
        ],
    )
    return store


def test_it_has_rows_by_rate_behind_our_alarms_and_lifts_those_of_the_contractor(reader: TestClient) -> None:
    rows = rows_of(reader)
    assert [(row["id"], row["agreement"], row["alarms"]) for row in rows] == [
        ("rare", "only_us", 1),
        ("less", "only_us", 1),
        ("faint", "below", 0),
        ("drive", "only_contractor", 1),
        ("cell", "only_contractor", 1),
        ("walk", "only_contractor", 1),
        ("cell-alone", "only_contractor", 1),
    ]
    assert "below our threshold: no alarm" in rows[2]["why"]
    assert "what we have there lies below our threshold" in rows[3]["why"]
    assert (rows[3]["rate"], rows[5]["rate"], rows[0]["rate"]) == (3.0, None, 0.1)
    assert rows[2]["hz"] == [200.0]


def test_it_counts_as_no_alarm_and_is_in_no_export(reader: TestClient, store: Store) -> None:
    head = reader.get(f"/api/days/{DAY}").json()
    assert (head["alarms"], head["contractor_alarms"], head["rows"]) == (2, 4, 7)
    assert head["counts"] == {"both": 0, "only_us": 2, "only_contractor": 4, "below": 1}
    assert head["agreement"]["ours_matched"] == 0
    assert "1 row below our threshold, no alarms" in reader.get(f"/day/{DAY}").text
    assert "faint" not in reader.get(f"/api/days/{DAY}/events.csv").text
    assert "faint" not in str(reader.get(f"/api/days/{DAY}/triage").json())


def test_it_is_drawn_as_what_it_is_and_has_a_page(reader: TestClient, store: Store) -> None:
    (faint,) = rows_of(reader, agreement="below")
    window = {"fibre": "north", "from": faint["start"], "to": faint["end"], "first": 0, "last": 63}
    boxes = reader.get(f"/api/days/{DAY}/boxes", params=window).json()["boxes"]
    assert [(box[4], box[5], box[6]) for box in boxes] == [("below", "below", "faint")]
    assert "below threshold" in reader.get(f"/day/{DAY}/alarm/faint").text
    store.write_day("recordings", DAY, store.read_day("recordings", DAY).slice(0, 0))
    told = reader.get(f"/api/days/{DAY}/alarms/faint").json()
    assert (told["ours"], told["event"]["window_start"], told["explanation"]) == (True, faint["start"], {})


def test_it_can_be_judged(writer: TestClient) -> None:
    assert judge(writer, "faint", "true", "entry-of-faint").status_code == 200
    (row,) = (row for row in rows_of(writer) if row["id"] == "faint")
    assert (row["verdict"], row["settled"]) == ("true", True)


def test_a_day_that_was_scored_before_there_was_such_a_table_is_shown(reader: TestClient, store: Store) -> None:
    store.drop_day("events_below", DAY)
    assert {row["agreement"] for row in rows_of(reader)} == {"only_us", "only_contractor"}
