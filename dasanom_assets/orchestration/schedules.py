"""The daily rescoring."""

from collections.abc import Collection, Iterable
from datetime import date, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from dasanom_assets.models import checkpoints
from dasanom_assets.tables.store import Store

LOOK_BACK_DAYS = 7
"""Days that a tick looks back on: a late delivery or a new model reaches them without anybody asking."""


def scored_as_it_is(store: Store, day: str, live: str) -> bool:
    """Whether a day was scored by a version of the model, and from the recordings that it now has."""
    if not (store.has_day("anomaly_scores", day) and store.has_day("background", day)):
        return False
    scored, ingested = (store.metadata(table, day) for table in ("anomaly_scores", "background"))
    same = scored.get("landing_digest") == ingested.get("landing_digest")
    return same and scored.get("model_version") == live


def days_to_score(today: date, ready: Iterable[str], done: Collection[str], first_day: date) -> list[str]:
    """Return the days before `today`, within the look-back, that are ready and not done.

    Parameters
    ----------
    today : date
        UTC day of the tick; it is not over, so it is not scored.
    ready : iterable of str
        Days that have spectrograms and a background.
    done : collection of str
        Days that the live model has scored as they are now.
    first_day : date
        First recording day.
    """
    window = {(today - timedelta(days=n)).isoformat() for n in range(1, LOOK_BACK_DAYS + 1)}
    return [day for day in sorted(ready) if day in window and day >= first_day.isoformat() and day not in done]


def build_schedules(rescore: UnresolvedAssetJobDefinition, first_day: date) -> list[dg.ScheduleDefinition]:
    """Return `daily_rescoring`."""

    @dg.schedule(
        job=rescore,
        cron_schedule="0 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Scores each of the last days that the live model has not scored as it is now.",
    )
    def daily_rescoring(
        context: dg.ScheduleEvaluationContext, store: dg.ResourceParam[Store]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        live = checkpoints.live(store, "reference_model")
        if live is None:
            return dg.SkipReason("There is no reference model yet: run the job train once.")
        tick = context.scheduled_execution_time
        ready = set(store.days("spectrograms")) & set(store.days("background"))
        done = {day for day in store.days("anomaly_scores") if scored_as_it_is(store, day, live)}
        todo = days_to_score(tick.date(), ready, done, first_day)
        if not todo:
            return dg.SkipReason(
                f"Every day of the last {LOOK_BACK_DAYS} that has spectrograms is scored by the live model {live}."
            )
        return [dg.RunRequest(run_key=f"{tick.isoformat()}:{day}", partition_key=day) for day in todo]

    return [daily_rescoring]
