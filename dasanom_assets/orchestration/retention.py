"""What is too old or too many, and goes: raw tables, models, reports, runs, and what killed writers left.

Only what the plan names is removed, and the plan names nothing but files below `REMOVABLE`, and partial files
below `KEPT`. Recordings in `landing/`, verdicts, tables of events, the live model, and what a report of the kept
days needs stay for ever.
"""

import contextlib
import fcntl
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path

from dagster import AssetKey, DagsterInstance, RunsFilter

from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration.attempts import UNFINISHED
from dasanom_assets.recordings.landing import is_day
from dasanom_assets.settings import RetentionSettings, Settings
from dasanom_assets.tables.store import Store

REMOVABLE = ("tables/", "models/", "reports/", "proposal/", "runs/")
KEPT = ("verdicts/", "kind_names/", "planned_works/", "quarantine/", "today/")
"""Of these, what a killed writer left of a file goes, and nothing else."""
PARTIAL = ".*.partial"
LEFT_OVER_SECONDS = 3600.0
"""A partial file that nobody holds, and that is so old, was left by a writer that was killed."""
COMPARISON_SECONDS = 86_400.0
"""What a comparison of two models has not written to for so long, was left."""
_VERSION = re.compile(r"\b[0-9a-f]{16}\b")


@dataclass(frozen=True)
class Removal:
    """A file that goes: its path below the data root, of what kind it is, and its bytes."""

    path: str
    kind: str
    size: int


def plan(store: Store, settings: Settings, now: datetime) -> list[Removal]:
    """Return the files that go; nothing is removed.

    Parameters
    ----------
    store : Store
    settings : Settings
        The section `retention` is the policy.
    now : datetime
        With a zone.
    """
    policy = settings.retention
    return [
        *_raw_tables(store, policy),
        *_reports(store, policy, now),
        *_names_of_runs(store, policy, now),
        *_models(store, policy, now),
        *_unfinished(store, policy, now),
        *_comparison(store, now),
        *left_over(store, now.timestamp()),
    ]


def apply(store: Store, removals: Iterable[Removal]) -> None:
    """Remove the files of a plan.

    Raises
    ------
    ValueError
        Where a file is none that may go; what was before it in the plan is gone.
    """
    for removal in removals:
        folder, _, name = removal.path.rpartition("/")
        below = (*REMOVABLE, *KEPT) if fnmatch(name, PARTIAL) else REMOVABLE
        if not removal.path.startswith(below) or ".." in folder.split("/"):
            raise ValueError(f"{removal.path} is nothing that retention may remove")
        store.remove(removal.path)
        if store.is_local:
            with contextlib.suppress(OSError):  # it holds something else
                Path(store.full(removal.path)).parent.rmdir()


def old_runs(instance: DagsterInstance, policy: RetentionSettings, now: datetime) -> list[str]:
    """Return the runs that go, by id: too old or too many, ended, and not the last to have made an asset."""
    kept = set()
    for key in instance.all_asset_keys():
        event = instance.get_latest_materialization_event(AssetKey(key.path))
        kept |= {event.run_id} if event else set()
    old = instance.get_run_records(RunsFilter(created_before=now - timedelta(days=policy.run_days)))
    newest = instance.get_run_records(limit=policy.runs)
    least = newest[-1].create_timestamp if len(newest) == policy.runs else None
    many = instance.get_run_records(RunsFilter(created_before=least)) if least else []
    runs = {record.dagster_run.run_id: record.dagster_run for record in [*old, *many]}
    return sorted(run_id for run_id, run in runs.items() if run_id not in kept and run.status not in UNFINISHED)


def drop_runs(instance: DagsterInstance, runs: Iterable[str]) -> None:
    """Remove runs, their events and their logs."""
    for run_id in runs:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        instance.delete_run(run_id)


