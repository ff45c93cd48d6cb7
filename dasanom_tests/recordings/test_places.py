"""Where channels lie: a number means the same place in all files of a fibre."""

from pathlib import Path

import dascore as dc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasanom_assets.recordings.places import parsed, told_places, written
from dasanom_tests.recordings.test_bundle import numbers, write
from dasanom_tests.recordings.test_identity import DAY, deliver, look


def numbered(root: Path) -> tuple[list[int], list[str]]:
    """Return the channels of the one stretch, in the order of the file, and what is said of the file."""
    found, (signal,) = look(root)
    return signal.channels.tolist(), found.recordings["issues"].to_pylist()[0]


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=12))
def test_channels_are_read_as_they_were_written(channels: list[int]) -> None:
    assert parsed(written(np.array(channels, np.int32))).tolist() == channels


@pytest.mark.parametrize(
    ("distance", "channels"),
    [
        (198 - 2.0 * np.arange(8), [99, 98, 97, 96, 95, 94, 93, 92]),
        (-6 + 2.0 * np.arange(5), [-3, -2, -1, 0, 1]),
        (4 - 2.0 * np.arange(4), [2, 1, 0, -1]),
        (np.array([100.0, 102, 104, 300, 302]), [50, 51, 52, 150, 151]),  # zones with a gap
        (np.array([302.0, 300, 104, 102, 100]), [151, 150, 52, 51, 50]),
        (np.array([10.0, 12.0, 14.0001, 16.0, 17.9999]), [5, 6, 7, 8, 9]),
        (np.array([100.0]), [0]),
        (np.array([0.0]), [0]),
    ],
)
def test_a_channel_is_its_distance_by_the_spacing(
    tmp_path: Path, distance: np.ndarray, channels: list[int]
) -> None:
    deliver(tmp_path, "north_1.h5", distance=distance)
    found, issues = numbered(tmp_path)
    assert found == channels
    assert bool(issues) == (distance.tolist() == [100.0])


@pytest.mark.parametrize(
    ("channels", "spacing"),
    [([0, 2], 2.0), ([0, 4, 8, 12], 2.0), ([9, 8, 7], 2.0), ([3, 4, 9], 2.0), ([5], None), ([3, 3], None)],
)
def test_the_spacing_of_numbered_channels_is_from_one_number_to_the_next(
    channels: list[int], spacing: float | None
) -> None:
    coords = {
        "time": np.datetime64("2026-01-05T10:00:00", "ns") + np.arange(2) * np.timedelta64(1, "ms"),
        "distance": 7 + 2.0 * np.array(channels),
        "channel": ("distance", np.array(channels)),
    }
    told = told_places(dc.Patch(np.ones((2, len(channels))), coords, ("time", "distance")))
    assert told["channels"].tolist() == channels
    assert told["channel_spacing_m"] == spacing


def test_uneven_channels_are_numbered_by_the_nearest_place_and_it_is_said(tmp_path: Path) -> None:
    distance = np.array([20.0, 21.7, 24.3, 25.9, 28.2])
    deliver(tmp_path, "north_1.h5", distance=distance)
    channels, (issue,) = numbered(tmp_path)
    spacing = np.median(np.diff(distance))
    assert np.abs(np.array(channels) * spacing - distance).max() < spacing
    assert (np.diff(channels) > 0).all()
    assert "unevenly spaced" in issue


@pytest.mark.parametrize("distance", [np.zeros(3), np.array([0.0, np.nan, 2.0])])
def test_distances_that_tell_nothing_are_said_and_channels_are_counted(
    tmp_path: Path, distance: np.ndarray
) -> None:
    deliver(tmp_path, "north_1.h5", distance=distance)
    channels, (issue,) = numbered(tmp_path)
    assert channels == [0, 1, 2]
    assert "counted from 0" in issue


@pytest.mark.parametrize(("units", "in_metres"), [("km", 1000), ("ft", 0.3048), ("m", 1)])
def test_feet_and_kilometres_become_metres(tmp_path: Path, units: str, in_metres: float) -> None:
    deliver(tmp_path, "north_1.h5", distance=(100 + np.arange(4)) * 2 / in_metres, units=units)
    (row,) = look(tmp_path)[0].recordings.to_pylist()
    assert row["channel_spacing_m"] == pytest.approx(2)
    assert row["channels"] == "100..103"


def test_files_in_feet_and_in_metres_are_one_signal(tmp_path: Path) -> None:
    metres = np.arange(4) * 2.0
    deliver(tmp_path, "north_1.h5", distance=metres, units="m")
    deliver(tmp_path, "north_2.h5", 1, distance=metres / 0.3048, units="ft")
    (signal,) = look(tmp_path)[1]
    assert (signal.channels.tolist(), signal.n_samples) == ([0, 1, 2, 3], 200)


def test_distances_in_no_unit_of_length_are_said(tmp_path: Path) -> None:
    deliver(tmp_path, "north_1.h5", distance=np.arange(3.0) + 5, units="s")
    channels, (issue,) = numbered(tmp_path)
    assert (channels, "counted from 0" in issue) == ([0, 1, 2], True)


