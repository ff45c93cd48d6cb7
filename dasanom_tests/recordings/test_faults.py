"""Deliveries that are wrong on purpose: each has a defined outcome, and nothing else of the day suffers."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dasanom_assets.recordings import steps
from dasanom_assets.recordings.catalogue import Catalogue, catalogue_day
from dasanom_assets.recordings.health import channel_health
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_identity import DAY, deliver, fibres

START = f"{DAY}T10:00:00Z"


def bundle(
    root: Path, name: str, samples: int = 200, day: str = DAY, raw: bytes | None = None, **keys: Any
) -> Path:
    """Write a bundle of 100 Hz whose samples count up, from channel 0 on; `raw`: its sidecar as it is."""
    sidecar = {
        "sampling_rate_hz": 100,
        "sample_format": "int16",
        "selected_channel_zones": [[0, 2]],
        "start_time": f"{day}T10:00:00Z",
    } | keys
    path = root / "landing" / day / name
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = sum(last - first + 1 for first, last in sidecar["selected_channel_zones"])
    path.write_bytes(np.arange(samples * channels).astype("<i2").tobytes())
    content = json.dumps({key: value for key, value in sidecar.items() if value is not None}).encode()
    path.with_name(path.name + ".info").write_bytes(content if raw is None else raw)
    return path


def look(root: Path) -> Catalogue:
    return catalogue_day(Store(str(root)), DAY)


def reasons(found: Catalogue) -> dict[str, str]:
    return {refusal.path.rpartition("/")[2]: refusal.reason for refusal in found.refused}


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"channel_spacing_m": 1e-12}, "limits.least_spacing_m = 0.01"),
        ({"channel_spacing_m": 5e-324}, "limits.least_spacing_m = 0.01"),
        ({"channel_spacing_m": 1e12}, "limits.most_spacing_m = 10000"),
        ({"sampling_rate_hz": 0.5}, "write 2 where an interval of 0.5 s was given"),
        ({"sampling_rate_hz": 1e9}, "above limits.highest_rate_hz"),
        ({"sampling_rate_hz": 1e300}, "above limits.highest_rate_hz"),
        ({"sampling_rate_hz": 1e-300}, "too slow for sound"),
        ({"sampling_rate_hz": "1e400"}, "is not a number"),
        ({"fibre": "x" * 10_000}, "more than 200 characters"),
        ({"start_time": "2026-01-05T10:00:00+99:00"}, "is not ISO 8601"),
    ],
)
def test_absurd_numbers_and_names_are_refused_alone(tmp_path: Path, keys: dict[str, Any], reason: str) -> None:
    bundle(tmp_path, "good.bin")
    bundle(tmp_path, "wrong.bin", **keys)
    found = look(tmp_path)
    assert found.recordings["fibre"].to_pylist() == ["good"]
    assert reason in reasons(found)["wrong.bin"]


def test_a_long_name_of_a_rule_or_a_format_is_refused_and_the_limit_named(tmp_path: Path) -> None:
    (tmp_path / "sites.toml").write_text(f'[[site]]\nfibre = "{"x" * 10_000}"\npattern = "ruled*"')
    deliver(tmp_path, "ruled_1.h5")
    deliver(tmp_path, "good_1.h5", 1)
    found = look(tmp_path)
    assert found.recordings["fibre"].to_pylist() == ["good"]
    assert "10000 characters, more than limits.longest_name = 200" in reasons(found)["ruled_1.h5"]


def test_odd_names_are_names_and_what_is_not_seen_is_no_part_of_them(tmp_path: Path) -> None:
    names = {
        "$\\frac{": "$\\frac{", "../../etc/passwd": "../../etc/passwd", "<script>": "<script>", "%s{}": "%s{}",
        "a\x00b": "ab", "line\none": "line one", "\u202eabc": "abc", "\u200b": "n7",
    }  # fmt: skip
    for i, name in enumerate(names):
        bundle(tmp_path, f"n{i}.bin", fibre=name)
    found = look(tmp_path)
    assert found.refused == []
    assert {row["path"].rpartition("/")[2]: row["fibre"] for row in found.recordings.to_pylist()} == {
        f"n{i}.bin": name for i, name in enumerate(names.values())
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["landing"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":' + b"[" * 200_000,
        b'{"selected_channel_zones": [[0, 99999999999999999999]]}',
        b'{"sampling_rate_hz": NaN, "selected_channel_zones": [[0, 2]]}',
        b"\x00" * 100,
        b"{}",
        b"PK\x03\x04",
    ],
)
def test_a_sidecar_made_to_hurt_is_refused_alone(tmp_path: Path, raw: bytes) -> None:
    bundle(tmp_path, "good.bin")
    bundle(tmp_path, "wrong.bin", raw=raw)
    found = look(tmp_path)
    assert found.recordings["fibre"].to_pylist() == ["good"]
    assert reasons(found).keys() == {"wrong.bin"}


def test_a_rule_beats_network_codes_and_other_files_of_the_station_keep_theirs(tmp_path: Path) -> None:
    (tmp_path / "sites.toml").write_text(
        '[[site]]\nfibre = "west"\nfolder = "boxA"\nattribute = { network = "XX" }\nchannel_offset = 100'
    )
    for folder in ("boxA", "boxB"):
        deliver(tmp_path, f"{folder}/rec_1.h5", network="XX", station="ST1")
    assert fibres(tmp_path) == {
        "boxA/rec_1.h5": ("west", "rule 1 of sites.toml"),
        "boxB/rec_1.h5": ("XX.ST1", "the format's network and station"),
    }


def test_names_of_two_time_zones_in_one_root_are_each_their_own(tmp_path: Path) -> None:
    (tmp_path / "sites.toml").write_text(
        '[[site]]\nfibre = "east"\npattern = "east*"\ntime_zone = "Asia/Tokyo"\n'
        '[[site]]\nfibre = "west"\npattern = "west*"\ntime_zone = "America/New_York"\n'
    )
    for name in ("east_20260105T190000.bin", "west_20260105T050000.bin", "here_20260105T100000.bin"):
        bundle(tmp_path, name, start_time=None)
    rows = look(tmp_path).recordings.to_pylist()
    assert {row["fibre"]: f"{row['start']:%H:%M}" for row in rows} == {
        "east": "10:00", "west": "10:00", "here": "10:00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stamp", "start", "remark"),
    [
        ("20251026T023000", "2025-10-26 00:30", "show 2025-10-26 02:30:00 twice, and the first is taken"),
        ("20250330T023000", "2025-03-30 01:30", "show 2025-03-30 02:30:00 never"),
        ("20250330T043000", "2025-03-30 02:30", ""),
    ],
)
def test_an_hour_that_clocks_show_twice_or_never_is_told(
    tmp_path: Path, stamp: str, start: str, remark: str
) -> None:
    (tmp_path / "sites.toml").write_text('[[site]]\nfibre = "north"\ntime_zone = "Europe/Berlin"')
    day = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"
    bundle(tmp_path, f"rec_{stamp}.bin", day=day, start_time=None)
    (row,) = catalogue_day(Store(str(tmp_path)), day).recordings.to_pylist()
    assert f"{row['start']:%Y-%m-%d %H:%M}" == start
    assert any(remark in issue for issue in row["issues"])
    assert bool(remark) == any("clocks of Europe/Berlin" in issue for issue in row["issues"])


def test_a_leap_second_is_told_in_sidecar_and_name(tmp_path: Path) -> None:
    bundle(tmp_path, "a.bin", start_time=f"{DAY}T23:59:60Z")
    bundle(tmp_path, "b_20260105T235960.bin", start_time=None)
    assert all("leap second" in reason for reason in reasons(look(tmp_path)).values())
    assert len(look(tmp_path).refused) == 2


def test_zones_far_apart_are_one_fibre_of_one_health_a_channel(tmp_path: Path) -> None:
    bundle(tmp_path, "north.bin", selected_channel_zones=[[100, 147], [4000, 4047]])
    found = look(tmp_path)
    assert found.recordings["channels"].to_pylist() == ["100..147,4000..4047"]
    table, _ = channel_health(stretches(Store(str(tmp_path)), found.recordings))
    assert table["channel"].to_pylist() == [*range(100, 148), *range(4000, 4048)]


def test_falling_feet_of_one_file_a_channel_are_metres_of_one_fibre(tmp_path: Path) -> None:
    for i, feet in enumerate((1030.0, 1020.0, 1000.0)):
        deliver(tmp_path, f"north_{i}.h5", distance=np.array([feet]), units="ft")
    found = look(tmp_path)
    assert found.recordings["fibre"].to_pylist() == ["north"] * 3
    assert sorted(found.recordings["first_channel"].to_pylist()) == [100, 102, 103]
    metres = dict(zip(found.fibres["channel"].to_pylist(), found.fibres["distance_m"].to_pylist(), strict=True))
    assert metres == pytest.approx({100: 304.8, 102: 310.896, 103: 313.944})


def test_what_was_kept_apart_still_is_on_a_day_of_one_of_them(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    days = {DAY: ("boxA", "boxB"), "2026-01-06": ("boxA",), "2026-01-07": ("boxB",)}
    told = {}
    for i, (day, folders) in enumerate(days.items()):
        for folder in folders:
            deliver(tmp_path, f"../{day}/{folder}/rec_1.h5", i * 86_400, instrument_id="SN7")
        steps.recordings(store, day, Settings())
        told[day] = store.read_day("recordings", day)["fibre"].to_pylist()
    assert told == {
        DAY: ["SN7-boxA", "SN7-boxB"],
        "2026-01-06": ["SN7-boxA"],
        "2026-01-07": ["SN7-boxB"],
    }


def test_a_fibre_that_changes_its_spacing_to_and_fro_is_the_same_two_fibres(tmp_path: Path) -> None:
    store, told = Store(str(tmp_path)), []
    for i, spacing in enumerate((2.0, 4.0, 4.0, 2.0, 4.0)):
        day = f"2026-01-{5 + i:02d}"
        deliver(tmp_path, f"../{day}/north_1.h5", i * 86_400, distance=spacing * np.arange(3))
        steps.recordings(store, day, Settings())
        told += store.read_day("recordings", day)["fibre"].to_pylist()
    assert told == ["north", "north-4m", "north-4m", "north", "north-4m"]


def test_a_file_that_grows_by_half_a_sample_is_refused_until_it_is_whole(tmp_path: Path) -> None:
    path = bundle(tmp_path, "north.bin")
    whole = path.read_bytes()
    path.write_bytes(whole + b"\x01\x00\x01")
    assert "truncated delivery" in reasons(look(tmp_path))["north.bin"]
    path.write_bytes(whole + whole[:6])
    assert look(tmp_path).recordings["n_samples"].to_pylist() == [201]


def test_one_recording_by_several_links_counts_once(tmp_path: Path) -> None:
    path = bundle(tmp_path, "north_20260105T100000.bin")
    for name, link in (("north_20260105T100000_copy.bin", os.link), ("north_20260105T100000_b.bin", os.symlink)):
        for ending in ("", ".info"):
            link(f"{path}{ending}", path.with_name(name + ending))
    found = look(tmp_path)
    (signal,) = [s for s in stretches(Store(str(tmp_path)), found.recordings) if s.fibre == "north"]
    assert signal.n_samples == 200
    assert sum("not used" in " ".join(row["issues"]) for row in found.recordings.to_pylist()) == 2


def test_thousands_of_files_of_one_channel_are_catalogued_in_seconds(tmp_path: Path) -> None:
    for channel in range(1500):
        bundle(tmp_path, f"c{channel}.bin", 4, fibre="north", selected_channel_zones=[[channel, channel]])
    found = look(tmp_path)
    assert found.refused == []
    assert set(map(len, found.recordings["issues"].to_pylist())) == {0}
    assert len({row["channel"] for row in found.fibres.to_pylist()}) == 1500
