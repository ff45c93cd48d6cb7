"""The street's recordings reach the pipeline as they are, and threats as strong as asked for, where truth says."""

import itertools
import os
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dasanom_assets.benchmarks import street
from dasanom_assets.benchmarks.street import APART_CHANNELS, APART_SECONDS, RATE, Planting, _plans, write_street
from dasanom_assets.recordings.catalogue import catalogue_day
from dasanom_assets.recordings.simulation.simulate import ExistingRecordingsError
from dasanom_assets.tables.store import Store

DAY = date(2026, 1, 6)
EARLY, LATE = ("090017", "090027", "090037", "090047"), ("090112", "090122", "090132", "090142")
NAMES = EARLY + LATE
KINDS = ("walking", "pickaxe", "shovel", "cutting", "machine")
SHORT = Planting(n_each=2, seconds=(4, 8), seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as in the repository of the street, 15 s missing in the middle; channels differ in level and mean."""
    folder = tmp_path_factory.mktemp("street")
    rng = np.random.default_rng(0)
    level = 1e-7 * np.linspace(1, 3, 52)
    for name in NAMES:
        x = (rng.standard_normal((6250, 52)) + 0.5) * level
        np.save(folder / f"{name}.npy", x.astype(np.float32))
    (folder / "README.npy").write_text("not a recording")
    return folder


def written(root: Path) -> np.ndarray:
    files = sorted((root / "landing" / f"{DAY}").glob("*.bin"))
    return np.concatenate([np.fromfile(file, "<f4").reshape(-1, 52) for file in files])


def recorded(folder: Path, names: tuple[str, ...] = NAMES) -> np.ndarray:
    return np.concatenate([np.load(folder / f"{name}.npy") for name in names])


def truth(root: Path, name: str) -> pd.DataFrame:
    return pq.read_table(root / "truth" / f"day={DAY}" / f"{name}.parquet", partitioning=None).to_pandas()


def row_of(time: pd.Series, began: str) -> np.ndarray:
    """Rows of 0.2 s after a time of the day."""
    return ((time - pd.Timestamp(f"{DAY} {began}", tz="UTC")) / pd.Timedelta("200ms")).round().to_numpy(int)


def usual(folder: Path, names: tuple[str, ...]) -> np.ndarray:
    """The median rms of each channel's seconds, its mean taken off."""
    before = recorded(folder, names).astype(float)
    seconds = (before - before.mean(0)).reshape(-1, RATE, 52)
    return np.median(np.sqrt((seconds**2).mean(1)), axis=0)


def planted(folder: Path, root: Path, names: tuple[str, ...] = NAMES) -> np.ndarray:
    """What was planted, samples × channels."""
    return written(root) - recorded(folder, names).astype(float)


def strongest_second(x: np.ndarray) -> np.ndarray:
    """The largest rms of any second, by channel."""
    total = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x**2, axis=0)])
    return np.sqrt(np.max(total[RATE:] - total[:-RATE], axis=0) / RATE)


def bursts(x: np.ndarray) -> np.ndarray:
    """The rms of the stronger burst of each row of 0.2 s, shape (rows, 52)."""
    rows = x.reshape(-1, 125, 52)
    return np.sqrt(np.stack([(rows[:, :62] ** 2).mean(1), (rows[:, 63:] ** 2).mean(1)])).max(0)


def test_without_threats_the_samples_are_those_of_the_files(tmp_path: Path, folder: Path) -> None:
    write_street(folder, tmp_path, DAY, "090027", "090142")
    assert written(tmp_path).tobytes() == recorded(folder, NAMES[1:-1]).tobytes()
    assert not (tmp_path / "truth").exists()


def test_the_catalogue_reads_the_bundles_and_a_gap_starts_a_new_one(tmp_path: Path, folder: Path) -> None:
    write_street(folder, tmp_path, DAY, "090000", street.DEVELOP_UNTIL)
    result = catalogue_day(Store(str(tmp_path)), str(DAY))
    assert not result.refused
    rows = result.recordings.to_pandas()
    assert [f"{start:%H%M%S}" for start in rows["start"]] == [EARLY[0], LATE[0]]
    assert rows["issues"].map(len).tolist() == [0, 1]
    assert "15.000 s are missing" in rows["issues"][1][0]
    for name, value in {"fibre": "street", "sampling_rate_hz": 625, "n_samples": 25000, "n_channels": 52}.items():
        assert set(rows[name]) == {value}
    assert set(rows["channel_spacing_m"]) == {5.1065}
    assert rows["units"].isna().all()


