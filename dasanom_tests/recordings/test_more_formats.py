"""Formats of which no real recording is at hand, written after their makers' layout: rows are those of DASCore."""

from collections.abc import Callable
from pathlib import Path

import dascore as dc
import h5py
import numpy as np
import pytest

from dasanom_assets.recordings.catalogue import catalogue_day
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.tables.store import Store

DAY = "2026-01-05"
START_NS = int(np.datetime64(f"{DAY}T10", "ns").astype(np.int64))
N, CHANNELS, RATE = 400, 6, 200.0
SAMPLES = np.random.default_rng(0).standard_normal((N, CHANNELS)).astype("<f4")
SECONDS = START_NS / 1e9 + np.arange(N) / RATE


def uptech(path: Path, samples: np.ndarray = SAMPLES, rate: float = RATE, after: float = 0.0) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("Acquisition/StrainRate", data=samples)
        file["Acquisition/Time"] = START_NS / 1e9 + after + np.arange(len(samples)) / rate
        data.attrs.update(
            {"acquisition_frequency": rate, "fiber_length": 60.0, "gauge_length": 10.0, "sampling_interval": 2.0}
        )
        data.attrs["spatial_resolution"] = 4.0


def das_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = ["CF-1.7", "DAS-HDF5-1.0"]
        file["das"] = SAMPLES
        file["channel"], file["trace"], file["t"] = np.arange(40, 40 + CHANNELS), np.arange(N), SECONDS
        for name in ("x", "y", "z"):
            file[name] = np.arange(CHANNELS) * 2.0
            file[name].attrs["units"] = "m"


def sintela(path: Path) -> None:
    header = np.zeros(1, [
        *((name, "<u4") for name in ("sync", "size", "version")),
        ("count", "<u8"), ("start_ns", "<u8"), ("channels", "<u4"), ("samples", "<u4"),
        ("rate", "<f4"), ("spacing", "<f4"), ("gauge", "<f4"), ("trigger", "<u4"),
        ("first", "<u4"), ("step", "<u4"),
        ("pps_time", "<u4"), ("pps_offset", "<i4"), ("gps", "<u4"),
        ("flags", "<u1", 4), ("data_type", "<u1"), ("demod", "<u1"), ("unused", "<u2"), ("offsets", "<u2", 8),
    ])  # fmt: skip
    header["sync"], header["size"], header["version"] = 0x11223344, header.itemsize, 3
    header["channels"], header["samples"], header["rate"] = CHANNELS, N // 2, RATE
    header["spacing"], header["gauge"], header["first"], header["step"] = 2.0, 10.0, 40, 1
    header["start_ns"], header["data_type"] = START_NS, 4
    path.write_bytes(b"".join(header.tobytes() + SAMPLES[i : i + N // 2].tobytes() for i in (0, N // 2)))


def terra15(version: str) -> Callable[[Path], None]:
    def written(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.attrs.update(
                {
                    "file_version": int(version),
                    "acoustic_bandwidth_end": 100.0,
                    "amplifier_incoming_current": 1.0,
                    "file_start_computer_time": SECONDS[0],
                    "data_product": "velocity",
                    "sensing_range_start": 80.0,
                    "sensing_range_end": 92.0,
                    "dx": 2.0,
                    "nx": CHANNELS,
                    "pulse_length": 10.0,
                    "gauge_length": 10.0,
                }
            )
            group = file.create_group("velocity" if version == "4" else "data_product")
            group["data"], group["gps_time"] = SAMPLES, SECONDS

    return written


@pytest.mark.parametrize(
    ("write", "ending", "format", "spacing", "first"),
    [
        (uptech, "h5", "Uptech_H5 1", 2.0, 0),
        (das_hdf5, "h5", "DASHDF5 1.0", None, 40),
        (sintela, "raw", "Sintela_Binary 3", 2.0, 40),
        (terra15("4"), "hdf5", "TERRA15 4", 2.0, 40),
        (terra15("6"), "hdf5", "TERRA15 6", 2.0, 40),
    ],
)
def test_rows_and_samples_are_those_of_dascore(
    tmp_path: Path, write: Callable[[Path], None], ending: str, format: str, spacing: float | None, first: int
) -> None:
    path = tmp_path / "landing" / DAY / f"north_1.{ending}"
    path.parent.mkdir(parents=True)
    write(path)
    found = catalogue_day(Store(str(tmp_path)), DAY)
    assert found.refused == []
    (row,) = found.recordings.to_pylist()
    (patch,) = dc.read(path)
    patch = patch.transpose("time", ...)
    assert (row["n_samples"], row["n_channels"]) == patch.shape == (N, CHANNELS)
    assert row["start"].value == patch.coords.min("time").astype(np.int64) == START_NS
    assert row["sampling_rate_hz"] == pytest.approx(1e9 / patch.get_coord("time").step.astype(int), rel=1e-9)
    assert row["sampling_rate_hz"] == pytest.approx(RATE, rel=2e-5)  # DASCore rounds steps of float seconds
    assert row["channel_spacing_m"] == pytest.approx(spacing)
    assert (row["format"], row["first_channel"]) == (format, first)
    (signal,) = stretches(Store(str(tmp_path)), found.recordings)
    np.testing.assert_array_equal(signal.read(0, N), patch.data)


def test_times_that_are_float_seconds_leave_no_gap_between_files(tmp_path: Path) -> None:
    folder, n = tmp_path / "landing" / DAY, 20_000
    folder.mkdir(parents=True)
    samples = np.arange(2 * n * 2, dtype="<f4").reshape(2 * n, 2)
    for i in (0, 1):
        uptech(folder / f"north_{i}.h5", samples[i * n : (i + 1) * n], 1000.0, i * n / 1000)
    found = catalogue_day(Store(str(tmp_path)), DAY)
    assert [row["issues"] for row in found.recordings.to_pylist()] == [[], []]
    (signal,) = stretches(Store(str(tmp_path)), found.recordings)
    assert signal.n_samples == 2 * n
    np.testing.assert_array_equal(signal.read(0, 2 * n), samples)
