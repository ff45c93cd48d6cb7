"""The check on labelled sets: figures, thresholds, what is missing, runs of each layout."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from dasanom_assets.evaluation.groups import BASELINE, FUSED
from dasanom_assets.evaluation.labelled import (
    MEASURES,
    chosen_channels,
    figures_of,
    is_full,
    means,
    missing,
    run,
    table,
    threshold_of,
)
from dasanom_assets.evaluation.labelled_report import headline, report
from dasanom_assets.recordings.labelled_sets import Group, LabelledFile, LabelledSet
from dasanom_assets.settings import Settings
from dasanom_tests.evaluation.conftest import write_set


def test_figures_are_those_of_counting() -> None:
    abnormal = np.array([False, False, False, False, True, True, True])
    scores = np.array([0.1, 0.2, 0.3, 0.8, 0.25, 0.7, 0.9])
    result = figures_of(abnormal, scores, 0.5)
    assert result["confusion"] == {"true_normal": 3, "false_alarm": 1, "missed": 1, "found": 2}
    assert result["accuracy"] == pytest.approx(5 / 7)
    assert result["precision"] == result["recall"] == result["f1"] == pytest.approx(2 / 3)
    assert result["false_alarm_rate"] == 0.25
    assert result["auc"] == pytest.approx(9 / 12)
    assert figures_of(abnormal, -np.arange(7.0), 0.5)["precision"] is None
    assert figures_of(abnormal, np.arange(7.0), 3.5)["partial_auc"] == 1.0


@given(n=st.integers(1, 200), seed=st.integers(0, 99))
def test_a_threshold_lets_no_more_of_its_own_clips_pass_than_asked(n: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=n)
    above = (scores > threshold_of(scores, 0.1)).sum()
    assert above <= 0.1 * (n + 1)
    assert above == 0 or above > 0.1 * (n + 1) - 2


def test_the_share_of_false_alarms_is_what_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    realised = [np.mean(rng.normal(size=500) > threshold_of(rng.normal(size=39), 0.1)) for _ in range(500)]
    assert np.mean(realised) == pytest.approx(0.1, abs=0.006)


def test_beside_the_mean_over_machines_stands_what_is_published_of_the_same_ones() -> None:
    def published(*machines: str) -> float | None:
        row = dict.fromkeys((*MEASURES, "train_seconds", "score_seconds"), 0.9)
        rows = [row | {"snr": "6_dB", "machine": machine, "detector": "vae"} for machine in machines]
        return next(row["published_auc"] for row in means(rows) if row["machine"] == "all")

    assert published("fan", "valve") == pytest.approx((0.920 + 0.679) / 2, abs=1e-3)
    assert published("fan", "made_valve") is None


def test_what_is_missing_of_the_published_set_is_counted() -> None:
    def files(group: Group, label: str, n: int) -> list[LabelledFile]:
        return [LabelledFile(group, label, Path(f"{i}.wav")) for i in range(n)]

    group = Group("valve", "id_00", "6_dB")
    lines = missing(files(group, "normal", 991) + files(group, "abnormal", 3))
    assert {"0 dB: not there", "-6 dB: not there", "6 dB fan: not there"} <= set(lines)
    assert "6 dB valve id_00 abnormal: 3 of 119 clips" in lines
    assert "6 dB valve id_02 normal: 0 of 708 clips" in lines
    assert not any("id_00 normal" in line for line in lines)


def test_microphones_are_chosen_in_words() -> None:
    assert chosen_channels(None, "mimii") == (0,)
    assert chosen_channels([], "das") is None
    assert chosen_channels(["all"], "mimii") is None
    assert chosen_channels(["3", "1"], "mimii") == (3, 1)


def test_a_run_reports_every_group_and_detector_and_what_it_left_out(tmp_path: Path, quick: Settings) -> None:
    write_set(tmp_path)
    write_set(tmp_path, "fan", normal=2, abnormal=1)
    (tmp_path / "6_dB" / "made_fan" / "id_00" / "normal" / "bad.wav").write_bytes(b"RIFF")
    seen: list[int] = []
    dataset = LabelledSet(tmp_path, channels=(0,))
    figures = run(dataset, quick, "cpu", compared=("kmeans",), progress=seen.append)
    assert sum(seen) == len(dataset.files()) == 60
    assert [row["detector"] for row in figures["rows"]] == ["neighbours", "vae", "kmeans", FUSED, BASELINE]
    for row in figures["rows"]:
        assert (row["machine"], row["id"], row["snr"]) == ("made_fan", "id_00", "6_dB")
        assert (row["n_normal"], row["n_abnormal"]) == (6, 6)
        assert row["n_train"] + row["n_validation"] + row["n_calibration"] == 44
        assert sum(row["confusion"].values()) == 12
    by_name = {row["detector"]: row for row in figures["rows"]}
    assert by_name[FUSED]["auc"] == by_name["neighbours"]["auc"] == 1.0
    assert by_name[FUSED]["recall"] == 1.0
    assert figures["left_out"][0]["path"].endswith("bad.wav")
    assert figures["not_scored"] == [
        {"group": "6_dB fan id_00", "reason": "2 normal and 1 abnormal clips: 4 and 1 are needed"}
    ]
    assert "6 dB fan id_00 normal: 2 of 1011 clips" in figures["missing"]
    assert not is_full(figures)
    assert FUSED in table(figures)
    files = report(figures)
    page = files["html"].decode()
    assert "figures of the full set are not yet measured" in page
    assert "6 dB fan id_00 normal: 2 of 1011 clips" in page
    assert 'src="http' not in page
    assert files["png"].startswith(b"\x89PNG")
    assert json.loads(files["json"]) == figures
    assert headline(figures).startswith("6_dB made_fan: mean AUC 1.000 fused")


def test_a_set_without_a_group_that_can_be_scored_still_has_a_report(tmp_path: Path, quick: Settings) -> None:
    write_set(tmp_path, "fan", normal=2, abnormal=1)
    figures = run(LabelledSet(tmp_path), quick, "cpu")
    assert not figures["rows"]
    assert b"nothing could be scored" in report(figures)["html"]
    assert report(figures)["png"].startswith(b"\x89PNG")


def test_events_like_bjtus_are_scored_by_class(tmp_path: Path, quick: Settings) -> None:
    for folder, n, loud in (("01_backgroud", 30, 1.0), ("02_dig", 3, 4.0), ("06_walk", 3, 3.0)):
        (tmp_path / "train" / folder).mkdir(parents=True)
        for i in range(n):
            data = np.random.default_rng([i, n]).normal(size=(10_000, 12))
            data[3000:6000] *= loud
            savemat(tmp_path / "train" / folder / f"{i}.mat", {"data": data})
    figures = run(LabelledSet(tmp_path, "bjtu", channels=(0, 5)), quick, "cpu", compared=())
    (row,) = [row for row in figures["rows"] if row["detector"] == FUSED]
    assert row["auc_by_label"] == {"dig": 1.0, "walk": 1.0}
    assert (row["n_normal"], row["n_abnormal"]) == (6, 6)
    assert figures["missing"] == []
    assert figures["sampling_rate_hz"] == 1000


def test_das_files_of_labelled_folders_are_scored(samples: Path, tmp_path: Path, quick: Settings) -> None:
    """One real recording cut into pieces: some of them are struck, and a file of another make is left out."""
    import dascore as dc

    (patch,) = dc.read(samples / "das" / "decimated_optodas.hdf5")
    patch = patch.transpose("time", "distance")
    for i in range(30):
        label = "abnormal" if i % 5 == 4 else "normal"
        (tmp_path / label).mkdir(exist_ok=True)
        piece = patch.select(distance=(i, i + 8), samples=True)
        if label == "abnormal":
            struck = np.array(piece.data)
            struck[2000:3000] *= 8
            piece = piece.new(data=struck)
        dc.write(piece, tmp_path / label / f"{i:02d}.h5", "dasdae")
    shutil.copy(samples / "das" / "gdr_1.h5", tmp_path / "normal" / "99.h5")
    figures = run(LabelledSet(tmp_path, "das", channels=(0, 2, 4)), quick, "cpu", compared=())
    (row,) = [row for row in figures["rows"] if row["detector"] == FUSED]
    assert row["n_abnormal"] == 6
    assert row["auc"] > 0.9
    assert [left["reason"] for left in figures["left_out"]] == ["sampling rate 1000 Hz, not 500 Hz"]


def test_real_clips_of_mimii_go_through_and_the_rest_is_said_to_be_missing(
    samples: Path, tmp_path: Path, quick: Settings
) -> None:
    for path in sorted((samples / "mimii" / "valve_raw_8ch").glob("*.wav")):
        number, label = path.stem.split("_")[1:3]
        folder = tmp_path / "6_dB" / "valve" / f"id_{number[2:]}" / {"n": "normal", "abn": "abnormal"}[label]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    figures = run(LabelledSet(tmp_path), quick, "cpu", compared=(), pool=True)
    assert [row["detector"] for row in figures["rows"]] == ["neighbours", "vae", FUSED, BASELINE]
    assert {(row["id"], row["n_normal"], row["n_abnormal"]) for row in figures["rows"]} == {("all", 1, 1)}
    assert all(row["published_auc"] == 0.679 for row in figures["rows"])
    assert "6 dB valve id_06 abnormal: 1 of 120 clips" in figures["missing"]
    assert not is_full(figures)
    apart = run(LabelledSet(tmp_path), quick, "cpu", compared=())
    assert not apart["rows"]
    assert [row["group"] for row in apart["not_scored"]] == ["6_dB valve id_00", "6_dB valve id_06"]
