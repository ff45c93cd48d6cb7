"""The whole chain on a simulated line: it finds what was planted, its lineage names the model, and what is stale
says so.

It is one file of more than 350 lines: all of it asks one line, which takes half a minute to make.
"""

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, ValidationError

from dasanom_assets import chain, today
from dasanom_assets.benchmarks.simulated import evaluate_events, evaluate_windows
from dasanom_assets.comparison.day import day_findings, day_map
from dasanom_assets.comparison.report import day_report
from dasanom_assets.definitions import build_defs, defs
from dasanom_assets.detection.events.so_far import changes
from dasanom_assets.detection.reference.model import load_reference
from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration.checks import contract_violations
from dasanom_assets.settings import DetectionSettings, Settings
from dasanom_assets.tables.assets import STALE_ONLY
from dasanom_assets.tables.provenance import STEPS, Day, Freshness
from dasanom_assets.tables.records import read_record
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store
from dasanom_tests.conftest import BUDGET, Line
from dasanom_tests.test_docs import PROJECT, blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def truth(landing: Path, name: str, day: str) -> pa.Table:
    return pq.read_table(landing / "truth" / f"day={day}" / f"{name}.parquet")


def test_planted_events_are_found_on_a_day_that_was_not_trained_on(line: Line, landing: Path) -> None:
    day = line.days[-1]
    version = checkpoints.live(line.store, "vae")
    assert day not in checkpoints.load(line.store, "vae", version)[1]["days"]
    figures = evaluate_windows(line.store.read_day("anomaly_scores", day), truth(landing, "activity", day))
    assert figures["n_positive"] > 200
    assert figures["auc"] >= 0.95, figures
    events = evaluate_events(line.store.read_day("anomaly_events", day), truth(landing, "events", day))
    assert events["recall"] >= 0.5, events
    # 0.9 are due at a budget of 1000 on 160 m and eight minutes.
    assert events["false_alarms"] <= 3, events


def test_all_detectors_score_each_day(line: Line) -> None:
    names = Settings().detection.detectors
    for day in line.days:
        scores = line.store.read_day(
            "anomaly_scores", day, [f"{kind}_{n}" for kind in ("score", "p") for n in names]
        )
        assert all(column.null_count < len(column) for column in scores.columns)


def test_every_table_has_every_day_and_keeps_its_contract(line: Line) -> None:
    for table in SCHEMAS.keys() - {"events_so_far", "verdicts"}:
        assert line.store.days(table) == list(line.days)
        for day in line.days:
            assert contract_violations(line.store, table, day) == []


def test_pandas_reads_the_tables_and_an_alarm_leads_to_its_file_and_model(line: Line) -> None:
    events = pd.read_parquet(line.root / "tables/anomaly_events")
    files = pd.read_parquet(line.root / "tables/recordings")
    event = events.sort_values("score").iloc[-1]
    path = files[(files.fibre == event.fibre) & (files.start < event.end) & (files.end > event.start)].path.iloc[0]
    assert (line.root / path).exists()
    _, model = checkpoints.load(line.store, "reference_model", event.model_version)
    assert line.store.exists(f"models/vae/{model['vae_version']}/model.safetensors")


def test_the_reference_model_is_drawn_small_in_the_ui_and_large_in_a_report(line: Line) -> None:
    event = line.instance.get_latest_materialization_event(dg.AssetKey("reference_model")).asset_materialization
    folder = f"reports/reference_model/version={event.metadata['version'].value}"
    for name in ("condensed_tree", "rates"):
        assert event.metadata[name].value.startswith("![](data:image/png;base64,")
        assert line.store.exists(f"{folder}/{name}.png")


def test_without_clusters_there_is_a_report_and_no_map(line: Line) -> None:
    day, reference = line.days[-1], load_reference(line.store)
    blind = replace(reference, detectors={name: d for name, d in reference.detectors.items() if name != "latent"})
    assert day_map(line.store, day, reference, Settings().comparison) is not None
    assert day_map(line.store, day, blind, Settings().comparison) is None
    findings = day_findings(line.store, day, blind, None, Settings())
    assert findings.counts == line.store.metadata("anomaly_events", day)["counts"]
    assert "No window of this day could be placed on the map." in day_report(findings).html.decode()


