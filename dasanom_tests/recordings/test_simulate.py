"""The simulator writes what formats.md describes, keeps the truth, and depends on nothing but line and day."""

import json
from datetime import date
from pathlib import Path

import dascore as dc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from dasanom_assets.recordings import simulate as module
from dasanom_assets.recordings.simulate import (
    ACTIVITY,
    CLASSES,
    EVENTS,
    LAG_ROWS,
    ExistingRecordingsError,
    Line,
    main,
    simulate,
    simulate_day,
)
from dasanom_assets.recordings.sources import (
    KINDS,
    USUAL_GROUND,
    Background,
    band_noise,
    compute_event,
    plan_events,
)

DAY = date(2026, 1, 5)
SHORT = [kind for kind, about in KINDS.items() if not about.lasting]
THREATS = [kind for kind, about in KINDS.items() if about.threat]
BUSY = {"walking": 60, "pickaxe": 60, "shovel": 60, "cutting": 60, "machine": 60, "traffic": 120, "wind": 60}
SMALL = Line(
    zones=((100, 106), (200, 204)), minutes=1, file_minutes=0.5, events_per_hour=BUSY, snrs_db=(15.0,), seed=3
)


def samples(root: Path, line: Line, day: date = DAY) -> np.ndarray:
    """All samples of a day, (n_samples, n_channels), in the order of their files."""
    files = sorted((root / "landing" / f"{day}").glob(f"{line.fibre}_*.bin"))
    return np.concatenate([np.fromfile(file, "<i2").reshape(-1, len(line.channels)) for file in files])


def truth(root: Path, name: str, day: date = DAY) -> pa.Table:
    return pq.read_table(root / "truth" / f"day={day}" / f"{name}.parquet", partitioning=None)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    simulate(SMALL, [DAY], root)
    return root


@pytest.fixture(scope="module")
def long_line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Line]:
    line = Line(minutes=4, events_per_hour={**BUSY, "traffic": 60, "wind": 15}, snrs_db=(6.0, 10.0, 15.0))
    root = tmp_path_factory.mktemp("long")
    simulate(line, [DAY], root)
    return root, line


# -- files ----------------------------------------------------------------------------------------------


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


# -- physics --------------------------------------------------------------------------------------------


def background(line: Line = SMALL) -> Background:
    return Background((1, 2, 0), (1, 2, 1, 3), line.zones, 5.0, line.gauge_length_m, 2000, 700.0, USUAL_GROUND)


def test_levels_are_realistic_and_nothing_is_clipped(long_line: tuple[Path, Line]) -> None:
    root, line = long_line
    x = samples(root, line).astype(float)
    rms = np.sqrt(np.median((x.reshape(-1, 2000, 48) ** 2).mean(1), axis=0))
    assert ((rms > 90) & (rms < 420)).all()
    assert np.abs(x).max() < 32000
    assert rms.max() > 1.5 * rms.min()


def test_background_is_continuous_over_blocks_and_can_be_asked_for_in_any_order() -> None:
    noise = background()
    first, second = noise.block(0), noise.block(1)
    assert np.array_equal(background().block(1), second)
    x = np.concatenate([first, second], axis=1).astype(float)
    jumps = np.abs(np.diff(x, n=2, axis=1))
    border = first.shape[1]
    # Second differences show a step; those at the border are like those anywhere.
    assert (jumps[:, border - 3 : border + 3].max(1) < 1.5 * np.quantile(jumps, 0.9999, axis=1)).all()


def test_background_has_the_rms_it_states() -> None:
    noise = background()
    x = np.concatenate([noise.block(i) for i in range(10)], axis=1)
    for band in ((20.0, 120.0), (200.0, 700.0)):
        sos = signal.butter(8, band, "band", fs=2000, output="sos")
        measured = signal.sosfilt(sos, x, axis=1).std(1)
        assert np.abs(20 * np.log10(measured / noise.band_rms(band))).max() < 1.5


