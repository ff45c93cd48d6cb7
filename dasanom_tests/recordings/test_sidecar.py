"""The sidecar: every way in which it may speak, and every way in which it may be wrong."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dasanom_assets.recordings.sidecar import BundleError, read_sidecar
from dasanom_tests.recordings.test_bundle import STEM, numbers, write


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
    assert (sidecar.n_samples, sidecar.sampling_rate_hz, sidecar.fibre) == (10, 2000.0, None)
    assert any("2000 Hz" in note for note in sidecar.assumed)


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


@pytest.mark.parametrize("key", ["fibre", "units", "start_time", "sampling_rate_hz", "sample_format"])
def test_a_value_of_any_length_gives_a_short_reason(tmp_path: Path, key: str) -> None:
    keys = {"number_of_channels_in_one_sample": 3, key: "x" * 900_000}
    with pytest.raises(BundleError, match=f"{key} .*mend it in the sidecar") as caught:
        read_sidecar(write(tmp_path, numbers(10, 3), keys))
    assert len(str(caught.value)) < 400


def test_a_line_of_many_spaces_takes_no_time(tmp_path: Path) -> None:
    text = "number_of_channels_in_one_sample: 3 ,\nnote: a" + " " * 200_000 + "b\n"
    started = time.monotonic()
    sidecar = read_sidecar(write(tmp_path, numbers(10, 3), text))
    assert sidecar.extra["note"] == "a" + " " * 200_000 + "b"
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("x" * 1_000_001, "more than 1000000 bytes"),
        ("a=b\n" * 10_001, "more than 10000 lines"),
        ("[" * 200_000, "neither JSON nor lines"),
        ("remark: x" + " " * 900_000 + "\x01y", "neither selected_channel_zones"),
        ('{"sampling_rate_hz": ' + "1" * 900_000 + "}", "neither JSON nor lines"),
        ("selected_channel_zones: [[0, 999999999]]", "which no recording has"),
    ],
    ids=["long", "lines", "deep", "spaces", "digits", "channels"],
)
def test_a_sidecar_that_would_hold_a_processor_is_refused_within_a_second(
    tmp_path: Path, content: str, reason: str
) -> None:
    path = tmp_path / "north_20260105T100000.bin"
    with open(path, "wb") as file:
        file.truncate(1 << 34)  # room for all channels that a sidecar may claim
    path.with_name(path.name + ".info").write_text(content)
    began = time.process_time()
    with pytest.raises(BundleError, match=reason):
        read_sidecar(path)
    assert time.process_time() - began < 1
