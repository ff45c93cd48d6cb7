"""What a recording measures: temperature is refused, units come to one, rates are as before rounding."""

from pathlib import Path
from typing import Any

import dascore as dc
import numpy as np
import pytest

from dasanom_assets.recordings.catalogue import Catalogue, catalogue_day
from dasanom_assets.recordings.health import channel_health
from dasanom_assets.recordings.measured import in_base_units, no_sound, rate_of_step
from dasanom_assets.recordings.signal import Stretch, stretches
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_bundle import write

DAY = "2026-01-05"


def noise(n: int, channels: int, dtype: str = "<f4", rms: float = 200.0) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((n, channels)) * rms).astype(dtype)


def patch(
    root: Path, name: str, x: np.ndarray, step_ns: int, seconds: float = 36_000, day: str = DAY, **attrs: Any
) -> None:
    """Write an HDF5 file that starts so many seconds into the day."""
    folder = root / "landing" / day
    folder.mkdir(parents=True, exist_ok=True)
    start = np.datetime64(day, "ns") + np.timedelta64(round(seconds * 1e9), "ns")
    time = start + np.arange(len(x)) * np.timedelta64(step_ns, "ns")
    coords = {"time": time, "distance": np.arange(x.shape[1]) * 2.0}
    dc.write(dc.Patch(data=x, coords=coords, dims=("time", "distance"), attrs=attrs), folder / name, "dasdae")


def bundle(root: Path, stem: str, x: np.ndarray, day: str = DAY, **sidecar: Any) -> None:
    folder = root / "landing" / day
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, x, {"number_of_channels_in_one_sample": x.shape[1]} | sidecar, stem=stem)


def found(root: Path) -> tuple[Catalogue, list[Stretch]]:
    store = Store(str(root))
    catalogue = catalogue_day(store, DAY)
    return catalogue, stretches(store, catalogue.recordings)


@pytest.mark.parametrize(
    ("units", "attributes", "word"),
    [
        ("degC", {}, "temperature"),
        ("1.0 °C", {}, "temperature"),
        ("mK", {}, "temperature"),
        (None, {"data_type": "temperature"}, "temperature"),
        (None, {"data_category": "DTS"}, "temperature"),
        ("microstrain", {"data_category": "DSS"}, "strain"),
        ("GHz", {}, "Brillouin"),
        ("grad C", {}, "temperature"),
        ("deg. C", {}, "temperature"),
        (None, {"Category": "DTS"}, "temperature"),
        (None, {"measurement": "Temperature"}, "temperature"),
    ],
)
def test_what_is_no_sound_is_told(units: str | None, attributes: dict[str, str], word: str) -> None:
    assert word in (no_sound(units, attributes) or "")


@pytest.mark.parametrize("units", [None, "strain/s", "rad", "counts", "m/s", "nm/m/s", "ours", "V"])
def test_sound_is_taken_in_any_unit(units: str | None) -> None:
    assert no_sound(units, {"data_category": "DAS", "data_type": "strain"}) is None


@pytest.mark.parametrize(("ruled", "told", "taken"), [("degC", "rad", 0), ("rad", "degC", 2)])
def test_the_unit_of_a_rule_decides_whether_it_is_sound(tmp_path: Path, ruled: str, told: str, taken: int) -> None:
    (tmp_path / "sites.toml").write_text(f'[[site]]\nfibre = "north"\nunit = "{ruled}"')
    bundle(tmp_path, f"a_{DAY.replace('-', '')}T100000", noise(100, 2), units=told)
    patch(tmp_path, "b.h5", noise(100, 2).astype("f4"), 500_000, 40_000, data_units=told)
    rows, refused = found(tmp_path)[0].recordings, found(tmp_path)[0].refused
    assert rows["units"].to_pylist() == [ruled] * taken
    assert ["temperature (degC)" in refusal.reason or "°C" in refusal.reason for refusal in refused] == [True] * (
        2 - taken
    )


