"""The landing folder: which days there are, whether a day's files have changed, and what lies beside the days."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from dasanom_assets.recordings import listing
from dasanom_assets.tables.store import Store

AHEAD_SECONDS = 120
"""A file that changed so much later than now was written by a clock that is ahead of this one."""
_ALMOST_A_DAY = re.compile(r"\D?(\d{4})\D?(\d{1,2})\D?(\d{1,2})\D?")


@dataclass(frozen=True)
class Misplaced:
    """Something in `landing/` that belongs to no recording day, and what to do about it."""

    problem: str
    remedy: str


def landing_days(store: Store) -> list[str]:
    """Return the days that have a folder in `landing/`, sorted, or a link to one; other names are not days.

    Without the right to list `landing/` there are none; `misplaced` says so.
    """
    try:
        return [c["name"] for c in listing.children(store, "landing") if c["is_folder"] and is_day(c["name"])]
    except OSError:
        return []


def landing_files(store: Store, day: str) -> list[dict[str, Any]]:
    """Return what lies in a day's folder as `listing.entries` does, without what is hidden."""
    entries = listing.entries(store, f"landing/{day}")
    hidden = [any(part.startswith(".") for part in f["path"].split("/")) for f in entries]
    return [f for f, skip in zip(entries, hidden, strict=True) if not skip and store.selects(f["path"])]


def landing_digest(files: list[dict[str, Any]]) -> str:
    """Return a SHA-256 that changes whenever a file comes, goes, grows, is written again or becomes readable."""
    lines = "".join(
        f"{f['path']}\t{f['size']}\t{f['modified']:.6f}\n" + (f"{f['problem']}\n" if f["problem"] else "")
        for f in files
    )
    return hashlib.sha256(lines.encode()).hexdigest()


def recordings_notes(store: Store, days: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the metadata of `recordings` by day, where there are such: what ingests have told of deliveries."""
    return {day: store.metadata("recordings", day) for day in days if store.has_day("recordings", day)}


def delivered_days(store: Store, notes: Mapping[str, dict[str, Any]], first_day: date | None = None) -> list[str]:
    """Return the days that have recordings: those of `landing_days`, and the next where one runs past midnight.

    `notes` are those of `recordings_notes`. With `first_day` they end today, UTC: other days have no partition.
    """
    after = (shifted(day, 1) for day, note in notes.items() if note.get("past_midnight"))
    days = sorted({*landing_days(store), *after})
    if first_day is None:
        return days
    return [day for day in days if first_day.isoformat() <= day <= _today().isoformat()]


def delivered(store: Store, day: str, notes: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the files that a day is made of: its own, and those of days before that run past midnight.

    Of the latter, those that the ingest of the day before has told of in `notes`: see `recordings_notes`.
    """
    late = set(notes.get(shifted(day, -1), {}).get("past_midnight", []))
    files = landing_files(store, day)
    for before in sorted({path.split("/")[1] for path in late}):
        files += [f for f in landing_files(store, before) if f["path"] in late]
    return files


def ahead(files: Iterable[dict[str, Any]], now: float) -> list[dict[str, Any]]:
    """Return the files whose time of change is in the future: it says nothing of when they were written."""
    return [f for f in files if f["modified"] > now + AHEAD_SECONDS]


def misplaced(store: Store, first_day: date) -> list[Misplaced]:
    """Return what lies in `landing/` and is not taken for a recording day.

    Parameters
    ----------
    store : Store
    first_day : datetime.date
        First recording day; days from it to today, UTC, are taken.
    """
    try:
        children = [child for child in listing.children(store, "landing") if not child["name"].startswith(".")]
    except OSError as error:
        return [
            Misplaced(f"landing/ cannot be listed: {listing.why_closed(error)}", "make it a folder of day folders")
        ]
    folders = [child for child in children if child["is_folder"]]
    problems = [problem for folder in folders if (problem := _no_recording_day(folder, first_day))]
    for child in children:
        if child["problem"] and not child["is_folder"]:
            problems.append(Misplaced(f"landing/{child['name']} is not taken", child["problem"]))
    files = [child["name"] for child in children if not child["is_folder"] and not child["problem"]]
    if files:
        more = f" and {len(files) - 1} other files lie" if len(files) > 1 else " lies"
        problems.append(
            Misplaced(
                f"landing/{files[0]}{more} directly in landing/, where no day takes files from",
                "move recordings into the folder of their UTC day, landing/<YYYY-MM-DD>/",
            )
        )
    return problems


def shifted(day: str, days: int) -> str:
    """Return the ISO day that is some days later."""
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()


def is_day(name: str) -> bool:
    """Whether a name is an ISO day."""
    try:
        return date.fromisoformat(name).isoformat() == name
    except ValueError:
        return False


def _no_recording_day(folder: dict[str, Any], first_day: date) -> Misplaced | None:
    """Say why a folder of `landing/` is no recording day, or None where it is one."""
    name, today = folder["name"], _today()
    if not is_day(name):
        meant = _meant(name)
        named = f"rename it to {meant}" if meant else "name day folders YYYY-MM-DD, and put files into them"
        return Misplaced(f"landing/{name} is no recording day", folder["problem"] or named)
    if name > today.isoformat():
        return Misplaced(
            f"landing/{name} is in the future: today is {today}, UTC",
            "set the interrogator's clock, and rename the folder to the UTC day on which its recordings start",
        )
    if name < first_day.isoformat():
        return Misplaced(
            f"landing/{name} is before the first recording day, {first_day}",
            f"set DASANOM_FIRST_DAY={name} and restart Dagster, or rename the folder",
        )
    return None


def _meant(name: str) -> str | None:
    """Return the ISO day that a folder's name seems to mean."""
    match = _ALMOST_A_DAY.fullmatch(name)
    meant = f"{match[1]}-{match[2]:0>2}-{match[3]:0>2}" if match else ""
    return meant if is_day(meant) else None


def _today() -> date:
    return datetime.now(UTC).date()
