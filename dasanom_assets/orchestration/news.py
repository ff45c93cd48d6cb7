"""What runs have done, in lines of text, from Dagster's event log: for a terminal."""

from collections.abc import Iterator
from typing import Any

from dagster import DagsterEventType, DagsterInstance, EventLogEntry


class News:
    """Lines on a run that have not been told yet; each call goes on from the event log's cursor.

    Parameters
    ----------
    instance : DagsterInstance
    run_id : str
        Of a run that need not exist yet.
    name : str
        Before each line.
    """

    def __init__(self, instance: DagsterInstance, run_id: str, name: str) -> None:
        self.instance, self.run_id, self.name = instance, run_id, name
        self.cursor: str | None = None

    def lines(self) -> Iterator[str]:
        """Yield what was materialized, epochs of trainings, checks that do not pass, and why steps failed."""
        events = self.instance.get_records_for_run(self.run_id, cursor=self.cursor)
        self.cursor = events.cursor
        for record in events.records:
            if line := _line(record.event_log_entry):
                yield f"{self.name}: {line}"


def failures(instance: DagsterInstance, run_id: str) -> list[str]:
    """Return which steps of a run failed, and why, without stacks."""
    entries = instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE)
    return [line for entry in entries if (line := _line(entry))]


def _line(entry: EventLogEntry) -> str | None:
    event = entry.dagster_event
    if event is None:
        training = (entry.step_key or "").endswith("_checkpoint") and not entry.user_message.startswith("[pipes]")
        return entry.user_message if training else None
    if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
        return event.step_materialization_data.materialization.asset_key.to_user_string()
    if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
        check = event.asset_check_evaluation_data
        asset = check.asset_key.to_user_string()
        return None if check.passed else f"check {check.check_name} of {asset} does not pass"
    if event.event_type == DagsterEventType.STEP_FAILURE:
        return f"{event.step_key} failed: {_reason(event.step_failure_data)}"
    return None


def _reason(failure: Any) -> str:
    """Return why a step failed, without the stack, which is in the log of the run."""
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    return (error.cause or error).message.strip() if error else "no error was told"
