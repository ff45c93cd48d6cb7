"""The code location: its graph, its names, and that loading it stays light."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from dasanom_assets.definitions import defs
from dasanom_assets.orchestration.jobs import INGEST, LEARN, RESCORE, TRAIN
from dasanom_assets.tables.schemas import SCHEMAS

PROJECT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("asset_graph.json")


def graph() -> dict:
    """Every asset with what an analyst's lineage and an operator's automation rely on."""
    nodes = {}
    for spec in defs.resolve_all_asset_specs():
        nodes[spec.key.to_user_string()] = {
            "deps": {
                dep.asset_key.to_user_string(): None
                if dep.partition_mapping is None
                else str(dep.partition_mapping)
                for dep in sorted(spec.deps, key=lambda d: d.asset_key.to_user_string())
            },
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "owners": list(spec.owners),
            "code_version": spec.code_version,
            "partitioned": spec.partitions_def is not None,
        }
    checks = sorted(str(key) for key in defs.resolve_asset_graph().asset_check_keys)
    return {"assets": dict(sorted(nodes.items())), "checks": checks}


def test_the_asset_graph_is_the_golden_one() -> None:
    """A change of lineage is a visible diff: write the new one with DASANOM_UPDATE_GOLDEN=1."""
    if os.environ.get("DASANOM_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(graph(), indent=1) + "\n")
    assert graph() == json.loads(GOLDEN.read_text())


def test_every_asset_is_described_and_every_table_has_its_asset_and_contract_check() -> None:
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    assert all(spec.description and spec.owners and spec.kinds for spec in specs.values())
    assert specs.keys() >= SCHEMAS.keys() | {"raw_recordings", "vae_checkpoint", "training_set", "reference_model"}
    assert specs.keys() >= {"embedding_map", "contractor_comparison"}
    checked = {str(key.asset_key.to_user_string()) for key in defs.resolve_asset_graph().asset_check_keys}
    assert checked >= SCHEMAS.keys()


def test_jobs_schedule_and_sensor_carry_their_names() -> None:
    proposed = (*LEARN, "model_proposal")
    jobs = {"ingest": INGEST, "train": TRAIN, "propose": proposed, "promote": TRAIN[-1:], "rescore": RESCORE}
    for name, assets in jobs.items():
        job = defs.resolve_job_def(name)
        assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == set(assets)
        assert (job.partitions_def is None) == (name in ("train", "propose", "promote"))
    assert defs.resolve_schedule_def("daily_rescoring").job_name == "rescore"
    assert defs.resolve_schedule_def("proposals").job_name == "propose"
    assert defs.resolve_sensor_def("new_recordings").job_name == "ingest"


def test_gpu_work_runs_in_its_pool_and_only_training_asks_kubernetes_for_a_gpu() -> None:
    ops = {
        node.name: node.definition
        for name in ("train", "propose", "rescore")
        for node in defs.resolve_job_def(name).nodes
    }
    assert {name for name, op in ops.items() if op.pool == "gpu"} == {
        "vae_checkpoint",
        "infogan_checkpoint",
        "reference_model",
        "model_proposal",
        "embeddings",  # with cluster labels and scores, which are of the same step
    }
    asking = {name for name, op in ops.items() if "dagster-k8s/config" in op.tags}
    assert asking == {"vae_checkpoint", "infogan_checkpoint"}


def test_workspace_and_dg_name_the_same_location() -> None:
    (entry,) = yaml.safe_load((PROJECT / "workspace.yaml").read_text())["load_from"]
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert entry["python_module"] == {
        "module_name": project["code_location_target_module"],
        "location_name": project["code_location_name"],
    }


def test_loading_the_definitions_does_not_load_heavy_libraries() -> None:
    program = "import sys, dasanom_assets.definitions; print(' '.join(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "dagster" in loaded
    heavy = {"torch", "hdbscan", "openTSNE", "plotly", "matplotlib", "librosa", "dascore", "numba", "scipy"}
    assert not heavy & set(loaded)


def test_dagster_yaml_works_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with dg.DagsterInstance.get() as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1


def test_dg_checks_the_definitions() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("dg"), "check", "defs"], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
