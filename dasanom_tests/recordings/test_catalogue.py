"""Every file of a delivery ends in the catalogue or in quarantine, with a reason."""

import errno
import json
import pickle
import shutil
from pathlib import Path

import dascore as dc
import numpy as np
import pytest

from dasanom_assets.recordings.catalogue import (
    adjoining,
    catalogue_day,
    catalogue_files,
    past_midnight,
)
from dasanom_assets.recordings.quarantine import write_quarantine
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_bundle import numbers, write

DAY = "2026-01-05"
SHAPES = {  # samples, channels, nominal rate (Hz), day
    "ap_sensing_1.hdf5": (150, 4082, 500, "2023-09-24"),
    "decimated_optodas.hdf5": (5000, 51, 500, "2023-10-27"),
    "deformation_rate_event_1.hdf5": (900, 225, 2000, "2022-06-04"),
    "dispersion_event.h5": (2500, 101, 2000, "2000-01-01"),
    "febus_2.h5": (1050, 101, 1050, "2025-09-23"),
    "gdr_1.h5": (10000, 10, 1000, "2016-03-08"),
    "iDAS005_hdf5_example.626.h5": (1000, 1152, 1000, "2019-05-31"),
    "sample_tdms_file_v4713.tdms": (216, 2432, 500, "2019-04-15"),
    "silixa_h5_1.hdf5": (100, 3840, 500, "2023-09-22"),
    "terra15_v5_test_file.hdf5": (2060, 43, 3218, "2022-08-23"),
    "valencia_febus_example.h5": (1250, 100, 250, "2020-09-02"),
}


