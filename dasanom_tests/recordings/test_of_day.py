"""A recording over several midnights is of each of its days, and each has of it what lies on it."""

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from distributed import Client

from dasanom_assets.recordings import steps
from dasanom_assets.recordings.catalogue import catalogue_day
from dasanom_assets.recordings.landing import delivered, delivered_days, recordings_notes
from dasanom_assets.recordings.of_day import extent, of_day, recorded_hours, while_there
from dasanom_assets.recordings.opened import ChangedError
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms import steps as spectrograms
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_bundle import write
from dasanom_tests.recordings.test_catalogue import deliver
from dasanom_tests.recordings.test_identity import deliver as hdf5

DAYS = ["2026-01-05", "2026-01-06", "2026-01-07"]
HOURS = [1, 24, 2]


@pytest.fixture
def long(tmp_path: Path) -> Store:
    """27 hours of one channel at 1 Hz, full scale for a minute of the last one; its samples count up."""
    x = (np.arange(27 * 3600) % 30_000).astype(np.int16)[:, None]
    x[26 * 3600 : 26 * 3600 + 60] = 32767
    sidecar = {"selected_channel_zones": [[0, 0]], "sampling_rate_hz": 1, "start_time": f"{DAYS[0]}T23:00:00Z"}
    (tmp_path / "landing" / DAYS[0]).mkdir(parents=True)
    write(tmp_path / "landing" / DAYS[0], x, sidecar, stem="north_long")
    return Store(str(tmp_path))


def test_each_day_has_its_part(long: Store, client: Client) -> None:
    path = f"landing/{DAYS[0]}/north_long.bin"
    seconds, clipped = [], []
    for day, hours in zip(DAYS, HOURS, strict=True):
        notes = recordings_notes(long, long.days("recordings"))
        assert delivered_days(long, notes)[-1] == day
        assert path in [f["path"] for f in delivered(long, day, notes)]
        steps.recordings(long, day, Settings())
        table = long.read_day("recordings", day)
        assert table["path"].to_pylist() == [path]
        assert recorded_hours(table, day) == pytest.approx(hours)
        if hours == 24:  # takes long
            continue
        spectrograms.spectrograms(long, day, Settings(), dask=client)
        health = long.read_day("channel_health", day)
        seconds.append(health["seconds"].to_pylist())
        rows = long.read_day("clipped_seconds", day)
        spans = pc.subtract(rows["end"].cast(pa.int64()), rows["start"].cast(pa.int64()))
        clipped.append((pc.sum(spans).as_py() or 0) / 1e9)
        start, end = extent(day)
        assert all(start <= time < end for time in rows["start"].cast(pa.int64()).to_pylist())
    assert seconds == [[3600], [7200]]
    assert clipped[0] == 0
    assert clipped[1] == pytest.approx(60, abs=16)  # in blocks of eight samples
    notes = recordings_notes(long, long.days("recordings"))
    assert delivered_days(long, notes) == DAYS


def test_samples_are_those_of_the_day(long: Store) -> None:
    recordings = catalogue_day(long, DAYS[0]).recordings
    whole = stretches(long, recordings)[0]
    parts = [signal for day in DAYS for signal in of_day([whole], day)]
    assert [part.n_samples for part in parts] == [hours * 3600 for hours in HOURS]
    np.testing.assert_array_equal(
        np.concatenate([part.read(0, part.n_samples) for part in parts]), whole.read(0, whole.n_samples)
    )
    assert parts[1].start_ns == extent(DAYS[1])[0]
    assert list(of_day([whole], "2026-01-09")) == []


@pytest.mark.parametrize("lost", [".bin", ".bin.info"])
def test_a_file_that_vanishes_after_it_was_catalogued_is_left_out(
    tmp_path: Path, client: Client, lost: str
) -> None:
    store, told = Store(str(tmp_path)), list[str]()
    for stem in ("north_20260105T100000", "south_20260105T100000"):
        deliver(tmp_path, DAYS[0], stem)
    steps.recordings(store, DAYS[0], Settings())
    (tmp_path / "landing" / DAYS[0] / f"south_20260105T100000{lost}").unlink()
    spectrograms.spectrograms(store, DAYS[0], Settings(), dask=client, warn=told.append)
    assert set(store.read_day("channel_health", DAYS[0])["fibre"].to_pylist()) == {"north"}
    assert "south_20260105T100000.bin: it was moved or removed" in told[0]
    (kept,) = (tmp_path / "quarantine").iterdir()
    record = json.loads(kept.read_text())
    assert record["path"] == f"landing/{DAYS[0]}/south_20260105T100000.bin"
    assert (record["day"], len(record["sha256"])) == (DAYS[0], 64)
    assert "it was moved or removed" in record["reason"]
    steps.recordings(store, DAYS[0], Settings())  # the catalogue says what is there now
    still = [json.loads(path.read_text())["path"] for path in (tmp_path / "quarantine").iterdir()]
    assert not [path for path in still if path.endswith(".bin")] or lost == ".bin.info"


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("longer", "truncated delivery"),
        ("shorter", "ends early"),
        ("other channels", "was written again"),
        ("no recording", "not a recording|its reader stops"),
        ("fewer in HDF5", "was written again"),
    ],
)
def test_a_file_that_changes_after_it_was_catalogued_is_left_out(
    tmp_path: Path, client: Client, how: str, reason: str
) -> None:
    deliver(tmp_path, DAYS[0], "north_20260105T100000")
    south = tmp_path / deliver(tmp_path, DAYS[0], "south_20260105T100000")
    west = tmp_path / hdf5(tmp_path, "west.h5", samples=2000)
    store, told = Store(str(tmp_path)), list[str]()
    steps.recordings(store, DAYS[0], Settings())
    if how == "longer":
        south.write_bytes(south.read_bytes() + b"1")
    elif how == "shorter":
        south.write_bytes(south.read_bytes()[:600])
    elif how == "other channels":
        south.with_name(south.name + ".info").write_text("number_of_channels_in_one_sample: 4")
    elif how == "no recording":
        west.write_bytes(west.read_bytes()[:5000])
    else:
        west.unlink()
        hdf5(tmp_path, "west.h5", samples=50)
    spectrograms.spectrograms(store, DAYS[0], Settings(), dask=client, warn=told.append)
    left = {"south", "west"} - {"west" if "HDF5" in how or "no" in how else "south"}
    assert set(store.read_day("channel_health", DAYS[0])["fibre"].to_pylist()) == {"north", *left}
    assert len(told) == 1
    assert re.search(reason, told[0]), told


def test_a_changed_file_is_told_across_processes() -> None:
    error = pickle.loads(pickle.dumps(ChangedError("landing/x", "why")))
    assert (error.path, error.reason) == ("landing/x", "why")


def test_where_nothing_is_lost_an_error_stays_one(tmp_path: Path) -> None:
    deliver(tmp_path, DAYS[0], "north_20260105T100000")
    store = Store(str(tmp_path))

    def compute(recordings: pa.Table) -> None:
        raise OSError("the disk is ill")

    with pytest.raises(OSError, match="the disk is ill"):
        while_there(store, DAYS[0], catalogue_day(store, DAYS[0]).recordings, compute, print)
    shutil.rmtree(tmp_path / "landing")
