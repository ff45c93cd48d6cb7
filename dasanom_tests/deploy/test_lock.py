"""The lock holds all that is installed, each with hashes, in the versions that were tested."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2]
LOCK = (PROJECT / "deploy/requirements.lock").read_text()
PINNED = dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", LOCK, re.MULTILINE))


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_of_the_lock_has_hashes_and_comes_from_no_other_place() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.partition("\n")[2])
    assert len(entries) > 100
    assert all("--hash=sha256:" in entry for entry in entries if entry.strip())
    assert "://" not in LOCK
    assert "--find-links" not in LOCK


def test_the_lock_has_what_is_needed_in_the_versions_that_were_tested() -> None:
    tested = dict(
        re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", (PROJECT / "constraints.txt").read_text(), re.MULTILINE)
    )
    tested = {plain(name): version for name, version in tested.items()}
    other = {name: version for name, version in PINNED.items() if tested.get(name, version) != version}
    assert other == {}
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["postgres"]]
    names = {plain(re.match(r"[A-Za-z0-9_.-]+", text)[0]) for text in needed}
    assert names - PINNED.keys() == set()
