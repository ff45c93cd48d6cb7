"""What is readable of a day's delivery, and what is refused with which reason."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.recordings.bundle import bundle_of
from dasanom_assets.recordings.file_checks import file_row
from dasanom_assets.recordings.landing import landing_files, recordings_notes, shifted
from dasanom_assets.recordings.listing import closed, entries, why_closed
from dasanom_assets.recordings.reasons import RefusedError, reason_of
from dasanom_assets.recordings.sidecar import SIDECAR
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store

UNFINISHED = (".partial", ".tmp", ".part")
"""Endings of files that are still being written; they are neither read nor refused."""
DIGEST_THREADS = 4
"""Files that are digested at once, from disk or over a network."""

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


@dataclass(frozen=True)
class Catalogue:
    """What was found: rows of `recordings`, and the files that were refused."""

    recordings: pa.Table
    refused: list[Refusal]


def catalogue_day(store: Store, day: str) -> Catalogue:
    """Look at every file of a day's landing folder, and at those of the days before that run into it.

    Of the day before these are looked for; of earlier ones, its `recordings` tell, where they run past midnight.

    Parameters
    ----------
    store : Store
    day : str
        ISO day. A file that starts on another day than its folder's is refused.
    """
    rows, reasons = _look(store, _problems(store, day), day)
    tail: list[dict[str, Any]] = []
    for before, problems in _before(store, day).items():
        tail += _look(store, problems, before, _extent(day, 0))[0]
    return _catalogue(store, tail + rows, reasons)


def past_midnight(recordings: pa.Table, day: str) -> list[str]:
    """Return the paths of a day's recordings that go on after its end: they are of the next day too.

    Parameters
    ----------
    recordings : pyarrow.Table
        Rows of `recordings` of the day.
    day : str
        ISO day.
    """
    ended = recordings["end"].cast(pa.int64()).to_numpy()
    return recordings["path"].filter(pa.array(ended > _extent(day, 0)[1])).to_pylist()


def adjoining(store: Store, day: str) -> pa.Table:
    """Return the files around a day: of the day before and after, those within a second of midnight.

    They are not of the day, but the frames at its first and last instant reach into them. Digests are left out.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.

    Returns
    -------
    pyarrow.Table
        Rows of `recordings`; ``sha256`` is null.
    """
    rows = []
    for shift in (-1, 1):
        other = shifted(day, shift)
        near_midnight, _ = _look(store, _problems(store, other), other, _extent(day, 1))
        rows += near_midnight
    start, end = _extent(day, 0)
    outside = [{**row, "sha256": None} for row in rows if row["end"] <= start or row["start"] >= end]
    columns = SCHEMAS["recordings"].names
    return pa.Table.from_pylist([{name: r[name] for name in columns} for r in outside], SCHEMAS["recordings"])


def catalogue_files(store: Store, paths: Iterable[str], day: str | None = None) -> Catalogue:
    """Look at files.

    Parameters
    ----------
    store : Store
    paths : iterable of str
        Relative to the data root. Hidden and unfinished files, and the companions of a bundle among `paths`, are
        passed over.
    day : str, optional
        ISO day on which every file must start; None: any.

    Returns
    -------
    Catalogue
        Rows by fibre and start.
    """
    return _catalogue(store, *_look(store, dict.fromkeys(paths, ""), day))


def _problems(store: Store, day: str) -> dict[str, str]:
    """Return why each path of a day's folder is not to be opened, empty for those that may be."""
    return {f["path"]: f["problem"] for f in landing_files(store, day)}


def _before(store: Store, day: str) -> dict[str, dict[str, str]]:
    """Return the paths that may run into a day, by the day of their folder: those of `_problems`."""
    before = shifted(day, -1)
    found = {before: _problems(store, before)}
    notes = recordings_notes(store, [before])
    for path in notes.get(before, {}).get("past_midnight", []):
        folder = path.split("/")[1]
        if folder != before:
            found.setdefault(folder, {})[path] = ""
    return found


