"""Files that follow each other are one signal; gaps split, overlaps count once."""

import itertools
from pathlib import Path

import dascore as dc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.recordings import opened
from dasanom_assets.recordings.catalogue import catalogue_files
from dasanom_assets.recordings.signal import Stretch, stretches
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_bundle import numbers, write

RATE = 2000
T0 = np.datetime64("2026-01-05T10:00:00", "ns")


def deliver(root: Path, name: str, data: np.ndarray, first: int, **sidecar: object) -> str:
    """Write a bundle whose first sample is sample `first` of the day's signal."""
    folder = root / "landing" / "2026-01-05"
    folder.mkdir(parents=True, exist_ok=True)
    start = T0 + np.timedelta64(first * 1_000_000_000 // RATE, "ns")
    keys = {
        "selected_channel_zones": [[10, 9 + data.shape[1]]],
        "start_time": f"{start}"[:26] + "Z",
        "fibre": "north",
    }
    write(folder, data, keys | sidecar, stem=name)
    return f"landing/2026-01-05/{name}.bin"


def joined(root: Path, paths: list[str]) -> list[Stretch]:
    store = Store(str(root))
    found = catalogue_files(store, paths)
    assert found.refused == []
    return stretches(store, found.recordings)


@settings(deadline=None, max_examples=15)
@given(
    cuts=st.lists(st.integers(1, 399), max_size=4, unique=True),
    spans=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=5),
)
def test_a_signal_cut_into_files_reads_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], spans: list[tuple[int, int]]
) -> None:
    root = tmp_path_factory.mktemp("cut")
    data = numbers(400, 3)
    borders = [0, *sorted(cuts), 400]
    paths = [deliver(root, f"f{i}", data[a:b], a) for i, (a, b) in enumerate(itertools.pairwise(borders))]
    (stretch,) = joined(root, paths)
    assert (stretch.n_samples, stretch.start_ns) == (400, T0.astype(int))
    for span in spans:
        first, last = sorted(span)
        np.testing.assert_array_equal(stretch.read(first, last), data[first:last])


def test_a_gap_and_a_change_of_rate_or_channels_split(tmp_path: Path) -> None:
    data = numbers(1000, 3)
    paths = [
        deliver(tmp_path, "a", data[:200], 0),
        deliver(tmp_path, "b", data[400:600], 400),
        deliver(tmp_path, "c", data[600:800], 600, selected_channel_zones=[[20, 22]]),
        deliver(tmp_path, "d", data[800:], 800, selected_channel_zones=[[20, 22]], sampling_rate_hz=1000),
    ]
    found = joined(tmp_path, paths)
    assert [s.n_samples for s in found] == [200, 200, 200, 200]
    assert [s.sampling_rate_hz for s in found] == [2000, 2000, 2000, 1000]
    np.testing.assert_array_equal(found[1].read(0, 200), data[400:600])


@pytest.mark.parametrize(("first", "expected"), [(150, 350), (20, 220), (10, 200)])
def test_an_overlap_counts_once_and_the_earlier_file_wins(tmp_path: Path, first: int, expected: int) -> None:
    earlier, later = numbers(200, 2), -numbers(200 if first != 10 else 100, 2)
    (stretch,) = joined(tmp_path, [deliver(tmp_path, "a", earlier, 0), deliver(tmp_path, "b", later, first)])
    assert stretch.n_samples == expected
    both = np.concatenate([earlier, later[200 - first :]])
    np.testing.assert_array_equal(stretch.read(0, expected), both[:expected])


