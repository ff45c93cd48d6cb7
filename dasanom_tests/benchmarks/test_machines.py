"""Made sounds of machines, and the faults planted in them."""

from pathlib import Path

import numpy as np
import pytest

from dasanom_assets.benchmarks import machines
from dasanom_assets.evaluation.groups import BASELINE, FUSED
from dasanom_assets.evaluation.labelled import run
from dasanom_assets.recordings.labelled_sets import LabelledSet
from dasanom_assets.settings import DetectionSettings, Settings


def test_made_clips_differ_as_recordings_do_and_faults_do_not_make_them_louder() -> None:
    one, again = (machines.clip("fan", 0, "", 0, 2, 6, 0) for _ in range(2))
    assert np.array_equal(one, again)
    assert one.shape == (2 * machines.RATE,)
    for machine, (_, faults) in machines.MACHINES.items():
        level = {
            fault: np.array([20 * np.log10(machines.clip(machine, 0, fault, i, 2, 6, 0).std()) for i in range(12)])
            for fault in ("", *faults)
        }
        for fault in faults:
            assert abs(level[fault].mean() - level[""].mean()) < 1.5, (machine, fault)
        assert np.abs(level[""]).max() < 40  # never clipped, never silent


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_planted_faults_are_found_better_than_by_either_baseline(tmp_path: Path) -> None:
    """One machine of the made set, at a size at which the others are not; docs/benchmarks.md has the whole."""
    machines.make_set(tmp_path, ids=1, normal=60, abnormal=20, machines=("pump",))
    settings = Settings(detection=DetectionSettings(detectors=("mahalanobis",)))
    figures = run(LabelledSet(tmp_path), settings, "cpu", compared=())
    auc = {row["detector"]: row["auc"] for row in figures["rows"]}
    assert list(auc) == ["mahalanobis", "residual", FUSED, BASELINE]
    assert auc[FUSED] > max(auc["mahalanobis"], auc[BASELINE])
