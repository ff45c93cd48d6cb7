"""The landing folder: which days there are, and whether a day's files have changed."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from dasanom_assets.tables.store import Store


def landing_days(store: Store) -> list[str]:
    """Return the days that have a folder in `landing/`, sorted; folders with other names are not days."""
    return [name for name in store.folders("landing") if _is_day(name)]


def landing_files(store: Store, day: str) -> list[dict[str, Any]]:
    """Return the files of a day as `Store.listing` does, without hidden ones."""
    files = store.listing(f"landing/{day}", recursive=True)
    return [f for f in files if not any(part.startswith(".") for part in f["path"].split("/"))]


def landing_digest(files: list[dict[str, Any]]) -> str:
    """Return a SHA-256 that changes whenever a file comes, goes, grows or is written again."""
    lines = "".join(f"{f['path']}\t{f['size']}\t{f['modified']:.6f}\n" for f in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def recordings_notes(store: Store, days: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the metadata of `recordings` by day, where there are such: what ingests have told of deliveries."""
    return {day: store.metadata("recordings", day) for day in days if store.has_day("recordings", day)}


def delivered_days(store: Store, notes: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return the days that have recordings: those of `landing_days`, and the next where one runs past midnight.

    `notes` are those of `recordings_notes`.
    """
    after = (shifted(day, 1) for day, note in notes.items() if note.get("past_midnight"))
    return sorted({*landing_days(store), *after})


def delivered(store: Store, day: str, notes: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the files that a day is made of: its own, and those of the day before that run past midnight.

    Of the latter, those that the ingest of the day before has told of in `notes`: see `recordings_notes`.
    """
    before = shifted(day, -1)
    late = notes.get(before, {}).get("past_midnight", [])
    files = landing_files(store, day)
    return files + [f for f in landing_files(store, before) if f["path"] in late] if late else files


def shifted(day: str, days: int) -> str:
    """Return the ISO day that is some days later."""
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()


def _is_day(name: str) -> bool:
    try:
        return date.fromisoformat(name).isoformat() == name
    except ValueError:
        return False
