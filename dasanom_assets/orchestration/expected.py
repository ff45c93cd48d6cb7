"""Which days should have been delivered, ingested and scored by now, and what each of them waits for."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from dagster import DagsterInstance

from dasanom_assets import chain
from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration.attempts import attempts, ingest_mark, score_mark
from dasanom_assets.recordings.landing import (
    delivered,
    delivered_days,
    landing_digest,
    landing_files,
    recordings_notes,
)
from dasanom_assets.settings import AutomationSettings, Settings
from dasanom_assets.tables.records import read_record
from dasanom_assets.tables.store import Store

NAMED = 10
"""Days that a sentence names, at most."""


def days_due(automation: AutomationSettings, first: str, now: datetime) -> list[str]:
    """Return the last days that should be done with by now.

    Parameters
    ----------
    automation : AutomationSettings
    first : str
        ISO day of the first delivery: nothing was due before.
    now : datetime
        With a zone.
    """
    today = now.astimezone(UTC).date()
    days = [today - timedelta(days=n) for n in range(automation.expected_days, 0, -1)]
    return [
        day.isoformat()
        for day in days
        if day.isoformat() >= first
        and day.weekday() in automation.weekdays
        and now >= _end(day) + timedelta(hours=automation.overdue_hours)
    ]


def not_scored(store: Store, day: str) -> str:
    """Say why an ingested day waits to be scored, by whichever model; empty where it does not."""
    scored, ingested = read_record(store, "embeddings", day), read_record(store, "spectrograms", day)
    if not ingested:
        return ""
    if not scored or not store.has_day("anomaly_events", day):
        return f"{day} was never scored"
    read = scored[1].get("read", {}).get("spectrograms", {}).get(day, ingested[0])
    return "" if read == ingested[0] else f"{day} was ingested again since it was scored"


def overdue(store: Store, settings: Settings, instance: DagsterInstance, now: datetime) -> dict[str, str]:
    """Return, by day that is due and not done with, in words what is wrong.

    Parameters
    ----------
    store : Store
    settings : Settings
    instance : DagsterInstance
        Tells what has been tried.
    now : datetime
        With a zone.
    """
    # Each minute: only the footers of days that may be due, and of the one before, are read.
    notes = recordings_notes(store, store.days("recordings")[-settings.automation.expected_days - 2 :])
    known = delivered_days(store, notes, settings.first_day)
    if not known or _just_begun(store, known[0], settings.automation, now):
        return {}
    found = {
        day: _waits_for(store, settings, instance, day, notes, now)
        for day in days_due(settings.automation, known[0], now)
    }
    return {day: why for day, why in found.items() if why}


def in_words(days: Mapping[str, str]) -> str:
    """Return what `overdue` found as one line."""
    if not days:
        return "Every day that is due was delivered, ingested and scored."
    return "; ".join(named([f"{day}: {why}" for day, why in days.items()]))


def named(days: Iterable[str]) -> list[str]:
    """Return the first of some names, and how many more there are."""
    names = list(days)
    return [*names[:NAMED], *([f"{len(names) - NAMED} more"] if len(names) > NAMED else [])]


def _waits_for(
    store: Store,
    settings: Settings,
    instance: DagsterInstance,
    day: str,
    notes: Mapping[str, dict[str, Any]],
    now: datetime,
) -> str:
    files = delivered(store, day, notes)
    grace = settings.automation.overdue_hours * 3600
    if any(0 <= now.timestamp() - file["modified"] < grace for file in files):
        return ""  # it came late, and is being seen to
    if not files and not store.has_day("recordings", day):
        return "nothing was delivered"
    job, why, mark = "ingest", "", ""
    if files and (reasons := chain.stale(store, day, settings, chain.INGEST[:1])):
        why, mark = next(iter(reasons.values())), ingest_mark(landing_digest(files), settings)
    elif not store.has_day("background", day):
        why, mark = "not all tables of its ingest are there", ingest_mark(landing_digest(files), settings)
    elif checkpoints.live(store, "reference_model") is None:
        return "it is not scored: there is no live model, run the job train"
    elif why := not_scored(store, day):
        job, mark = "rescore", score_mark(store, day, settings)
    if not why:
        return ""
    tried = attempts(instance, job, day, mark).wait(settings.automation, now.timestamp())
    return f"{job}: {why}" + (f"; {tried}" if tried else "")


def _just_begun(store: Store, first: str, automation: AutomationSettings, now: datetime) -> bool:
    """Whether the first delivery of all came so lately that nothing can be overdue."""
    came = min((file["modified"] for file in landing_files(store, first)), default=0.0)
    return 0 <= now.timestamp() - came < automation.overdue_hours * 3600


def _end(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)
