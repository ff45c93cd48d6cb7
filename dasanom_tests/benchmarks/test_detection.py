"""The benchmark of detection plants what it says, judges what it should, and writes tables from its figures."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.benchmarks import detection, grounds
from dasanom_assets.benchmarks.detection import events_within, main, off_nuisances, rank_all, strength_of
from dasanom_assets.benchmarks.detection_tables import interval, summary
from dasanom_assets.benchmarks.grounds import FAINT_DB, LEARNED, USUAL_DB, change_level, day, simulated_ground
from dasanom_assets.benchmarks.recipe import CHANGES
from dasanom_assets.benchmarks.simulated import read_truth
from dasanom_assets.recordings.simulation.simulate import simulate
from dasanom_assets.recordings.simulation.sites import Line, draw_site
from dasanom_assets.recordings.simulation.truth import ACTIVITY, EVENTS
from dasanom_assets.settings import ReferenceSettings
from dasanom_assets.tables.schemas import TIME, with_score
from dasanom_assets.tables.store import Store
from dasanom_tests.detection.conftest import EVENTFUL, SETTINGS, Ground

SECOND = 1_000_000_000
SITE = "site"


def samples(root: Path, of_day: str, channels: int) -> np.ndarray:
    files = sorted((root / "landing" / of_day).glob("*.bin"))
    return np.concatenate([np.fromfile(path, "<i2").reshape(-1, channels) for path in files]).astype(float)


@pytest.mark.parametrize("change_db", [8.0, -8.0])
def test_level_changes_where_and_when_the_truth_says(tmp_path: Path, change_db: float) -> None:
    line = Line(fibre=SITE, zones=((100, 111),), minutes=2, seed=3, events_per_hour={})
    of_day = str(day(0))
    for name in ("before", "after"):
        simulate(line, [day(0)], tmp_path / name, contractor=False)
    change_level(tmp_path / "after", of_day, line, change_db)
    before, after = (samples(tmp_path / name, of_day, 12) for name in ("before", "after"))
    truth = read_truth(Store(str(tmp_path / "after")), of_day, "activity")
    began = int(np.datetime64(f"{of_day}T{line.hour:02d}", "s").astype(int))
    second = truth["start"].cast(pa.int64()).to_numpy() // SECOND - began
    changed = np.zeros((120, 12), bool)
    changed[second, truth["channel"].to_numpy() - 100] = True
    assert 0.05 < changed.mean() < 0.3
    level = [np.square(x.reshape(120, 2000, 12)).mean(axis=1) for x in (before, after)]
    gain = 10 * np.log10(level[1] / level[0])
    assert np.abs(gain[changed] - change_db).max() < 0.5
    np.testing.assert_array_equal(gain[~changed], 0)


def test_days_that_are_learned_from_have_no_threat_and_are_not_scored(tmp_path: Path) -> None:
    ground = simulated_ground(draw_site("field", 1, 8), tmp_path, 2)
    assert len(ground.learned) == LEARNED
    assert not set(ground.learned) & set(ground.days.values())
    store = Store(str(tmp_path))
    for of_day in (*ground.learned, ground.days["ordinary"]):
        assert not any(read_truth(store, of_day, "events")["threat"].to_pylist())
    for kind, strengths in (("faint", FAINT_DB), ("usual", USUAL_DB)):
        events = read_truth(store, ground.days[kind], "events").to_pandas()
        assert events.threat.any()
        assert set(events.snr_db[events.threat]) <= set(map(np.float32, strengths))


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
    # 99 lies near the nuisance, 103 in it; 104 holds a threat as well.
    assert kept.tolist() == [True, False, False, True, True, True]


def test_the_fusion_of_the_benchmark_is_the_score_of_the_product(ground: Ground) -> None:
    scores = with_score(ground.store.read_day("anomaly_scores", EVENTFUL))
    reported = strength_of(scores, ground.reference, list(ground.reference.fused))
    np.testing.assert_allclose(reported, scores["score"].to_numpy(), rtol=1e-4, atol=1e-4)


def test_every_detector_stands_alone_and_the_fusion_less_each_is_told(ground: Ground) -> None:
    scores = with_score(ground.store.read_day("anomaly_scores", EVENTFUL))
    first = scores.slice(0, 1).to_pylist()[0]
    start = int(np.datetime64(first["start"].replace(tzinfo=None), "ns").astype(np.int64))
    threat = [
        {"fibre": first["fibre"], "channel": first["channel"], "start": start + s * SECOND, "kind": "walking"}
        for s in range(30)
    ]
    reported = rank_all(scores, pa.Table.from_pylist(threat, ACTIVITY), ground.reference, ground.settings)
    fused = ground.reference.fused
    assert {*ground.reference.names, "fusion", *(f"fusion less {name}" for name in fused)} <= set(reported)
    assert all(0 <= parts["auc"] <= 1 for parts in reported.values())


def test_events_within_the_budget_in_force_are_those_of_the_day_and_a_larger_one_lets_more_through(
    ground: Ground,
) -> None:
    scores = with_score(ground.store.read_day("anomaly_scores", EVENTFUL))

    def rows(budget: float) -> pa.Table:
        return events_within(scores, ground.reference, ground.settings, budget)

    stored = ground.store.read_day("anomaly_events", EVENTFUL)
    mine = rows(ground.settings.detection.budget)
    names = ["score", "peak_channel", "first_channel", "last_channel", "n_windows"]
    assert mine.num_rows
    assert mine.select(names).equals(stored.select(names))
    many = [rows(budget).num_rows for budget in (1e-6, 1e3, 1e6)]
    assert many == sorted(many)
    assert many[-1] > many[0]


def test_the_tables_add_up_the_grounds() -> None:
    def ground(name: str, auc: float, realised: int) -> dict[str, object]:
        row = {"n_threats": 4, "n_found": 3, "n_events": 5, "false_alarms": 2}
        row |= {"budget": 10.0, "onset_errors_s": [1.0], "channel_errors": [0], "apart": [True]}
        return {
            "ground": name,
            "km_days": 0.1,
            "events": 20,
            "left_out": {"infogan": "there is none"},
            "ranking": {"faint": {"plain": {"auc": auc, "average_precision": 0.5, "partial_auc": 0.7}}},
            "windows": {"n": 100, "0.01": 0.02, "0.001": 0.0},
            "counts": [{"budget": 100.0, "expected": 5.0, "realised": realised}],
            "found": {"faint": [row, row, row]},
            "cost": {"channel_seconds": 100, "seconds": {"scores": 0.1}, "peak_mb": 500.0},
        }

    sound = {"ground": "made machines", "ranking": {"made sound": {"plain": {"auc": 0.9, "partial_auc": 0.8}}}}
    text = summary([ground("a", 0.9, 4), ground("b", 0.8, 8), sound])
    assert "| plain | 2 | 0.850 (0.800–0.900) | 0.500 (0.500–0.500) | 0.700 (0.700–0.700) |" in text
    assert "| plain | 1 | 0.900 (0.900–0.900) | – | 0.800 (0.800–0.800) |" in text
    assert "| 100 | 10.0 | 12 | 1.20 (0.62–2.10) |" in text  # scipy: exact Poisson interval of 12
    assert "| faint | the finest resolved | 6 of 8 | 4 | 1.0 | 0 |" in text
    assert "| a | 0.1 | 20 | 2.00 | 0.00 |" in text
    assert "Left out somewhere: infogan, there is none." in text


def test_an_interval_is_the_mean_and_the_ends_of_the_grounds() -> None:
    assert interval([0.9, 0.8, 1.0]) == "0.900 (0.800–1.000)"
    assert interval([float("nan"), 0.5]) == "0.500 (0.500–0.500)"
    assert interval([float("nan")]) == "–"


def test_each_constant_of_the_recipe_can_be_halved_and_doubled() -> None:
    usual = ReferenceSettings()
    for name, values in CHANGES.items():
        assert min(values) < max(values)
        for value in values:
            kind = type(getattr(usual, name))
            ReferenceSettings(**(usual.model_dump() | {name: kind(value)}))
    assert len(ReferenceSettings.model_fields) <= 25


def test_grounds_that_are_measured_already_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"ground": "made machines 7", "ranking": {"made sound": {"plain": {"auc": 0.9, "partial_auc": 0.8}}}}
    out = tmp_path / "detection.json"
    out.write_text(json.dumps({"grounds": [figures]}))
    main(out, resume=True, families="", sound="7")
    assert "| plain | 1 | 0.900 (0.900–0.900) | – | 0.800 (0.800–0.800) |" in capsys.readouterr().out


def test_each_ground_has_a_name_of_its_own_and_the_street_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, object]] = []
    monkeypatch.setattr(grounds, "street_ground", lambda folder, root, **how: made.append(how))
    monkeypatch.setattr(detection, "run", lambda ground, settings, client: {})
    makers = grounds.grounds_of(["field"], [1, 2], minutes=1, channels=8, street=tmp_path, develop=False)
    measured = dict(detection.measurements(makers, SETTINGS, [3], original=True))
    streets = [f"street, recorded, planting {seed}" for seed in (1, 2)]
    sites = ["field-1", "field-2"]
    assert list(measured) == [*sites, *streets, *(f"{name}, 2021" for name in sites + streets), "made machines 3"]
    for name in streets:
        measured[name](tmp_path, None)
    assert [how["counted"] for how in made] == [True, False]
