"""Whose signal a file is: one fibre for one line, two for two, whatever the files are called."""

from pathlib import Path

import dascore as dc
import numpy as np
import pytest

from dasanom_assets.recordings.catalogue import Catalogue, adjoining, catalogue_day
from dasanom_assets.recordings.identity import identify
from dasanom_assets.recordings.signal import Stretch, stretches
from dasanom_assets.recordings.site_rules import Site
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_bundle import numbers, write

DAY = "2026-01-05"


def deliver(
    root: Path,
    name: str,
    second: float = 0,
    *,
    samples: int = 100,
    rate: float = 100,
    distance: np.ndarray | None = None,
    units: str | None = None,
    **attrs: str,
) -> str:
    """Write an HDF5 recording of its own content that begins so many seconds after ten."""
    distance = np.arange(4) * 2.0 if distance is None else distance
    path = root / "landing" / DAY / name
    path.parent.mkdir(parents=True, exist_ok=True)
    start = np.datetime64(f"{DAY}T10:00:00", "ns") + np.timedelta64(round(second * 1e9), "ns")
    time = start + np.arange(samples) * np.timedelta64(round(1e9 / rate), "ns")
    seed = sum(name.encode())
    data = np.random.default_rng(seed).standard_normal((samples, len(distance))).astype("f4")
    patch = dc.Patch(data, {"time": time, "distance": distance}, ("time", "distance"), attrs=attrs)
    dc.write(patch.set_units(distance=units) if units else patch, path, "dasdae")
    return f"landing/{DAY}/{name}"


def look(root: Path) -> tuple[Catalogue, list[Stretch]]:
    store = Store(str(root))
    found = catalogue_day(store, DAY)
    return found, stretches(store, found.recordings)


def fibres(root: Path) -> dict[str, tuple[str, str]]:
    """Return fibre and what decided it, by the file's path below the day's folder."""
    rows = look(root)[0].recordings.to_pylist()
    return {row["path"].split("/", 2)[2]: (row["fibre"], row["fibre_from"]) for row in rows}


@pytest.mark.parametrize(
    ("path", "fibre", "by"),
    [
        ("line_A_20260105T100000.h5", "line_A", "the file's name"),
        ("line_1_20260105T100000.h5", "line_1", "the file's name"),
        ("line_1_raw_20260105T100000.h5", "line_1", "the file's name"),
        ("line_1_500Hz_20260105T100000.h5", "line_1", "the file's name"),
        ("line_1_2026005_100000.h5", "line_1", "the file's name"),
        ("line_1_260105_100000.h5", "line_1", "the file's name"),
        ("h10/100000.h5", "fibre", "no name: it tells of time only"),
        ("boxA/hour_10/100000.h5", "boxA", "the folder"),
        ("H1/10h/1.h5", "H1", "the folder"),
        ("north_1.h5", "north", "the file's name"),
        ("north_20260105T100000_raw.bin", "north", "the file's name"),
        ("north_raw_20260105T100000.bin", "north", "the file's name"),
        ("north_1_500Hz_20260105T100000.bin", "north_1", "the file's name"),
        ("idas_UTC_20260105_100000.250.bin", "idas", "the file's name"),
        ("Copy of north_20260105T100000.bin", "north", "the file's name"),
        ("copy (2) of north_20260105T100000.bin", "north", "the file's name"),
        ("north20260105T100000.bin", "north", "the file's name"),
        ("north2026-01-05T10-00-00.bin", "north", "the file's name"),
        ("SN7-20260105100000.bin", "SN7", "the file's name"),
        ("north20260105_100000_1.bin", "north", "the file's name"),
        ("SN20264412345678.bin", "SN20264412345678", "the file's name"),
        ("20260105_100000.250_north.h5", "north", "the file's name"),
        ("north_2026-01-05T10.00.00Z.h5", "north", "the file's name"),
        ("north_ch0012.h5", "north", "the file's name"),
        ("north_ch0012_20260105T100000.h5", "north", "the file's name"),
        ("north chan 12 2026-01-05T10-00-00.h5", "north", "the file's name"),
        ("north_1010m.h5", "north", "the file's name"),
        ("100 Hz/north_1.h5", "north", "the file's name"),
        ("north_100 Hz_20260105T100000.h5", "north", "the file's name"),
        ("10 min/north_1_kHz.h5", "north", "the file's name"),
        ("boxA/rec_100000.h5", "boxA", "the folder"),
        ("boxA/10/100000.h5", "boxA", "the folder"),
        ("raw/north_1.h5", "north", "the file's name"),
        ("site/boxA/1.h5", "site-boxA", "the folder"),
        ("100000.hdf5", "fibre", "no name: it tells of time only"),
        ("10/2026-01-05T10h00.h5", "fibre", "no name: it tells of time only"),
        ("1767607200.h5", "fibre", "no name: it tells of time only"),
        ("cafe\u0301_1.h5", "caf\u00e9", "the file's name"),
        (" north  line _1.h5", "north line", "the file's name"),
    ],
)
def test_folder_and_name_tell_of_a_fibre_without_time_counter_and_processing(
    path: str, fibre: str, by: str
) -> None:
    assert identify(f"landing/{DAY}/{path}", (), {}) == (fibre, by, None)


