"""The asset that keeps the data root and Dagster's storage from growing without bound."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store

GROUP = "operation"
LISTED = 100
"""Files that the event names, at most."""


class TidyingConfig(dg.Config):
    """Whether something goes."""

    dry_run: bool | None = Field(default=None, description="only say what would go; by default retention.dry_run")


def build_tidying() -> tuple[dg.AssetsDefinition, Any, dg.ScheduleDefinition]:
    """Return the asset `retention`, the job `tidy` and its schedule."""

    @dg.asset(group_name=GROUP, kinds={"python"})
    def retention(
        context: dg.AssetExecutionContext,
        config: TidyingConfig,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
    ) -> dg.MaterializeResult:
        """What was too old or too many by the settings `retention`, and was removed, or would be in a dry run."""
        from dasanom_assets.orchestration.retention import apply, drop_runs, old_runs, plan

        now = datetime.now(UTC)
        removals, runs = plan(store, settings, now), old_runs(context.instance, settings.retention, now)
        dry = settings.retention.dry_run if config.dry_run is None else config.dry_run
        if not dry:
            apply(store, removals)
            drop_runs(context.instance, runs)
        kinds = Counter(removal.kind for removal in removals)
        named = [dg.TableRecord({"file": r.path, "kind": r.kind, "bytes": r.size}) for r in removals[:LISTED]]
        schema = dg.TableSchema([dg.TableColumn(name, "any") for name in ("file", "kind", "bytes")])
        return dg.MaterializeResult(
            metadata={
                "dry_run": dry,
                "files": len(removals),
                "bytes": sum(removal.size for removal in removals),
                "runs": len(runs),
                "kinds": dict(kinds),
                "first_files": dg.MetadataValue.table(named, schema),
            }
        )

    job = dg.define_asset_job(
        "tidy",
        dg.AssetSelection.assets("retention"),
        description="Remove what the settings `retention` say; by default only say what would go.",
        executor_def=dg.in_process_executor,
    )
    schedule = dg.ScheduleDefinition(
        name="nightly_retention",
        job=job,
        cron_schedule="30 4 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Looks each night for what is too old or too many.",
    )
    return retention, job, schedule
