"""What became of a season, and whether its tables are those of one process."""

import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from dagster import AssetKey, AssetRecordsFilter, DagsterInstance, DagsterRunStatus, RunsFilter

from dasanom_assets import chain
from dasanom_assets.benchmarks.season_at_work import Season
from dasanom_assets.benchmarks.season_plan import Delivery
from dasanom_assets.detection.reference.model import promote
from dasanom_assets.detection.steps import temporal_terms
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.tables.provenance import Freshness
from dasanom_assets.tables.records import read_record
from dasanom_assets.tables.store import Store

TABLES = tuple(
    table
    for step in (*chain.INGEST, *chain.SCORE, *chain.COMPARE)
    for table in step.tables
    if table != "contractor_comparison"
)

MADE = {"ingest": "background", "rescore": "anomaly_events"}
"""What a job makes that the days after depend on, or that depends on the days before."""


def clean_run(
    season: Season, folder: Path, settings: Settings, landing: Path, models: Path
) -> dict[str, dict[str, str]]:
    """Make the tables of the files that lie there in one process, in the order and with the models of the season.

    Parameters
    ----------
    season : Season
    folder : pathlib.Path
        Of the new data root.
    settings : Settings
    landing, models : pathlib.Path
        What was delivered, and the models of the season, on this machine.

    Returns
    -------
    dict
        For each table, ``same`` or ``other`` by day.
    """
    store, clean = season.store, Store(str(folder))
    folder.mkdir()
    (folder / "landing").symlink_to(landing.resolve())
    shutil.copytree(models, folder / "models")
    with open_client(settings.dask) as client:
        for job, day in _last_runs(season.instance):
            known = clean.has_day("background", day)  # a day may be ingested once more after its scoring
            if job == "ingest" or not known:
                chain.ingest(clean, day, settings, client)
            if job == "rescore":
                promote(clean, _model(store, day))
                fresh = Freshness(clean, settings)
                if fresh.stale("temporal_terms", day) or fresh.fed_back("temporal_terms", day):
                    temporal_terms(clean, day, settings, dask=client)
                chain.score(clean, day, settings)
                chain.compare(clean, day, settings)
    found: dict[str, dict[str, str]] = {table: {} for table in TABLES}
    for table, days in found.items():
        for day in sorted({*store.days(table), *clean.days(table)}):
            both = [s.content_digest(table, day) if s.has_day(table, day) else "" for s in (store, clean)]
            days[day] = "same" if both[0] == both[1] else "other"
    return found


def _last_runs(instance: DagsterInstance) -> list[tuple[str, str]]:
    """Return jobs and days that succeeded, in the order in which each made what the days after depend on.

    A background leaves out the events that are known when it is made: an ingest beside the scoring of the day
    before may have been too early for them, though it ends later.
    """
    made: dict[tuple[str, str], float] = {}
    for record in instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.SUCCESS])):
        job, day = record.dagster_run.job_name, record.dagster_run.tags.get("dagster/partition", "")
        if job in MADE:
            of_day = AssetRecordsFilter(asset_key=AssetKey(MADE[job]), asset_partitions=[day])
            found = instance.fetch_materializations(of_day, limit=1).records
            made[job, day] = found[0].timestamp if found else record.end_time or 0.0
    return sorted(made, key=lambda key: made[key])


def _model(store: Store, day: str) -> str:
    """Return the reference model that scored a day."""
    record = read_record(store, "anomaly_scores", day)
    return "" if record is None else str(record[1]["inputs"]["the live model"])


def verdict(season: Season, deliveries: list[Delivery], models: dict[str, str], told: list[str]) -> dict[str, Any]:
    """Return what became of the season: figures, and under ``wrong`` what should not be."""
    store, instance = season.store, season.instance
    wrong: list[str] = []
    for delivery in deliveries:
        if delivery.after is None:
            continue
        day = delivery.day.isoformat()
        if not store.has_day("anomaly_events", day):
            wrong.append(f"{day} ({delivery.trouble or 'plain'}) was not scored")
            continue
        # The live model of the first night after its delivery, or one of the week after.
        nights = [delivery.day + timedelta(days=delivery.after + n) for n in range(8)]
        right = {models[night.isoformat()] for night in nights if night.isoformat() in models}
        if _model(store, day) not in right:
            wrong.append(f"{day} was scored by {_model(store, day)}, which was not live in the week after")
    quarantined = {
        store.read_json(file["path"])["path"]: store.read_json(file["path"])["reason"]
        for file in store.listing("quarantine")
    }
    last = max(models)
    due = {path for path in season.refused if path.split("/")[1] < last}
    wrong += [f"{path} is not in quarantine" for path in sorted(due - set(quarantined))]
    wrong += [
        f"{path} is in quarantine: {quarantined[path]}" for path in sorted(set(quarantined) - season.refused)
    ]
    runs = instance.get_runs()
    ends = Counter((run.job_name, run.status.value) for run in runs)
    successes = Counter(
        (run.job_name, run.tags["dagster/partition"])
        for run in runs
        if run.status == DagsterRunStatus.SUCCESS and "dagster/partition" in run.tags
    )
    plain = {d.day.isoformat() for d in deliveries if not d.trouble}
    failed = sorted(
        f"{r.job_name} {r.tags.get('dagster/partition', '')}".strip() for r in runs if r.status.value == "FAILURE"
    )
    titles = Counter(title for title in told if title.endswith(" failed"))
    for name in sorted(set(failed)):
        times = titles[f"{name} failed"]
        if times != 1:
            wrong.append(f"{name} failed, and was told {times} times")
    return {
        "days": len(deliveries),
        "runs": {f"{job} {status}": count for (job, status), count in sorted(ends.items())},
        "ingests of a day without trouble": dict(Counter(successes["ingest", day] for day in plain)),
        "scorings of a day without trouble": dict(Counter(successes["rescore", day] for day in plain)),
        **{
            f"more than one {what}": {day: successes[job, day] for day in sorted(plain) if successes[job, day] > 1}
            for what, job in (("ingest", "ingest"), ("scoring", "rescore"))
        },
        "killed": season.killed,
        "failed": failed,
        "quarantine": quarantined,
        "messages": len(told),
        "told": dict(Counter(title.split(" 20")[0] if "alarm" in title else title for title in told)),
        "wrong": wrong,
    }
