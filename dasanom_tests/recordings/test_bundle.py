"""The vendor bundle: every way in which a sidecar may speak, and every way in which it may be wrong."""

import json
from pathlib import Path
from typing import Any

import dascore as dc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.recordings.bundle import BundleError, contractor_files, read_sidecar, samples

STEM = "north_20260105T100000"


def write(folder: Path, data: np.ndarray, sidecar: dict[str, Any] | str | None = None, stem: str = STEM) -> Path:
    path = folder / f"{stem}.bin"
    path.write_bytes(data.tobytes())
    if sidecar is None:
        sidecar = {"number_of_channels_in_one_sample": data.shape[1]}
    text = sidecar if isinstance(sidecar, str) else json.dumps(sidecar)
    path.with_name(path.name + ".info").write_text(text, encoding="utf-8")
    return path


def numbers(n: int, channels: int, dtype: str = "<i2") -> np.ndarray:
    return np.arange(n * channels).reshape(n, channels).astype(dtype)


@pytest.mark.parametrize(
    ("zones", "count", "channels"),
    [
        ([[5, 7]], None, [5, 6, 7]),
        ([5, 7], 3, [5, 6, 7]),
        ([[10, 11], [3, 3]], "3", [10, 11, 3]),
        ([], 3, [0, 1, 2]),
        ([], "3", [0, 1, 2]),
    ],
)
def test_zones_in_all_their_forms(tmp_path: Path, zones: Any, count: Any, channels: list[int]) -> None:
    keys = {"selected_channel_zones": zones, "number_of_channels_in_one_sample": count}
    sidecar = read_sidecar(write(tmp_path, numbers(10, 3), {k: v for k, v in keys.items() if v is not None}))
    assert sidecar.channels.tolist() == channels
    assert (sidecar.n_samples, sidecar.sampling_rate_hz, sidecar.fibre) == (10, 2000.0, "north")
    assert any("2000 Hz" in note for note in sidecar.assumed)


@pytest.mark.parametrize(("name", "dtype"), [("int16", "<i2"), ("int32", "<i4"), ("float32", "<f4")])
def test_sample_types_come_back_as_written(tmp_path: Path, name: str, dtype: str) -> None:
    data = numbers(50, 4, dtype)
    path = write(tmp_path, data, {"selected_channel_zones": [2, 5], "sample_format": name})
    np.testing.assert_array_equal(samples(path, read_sidecar(path)), data)
    patch = dc.read(path)[0]
    assert patch.data.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(patch.data, data)