def spoil(folder: Path) -> dict[str, str]:
    """Put files that cannot be used into `folder`; return their names with a part of the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nothing.h5").write_bytes(b"")
    write(folder, numbers(10, 3), stem="cut_20260105T100000")
    with open(folder / "cut_20260105T100000.bin", "ab") as file:
        file.write(b"\x01\x02\x03")
    contradicting = {"selected_channel_zones": [[0, 3]], "number_of_channels_in_one_sample": 5}
    write(folder, numbers(10, 4), contradicting, stem="two_20260105T100000")
    (folder / "notes.txt").write_text("the crew was late today\n")
    (folder / "picture.h5").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256)) * 8)
    return {
        "nothing.h5": "the file is empty",
        "cut_20260105T100000.bin": "truncated delivery",
        "two_20260105T100000.bin": "hold 4 channels, but the sidecar counts 5",
        "notes.txt": "not a recording of any known format",
        "picture.h5": "not a recording of any known format",
    }


def paths_in(root: Path, folder: str) -> list[str]:
    return [str(p.relative_to(root)) for p in sorted((root / folder).rglob("*")) if p.is_file()]


def test_real_recordings_among_bad_files_are_catalogued_and_the_bad_ones_refused(
    samples: Path, tmp_path: Path
) -> None:
    shutil.copytree(samples / "das", tmp_path / "mixed", ignore=shutil.ignore_patterns("LICENSE*"))
    reasons = spoil(tmp_path / "mixed")
    store = Store(str(tmp_path))
    found = catalogue_files(store, paths_in(tmp_path, "mixed"))
    assert found.recordings.schema.equals(SCHEMAS["recordings"])
    rows = {Path(row["path"]).name: row for row in found.recordings.drop(["start", "end"]).to_pylist()}
    starts = dict(zip(rows, found.recordings["start"].to_numpy(), strict=False))
    ends = dict(zip(rows, found.recordings["end"].to_numpy(), strict=False))
    assert rows.keys() == SHAPES.keys()
    for name, (n_samples, n_channels, rate, day) in SHAPES.items():
        row, patch = rows[name], dc.read(samples / "das" / name)[0]
        time = patch.get_coord("time")
        assert (row["n_samples"], row["n_channels"]) == (n_samples, n_channels)
        assert row["sampling_rate_hz"] == pytest.approx(rate, rel=1e-4)
        assert str(starts[name])[:10] == day
        assert starts[name] == time.min()
        # DASCore's step is rounded to a nanosecond; that of 1050 Hz is 952 380.95 ns.
        assert abs(ends[name] - (time.min() + n_samples * time.step)) <= np.timedelta64(n_samples // 2, "ns")
        assert len(row["sha256"]) == 64
    assert {Path(r.path).name for r in found.refused} == reasons.keys()
    for refusal in found.refused:
        assert reasons[Path(refusal.path).name] in refusal.reason


def test_real_recordings_are_read_as_dascore_reads_them(samples: Path, tmp_path: Path) -> None:
    shutil.copytree(samples / "das", tmp_path / "mixed", ignore=shutil.ignore_patterns("LICENSE*"))
    store = Store(str(tmp_path))
    found = catalogue_files(store, paths_in(tmp_path, "mixed"))
    for stretch in stretches(store, found.recordings):
        (piece,) = stretch.pieces
        patch = dc.read(tmp_path / piece.path)[0].transpose("time", "distance")
        np.testing.assert_array_equal(stretch.read(0, stretch.n_samples), patch.data)
        assert len(stretch.channels) == patch.shape[1]


def test_a_truncated_hdf5_file_is_refused(samples: Path, tmp_path: Path) -> None:
    whole = (samples / "das" / "febus_2.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    (refusal,) = catalogue_files(Store(str(tmp_path)), ["half.h5"]).refused
    assert "truncated" in refusal.reason
    assert refusal.size == len(whole) // 2


def test_a_pickled_file_is_refused_unopened(tmp_path: Path) -> None:
    trace = tmp_path / "it ran"

    class Code:
        def __reduce__(self) -> tuple:
            return open, (str(trace), "w")

    # DASCore takes a file for a pickled patch where its first bytes name one.
    disguise = b"\x80\x04X\x11\x00\x00\x00dascore.coreSpool0"
    (tmp_path / "north.h5").write_bytes(disguise + pickle.dumps(Code(), protocol=4)[2:])
    (refusal,) = catalogue_files(Store(str(tmp_path)), ["north.h5"]).refused
    assert "pickled" in refusal.reason
    assert not trace.exists()


def deliver(root: Path, day: str, stem: str, n: int = 4000, **sidecar: object) -> str:
    folder = root / "landing" / day
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, numbers(n, 3), {"selected_channel_zones": [7, 9]} | sidecar, stem=stem)
    return f"landing/{day}/{stem}.bin"


def test_a_file_in_the_wrong_folder_is_refused_and_one_past_midnight_belongs_to_both_days(tmp_path: Path) -> None:
    over = deliver(tmp_path, DAY, "north_20260105T235959")
    deliver(tmp_path, DAY, "north_20260105T120000")
    wrong = deliver(tmp_path, "2026-01-06", "north_20260104T100000")
    own = deliver(tmp_path, "2026-01-06", "north_20260106T000001")
    store = Store(str(tmp_path))
    tomorrow = catalogue_day(store, "2026-01-06")
    assert tomorrow.recordings["path"].to_pylist() == [over, own]
    assert [(r.path, r.reason) for r in tomorrow.refused] == [
        (wrong, "it starts on 2026-01-04, UTC, but lies in the folder of 2026-01-06: move it, or set the clock")
    ]
    today = catalogue_day(store, DAY).recordings
    assert today.num_rows == 2
    assert past_midnight(today, DAY) == [over]
    assert past_midnight(tomorrow.recordings, "2026-01-06") == []


def test_a_start_at_midnight_but_for_rounding_is_of_either_day(tmp_path: Path) -> None:
    start = f"{DAY}T23:59:59.9999998Z"
    for day in (DAY, "2026-01-06"):
        path = deliver(tmp_path, day, "north", start_time=start)
        found = catalogue_day(Store(str(tmp_path)), day)
        assert (path in found.recordings["path"].to_pylist(), found.refused) == (True, [])
        shutil.rmtree(tmp_path / "landing" / day)
    deliver(tmp_path, "2026-01-06", "north", start_time=f"{DAY}T23:59:59.999Z")
    (refusal,) = catalogue_day(Store(str(tmp_path)), "2026-01-06").refused
    assert f"it starts on {DAY}" in refusal.reason


def hdf5(path: Path, start: str, seconds: float) -> None:
    time = np.datetime64(start, "ns") + np.arange(int(seconds * 100)) * np.timedelta64(10_000_000, "ns")
    coords = {"time": time, "distance": np.arange(4) * 2.0}
    path.parent.mkdir(parents=True, exist_ok=True)
    dc.write(dc.Patch(data=np.ones((len(time), 4)), coords=coords, dims=("time", "distance")), path, "dasdae")


def test_of_the_day_before_only_the_tail_counts_and_nothing_is_refused_again(tmp_path: Path) -> None:
    before, today = tmp_path / "landing" / DAY, tmp_path / "landing" / "2026-01-06"
    hdf5(before / "a_over.h5", "2026-01-05T23:59:58", 3)
    hdf5(before / "a_up_to.h5", "2026-01-05T23:59:50", 10)
    hdf5(today / "a_own.h5", "2026-01-06T00:00:01", 3)
    spoil(before)
    found = catalogue_day(Store(str(tmp_path)), "2026-01-06")
    assert [Path(p).name for p in found.recordings["path"].to_pylist()] == ["a_over.h5", "a_own.h5"]
    assert found.recordings["issues"].to_pylist() == [[], []]
    assert found.refused == []


def test_files_that_reach_a_midnight_adjoin_the_day_and_are_not_of_it(tmp_path: Path) -> None:
    before = deliver(tmp_path, DAY, "north_20260105T235958")  # ends at midnight
    deliver(tmp_path, DAY, "north_20260105T120000")
    over = deliver(tmp_path, DAY, "south_20260105T235959")  # runs past it, so it is of both days
    deliver(tmp_path, "2026-01-06", "north_20260106T000000")
    after = deliver(tmp_path, "2026-01-07", "north_20260107T000000")
    deliver(tmp_path, "2026-01-07", "north_20260107T000005")
    hdf5(tmp_path / "landing" / "2026-01-07" / "a_next.h5", "2026-01-07T00:00:00.500", 1)
    (tmp_path / "landing" / "2026-01-07" / "broken.h5").write_bytes(b"no")
    store = Store(str(tmp_path))
    table = adjoining(store, "2026-01-06")
    assert table["path"].to_pylist() == [before, "landing/2026-01-07/a_next.h5", after]
    assert over in catalogue_day(store, "2026-01-06").recordings["path"].to_pylist()
    assert adjoining(store, "2026-02-01").num_rows == 0


def test_companions_hidden_and_unfinished_files_are_no_recordings_and_orphans_are_refused(tmp_path: Path) -> None:
    path = deliver(tmp_path, DAY, "north_20260105T100000")
    folder = tmp_path / "landing" / DAY
    (folder / "Model1").mkdir()
    for name in ("north_20260105T100000.bin_prob.prob", "lost.bin_prob.prob"):
        (folder / "Model1" / name).write_bytes(b"1234")
    (folder / "gone.bin.info").write_text("{}")
    (folder / ".hidden").write_text("x")
    (folder / "coming.h5.partial").write_text("x")
    found = catalogue_day(Store(str(tmp_path)), DAY)
    assert found.recordings["path"].to_pylist() == [path]
    assert {Path(r.path).name: r.reason for r in found.refused} == {
        "lost.bin_prob.prob": "a contractor's file without its recording: deliver lost.bin into the folder above, "
        "or remove it",
        "gone.bin.info": "a sidecar without its recording gone.bin: deliver that beside it, or remove it",
    }


def test_overlaps_and_assumptions_are_issues(tmp_path: Path) -> None:
    deliver(tmp_path, DAY, "north_20260105T100000", fibre="north")
    deliver(tmp_path, DAY, "north_20260105T100001", fibre="north", sampling_rate_hz=2000, sample_format="int16")
    first, second = catalogue_day(Store(str(tmp_path)), DAY).recordings["issues"].to_pylist()
    assert "sampling rate 2000 Hz assumed" in first
    assert second[-1] == "overlaps north_20260105T100000.bin by 1.000 s"


def test_gaps_and_samples_that_are_not_finite_are_issues(tmp_path: Path) -> None:
    deliver(tmp_path, DAY, "north_20260105T100000", n=2000)
    deliver(tmp_path, DAY, "north_20260105T100003", n=2000)
    folder = tmp_path / "landing" / DAY
    data = np.ones((2000, 2), "<f4")
    data[7, 1], data[9, 0] = np.nan, np.inf
    write(folder, data, {"selected_channel_zones": [0, 1], "sample_format": "float32"}, "south_20260105T100000")
    gap, not_finite = (
        row[-1] for row in catalogue_day(Store(str(tmp_path)), DAY).recordings["issues"].to_pylist()[1:]
    )
    assert gap == "2.000 s are missing after north_20260105T100000.bin"
    assert not_finite == "2 samples are not finite"


def test_files_of_other_channels_of_the_fibre_do_not_overlap(tmp_path: Path) -> None:
    plain = {"sampling_rate_hz": 2000, "sample_format": "int16", "fibre": "north"}
    for second in (0, 2):
        start = f"2026-01-05T10:00:0{second}Z"
        deliver(tmp_path, DAY, f"low{second}", start_time=start, **plain)
        deliver(tmp_path, DAY, f"high{second}", start_time=start, selected_channel_zones=[20, 22], **plain)
    found = catalogue_day(Store(str(tmp_path)), DAY).recordings
    assert found["issues"].to_pylist() == [[], [], [], []]


def test_a_record_that_a_killed_writer_left_half_written_is_passed_over(tmp_path: Path) -> None:
    left = tmp_path / "quarantine" / ".a.h5.0123.json.4567.partial"
    left.parent.mkdir()
    left.write_text('{"day": "2026')
    write_quarantine(Store(str(tmp_path)), DAY, [])
    assert left.exists()


def test_quarantine_holds_one_record_a_file_until_it_is_repaired(tmp_path: Path) -> None:
    path = deliver(tmp_path, DAY, "north_20260105T100000", n=10)
    (tmp_path / path).write_bytes(b"123")
    store = Store(str(tmp_path))
    for _ in range(2):
        write_quarantine(store, DAY, catalogue_day(store, DAY).refused)
    (record,) = (tmp_path / "quarantine").iterdir()
    content = json.loads(record.read_text())
    assert (content["path"], content["day"], content["size"]) == (path, DAY, 3)
    assert "truncated delivery" in content["reason"]
    (tmp_path / path).write_bytes(numbers(10, 3).tobytes())
    write_quarantine(store, DAY, catalogue_day(store, DAY).refused)
    assert list((tmp_path / "quarantine").iterdir()) == []


@pytest.mark.parametrize("error", [TimeoutError("no answer"), OSError(errno.EBUSY, "slow down")])
def test_a_store_that_does_not_answer_stops_the_day_and_refuses_no_file(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(path: str, mode: str) -> None:
        raise error

    store, path = Store("memory://line-away"), "landing/2026-01-05/a.bin"
    store.write_bytes(path, b"12")
    monkeypatch.setattr(store.fs, "open", away)
    with pytest.raises(OSError, match=str(error.args[-1])):
        catalogue_files(store, [path])
