"""What assets are given comes from the environment, and no run can ask for another data root or cluster."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dasanom_assets.orchestration.resources import build_resources
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store


@dg.op
def given(
    store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings], device: dg.ResourceParam[str]
) -> Any:
    return store.full(""), settings.data, device


@dg.op(required_resource_keys={"dask"})
def asking_dask(context: dg.OpExecutionContext) -> int:
    return context.resources.dask().submit(lambda: 42).result()


@dg.job(resource_defs=build_resources())  # type: ignore[arg-type]
def asking() -> None:
    given()
    asking_dask()


def test_resources_are_what_the_environment_says_when_a_run_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    monkeypatch.setenv("DASANOM_DEVICE", "cuda:1")
    done = asking.execute_in_process()
    assert done.output_for_node("given") == (str(tmp_path), str(tmp_path), "cuda:1")
    assert done.output_for_node("asking_dask") == 42


def test_a_run_may_choose_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    done = asking.execute_in_process({"resources": {"device": {"config": {"name": "cpu"}}}})
    assert done.output_for_node("given")[2] == "cpu"


@pytest.mark.parametrize(
    ("resource", "config"),
    [("store", {"url": "/"}), ("dask", {"address": "tcp://127.0.0.1:1"}), ("settings", {"data": "/"})],
)
def test_a_run_may_not_choose_where_data_lies_or_code_runs(resource: str, config: dict[str, str]) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="unexpected config entry"):
        asking.execute_in_process({"resources": {resource: {"config": config}}})


def test_resources_say_what_they_are() -> None:
    resources = {name: r for name, r in build_resources().items() if name != "pipes"}
    assert all(
        isinstance(r, dg.ConfigurableResource) and r.get_resource_definition().description
        for r in resources.values()
    )
