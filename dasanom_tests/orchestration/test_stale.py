"""What is stale says so, in words, and nothing else does: on a line that has been through all three jobs."""

import os
import shutil
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import dagster as dg
import pytest
from pydantic import BaseModel, ValidationError

from dasanom_assets import chain
from dasanom_assets.definitions import defs
from dasanom_assets.models import checkpoints
from dasanom_assets.settings import DetectionSettings, Settings
from dasanom_assets.tables.assets import STALE_ONLY
from dasanom_assets.tables.provenance import STEPS, Freshness
from dasanom_assets.tables.store import Store
from dasanom_tests.conftest import BUDGET, Line

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
STEPS_OF_A_DAY = (*chain.INGEST, *chain.SCORE, *chain.COMPARE)
BY_SETTING: dict[str, set[str]] = {
    "spectrogram": {"spectrograms"},
    "window": {"embeddings", "anomaly_scores", "anomaly_events"},
    "window.shift_seconds": {"embeddings", "anomaly_scores", "anomaly_events", "contractor_comparison"},
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
    "comparison.rows_per_second": {
        *("contractor_scores", "contractor_events", "embedding_map", "contractor_comparison"),
    },
}
"""Tables that a setting changes at once, by field or else by section; a section that is not named changes none."""
WHITENING = ("common_channels", "own_spread", "scale_floor_db", "clip_low", "clip_high")
WHITENED = {"common_levels", "segment_models", "embeddings", "anomaly_scores", "anomaly_events"}
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
        candidates = ["Europe/Istanbul", ("2026-01-06",), ("neighbours",), (64, 64), 3, "tcp://localhost:1"]
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
            edge = dep.asset_key.to_user_string(), spec.key.to_user_string()
            if edge != ("temporal_terms", "anomaly_scores"):  # the model has no detector that looks at them
                below.setdefault(edge[0], set()).add(edge[1])
    found, new = set(), set(tables)
    while new:
        found |= new
        new = {table for name in new for table in below.get(name, set()) if table in STEPS} - found
    return found


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
    later = chain.stale(store, last, settings, STEPS_OF_A_DAY)
    assert {"background", "common_levels", "temporal_terms", "anomaly_scores"} <= later.keys()
    assert not {"channel_health", "spectrograms", "level_histograms", "contractor_events"} & later.keys()


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
    assert made == {"common_levels", "cluster_labels"}
    assert {table: store.read_bytes(store.day_path(table, day)) for table in before} == before
    assert chain.stale(store, day, settings, STEPS_OF_A_DAY) == {}


def test_going_back_to_a_model_makes_stale_what_it_has_not_scored(line: Line, tmp_path: Any) -> None:
    store, settings = copied(line, tmp_path)
    live = checkpoints.live_set(store)
    store.write_json(checkpoints.LIVE, live | {"reference_model": "older"})
    reasons = chain.stale(store, line.days[0], settings, chain.SCORE)
    assert set(reasons) == {table for step in chain.SCORE for table in step.tables}
    assert reasons["embeddings"].startswith(f"the live model is older, was {live['reference_model']}")
    assert chain.stale(store, line.days[0], settings, chain.INGEST) == {}


def test_other_code_makes_stale_what_it_made(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    step = STEPS["level_histograms"]
    newer = type(step)(step.tables, step.compute, step.settings, "2", step.feedback, step.inputs)
    monkeypatch.setitem(STEPS, "level_histograms", newer)
    fresh = Freshness(line.store, in_force(line))
    assert fresh.stale("level_histograms", line.days[0]) == "the code of level_histograms is 2, was 1"
    assert fresh.stale("spectrograms", line.days[0]) == ""
    assert "the code of level_histograms is 2" in fresh.stale("background", line.days[0])


def tables_of(store: Store) -> list[str]:
    return [name for name in store.folders("tables")]


def copied(line: Line, root: Any) -> tuple[Store, Settings]:
    """A copy of the line that a test may change; what it does not change are links."""
    for name in ("tables", "models", "reports", "landing"):
        source = (line.root / name).resolve()
        shutil.copytree(source, root / name, copy_function=shutil.copy2)
    return Store(str(root)), in_force(line).model_copy(update={"data": str(root)})
