"""The landing folder, watched."""

import hashlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from dasanom_assets import chain, today
from dasanom_assets.recordings.landing import (
    ahead,
    delivered,
    delivered_days,
    landing_digest,
    misplaced,
    recordings_notes,
)
from dasanom_assets.settings import Settings
from dasanom_assets.tables.assets import STALE_ONLY
from dasanom_assets.tables.provenance import Freshness
from dasanom_assets.tables.store import Store

SETTLE_SECONDS = 60.0
"""A day whose newest file is younger is still being delivered."""
DAYS_A_TICK = 7
"""Runs that one tick asks for, at most: the oldest days come first, the rest follow with the next tick."""
DAYS_WATCHED = 400
"""Newest days that are looked at; older ones are history, and are ingested by hand."""


@dataclass(frozen=True)
class Delivery:
    """A day of the landing folder.

    Attributes
    ----------
    day : str
    digest : str
        Of names, sizes and times of change; see `recordings.landing.landing_digest`.
    stale : str
        Why tables of its ingest are not what they would be now; empty where they are.
    files, size : int
        Number of files and their bytes.
    newest : float
        Time of the last change, seconds since 1970; times in the future, which say nothing, do not count.
    """

    day: str
    digest: str
    stale: str
    files: int
    size: int
    newest: float


def deliveries_to_ingest(
    deliveries: list[Delivery], asked: dict[str, str], busy: set[str], now: float
) -> tuple[list[Delivery], str]:
    """Decide what a tick asks for.

    Parameters
    ----------
    deliveries : list of Delivery
    asked : dict
        Day to the `mark` that an earlier tick asked for: one that failed is not asked for again.
    busy : set of str
        Days that a run is ingesting or waiting to.
    now : float
        Seconds since 1970.

    Returns
    -------
    todo : list of Delivery
        At most `DAYS_A_TICK`.
    why_not : str
        What to say where there is nothing to do.
    """
    changed = [d for d in deliveries if d.files and d.stale and mark(d) != asked.get(d.day)]
    complete = [d for d in changed if now - d.newest >= SETTLE_SECONDS]
    free = [d for d in complete if d.day not in busy]
    if free:
        return free[:DAYS_A_TICK], ""
    if complete:
        return [], f"Runs for {', '.join(d.day for d in complete)} are under way."
    if changed:
        return [], f"Files of {', '.join(d.day for d in changed)} changed less than {SETTLE_SECONDS:.0f} s ago."
    if not deliveries:
        return [], "There is no recording day in landing/ yet."
    return [], f"All {len(deliveries)} days of landing/ are as they were when last ingested or asked for."


def mark(delivery: Delivery) -> str:
    """Return what changes where a day is to be asked for once more: its files, or why it is stale."""
    return hashlib.sha256(f"{delivery.digest} {delivery.stale}".encode()).hexdigest()[:16]


def build_sensors(ingest: Any, first_day: date) -> list[dg.SensorDefinition]:
    """Return `new_recordings`."""

    @dg.sensor(
        job=ingest,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports deliveries below landing/ and asks for the ingest of days that are new or changed.",
    )
    def new_recordings(
        context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store]
    ) -> dg.SensorResult | dg.SkipReason:
        settings, now = Settings(), time.time()
        asked: dict[str, str] = json.loads(context.cursor or "{}")
        notes = recordings_notes(store, store.days("recordings")[-DAYS_WATCHED:])
        # A day that is not over is not ingested again with each of its files: `closed_files` asks for what is new.
        over = datetime.fromtimestamp(today.clock(), UTC).date().isoformat()
        watched = [day for day in delivered_days(store, notes, first_day) if day < over][-DAYS_WATCHED:]
        remarks = [f"{thing.problem}: {thing.remedy}." for thing in misplaced(store, first_day)]
        deliveries, fresh = [], Freshness(store, settings)
        for day in watched:
            files = delivered(store, day, notes)
            late = ahead(files, now)
            if late:
                hours = (max(f["modified"] for f in late) - now) / 3600
                remarks.append(f"{late[0]['path']} changed {hours:.1f} h in the future: set the clocks by NTP.")
            newest = max((f["modified"] for f in files if f not in late), default=0.0)
            # Older days are history: new settings or code reach them by hand, new files as they come.
            steps = chain.INGEST if day in watched[-DAYS_A_TICK:] else chain.INGEST[:1]
            stale = next(iter(chain.stale(store, day, settings, steps, fresh).values()), "") if files else ""
            size = sum(f["size"] for f in files)
            deliveries.append(Delivery(day, landing_digest(files), stale, len(files), size, newest))
        unfinished = dg.RunsFilter(
            job_name=ingest.name,
            statuses=[
                dg.DagsterRunStatus.QUEUED,
                dg.DagsterRunStatus.NOT_STARTED,
                dg.DagsterRunStatus.STARTING,
                dg.DagsterRunStatus.STARTED,
            ],
        )
        busy = {run.tags.get("dagster/partition", "") for run in context.instance.get_runs(unfinished)}
        todo, why_not = deliveries_to_ingest(deliveries, asked, busy, now)
        if not todo:
            return dg.SkipReason(" ".join([why_not, *remarks]))
        for sentence in remarks:
            context.log.warning(sentence)
        asked = {day: asked_mark for day, asked_mark in asked.items() if day in watched}
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(partition_key=d.day, tags={STALE_ONLY: "true", "dasanom/reason": d.stale})
                for d in todo
            ],
            asset_events=[
                dg.AssetMaterialization(
                    "raw_recordings",
                    partition=d.day,
                    metadata={"files": d.files, "bytes": d.size, "landing_digest": d.digest},
                )
                for d in todo
            ],
            cursor=json.dumps(asked | {d.day: mark(d) for d in todo}, sort_keys=True),
        )

    return [new_recordings]