def test_a_scores_lineage_names_its_checkpoint(line: Line) -> None:
    def tags(asset: str) -> dict[str, str]:
        return (
            line.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records[0].asset_materialization.tags
        )

    parts = {name: checkpoints.digest(line.store, name, v) for name, v in checkpoints.live_set(line.store).items()}
    assert tags("vae_checkpoint")["dagster/data_version"] == parts["vae"]
    assert tags("reference_model")["dagster/input_data_version/vae_checkpoint"] == parts["vae"]
    assert tags("live_model")["dagster/data_version"] == parts["reference_model"]
    assert tags("embeddings")["dagster/input_data_version/live_model"] == parts["reference_model"]
    for table in ("embeddings", "anomaly_scores", "contractor_comparison"):
        digest, _ = read_record(line.store, table, line.days[-1])
        assert tags(table)["dagster/data_version"] == f"sha256:{digest}"


def test_checks_ran_and_passed(line: Line) -> None:
    runs = line.instance.get_runs()
    evaluations = [
        record.event_log_entry.dagster_event.asset_check_evaluation_data
        for run in runs
        for record in line.instance.get_records_for_run(
            run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ).records
    ]
    assert {e.asset_key.to_user_string() for e in evaluations} >= SCHEMAS.keys() - {"events_so_far", "verdicts"}
    assert [f"{e.asset_key}: {e.check_name}" for e in evaluations if e.blocking and not e.passed] == []
    names = ("promise_stated", "promise_kept", "like_the_training_days")
    reported = {name: [e for e in evaluations if e.check_name == name] for name in names}
    (stated,) = reported["promise_stated"]
    assert (stated.passed, stated.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "with fewer than 4 days" in stated.description
    assert {e.description for e in reported["promise_kept"]} == {
        f"scored days that are new to the model: {n}; a verdict needs 3" for n in (0, 1)
    }
    known = {e.partition: e.description for e in reported["like_the_training_days"]}
    assert [known[day] == "The model learned from this day." for day in line.days] == [True, True, False]


def test_a_report_of_each_day_says_who_flagged_what(line: Line) -> None:
    for day in line.days:
        files = [f["path"] for f in line.store.listing(f"reports/contractor_comparison/day={day}")]
        (page,) = [path for path in files if path.endswith(".html")]
        html = line.store.read_bytes(page).decode()
        assert day in html
        assert "only contractor" in html
        assert any(path.endswith(".png") for path in files)


def test_a_day_scored_again_is_the_same(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASANOM_DATA", str(line.root))
    monkeypatch.setenv("DASANOM_DETECTION__BUDGET", BUDGET)
    day = line.days[-1]
    before = {
        table: line.store.read_day(table, day) for table in ("anomaly_scores", "anomaly_events", "event_matches")
    }
    assert defs.resolve_job_def("rescore").execute_in_process(partition_key=day, instance=line.instance).success
    for table, rows in before.items():
        assert line.store.read_day(table, day).equals(rows), table


def test_the_schedule_asks_for_days_that_the_live_model_has_not_scored(line: Line) -> None:
    settings = Settings(data=str(line.root), detection=DetectionSettings(budget=float(BUDGET)))
    built = build_defs(settings, {"store": line.store})
    schedule = built.resolve_schedule_def("daily_rescoring")

    def tick(day: int):
        context = dg.build_schedule_context(
            instance=line.instance,
            scheduled_execution_time=datetime(2026, 1, day, 3, tzinfo=UTC),
            repository_def=built.get_repository_def(),
            resources={"store": line.store, "settings": settings},
        )
        return schedule.evaluate_tick(context)

    everything = f"of the last 7 days: {', '.join(line.days)}."
    assert everything in tick(8).skip_message
    live = checkpoints.live_set(line.store)
    try:
        line.store.write_json(checkpoints.LIVE, live | {"reference_model": "another"})
        requests = tick(8).run_requests
    finally:
        line.store.write_json(checkpoints.LIVE, live)
    assert [r.partition_key for r in requests] == list(line.days)
    assert "the live model is another, was" in requests[0].tags["dasanom/reason"]
    assert requests[0].run_key == f"2026-01-08T03:00:00+00:00:{line.days[0]}"
    assert {r.job_name or "rescore" for r in requests} == {"rescore"}

    report = line.root / f"reports/contractor_comparison/day={line.days[1]}/made_of.json"
    kept = report.rename(report.with_suffix(".kept"))
    assert [r.partition_key for r in tick(8).run_requests] == [line.days[1]]
    kept.rename(report)
    events = line.root / line.store.day_path("background", line.days[1])
    kept = events.rename(events.with_suffix(".kept"))
    assert (
        f"{line.days[1]} waits for its ingest: background of {line.days[1]} is not there" in tick(8).skip_message
    )
    # Long after, what is known is still scored, and days without a delivery are named.
    assert "2026-01-20: nothing was delivered" in tick(31).skip_message
    kept.rename(events)
    assert everything in tick(8).skip_message


def test_a_model_made_for_other_settings_is_refused(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASANOM_DATA", str(line.root))
    monkeypatch.setenv("DASANOM_WINDOW__SECONDS", "6")
    with pytest.raises(Exception, match=r"window.seconds 6 \(model: 8\).*run the job train"):
        defs.resolve_job_def("rescore").execute_in_process(
            partition_key=line.days[0],
            instance=line.instance,
            asset_selection=[dg.AssetKey(table) for table in STEPS["embeddings"].tables],
        )


def test_a_day_in_ten_lines_without_contractor_files_gets_the_same_report_without_that_side(
    line: Line,
    landing: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    day = line.days[-1]
    own = shutil.ignore_patterns("Model*")
    shutil.copytree(landing / "landing" / day, tmp_path / "landing" / day, ignore=own, copy_function=os.link)
    (tmp_path / "models").symlink_to(line.root / "models")
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["day.py", day])
    runpy.run_path(str(PROJECT / "docs" / "examples" / "day.py"), run_name="__main__")
    assert "as it would be now" in capsys.readouterr().out
    rescore, stale = defs.resolve_job_def("rescore"), {STALE_ONLY: "true"}
    assert rescore.execute_in_process(partition_key=day, instance=line.instance, tags=stale).success
    store = Store(str(tmp_path))
    assert store.read_day("contractor_scores", day).num_rows == 0
    assert set(store.read_day("event_matches", day)["agreement"].to_pylist()) <= {"only_us"}
    html = store.read_bytes(f"reports/contractor_comparison/day={day}/report.html").decode()
    assert "without contractor files" in html


def test_the_analysts_example_runs_on_real_tables(line: Line, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(line.root)
    (program,) = blocks(PROJECT / "docs" / "analysts.md", "python")
    program = program.replace(".path\n", ".path.iloc[0]\n").replace("files[(", "path = files[(")
    program += "\nprint(path, event.model_version)"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path, version = done.stdout.split()
    assert (line.root / path).exists()
    assert line.store.exists(f"models/reference_model/{version}/model.json")


# -- what is stale, on the same line ---------------------------------------------------------------------

STEPS_OF_A_DAY = (*chain.INGEST, *chain.SCORE, *chain.COMPARE)
BY_SETTING: dict[str, set[str]] = {
    "limits": {"recordings", "spectrograms"},
    "spectrogram": {"spectrograms"},
    "window": {"embeddings", "anomaly_scores", "anomaly_events"},
    "window.scaling": {"embeddings", "anomaly_scores", "anomaly_events", "waterfalls"},
    "background": {"common_levels"},
    "background.look_back_days": {"background", "common_levels"},
    "background.hour_classes": {"level_histograms", "background", "common_levels"},
    "background.common_seconds": {"common_levels"},
    "temporal.segment_seconds": {"segment_models", "temporal_terms"},
    "temporal.shift_seconds": {"segment_models", "temporal_terms"},
    "temporal": {"temporal_terms"},
    "detection.budget": {"anomaly_scores"},
    "reference": {"anomaly_scores"},
    "comparison.contractor_lag_rows": {"contractor_scores"},
    "comparison.join_seconds": {"contractor_events"},
    "comparison.map_windows": {"embedding_map"},
    "comparison.contractor_probability": {"contractor_events", "embedding_map", "contractor_comparison"},
    "comparison.rows_per_second": {"contractor_scores"},
    "reports": set(),
}
"""Tables that a setting changes at once, by field or else by section; a section that is not named changes none."""
WHITENING = ("common_channels", "own_spread", "scale_floor_db", "clip_low", "clip_high")
WHITENED = {"common_levels", "segment_models", "embeddings", "anomaly_scores", "anomaly_events", "waterfalls"}
BY_SETTING |= {f"background.{name}": WHITENED for name in WHITENING}
SEGMENTS = ("min_share", "frames_a_second", "dimensions", "neighbour_gap", "neighbours")
BY_SETTING |= {f"temporal.{name}": {"segment_models"} for name in SEGMENTS} | {"temporal.keep_days": set()}


def in_force(line: Line) -> Settings:
    return Settings(data=str(line.root), detection=DetectionSettings(budget=float(BUDGET)))


def fields() -> Iterator[str]:
    for section in Settings.model_fields:
        default = getattr(Settings(), section)
        if isinstance(default, BaseModel):
            yield from (f"{section}.{name}" for name in type(default).model_fields)


def changed(settings: Settings, name: str) -> Settings:
    """The settings with another value that one field may have."""
    section, _, leaf = name.partition(".")
    own = getattr(settings, section)
    value, kind = getattr(own, leaf), type(own).model_fields[leaf].annotation
    if get_origin(kind) is Literal:
        candidates: list[Any] = [other for other in get_args(kind) if other != value]
    elif isinstance(value, bool):
        candidates = [not value]
    elif isinstance(value, int | float):
        candidates = [value + 1, value * 2, value / 2, value * 0.9, value - 1, value + 0.01]
    else:
        candidates = [
            "Europe/Istanbul",
            ("2026-01-06",),
            ("neighbours",),
            (64, 64),
            3,
            "tcp://localhost:1",
        ]
    for candidate in candidates:
        try:
            part = type(own)(**(own.model_dump() | {leaf: candidate}))
            Settings(**(settings.model_dump() | {section: part}))
        except ValidationError:
            continue
        if getattr(part, leaf) != value:
            return settings.model_copy(update={section: part})
    raise AssertionError(f"no other value of {name}")


def downstream(tables: set[str]) -> set[str]:
    """What Dagster's lineage shows below some tables, of what steps make of a day."""
    below: dict[str, set[str]] = {}
    for spec in defs.resolve_all_asset_specs():
        for dep in spec.deps:
            above, table = dep.asset_key.to_user_string(), spec.key.to_user_string()
            # The model has no detector that looks at temporal terms.
            if above != "temporal_terms" or table not in STEPS["anomaly_scores"].tables:
                below.setdefault(above, set()).add(table)
    result, new = set(), set(tables)
    while new:
        result |= new
        new = {table for name in new for table in below.get(name, set()) if table in STEPS} - result
    return result


def stale_tables(line: Line, settings: Settings, day: str) -> set[str]:
    return set(chain.stale(line.store, day, settings, STEPS_OF_A_DAY))


def test_nothing_of_a_finished_day_is_stale(line: Line) -> None:
    for day in line.days:
        assert chain.stale(line.store, day, in_force(line), STEPS_OF_A_DAY) == {}


@pytest.mark.parametrize("name", sorted(fields()))
def test_a_changed_setting_makes_stale_what_depends_on_it_and_nothing_else(line: Line, name: str) -> None:
    settings = changed(in_force(line), name)
    direct = BY_SETTING.get(name, BY_SETTING.get(name.partition(".")[0], set()))
    for table in list(direct):  # tables that one step makes
        direct = direct | set(STEPS[table].tables)
    reasons = chain.stale(line.store, line.days[-1], settings, STEPS_OF_A_DAY)
    assert set(reasons) == downstream(direct)
    assert all(f"{name} is " in reason for reason in reasons.values())


def test_a_touched_recording_makes_its_day_stale_and_what_looks_back_on_it(line: Line, tmp_path: Any) -> None:
    store, settings = copied(line, tmp_path)
    first, second, last = line.days
    path = next(f["path"] for f in store.listing(f"landing/{second}") if f["path"].endswith(".bin"))
    os.utime(tmp_path / path, (1_700_000_000, 1_700_000_000))
    assert chain.stale(store, first, settings, STEPS_OF_A_DAY) == {}
    mine = chain.stale(store, second, settings, STEPS_OF_A_DAY)
    assert mine.keys() == {table for step in STEPS_OF_A_DAY for table in step.tables}
    assert f"the digest of the files in landing/{second} is " in mine["recordings"]
    assert chain.stale(store, last, settings, STEPS_OF_A_DAY) == {}  # until the day is another one
    rows = store.read_day("level_histograms", second)
    day = Day(store, second, settings, STEPS["level_histograms"])
    day.write("level_histograms", rows.slice(0, rows.num_rows - 1), store.metadata("level_histograms", second))
    later = chain.stale(store, last, settings, STEPS_OF_A_DAY)
    assert later["background"] == f"level_histograms of {second} was replaced"
    assert {"common_levels", "temporal_terms", "anomaly_scores", "contractor_comparison"} <= later.keys()
    assert not {"channel_health", "spectrograms", "level_histograms", "contractor_events"} & later.keys()
    assert chain.stale(store, first, settings, STEPS_OF_A_DAY) == {}


def test_recordings_may_be_taken_away_once_they_are_in_the_tables(line: Line, tmp_path: Any) -> None:
    store, settings = copied(line, tmp_path)
    shutil.rmtree(tmp_path / "landing")
    for day in line.days:
        assert chain.stale(store, day, settings, STEPS_OF_A_DAY) == {}


def test_only_what_is_missing_is_made_again_and_the_day_is_the_same_to_the_byte(
    line: Line, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, settings = copied(line, tmp_path)
    day = line.days[-1]
    before = {table: store.read_bytes(store.day_path(table, day)) for table in tables_of(store)}
    for table in ("common_levels", "cluster_labels"):
        (tmp_path / store.day_path(table, day)).unlink()
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    monkeypatch.setenv("DASANOM_DETECTION__BUDGET", BUDGET)
    made = set()
    with dg.instance_for_test() as instance:
        for job in ("ingest", "rescore"):
            run = defs.resolve_job_def(job).execute_in_process(
                partition_key=day, instance=instance, tags={STALE_ONLY: "true"}
            )
            assert run.success
            for event in run.get_asset_materialization_events():
                materialization = event.step_materialization_data.materialization
                if "not again" not in str(materialization.metadata["made"].value):
                    made.add(materialization.asset_key.to_user_string())
    assert made == {"common_levels", "embeddings", "cluster_labels", "anomaly_scores"}
    assert {table: store.read_bytes(store.day_path(table, day)) for table in before} == before
    assert chain.stale(store, day, settings, STEPS_OF_A_DAY) == {}


def test_jobs_with_nothing_to_do_say_what_was_said_and_load_neither_networks_nor_pictures(
    line: Line, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(line, tmp_path)
    day, home = line.days[-1], tmp_path / "home"
    home.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", home)
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    monkeypatch.setenv("DASANOM_DETECTION__BUDGET", BUDGET)
    idle = (
        "import sys; from dasanom_assets.cli import execute;"
        f"ended = [execute(job, '{day}', tags={{'{STALE_ONLY}': 'true'}}) for job in ('ingest', 'rescore')];"
        "assert not any(ended) and not {'torch', 'sklearn', 'matplotlib', 'distributed'} & set(sys.modules)"
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for job in ("ingest", "rescore"):
            assert (
                defs.resolve_job_def(job)
                .execute_in_process(partition_key=day, instance=instance, tags={STALE_ONLY: "true"})
                .success
            )
        told = [said(instance, table, day) for table in tables_of(line.store)]
        subprocess.run([sys.executable, "-c", idle], env={**os.environ, "DAGSTER_HOME": str(home)}, check=True)
        again = [said(instance, table, day) for table in tables_of(line.store)]
    assert [event.metadata for event, _ in again] == [event.metadata for event, _ in told]
    assert {len({run, earlier}) for (_, run), (_, earlier) in zip(again, told, strict=True)} == {2}


def said(instance: dg.DagsterInstance, table: str, day: str) -> tuple[dg.AssetMaterialization, str]:
    """The last event of a table and a day, and its run."""
    of_day = dg.AssetRecordsFilter(asset_key=dg.AssetKey(table), asset_partitions=[day])
    [record] = instance.fetch_materializations(of_day, limit=1).records
    assert record.asset_materialization is not None
    return record.asset_materialization, record.run_id


def test_going_back_to_a_model_makes_stale_what_it_has_not_scored(line: Line, tmp_path: Any) -> None:
    store, settings = copied(line, tmp_path)
    live = checkpoints.live_set(store)
    store.write_json(checkpoints.LIVE, live | {"reference_model": "older"})
    reasons = chain.stale(store, line.days[0], settings, chain.SCORE)
    assert set(reasons) == {table for step in chain.SCORE for table in step.tables} - {"contractor_scores"}
    assert reasons["embeddings"].startswith(f"the live model is older, was {live['reference_model']}")
    assert chain.stale(store, line.days[0], settings, chain.INGEST) == {}


def test_other_code_makes_stale_what_it_made(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    step = STEPS["level_histograms"]
    newer = type(step)(step.tables, step.compute, step.settings, "next", step.feedback, step.inputs)
    monkeypatch.setitem(STEPS, "level_histograms", newer)
    fresh = Freshness(line.store, in_force(line))
    reason = f"the code of level_histograms is next, was {step.code}"
    assert fresh.stale("level_histograms", line.days[0]) == reason
    assert fresh.stale("spectrograms", line.days[0]) == ""
    assert reason in fresh.stale("background", line.days[0])


def tables_of(store: Store) -> list[str]:
    return [name for name in store.folders("tables")]


def copied(line: Line, root: Any) -> tuple[Store, Settings]:
    """A copy of the line that a test may change; what it does not change are links."""
    for name in ("tables", "models", "reports", "landing"):
        source = (line.root / name).resolve()
        shutil.copytree(source, root / name, copy_function=shutil.copy2)
    return Store(str(root)), in_force(line).model_copy(update={"data": str(root)})


def test_a_day_that_is_not_over_tells_its_alarms_as_files_are_closed(
    line: Line, landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = line.days[-1]
    for part in ("models", "tables"):
        shutil.copytree(line.root / part, tmp_path / part, ignore=shutil.ignore_patterns(f"day={day}"))
    (tmp_path / "landing" / day).mkdir(parents=True)
    noon = datetime.fromisoformat(f"{day}T12:00+00:00").timestamp()
    monkeypatch.setattr(today, "clock", lambda: noon)
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    monkeypatch.setenv("DASANOM_DETECTION__BUDGET", BUDGET)
    store, delivery = Store(str(tmp_path)), sorted((line.root / "landing" / day).glob("*.bin*"))

    def deliver(files: list[Path]) -> None:
        for file in files:
            shutil.copy(file, tmp_path / "landing" / day)
            os.utime(tmp_path / "landing" / day / file.name, (noon - 60,) * 2)

    with dg.instance_for_test() as instance:

        def tick(name: str) -> list[str]:
            context = dg.build_sensor_context(instance=instance, definitions=defs, resources={"store": store})
            asked = defs.resolve_sensor_def(name).evaluate_tick(context)
            return [str(request.partition_key) for request in asked.run_requests or []]

        def score() -> dict[str, Any]:
            run = defs.resolve_job_def("so_far").execute_in_process(partition_key=day, instance=instance)
            (event,) = run.asset_materializations_for_node("events_so_far")
            return {name: value.value for name, value in event.metadata.items()}

        deliver(delivery[:4])
        assert tick("closed_files") == [day]
        assert day not in tick("new_recordings")  # the whole day waits until it is over
        early = score()
        assert (early["files"], early["events"]) == (4, early["new_events"])
        assert tick("closed_files") == []
        deliver(delivery[4:])
        assert tick("closed_files") == [day]
        late = score()
        assert late["files"] == len(delivery) - 4
    told, final = (s.read_day(t, day) for s, t in ((store, "events_so_far"), (line.store, "anomaly_events")))
    assert {table for table in SCHEMAS if store.has_day(table, day)} == {"events_so_far"}
    found = evaluate_events(told.drop_columns("first_seen"), truth(landing, "events", day))
    whole = evaluate_events(final, truth(landing, "events", day))
    assert found["recall"] >= whole["recall"]
    assert found["false_alarms"] <= whole["false_alarms"] + 1
    store.write_day("anomaly_events", day, final)
    assert changes(store, day)["told_before"] == final.num_rows
    # What a window scores in its stretch is what it scores in the whole day, but for the spread of each channel
    # and the level that channels share, which a stretch knows less of.
    stretch = pd.read_parquet(tmp_path / f"today/day={day}/anomaly_scores.parquet")
    of_day = line.store.read_day("anomaly_scores", day).to_pandas()
    both = stretch.merge(of_day, on=["fibre", "channel", "start"]).dropna(subset=["score_x", "score_y"])
    assert len(both) > 2000
    assert (both.score_x - both.score_y).abs().median() < 0.1
