"""The daily rescoring."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import dagster as dg

from dasanom_assets import chain
from dasanom_assets.models import checkpoints
from dasanom_assets.settings import Settings
from dasanom_assets.tables.assets import STALE_ONLY
from dasanom_assets.tables.provenance import Freshness
from dasanom_assets.tables.store import Store

LOOK_BACK_DAYS = 7
"""Days that a tick looks back on: a late delivery or a new model reaches them without anybody asking."""


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
        ready = set(store.days("spectrograms")) & set(store.days("background"))
        todo: list[dg.RunRequest] = []
        waiting: list[str] = []
        fresh = Freshness(store, settings)
        for day in last_days(tick.date(), ready, first_day):
            if reasons := list(chain.stale(store, day, settings, chain.INGEST, fresh).values()):
                waiting.append(f"{day} waits for its ingest: {reasons[0]}.")
            elif reasons := list(
                chain.stale(store, day, settings, (*chain.SCORE, *chain.COMPARE), fresh).values()
            ):
                context.log.info(f"{day}: {reasons[0]}")
                tags = {STALE_ONLY: "true", "dasanom/reason": reasons[0]}
                todo.append(dg.RunRequest(run_key=f"{tick.isoformat()}:{day}", partition_key=day, tags=tags))
        if todo:
            return todo
        every = "Every other day" if waiting else "Every day"
        scored = f"{every} of the last {LOOK_BACK_DAYS} that has spectrograms is scored by the live model {live}."
        return dg.SkipReason(" ".join([scored, *waiting]))

    return [daily_rescoring]
