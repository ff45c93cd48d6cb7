"""Assets of the comparison stage: the contractor's side, and both sides laid beside each other."""

import io
from datetime import date, timedelta
from typing import Any

import dagster as dg

from dasanom_assets.comparison import steps
from dasanom_assets.settings import Settings
from dasanom_assets.tables.assets import step_asset
from dasanom_assets.tables.metadata import image
from dasanom_assets.tables.store import Store

GROUP = "comparison"


def build_assets(days: dg.PartitionsDefinition) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Return the assets of this stage, one partition a recording day."""
    verdicts = dg.AssetSpec(
        "verdicts",
        description="What analysts said of the day's alarms in the review app: entries, never changed.",
        group_name=GROUP,
        kinds={"parquet"},
        partitions_def=days,
    )
    tables, pictures = {"python", "parquet"}, {"python", "plotly"}
    return [
        verdicts,
        step_asset(
            steps.contractor_scores,
            days,
            group=GROUP,
            deps=["recordings"],
            kinds=tables,
            describe={"contractor_scores": _delivered},
            resources={"warn": lambda context: context.log.warning},
        ),
        step_asset(
            steps.contractor_events,
            days,
            group=GROUP,
            deps=["contractor_scores"],
            kinds=tables,
            describe={"contractor_events": _contractors_events},
        ),
        step_asset(
            steps.event_matches,
            days,
            group=GROUP,
            deps=["recordings", "anomaly_events", "contractor_scores", "contractor_events"],
            kinds=tables,
            describe={"event_matches": _agreement, "agreement": _measures},
            descriptions={
                "event_matches": "Events of both sides matched by overlap, and those that only one side has.",
                "agreement": "How far both sides agree: by event, with what chance gives, and by channel-seconds.",
            },
        ),
        step_asset(
            steps.waterfalls,
            days,
            group=GROUP,
            deps=["spectrograms", "common_levels", "anomaly_scores", "contractor_scores"],
            kinds=tables,
            describe={"waterfalls": _tiles},
            descriptions={
                "waterfalls": "Power, the contractor's probabilities and our scores as a pyramid of maxima.",
                "heard": "Seconds of each channel that were recorded, could be used, or why they could not.",
            },
            resources={"dask": lambda context: context.resources.dask()},
        ),
        step_asset(
            steps.embedding_map,
            days,
            group=GROUP,
            deps=["embeddings", "anomaly_scores", "contractor_scores", "live_model"],
            kinds=pictures,
            describe={"embedding_map": _map},
        ),
        step_asset(
            steps.contractor_comparison,
            days,
            group=GROUP,
            deps=[
                *("recordings", "fibres", "anomaly_scores", "cluster_labels", "event_matches", "agreement"),
                *("waterfalls", "embedding_map", "live_model"),
            ],
            kinds=pictures,
            describe={"contractor_comparison": _report},
        ),
    ]


def build_scorecard(first_day: date) -> tuple[dg.AssetsDefinition, Any, dg.ScheduleDefinition]:
    """Return the asset `contractor_scorecard`, one partition a month, its job, and what makes it each morning."""
    # With the month that has begun: what is known of it so far.
    months = dg.MonthlyPartitionsDefinition(start_date=first_day.replace(day=1).isoformat(), end_offset=1)
    deps = (
        "recordings",
        "fibres",
        "contractor_scores",
        "contractor_events",
        "event_matches",
        "agreement",
        "heard",
    )

    @dg.asset(group_name=GROUP, kinds={"python", "parquet"}, partitions_def=months, deps=[*deps, "verdicts"])
    def contractor_scorecard(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        """The contractor's month: alarms, agreement beside chance, precision as judged, and what is missing."""
        from dasanom_assets.comparison.scorecard import path_of, write_scorecard

        month = context.partition_key[:7]
        row = write_scorecard(store, month, settings)
        shown = {name: value for name, value in row.items() if isinstance(value, int | float)}
        kinds = dict(zip(row["kinds"], row["kind_alarms"], strict=True))
        page = dg.MetadataValue.url(f"{settings.reports.url}/days?month={month}")
        uri = store.url(path_of(month))
        return dg.MaterializeResult(metadata={"dagster/uri": uri, "review": page, **shown, "kinds": kinds})

    job = dg.define_asset_job(
        "scorecard",
        dg.AssetSelection.assets("contractor_scorecard"),
        description="A month: what the contractor delivered, and how much of it is true.",
        executor_def=dg.in_process_executor,
    )

    @dg.schedule(
        job=job,
        cron_schedule="0 5 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Makes the scorecard of yesterday's month anew, with the verdicts since.",
    )
    def daily_scorecard(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        yesterday = context.scheduled_execution_time.date() - timedelta(days=1)
        return dg.RunRequest(partition_key=yesterday.replace(day=1).isoformat())

    return contractor_scorecard, job, daily_scorecard


def _rows(store: Store, table: str, day: str) -> int:
    with store.open_day(table, day) as file:
        return file.metadata.num_rows


def _delivered(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    note = store.metadata("contractor_scores", day)
    return {
        "files": len(note["files"]),
        "left_out": note["left_out"],
        "rows_sum_to_one": str(note["rows_sum_to_one"]),
    }


def _contractors_events(store: Store, day: str, settings: Settings) -> dict[str, int]:
    return {"events": _rows(store, "contractor_events", day)}


def _summary(store: Store, day: str) -> dict[str, float]:
    from dasanom_assets.comparison.agreement import agreement_summary
    from dasanom_assets.recordings.of_day import recorded_hours

    if not _rows(store, "contractor_scores", day):
        return {}
    hours = recorded_hours(store.read_day("recordings", day), day)
    summary = agreement_summary(store.read_day("event_matches", day), hours)
    return {name: value for name, value in summary.items() if value is not None}


def _agreement(store: Store, day: str, settings: Settings) -> dict[str, int]:
    counts = store.read_day("event_matches", day, ["agreement"])["agreement"].to_pylist()
    return {name: counts.count(name) for name in ("both", "only_us", "only_contractor")}


def _measures(store: Store, day: str, settings: Settings) -> dict[str, float]:
    rows = store.read_day("agreement", day).drop_columns(["start", "end"]).to_pylist()
    return {name: value for row in rows for name, value in row.items() if value is not None}


def _tiles(store: Store, day: str, settings: Settings) -> dict[str, int]:
    return {"tiles": _rows(store, "waterfalls", day)}


def _map(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    import pyarrow.parquet as pq

    from dasanom_assets.comparison.day import map_of, reference_map
    from dasanom_assets.comparison.pictures import map_thumbnail
    from dasanom_assets.detection.reference.model import load_reference

    path = steps.map_path(day)
    if not store.exists(path):
        return {"windows": 0}
    reference = load_reference(store, store.metadata("anomaly_scores", day)["model_version"])
    table = pq.read_table(io.BytesIO(store.read_bytes(path)))
    points = map_of(table, reference_map(store, reference)[1])
    return {
        "dagster/uri": store.url(path),
        "windows": table.num_rows,
        "map": dg.MetadataValue.md(image(map_thumbnail(points))),
    }


def _report(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    folder = f"{steps.REPORTS}/day={day}"
    note = store.metadata("anomaly_events", day)
    report = store.url(f"{folder}/report.html")
    return {
        "review": dg.MetadataValue.url(f"{settings.reports.url}/day/{day}"),
        "report": dg.MetadataValue.path(report),
        "dagster/uri": report,
        "overview": dg.MetadataValue.path(store.url(f"{folder}/overview.png")),
        "model_version": note["model_version"],
        "vae_version": note["vae_version"],
        "contractor_side": _rows(store, "contractor_scores", day) > 0,
        **_agreement(store, day, settings),
        **_summary(store, day),
        "picture": dg.MetadataValue.md(image(store.read_bytes(f"{folder}/thumbnail.png"))),
    }
