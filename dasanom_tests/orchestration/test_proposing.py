"""Another model is proposed by the calendar or by drift, waits for a hand, and goes live by one action."""

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dasanom_assets.definitions import build_defs
from dasanom_assets.detection import proposal
from dasanom_assets.models import checkpoints
from dasanom_assets.models.training_set import TABLES, days_to_learn
from dasanom_assets.orchestration import watch
from dasanom_assets.orchestration.proposing import DRIFT, drifted_days, why_propose
from dasanom_assets.settings import AutomationSettings, Settings
from dasanom_assets.tables.store import Store
from dasanom_tests.conftest import BUDGET, Line

TODAY = date(2026, 3, 1)
AUTOMATION = AutomationSettings(propose_after_days=30, propose_drifted_days=2, held_out_days=7)
SMALL = {
    "VAE__WIDTHS": "[8, 16]",
    "VAE__LATENT": "4",
    "VAE__LEARNING_RATE": "0.01",
    "VAE__KL_WEIGHT": "0.01",
    "VAE__BATCH": "64",
    "VAE__MAX_EPOCHS": "1",
    "VAE__WINDOWS_PER_EPOCH": "1024",
    "VAE__VALIDATION_WINDOWS": "256",
    "DETECTION__DETECTORS": '["neighbours"]',
    "DETECTION__CLUSTER_WINDOWS": "300",
}
"""A model that is made soon; what it finds does not matter here."""
DRIFTED = ["2026-02-27", "2026-02-28"]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@pytest.mark.parametrize(
    ("learned", "asked", "drifted", "why"),
    [
        (30, None, [], ""),
        (31, None, [], "the live model learned up to 2026-01-29, 31 days ago"),
        (60, 29, [], ""),
        (60, 30, [], "the live model learned up to 2025-12-31, 60 days ago"),
        (10, None, DRIFTED, "2026-02-27, 2026-02-28 are not like the training days"),
        (10, None, DRIFTED[1:], ""),
        (10, 7, DRIFTED, "2026-02-27, 2026-02-28 are not like the training days"),
        (60, 6, DRIFTED, ""),
    ],
)
def test_a_model_is_proposed_once_the_live_one_is_old_or_days_have_drifted(
    learned: int, asked: int | None, drifted: list[str], why: str
) -> None:
    ago = [None if n is None else TODAY - timedelta(days=n) for n in (learned, asked)]
    assert why_propose(AUTOMATION, ago[0], ago[1], drifted, TODAY) == why


def test_calendar_and_drift_can_be_switched_off() -> None:
    off = AutomationSettings(propose_after_days=0, propose_drifted_days=0)
    assert why_propose(off, date(2020, 1, 1), None, DRIFTED, TODAY) == ""


DAYS = dg.DailyPartitionsDefinition("2026-01-01")


@dg.asset(key=DRIFT.asset_key, partitions_def=DAYS)
def scores() -> None:
    """A table that is judged."""


@dg.asset_check(asset=scores, name=DRIFT.name, partitions_def=DAYS)
def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=context.run.tags["passed"] == "True", severity=dg.AssetCheckSeverity.WARN)


def judged(instance: dg.DagsterInstance, day: str, passed: bool) -> None:
    assert dg.materialize(
        [scores, check], partition_key=day, instance=instance, tags={"passed": str(passed)}
    ).success


def test_days_drift_in_a_row_as_they_were_judged_last(instance: dg.DagsterInstance) -> None:
    january = date(2026, 1, 1)
    assert drifted_days(instance, january, 2) == []
    for day, passed in [("07", True), ("09", True), ("08", False), ("09", False)]:
        judged(instance, f"2026-01-{day}", passed)
    assert drifted_days(instance, january, 3) == ["2026-01-08", "2026-01-09"]
    assert drifted_days(instance, january, 1) == ["2026-01-09"]
    assert drifted_days(instance, date(2026, 1, 8), 3) == ["2026-01-09"]
    judged(instance, "2026-01-09", True)
    assert drifted_days(instance, january, 3) == []


