"""What the README and the docs tell people to type works as written."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dasanom_assets.cli import app

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
LONG = {
    *(
        "dasanom_assets.models.process",
        "ingest",
        "detection",
        "recipe",
        "labelled",
        "machines",
        "temporal",
        "memory",
        "mutations",
        "mnist",
        "chain",
        "morning",
        "opening",
        "kills",
        "season",
        "outages",
    ),
    "clustering",
    "training",
    "review",  # serves until it is stopped
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def commands() -> list[str]:
    return [line for page in PAGES for block in blocks(page, "sh") for line in block.strip().splitlines()]


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_docs_exists(command: str) -> None:
    words = [w for w in shlex.split(command) if "=" not in w or w.startswith("-")]
    if words[0] == "make":
        words.insert(1, "--dry-run")
    elif words[0] == ".venv/bin/dasanom":
        shown = CliRunner().invoke(app, words[1:] + ["--help"] * bool(LONG & set(words)))
        assert (shown.exit_code, bool(shown.output)) == (0, True)
        return
    elif words[0].startswith(".venv/bin/"):
        words[0] = str(Path(sys.executable).with_name(Path(words[0]).name))
        if "pytest" in words[0]:
            words.append("--collect-only")
        elif words[0].endswith(("dask", "pip")) or LONG & set(words):
            words.append("--help")  # a server that goes on for ever, minutes of measurement or of training
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_reference_is_that_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("make_reference", PROJECT / "docs" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert made.reference() == made.PAGE.read_text(), "run: .venv/bin/python docs/make_reference.py"


def test_no_sentence_of_the_docs_is_too_long_to_be_read_once() -> None:
    done = subprocess.run([sys.executable, PROJECT / "docs" / "check_style.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_docs_have_commands_and_their_links_lead_somewhere() -> None:
    assert {"make run", "make test"} <= set(commands())
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