def left_over(store: Store, now: float, least_age: float = LEFT_OVER_SECONDS) -> Iterator[Removal]:
    """Yield the partial files that killed writers left; `now` is seconds since 1970, the age is seconds."""
    if not store.is_local:
        return
    root = Path(store.full(""))
    for folder in (*REMOVABLE, *KEPT):
        for partial in sorted(filter(Path.is_file, (root / folder).rglob(PARTIAL))):
            with contextlib.suppress(OSError), open(partial, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where somebody is writing it
                found = partial.stat()
                if now - found.st_mtime >= least_age:
                    yield Removal(str(partial.relative_to(root)), "left over", found.st_size)


def _raw_tables(store: Store, policy: RetentionSettings) -> Iterator[Removal]:
    for table in policy.raw_tables:
        days = store.days(table)
        if days:
            oldest = _before(date.fromisoformat(days[-1]), policy.raw_days)
            for day in days:
                if day < oldest:
                    path = store.day_path(table, day)
                    yield Removal(path, "raw tables", store.fs.size(store.full(path)))


def _reports(store: Store, policy: RetentionSettings, now: datetime) -> Iterator[Removal]:
    oldest = _before(now.astimezone(UTC).date(), policy.report_days)
    for report in store.folders("reports"):
        for name in store.folders(f"reports/{report}"):
            day = name.removeprefix("day=")
            if name.startswith("day=") and is_day(day) and day < oldest:
                for file in store.listing(f"reports/{report}/{name}", recursive=True):
                    yield Removal(file["path"], "reports", file["size"])


def _names_of_runs(store: Store, policy: RetentionSettings, now: datetime) -> Iterator[Removal]:
    """Yield the notes of which run made a day's tables, of days older than runs are kept."""
    oldest = _before(now.astimezone(UTC).date(), policy.run_days)
    for file in store.listing("runs", recursive=True):
        day = file["path"].rpartition("day=")[2].removesuffix(".json")
        if is_day(day) and day < oldest:
            yield Removal(file["path"], "names of runs", file["size"])


def _models(store: Store, policy: RetentionSettings, now: datetime) -> Iterator[Removal]:
    """Yield versions that are old, not among the newest, and that nothing kept has been made with."""
    files = {name: store.listing(f"models/{name}", recursive=True) for name in store.folders("models")}
    written: dict[tuple[str, str], float] = {}
    for name, listed in files.items():
        for file in listed:
            parts = file["path"].split("/")
            if len(parts) == 4 and _VERSION.fullmatch(parts[2]):
                written[name, parts[2]] = max(written.get((name, parts[2]), 0.0), file["modified"])
    used = set(checkpoints.live_set(store).values())
    used |= {str(version) for name in files if (version := checkpoints.latest(store, name))}
    for day in store.days("anomaly_events", _before(now.astimezone(UTC).date(), policy.raw_days)):
        used |= set(_VERSION.findall(json.dumps(store.metadata("anomaly_events", day), default=str)))
    for name in files:
        of_name = sorted((modified, version) for (other, version), modified in written.items() if other == name)
        used |= {version for _, version in of_name[-policy.models :]}
    known = {version for _, version in written}
    reached: set[str] = set()
    while more := (used & known) - reached:  # what a kept model names is kept: its networks, their training set
        reached |= more
        for name, version in written:
            if version in more and store.exists(path := f"models/{name}/{version}/model.json"):
                used |= set(_VERSION.findall(store.read_bytes(path).decode()))
    earliest = (now - timedelta(days=policy.model_days)).timestamp()
    for (name, version), modified in sorted(written.items()):
        if version not in used and modified < earliest:
            folders = (f"models/{name}/{version}", f"reports/{name}/version={version}")
            for folder in (*folders, f"reports/training/{name}/version={version}"):
                for file in store.listing(folder, recursive=True):
                    yield Removal(file["path"], "models", file["size"])


def _unfinished(store: Store, policy: RetentionSettings, now: datetime) -> Iterator[Removal]:
    earliest = (now - timedelta(days=policy.unfinished_days)).timestamp()
    for name in store.folders("models"):
        for file in store.listing(f"models/{name}/unfinished", recursive=True):
            if file["modified"] < earliest:
                yield Removal(file["path"], "unfinished trainings", file["size"])


def _comparison(store: Store, now: datetime) -> Iterator[Removal]:
    """Yield what a killed comparison of two models has left."""
    from dasanom_assets.detection.proposal import FOLDER

    files = store.listing(FOLDER, recursive=True)
    if files and max(file["modified"] for file in files) < now.timestamp() - COMPARISON_SECONDS:
        for file in files:
            yield Removal(file["path"], "left over", file["size"])


def _before(day: date, days: int) -> str:
    return (day - timedelta(days=days)).isoformat()