def test_rule_format_sidecar_folder_and_name_decide_in_this_order() -> None:
    path, told = f"landing/{DAY}/boxA/north_1.h5", {"network": "XX", "station": "ST1", "instrument_id": "SN7"}
    rule = Site(fibre="ruled", folder="boxA", attribute={"station": "ST1"})
    assert identify(path, (Site(fibre="no", pattern="south*"), rule), told)[:2] == (
        "ruled",
        "rule 2 of sites.toml",
    )
    assert identify(path, (), told)[:2] == ("XX.ST1", "the format's network and station")
    assert identify(path, (), {"instrument_id": "SN7"})[:2] == ("SN7", "the format's instrument")
    assert identify(path, (), {}, "sidecar's  own")[:2] == ("sidecar's own", "the sidecar")
    assert identify(path, (), {})[:2] == ("boxA", "the folder")


def test_two_interrogators_that_name_their_files_alike_are_two_fibres(tmp_path: Path) -> None:
    for box in ("boxA", "boxB"):
        deliver(tmp_path, f"{box}/rec_100000.h5")
    found, signals = look(tmp_path)
    assert [signal.fibre for signal in signals] == ["boxA", "boxB"]
    assert found.recordings["issues"].to_pylist() == [[], []]


def test_a_copy_in_a_folder_is_of_the_fibre_of_its_original_and_one_counts(tmp_path: Path) -> None:
    original = tmp_path / deliver(tmp_path, "north_20260105T100000.h5")
    for folder, change in (("backup", b""), ("boxB", b"of another")):
        (original.parent / folder).mkdir()
        (original.parent / folder / original.name).write_bytes(original.read_bytes() + change)
    found, signals = look(tmp_path)
    assert [signal.fibre for signal in signals] == ["boxB", "north"]
    issues = {row["path"].split("/")[2]: row["issues"] for row in found.recordings.to_pylist()}
    assert issues["backup"] == issues["boxB"] == []
    (issue,) = issues[original.name]
    assert issue == f"not used: its channels and times are those of landing/{DAY}/backup/{original.name}"


def test_files_named_by_their_time_follow_each_other_on_one_fibre(tmp_path: Path) -> None:
    for second in (0, 1, 2):
        deliver(tmp_path, f"10000{second}.h5", second)
    found, (signal,) = look(tmp_path)
    assert (signal.fibre, signal.n_samples) == ("fibre", 300)
    assert found.recordings["issues"].to_pylist() == [[], [], []]


def test_lines_of_one_instrument_or_folder_are_kept_apart_by_their_names_and_it_is_said(tmp_path: Path) -> None:
    for line in "AB":
        for second in (0, 1):
            deliver(tmp_path, f"line_{line}_20260105T10000{second}.h5", second, instrument_id="SN7")
    found, signals = look(tmp_path)
    assert [(signal.fibre, signal.n_samples) for signal in signals] == [("SN7-line_A", 200), ("SN7-line_B", 200)]
    assert "name them in sites.toml" in found.recordings["issues"].to_pylist()[0][0]
    assert set(found.recordings["fibre_from"].to_pylist()) == {"the format's instrument, and the name"}


def test_counters_of_files_at_the_same_time_are_names(tmp_path: Path) -> None:
    for name in ("line_1.h5", "line_2.h5"):
        deliver(tmp_path, name)
    assert [signal.fibre for signal in look(tmp_path)[1]] == ["line_1", "line_2"]


def test_channels_that_only_names_tell_apart_are_not_dropped(tmp_path: Path) -> None:
    for name in ("ch001_20260105T100000.h5", "ch002_20260105T100000.h5"):
        deliver(tmp_path, name, distance=np.zeros(1))
    assert [signal.fibre for signal in look(tmp_path)[1]] == ["fibre-ch001", "fibre-ch002"]


