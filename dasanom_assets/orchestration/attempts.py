"""How often a job was tried for a day, and when it is tried again: runs themselves tell, and pauses grow."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter

from dasanom_assets import chain
from dasanom_assets.models import checkpoints
from dasanom_assets.settings import AutomationSettings, Settings
from dasanom_assets.tables.assets import STALE_ONLY
from dasanom_assets.tables.provenance import Step, flattened
from dasanom_assets.tables.records import read_record
from dasanom_assets.tables.store import Store

MARK = "dasanom/mark"
"""Tag of a run that was asked for by itself: another value where files, settings, code or model are others."""
REASON = "dasanom/reason"
GROWTH = 4
"""Each pause is so many times as long as the one before."""
UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class Attempts:
    """What has been tried for a day, its files, settings, code and model being what they are.

    Attributes
    ----------
    count : int
        Runs that have ended.
    ended : float
        End of the last one, seconds since 1970.
    run_id : str
        Of the last one; empty where there is none.
    busy : bool
        Whether a run is at work on the day, or waits to be.
    refused_by : str
        The blocking check that refused the last one: the same files would be refused again.
    """

    count: int = 0
    ended: float = 0.0
    run_id: str = ""
    busy: bool = False
    refused_by: str = ""

    def given_up(self, automation: AutomationSettings) -> bool:
        """Whether it is not tried again until something changes."""
        return not self.busy and (bool(self.refused_by) or self.count >= automation.attempts)

    def wait(self, automation: AutomationSettings, now: float) -> str:
        """Say in words what is waited for; empty where it is to be tried now.

        Parameters
        ----------
        automation : AutomationSettings
        now : float
            Seconds since 1970.
        """
        if self.busy:
            return "a run is under way"
        if not self.count:
            return ""
        if self.refused_by:
            return f"run {self.run_id} was refused by the check {self.refused_by}; other files are waited for"
        if self.given_up(automation):
            return (
                f"it was tried {self.count} times, at last by run {self.run_id}, and is not any more: see the run "
                "for the reason, mend it, and launch the job by hand"
            )
        pause = min(automation.first_pause_seconds * GROWTH ** (self.count - 1), automation.longest_pause_seconds)
        left = self.ended + pause - now
        if left > 0:
            return f"run {self.run_id} did not do it; it is tried again in {left / 60:.1f} minutes"
        return ""


def attempts(instance: DagsterInstance, job: str, day: str, mark: str) -> Attempts:
    """Return what the runs of a job tell of a day.

    Parameters
    ----------
    instance : DagsterInstance
    job, day, mark : str
        Name, ISO day, and what `ingest_mark` or `score_mark` says now.
    """
    of_day = {"dagster/partition": day}
    busy = bool(instance.get_runs(RunsFilter(job_name=job, statuses=UNFINISHED, tags=of_day), limit=1))
    records = instance.get_run_records(RunsFilter(job_name=job, tags=of_day | {MARK: mark}), limit=100)
    ended = [record for record in records if record.dagster_run.is_finished]
    if not ended:
        return Attempts(busy=busy)
    last = max(ended, key=lambda record: record.end_time or record.create_timestamp.timestamp())
    return Attempts(
        len(ended),
        last.end_time or last.create_timestamp.timestamp(),
        last.dagster_run.run_id,
        busy,
        _refused_by(instance, last.dagster_run.run_id),
    )


def ingest_mark(digest: str, settings: Settings) -> str:
    """Return what changes where an ingest might go otherwise: the files of the day, settings and code."""
    return _mark(digest, chain.INGEST, settings)


def score_mark(store: Store, day: str, settings: Settings) -> str:
    """Return what changes where a scoring might go otherwise: tables of the day, model, settings and code."""
    made = [table for step in chain.INGEST for table in step.tables if table != "temporal_terms"]
    digests = [(read_record(store, table, day) or ("",))[0] for table in made]
    return _mark([checkpoints.live_set(store), digests], (*chain.SCORE, *chain.COMPARE), settings)


def tags(mark: str, reason: str) -> dict[str, str]:
    """Return the tags of a run that is asked for by itself; its tries are counted here, and not by Dagster."""
    return {STALE_ONLY: "true", MARK: mark, REASON: reason, "dagster/max_retries": "0"}


def _mark(what: Any, steps: Iterable[Step], settings: Settings) -> str:
    made_by = [[step.tables, step.code, flattened(settings, step.settings)] for step in steps]
    return hashlib.sha256(json.dumps([what, made_by], sort_keys=True, default=str).encode()).hexdigest()[:16]


def _refused_by(instance: DagsterInstance, run_id: str) -> str:
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION):
        if event := entry.dagster_event:
            check = event.asset_check_evaluation_data
            if check.blocking and not check.passed and check.severity.value == "ERROR":
                return f"{check.check_name} of {check.asset_key.to_user_string()}"
    return ""