def test_temperature_and_strain_of_days_are_refused_in_files_of_any_kind(tmp_path: Path) -> None:
    x = noise(6000, 4)
    patch(tmp_path, "well_1.h5", x, 10_000_000, data_units="degC", data_type="temperature", data_category="DTS")
    patch(tmp_path, "slope_1.h5", x, 10_000_000, data_units="microstrain", data_category="DSS")
    bundle(tmp_path, "bore_20260105T100000", x, sample_format="float32", units="°C")
    catalogue, _ = found(tmp_path)
    assert catalogue.recordings.num_rows == 0
    assert {Path(r.path).name.split("_")[0]: "not sound" in r.reason for r in catalogue.refused} == {
        "well": True,
        "slope": True,
        "bore": True,
    }


def test_units_of_one_kind_are_one_unit_apart_in_stretches_and_equal_in_rms(tmp_path: Path) -> None:
    x = noise(4000, 4, rms=1e-9)
    patch(tmp_path, "north_1.h5", x, 1_000_000, data_units="strain/s")
    patch(tmp_path, "north_2.h5", x * np.float32(1e9), 1_000_000, 36_004, data_units="nanostrain/s")
    patch(tmp_path, "north_3.h5", x, 1_000_000, 36_008, data_units="rad")
    catalogue, signals = found(tmp_path)
    assert [(s.units, s.scale) for s in signals] == [("1 / s", 1.0), ("1 / s", 1e-9), ("rad", 1.0)]
    issues = [issue for row in catalogue.recordings.to_pylist() for issue in row["issues"]]
    assert ["told in 1 / s" in issue for issue in issues] == [True, False]
    assert "a background of its own" in issues[1]
    for signal in signals[:2]:
        rms = channel_health([signal])[0]["rms"].to_numpy()
        np.testing.assert_allclose(rms, x.std(axis=0, dtype=float), rtol=1e-5)


@pytest.mark.parametrize(
    ("units", "base", "scale"),
    [
        ("µε", "1", 1e-6),
        ("nm/m/s", "1 / s", 1e-9),
        ("km/s", "m / s", 1e3),
        ("dB", "dB", 1.0),
        ("ours", "ours", 1.0),
    ],
)
def test_base_units(units: str, base: str, scale: float) -> None:
    assert in_base_units(units) == (base, pytest.approx(scale))


@pytest.mark.parametrize("rate", [1, 30, 250, 500, 1000, 1050, 2000, 3000, 3217.8, 5000, 10_000, 16_000])
def test_rates_are_those_before_the_step_was_rounded(rate: float) -> None:
    assert rate_of_step(round(1e9 / rate)) == rate


def test_files_of_a_rate_that_does_not_divide_a_second_follow_each_other(tmp_path: Path) -> None:
    x = noise(30_000, 2)
    for i in range(3):
        patch(tmp_path, f"north_{i}.h5", x, 333_333, 36_000 + 10 * i)
    rates = (1000, 1000.0003, 999.9997)
    for i, rate in enumerate(rates):
        bundle(tmp_path, f"south_20260105T1000{4 * i:02d}", noise(4000, 2, "<i2"), sampling_rate_hz=rate)
    for i in range(3):
        bundle(tmp_path, f"west_20260105T1000{10 * i:02d}", noise(32_178, 2, "<i2"), sampling_rate_hz=3217.8)
    catalogue, signals = found(tmp_path)
    assert [(s.fibre, s.n_samples) for s in signals] == [("north", 90_000), ("south", 12_000), ("west", 96_534)]
    assert [s.sampling_rate_hz for s in signals] == pytest.approx([3000, 1000, 3217.8], rel=1e-6)
    rows = catalogue.recordings.to_pylist()
    assert not any("missing" in issue or "overlaps" in issue for row in rows for issue in row["issues"])