def test_neighbours_within_a_gauge_length_share_noise_and_others_do_not() -> None:
    noise = background(SMALL.model_copy(update={"zones": ((100, 139),)}))
    sos = signal.butter(2, 100, "high", fs=2000, output="sos")
    related = np.corrcoef(signal.sosfilt(sos, noise.block(0), axis=1))
    assert 0.35 < np.diag(related, 1).mean() < 0.6
    assert np.abs(np.diag(related, 3)).mean() < 0.05


@settings(deadline=None, max_examples=10)
@given(
    n=st.integers(2000, 9000),
    band=st.tuples(st.floats(5, 200), st.floats(2, 4)).map(lambda b: (b[0], b[0] * b[1])),
    seed=st.integers(0, 2**32),
)
def test_band_noise_lies_in_its_band(n: int, band: tuple[float, float], seed: int) -> None:
    x = band_noise(np.random.default_rng(seed), n, 2000, band, rows=3)
    assert x.shape == (3, n)
    assert x.dtype == np.float32
    frequency, power = signal.periodogram(x, 2000)
    outside = (frequency < band[0] / 2) | (frequency > band[1] * 2)
    assert power[:, outside].sum() < 0.1 * power.sum()


@pytest.mark.parametrize("kind", SHORT)
def test_an_event_reaches_its_ratio_and_fades_along_the_fibre(kind: str) -> None:
    line = Line()
    noise = background(line)
    plans = plan_events((5, 6), [(500.0, 735.0)], 560.0, 10, 10.0, {kind: 12}, (12.0,))
    assert plans
    for plan in plans[:2]:
        event = compute_event(plan, line.channels * 5.0, noise)
        assert event.level_db.max() == pytest.approx(plan.snr_db, abs=0.01)
        burst = event.signal.reshape(len(event.signal), -1, 200)
        ratio = (
            np.sqrt((burst.astype(float) ** 2).mean(2)) / noise.band_rms(KINDS[kind].band_hz)[event.columns, None]
        )
        assert 20 * np.log10(ratio.max()) == pytest.approx(plan.snr_db, abs=0.01)
        frequency, power = signal.periodogram(event.signal, 2000)
        low, high = KINDS[kind].band_hz
        assert power[:, (frequency > low / 2) & (frequency < high * 2)].sum() > 0.9 * power.sum()
        strongest = event.level_db.max(1)
        if kind not in ("wind", "walking"):
            peak = strongest.argmax()
            far = np.abs(np.arange(len(strongest)) - peak) > 100 / 5
            assert (strongest[far] < strongest[peak] - 20).all()


class Measured:
    """A background that somebody measured: the same noise on all channels and in all bands."""

    def __init__(self, rate: int) -> None:
        self.rate, self.coupling = rate, np.ones(48)

    def band_rms(self, band_hz: tuple[float, float]) -> np.ndarray:
        assert 0 < band_hz[0] < band_hz[1] <= 0.45 * self.rate
        return np.full(48, 20.0)


