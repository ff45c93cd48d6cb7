"""What a format needs that is not installed is named, and what is no recording is told for what it is."""

import gzip
import struct
import sys
from pathlib import Path

import dascore as dc
import h5py
import numpy as np
import pytest

from dasanom_assets.recordings.catalogue import catalogue_day, catalogue_files
from dasanom_assets.recordings.file_checks import LIMITS
from dasanom_assets.recordings.foreign_files import look
from dasanom_assets.recordings.reasons import foreign, misread, reason_of, uneven
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_bundle import numbers, write

DAY = "2026-01-05"
START = np.datetime64(f"{DAY}T10:00:00", "ns")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "landing" / DAY
    made.mkdir(parents=True)
    return made


def seg_y(path: Path, n: int = 500, channels: int = 4) -> np.ndarray:
    """Write SEG-Y revision 1 of 10:00:00 at 500 Hz, and return its samples, shape (n, channels)."""
    binary = bytearray(400)
    struct.pack_into(">hh", binary, 12, channels, 0)
    struct.pack_into(">hhhh", binary, 16, 2000, 2000, n, n)  # interval in µs, samples a trace
    struct.pack_into(">h", binary, 24, 5)  # IEEE floats
    struct.pack_into(">hh", binary, 300, 0x0100, 1)
    x, traces = np.random.default_rng(0).standard_normal((n, channels)).astype(">f4"), bytearray()
    for channel in range(channels):
        head = bytearray(240)
        struct.pack_into(">i", head, 0, channel + 1)
        struct.pack_into(">hh", head, 114, n, 2000)
        struct.pack_into(">hhhhh", head, 156, 2026, 5, 10, 0, 0)
        traces += head + x[:, channel].tobytes()
    path.write_bytes("C 1 TEST".ljust(3200).encode("cp500") + binary + traces)
    return x.astype(np.float32)


