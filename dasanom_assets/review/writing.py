"""What analysts enter: verdicts on alarms, and planned works. All of it is added, and nothing changed."""

import csv
import hashlib
import io
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dasanom_assets.review.alarm_api import event_of
from dasanom_assets.review.app import posted, review_of
from dasanom_assets.review.kinds import kinds_of
from dasanom_assets.tables import verdicts

_ONE_AT_A_TIME = Lock()
MOST_IMPORTED = 5000
COLUMNS = ("fibre", "first_m", "last_m", "start", "end", "why")


async def _entered(enter: Callable[..., Any], *arguments: Any) -> Response:
    """Store what somebody entered; the answer comes once it is on the disk."""

    def one_at_a_time() -> None:
        with _ONE_AT_A_TIME:
            enter(*arguments)

    try:
        await run_in_threadpool(one_at_a_time)
    except (ValueError, TypeError, KeyError) as error:
        raise HTTPException(400, f"{error}") from error
    return JSONResponse({"stored": True})


async def judge(request: Request) -> Response:
    """Enter a verdict on an alarm: on all events of its row, as they are now, or on a single cell alone."""
    values = await posted(request)
    of_day, event, _ = await run_in_threadpool(event_of, request)
    names = ("entry_id", "who", "verdict", "kind", "note")
    entry = {name: _text(values, name) for name in names} | {
        name: event[name] for name in ("fibre", "event_id", "start", "end", "first_channel", "last_channel")
    }
    if entry["verdict"] == verdicts.UNDO:
        raise HTTPException(400, "to take back a verdict, post to verdicts/undo")
    entry["model_version"] = event.get("model_version")
    row = of_day.by_event.get(event["event_id"])
    # The whole of what was folded into one row; single cells are of one place and class, and not of one cause.
    if row and len(row["members"]) > 1 and not row["cells"]:
        entry |= {"start": row["start"] * 1000, "end": row["end"] * 1000}
        entry |= {"first_channel": row["first"], "last_channel": row["last"]}
    return await _entered(verdicts.record_verdict, review_of(request).store, of_day.day, entry)


async def undo_verdict(request: Request) -> Response:
    """Take a verdict back, by an entry that says so."""
    values = await posted(request)
    of_day, event, _ = await run_in_threadpool(event_of, request)
    entry = {name: _text(values, name) for name in ("entry_id", "who", "undoes")}
    if entry["undoes"] not in of_day.verdicts["entry_id"].to_pylist():
        raise HTTPException(404, "the day has no such entry")
    entry |= {name: event[name] for name in ("fibre", "event_id", "start", "end", "first_channel", "last_channel")}
    entry["verdict"] = verdicts.UNDO
    return await _entered(verdicts.record_verdict, review_of(request).store, of_day.day, entry)


async def name_kind(request: Request) -> Response:
    """Name the kind of event that an alarm is of; the name stays with it when kinds are found again."""
    values = await posted(request)
    of_day, event, _ = await run_in_threadpool(event_of, request)
    store, name = review_of(request).store, event["event_id"]
    found = await run_in_threadpool(kinds_of, review_of(request), of_day.day)
    own = found.of_day(of_day.day).get(name)
    if own is None:
        raise HTTPException(404, "this alarm is of no kind: nothing of the last weeks sounds like it")
    entry: dict[str, Any] = {key: _text(values, key) for key in ("entry_id", "who", "kind")}
    entry |= {"day": of_day.day, "event_id": name, "examples": found.examples(own)}
    return await _entered(verdicts.record_kind_name, store, entry)


async def undo_kind(request: Request) -> Response:
    """Take the name of a kind back, by an entry that says so."""
    values = await posted(request)
    entry = {key: _text(values, key) for key in ("entry_id", "who", "undoes")}
    store = review_of(request).store
    if entry["undoes"] not in {row["entry_id"] for row in await run_in_threadpool(verdicts.kind_names, store)}:
        raise HTTPException(404, "there is no such name")
    return await _entered(verdicts.record_kind_name, store, entry)


def planned(request: Request) -> Response:
    """List the planned works that are in force or were."""
    rows = verdicts.planned_works(review_of(request).store)
    times = ("start", "end", "made")
    return JSONResponse(
        {"planned": [row | {name: int(row[name].timestamp() * 1e6) for name in times} for row in rows]}
    )


async def plan(request: Request) -> Response:
    """Enter planned work: where, from when to when, and why."""
    values = await posted(request)
    entry = _work(values) | {name: _text(values, name) for name in ("entry_id", "who")}
    return await _entered(verdicts.record_planned, review_of(request).store, entry)


async def undo_planned(request: Request) -> Response:
    """Take planned work back, by an entry that says so."""
    values = await posted(request)
    entry = {name: _text(values, name) for name in ("entry_id", "who", "undoes")}
    store = review_of(request).store
    if entry["undoes"] not in {row["entry_id"] for row in await run_in_threadpool(verdicts.planned_works, store)}:
        raise HTTPException(404, "there is no such planned work")
    return await _entered(verdicts.record_planned, store, entry)


async def import_planned(request: Request) -> Response:
    """Enter planned works from CSV: fibre, first_m, last_m, start, end, why. All of them, or none."""
    values = await posted(request)
    who, rows = _text(values, "who"), list(csv.DictReader(io.StringIO(_text(values, "csv") or "")))
    if not rows or len(rows) > MOST_IMPORTED:
        raise HTTPException(
            400, f"the file has {len(rows)} rows; 1 to {MOST_IMPORTED} are wanted, below their names"
        )
    entries = []
    for line, row in enumerate(rows, 2):
        try:
            entry = _work(row) | {"who": who}
        except HTTPException as error:
            raise HTTPException(400, f"line {line}: {error.detail}") from error
        # The same row again is the same entry.
        entry["entry_id"] = hashlib.sha256(repr(sorted(entry.items())).encode()).hexdigest()[:32]
        entries.append(entry)
    store = review_of(request).store

    def enter() -> None:
        for entry in entries:
            verdicts.check_planned(entry)
        for entry in entries:
            verdicts.record_planned(store, entry)

    return await _entered(enter)


def _work(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of planned work, checked; raises `HTTPException`."""
    try:
        metres = {name: float(values[name]) for name in ("first_m", "last_m")}
        times = {name: _time(str(values[name])) for name in ("start", "end")}
    except (KeyError, TypeError, ValueError) as error:
        raise HTTPException(
            400, "planned work has first_m and last_m in metres, start and end as ISO times with their zone"
        ) from error
    return {"fibre": _text(values, "fibre"), "why": _text(values, "why"), **metres, **times}


def _time(text: str) -> datetime:
    """Return an ISO time as UTC; one without a zone is UTC."""
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    return None if value in (None, "") else str(value).strip()