def test_an_overlap_with_other_channels_is_trimmed_for_those_that_they_share(tmp_path: Path) -> None:
    paths = [
        deliver(tmp_path, "a", numbers(200, 3), 0),
        deliver(tmp_path, "b", numbers(200, 3), 100, selected_channel_zones=[[12, 14]]),
        deliver(tmp_path, "c", numbers(200, 3), 100, selected_channel_zones=[[50, 52]], fibre="other"),
    ]
    first, second, shared, other = joined(tmp_path, paths)
    assert [s.n_samples for s in (first, second, shared, other)] == [200, 200, 100, 200]
    assert [s.channels.tolist() for s in (second, shared)] == [[13, 14], [12]]
    assert second.start_ns == (T0 + np.timedelta64(50_000_000, "ns")).astype(int)
    assert shared.start_ns == (T0 + np.timedelta64(100_000_000, "ns")).astype(int)
    np.testing.assert_array_equal(second.read(0, 200), numbers(200, 3)[:, 1:])
    np.testing.assert_array_equal(shared.read(0, 100), numbers(200, 3)[100:, :1])


def test_files_of_several_zones_that_take_turns_are_one_stretch_a_zone(tmp_path: Path) -> None:
    data, other = numbers(400, 3), -numbers(400, 3)
    zone = {"selected_channel_zones": [[50, 52]]}
    paths = [
        deliver(tmp_path, "a1", data[:200], 0),
        deliver(tmp_path, "b1", other[:150], 0, **zone),
        deliver(tmp_path, "b2", other[150:], 150, **zone),
        deliver(tmp_path, "a2", data[200:], 200),
    ]
    first, second = joined(tmp_path, paths)
    np.testing.assert_array_equal(first.read(0, 400), data)
    np.testing.assert_array_equal(second.read(0, 400), other)


def test_no_sample_of_a_channel_counts_twice_whatever_lies_between(tmp_path: Path) -> None:
    paths = [
        deliver(tmp_path, "a", numbers(200, 3), 0),
        deliver(tmp_path, "b", numbers(200, 3), 50, selected_channel_zones=[[50, 52]]),
        deliver(tmp_path, "c", -numbers(200, 3), 100),
    ]
    first, second = joined(tmp_path, paths)
    assert (first.n_samples, second.n_samples) == (300, 200)
    np.testing.assert_array_equal(first.read(0, 300), np.concatenate([numbers(200, 3), -numbers(200, 3)[100:]]))


def test_a_day_of_gaps_keeps_no_more_files_in_memory_than_a_day_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for minute in range(12):
        time = T0 + np.timedelta64(minute, "m") + np.arange(4000) * np.timedelta64(1_000_000, "ns")
        coords = {"time": time, "distance": np.arange(125.0)}
        dc.write(
            dc.Patch(np.ones((4000, 125)), coords, ("time", "distance")), tmp_path / f"n_{minute}.h5", "dasdae"
        )
        names.append(f"n_{minute}.h5")
    found = joined(tmp_path, names)
    assert len(found) == 12
    monkeypatch.setattr(opened, "HELD_BYTES", 8_000_000)
    for stretch in found:
        stretch.read(0, stretch.n_samples)
    files = found[0].files.opened
    assert list(files) == names[-opened.OPEN_FILES :]
    assert all(not file.samples.flags.owndata for file in files.values())  # shared with the reader, not copied


def test_samples_outside_are_an_error(tmp_path: Path) -> None:
    (stretch,) = joined(tmp_path, [deliver(tmp_path, "a", numbers(20, 2), 0)])
    with pytest.raises(IndexError, match="not within"):
        stretch.read(10, 21)
    assert stretch.read(5, 5).shape == (0, 2)


def test_a_remote_data_root_reads_the_same(tmp_path: Path) -> None:
    data = numbers(300, 2)
    path = deliver(tmp_path, "a", data, 0)
    remote = Store(f"memory://{tmp_path.name}")
    for name in (path, f"{path}.info"):
        remote.write_bytes(name, (tmp_path / name).read_bytes())
    found = catalogue_files(remote, [path, f"{path}.info"])
    assert found.refused == []
    (stretch,) = stretches(remote, found.recordings)
    np.testing.assert_array_equal(stretch.read(3, 200), data[3:200])


def test_no_recordings_are_no_stretches(tmp_path: Path) -> None:
    from dasanom_assets.tables.schemas import empty

    assert stretches(Store(str(tmp_path)), empty("recordings")) == []
