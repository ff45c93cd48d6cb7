"""What the schedule and the sensor ask for, as plain functions."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa

from dasanom_assets.comparison.assets import MADE_FROM, REPORTS
from dasanom_assets.orchestration.schedules import LOOK_BACK_DAYS, last_days, rescored
from dasanom_assets.orchestration.sensors import DAYS_A_TICK, SETTLE_SECONDS, Delivery, deliveries_to_ingest
from dasanom_assets.tables.schemas import empty, vector
from dasanom_assets.tables.store import Store

TODAY = date(2026, 1, 20)
JANUARY = [f"2026-01-{d:02d}" for d in range(1, 32)]


def test_a_tick_looks_back_on_some_days_and_leaves_today_alone() -> None:
    assert last_days(TODAY, JANUARY, date(2026, 1, 15)) == JANUARY[14:19]
    assert last_days(TODAY, JANUARY, date(2026, 1, 1)) == JANUARY[19 - LOOK_BACK_DAYS : 19]


def test_a_day_is_done_once_its_report_is_of_the_live_model_and_of_what_there_is(tmp_path: Path) -> None:
    store, before, day = Store(str(tmp_path)), "2026-01-18", "2026-01-19"

    def ingested(digest: str) -> None:
        levels = {name: vector(np.zeros((0, 2), np.float32), 2) for name in ("median_db", "mad_db")}
        keys = {name: empty("background")[name] for name in ("fibre", "channel")}
        store.write_day("background", day, pa.table(keys | levels), {"content_digest": digest})
        note = {"landing_digest": digest, "content_digest": digest}
        store.write_day("recordings", day, empty("recordings"), note)

    def scored(of: str, model: str, digest: str, **midnight: str) -> None:
        note = {"model_version": model, "landing_digest": digest, "at_midnight": "", "before": ""} | midnight
        store.write_day("anomaly_events", of, empty("anomaly_events"), note)

    def reported() -> None:
        store.write_json(f"{REPORTS}/day={day}/{MADE_FROM}", store.metadata("anomaly_events", day))

    ingested("a")
    assert not rescored(store, day, "live")
    scored(day, "live", "a")
    assert not rescored(store, day, "live")  # the run ended before the report
    reported()
    assert rescored(store, day, "live")
    assert not rescored(store, day, "newer")
    ingested("of more files")
    assert not rescored(store, day, "live")
    ingested("a")
    assert rescored(store, day, "live")
    store.write_day("recordings", day, empty("recordings"), {"landing_digest": "a", "content_digest": "b"})
    assert not rescored(store, day, "live")  # the ingest is not through
    ingested("a")
    scored(before, "old", "b", at_midnight="something goes on")
    assert rescored(store, day, "live")  # another model's word is not taken
    scored(before, "live", "b", at_midnight="something goes on")
    assert not rescored(store, day, "live")
    scored(day, "live", "a", before="something goes on")
    reported()
    assert rescored(store, day, "live")


def delivery(day: str, digest: str = "a", newest: float = 0.0, files: int = 1) -> Delivery:
    return Delivery(day, digest, files, 10 * files, newest)


def test_new_and_changed_days_are_ingested_once() -> None:
    days = [delivery("2026-01-05"), delivery("2026-01-06", "b"), delivery("2026-01-07", "c")]
    done = {"2026-01-05": "a", "2026-01-06": "a"}
    todo, _ = deliveries_to_ingest(days, done, {}, set(), now=1e9)
    assert [d.day for d in todo] == ["2026-01-06", "2026-01-07"]
    asked = {d.day: d.digest for d in todo}
    todo, why_not = deliveries_to_ingest(days, done, asked, set(), now=1e9)
    assert todo == []
    assert "All 3 days" in why_not


def test_a_day_that_is_still_being_delivered_or_ingested_waits_and_says_so() -> None:
    fresh = [delivery("2026-01-05", newest=1000.0)]
    todo, why_not = deliveries_to_ingest(fresh, {}, {}, set(), now=1000.0 + SETTLE_SECONDS - 1)
    assert (todo, "2026-01-05 changed less than 60 s ago" in why_not) == ([], True)
    todo, why_not = deliveries_to_ingest(fresh, {}, {}, {"2026-01-05"}, now=1000.0 + SETTLE_SECONDS)
    assert (todo, "under way" in why_not) == ([], True)
    assert deliveries_to_ingest(fresh, {}, {}, set(), now=1000.0 + SETTLE_SECONDS)[0] == fresh


def test_a_tick_is_bounded_and_an_empty_folder_is_nothing() -> None:
    many = [delivery(day) for day in JANUARY]
    assert [d.day for d in deliveries_to_ingest(many, {}, {}, set(), 1e9)[0]] == JANUARY[:DAYS_A_TICK]
    assert deliveries_to_ingest([delivery("2026-01-05", files=0)], {}, {}, set(), 1e9)[0] == []