def test_lines_of_key_and_value_say_the_same_as_json(tmp_path: Path) -> None:
    text = """# written by hand
selected_channel_zones: [[1, 2], [5, 5]]
sampling_rate_hz = 1000
start_time: 2026-01-05T12:00:00.25+02:00
fibre: west
channel_spacing_m=4.5
operator: "Ayşe"
"""
    sidecar = read_sidecar(write(tmp_path, numbers(6, 3), text))
    assert sidecar.channels.tolist() == [1, 2, 5]
    assert (sidecar.sampling_rate_hz, sidecar.fibre, sidecar.channel_spacing_m) == (1000.0, "west", 4.5)
    assert np.datetime64(sidecar.start_ns, "ns") == np.datetime64("2026-01-05T10:00:00.250")
    assert sidecar.extra == {"operator": "Ayşe"}


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ("", "holds no keys"),
        ("what is this", "neither JSON nor lines"),
        ("[1, 2]", "holds no keys|neither JSON"),
        ({}, "holds no keys"),
        ({"fibre": "a"}, "neither selected_channel_zones nor number_of_channels"),
        ({"selected_channel_zones": [[0, 3]]}, "truncated delivery: 60 bytes .* 4 bytes are left over"),
        (
            {"selected_channel_zones": [0, 2], "number_of_channels_in_one_sample": 4},
            "hold 3 channels, .* counts 4",
        ),
        ({"selected_channel_zones": [[0, 1], [1, 1]]}, "overlap"),
        ({"selected_channel_zones": [[2, 0]]}, "ends before it begins"),
        ({"selected_channel_zones": [[0, "x"]]}, "not a number"),
        ({"selected_channel_zones": [[-3, -1]]}, "not one of channel numbers"),
        ({"selected_channel_zones": [[2**31, 2**31 + 2]]}, "not one of channel numbers"),
        ({"selected_channel_zones": [[0, 10**9]]}, "1000000001 channels a sample, but .* room for 30 values"),
        ({"number_of_channels_in_one_sample": 10**12}, "room for 30 values"),
        ({"selected_channel_zones": 7}, "is not a list"),
        ({"number_of_channels_in_one_sample": 2.5}, "not a whole number"),
        ({"number_of_channels_in_one_sample": 3, "sampling_rate_hz": 0}, "not a positive number"),
        ({"number_of_channels_in_one_sample": 3, "sampling_rate_hz": "fast"}, "not a number"),
        ({"number_of_channels_in_one_sample": 3, "sampling_rate_hz": True}, "not a number"),
        (
            {"number_of_channels_in_one_sample": 3, "channel_spacing_m": -2},
            "spacing_m -2 is not a positive number",
        ),
        ({"number_of_channels_in_one_sample": 3, "channel_spacing_m": float("nan")}, "not a number"),
        ({"number_of_channels_in_one_sample": 3, "sample_format": "int24"}, "unknown sample_format 'int24'"),
        ({"number_of_channels_in_one_sample": 3, "start_time": "2026-01-05T10:00:00"}, "no time zone"),
        ({"number_of_channels_in_one_sample": 3, "start_time": "yesterday"}, "not ISO 8601"),
    ],
)
def test_a_contradiction_is_named(tmp_path: Path, sidecar: Any, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        read_sidecar(write(tmp_path, numbers(10, 3), sidecar))


@pytest.mark.parametrize(
    ("fraction", "ns"), [(".123456789", 123_456_789), (".1234567", 123_456_700), (".5", 5 * 10**8)]
)
def test_a_start_is_exact_to_the_nanosecond(tmp_path: Path, fraction: str, ns: int) -> None:
    keys = {"number_of_channels_in_one_sample": 3, "start_time": f"2026-01-05T10:00:00{fraction}+00:00"}
    assert read_sidecar(write(tmp_path, numbers(4, 3), keys)).start_ns % 10**9 == ns


def test_no_sidecar_no_start_and_no_bytes_are_named(tmp_path: Path) -> None:
    lone = tmp_path / f"{STEM}.bin"
    lone.write_bytes(b"1234")
    with pytest.raises(BundleError, match="no sidecar"):
        read_sidecar(lone)
    with pytest.raises(BundleError, match="no start"):
        read_sidecar(write(tmp_path, numbers(2, 2), stem="north"))
    with pytest.raises(BundleError, match="20261345T100000 in the name is not a time"):
        read_sidecar(write(tmp_path, numbers(2, 2), stem="north_20261345T100000"))
    with pytest.raises(BundleError, match="empty"):
        read_sidecar(write(tmp_path, numbers(0, 2)))


@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(2, 40),
    zones=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=3),
    cut=st.tuples(st.integers(0, 39), st.integers(0, 39)),
)
def test_a_selection_in_time_and_channel_is_that_of_the_array(
    tmp_path_factory: pytest.TempPathFactory, n: int, zones: list, cut: tuple[int, int]
) -> None:
    ends, at = [], 0
    for gap, length in zones:
        ends.append([at + gap, at + gap + length - 1])
        at += gap + length + 1
    channels = np.concatenate([np.arange(a, b + 1) for a, b in ends])
    data = numbers(n, len(channels))
    spec = {"selected_channel_zones": ends, "channel_spacing_m": 2.0, "first_channel_distance_m": 100.0}
    path = write(tmp_path_factory.mktemp("bundle"), data, spec)
    first, last = sorted(min(c, n - 1) for c in cut)
    time = np.datetime64("2026-01-05T10:00:00", "ns") + np.array([first, last]) * np.timedelta64(500_000, "ns")
    highest = max(int(channels[0]), int(channels[-1]) - 1)
    patch = dc.read(path, time=tuple(time), channel=(int(channels[0]), highest))[0]
    wanted = channels <= highest
    np.testing.assert_array_equal(patch.data, data[first : last + 1, wanted])
    np.testing.assert_array_equal(patch.coords.get_array("channel"), channels[wanted])
    np.testing.assert_allclose(patch.coords.get_array("distance"), 100 + 2 * (channels[wanted] - channels[0]))


def test_dascore_finds_bundles_in_a_folder(tmp_path: Path) -> None:
    for minute in (0, 1):
        stem = f"north_20260105T10{minute:02d}00"
        write(tmp_path, numbers(2000, 3), {"selected_channel_zones": [4, 6], "units": "1/s"}, stem)
    spool = dc.spool(tmp_path).update()
    assert len(spool) == 2
    assert set(spool.get_contents()["file_format"]) == {"DASANOM_BUNDLE"}
    assert spool[1].get_coord("time").min() == np.datetime64("2026-01-05T10:01:00")


def test_the_contractors_files_are_those_of_the_same_stem() -> None:
    listing = [
        "a/Model2/x.bin_prob.prob", "a/Model1/x.bin_power.pow", "a/Model1/x.bin_prob.prob",
        "a/Model1/y.bin_prob.prob", "b/Model1/x.bin_prob.prob", "a/Other/x.bin_prob.prob",
        "a/oldModel1/x.bin_prob.prob", "a/Model1/deep/x.bin_prob.prob", "a/Model1/x.bin_prob.prob.tmp",
    ]  # fmt: skip
    assert contractor_files("a/x.bin", listing) == [(1, listing[2], listing[1]), (2, listing[0], None)]
