"""The contractor's month: counted over its days, with what was not delivered and what was judged."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import DagsterInstance, build_schedule_context

from dasanom_assets.comparison.scorecard import SCORECARD, path_of, scorecard, write_scorecard
from dasanom_assets.definitions import defs
from dasanom_assets.settings import Settings
from dasanom_assets.tables.columns import description
from dasanom_assets.tables.store import Store
from dasanom_assets.tables.verdicts import record_verdict
from dasanom_tests.review.made import event, ours, write

SPAN = 2 * 3600


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two days with the contractor's scores and one without, of 64 channels of 5 m for two hours."""
    store = Store(str(tmp_path_factory.mktemp("month")))
    for day in ("2026-03-02", "2026-03-03"):
        theirs = [
            event(600, 40, 20, 24, event_id=f"{day}-both") | {"contractor_class": "digging", "probability": 0.9},
            *(
                event(1000 + 300 * i, 30, 40, 44, event_id=f"{day}-{i}")
                | {"contractor_class": "walking", "probability": 0.6}
                for i in range(4)
            ),
        ]
        mine = [ours(601, 40, 20, 24, event_id=f"{day}-mine"), ours(5000, 30, 2, 5, event_id=f"{day}-alone")]
        write(store, day, events=mine, theirs=theirs, seconds=SPAN)
    write(store, "2026-03-04", events=[ours(700, 30, 2, 5, event_id="late")], seconds=SPAN)
    return store


def test_a_month_counts_events_of_the_days_that_the_contractor_delivered_for(month: Store) -> None:
    row = scorecard(month, "2026-03", Settings())
    assert (row["days"], row["days_delivered"]) == (3, 2)
    assert (row["theirs"], row["ours"], row["theirs_matched"], row["ours_matched"]) == (10, 4, 2, 2)
    assert row["km_days"] == pytest.approx(2 * 64 * 0.005 * SPAN / 86_400)
    assert row["theirs_a_km_day"] == pytest.approx(10 / row["km_days"])
    assert dict(zip(row["kinds"], row["kind_alarms"], strict=True)) == {"walking": 8, "digging": 2}
    assert row["theirs_by_chance"] < 0.2
    assert row["positive_agreement"] == pytest.approx(2 * 195 / (200 + 600 + 200 + 120), rel=0.01)
    assert row["recorded_h"] == pytest.approx(3 * 64 * 2)
    assert row["not_recorded_h"] == pytest.approx(3 * 64 * 22)
    # The two days hold a row of a fifth of a second each.
    assert row["not_delivered_h"] == pytest.approx(3 * 64 * 2 - 2 * 0.2 / 3600)
    assert row["theirs_precision"] is None
    assert scorecard(month, "2026-04", Settings())["days"] == 0


def test_verdicts_tell_which_share_of_the_months_alarms_was_something(month: Store, tmp_path: Path) -> None:
    for day in ("2026-03-02", "2026-03-03"):
        for name, verdict in (("mine", "true"), ("0", "false"), ("1", "false"), ("2", "false"), ("3", "true")):
            table = "anomaly_events" if name == "mine" else "contractor_events"
            row = next(e for e in month.read_day(table, day).to_pylist() if e["event_id"] == f"{day}-{name}")
            entry = {n: row[n] for n in ("fibre", "event_id", "start", "end", "first_channel", "last_channel")}
            entry |= {"entry_id": f"entry-{day}-{name}", "who": "Ada", "verdict": verdict}
            record_verdict(month, day, entry)
    row = write_scorecard(month, "2026-03", Settings())
    assert row["theirs_judged"] == 10
    assert row["theirs_precision"] == row["theirs_precision_low"] == row["theirs_precision_high"] == 0.4
    assert row["ours_judged"] == 2
    assert row["ours_precision"] is None
    assert 0.5 <= row["ours_precision_low"] < row["ours_precision_high"] <= 1.0
    table = pq.read_table(pa.BufferReader(month.read_bytes(path_of("2026-03"))))
    assert table.to_pylist() == [row]
    for field in SCORECARD:
        assert table.schema.field(field.name).metadata[b"description"].decode() == description(
            "contractor_scorecard", field.name
        )


def test_each_morning_the_month_of_yesterday_is_made() -> None:
    schedule = defs.resolve_schedule_def("daily_scorecard")
    for today, wanted in (
        (datetime(2026, 3, 1, 5, tzinfo=UTC), "2026-02-01"),
        (datetime(2026, 3, 2, 5, tzinfo=UTC), "2026-03-01"),
    ):
        tick = schedule.evaluate_tick(
            build_schedule_context(repository_def=defs.get_repository_def(), scheduled_execution_time=today)
        )
        assert [request.partition_key for request in tick.run_requests] == [wanted]


def test_the_job_materializes_a_month_and_tells_of_it(month: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASANOM_DATA", month.full(""))
    with DagsterInstance.ephemeral() as instance:
        done = defs.resolve_job_def("scorecard").execute_in_process(partition_key="2026-03-01", instance=instance)
        (made,) = done.asset_materializations_for_node("contractor_scorecard")
        assert made.partition == "2026-03-01"
    told = {name: entry.value for name, entry in made.metadata.items()}
    row = pq.read_table(month.full(path_of("2026-03"))).to_pylist()[0]
    assert {name: told[name] for name in ("days", "theirs", "kappa")} == {
        name: row[name] for name in ("days", "theirs", "kappa")
    }
    assert told["theirs"] == 10
    assert told["kinds"] == {"walking": 8, "digging": 2}
    assert told["dagster/uri"] == month.url(path_of("2026-03"))
    assert told["review"].endswith("/days?month=2026-03")
