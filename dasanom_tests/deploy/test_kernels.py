"""Compiled kernels have a place that services may write to: Numba refuses to load them where it has none."""

import re
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.parametrize("name", ["Dockerfile", "dasanom.env.example"])
def test_kernels_are_cached_in_the_home_of_the_instance(name: str) -> None:
    set_there = dict(re.findall(r"(\w+)=(/\S+)", (DEPLOY / name).read_text()))
    assert Path(set_there["NUMBA_CACHE_DIR"]).parent == Path(set_there["DAGSTER_HOME"])
    # What all services keep, and the one place beside the data that they can write to.
    assert f"home:{set_there['DAGSTER_HOME']}" in (DEPLOY / "compose.yaml").read_text()
    for unit in DEPLOY.glob("systemd/*.service"):
        assert "ReadWritePaths=/var/lib/dasanom" in unit.read_text(), unit.name
