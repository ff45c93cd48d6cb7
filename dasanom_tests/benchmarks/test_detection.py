"""The benchmark of detection plants what it says, judges what it should, and writes tables from its figures."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.benchmarks.detection import (
    FIRST,
    HARD_SNRS_DB,
    LEARNED,
    LOUDER_DB,
    SITE,
    events_within,
    interval,
    make_louder,
    mean_energy,
    off_nuisances,
    prepare,
)
from dasanom_assets.benchmarks.simulated import read_truth
from dasanom_assets.recordings.simulate import ACTIVITY, EVENTS, Line, simulate
from dasanom_assets.tables.schemas import TIME, stack
from dasanom_assets.tables.store import Store
from dasanom_tests.detection.conftest import EVENTFUL, QUIET, Ground, noon, write_day

SECOND = 1_000_000_000


def samples(root: Path, day: str, channels: int) -> np.ndarray:
    files = sorted((root / "landing" / day).glob("*.bin"))
    return np.concatenate([np.fromfile(path, "<i2").reshape(-1, channels) for path in files]).astype(float)


def test_ground_is_louder_where_and_when_the_truth_says(tmp_path: Path) -> None:
    line = Line(fibre=SITE, zones=((100, 111),), minutes=2, seed=3, events_per_hour={})
    for name in ("before", "after"):
        simulate(line, [FIRST], tmp_path / name, contractor=False)
    day = str(FIRST)
    make_louder(tmp_path / "after", day, 12)
    before, after = (samples(tmp_path / name, day, 12) for name in ("before", "after"))
    truth = read_truth(Store(str(tmp_path / "after")), day, "activity")
    assert set(truth["kind"].to_pylist()) == {"louder"}
    began = int(np.datetime64(f"{day}T{line.hour:02d}", "s").astype(int))
    second = truth["start"].cast(pa.int64()).to_numpy() // SECOND - began
    louder = np.zeros((120, 12), bool)
    louder[second, truth["channel"].to_numpy() - 100] = True
    assert 0.05 < louder.mean() < 0.3
    level = [np.square(x.reshape(120, 2000, 12)).mean(axis=1) for x in (before, after)]
    gain = 10 * np.log10(level[1] / level[0])
    assert np.abs(gain[louder] - LOUDER_DB).max() < 0.5
    np.testing.assert_array_equal(gain[~louder], 0)


def test_no_site_or_day_that_is_scored_was_learned_from(tmp_path: Path) -> None:
    which = prepare(tmp_path, 0, 1, 8)
    learned = {path.name.split("_")[0] for path in (tmp_path / "learned" / "landing").glob("*/*.bin")}
    scored = {path.name.split("_")[0] for path in (tmp_path / SITE / "landing").glob("*/*.bin")}
    assert (learned, scored) == (set(LEARNED), {SITE})
    days = [day for of in which.values() for day in of]
    assert len(set(days)) == len(days) == len(HARD_SNRS_DB) + 3
    assert str(FIRST) not in days  # only there so that the site has a background
    site = Store(str(tmp_path / SITE))
    assert not read_truth(site, which["quiet"][0], "events").num_rows
    for day, snr in zip(which["hard"], HARD_SNRS_DB, strict=True):
        events = read_truth(site, day, "events").to_pandas()
        assert set(events.snr_db[events.threat]) <= {np.float32(snr)}


def windows(channel: list[int], second: list[int]) -> pa.Table:
    start = np.array(second) * SECOND
    columns = {"fibre": [SITE] * len(channel), "channel": pa.array(channel, pa.int32())}
    times = {name: pa.array(start + ns).cast(TIME) for name, ns in (("start", 0), ("end", 8 * SECOND))}
    return pa.table(columns | times)


def test_windows_with_a_nuisance_are_left_out_unless_they_hold_a_threat() -> None:
    scores = windows([98, 99, 103, 104, 100, 103], [10, 10, 10, 10, 40, 36])
    event = {
        "event_id": "a",
        "fibre": SITE,
        "kind": "traffic",
        "threat": False,
        "peak_channel": 103,
        "snr_db": 9.0,
    }
    event |= {"start": 12 * SECOND, "end": 30 * SECOND, "first_channel": 103, "last_channel": 105}
    threat = [
        {"fibre": SITE, "channel": 104, "start": s * SECOND, "kind": "walking", "snr_db": 5.0}
        for s in range(10, 18)
    ]
    events = pa.Table.from_pylist([event], EVENTS)
    kept = off_nuisances(scores, events, pa.Table.from_pylist(threat, ACTIVITY))
    pairs = zip(kept["channel"].to_pylist(), kept["start"].cast(pa.int64()).to_numpy() // SECOND, strict=True)
    # 99 lies near the nuisance, 103 in it; 104 holds a threat as well.
    assert list(pairs) == [(98, 10), (104, 10), (100, 40), (103, 36)]


def test_mean_energy_is_the_mean_level_of_a_window(tmp_path: Path) -> None:
    store, day = Store(str(tmp_path)), "2026-01-05"
    write_day(store, day)
    first = noon(day) // SECOND
    scores = windows([103, 100, 103], [first + 40, first, first + 41])
    energy = mean_energy(store, day, scores)
    rows = store.read_day("spectrograms", day)
    level = {c: stack(rows.filter(pc.equal(rows["channel"], c))["power_db"]).mean(axis=1) for c in (100, 103)}
    wanted = [level[103][40:48].mean(), level[100][:8].mean(), level[103][41:49].mean()]
    np.testing.assert_allclose(energy, wanted, rtol=1e-5)


def test_events_within_the_budget_in_force_are_those_of_the_day_and_a_larger_one_lets_more_through(
    ground: Ground,
) -> None:
    def rows(day: str, budget: float) -> pa.Table:
        return events_within(ground.store, day, ground.reference, ground.settings, budget)

    stored = ground.store.read_day("anomaly_events", EVENTFUL)
    mine = rows(EVENTFUL, ground.settings.detection.budget)
    names = ["score", "peak_start", "peak_channel", "n_windows"]
    assert mine.num_rows
    assert mine.select(names).equals(stored.select(names))
    many = [rows(QUIET, budget).num_rows for budget in (1.0, 1e3, 1e5)]
    assert many == sorted(many)
    assert many[-1] > many[0]


def test_an_interval_is_the_mean_and_the_ends_of_the_seeds() -> None:
    assert interval([0.9, 0.8, 1.0]) == "0.900 (0.800–1.000)"
    assert interval([float("nan"), 0.5]) == "0.500 (0.500–0.500)"
    assert interval([float("nan")]) == "–"