def test_the_schedule_says_why_it_asks_or_does_not(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    settings = Settings(data=str(tmp_path), automation=AUTOMATION)
    store = Store(str(tmp_path))
    built = build_defs(settings, {"store": store, "settings": settings})

    def tick() -> Any:
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=datetime(2026, 3, 1, 5, tzinfo=UTC),
            repository_def=built.get_repository_def(),
            resources={"store": store, "settings": settings},
        )
        return built.resolve_schedule_def("proposals").evaluate_tick(context)

    assert "There is no live model yet" in tick().skip_message
    version = checkpoints.save(store, "training_set", {}, {"days": ["2026-02-19", "2026-02-20"]})
    checkpoints.set_live(store, {"training_set": version})
    for day in range(19, 28):
        for table in (*TABLES, "temporal_terms"):
            store.write_bytes(store.day_path(table, f"2026-02-{day}"), b"")
    assert "Nothing is new to learn from: the live model knows days up to 2026-02-20" in tick().skip_message
    for table in (*TABLES, "temporal_terms"):
        store.write_bytes(store.day_path(table, DRIFTED[1]), b"")
    assert "up to 2026-02-20, 0 of the last days drifted, and one was proposed never." in tick().skip_message
    for day in DRIFTED:
        judged(instance, day, False)
    (request,) = tick().run_requests
    assert request.tags["dasanom/reason"] == "2026-02-27, 2026-02-28 are not like the training days"


def test_what_is_held_out_is_not_learned_from(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    days = [f"2026-01-{n:02d}" for n in range(5, 10)]
    for day in days:
        for table in (*TABLES, "temporal_terms"):
            store.write_bytes(store.day_path(table, day), b"")
    assert days_to_learn(store, "2026-01-10") == days
    assert days_to_learn(store, "2026-01-10", newest=2, held_out=1) == days[2:4]
    assert days_to_learn(store, "2026-01-10", held_out=5) == days_to_learn(store, "2026-01-10", 2, 6) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_proposal_touches_nothing_live_and_goes_live_and_back_by_one_action_each(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    shutil.copytree(line.root, tmp_path / "root", ignore=shutil.ignore_patterns("reports"))
    store = Store(str(tmp_path / "root"))
    one_day = {"AUTOMATION__LEARN_DAYS": "1", "AUTOMATION__HELD_OUT_DAYS": "1"}
    for name, value in (one_day | SMALL | {"DATA": store.full(""), "DETECTION__BUDGET": BUDGET}).items():
        monkeypatch.setenv(f"DASANOM_{name}", value)
    before = checkpoints.live_set(store)
    events = store.digest(store.day_path("anomaly_events", line.days[-1]))

    def run(job: str, **how: Any) -> dg.ExecuteInProcessResult:
        done = build_defs().resolve_job_def(job)
        return done.execute_in_process(instance=instance, raise_on_error=False, **how)

    def promote(version: str, **config: bool) -> bool:
        return run(
            "promote", run_config={"ops": {"live_model": {"config": {"version": version, **config}}}}
        ).success

    done = run("propose")
    assert done.success
    assert checkpoints.live_set(store) == before
    assert store.digest(store.day_path("anomaly_events", line.days[-1])) == events
    (told,) = done.asset_materializations_for_node("model_proposal")
    version, table = told.metadata["version"].value, told.metadata["comparison"].records
    assert [record.data["figure"] for record in table][:3] == ["version", "learned from", "alarms"]
    assert table[1].data["candidate"] == "2026-01-06 to 2026-01-06 (days: 1)"
    assert told.metadata["days"].value == [line.days[-1]]
    (check,) = [e for e in done.get_asset_check_evaluations() if e.check_name == "better_or_equal"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "held-out days: 1, and the rule needs 3" in check.description
    (notice,) = watch.of_proposal(store, Settings())
    assert notice.title == f"model {version} waits for a hand"

    assert not promote(version)
    assert checkpoints.live_set(store) == before
    assert promote(version, anyway=True)
    assert checkpoints.live(store, "reference_model") == version
    assert promote(before["reference_model"])
    assert checkpoints.live_set(store) == before

    monkeypatch.setenv("DASANOM_AUTOMATION__PROMOTE", "rule")
    judge = [dg.AssetKey("model_proposal"), dg.AssetKey("live_model")]
    assert not run("propose", asset_selection=judge, run_config={}).success
    assert checkpoints.live_set(store) == before
    monkeypatch.setattr(proposal, "refusals", lambda *sides: [])
    assert run("propose", asset_selection=judge, run_config={}).success
    assert checkpoints.live(store, "reference_model") == version
