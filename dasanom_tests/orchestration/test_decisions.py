"""What the schedule and the sensor ask for, as plain functions."""

from datetime import date

from dasanom_assets.orchestration.schedules import LOOK_BACK_DAYS, last_days
from dasanom_assets.orchestration.sensors import (
    DAYS_A_TICK,
    SETTLE_SECONDS,
    Delivery,
    deliveries_to_ingest,
    mark,
)

TODAY = date(2026, 1, 20)
JANUARY = [f"2026-01-{d:02d}" for d in range(1, 32)]


def test_a_tick_looks_back_on_some_days_and_leaves_today_alone() -> None:
    assert last_days(TODAY, JANUARY, date(2026, 1, 15)) == JANUARY[14:19]
    assert last_days(TODAY, JANUARY, date(2026, 1, 1)) == JANUARY[19 - LOOK_BACK_DAYS : 19]


def delivery(day: str, stale: str = "new", newest: float = 0.0, files: int = 1) -> Delivery:
    return Delivery(day, "a", stale, files, 10 * files, newest)


def test_new_and_changed_days_are_ingested_once() -> None:
    days = [delivery("2026-01-05", ""), delivery("2026-01-06"), delivery("2026-01-07")]
    todo, _ = deliveries_to_ingest(days, {}, set(), now=1e9)
    assert [d.day for d in todo] == ["2026-01-06", "2026-01-07"]
    asked = {d.day: mark(d) for d in todo}
    again = [*days[:2], delivery("2026-01-07", "for another reason")]
    assert [d.day for d in deliveries_to_ingest(again, asked, set(), now=1e9)[0]] == ["2026-01-07"]
    todo, why_not = deliveries_to_ingest(days, asked, set(), now=1e9)
    assert todo == []
    assert "All 3 days" in why_not


def test_a_day_that_is_still_being_delivered_or_ingested_waits_and_says_so() -> None:
    fresh = [delivery("2026-01-05", newest=1000.0)]
    todo, why_not = deliveries_to_ingest(fresh, {}, set(), now=1000.0 + SETTLE_SECONDS - 1)
    assert (todo, "2026-01-05 changed less than 60 s ago" in why_not) == ([], True)
    todo, why_not = deliveries_to_ingest(fresh, {}, {"2026-01-05"}, now=1000.0 + SETTLE_SECONDS)
    assert (todo, "under way" in why_not) == ([], True)
    assert deliveries_to_ingest(fresh, {}, set(), now=1000.0 + SETTLE_SECONDS)[0] == fresh


def test_a_tick_is_bounded_and_an_empty_folder_is_nothing() -> None:
    many = [delivery(day) for day in JANUARY]
    assert [d.day for d in deliveries_to_ingest(many, {}, set(), 1e9)[0]] == JANUARY[:DAYS_A_TICK]
    assert deliveries_to_ingest([delivery("2026-01-05", files=0)], {}, set(), 1e9)[0] == []
