"""The contractor is often right about threats, often wrong, and always late."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from dasanom_assets.recordings.simulation.contractor import CLASSES, LAG_ROWS, class_probabilities, opinion
from dasanom_assets.recordings.simulation.kinds import KINDS
from dasanom_assets.recordings.simulation.plans import plan_events
from dasanom_assets.recordings.simulation.simulate import simulate
from dasanom_assets.recordings.simulation.sites import Line
from dasanom_tests.recordings.simulation.conftest import DAY, SHORT, SMALL, truth


def probabilities(root: Path, line: Line, day: date = DAY) -> list[np.ndarray]:
    files = sorted((root / "landing" / f"{day}").rglob("*.prob"))
    return [np.fromfile(file, "<f4").reshape(-1, len(line.channels), len(CLASSES)) for file in files]


def test_class_probabilities_sum_to_one_and_are_mostly_noise(small: Path) -> None:
    for p in probabilities(small, SMALL):
        assert (p >= 0).all()
        np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)
    quiet = Line(zones=((100, 105),), minutes=1, events_per_hour={})
    assert class_probabilities(quiet, (1, 1), 0, [])[..., -1].min() > 0.5


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
            alarm, as_class = opinion(plan)
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
