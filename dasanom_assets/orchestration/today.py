"""The day that is not over, in Dagster: its events so far, and what asks for them."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from dasanom_assets import today
from dasanom_assets.models import checkpoints
from dasanom_assets.recordings.landing import delivered_days
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store

TABLE = "events_so_far"
LOOK_SECONDS = 15
"""Time between two looks at the landing folder."""
AT_WORK = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def build_asset(days: dg.PartitionsDefinition, look_back_days: int) -> dg.AssetsDefinition:
    """Return the asset `events_so_far`."""
    look_back = dg.TimeWindowPartitionMapping(
        start_offset=-look_back_days, end_offset=-1, allow_nonexistent_upstream_partitions=True
    )

    @dg.asset(
        name=TABLE,
        partitions_def=days,
        group_name="detection",
        kinds={"python", "parquet"},
        deps=[
            "raw_recordings",
            dg.AssetDep("level_histograms", partition_mapping=look_back),
            "live_model",
        ],
        pool=TABLE,
        retry_policy=dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL),
    )
    def events_so_far(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
        device: dg.ResourceParam[str],
        dask: dg.ResourceParam[Callable[[], Any]],
    ) -> dg.MaterializeResult:
        """Events of a day that is not over, minutes after files are closed; the night tells `anomaly_events`."""
        day = context.partition_key
        told = today.score_so_far(store, day, settings, dask(), device, warn=context.log.warning)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(f"sha256:{store.content_digest(TABLE, day)}"),
            metadata={
                **{name: value for name, value in told.items() if name != "seconds"},
                "seconds_after_the_newest_file": told["seconds"],
                "dagster/uri": store.url(store.day_path(TABLE, day)),
            },
        )

    return events_so_far


def build_job() -> Any:
    """Return the job `so_far`."""
    return dg.define_asset_job(
        "so_far",
        dg.AssetSelection.assets(TABLE),
        description="A day that is not over: the files that are new, to its events so far.",
        executor_def=dg.in_process_executor,
    )


def build_sensor(job: Any) -> dg.SensorDefinition:
    """Return the sensor `closed_files`."""

    @dg.sensor(
        job=job,
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for the events so far of a day that is not over, as its files are closed.",
    )
    def closed_files(
        context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        now = today.clock()
        days = today.days_at_work(
            store, delivered_days(store, {}), datetime.fromtimestamp(now, UTC).date().isoformat()
        )
        if not days:
            return dg.SkipReason("No file of today or of a yesterday that waits for the night is in landing/.")
        if checkpoints.live(store, "reference_model") is None:
            return dg.SkipReason(
                "There is no live model yet: run the job train once. Days are ingested once over."
            )
        unfinished = context.instance.get_runs(dg.RunsFilter(job_name=job.name, statuses=AT_WORK))
        busy = {run.tags.get("dagster/partition", "") for run in unfinished}
        todo, remarks = [], []
        for day in days:
            if day in busy:
                remarks.append(f"A run for {day} is under way.")
                continue
            if not store.days("level_histograms", last=day):
                remarks.append(f"{day} has no day before it to learn what is usual from.")
                continue
            closed, still_open = today.waiting(store, day, now)
            if still_open:
                remarks.append(f"{len(still_open)} files of {day} are still written.")
            if closed:
                # Files whose run failed, tries and all, are asked for again as soon as there is one more.
                key = hashlib.sha256("\n".join([day, *closed]).encode()).hexdigest()[:16]
                reason = f"{len(closed)} files are new, {closed[-1]} among them"
                todo.append(dg.RunRequest(run_key=key, partition_key=day, tags={"dasanom/reason": reason}))
        return todo or dg.SkipReason(" ".join(remarks) or f"All files of {', '.join(days)} are scored so far.")

    return closed_files
