"""Where the record of what a table or report was made of is kept."""

import json
from typing import Any

from dasanom_assets.tables import parquet
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import MissingDayError, Store


def read_record(store: Store, table: str, day: str) -> tuple[str, dict[str, Any]] | None:
    """Return the digest of a table or report of a day, and what it was made of; None where it is not there.

    The second is empty where no step made it.
    """
    if table not in SCHEMAS:
        path = record_path(table, day)
        if not store.exists(path):
            return None
        record = store.read_json(path)
        return record["digest"], record
    try:
        footer = store.footer(table, day)
    except MissingDayError:
        return None
    return footer.get(parquet.DIGEST_KEY, b"").decode(), json.loads(footer.get(parquet.RECORD_KEY, b"{}"))


def record_path(report: str, day: str) -> str:
    """Return the path of the record of a report, which has no footer to hold it."""
    return f"reports/{report}/day={day}/made_of.json"


def note_run(store: Store, table: str, day: str, run: str) -> None:
    """Note which run of Dagster made a table or report of a day: apart from it, whose bytes stay the same."""
    record = read_record(store, table, day)
    assert record is not None
    store.write_json(_run_path(table, day), {"run": run, "digest": record[0]})


def run_of(store: Store, table: str, day: str) -> str | None:
    """Return the run of Dagster that made a table or report of a day; None where none did, or it is not known."""
    path, record = _run_path(table, day), read_record(store, table, day)
    if record is None or not store.exists(path):
        return None
    note = store.read_json(path)
    return note["run"] if note["digest"] == record[0] else None


def _run_path(table: str, day: str) -> str:
    return f"runs/{table}/day={day}.json"
