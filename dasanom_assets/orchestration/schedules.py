"""The daily rescoring."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import dagster as dg

from dasanom_assets import chain
from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration.attempts import REASON, attempts, score_mark, tags
from dasanom_assets.orchestration.expected import named, not_scored, overdue
from dasanom_assets.recordings.landing import landing_days
from dasanom_assets.settings import Settings
from dasanom_assets.tables.provenance import Freshness
from dasanom_assets.tables.store import Store

LOOK_BACK_DAYS = 7
"""Days that a tick looks back on: a late delivery or a new model reaches them without anybody asking."""


OLDER_DAYS = 7
"""Days before them that a tick asks for, at most: the oldest first, the rest with the next tick."""


def last_days(today: date, ready: Iterable[str], first_day: date) -> list[str]:
    """Return the days before `today`, within the look-back, that are ready.

    Parameters
    ----------
    today : date
        UTC day of the tick; it is not over, so it is not scored.
    ready : iterable of str
        Days that have spectrograms and a background.
    first_day : date
        First recording day.
    """
    window = {(today - timedelta(days=n)).isoformat() for n in range(1, LOOK_BACK_DAYS + 1)}
    return [day for day in sorted(ready) if day in window and day >= first_day.isoformat()]


def scorings(
    store: Store, settings: Settings, instance: dg.DagsterInstance, days: Iterable[str], now: float
) -> tuple[list[dg.RunRequest], list[str]]:
    """Return runs for the days whose scores are not what they would be now, and in words what others wait for.

    Parameters
    ----------
    store : Store
    settings : Settings
    instance : DagsterInstance
        Tells what has been tried.
    days : iterable of str
    now : float
        Seconds since 1970.
    """
    requests: list[dg.RunRequest] = []
    waiting: list[str] = []
    fresh = Freshness(store, settings)
    for day in days:
        if reasons := list(chain.stale(store, day, settings, chain.INGEST, fresh).values()):
            waiting.append(f"{day} waits for its ingest: {reasons[0]}.")
            continue
        reasons = list(chain.stale(store, day, settings, (*chain.SCORE, *chain.COMPARE), fresh).values())
        if not reasons:
            continue
        mark = score_mark(store, day, settings)
        if why := attempts(instance, "rescore", day, mark).wait(settings.automation, now):
            waiting.append(f"{day} is not scored: {why}.")
        else:
            requests.append(dg.RunRequest(partition_key=day, tags=tags(mark, reasons[0])))
    return requests, waiting


def build_schedules(rescore: Any, first_day: date) -> list[dg.ScheduleDefinition]:
    """Return `daily_rescoring`."""

    @dg.schedule(
        job=rescore,
        cron_schedule="0 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Scores each of the last days that the live model has not scored as it is now.",
    )
    def daily_rescoring(
        context: dg.ScheduleEvaluationContext,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
    ) -> list[dg.RunRequest] | dg.SkipReason:
        live = checkpoints.live(store, "reference_model")
        if live is None:
            return dg.SkipReason("There is no live model yet: run the job train once.")
        tick = context.scheduled_execution_time
        ready = sorted(set(store.days("spectrograms")) & set(store.days("background")))
        window = last_days(tick.date(), {*ready, *landing_days(store)}, first_day)
        # Of history what came late or was never scored; not what only another model would score otherwise.
        earliest = (tick.date() - timedelta(days=LOOK_BACK_DAYS)).isoformat()
        before = [day for day in ready if first_day.isoformat() <= day < earliest and not_scored(store, day)]
        days = [*before[:OLDER_DAYS], *window]
        requests, waiting = scorings(store, settings, context.instance, days, tick.timestamp())
        asked = {request.partition_key for request in requests}
        late = overdue(store, settings, context.instance, tick)
        for day, why in late.items():
            if day not in asked and not any(words.startswith(day) for words in waiting):
                waiting.append(f"{day}: {why}.")
        if requests:
            for request in requests:
                context.log.info(f"{request.partition_key}: {request.tags[REASON]}")
            for sentence in named(waiting):
                context.log.warning(sentence)
            return [
                dg.RunRequest(
                    f"{tick.isoformat()}:{request.partition_key}",
                    partition_key=request.partition_key,
                    tags=request.tags,
                )
                for request in requests
            ]
        scored = [day for day in window if not any(words.startswith(day) for words in waiting)]
        said = (
            f"Scored by the live model {live}, of the last {LOOK_BACK_DAYS} days: {', '.join(scored) or 'none'}."
        )
        return dg.SkipReason(" ".join([said, *named(waiting)]))

    return [daily_rescoring]
