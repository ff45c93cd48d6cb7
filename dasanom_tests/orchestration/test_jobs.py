"""Jobs, and what of them may run at once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dasanom_assets.orchestration.jobs import build_jobs
from dasanom_assets.settings import AutomationSettings

PROJECT = Path(__file__).parents[2]


def limits(file: str) -> list[dict[str, Any]]:
    """Return the limits by tag of a file that Dagster is told by."""
    content = yaml.safe_load((PROJECT / file).read_text())
    if "dagsterDaemon" in content:
        queue = content["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
        return list(queue["tagConcurrencyLimits"])
    return list(content["concurrency"]["runs"]["tag_concurrency_limits"])


@pytest.mark.parametrize("file", ["dagster.yaml", "deploy/dagster.yaml", "deploy/helm/dagster-values.yaml"])
def test_one_day_is_scored_and_one_model_trained_at_a_time(file: str) -> None:
    """Two days scored at once were scored again: the later goes on from the scores of the earlier."""
    jobs = {job.name: job.tags for job in build_jobs(AutomationSettings())}
    bounds = {(limit["key"], limit["value"]): limit["limit"] for limit in limits(file)}
    most = {name: min(bounds[tag] for tag in tags.items() if tag in bounds) for name, tags in jobs.items()}
    assert {name for name, n in most.items() if n == 1} == {"rescore", "train", "propose"}
    assert all(any(tag in tags.items() for tags in jobs.values()) for tag in bounds)
