"""The simulator writes what formats.md describes, and depends on nothing but line and day."""

import json
from datetime import date
from pathlib import Path

import dascore as dc
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.recordings.simulation.contractor import LAG_ROWS
from dasanom_assets.recordings.simulation.simulate import ExistingRecordingsError, simulate, simulate_day
from dasanom_tests.recordings.simulation.conftest import DAY, SMALL, samples, truth, typed


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_bundles_have_the_files_names_and_sizes_of_the_format(small: Path) -> None:
    folder = small / "landing" / "2026-01-05"
    stems = ["north_20260105T100000", "north_20260105T100030"]
    expected = [
        name
        for stem in stems
        for name in (
            f"Model1/{stem}.bin_power.pow",
            f"Model1/{stem}.bin_prob.prob",
            f"{stem}.bin",
            f"{stem}.bin.info",
        )
    ]
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == sorted(expected)
    for stem, second in zip(stems, ("00", "30"), strict=True):
        info = json.loads((folder / f"{stem}.bin.info").read_text())
        assert info["selected_channel_zones"] == [[100, 106], [200, 204]]
        assert int(info["number_of_channels_in_one_sample"]) == 12
        assert (info["sampling_rate_hz"], info["sample_format"], info["fibre"]) == (2000, "int16", "north")
        assert info["start_time"] == f"2026-01-05T10:00:{second}Z"
        assert (folder / f"{stem}.bin").stat().st_size == 30 * 2000 * 12 * 2
        assert (folder / f"Model1/{stem}.bin_prob.prob").stat().st_size == (150 - LAG_ROWS) * 12 * 5 * 4
        assert (folder / f"Model1/{stem}.bin_power.pow").stat().st_size == 2 * 150 * 12 * 4


def test_power_is_that_of_the_samples_and_is_normalised_per_channel(small: Path) -> None:
    folder = small / "landing" / "2026-01-05"
    x = np.fromfile(folder / "north_20260105T100030.bin", "<i2").reshape(150, 400, 12).astype(float)
    real, normalised = np.fromfile(folder / "Model1/north_20260105T100030.bin_power.pow", "<f4").reshape(
        2, 150, 12
    )
    np.testing.assert_allclose(real, (x**2).mean(1), rtol=1e-4)
    np.testing.assert_allclose(normalised, real / real.max(0), rtol=1e-5)


def test_without_the_contractor_there_are_only_recordings(tmp_path: Path, small: Path) -> None:
    simulate_day(SMALL, DAY, tmp_path / "landing", tmp_path / "truth", contractor=False)
    assert not list(tmp_path.rglob("Model1"))
    assert np.array_equal(samples(tmp_path, SMALL), samples(small, SMALL))


@settings(deadline=None, max_examples=4)
@given(file_seconds=st.integers(1, 70))
def test_samples_do_not_depend_on_the_length_of_files(
    tmp_path_factory: pytest.TempPathFactory, small: Path, file_seconds: int
) -> None:
    root = tmp_path_factory.mktemp("cut")
    line = SMALL.model_copy(update={"file_minutes": file_seconds / 60})
    simulate(line, [DAY], root)
    assert np.array_equal(samples(root, line), samples(small, SMALL))
    for name in ("events", "activity"):
        assert truth(root, name).equals(truth(small, name))


def test_a_day_does_not_depend_on_other_days(tmp_path: Path, small: Path) -> None:
    simulate(SMALL, [date(2026, 1, 4), DAY], tmp_path)
    of_day = {name: content for name, content in contents(tmp_path).items() if "2026-01-05" in name}
    assert of_day == contents(small)
    assert not np.array_equal(samples(tmp_path, SMALL, date(2026, 1, 4)), samples(small, SMALL))


def test_seed_and_fibre_make_another_line(tmp_path: Path, small: Path) -> None:
    for change in ({"seed": 4}, {"fibre": "south"}):
        line = SMALL.model_copy(update=change)
        simulate(line, [DAY], tmp_path)
        assert not np.array_equal(samples(tmp_path, line), samples(small, SMALL))