@pytest.mark.parametrize("rate", [500, 625, 1000, 4000])
@pytest.mark.parametrize("kind", SHORT)
def test_an_event_reaches_its_ratio_at_any_rate(kind: str, rate: int) -> None:
    for plan in plan_events((5, 6), [(500.0, 735.0)], 560.0, 10, 10.0, {kind: 36}, (12.0,))[:4]:
        event = compute_event(plan, Line().channels * 5.0, Measured(rate))
        assert event.signal.shape[1] == plan.n_rows * rate // 5
        rows = event.signal.reshape(len(event.signal), plan.n_rows, rate // 5).astype(float)
        bursts = rows[..., : rate // 10], rows[..., rate // 10 :]
        level = 20 * np.log10(np.maximum(*(np.sqrt((burst**2).mean(2)) for burst in bursts)) / 20 + 1e-20)
        present = level > -40
        np.testing.assert_allclose(event.level_db[present], level[present], atol=0.01)
        assert event.level_db.max() == pytest.approx(plan.snr_db, abs=0.01)


@pytest.mark.parametrize("rate", [500, 625, 4000])
def test_truth_is_where_the_recordings_are_louder_at_any_rate(tmp_path: Path, rate: int) -> None:
    line = Line(
        minutes=1, sampling_rate_hz=rate, events_per_hour={"pickaxe": 60, "cutting": 60}, snrs_db=(25.0,), seed=2
    )
    simulate(line, [DAY], tmp_path)
    x = samples(tmp_path, line).astype(np.float32)
    assert x.shape == (60 * rate, 48)
    active = truth(tmp_path, "activity").to_pandas()
    assert set(active["kind"]) == {"pickaxe", "cutting"}
    for kind, rows in active.groupby("kind"):
        band = KINDS[kind].heard_hz(rate)
        x_band = signal.sosfilt(signal.butter(4, band, "band", fs=rate, output="sos"), x, axis=0)
        level = 10 * np.log10((x_band.reshape(60, rate, 48) ** 2).mean(1))
        level -= np.median(level, axis=0)
        strong = rows[rows["snr_db"] > 20]
        second = ((strong["start"] - strong["start"].dt.normalize()).dt.total_seconds() - 36000).astype(int)
        assert np.median(level[second, strong["channel"] - 100]) > 10
    power = np.fromfile(next(tmp_path.rglob("*.pow")), "<f4")
    assert len(power) == 2 * 300 * 48


@pytest.mark.parametrize("rate", [500, 625, 2000])
@pytest.mark.parametrize("kind", THREATS)
def test_truth_ends_where_a_threat_does_at_any_rate(tmp_path: Path, kind: str, rate: int) -> None:
    line = Line(minutes=1, sampling_rate_hz=rate, events_per_hour={kind: 60}, snrs_db=(20.0,), seed=2)
    quiet = line.model_copy(update={"events_per_hour": {}})
    for name, of in (("with", line), ("without", quiet)):
        simulate(of, [DAY], tmp_path / name, contractor=False)
    x, ground = (samples(tmp_path / name, line).astype(float) for name in ("with", "without"))
    sos = signal.butter(4, KINDS[kind].heard_hz(rate), "band", fs=rate, output="sos")
    usual = signal.sosfiltfilt(sos, ground, axis=0).std(0)
    rows = (x - ground).reshape(300, rate // 5, 48)
    level = 20 * np.log10(
        np.maximum(*(np.sqrt((b**2).mean(1)) for b in np.array_split(rows, 2, axis=1))) / usual + 1e-9
    )
    (event,) = truth(tmp_path / "with", "events").to_pylist()
    began = event["start"].replace(minute=0, second=0, microsecond=0)
    first, last = (round((event[key] - began).total_seconds() * 5) for key in ("start", "end"))
    inside = np.zeros(level.shape, bool)
    inside[first:last, event["first_channel"] - 100 : event["last_channel"] - 99] = True
    assert level[~inside].max() < 2.5
    edges = (
        level[first],
        level[last - 1],
        level[:, event["first_channel"] - 100],
        level[:, event["last_channel"] - 100],
    )
    assert min(edge.max() for edge in edges) > -2.5
    assert level.max() == pytest.approx(20, abs=2.5)


def test_a_walker_moves_along_the_fibre() -> None:
    plan = plan_events((7, 8), [(500.0, 735.0)], 560.0, 10, 10.0, {"walking": 6}, (15.0,))[0]
    line = Line()
    event = compute_event(plan, line.channels * 5.0, background(line))
    centre = event.level_db.reshape(len(event.level_db), -1)
    half = centre.shape[1] // 2
    early, late = centre[:, :half].max(1).argmax(), centre[:, half:].max(1).argmax()
    assert np.sign(late - early) == np.sign(plan.along_m_s)
    assert abs(plan.along_m_s) == pytest.approx(1.4, abs=0.3)


def test_there_is_less_traffic_at_night() -> None:
    def vehicles(hour: int) -> int:
        return len(plan_events((1, 1), [(0.0, 500.0)], 100.0, hour, 60.0, {"traffic": 40}, (10.0,)))

    assert vehicles(2) < 0.4 * vehicles(10)


# -- truth ----------------------------------------------------------------------------------------------


def test_truth_fits_its_schemas_and_the_recorded_time(small: Path) -> None:
    events, activity = truth(small, "events"), truth(small, "activity")
    assert events.schema.equals(EVENTS)
    assert activity.schema.equals(ACTIVITY)
    frame = events.to_pandas()
    assert set(frame["kind"]) == set(BUSY)
    assert (frame["threat"] == frame["kind"].isin(THREATS)).all()
    assert (frame["start"] < frame["end"]).all()
    assert frame["start"].min().isoformat() >= "2026-01-05T10:00:00"
    assert frame["end"].max().isoformat() <= "2026-01-05T10:01:00+00:00"
    assert set(frame["first_channel"]) <= set(SMALL.channels.tolist())
    assert (frame["peak_channel"].between(frame["first_channel"], frame["last_channel"])).all()
    active = activity.to_pandas()
    assert set(active["kind"]) == set(THREATS)
    assert (active["snr_db"] > 0).all()
    assert (active["start"].dt.floor("s") == active["start"]).all()
    for _, event in frame[frame["threat"]].iterrows():
        its = active[
            (active["kind"] == event["kind"]) & active["start"].between(event["start"].floor("s"), event["end"])
        ]
        assert set(its["channel"]) <= set(range(event["first_channel"], event["last_channel"] + 1))
        assert its["snr_db"].max() == pytest.approx(event["snr_db"], abs=0.01)


def test_the_recordings_are_louder_where_and_when_a_threat_is(long_line: tuple[Path, Line]) -> None:
    root, line = long_line
    x = samples(root, line).astype(np.float32)
    active = truth(root, "activity").to_pandas()
    second = ((active["start"] - active["start"].dt.normalize()).dt.total_seconds() - 36000).astype(int)
    for kind in THREATS:
        sos = signal.butter(4, KINDS[kind].band_hz, "band", fs=2000, output="sos")
        level = 10 * np.log10(
            (signal.sosfilt(sos, x, axis=0).reshape(-1, 200, 48) ** 2).mean(1).reshape(-1, 10, 48).max(1)
        )
        level -= np.median(level, axis=0)
        strong = (active["kind"] == kind) & (active["snr_db"] > 8)
        assert strong.any()
        assert np.median(level[second[strong], active["channel"][strong] - 100]) > 4


# -- contractor -----------------------------------------------------------------------------------------


def probabilities(root: Path, line: Line, day: date = DAY) -> list[np.ndarray]:
    files = sorted((root / "landing" / f"{day}").rglob("*.prob"))
    return [np.fromfile(file, "<f4").reshape(-1, len(line.channels), len(CLASSES)) for file in files]


def test_class_probabilities_sum_to_one_and_are_mostly_noise(small: Path) -> None:
    for p in probabilities(small, SMALL):
        assert (p >= 0).all()
        np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)
    quiet = Line(zones=((100, 105),), minutes=1, events_per_hour={})
    assert module._contractor(quiet, (1, 1), 0, [])[..., -1].min() > 0.5


def test_class_probabilities_lag_by_six_rows(tmp_path: Path) -> None:
    line = Line(zones=((100, 105),), minutes=1, file_minutes=1, events_per_hour={"machine": 60}, snrs_db=(40.0,))
    simulate(line, [DAY], tmp_path)
    event = truth(tmp_path, "events").to_pandas().iloc[0]
    threat = 1 - probabilities(tmp_path, line)[0][:, event["peak_channel"] - 100, -1]
    alarm = np.flatnonzero(threat > 0.5)
    start = (event["start"] - event["start"].floor("D")).total_seconds() - 36000
    end = (event["end"] - event["start"].floor("D")).total_seconds() - 36000
    assert alarm[0] + LAG_ROWS == pytest.approx(start * 5, abs=5)
    assert alarm[-1] + LAG_ROWS + 1 == pytest.approx(end * 5, abs=5)


def test_the_contractor_finds_most_threats_misses_weak_ones_and_alarms_on_nuisances() -> None:
    alarms: dict[str | float, list[bool]] = {}
    classes: dict[str, list[int]] = {}
    rates = dict.fromkeys(SHORT, 60.0)
    for seed in range(5):
        for plan in plan_events((seed,), [(500.0, 735.0)], 560.0, 10, 60.0, rates, (6.0, 10.0, 15.0)):
            alarm, as_class = module._opinion(plan)
            alarms.setdefault(plan.snr_db if KINDS[plan.kind].threat else plan.kind, []).append(alarm)
            classes.setdefault(plan.kind, []).append(as_class)
    share = {key: np.mean(values) for key, values in alarms.items()}
    assert share[6.0] + 0.2 < share[10.0] < share[15.0] - 0.05
    assert np.mean([share[6.0], share[10.0], share[15.0]]) == pytest.approx(0.7, abs=0.07)
    assert share["traffic"] == pytest.approx(0.5, abs=0.1)
    assert share["wind"] == pytest.approx(0.3, abs=0.1)
    usual = {kind: CLASSES[np.bincount(values).argmax()] for kind, values in classes.items()}
    right = {"walking": "yurume", "pickaxe": "kazma", "shovel": "kazma", "cutting": "kesici", "machine": "makine"}
    assert usual.items() >= right.items()
    assert all(len(set(classes[kind])) > 1 for kind in right)


# -- line and command -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fibre": "north_2"}, "pattern"),
        ({"zones": ((5, 3),)}, "ascending"),
        ({"zones": ((0, 9), (9, 20))}, "overlap"),
        ({"minutes": 1.001}, "whole number of seconds"),
        ({"hour": 23, "minutes": 61}, "past midnight"),
        ({"events_per_hour": {"digging": 1}}, "digging"),
        ({"snrs_db": (-3.0,)}, "snrs_db"),
    ],
)
def test_a_line_that_cannot_be_is_refused_in_words(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Line(**change)


def test_command_writes_days_and_refuses_to_write_them_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(tmp_path), "--days", "2", "--minutes", "1", "--channels", "4", "--fibre", "east"]
    assert main([*arguments, "--hour", "3", "--no-contractor"]) == 0
    names = sorted(path.name for path in (tmp_path / "landing").rglob("*.bin"))
    assert names == ["east_20260105T030000.bin", "east_20260106T030000.bin"]
    assert not list(tmp_path.rglob("*.prob"))
    capsys.readouterr()
    assert main(arguments) == 1
    assert "--force" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0
    assert not list(tmp_path.rglob("*T030000.bin"))


@pytest.mark.parametrize("wrong", [["--channels", "0"], ["--minutes", "0.5"], ["--fibre", "a_b"]])
def test_command_refuses_an_impossible_line(tmp_path: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--data", str(tmp_path), *wrong])
    assert stopped.value.code == 2
    assert not list(tmp_path.iterdir())


def test_dascore_reads_back_samples_channels_and_time(small: Path) -> None:
    files = sorted((small / "landing" / "2026-01-05").glob("*.bin"))
    patches = [dc.read(file)[0].transpose("time", "distance") for file in files]
    assert np.array_equal(np.concatenate([patch.data for patch in patches]), samples(small, SMALL))
    for patch, start in zip(patches, ("10:00:00", "10:00:30"), strict=True):
        assert patch.get_coord("time").min() == np.datetime64(f"2026-01-05T{start}")
        assert patch.get_array("channel").tolist() == SMALL.channels.tolist()
        assert patch.attrs["fibre"] == "north"
