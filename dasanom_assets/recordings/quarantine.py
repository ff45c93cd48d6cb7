"""Records of files that cannot be used: one JSON file each, with the reason, in `quarantine/`."""

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

from dasanom_assets.recordings.listing import entries
from dasanom_assets.tables.store import Store

LARGEST_RECORD_BYTES = 1 << 20
"""A larger file in `quarantine/` is no record; ours are paths and a sentence."""
QUARANTINE_NAME_BYTES = 200
"""Of a refused file's name in that of its record; file systems take 255 for the whole, and a writer adds 18."""


@dataclass(frozen=True)
class Refusal:
    """A file that cannot be used.

    Attributes
    ----------
    path : str
        Relative to the data root.
    sha256 : str
        Empty where it cannot be read.
    size : int
        Bytes.
    reason : str
        In words.
    """

    path: str
    sha256: str
    size: int
    reason: str


def write_quarantine(store: Store, day: str, refused: list[Refusal]) -> list[str]:
    """Keep one record a refused file, and drop those of files of the day's folder that are refused no longer.

    What else lies in `quarantine/` is left alone.

    Returns
    -------
    list of str
        Which records cannot be written, and why: `recordings` has the reasons, too.
    """
    still = {refusal.path for refusal in refused}
    for entry in entries(store, "quarantine"):
        name = entry["path"].removeprefix("quarantine/")
        # Hidden: left by a writer that was killed.
        foreign = "/" in name or not name.endswith(".json") or entry["size"] > LARGEST_RECORD_BYTES
        if foreign or name.startswith(".") or entry["problem"]:
            continue
        try:
            old = store.read_json(entry["path"])
            ours = old["day"] == day and isinstance(old["path"], str)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            continue
        if ours and old["path"] not in still and store.selects(old["path"]):
            store.remove(entry["path"])
    return add_records(store, day, refused)


def add_records(store: Store, day: str, refused: list[Refusal]) -> list[str]:
    """Keep one record a refused file, beside those that are there; returns as `write_quarantine`."""
    unwritten = []
    for refusal in refused:
        digest = hashlib.sha256(refusal.path.encode()).hexdigest()[:12]
        record = f"quarantine/{_short(refusal.path)}.{digest}.json"
        try:
            store.write_json(record, {**vars(refusal), "day": day})
        except OSError as error:
            unwritten.append(f"{record} cannot be written: {error.strerror or error}")
    return unwritten


def _short(path: str) -> str:
    """Return so much of a file's name that a record can be named after it, whatever the system's limit is."""
    return PurePosixPath(path).name.encode()[:QUARANTINE_NAME_BYTES].decode(errors="ignore")
