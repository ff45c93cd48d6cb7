"""The benchmark of kills looks at every step, and tells what is torn, lost or left over."""

import sys
from pathlib import Path

import pytest

from dasanom_assets.benchmarks import simulated_day
from dasanom_assets.benchmarks.kills import JOBS, MAKE, Tally, contents, left_over, table, wrong
from dasanom_assets.benchmarks.memory import STEPS


def test_every_step_of_a_day_is_killed_and_those_of_training() -> None:
    assert {*JOBS["ingest"], *JOBS["rescore"]} == set(STEPS)
    assert {"training_set", "vae", "reference_model"} <= set(JOBS["train"])


def test_a_file_is_as_before_or_new_and_all_else_is_wrong() -> None:
    before, made = {"kept": "a", "replaced": "a", "torn": "a", "lost": "a"}, {"replaced": "b", "torn": "b"}
    now = {"kept": "a", "replaced": "b", "torn": "c", "stray": "d"}
    assert wrong(now, before, made) == ["torn", "stray", "lost"]


def test_what_a_writer_leaves_is_found_and_is_no_content(tmp_path: Path) -> None:
    for name in ("tables/a/.a.parquet.01.partial", "models/vae/unfinished/a.safetensors", "tables/a/a.parquet"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    assert sorted(left_over(tmp_path)) == ["models/vae/unfinished/a.safetensors", "tables/a/.a.parquet.01.partial"]
    assert list(contents(tmp_path)) == ["tables/a/a.parquet"]


def test_faults_and_errors_are_told_beside_their_step() -> None:
    told = table({"vae": Tally(2, 1_500_000, {}, 3, 3, 1, ["a is torn"], {"full"})}, "killed")
    assert "| vae | 2.0 | 1.50 | 3 | 1 | 1 |\nvae: a is torn\nvae: full" in told


def test_the_process_that_makes_the_day_knows_who_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Path, int]] = []
    monkeypatch.setattr(simulated_day, "simulated", lambda *asked: made.append(asked))
    monkeypatch.setattr(sys, "argv", ["-c", str(tmp_path), "500"])
    exec(MAKE, {})
    assert made == [(tmp_path, 500)]