def test_two_fibres_share_a_day_and_its_truth(tmp_path: Path, small: Path) -> None:
    south = SMALL.model_copy(update={"fibre": "south"})
    for line in (SMALL, south, SMALL):  # the last replaces the first
        simulate(line, [DAY], tmp_path, force=True)
    assert {name: c for name, c in contents(tmp_path).items() if "/north_" in name} == {
        name: c for name, c in contents(small).items() if "/north_" in name
    }
    events = truth(tmp_path, "events")
    assert events.filter(pa.compute.equal(events["fibre"], "north")).equals(truth(small, "events"))
    assert set(events["fibre"].to_pylist()) == {"north", "south"}
    assert len(set(events["event_id"].to_pylist())) == events.num_rows


def test_existing_recordings_are_left_alone(tmp_path: Path) -> None:
    line = SMALL.model_copy(update={"events_per_hour": {}})
    simulate(line, [DAY], tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ExistingRecordingsError, match=r"fibre north on 2026-01-05.*--force"):
        simulate(line, [date(2026, 1, 4), DAY], tmp_path)
    assert contents(tmp_path) == before


def test_a_stopped_simulation_leaves_the_old_day_and_no_new_file(tmp_path: Path) -> None:
    simulate(SMALL, [DAY], tmp_path)
    before = contents(tmp_path)
    other = SMALL.model_copy(update={"snrs_db": (6.0,)})

    def stop(seconds: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(other, [DAY], tmp_path, force=True, progress=stop)
    assert contents(tmp_path) == before
    simulate(other, [DAY], tmp_path, force=True)
    assert contents(tmp_path) != before


def test_what_a_kill_left_behind_is_no_day_and_does_not_disturb(tmp_path: Path, small: Path) -> None:
    left = tmp_path / "landing" / ".north-2026-01-05.partial"
    left.mkdir(parents=True)
    (left / "north_20260105T100000.bin").write_bytes(b"half")
    simulate(SMALL, [DAY], tmp_path)
    assert contents(tmp_path) == contents(small)
    assert not left.exists()


def test_dascore_reads_back_samples_channels_and_time(small: Path) -> None:
    files = sorted((small / "landing" / "2026-01-05").glob("*.bin"))
    patches = [dc.read(file)[0].transpose("time", "distance") for file in files]
    assert np.array_equal(np.concatenate([patch.data for patch in patches]), samples(small, SMALL))
    for patch, start in zip(patches, ("10:00:00", "10:00:30"), strict=True):
        assert patch.get_coord("time").min() == np.datetime64(f"2026-01-05T{start}")
        assert patch.get_array("channel").tolist() == SMALL.channels.tolist()
        assert patch.attrs["fibre"] == "north"


def test_command_writes_days_and_refuses_to_write_them_again(tmp_path: Path) -> None:
    options = ["--days", "2", "--minutes", "1", "--channels", "4", "--fibre", "east"]
    assert typed(tmp_path, *options, "--hour", "3", "--no-contractor").exit_code == 0
    names = sorted(path.name for path in (tmp_path / "landing").rglob("*.bin"))
    assert names == ["east_20260105T030000.bin", "east_20260106T030000.bin"]
    assert not list(tmp_path.rglob("*.prob"))
    again = typed(tmp_path, *options)
    assert (again.exit_code, "--force" in again.output) == (1, True)
    assert typed(tmp_path, *options, "--force").exit_code == 0
    assert not list(tmp_path.rglob("*T030000.bin"))


@pytest.mark.parametrize("wrong", [["--channels", "0"], ["--minutes", "0.5"], ["--fibre", "a_b"]])
def test_command_refuses_an_impossible_line(tmp_path: Path, wrong: list[str]) -> None:
    assert typed(tmp_path, *wrong).exit_code == 2
    assert not list(tmp_path.iterdir())
