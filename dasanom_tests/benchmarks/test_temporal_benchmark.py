"""The benchmark of temporal dissimilarity: its weeks hold what its truth says, and it runs."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from dasanom_assets.benchmarks import temporal
from dasanom_assets.benchmarks.temporal import OPENS, Event, events_of, simulated_channels, truth

TUESDAY, SUNDAY = date(2026, 1, 6), date(2026, 1, 11)


def test_trains_are_usual_on_working_days_only() -> None:
    assert [e.kind for e in events_of(TUESDAY, 12, 0, unusual=False)] == ["train in time"]
    assert events_of(SUNDAY, 12, 0, unusual=False) == []
    kinds = [(e.kind, e.usual) for e in events_of(SUNDAY, 12, 0, unusual=True)]
    assert kinds == [("train on a weekend", False), ("train at another time", False), *[("digging", False)] * 2]


def test_events_are_where_the_truth_says_and_the_same_seed_gives_the_same_day() -> None:
    event = Event("digging", 600, 690, (1,), 3.0)
    quiet, loud = ([c.rows for c in simulated_channels(TUESDAY, 2, sample, 0)] for sample in ([], [event]))
    changed = np.abs(loud[1] - quiet[1]).max(axis=(1, 2)) > 0
    assert changed[600:690].mean() > 0.3
    assert not changed[:600].any()
    assert not changed[690:].any()
    np.testing.assert_array_equal(loud[0], quiet[0])
    start = int(np.datetime64(TUESDAY, "s").astype(int)) + OPENS * 3600 + np.array([510, 540, 570, 600, 660, 690])
    np.testing.assert_array_equal(truth(TUESDAY, 1, start, [event]), [-1, -1, 0, 0, 0, -1])
    np.testing.assert_array_equal(truth(TUESDAY, 1, start + 15, [event]), [-1, -2, 0, 0, -2, -1])
    assert (truth(TUESDAY, 0, start, [event]) == -1).all()


@pytest.mark.slow
def test_the_benchmark_runs_on_a_small_scale(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "temporal.json"
    temporal.main(out, channels=9, sizes="1,2")
    figures = json.loads(out.read_text())
    assert figures["weeks"]["auc_combined"] > 0.95
    assert figures["weeks"]["auc_alone"]["weekly"] > figures["weeks"]["auc_alone"]["previous"]
    assert len(figures["cost"]["terms_s"]) == 2
    printed = capsys.readouterr().out
    assert f"| weeks: auc combined | {figures['weeks']['auc_combined']:.3g} | ≥ 0.97 |" in printed
    assert "| `weekly` |" in printed
