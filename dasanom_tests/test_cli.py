"""The one command: it does what it is told, and says what it can do."""

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dasanom_assets.cli import BENCHMARKS, app, set_home
from dasanom_assets.settings import Settings
from dasanom_tests.recordings.test_catalogue import deliver

runner = CliRunner()


def test_help_names_the_parts() -> None:
    shown = runner.invoke(app, ["--help"])
    assert shown.exit_code == 0
    for name in ("run", "simulate", "train", "score", "inspect", "doctor", "bench"):
        assert f" {name} " in shown.output


def test_a_recording_is_inspected(tmp_path: Path) -> None:
    path = deliver(tmp_path, "2026-01-05", "north_20260105T100000")
    shown = runner.invoke(app, ["inspect", str(tmp_path / path)])
    assert shown.exit_code == 0
    assert "north" in shown.output
    assert "sampling_rate_hz" in shown.output
    assert "the file's name" in shown.output


def test_an_inspected_file_of_landing_is_told_by_its_folder_and_the_rules(tmp_path: Path) -> None:
    folder = tmp_path / "landing" / "2026-01-05" / "boxA"
    (tmp_path / deliver(tmp_path, "2026-01-05", "20260105T100000")).parent.joinpath("boxA").mkdir()
    for path in folder.parent.glob("*.bin*"):
        path.rename(folder / path.name)
    file = str(folder / "20260105T100000.bin")
    assert "the folder" in runner.invoke(app, ["inspect", file]).output
    (tmp_path / "sites.toml").write_text('[[site]]\nfolder = "boxA"\nfibre = "west"')
    assert "rule 1 of sites.toml" in runner.invoke(app, ["inspect", file]).output
    (tmp_path / "sites.toml").write_text("[[site]]")
    refused = runner.invoke(app, ["inspect", file])
    assert (refused.exit_code, "fibre: Field required" in refused.output.replace("\n", " ")) == (1, True)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "the file is empty"), (b"abc", "not a recording of any known")]
)
def test_a_file_that_is_none_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "foreign.h5").write_bytes(content)
    shown = runner.invoke(app, ["inspect", str(tmp_path / "foreign.h5")])
    assert shown.exit_code == 1
    assert f"refused: {reason}" in shown.output
    missing = runner.invoke(app, ["inspect", str(tmp_path / "nowhere.h5")])
    assert (missing.exit_code, "is no file" in missing.output) == (1, True)


def test_brackets_and_odd_bytes_in_names_are_told_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    folder = tmp_path / "landing" / "2026-01-05"
    folder.mkdir(parents=True)
    (folder / "north[raw].h5").symlink_to("nowhere")
    (tmp_path / "landing" / os.fsdecode(b"2026-01-06\xff")).mkdir()
    told = runner.invoke(app, ["doctor"]).output
    assert "north[raw].h5 cannot be read" in told
    assert "is no recording day" in told
    (folder / "[old].h5").write_bytes(b"abc")
    (tmp_path / "sites.toml").write_text("[[sites]]")
    assert "[[site]] only" in runner.invoke(app, ["inspect", str(folder / "[old].h5")]).output


def test_the_doctor_tells_by_its_exit_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    monkeypatch.setenv("DASANOM_WINDOW__SECOND", "6")
    shown = runner.invoke(app, ["doctor"])
    assert shown.exit_code == 1
    assert "DASANOM_WINDOW__SECOND is no setting" in shown.output
    assert "rename it to DASANOM_WINDOW__SECONDS" in shown.output.replace("\n", " ")


def test_an_unknown_variable_is_an_error_that_names_the_nearest_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASANOM_DETECTION__BUDGTE", "3")
    with pytest.raises(
        ValueError, match=r"DASANOM_DETECTION__BUDGTE is no setting: did you mean DASANOM_DETECTION__BUDGET\?"
    ):
        Settings()


def test_options_are_passed_on_to_the_simulator_and_to_benchmarks(tmp_path: Path) -> None:
    done = runner.invoke(
        app, ["simulate", "--data", str(tmp_path), "--days", "1", "--minutes", "1", "--channels", "4"]
    )
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "landing" / "2026-01-05").glob("*.bin"))
    for name in BENCHMARKS:
        assert runner.invoke(app, ["bench", name, "--help"]).exit_code == 0, name
    assert runner.invoke(app, ["bench", "nothing"]).exit_code == 2


def test_without_a_checkout_it_is_said_where_benchmarks_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dasanom_assets.benchmarks", None)
    shown = runner.invoke(app, ["bench", "labelled", "--help"])
    assert shown.exit_code == 2
    assert "Benchmarks come with a checkout of the repository" in " ".join(shown.output.split())


def test_a_list_that_holds_no_numbers_is_refused_and_named() -> None:
    shown = runner.invoke(app, ["bench", "temporal", "--sizes", "1,two"])
    assert shown.exit_code == 2
    assert "whole numbers with commas between, not '1,two'" in " ".join(shown.output.split())


def test_dagster_has_a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    home = set_home()
    assert "telemetry:\n  enabled: false" in (home / "dagster.yaml").read_text()
    assert set_home() == home


def test_a_recording_over_midnights_is_scored_on_each_of_its_days_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dasanom_assets import chain, cli
    from dasanom_assets.recordings import steps
    from dasanom_assets.tables.store import Store

    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    store = Store(str(tmp_path))
    # Of 1 Hz, and 50 hours long.
    deliver(tmp_path, "2026-01-05", "north_20260105T100000", 50 * 3600, sampling_rate_hz=1)
    asked = []

    def ingest(job: str, day: str, **_: object) -> int:
        asked.append(day)
        steps.recordings(store, day, Settings())
        return 0

    monkeypatch.setattr(cli, "execute", ingest)
    monkeypatch.setattr(chain, "stale", lambda _, day, *__: not store.has_day("recordings", day))
    shown = runner.invoke(app, ["score"])
    assert asked == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert (shown.exit_code, "no model to score with" in shown.output) == (1, True)
