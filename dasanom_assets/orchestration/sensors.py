"""The landing folder, watched."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from dasanom_assets import chain, today
from dasanom_assets.orchestration import watch
from dasanom_assets.orchestration.attempts import MARK, Attempts, attempts, ingest_mark, tags
from dasanom_assets.orchestration.checks import expected_days_evaluation
from dasanom_assets.orchestration.expected import in_words, named, overdue
from dasanom_assets.orchestration.notices import NoticeError, sink_of
from dasanom_assets.orchestration.schedules import scorings
from dasanom_assets.recordings.landing import (
    ahead,
    delivered,
    delivered_days,
    landing_digest,
    misplaced,
    recordings_notes,
)
from dasanom_assets.settings import AutomationSettings, Settings
from dasanom_assets.tables.metadata import inert
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
    deliveries: list[Delivery], tried: Mapping[str, Attempts], automation: AutomationSettings, now: float
) -> tuple[list[Delivery], list[str]]:
    """Decide what a tick asks for.

    Parameters
    ----------
    deliveries : list of Delivery
    tried : mapping
        By day that is stale, what has been tried for its files as they are.
    automation : AutomationSettings
    now : float
        Seconds since 1970.

    Returns
    -------
    todo : list of Delivery
        At most `DAYS_A_TICK`.
    waiting : list of str
        In words what the other stale days wait for.
    """
    stale = [d for d in deliveries if d.files and d.stale]
    young = _young(stale, now)
    settled = [d for d in stale if d not in young]
    waits = {d.day: tried.get(d.day, Attempts()).wait(automation, now) for d in settled}
    todo = [d for d in settled if not waits[d.day]]
    waiting = [f"{day}: {why}." for day, why in waits.items() if why]
    if young:
        days = ", ".join(named(d.day for d in young))
        waiting.append(f"Files of {days} changed less than {SETTLE_SECONDS:.0f} s ago.")
    return todo[:DAYS_A_TICK], named(waiting)


def _young(deliveries: list[Delivery], now: float) -> list[Delivery]:
    return [d for d in deliveries if now - d.newest < SETTLE_SECONDS]


def look(store: Store, settings: Settings, first_day: date, now: float) -> tuple[list[Delivery], list[str]]:
    """Return the days of `landing/`, and in words what lies there and is none, or has times of the future."""
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
        if not stale and files and not store.has_day("background", day):
            stale = f"background of {day} is not there"  # its ingest was cut short
        size = sum(f["size"] for f in files)
        deliveries.append(Delivery(day, landing_digest(files), stale, len(files), size, newest))
    return deliveries, named(remarks)


def build_sensors(ingest: Any, rescore: Any, first_day: date) -> list[dg.SensorDefinition]:
    """Return `new_recordings` and `scoring_again`."""

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
        deliveries, remarks = look(store, settings, first_day, now)
        stale = [d for d in deliveries if d.files and d.stale]
        marks: dict[str, str] = {}
        tried: dict[str, Attempts] = {}
        for d in stale:
            marks[d.day] = ingest_mark(d.digest, settings)
            tried[d.day] = attempts(context.instance, ingest.name, d.day, marks[d.day])
            ready = [day for day, before in tried.items() if not before.wait(settings.automation, now)]
            if len(ready) > DAYS_A_TICK + len(_young(stale, now)):  # no more is asked for in this tick
                break
        todo, waiting = deliveries_to_ingest(deliveries, tried, settings.automation, now)
        remarks = [*waiting, *remarks]
        if not todo:
            said = "There is no recording day in landing/ yet."
            if deliveries:
                done = len(deliveries) - len(stale)
                said = f"Of {len(deliveries)} days of landing/ {done} are ingested as they are."
            return dg.SkipReason(" ".join([said, *remarks]))
        for sentence in remarks:
            context.log.warning(sentence)
        return dg.SensorResult(
            run_requests=[dg.RunRequest(partition_key=d.day, tags=tags(marks[d.day], d.stale)) for d in todo],
            asset_events=[
                dg.AssetMaterialization(
                    "raw_recordings",
                    partition=d.day,
                    metadata={"files": d.files, "bytes": d.size, "landing_digest": d.digest},
                )
                for d in todo
            ],
        )

    @dg.sensor(
        job=rescore,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks again for scorings that did not succeed, with growing pauses.",
    )
    def scoring_again(
        context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        settings = Settings()
        unlucky = dg.RunsFilter(
            job_name=rescore.name,
            statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
            created_after=datetime.now(UTC) - timedelta(days=settings.automation.expected_days),
        )
        runs = [run for run in context.instance.get_runs(unlucky) if MARK in run.tags]
        days = sorted({run.tags.get("dagster/partition", "") for run in runs} - {""})
        requests, waiting = scorings(store, settings, context.instance, days, time.time())
        return requests or dg.SkipReason(" ".join(named(waiting)) or "No scoring waits to be tried again.")

    return [new_recordings, scoring_again, _tell(first_day)]


def _tell(first_day: date) -> dg.SensorDefinition:
    @dg.sensor(
        name="tell",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells of failed runs and checks, overdue days, proposed models, broken fibres and rare "
        "alarms, each once.",
    )
    def tell(
        context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store]
    ) -> dg.SensorResult | dg.SkipReason:
        settings, instance, now = Settings(), context.instance, datetime.now(UTC)
        cursor = json.loads(context.cursor or "{}")
        ended = watch.ended_since(instance, cursor.get("since", now.timestamp() - 86_400))
        late = overdue(store, settings, instance, now)
        notices = [n for run, _ in ended for n in watch.of_run(instance, store, settings, run, now.date())]
        notices += watch.of_proposal(store, settings)
        notices += [*watch.of_overdue(settings, late), *watch.digest(store, settings, late, now)]
        try:
            new = sink_of(os.environ["DAGSTER_HOME"], settings.notify.url).tell(notices)
        except NoticeError as error:
            context.log.error(str(error))
            return dg.SkipReason(f"Not told, and tried again with the next tick: {error}")
        since = max([cursor.get("since", now.timestamp() - 86_400), *(changed for _, changed in ended)])
        state = sorted(f"{day}:{why.split(':')[0]}" for day, why in late.items())
        # Each change of what is overdue is an evaluation of the check, and nothing else is: ticks are many.
        evaluated = [expected_days_evaluation(late)] if state != cursor.get("overdue") else []
        said = f"Told: {'; '.join(named(notice.title for notice in new)) or 'nothing new'}."
        return dg.SensorResult(
            skip_reason=f"{said} {inert(in_words(late))}",
            asset_events=evaluated,
            cursor=json.dumps({"since": since, "overdue": state}),
        )

    return tell