def test_what_a_decimated_copy_has_beyond_the_recording_is_used_from_a_second_on(tmp_path: Path) -> None:
    deliver(tmp_path, "north_20260105T100001.h5", 1, samples=1000)
    deliver(tmp_path, "north_20260105T095957_dec.h5", -3, samples=725, rate=50)
    assert [(signal.sampling_rate_hz, signal.n_samples) for signal in look(tmp_path)[1]] == [
        (50, 200),
        (100, 1000),
    ]


def test_the_same_file_twice_counts_once(tmp_path: Path) -> None:
    first = tmp_path / deliver(tmp_path, "boxA/rec_1.h5")
    (first.parent / "rec_1 (1).h5").write_bytes(first.read_bytes())
    found, (signal,) = look(tmp_path)
    assert signal.fibre == "boxA"
    assert found.recordings["issues"].to_pylist() == [
        [],
        ["not used: its channels and times are those of rec_1 (1).h5"],
    ]


def test_names_that_look_alike_are_one_fibre(tmp_path: Path) -> None:
    deliver(tmp_path, "caf\u00e9_1.h5", 0)
    deliver(tmp_path, "cafe\u0301_2.h5", 1)
    deliver(tmp_path, "caf\u00e9 _3.h5", 2)
    (signal,) = look(tmp_path)[1]
    assert (signal.fibre, signal.n_samples) == ("caf\u00e9", 300)


def test_rules_of_the_site_name_fibres_and_what_files_do_not_say(tmp_path: Path) -> None:
    (tmp_path / "sites.toml").write_text(
        '[[site]]\nfolder = "boxA"\nfibre = "west"\nchannel_offset = 1000\nspacing_m = 4.0\nunit = "1/s"\n'
        '[[site]]\npattern = "old_*"\nfibre = "east"\ntime_zone = "Europe/Istanbul"\n'
    )
    deliver(tmp_path, "boxA/100000.h5")
    write(tmp_path / "landing" / DAY, numbers(20, 2), {"selected_channel_zones": [0, 1]}, "old_20260105T130000")
    east, west = look(tmp_path)[0].recordings.to_pylist()
    assert (west["fibre"], west["fibre_from"]) == ("west", "rule 1 of sites.toml")
    assert (west["channels"], west["channel_spacing_m"], west["units"]) == ("1000..1003", 4.0, "1/s")
    assert (east["fibre"], f"{east['start']:%H:%M}") == ("east", "10:00")
    assert east["issues"][-1] == "start time taken from the file's name in Europe/Istanbul"


@pytest.mark.parametrize("box", ["", "raw/"])
def test_of_a_recording_and_its_decimated_copy_the_finer_one_is_used_and_it_is_said(
    tmp_path: Path, box: str
) -> None:
    deliver(tmp_path, "dec/north_1.h5" if box else "north_20260105T100000_dec.h5", samples=50, rate=50)
    raw = deliver(tmp_path, f"{box}north_1.h5" if box else "north_20260105T100000_raw.h5")
    found, (signal,) = look(tmp_path)
    assert (signal.sampling_rate_hz, [piece.path for piece in signal.pieces]) == (100, [raw])
    (issue,), none = found.recordings["issues"].to_pylist()
    assert issue == (
        f"not used: its channels and times are those of {raw if box else Path(raw).name}, "
        "which is finer: 100 Hz instead of 50 Hz"
    )
    assert none == []


def test_files_around_midnight_are_parted_as_those_of_the_day(tmp_path: Path) -> None:
    for box in ("a", "b"):
        deliver(tmp_path, f"{box}/1.h5", 50_399, station="ST1")
        deliver(tmp_path, f"../2026-01-06/{box}/2.h5", 50_400, station="ST1")
    store = Store(str(tmp_path))
    today = catalogue_day(store, "2026-01-06").recordings
    assert today["fibre"].to_pylist() == ["ST1-a", "ST1-b"]
    assert adjoining(store, "2026-01-06")["fibre"].to_pylist() == ["ST1-a", "ST1-b"]


def test_where_a_clock_is_set_back_counters_make_no_fibres(tmp_path: Path) -> None:
    for number, second in enumerate((0, 1, 2, 1, 2, 3, 4, 5, 6)):
        deliver(tmp_path, f"north_{number}.h5", second)
    found, signals = look(tmp_path)
    assert set(found.recordings["fibre"].to_pylist()) == {"north"}
    assert [(signal.n_samples, signal.fibre) for signal in signals] == [(700, "north")]
    issues = dict(zip(found.recordings["path"].to_pylist(), found.recordings["issues"].to_pylist(), strict=True))
    assert any("north_1.h5" in issue for issue in issues[f"landing/{DAY}/north_3.h5"])
