"""What the schedule and the sensor ask for, as plain functions."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from dasanom_assets.orchestration.attempts import Attempts
from dasanom_assets.orchestration.expected import days_due
from dasanom_assets.orchestration.schedules import LOOK_BACK_DAYS, last_days
from dasanom_assets.orchestration.sensors import (
    DAYS_A_TICK,
    SETTLE_SECONDS,
    Delivery,
    deliveries_to_ingest,
)
from dasanom_assets.settings import AutomationSettings

TODAY = date(2026, 1, 20)
JANUARY = [f"2026-01-{d:02d}" for d in range(1, 32)]


def test_a_tick_looks_back_on_some_days_and_leaves_today_alone() -> None:
    assert last_days(TODAY, JANUARY, date(2026, 1, 15)) == JANUARY[14:19]
    assert last_days(TODAY, JANUARY, date(2026, 1, 1)) == JANUARY[19 - LOOK_BACK_DAYS : 19]


def delivery(day: str, stale: str = "new", newest: float = 0.0, files: int = 1) -> Delivery:
    return Delivery(day, "a", stale, files, 10 * files, newest)


AUTOMATION = AutomationSettings(attempts=3, first_pause_seconds=60, longest_pause_seconds=200)


def test_new_and_changed_days_are_ingested_once_and_again_after_growing_pauses() -> None:
    days = [delivery("2026-01-05", ""), delivery("2026-01-06"), delivery("2026-01-07")]
    todo, waiting = deliveries_to_ingest(days, {}, AUTOMATION, now=1e9)
    assert ([d.day for d in todo], waiting) == (["2026-01-06", "2026-01-07"], [])

    def after(count: int, seconds: float, **how: Any) -> tuple[list[str], list[str]]:
        tried = {"2026-01-06": Attempts(count, 1e9, "run-7", **how), "2026-01-07": Attempts(busy=True)}
        todo, waiting = deliveries_to_ingest(days, tried, AUTOMATION, now=1e9 + seconds)
        return [d.day for d in todo], waiting

    assert after(1, 59)[0] == after(2, 199)[0] == []
    assert after(1, 61)[0] == after(2, 201)[0] == ["2026-01-06"]
    todo, waiting = after(3, 1e6)
    assert todo == []
    assert "2026-01-06: it was tried 3 times, at last by run run-7, and is not any more" in waiting[0]
    assert waiting[1] == "2026-01-07: a run is under way."
    todo, waiting = after(1, 1e6, refused_by="something_readable of recordings")
    assert todo == []
    assert "refused by the check something_readable of recordings" in waiting[0]


def test_a_day_that_is_still_being_delivered_waits_and_says_so() -> None:
    fresh = [delivery("2026-01-05", newest=1000.0)]
    todo, waiting = deliveries_to_ingest(fresh, {}, AUTOMATION, now=1000.0 + SETTLE_SECONDS - 1)
    assert (todo, waiting) == ([], ["Files of 2026-01-05 changed less than 60 s ago."])
    assert deliveries_to_ingest(fresh, {}, AUTOMATION, now=1000.0 + SETTLE_SECONDS)[0] == fresh


def test_a_tick_is_bounded_and_an_empty_folder_is_nothing() -> None:
    many = [delivery(day) for day in JANUARY]
    assert [d.day for d in deliveries_to_ingest(many, {}, AUTOMATION, 1e9)[0]] == JANUARY[:DAYS_A_TICK]
    assert deliveries_to_ingest([delivery("2026-01-05", files=0)], {}, AUTOMATION, 1e9)[0] == []


def test_days_are_due_some_hours_after_their_end_on_the_days_of_the_week_that_are_expected() -> None:
    now = datetime(2026, 1, 20, 13, tzinfo=UTC)
    automation = AutomationSettings(expected_days=4)
    assert days_due(automation, "2026-01-01", now) == JANUARY[15:19]
    assert days_due(automation, "2026-01-18", now) == JANUARY[17:19]
    assert days_due(automation, "2026-01-01", now - timedelta(hours=2)) == JANUARY[15:18]
    # The 17th and 18th are a weekend.
    weekdays = AutomationSettings(expected_days=4, weekdays=(0, 1, 2, 3, 4))
    assert days_due(weekdays, "2026-01-01", now) == ["2026-01-16", "2026-01-19"]
