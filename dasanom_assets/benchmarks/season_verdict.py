"""What became of a season, and whether its tables are those of one process."""

import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from dagster import AssetKey, DagsterInstance, DagsterRunStatus
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from dasanom_assets import chain
from dasanom_assets.benchmarks.season_at_work import Placed, Season
from dasanom_assets.benchmarks.season_plan import Delivery
from dasanom_assets.detection.reference.model import promote
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.tables.provenance import STEPS
from dasanom_assets.tables.records import read_record
from dasanom_assets.tables.store import Store

TABLES = tuple(
    table
    for step in (*chain.INGEST, *chain.SCORE, *chain.COMPARE)
    for table in step.tables
    if table != "contractor_comparison"
)

LIVE = "live_model"
MOST_EVENTS = 10_000
"""Of a table, that Dagster gives at once: all of a season."""


def clean_run(season: Season, folder: Path, settings: Settings, models: Path) -> dict[str, dict[str, str]]:
    """Make all tables once more in one process, each as often and in the order as the season did.

    Files come when they came, and models are live when they were. So what flows back into a table is what was
    known when it was made.

    Parameters
    ----------
    season : Season
    folder : pathlib.Path
        Of the new data root.
    settings : Settings
    models : pathlib.Path
        The models of the season, on this machine.

    Returns
    -------
    dict
        For each table, ``same`` or ``other`` by day.
    """
    store, clean = season.store, Store(str(folder))
    folder.mkdir()
    shutil.copytree(models, folder / "models")
    moments: list[tuple[float, int, Any]] = [
        *((placed.moment, 0, placed) for placed in season.placed),
        *((making.moment, 1, making) for making in makings(season.instance)),
    ]
    with open_client(settings.dask) as client:
        for _, _, what in sorted(moments, key=lambda moment: moment[:2]):
            if isinstance(what, Placed):
                what.place(clean)
            elif what.table == LIVE:
                promote(clean, what.name, anyway=True)
            else:
                step = STEPS[what.table]
                step(clean, what.name, settings, **chain.given(step, settings, client))
    found: dict[str, dict[str, str]] = {table: {} for table in TABLES}
    for table, days in found.items():
        for day in sorted({*store.days(table), *clean.days(table)}):
            both = [s.content_digest(table, day) if s.has_day(table, day) else "" for s in (store, clean)]
            days[day] = "same" if both[0] == both[1] else "other"
    return found


class Making(NamedTuple):
    """When a table was made, or a model became live; its name is the day, or the model's version."""

    moment: float
    table: str
    name: str


def makings(instance: DagsterInstance) -> list[Making]:
    """Return what runs made, in the order of time: one entry for tables that one step makes together.

    A run says of each table whether it made it. Where the one that did was killed before it said so, the next one
    finds other content.
    """
    found: dict[tuple[str, Any, str], Making] = {}
    for table in (*TABLES, LIVE):
        known: dict[str, str] = {}
        for record in reversed(instance.fetch_materializations(AssetKey(table), limit=MOST_EVENTS).records):
            event = record.asset_materialization
            if event is None:
                continue
            of = event.partition or str(event.metadata["version"].value)
            version = (event.tags or {}).get(DATA_VERSION_TAG, "")
            made = (
                not str(event.metadata["made"].value).startswith("not again") if "made" in event.metadata else True
            )
            if made or known.get(of) != version:
                key = record.run_id, STEPS.get(table, table), of
                found.setdefault(key, Making(record.timestamp, table, of))
            known[of] = version
    return sorted(found.values())


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