def _look(
    store: Store, problems: dict[str, str], day: str | None, extent: tuple[int, int] | None = None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return a row for each file that can be used, and the reason for each that cannot.

    A row lacks its digest and has the ``channels`` beside the columns of `recordings`. Files wholly outside of
    `extent`, ns since 1970, are among those that cannot be used, and are not read; nor are those with one of
    `problems`, by path.
    """
    known = {p for p in problems if not PurePosixPath(p).name.startswith(".") and not p.endswith(UNFINISHED)}
    rows, reasons = [], {}
    for path in sorted(p for p in known if bundle_of(p) not in known):
        # Whatever a foreign reader raises at a foreign file becomes a record in quarantine, and the day goes on.
        try:
            if problem := problems[path] or closed(store, path):
                raise RefusedError(problem)
            if beside := problems.get(path + SIDECAR):
                raise RefusedError(f"its sidecar {PurePosixPath(path).name}{SIDECAR}: {beside}")
            row = file_row(store, path, extent)
            if day is not None:
                _require_day(row["start"], day)
            rows.append(row)
        except Exception as error:
            reasons[path] = reason_of(error)
    return rows, reasons


def _catalogue(store: Store, rows: list[dict[str, Any]], reasons: dict[str, str]) -> Catalogue:
    with ThreadPoolExecutor(DIGEST_THREADS) as pool:
        looked_at = [*(row["path"] for row in rows), *reasons]
        digests = dict(zip(looked_at, pool.map(lambda path: _digest(store, path), looked_at), strict=True))
    lost = {row["path"]: f"it was lost while it was read: {digests[row['path']][1]}" for row in rows}
    lost = {path: reason for path, reason in lost.items() if not digests[path][0]}
    rows = [row for row in rows if row["path"] not in lost]
    rows = sorted(rows, key=lambda row: (row["fibre"], row["start"], row["path"]))
    _note_neighbours(rows)
    columns = SCHEMAS["recordings"].names
    table = [{**row, "sha256": digests[row["path"]][0]} for row in rows]
    return Catalogue(
        pa.Table.from_pylist([{name: row[name] for name in columns} for row in table], SCHEMAS["recordings"]),
        [
            Refusal(path, digests[path][0], _size(store, path), reason)
            for path, reason in sorted({**reasons, **lost}.items())
        ],
    )


def _digest(store: Store, path: str) -> tuple[str, str]:
    """Return the SHA-256 of a file, or an empty one and why there is none."""
    if problem := closed(store, path):
        return "", problem
    try:
        return store.digest(path), ""
    except OSError as error:
        return "", why_closed(error)


def _size(store: Store, path: str) -> int:
    try:
        return store.fs.size(store.full(path)) or 0
    except OSError:
        return 0


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
        if ours and old["path"] not in still:
            store.remove(entry["path"])
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


def _require_day(start_ns: int, day: str) -> None:
    start_day = str(np.datetime64(start_ns, "ns").astype("datetime64[D]"))
    if start_day != day:
        raise RefusedError(f"it starts on {start_day}, but lies in the folder of {day}: move it, or set the clock")


def _extent(day: str, margin_seconds: int) -> tuple[int, int]:
    """Return start and end of a day and a margin around it, ns since 1970."""
    start, end = (int(np.datetime64(d, "ns").astype(np.int64)) for d in (day, shifted(day, 1)))
    return start - margin_seconds * 1_000_000_000, end + margin_seconds * 1_000_000_000


def _note_neighbours(rows: list[dict[str, Any]]) -> None:
    """Note in `issues` by how much a file overlaps, or leaves a gap to, what its channels have before it.

    Changes `rows`, which are sorted by fibre and start.
    """
    latest: dict[tuple[str, bytes], dict[str, Any]] = {}  # the one that ends last, of each fibre and channels
    for row in rows:
        fibre, channels = row["fibre"], row["channels"]
        earlier = [
            other
            for (name, _), other in latest.items()
            if name == fibre and np.isin(channels, other["channels"]).any()
        ]
        if earlier:
            before = max(earlier, key=lambda other: other["end"])
            late = (row["start"] - before["end"]) / 1e9
            name = PurePosixPath(before["path"]).name
            if late * row["sampling_rate_hz"] <= -0.5:
                row["issues"].append(f"overlaps {name} by {-late:.3f} s")
            elif late * row["sampling_rate_hz"] > 0.5:
                row["issues"].append(f"{late:.3f} s are missing after {name}")
        key = fibre, channels.tobytes()
        if key not in latest or latest[key]["end"] < row["end"]:
            latest[key] = row
