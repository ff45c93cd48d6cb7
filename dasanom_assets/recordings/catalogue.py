"""What is readable of a day's delivery, and what is refused with which reason."""

import os
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.recordings.bundle_files import bundle_of
from dasanom_assets.recordings.fibres import fibres_before, fibres_table, spacings_of
from dasanom_assets.recordings.file_checks import LIMITS, Look, look_at
from dasanom_assets.recordings.identity import part_fibres
from dasanom_assets.recordings.landing import landing_files, recordings_notes, shifted
from dasanom_assets.recordings.limits import beyond
from dasanom_assets.recordings.listing import closed
from dasanom_assets.recordings.measured import changes, rounding_ns
from dasanom_assets.recordings.overlaps import FINER_SHARE, resolve
from dasanom_assets.recordings.places import number_channels, part_spacings, written
from dasanom_assets.recordings.quarantine import Refusal
from dasanom_assets.recordings.sidecar import SIDECAR
from dasanom_assets.recordings.site_rules import read_sites
from dasanom_assets.settings import LimitSettings, Settings
from dasanom_assets.tables.provenance import Freshness
from dasanom_assets.tables.schemas import SCHEMAS, empty
from dasanom_assets.tables.store import Store

UNFINISHED = (".partial", ".tmp", ".part")
"""Endings of files that are still being written; they are neither read nor refused."""
LOOKS = min(4, len(os.sched_getaffinity(0)))
"""Files that are looked at at once."""
_NEVER = np.iinfo(np.int64).min + 1


@dataclass(frozen=True)
class Catalogue:
    """What was found: rows of `recordings`, the files that were refused, and rows of `fibres`."""

    recordings: pa.Table
    refused: list[Refusal]
    fibres: pa.Table


def catalogue_day(store: Store, day: str, limits: LimitSettings = LIMITS) -> Catalogue:
    """Look at every file of a day's landing folder, and at those of the days before that run into it.

    Of the day before these are looked for; of earlier ones, its `recordings` tell, where they run past midnight.

    Parameters
    ----------
    store : Store
    day : str
        ISO day. A file that starts on another day than its folder's is refused. Earlier days of `fibres` say what
        channel numbers mean.
    limits : LimitSettings, optional
        What a file may be.

    Raises
    ------
    SitesError
        See `site_rules.read_sites`.
    """
    looks = _look(store, _problems(store, day), day, limits)
    tail: list[Look] = []
    for before, problems in _before(store, day, limits).items():
        tail += [look for look in _look(store, problems, before, limits, _extent(day, 0)) if look.row]
    return _catalogue(store, tail + looks, fibres_before(store, day), limits, {look.path for look in tail})


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


def adjoining(store: Store, day: str, limits: LimitSettings = LIMITS) -> pa.Table:
    """Return the files around a day: of the day before and after, those within a second of midnight.

    They are not of the day, but the frames at its first and last instant reach into them.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    limits : LimitSettings, optional
        What a file may be.

    Returns
    -------
    pyarrow.Table
        Rows of `recordings`.
    """
    rows = []
    for shift in (-1, 1):
        other = shifted(day, shift)
        problems = _near(store, other, limits, _extent(day, 1))
        near_midnight = _look(store, problems, other, limits, _extent(day, 1))
        rows += [look.row for look in near_midnight if look.row]
    start, end = _extent(day, 0)
    outside = [row for row in rows if row["end"] <= start or row["start"] >= end]
    known = store.read_day("fibres", day) if store.has_day("fibres", day) else empty("fibres")
    settled, _ = _settled(outside, known, limits)
    return _table(sorted(settled, key=lambda row: row["path"]))


def catalogue_files(
    store: Store, paths: Iterable[str], day: str | None = None, limits: LimitSettings = LIMITS
) -> Catalogue:
    """Look at files.

    Parameters
    ----------
    store : Store
    paths : iterable of str
        Relative to the data root. Hidden and unfinished files, and the companions of a bundle among `paths`, are
        passed over.
    day : str, optional
        ISO day on which every file must start; None: any.
    limits : LimitSettings, optional
        What a file may be.

    Returns
    -------
    Catalogue
        Rows by fibre and start.
    """
    return _catalogue(store, _look(store, dict.fromkeys(paths, ""), day, limits), empty("fibres"), limits)