def test_long_stretches_are_cut(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(street, "BUNDLE_FILES", 3)
    write_street(folder, tmp_path, DAY, "090000", street.DEVELOP_UNTIL)
    names = [path.name for path in sorted((tmp_path / "landing" / f"{DAY}").glob("*.bin"))]
    assert names == [f"street_20260106T{name}.bin" for name in (EARLY[0], EARLY[3], LATE[0], LATE[3])]
    assert written(tmp_path).tobytes() == recorded(folder).tobytes()


@pytest.mark.parametrize("strength", [1.0, 4.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_threat_is_as_strong_as_asked_for_and_where_truth_says(
    tmp_path: Path, folder: Path, kind: str, strength: float
) -> None:
    threats = Planting(n_each=1, strengths=(strength,), seconds=(10, 15), kinds=(kind,))
    write_street(folder, tmp_path, DAY, "090000", "090100", threats)
    added, ground = planted(folder, tmp_path, EARLY), usual(folder, EARLY)
    assert (strongest_second(added) / ground).max() == pytest.approx(strength, rel=1e-3)
    ratio = bursts(added) / ground
    (event,) = truth(tmp_path, "events").to_dict("records")
    assert (event["kind"], event["threat"], event["fibre"]) == (kind, True, "street")
    assert event["snr_db"] == pytest.approx(20 * np.log10(strength), abs=1e-5)
    assert ratio.max(0).argmax() == event["peak_channel"]
    rows, channels = np.nonzero(ratio > ratio.max() * 10 ** (-street.PRESENT_DB / 20))
    start, end = row_of(pd.Series([event["start"], event["end"]]), "09:00:17")
    assert (rows.min(), rows.max() + 1) == (start, end)
    assert (channels.min(), channels.max()) == (event["first_channel"], event["last_channel"])
    activity = truth(tmp_path, "activity")
    cells = {*zip(row_of(activity["start"], "09:00:17") // 5, activity["channel"], strict=True)}
    assert cells >= {*zip(rows // 5, channels, strict=True)}
    assert {channel for _, channel in cells} == {*channels}
    # A second around each strong burst belongs to the activity.
    assert {second for second, _ in cells} <= {(row + late) // 5 for row in rows for late in range(-5, 6)}
    assert activity["snr_db"].max() == pytest.approx(event["snr_db"], abs=1e-3)
    assert activity["snr_db"].min() > event["snr_db"] - street.PRESENT_DB


def test_threats_take_turns_and_cross_no_gap(tmp_path: Path, folder: Path) -> None:
    write_street(folder, tmp_path, DAY, "090000", street.DEVELOP_UNTIL, SHORT)
    events, added, ground = truth(tmp_path, "events"), planted(folder, tmp_path), usual(folder, NAMES)
    assert sorted(events["kind"]) == sorted([*KINDS, "walking"])
    assert sorted(events["snr_db"].astype(float).round(2)) == [0, 0, 6.02, 6.02, 12.04, 12.04]
    starts = [pd.Timestamp(f"{DAY} {time}", tz="UTC") for time in ("09:00:17", "09:01:12")]
    length = pd.Timedelta(seconds=40)
    inside = [(events["start"] >= start) & (events["end"] <= start + length) for start in starts]
    assert (inside[0] | inside[1]).all()
    assert all(part.sum() >= 2 for part in inside)
    assert np.ptp(events["peak_channel"]) > 26
    first = np.where(inside[0], row_of(events["start"], "09:00:17"), row_of(events["start"], "09:01:12") + 200)
    for event, position in zip(events.itertuples(), first, strict=True):
        end = position + round((event.end - event.start) / pd.Timedelta("200ms"))
        rows = slice(max(0, position - 5) * 125, (end + 5) * 125)  # a second may begin before the first burst
        own = strongest_second(added[rows]) / ground
        assert own[event.first_channel : event.last_channel + 1].max() == pytest.approx(
            10 ** (event.snr_db / 20), rel=0.1
        )  # neighbours add little


@pytest.mark.parametrize("seed", range(3))
def test_threats_are_spread_evenly_and_stay_apart(seed: int) -> None:
    plans = _plans(Planting(seed=seed), [], n_rows := 3000)
    assert {(kind, sum(plan.kind == kind for plan in plans)) for kind in KINDS} == {
        *zip(KINDS, (5, 5, 5, 5, 4), strict=True)
    }
    slots = [int(plan.first_row / (n_rows - 45 * 5) * 24) for plan in plans]
    places = [int((plan.origin_m / 5.1065 + 0.5) / 52 * 24) for plan in plans]
    assert slots == sorted(places) == [*range(24)]
    for a, b in itertools.combinations(plans, 2):
        seconds = (b.first_row - a.first_row - a.n_rows) / 5
        (low_a, high_a), (low_b, high_b) = (
            sorted((plan.origin_m, plan.origin_m + plan.along_m_s * plan.n_rows / 5)) for plan in (a, b)
        )
        channels = max(low_b - high_a, low_a - high_b) / 5.1065
        assert seconds >= APART_SECONDS or channels >= APART_CHANNELS


def test_threats_pass_the_filter_of_the_recordings(tmp_path: Path, folder: Path) -> None:
    threats = Planting(n_each=1, strengths=(50.0,), seconds=(10, 15), kinds=("cutting",))
    write_street(folder, tmp_path, DAY, "090000", "090100", threats)
    added = planted(folder, tmp_path, EARLY)
    power = (np.abs(np.fft.rfft(added, axis=0)) ** 2).sum(1)
    frequency = np.fft.rfftfreq(len(added), 1 / RATE)
    near, above = ((frequency > low) & (frequency < low + 5) for low in (250, 305))
    assert power[above].sum() < 0.01 * power[near].sum()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, folder: Path) -> None:
    def contents(name: str, threats: Planting) -> dict[str, bytes]:
        root = tmp_path / name
        write_street(folder, root, DAY, "090000", street.DEVELOP_UNTIL, threats)
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    once = contents("once", SHORT)
    assert contents("again", SHORT) == once
    assert contents("other", SHORT.model_copy(update={"seed": 2})) != once


def test_what_cannot_be_written_is_refused_in_words(tmp_path: Path, folder: Path) -> None:
    def refused(
        error: type[Exception], words: str, source: Path = tmp_path, threats: Planting | None = None
    ) -> None:
        with pytest.raises(error, match=words):
            write_street(source, tmp_path / "root", DAY, "090000", street.DEVELOP_UNTIL, threats)
        assert not (tmp_path / "root").exists()

    refused(FileNotFoundError, "has no files HHMMSS.npy from 090000 until 093000: clone https")
    file = tmp_path / "090017.npy"
    np.save(file, np.zeros((6250, 52)))
    refused(ValueError, r"090017.npy holds float64 of shape \(6250, 52\).* is float32 .*fetch it again")
    np.save(file, np.zeros((6250, 51), np.float32))
    refused(ValueError, r"holds float32 of shape \(6250, 51\)")
    file.write_text("version https://git-lfs.github.com/spec/v1\n")
    refused(ValueError, "090017.npy is no array of NumPy: fetch it again")
    refused(ValueError, "24 threats of up to 45 s do not fit into 80 s of 52 channels", folder, Planting())
    write_street(folder, tmp_path, DAY, "090000", "090030")
    with pytest.raises(ExistingRecordingsError, match="already has recordings of fibre street"):
        write_street(folder, tmp_path, DAY, "090000", "090030")


@pytest.mark.parametrize(
    ("field", "value"), [("strengths", (0.0,)), ("seconds", (9, 8)), ("kinds", ("traffic",)), ("n_each", 0)]
)
def test_a_planting_that_makes_no_sense_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Planting(**{field: value})


def test_the_real_street(tmp_path: Path) -> None:
    if not (name := os.environ.get("DASANOM_STREET")):
        pytest.skip("no recordings of the street: set DASANOM_STREET to the folder of their .npy files")
    names = ("090207", "090217", "090227", "090252", "090302")
    write_street(Path(name), tmp_path, DAY, names[0], "090312")
    assert written(tmp_path).tobytes() == recorded(Path(name), names).tobytes()
    result = catalogue_day(Store(str(tmp_path)), str(DAY))
    assert not result.refused
    assert result.recordings["n_samples"].to_pylist() == [3 * 6250, 2 * 6250]
    threats = Planting(n_each=1, seconds=(5, 8))
    write_street(Path(name), tmp_path / "planted", DAY, "090252", "090412", threats)
    assert sorted(truth(tmp_path / "planted", "events")["snr_db"].astype(float).round(2)) == [0, 6.02, 12.04]
