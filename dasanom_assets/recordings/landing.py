"""The landing folder: which days there are, and whether a day's files have changed."""

import hashlib
from datetime import date
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


def _is_day(name: str) -> bool:
    try:
        return date.fromisoformat(name).isoformat() == name
    except ValueError:
        return False
