"""When another model is proposed: by the calendar, and where days have drifted."""

from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from dasanom_assets.models import checkpoints
from dasanom_assets.settings import AutomationSettings, Settings
from dasanom_assets.tables.store import Store

DRIFT = dg.AssetCheckKey(dg.AssetKey("anomaly_scores"), "like_the_training_days")
LOOKED_AT = 200
"""Evaluations of that check that are looked at, at most: a day may have several."""


def why_propose(
    automation: AutomationSettings, learned_to: date, asked: date | None, drifted: list[str], today: date
) -> str:
    """Return why another model is proposed; empty where it is not.

    Parameters
    ----------
    automation : AutomationSettings
    learned_to : date
        The last day that the live model learned from.
    asked : date or None
        When one was proposed last.
    drifted : list of str
        The last days in a row that were not like the training days.
    today : date
    """
    pause = (today - asked).days if asked else None
    if pause is not None and pause < automation.held_out_days:
        return ""
    if automation.propose_drifted_days and len(drifted) >= automation.propose_drifted_days:
        return f"{', '.join(drifted)} are not like the training days"
    after, age = automation.propose_after_days, (today - learned_to).days
    if after and age > after and (pause is None or pause >= after):
        return f"the live model learned up to {learned_to}, {age} days ago"
    return ""


def drifted_days(instance: dg.DagsterInstance, learned_to: date, n: int) -> list[str]:
    """Return the last days in a row, at most `n`, that `like_the_training_days` does not pass, the oldest first.

    Parameters
    ----------
    instance : DagsterInstance
    learned_to : date
        Earlier days do not count: they are of another model.
    n : int
    """
    storage = instance.event_log_storage
    passed: dict[str, bool] = {}
    for record in storage.get_asset_check_execution_history(DRIFT, limit=LOOKED_AT):  # newest first
        event = record.event.dagster_event if record.event else None
        if event is not None and event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            passed.setdefault(evaluation.partition or "", evaluation.passed)
    out: list[str] = []
    for day in sorted(passed, reverse=True)[:n]:
        if passed[day] or day <= learned_to.isoformat():
            break
        out.insert(0, day)
    return out


def build_proposals(job: Any) -> dg.ScheduleDefinition:
    """Return the schedule `proposals`."""

    @dg.schedule(
        job=job,
        cron_schedule="0 5 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Proposes another model once the live one is old, or the last days have drifted.",
    )
    def proposals(
        context: dg.ScheduleEvaluationContext,
        store: dg.ResourceParam[Store],
        settings: dg.ResourceParam[Settings],
    ) -> dg.RunRequest | dg.SkipReason:
        from dasanom_assets.models.training_set import days_to_learn

        version = checkpoints.live(store, "training_set")
        if version is None:
            return dg.SkipReason("There is no live model yet: run the job train once.")
        automation, today = settings.automation, context.scheduled_execution_time.astimezone(UTC).date()
        learned_to = date.fromisoformat(checkpoints.load(store, "training_set", version)[1]["days"][-1])
        learned = days_to_learn(store, today.isoformat(), automation.learn_days, automation.held_out_days)
        if not learned or learned[-1] <= learned_to.isoformat():
            return dg.SkipReason(
                f"Nothing is new to learn from: the live model knows days up to {learned_to}, and the newest "
                f"{automation.held_out_days} are held out."
            )
        last = context.instance.get_run_records(dg.RunsFilter(job_name=job.name), limit=1)
        asked = datetime.fromtimestamp(last[0].create_timestamp.timestamp(), UTC).date() if last else None
        drifted = drifted_days(context.instance, learned_to, automation.propose_drifted_days)
        if why := why_propose(automation, learned_to, asked, drifted, today):
            return dg.RunRequest(tags={"dasanom/reason": why})
        return dg.SkipReason(
            f"No model is proposed: the live one learned up to {learned_to}, {len(drifted)} of the last days "
            f"drifted, and one was proposed {f'on {asked}' if asked else 'never'}."
        )

    return proposals
