"""A step leaves in its table what it read, and a table says why it would be another one now."""

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dasanom_assets.settings import BackgroundSettings, DetectionSettings, Settings
from dasanom_assets.tables.provenance import (
    STEPS,
    Day,
    Freshness,
    StaleError,
    Step,
    differences,
    flattened,
    narrowed,
    nothing_else,
    read_record,
)
from dasanom_assets.tables.records import note_run, run_of
from dasanom_assets.tables.schemas import empty
from dasanom_assets.tables.store import Store

DAYS = ("2026-01-05", "2026-01-06", "2026-01-07")
SETTINGS = Settings()
DELIVERY: dict[str, str | None] = {"files": "a"}


def rows(n: int) -> pa.Table:
    """Rows of `event_matches`; other tables are stood for by it."""
    schema = empty("event_matches").schema
    columns = [pa.array([str(i) if pa.types.is_string(f.type) else 0 for i in range(n)]) for f in schema]
    return pa.table([c.cast(f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def health(n: int) -> pa.Table:
    schema = empty("channel_health").schema
    values = [{f.name: "ok" if pa.types.is_string(f.type) else i for f in schema} for i in range(n)]
    return pa.Table.from_pylist(values, schema)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Three steps: `channel_health` is delivered, `event_matches` looks back on it and on what flows back."""

    def source(day: Day, n: int = 1) -> None:
        day.write("channel_health", health(n))

    def derived(day: Day) -> None:
        result = [day.read("channel_health").num_rows]
        result += [day.read_day("channel_health", other).num_rows for other in day.before("channel_health", 1)]
        for other in day.before("contractor_events", 2):
            day.read_day("contractor_events", other)
        day.write("event_matches", rows(sum(result) * day.settings.background.look_back_days))

    def back(day: Day) -> None:
        day.require_fresh("event_matches")
        day.write("contractor_events", empty("contractor_events"), {"n": day.read("event_matches").num_rows})

    def inputs(store: Store, models: Store, day: str) -> dict[str, str | None]:
        return DELIVERY

    steps = (
        Step(("channel_health",), source, (), "1", (), inputs),
        Step(
            *(("event_matches",), derived, ("background.look_back_days",), "1"),
            *(("contractor_events",), nothing_else),
        ),
        Step(("contractor_events",), back, (), "1", (), nothing_else),
    )
    for step in steps:
        monkeypatch.setitem(STEPS, step.tables[0], step)
    store = Store(str(tmp_path))
    for day in DAYS:
        for step in steps:
            step(store, day, SETTINGS)
    return store


def reason(store: Store, table: str, day: str, settings: Settings = SETTINGS) -> str:
    return Freshness(store, settings).stale(table, day)


def test_what_was_made_is_fresh(store: Store) -> None:
    assert {reason(store, table, day) for table in ("channel_health", "event_matches") for day in DAYS} == {""}
    assert reason(store, "event_matches", "2026-01-08") == "event_matches of 2026-01-08 is not there"
    assert reason(store, "contractor_events", DAYS[0]) == ""


def test_a_table_names_what_it_was_made_of(store: Store) -> None:
    _, record = read_record(store, "event_matches", DAYS[2]) or ("", {})
    digests = {day: store.content_digest("channel_health", day) for day in DAYS[1:]}
    assert record["read"] == {"channel_health": digests}
    assert record["listed"] == {"channel_health": [DAYS[1], DAYS[1], [DAYS[1]]]}
    assert list(record["feedback"]) == ["contractor_events"]
    assert record["settings"] == {"background.look_back_days": 7}
    assert store.metadata("contractor_events", DAYS[2]) == {"n": 14}


def test_the_run_that_made_a_table_is_noted_beside_it_for_as_long_as_the_table_is_that(store: Store) -> None:
    table, path = "channel_health", store.day_path("channel_health", DAYS[1])
    before = store.digest(path)
    assert run_of(store, table, DAYS[1]) is None
    note_run(store, table, DAYS[1], "a-run")
    assert run_of(store, table, DAYS[1]) == "a-run"
    assert store.digest(path) == before
    STEPS[table](store, DAYS[1], SETTINGS, n=5)
    assert run_of(store, table, DAYS[1]) is None


def test_a_table_that_was_replaced_makes_stale_what_reads_it_and_the_same_rows_do_not(store: Store) -> None:
    STEPS["channel_health"](store, DAYS[1], SETTINGS, n=1)
    assert reason(store, "event_matches", DAYS[2]) == ""
    STEPS["channel_health"](store, DAYS[1], SETTINGS, n=2)
    for day in DAYS[1:]:
        assert reason(store, "event_matches", day) == f"channel_health of {DAYS[1]} was replaced"
        within = Freshness(store, SETTINGS, within_day=True).stale("event_matches", day)
        assert bool(within) == (day == DAYS[1])
    assert reason(store, "event_matches", DAYS[0]) == ""
    assert reason(store, "contractor_events", DAYS[1]) == f"channel_health of {DAYS[1]} was replaced"


def test_what_comes_late_or_goes_is_named(store: Store) -> None:
    STEPS["channel_health"](store, "2026-01-04", SETTINGS)
    assert reason(store, "event_matches", DAYS[0]) == "channel_health of 2026-01-04 is new"
    store.drop_day("channel_health", DAYS[1])
    assert reason(store, "event_matches", DAYS[2]) == f"channel_health of {DAYS[1]} is gone"
    assert reason(store, "event_matches", DAYS[1]) == f"channel_health of {DAYS[1]} is gone"


def test_days_that_are_not_kept_so_long_are_not_missed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old = STEPS["channel_health"]
    kept = Step(
        *(getattr(old, f) for f in ("tables", "compute", "settings", "code", "feedback", "inputs")),
        "temporal.keep_days",
    )
    monkeypatch.setitem(STEPS, "channel_health", kept)
    store.drop_day("channel_health", DAYS[1])
    assert reason(store, "channel_health", DAYS[1]) == f"channel_health of {DAYS[1]} is not there"
    kept(store, "2026-04-01", SETTINGS)
    assert reason(store, "channel_health", DAYS[1]) == ""
    assert {reason(store, "event_matches", day) for day in DAYS} == {""}
    assert reason(store, "channel_health", "2026-03-31") == "channel_health of 2026-03-31 is not there"


def test_what_flows_back_makes_nothing_stale(store: Store) -> None:
    store.write_day("contractor_events", DAYS[0], empty("contractor_events"), {"n": 99})
    store.drop_day("contractor_events", DAYS[1])
    assert reason(store, "event_matches", DAYS[2]) == ""
    fed_back = Freshness(store, SETTINGS).fed_back("event_matches", DAYS[2])
    assert fed_back == f"contractor_events of {DAYS[0]} flows back, and is another one"
    assert Freshness(store, SETTINGS).fed_back("event_matches", DAYS[0]) == ""


def test_settings_that_a_step_names_count_and_others_do_not(store: Store) -> None:
    longer = SETTINGS.model_copy(update={"background": BackgroundSettings(look_back_days=3)})
    assert reason(store, "event_matches", DAYS[0], longer) == "background.look_back_days is 3, was 7"
    assert reason(store, "contractor_events", DAYS[0], longer) == "background.look_back_days is 3, was 7"
    assert reason(store, "channel_health", DAYS[0], longer) == ""
    other = SETTINGS.model_copy(update={"background": BackgroundSettings(hour_classes=4)})
    assert reason(store, "event_matches", DAYS[0], other) == ""


def test_other_inputs_and_other_code_count(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DELIVERY, "files", "b")
    assert reason(store, "event_matches", DAYS[0]) == f"files is b, was a, for channel_health of {DAYS[0]}"
    monkeypatch.setitem(DELIVERY, "files", None)  # taken away
    assert reason(store, "event_matches", DAYS[0]) == ""
    monkeypatch.setitem(DELIVERY, "files", "a")
    old = STEPS["event_matches"]
    newer = Step(old.tables, old.compute, old.settings, "2", old.feedback, old.inputs)
    monkeypatch.setitem(STEPS, "event_matches", newer)
    assert reason(store, "contractor_events", DAYS[0]) == "the code of event_matches is 2, was 1"


def test_a_table_that_no_step_made_is_stale(store: Store) -> None:
    store.write_day("channel_health", DAYS[0], health(1))
    assert reason(store, "channel_health", DAYS[0]) == f"channel_health of {DAYS[0]} was made by no step"


def test_a_step_refuses_stale_tables_and_says_what_to_do(store: Store) -> None:
    STEPS["channel_health"](store, DAYS[0], SETTINGS, n=3)
    before = read_record(store, "contractor_events", DAYS[0])
    with pytest.raises(
        StaleError,
        match=rf"channel_health of {DAYS[0]} was replaced\. Materialize event_matches of {DAYS[0]} first\.",
    ):
        STEPS["contractor_events"](store, DAYS[0], SETTINGS)
    assert read_record(store, "contractor_events", DAYS[0]) == before


def test_a_step_can_read_no_setting_that_it_does_not_name() -> None:
    sample = narrowed(SETTINGS, ("background.look_back_days", "window", "data"))
    assert sample.background.look_back_days == 7
    assert sample.window == SETTINGS.window
    assert sample.data == SETTINGS.data
    for path in ("background.hour_classes", "detection.budget", "spectrogram.bands", "first_day"):
        with pytest.raises(AttributeError):
            deep(sample, path)
    assert SETTINGS.background.hour_classes == 1  # those in force are whole


def deep(settings: Any, path: str) -> Any:
    for name in path.split("."):
        settings = getattr(settings, name)
    return settings


def test_a_day_reaches_workers_as_the_plain_store(store: Store) -> None:
    day = Day(store, DAYS[0], SETTINGS, STEPS["event_matches"])
    there = pickle.loads(pickle.dumps(day))
    assert type(there) is Store
    assert there.read_day("channel_health", DAYS[0]).num_rows == 1


def test_settings_are_flattened_to_what_a_note_can_hold() -> None:
    result = flattened(SETTINGS, ("detection.budget", "window", "temporal.holidays", "first_day"))
    assert result["detection.budget"] == DetectionSettings().budget
    assert result["temporal.holidays"] == []
    assert result["first_day"] == "2026-01-01"
    assert {name for name in result if name.startswith("window.")} == {
        f"window.{name}" for name in type(SETTINGS.window).model_fields
    }


def test_differences_are_told_by_name() -> None:
    assert differences({"a": 1, "b": 2}, {"a": 1, "b": 2}) == ""
    assert differences({"a": 1, "b": 2}, {"a": 3, "c": 4}) == "a is 1, was 3, b is 2, was None, c is None, was 4"