def _problems(store: Store, day: str) -> dict[str, str]:
    """Return why each path of a day's folder is not to be opened, empty for those that may be."""
    return {f["path"]: f["problem"] for f in landing_files(store, day)}


def _near(store: Store, other: str, limits: LimitSettings, extent: tuple[int, int]) -> dict[str, str]:
    """Return those of `_problems` of another day that may lie within `extent`, ns since 1970.

    Where the `recordings` of that day are still what they would be now, they tell, and the others are not opened.
    """
    from dasanom_assets.recordings import steps  # noqa: F401, it tells what makes recordings

    problems, store = _problems(store, other), store.unnoted
    fresh = Freshness(store, Settings(limits=limits), within_day=True)
    if not store.has_day("recordings", other) or fresh.stale("recordings", other):
        return problems
    known = store.read_day("recordings", other, ["path", "start", "end"])
    start, end = (known[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    near = set(known["path"].filter(pa.array((end > extent[0]) & (start < extent[1]))).to_pylist())
    return {path: problem for path, problem in problems.items() if path.removesuffix(SIDECAR) in near}


def _before(store: Store, day: str, limits: LimitSettings) -> dict[str, dict[str, str]]:
    """Return the paths that may run into a day, by the day of their folder: those of `_problems`."""
    before = shifted(day, -1)
    folders = {before: _near(store, before, limits, _extent(day, 0))}
    notes = recordings_notes(store, [before])
    for path in notes.get(before, {}).get("past_midnight", []):
        folder = path.split("/")[1]
        if folder != before:
            folders.setdefault(folder, {})[path] = ""
    return folders


def _look(
    store: Store,
    problems: dict[str, str],
    day: str | None,
    limits: LimitSettings,
    extent: tuple[int, int] | None = None,
) -> list[Look]:
    """Look at files, several at once; files that lie wholly outside of `extent`, ns since 1970, are refused.

    Those with one of `problems`, by path, are not read.
    """
    known = {p for p in problems if not PurePosixPath(p).name.startswith(".") and not p.endswith(UNFINISHED)}
    rules = read_sites(store)

    def look(path: str) -> Look:
        if problems[path]:
            return Look(path, reason=problems[path])
        beside = problems.get(path + SIDECAR)
        refused = f"its sidecar {PurePosixPath(path).name}{SIDECAR}: {beside}" if beside else ""
        found = look_at(store, path, extent, limits, rules, refused)
        if day is not None and found.row and (why := _of_other_day(found.row, day)):
            return replace(found, row=None, reason=why)
        return found

    with ThreadPoolExecutor(LOOKS) as pool:
        return list(pool.map(look, sorted(p for p in known if bundle_of(p) not in known)))


def _catalogue(
    store: Store,
    looks: list[Look],
    before: pa.Table,
    limits: LimitSettings,
    of_days_before: Collection[str] = (),
) -> Catalogue:
    reasons = {look.path: look.reason for look in looks if look.row is None}
    for path in (look.path for look in looks if look.row is not None):
        if lost := closed(store, path):
            reasons[path] = f"it was lost while it was read: {lost}"
    rows, unused = _settled([look.row for look in looks if look.row and look.path not in reasons], before, limits)
    reasons |= {path: reason for path, reason in unused.items() if path not in of_days_before}
    return Catalogue(
        _table(rows),
        [
            Refusal(look.path, look.sha256, look.size, reasons[look.path])
            for look in sorted(looks, key=lambda look: look.path)
            if look.path in reasons
        ],
        fibres_table(rows, before),
    )


def _settled(
    rows: list[dict[str, Any]], known: pa.Table, limits: LimitSettings
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Decide what takes all files together; return rows by fibre and start, and why others are not used.

    `known` are rows of `fibres` that stay as they are.
    """
    known_m = spacings_of(known)
    number_channels(rows, known_m)
    unused = {row["path"]: why for row in rows if (why := beyond(limits, row["fibre"], row["channel_spacing_m"]))}
    rows = [row for row in rows if row["path"] not in unused]
    part_fibres(rows, set(known["fibre"].to_pylist()))
    unused |= part_spacings(rows, known_m)
    rows = [row for row in rows if row["path"] not in unused]
    rows.sort(key=lambda row: (row["fibre"], row["start"], row["path"]))
    _note_gaps(rows)
    _note_overlaps(rows)
    return rows, unused


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    schema = SCHEMAS["recordings"]
    complete = [
        row
        | {
            "first_channel": int(row["channels"].min()),
            "n_channels": len(np.unique(row["channels"])),
            "channels": written(row["channels"]),
        }
        for row in rows
    ]
    return pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in complete], schema)


def _of_other_day(row: dict[str, Any], day: str) -> str | None:
    # Times are rounded, in 64 bits of seconds to 240 ns: a sample of midnight may seem to lie before it.
    half_a_sample = round(0.5e9 / row["sampling_rate_hz"])
    start_day, rounded_day = (
        str(np.datetime64(row["start"] + late, "ns").astype("datetime64[D]")) for late in (0, half_a_sample)
    )
    if day in (start_day, rounded_day):
        return None
    return f"it starts on {start_day}, UTC, but lies in the folder of {day}: move it, or set the clock"


def _extent(day: str, margin_seconds: int) -> tuple[int, int]:
    """Return start and end of a day and a margin around it, ns since 1970."""
    start, end = (int(np.datetime64(d, "ns").astype(np.int64)) for d in (day, shifted(day, 1)))
    return start - margin_seconds * 1_000_000_000, end + margin_seconds * 1_000_000_000


def _note_gaps(rows: list[dict[str, Any]]) -> None:
    """Note in `issues` what is missing between a file and what its channels have before it.

    Changes `rows`, which are sorted by fibre and start.
    """
    for _, group in groupby(rows, key=lambda row: row["fibre"]):
        of_fibre = list(group)
        keys: dict[bytes, int] = {}
        numbers = [keys.setdefault(row["channels"].tobytes(), len(keys)) for row in of_fibre]
        lowest, highest, ended = (np.full(len(keys), _NEVER) for _ in range(3))  # where each channel is a file
        latest: dict[int, dict[str, Any]] = {}  # the one that ends last, by number
        for number, row in zip(numbers, of_fibre, strict=True):
            channels = row["channels"]
            lowest[number], highest[number] = channels.min(), channels.max()
            near = np.flatnonzero((ended > _NEVER) & (lowest <= highest[number]) & (highest >= lowest[number]))
            earlier = (int(n) for n in near[np.argsort(-ended[near], kind="stable")])
            before = next(
                (latest[n] for n in earlier if n == number or np.isin(channels, latest[n]["channels"]).any()), None
            )
            if before is not None:
                slack = 0.5 + rounding_ns(before["format"], before["n_samples"]) * before["sampling_rate_hz"] / 1e9
                late = (row["start"] - before["end"]) / 1e9
                if late * row["sampling_rate_hz"] >= -slack:  # else they tell of the same time
                    row["issues"] += changes(row, before)
                if late * row["sampling_rate_hz"] > slack:
                    row["issues"].append(f"{late:.3f} s are missing after {PurePosixPath(before['path']).name}")
            if ended[number] < row["end"]:
                ended[number], latest[number] = row["end"], row


def _note_overlaps(rows: list[dict[str, Any]]) -> None:
    """Note in `issues` where another file counts in the place of one, and whether one is used at all."""
    parts, overlaps = resolve(rows)
    used = {part.row["path"] for part in parts}
    for row in rows:
        covering = overlaps.get(row["path"], [])
        if not covering:
            continue
        most = max(covering, key=lambda overlap: overlap.seconds)
        rate, finer = row["sampling_rate_hz"], most.other["sampling_rate_hz"]
        # Two folders may have files of the same name.
        same = PurePosixPath(most.other["path"]).name == PurePosixPath(row["path"]).name
        other = most.other["path"] if same else PurePosixPath(most.other["path"]).name
        why = f", which is finer: {finer:g} Hz instead of {rate:g} Hz" if finer > rate * (1 + FINER_SHARE) else ""
        if row["path"] in used:
            row["issues"].append(f"overlaps {other} by {most.seconds:.3f} s" + (why and f"{why}"))
        else:
            row["issues"].append(f"not used: its channels and times are those of {other}{why}")
