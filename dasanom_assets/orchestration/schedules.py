"""The daily rescoring."""

from collections.abc import Iterable
from datetime import date, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from dasanom_assets.comparison.assets import MADE_FROM, REPORTS
from dasanom_assets.models import checkpoints
from dasanom_assets.recordings.landing import ingested_from, shifted
from dasanom_assets.tables.store import Store

LOOK_BACK_DAYS = 7
"""Days that a tick looks back on: a late delivery or a new model reaches them without anybody asking."""


def rescored(store: Store, day: str, live: str) -> bool:
    """Whether a day's report is there, by a version of the model, and of the recordings as they are now."""
    report = f"{REPORTS}/day={day}/{MADE_FROM}"
    if not store.exists(report) or (delivery := ingested_from(store, day)) is None:
        return False
    made, before = store.read_json(report), shifted(day, -1)
    events = store.metadata("anomaly_events", before) if store.has_day("anomaly_events", before) else {}
    wanted = {
        "model_version": live,
        "landing_digest": delivery,
        # What began on the day before goes on, as far as the same model has scored it.
        "before": events.get("at_midnight", "") if events.get("model_version") == live else "",
    }
    return all(made.get(name) == value for name, value in wanted.items())


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
        # A day whose ingest is not through would be scored from the tables of before.
        whole = [day for day in last_days(tick.date(), ready, first_day) if ingested_from(store, day)]
        todo = [day for day in whole if not rescored(store, day, live)]
        if not todo:
            return dg.SkipReason(
                f"Every day of the last {LOOK_BACK_DAYS} that has spectrograms is scored by the live model {live}."
            )
        return [dg.RunRequest(run_key=f"{tick.isoformat()}:{day}", partition_key=day) for day in todo]

    return [daily_rescoring]
