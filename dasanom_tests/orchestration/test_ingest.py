"""Real recordings of eleven interrogators, and files that are none, through the job `ingest`."""

import os
import shutil
from datetime import date
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from distributed import Client, LocalCluster

from dasanom_assets import chain
from dasanom_assets.definitions import build_defs
from dasanom_assets.settings import Settings
from dasanom_assets.tables.schemas import stack
from dasanom_assets.tables.store import Store
from dasanom_tests.conftest import DAYS
from dasanom_tests.recordings.test_catalogue import SHAPES, deliver, spoil


@pytest.mark.slow
def test_real_recordings_get_spectrograms_and_bad_files_go_to_quarantine(
    samples: Path, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    for name, (*_, day) in SHAPES.items():
        (tmp_path / "landing" / day).mkdir(parents=True, exist_ok=True)
        shutil.copy(samples / "das" / name, tmp_path / "landing" / day / name)
    reasons = spoil(tmp_path / "landing" / "2025-09-23")
    settings = Settings(first_day=date(2000, 1, 1))
    job, store = build_defs(settings).resolve_job_def("ingest"), Store(str(tmp_path))
    with dg.instance_for_test() as instance:
        for name, (n_samples, n_channels, rate, day) in SHAPES.items():
            if name == "febus_2.h5":
                assert job.execute_in_process(partition_key=day, instance=instance).success
            else:  # its steps without Dagster, which takes seconds for each day
                chain.ingest(store, day, settings, client)
            recordings = store.read_day("recordings", day)
            assert [Path(path).name for path in recordings["path"].to_pylist()] == [name]
            health = store.read_day("channel_health", day).to_pylist()
            silent = {row["channel"] for row in health if row["dead_fraction"] == 1 and np.isnan(row["rms"])}
            assert len(health) == n_channels
            # One channel of one file holds nothing but NaN: it is in the tables as dead, and has no levels.
            assert len(silent) == (1 if name == "febus_2.h5" else 0)
            spectrograms = store.read_day("spectrograms", day)
            assert set(spectrograms["channel"].to_pylist()) == {row["channel"] for row in health} - silent
            levels = stack(spectrograms["power_db"]).reshape(spectrograms.num_rows, 8, -1)
            frames = np.isfinite(levels[:, :, 0]).sum() / (n_channels - len(silent))
            assert abs(frames - 8 * n_samples / rate) <= 1
            assert store.read_day("background", day).num_rows == n_channels - len(silent)
    records = [store.read_json(entry["path"]) for entry in store.listing("quarantine")]
    assert {Path(record["path"]).name for record in records} == reasons.keys()
    for record in records:
        assert reasons[Path(record["path"]).name] in record["reason"]
        assert (tmp_path / record["path"]).exists()


@pytest.mark.slow
def test_a_day_on_s3_and_worker_processes_is_the_day_on_a_disk_in_threads(
    landing: Path, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = DAYS[0]
    (tmp_path / "landing").symlink_to(landing / "landing")
    local, remote = Store(str(tmp_path)), Store(s3)
    for entry in local.listing(f"landing/{day}", recursive=True):
        remote.write_bytes(entry["path"], local.read_bytes(entry["path"]))
    ingest = build_defs(Settings()).resolve_job_def("ingest")
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        dg.instance_for_test() as instance,
    ):
        monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
        assert ingest.execute_in_process(partition_key=day, instance=instance).success
        monkeypatch.setenv("DASANOM_DATA", s3)
        monkeypatch.setenv("DASANOM_DASK__ADDRESS", cluster.scheduler_address)
        result = ingest.execute_in_process(partition_key=day, instance=instance)
        assert result.success
        logged = [record.user_message for record in instance.all_logs(result.run_id)]
    assert any("2 workers, 2 threads; tcp://127.0.0.1:" in line for line in logged)
    assert any(line.startswith("100 %: 15,360 channel-seconds, ") for line in logged)
    for table in ("recordings", "channel_health", "spectrograms", "background"):
        assert remote.read_day(table, day).equals(local.read_day(table, day)), table
    assert remote.digest(remote.day_path("spectrograms", day)) == local.digest(local.day_path("spectrograms", day))
    assert not [line for line in logged if "-of-the-test" in line]


def test_a_day_without_a_readable_file_stops_at_its_check_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    spoil(tmp_path / "landing" / "2026-01-05")
    ingest = build_defs(Settings()).resolve_job_def("ingest")
    with dg.instance_for_test() as instance:
        result = ingest.execute_in_process(partition_key="2026-01-05", instance=instance, raise_on_error=False)
    assert not result.success
    store = Store(str(tmp_path))
    assert store.has_day("recordings", "2026-01-05")
    assert not store.has_day("spectrograms", "2026-01-05")
    (failed,) = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert "see quarantine/" in failed.description


def test_the_sensor_reports_deliveries_and_asks_for_their_ingest(tmp_path: Path) -> None:
    path = deliver(tmp_path, "2026-01-05", "north_20260105T100000")
    old = 1_700_000_000
    for name in (path, f"{path}.info"):
        os.utime(tmp_path / name, (old, old))
    store = Store(str(tmp_path))
    built = build_defs(Settings(data=str(tmp_path)), {"store": store})
    sensor = built.resolve_sensor_def("new_recordings")
    with dg.instance_for_test() as instance:

        def tick():
            context = dg.build_sensor_context(instance, definitions=built, resources={"store": store})
            return sensor.evaluate_tick(context)

        first = tick()
        (request,) = first.run_requests
        assert request.partition_key == "2026-01-05"
        assert request.run_key is None  # with one, a delivery that goes and comes back would be passed over
        (event,) = first.asset_events
        assert (event.asset_key, event.partition) == (dg.AssetKey("raw_recordings"), "2026-01-05")
        assert event.metadata["files"].value == 2
        run = instance.create_run_for_job(
            built.resolve_job_def("ingest"),
            tags=request.tags | {"dagster/partition": request.partition_key},
            status=dg.DagsterRunStatus.STARTED,
        )
        second = tick()
        assert second.run_requests == []
        assert "2026-01-05: a run is under way" in second.skip_message
        instance.report_run_failed(run)
        third = tick()
        assert third.run_requests == []
        assert f"run {run.run_id} did not do it; it is tried again in" in third.skip_message
        # Other files are another matter.
        os.utime(tmp_path / f"{path}.info", (old + 1, old + 1))
        assert [again.partition_key for again in tick().run_requests] == ["2026-01-05"]