def test_seg_y_is_read_by_channel(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("segyio")
    samples, store = seg_y(folder / "north_1.sgy"), Store(str(tmp_path))
    found = catalogue_day(store, DAY)
    assert found.refused == []
    (row,) = found.recordings.to_pylist()
    assert (row["sampling_rate_hz"], row["n_samples"], row["n_channels"]) == (500, 500, 4)
    assert row["start"].value == START.astype(np.int64)
    assert row["channel_spacing_m"] is None
    (signal,) = stretches(store, found.recordings)
    assert signal.channels.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(signal.read(0, 500), samples)


def test_a_real_seg_y_file_is_read_as_dascore_reads_it(folder: Path, tmp_path: Path) -> None:
    """`small_channel_patch.sgy` is of DASCore's test data, under the MIT license: github.com/DASDAE/test_data."""
    pytest.importorskip("segyio")
    content = Path(__file__).with_name("small_channel_patch.sgy").read_bytes()
    (tmp_path / "small_1.sgy").write_bytes(content)
    found = catalogue_files(Store(str(tmp_path)), ["small_1.sgy"])
    (row,), patch = found.recordings.to_pylist(), dc.read(tmp_path / "small_1.sgy")[0].transpose("time", ...)
    assert (row["n_samples"], row["n_channels"]) == patch.shape == (20, 10)
    assert row["start"].value == patch.coords.min("time").astype(np.int64)
    assert row["sampling_rate_hz"] == 250.0
    (signal,) = stretches(Store(str(tmp_path)), found.recordings)
    np.testing.assert_array_equal(signal.read(0, 20), patch.data)


def test_a_real_file_of_dasvader_is_read_as_dascore_reads_it_or_its_refusal_names_the_command() -> None:
    """`das_vader_1.jld2` is of DASCore's test data, under the MIT license: github.com/DASDAE/test_data."""
    path = Path(__file__).with_name("das_vader_1.jld2")
    store = Store(str(path.parent))
    found = catalogue_files(store, [path.name])
    if h5py.version.hdf5_version_tuple >= (2, 0, 0):
        (refusal,) = found.refused
        assert "pip install 'h5py<3.16'" in refusal.reason
        return
    (row,), patch = found.recordings.to_pylist(), dc.read(path)[0].transpose("time", ...)
    assert (row["format"], row["n_samples"], row["n_channels"]) == ("DASVader 1", *patch.shape)
    assert (row["sampling_rate_hz"], row["channel_spacing_m"]) == (10_000.0, 1.6)
    assert row["start"].value == patch.coords.min("time").astype(np.int64)
    (signal,) = stretches(store, found.recordings)
    np.testing.assert_array_equal(signal.read(0, row["n_samples"]), patch.data)


def test_without_its_reader_the_refusal_names_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segyio", None)
    seg_y(folder / "north_1.sgy")
    with pytest.raises(Exception) as raised:  # noqa: PT011, DASCore's own
        look(folder / "north_1.sgy", None, f"landing/{DAY}/north_1.sgy", None, LIMITS.model_dump(), [])
    assert "pip install segyio, or pip install -e '.[formats]'" in reason_of(raised.value)


def patch(times: np.ndarray) -> dc.Patch:
    data = numbers(len(times), 4).astype(np.float32)
    return dc.Patch(data=data, coords={"time": times, "distance": np.arange(4) * 2.0}, dims=("time", "distance"))


def test_reasons_say_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    times = START + np.arange(400) * np.timedelta64(1, "ms")
    gap, back, jitter = times.copy(), times.copy(), times.copy()
    gap[200:] += np.timedelta64(500, "ms")
    back[200:] -= np.timedelta64(100, "ms")
    jitter[::3] += np.timedelta64(300, "us")
    patches = {
        "gap": gap,
        "back": back,
        "jitter": jitter,
        "one": times[:1],
        "undated": np.arange(400) / 1000,
        "counted": times - (START - np.datetime64(0, "ns")),
    }
    for name, axis in patches.items():
        dc.write(patch(axis), folder / f"{name}.h5", "dasdae")
    dc.write(dc.spool([patch(times), patch(times + np.timedelta64(9, "s"))]), folder / "two.h5", "dasdae")
    (folder / "packed.h5.gz").write_bytes(gzip.compress(b"anything"))
    (folder / "zeros.h5").write_bytes(bytes(10_000))
    (folder / "page.tdms").write_bytes(b"<!DOCTYPE html><title>404</title>")
    (folder / "old.nc").write_bytes(b"CDF\x01" + bytes(100))
    (folder / "station.mseed").write_bytes(b"000001D STA  " + bytes(range(100)))
    for name in ("NORTH.BIN", "NORTH.BIN.INFO"):
        (folder / name).write_bytes(b"1234")
    write(folder, numbers(10, 4), stem="good_20260105T100000")
    (folder / "model1").mkdir()
    (folder / "model1" / "good_20260105T100000.bin_prob.prob").write_bytes(bytes(80))
    for stem, start in (("leap", "2016-12-31T23:59:60Z"), ("year", "2300-01-05T10:00:00Z"), ("text", "noon")):
        write(folder, numbers(10, 4), {"selected_channel_zones": [[0, 3]], "start_time": start}, stem=stem)
    reasons = {Path(r.path).name: r.reason for r in catalogue_day(Store(str(tmp_path)), DAY).refused}
    wanted = {
        "gap.h5": "a gap of 0.5 s after 0.2 s: split it there",
        "back.h5": "a step back of 0.1 s after 0.2 s",
        "jitter.h5": "not evenly spaced in time",
        "one.h5": "one sample in time",
        "undated.h5": "no absolute time",
        "counted.h5": "no absolute time",
        "two.h5": "2 separate pieces in one file; split it",
        "packed.h5.gz": "compressed (gzip): unpack it",
        "zeros.h5": "nothing but zeros",
        "page.tdms": "a web page",
        "old.nc": "it is netCDF",
        "station.mseed": "it is miniSEED",
        "NORTH.BIN": "upper case, and .bin is looked for: rename it to NORTH.bin",
        "NORTH.BIN.INFO": "upper case, and .bin.info is looked for: rename it to NORTH.bin.info",
        "good_20260105T100000.bin_prob.prob": "in the folder model1: it is looked for in Model<k>",
        "leap.bin": "a leap second",
        "year.bin": "times reach from 1678 to 2261",
        "text.bin": "not ISO 8601, as 2026-01-05T10:00:00Z is",
    }
    assert reasons.keys() == wanted.keys()
    for name, words in wanted.items():
        assert words in reasons[name], reasons[name]


def test_the_end_of_a_day_may_be_written_as_24_hours(folder: Path, tmp_path: Path) -> None:
    for stem, start in (("a", "2026-01-04T24:00:00Z"), ("b", "20260104T24+00:00")):
        write(folder, numbers(10, 4), {"selected_channel_zones": [[0, 3]], "start_time": start}, stem=stem)
    found = catalogue_day(Store(str(tmp_path)), DAY)
    assert found.refused == []
    assert {str(row["start"]) for row in found.recordings.to_pylist()} == {"2026-01-05 00:00:00+00:00"}


def test_a_file_of_hdf5_without_a_recording_holds_no_samples(folder: Path, tmp_path: Path) -> None:
    with h5py.File(folder / "north.h5", "w") as file:
        file.create_group("waveforms")
    (refusal,) = catalogue_day(Store(str(tmp_path)), DAY).refused
    assert refusal.reason == "it holds no samples: deliver it again"


def test_times_that_are_unknown_are_told_as_such() -> None:
    times = START + np.arange(100) * np.timedelta64(1, "ms")
    times[5:7] = np.datetime64("NaT")
    assert uneven(times).startswith("the times of 2 of its 100 samples are unknown")


@pytest.mark.parametrize(
    ("name", "head", "words"),
    [
        ("cube.nc", b"\x89HDF\r\n\x1a\n", "it is netCDF: no reader"),
        ("CUBE.NETCDF", b"\x89HDF\r\n\x1a\n", "it is netCDF: no reader"),
        ("a.mseed", b"", "it is miniSEED: no reader"),
        ("a.pb", b"PBUFMETA", "it is protobuf of Sintela: no reader"),
        ("b.pb", b"\x0a\x15", "it is protobuf: no reader"),
        ("c.rar", b"Rar!", "compressed (rar)"),
    ],
)
def test_formats_without_a_reader_are_known_by_head_or_ending(name: str, head: bytes, words: str) -> None:
    assert words in (foreign(head.ljust(8, b"x"), name) or "")


def test_a_known_format_that_dascore_does_not_read_yet_is_not_called_damaged() -> None:
    reason = reason_of(NotImplementedError("DASCore cannot yet parse spectra Febus G1 files."))
    assert "no reader of it yet" in reason
    assert "damaged" not in reason


def test_times_that_dascore_misreads_are_told_as_such() -> None:
    head = np.array([31, 18339, 27264, 1], "<f4").tobytes()
    assert "its head tells 2.726e-05 s" in (misread("sentek", head, 9.5e9) or "")
    assert misread("sentek", head, 27264.0) is None
    assert misread("segy", head, 9.5e9) is None
