"""What is too old goes, and nothing else: not what was delivered or judged, nor what is live or needed."""

import fcntl
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.definitions import build_defs
from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration.retention import Removal, apply, left_over, old_runs, plan
from dasanom_assets.settings import RetentionSettings, Settings
from dasanom_assets.tables.provenance import Freshness
from dasanom_assets.tables.records import note_run, run_of
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store

NOW = datetime(2026, 11, 30, 4, 30, tzinfo=UTC)
POLICY = RetentionSettings(raw_days=100, report_days=200, models=1, model_days=10, dry_run=False)


def days_ago(days: int) -> str:
    return (NOW - timedelta(days=days)).date().isoformat()


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def old(path: Path, days: int) -> None:
    at = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (at, at))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A year of a few tables and reports, with what must stay."""
    store = Store(str(tmp_path))
    for day in map(days_ago, (1, 99, 100, 101, 201, 365)):
        for table in ("contractor_scores", "anomaly_scores", "anomaly_events", "recordings"):
            store.write_day(table, day, pa.Table.from_pylist([], SCHEMAS[table]), {})
        store.write_bytes(f"reports/contractor_comparison/day={day}/report.html", b"a report")
        for kept in ("landing", "verdicts", "planned", "quarantine", "truth"):
            store.write_bytes(f"{kept}/{day}/file", b"kept")
            store.write_bytes(f"{kept}/day={day}/file.parquet", b"kept")
    return store


def test_notes_of_runs_go_with_the_runs_that_they_name(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for day in map(days_ago, (1, 29, 31, 400)):
        store.write_day("recordings", day, pa.Table.from_pylist([], SCHEMAS["recordings"]), {})
        note_run(store, "recordings", day, f"run of {day}")
    policy = RetentionSettings(run_days=30, dry_run=False)
    apply(store, plan(store, Settings(retention=policy), NOW))
    told = {day: run_of(store, "recordings", day) for day in store.days("recordings")}
    kept = {days_ago(n): f"run of {days_ago(n)}" for n in (1, 29)}
    assert told == kept | {days_ago(n): None for n in (31, 400)}


def model(store: Store, name: str, age: int, **description: object) -> str:
    version = checkpoints.save(store, name, {"w": np.array([age])}, dict(description))
    for file in store.listing(f"models/{name}/{version}"):
        old(Path(store.full(file["path"])), age)
    return version


def test_raw_tables_and_reports_go_by_age_and_all_else_stays(store: Store, tmp_path: Path) -> None:
    before = files(tmp_path)
    removals = plan(store, Settings(retention=POLICY), NOW)
    assert files(tmp_path) == before
    apply(store, removals)
    gone = before - files(tmp_path)
    # Tables are counted from the newest day, which is yesterday, and reports from today.
    raw = {store.day_path(t, days_ago(n)) for t in ("contractor_scores", "anomaly_scores") for n in (201, 365)}
    reports = {f"reports/contractor_comparison/day={days_ago(n)}/report.html" for n in (201, 365)}
    assert gone == raw | reports
    assert {removal.size for removal in removals if removal.kind == "reports"} == {len(b"a report")}


def test_what_was_dropped_is_not_made_again(store: Store) -> None:
    dropped = days_ago(365)
    apply(store, plan(store, Settings(retention=POLICY), NOW))
    assert Freshness(store, Settings(retention=POLICY)).stale("contractor_scores", dropped) == ""
    keeping = Settings(retention=POLICY.model_copy(update={"dry_run": True}))
    assert "is not there" in Freshness(store, keeping).stale("contractor_scores", dropped)


def test_the_live_model_and_all_that_it_or_a_kept_day_was_made_with_stay(store: Store, tmp_path: Path) -> None:
    training = [model(store, "training_set", age, n=age) for age in (300, 200, 100, 50)]
    vae = [model(store, "vae", 300 - i, training_set=version) for i, version in enumerate(training)]
    reference = [model(store, "reference_model", 280 - i, vae_version=version) for i, version in enumerate(vae)]
    checkpoints.set_live(store, {"reference_model": reference[0], "vae": vae[0]})
    checkpoints.set_latest(store, "reference_model", reference[3])
    store.write_day(
        "anomaly_events",
        days_ago(1),
        pa.Table.from_pylist([], SCHEMAS["anomaly_events"]),
        {"model_version": reference[1]},
    )
    apply(store, plan(store, Settings(retention=POLICY), NOW))
    for name, versions in {"training_set": training, "vae": vae, "reference_model": reference}.items():
        assert [store.exists(f"models/{name}/{version}") for version in versions] == [True, True, False, True], (
            name
        )
    checkpoints.load(store, "reference_model", checkpoints.live(store, "reference_model"))


def test_only_what_nobody_writes_any_more_is_left_over(store: Store, tmp_path: Path) -> None:
    dead, at_work, young = (tmp_path / f"tables/contractor_scores/.{n}.partial" for n in ("dead", "work", "young"))
    for path in (dead, at_work, young):
        path.write_bytes(b"half")
    old(dead, 1)
    old(at_work, 1)
    os.utime(young, (NOW.timestamp(), NOW.timestamp()))
    with open(at_work, "rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        found = [Path(removal.path).name for removal in left_over(store, NOW.timestamp())]
    assert found == [".dead.partial"]


@pytest.mark.parametrize("folder", ["verdicts/day=2026-11-01", "today/day=2026-11-01"])
def test_what_a_killed_writer_left_goes_also_where_all_else_stays(
    store: Store, tmp_path: Path, folder: str
) -> None:
    for name in (".one.parquet.0a1b.partial", "one.parquet"):
        store.write_bytes(f"{folder}/{name}", b"PAR1")
        old(tmp_path / folder / name, 400)
    apply(store, plan(store, Settings(retention=POLICY), NOW))
    assert [path.name for path in (tmp_path / folder).iterdir()] == ["one.parquet"]


def test_what_a_killed_comparison_of_models_left_goes_a_day_later(store: Store, tmp_path: Path) -> None:
    paths = [store.full(f"proposal/{table}/rows.parquet") for table in ("embeddings", "anomaly_scores")]
    for path in paths:
        store.write_bytes(store.relative(path), b"rows")
        old(Path(path), 2)
    os.utime(paths[0], (NOW.timestamp() - 3600,) * 2)
    settings = Settings(retention=POLICY)
    assert [removal for removal in plan(store, settings, NOW) if removal.path.startswith("proposal/")] == []
    old(Path(paths[0]), 2)
    apply(store, plan(store, settings, NOW))
    assert store.listing("proposal", recursive=True) == []


@pytest.mark.parametrize(
    "path", ["landing/2026-01-05/a.bin", "verdicts/a.parquet", "tables/../landing/a", "/x", ".a.partial"]
)
def test_a_plan_that_names_anything_else_is_refused(store: Store, path: str) -> None:
    with pytest.raises(ValueError, match="nothing that retention may remove"):
        apply(store, [Removal(path, "reports", 1)])


@dg.asset
def thing() -> None:
    """An asset."""


def test_old_runs_go_but_those_that_made_what_is_there_now(tmp_path: Path) -> None:
    with dg.instance_for_test() as instance:
        first, last = (dg.materialize([thing], instance=instance).run_id for _ in range(2))
        year = datetime.now(UTC) + timedelta(days=401)
        assert old_runs(instance, RetentionSettings(), datetime.now(UTC)) == []
        assert old_runs(instance, RetentionSettings(), year) == [first]
        assert instance.get_run_by_id(last)


def test_by_default_the_asset_only_says_what_would_go(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASANOM_RETENTION__REPORT_DAYS", "1")
    job = build_defs(resources={"store": store}).resolve_job_def("tidy")
    before = files(tmp_path)

    def materialized(config: dict[str, bool]) -> dict[str, dg.MetadataValue]:
        with dg.instance_for_test() as instance:
            run_config = {"ops": {"retention": {"config": config}}}
            assert job.execute_in_process(run_config, instance=instance).success
            event = instance.get_latest_materialization_event(dg.AssetKey("retention"))
            return event.asset_materialization.metadata

    said = materialized({})
    assert (said["dry_run"].value, said["files"].value > 0, files(tmp_path)) == (True, True, before)
    done = materialized({"dry_run": False})
    assert done["files"].value == said["files"].value == len(before - files(tmp_path))
