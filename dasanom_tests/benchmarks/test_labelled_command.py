"""The labelled check as a command."""

from pathlib import Path

import pytest
import typer

from dasanom_assets.benchmarks.labelled import main
from dasanom_assets.settings import Settings
from dasanom_tests.evaluation.conftest import write_set


def test_the_command_writes_a_report_and_refuses_a_folder_that_is_none(
    tmp_path: Path, quick: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dasanom_assets.benchmarks.labelled.Settings", lambda: quick)
    write_set(tmp_path / "sound", normal=45, abnormal=4)
    main(tmp_path / "sound", out=tmp_path / "out", name="mine")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"mine.html", "mine.png", "mine.json"}
    assert "| 6_dB | made_fan | id_00 | fused |" in capsys.readouterr().out
    with pytest.raises(typer.Exit, match="1"):
        main(tmp_path / "nowhere")
    assert "is not a folder" in capsys.readouterr().err