def test_a_unit_of_a_rule_counts_where_a_file_says_none(tmp_path: Path) -> None:
    (tmp_path / "sites.toml").write_text('[[site]]\nfibre = "north"\ndistance_unit = "km"')
    deliver(tmp_path, "x.h5", distance=np.arange(4) * 0.002)
    assert look(tmp_path)[0].recordings["channel_spacing_m"].to_pylist() == pytest.approx([2])


@pytest.mark.parametrize("told", [[1, 2, 3, 10**12], [0.2, 0.4, 0.6, 0.8], [1, 2, np.nan, 4], [-(2**63), 1, 2, 3]])
def test_numbers_that_are_none_of_channels_are_passed_over(tmp_path: Path, told: list[float]) -> None:
    path = tmp_path / "landing" / DAY / "north.h5"
    path.parent.mkdir(parents=True)
    time = np.datetime64(f"{DAY}T10:00", "ns") + np.arange(100) * np.timedelta64(10, "ms")
    coords = {"time": time, "distance": np.arange(4) * 2.0, "channel": ("distance", np.array(told))}
    dc.Patch(np.ones((100, 4)), coords, ("time", "distance")).io.write(path, "dasdae")
    (row,) = look(tmp_path)[0].recordings.to_pylist()
    assert row["channels"] == "0..3"


def test_one_file_a_channel_is_one_fibre_of_several(tmp_path: Path) -> None:
    for metres in (1000, 1010, 1020, 1030):
        deliver(tmp_path, f"north_{metres}m.h5", distance=np.array([float(metres)]))
    found, signals = look(tmp_path)
    assert [(signal.fibre, signal.channels.tolist()) for signal in signals] == [
        ("north", [c]) for c in range(100, 104)
    ]
    assert found.recordings["channel_spacing_m"].to_pylist() == [10.0] * 4
    assert found.recordings["issues"].to_pylist()[0] == [
        "spacing 10 m taken from the distances of the fibre's files"
    ]


def test_channels_may_be_missing_between_all_files_of_one_channel(tmp_path: Path) -> None:
    for i, metres in enumerate((1000.0, 1030.0, 1070.0)):  # 10 m apart, and no two of them neighbours
        deliver(tmp_path, f"north_{i}.h5", distance=np.array([metres]))
    found = look(tmp_path)[0].recordings
    assert set(found["fibre"].to_pylist()) == {"north"}
    assert sorted(found["first_channel"].to_pylist()) == [100, 103, 107]


def test_a_single_channel_fits_beside_the_others_of_its_fibre(tmp_path: Path) -> None:
    deliver(tmp_path, "north_1.h5", distance=2.0 * np.arange(4))
    deliver(tmp_path, "north_2.h5", distance=np.array([100.0]))
    assert [signal.channels.tolist() for signal in look(tmp_path)[1]] == [[0, 1, 2, 3], [50]]


def test_of_overlapping_zones_each_channel_counts_once(tmp_path: Path) -> None:
    deliver(tmp_path, "north_1.h5", distance=2.0 * np.arange(6))
    deliver(tmp_path, "north_2.h5", distance=2.0 * np.arange(4, 9))
    found, signals = look(tmp_path)
    assert sorted(c for signal in signals for c in signal.channels.tolist()) == list(range(9))
    assert {signal.n_samples for signal in signals} == {100}
    assert found.recordings["issues"].to_pylist()[1] == ["overlaps north_1.h5 by 1.000 s"]


@pytest.mark.parametrize("total", [None, 5, 6])
def test_of_overlapping_zones_of_a_bundle_each_channel_counts_once(tmp_path: Path, total: int | None) -> None:
    stored = [0, 1, 2, 2, 3, 4] if total != 5 else [0, 1, 2, 3, 4]
    data = numbers(20, len(stored))
    sidecar = {"selected_channel_zones": [[0, 2], [2, 4]]}
    if total:
        sidecar["number_of_channels_in_one_sample"] = total
    (tmp_path / "landing" / DAY).mkdir(parents=True)
    write(tmp_path / "landing" / DAY, data, sidecar, "north_20260105T100000")
    found, (signal,) = look(tmp_path)
    assert signal.channels.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(signal.read(0, 20), data[:, [stored.index(c) for c in range(5)]])
    assert found.recordings["n_channels"].to_pylist() == [5]


def test_another_spacing_is_another_place_and_kept_apart(tmp_path: Path) -> None:
    deliver(tmp_path, "north_1.h5", 0, distance=2.0 * np.arange(4))
    deliver(tmp_path, "north_2.h5", 1, distance=4.0 * np.arange(4))
    found, signals = look(tmp_path)
    assert [signal.fibre for signal in signals] == ["north", "north-4m"]
    assert "lie 4 m apart and not 2 m" in found.recordings["issues"].to_pylist()[1][-1]


def test_a_copy_with_fewer_channels_is_refused_and_names_the_finer_one(tmp_path: Path) -> None:
    copy = deliver(tmp_path, "north_dec.h5", distance=8.0 * np.arange(4))
    raw = deliver(tmp_path, "north_raw.h5", distance=2.0 * np.arange(16))
    found, (signal,) = look(tmp_path)
    assert (signal.fibre, len(signal.channels)) == ("north", 16)
    assert [(r.path, r.reason) for r in found.refused] == [
        (copy, f"a copy of {raw} with a channel every 8 m instead of 2 m; the finer one is used")
    ]
