"""Pages show names as they are, whatever these hold."""

import re
from typing import Any

import pytest

from dasanom_assets.evaluation import choice_report, labelled_report
from dasanom_assets.evaluation.groups import BASELINE, FUSED
from dasanom_assets.evaluation.labelled import MEASURES, means

HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture
def labelled() -> dict[str, Any]:
    """Figures of a set whose names are all hostile."""
    row: dict[str, Any] = dict.fromkeys(MEASURES, 0.5)
    row |= {"snr": HOSTILE, "machine": HOSTILE, "id": HOSTILE, "published_auc": None, "dcase_auc": None}
    row |= {"dcase_partial_auc": None, "train_seconds": 1.0, "score_seconds": 1.0, "scored_channel_seconds": 10}
    row |= {"n_train": 3, "n_normal": 2, "n_abnormal": 2}
    row |= {"confusion": {"true_normal": 1, "false_alarm": 1, "missed": 1, "found": 1}}
    rows = [row | {"detector": name} for name in (FUSED, BASELINE)]
    return {
        "set": HOSTILE,
        "rows": rows,
        "means": means(rows),
        "published_set": True,
        "missing": [HOSTILE],
        "left_out": [{"path": HOSTILE, "reason": HOSTILE}],
        "not_scored": [{"group": HOSTILE, "reason": HOSTILE}],
        "sampling_rate_hz": 16_000.0,
        "channels": "all",
        "clip_score": "mean",
        "max_fpr": 0.1,
        "false_alarm_rate_asked": 0.1,
        "fused": [HOSTILE],
        "device": HOSTILE,
        "machine": {"date": "2026-01-05", "processor": HOSTILE, "cores": 2},
    }


def test_hostile_names_are_inert_and_shown(labelled: dict[str, Any]) -> None:
    choice = {"labelled": [labelled], "days": [], "detectors": [], "agreement": [], "rate": 1e-3}
    for report in (labelled_report.report(labelled), choice_report.report(choice)):
        page = report["html"].decode()
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_no_more_files_left_out_are_listed_than_can_be_read(labelled: dict[str, Any]) -> None:
    labelled["left_out"] = [{"path": f"{i:03d}.wav", "reason": "too short"} for i in range(300)]
    page = labelled_report.report(labelled)["html"].decode()
    assert len(re.findall(r"<td><code>\d{3}\.wav</code></td><td>too short</td>", page)) == labelled_report.LISTED
    assert "The first 200; the JSON has all." in page
