"""The vendor bundle: its samples come back as written, through DASCore and without."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dascore as dc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.recordings.bundle_files import contractor_files, samples
from dasanom_assets.recordings.sidecar import read_sidecar

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


@pytest.mark.parametrize(("name", "dtype"), [("int16", "<i2"), ("int32", "<i4"), ("float32", "<f4")])
def test_sample_types_come_back_as_written(tmp_path: Path, name: str, dtype: str) -> None:
    data = numbers(50, 4, dtype)
    path = write(tmp_path, data, {"selected_channel_zones": [2, 5], "sample_format": name})
    np.testing.assert_array_equal(samples(path, read_sidecar(path)), data)
    patch = dc.read(path)[0]
    assert patch.data.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(patch.data, data)


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


def test_a_day_of_bundles_does_not_load_dascore() -> None:
    modules = "recordings.catalogue", "recordings.signal", "spectrograms.engine", "comparison.contractor"
    loaded = ", ".join(f"dasanom_assets.{name}" for name in modules)
    program = f"import sys, {loaded}; sys.exit('dascore' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