def test_a_clock_that_runs_otherwise_than_its_rate_says_keeps_the_times_of_its_files(tmp_path: Path) -> None:
    """At 10 ppm a file of 40 s is 0.4 samples longer than told; ten of them are four samples."""
    for i in range(10):
        patch(tmp_path, f"north_{i}.h5", noise(40_000, 1), 1_000_000, 36_000 + 40 * (1 + 1e-5) * i)
    (signal,) = found(tmp_path)[1]
    assert signal.n_samples == 400_000
    assert signal.sampling_rate_hz == pytest.approx(1000 / (1 + 0.9e-5), rel=1e-9)


def test_times_that_are_rounded_one_by_one_are_evenly_spaced(tmp_path: Path) -> None:
    x, folder = noise(30_000, 2), tmp_path / "landing" / DAY
    folder.mkdir(parents=True)
    for i in range(2):
        ns = np.rint((np.arange(30_000) + 30_000 * i) * 1e9 / 3000).astype("timedelta64[ns]")
        coords = {"time": np.datetime64(f"{DAY}T10", "ns") + ns, "distance": np.arange(2) * 2.0}
        dc.write(dc.Patch(data=x, coords=coords, dims=("time", "distance")), folder / f"north_{i}.h5", "dasdae")
    catalogue, (signal,) = found(tmp_path)
    assert catalogue.refused == []
    assert (signal.n_samples, signal.sampling_rate_hz) == (60_000, 3000.0)


def test_a_gap_of_a_sample_is_a_gap(tmp_path: Path) -> None:
    for i in range(2):
        patch(tmp_path, f"north_{i}.h5", noise(10_000, 1), 1_000_000, 36_000 + 10.001 * i)
    assert len(found(tmp_path)[1]) == 2


def test_fill_values_and_overflow_are_no_samples(tmp_path: Path) -> None:
    x = noise(6000, 4)
    x[1500, 1] = 9.96921e36  # the fill value of netCDF
    x[:, 2] = 1e19
    x[2000:2400, 3] = x[2000, 3]  # stuck
    patch(tmp_path, "north_1.h5", x, 1_000_000)
    catalogue, (signal,) = found(tmp_path)
    assert "6001 samples are larger than 1e+15" in catalogue.recordings["issues"][0].as_py()[0]
    health, seconds = channel_health([signal])
    assert health["state"].to_pylist() == ["ok", "ok", "dead", "ok"]
    assert health["dead_fraction"].to_pylist() == pytest.approx([0, 1 / 6, 1, 0])
    assert [(r["channel"], r["reason"]) for r in seconds.drop(["start", "end"]).to_pylist()] == [(3, "stuck")]


@pytest.mark.parametrize(("dtype", "fill"), [("<u8", 2**64 - 5), ("<i8", -(2**63))])
def test_wide_integers_that_wrapped_or_were_filled_are_told(tmp_path: Path, dtype: str, fill: int) -> None:
    x = np.clip(1000 + 300 * noise(6000, 4), 1, 9000).astype(dtype)
    x[:, 2] = fill
    patch(tmp_path, "north_1.h5", x, 1_000_000)
    catalogue, (signal,) = found(tmp_path)
    assert "6000 samples are larger than 1e+15" in catalogue.recordings["issues"][0].as_py()[0]
    health, _ = channel_health([signal])
    assert [state == "ok" for state in health["state"].to_pylist()] == [True, True, False, True]


def test_long_doubles_are_read_as_doubles(tmp_path: Path) -> None:
    x = noise(6000, 4)
    patch(tmp_path, "north_1.h5", x.astype(np.longdouble), 1_000_000)
    catalogue, (signal,) = found(tmp_path)
    assert catalogue.recordings["issues"].to_pylist() == [[]]
    samples = signal.read(0, 6000)
    assert samples.dtype.itemsize <= 8
    np.testing.assert_allclose(samples, x, rtol=1e-6)
