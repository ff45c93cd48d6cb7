"""What a table was made of, and why it would be another one now.

A step is a function that makes tables of one day. It reads and writes through a `Day`, which notes what was read:
tables and days with the digests of their rows, which days there were to look back on, the settings that the step
names, its version, and whatever else it depends on (the files in landing, the live model). The note is stored in
the table, so that `Freshness.stale` can say in words what has changed since.

What flows back, as alarms of earlier days into a background, is noted apart: it makes nothing stale.
"""

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dasanom_assets.settings import Settings
from dasanom_assets.tables import parquet
from dasanom_assets.tables.named_settings import flattened, narrowed
from dasanom_assets.tables.records import read_record, record_path
from dasanom_assets.tables.store import MissingDayError, Store

info, warning = (getattr(logging.getLogger("dasanom"), level) for level in ("info", "warning"))
"""Where steps tell of their work, unless they are given something else."""
STEPS: dict[str, "Step"] = {}
"""The step that makes each table or report, by its name; filled by the ``steps`` module of each stage."""

Inputs = Callable[[Store, Store, str], Mapping[str, str | None]]
"""From the store, that of the models and an ISO day to what a step depends on besides tables, in words.

What is None is no longer there, and counts as unchanged: recordings may go once they are in the tables."""


class StaleError(RuntimeError):
    """What a step would read is not what it would be now."""


@dataclass(frozen=True)
class Step:
    """What makes some tables of a day.

    Attributes
    ----------
    tables : tuple of str
        What it makes: tables of `schemas.SCHEMAS`, or a report.
    compute : callable
        Takes a `Day`, and what else the step is given by name.
    settings : tuple of str
        Sections (``background``) or fields (``detection.budget``) of the settings that it reads. It can read no
        others.
    code : str
        Raised when the same inputs would give other rows.
    feedback : tuple of str
        Tables whose earlier days flow back into this one.
    inputs : callable
        What it depends on besides tables and settings; see `Inputs`.
    keeps : str
        The setting that says for how many days its tables are kept; empty: for ever. Those that are older than the
        newest by more are not missed.
    """

    tables: tuple[str, ...]
    compute: Callable[..., None]
    settings: tuple[str, ...]
    code: str
    feedback: tuple[str, ...]
    inputs: Inputs
    keeps: str = ""

    def __call__(
        self, store: Store, day: str, settings: Settings, models: Store | None = None, **more: Any
    ) -> None:
        """Make the tables of a day.

        Parameters
        ----------
        store : Store
        day : str
            ISO day.
        settings : Settings
        models : Store, optional
            Where the live model lies; by default the same store.
        **more
            What the step takes besides: a Dask client, a device, something to tell progress to.
        """
        self.compute(Day(store, day, settings, self, models), **more)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.compute.__doc__


def nothing_else(store: Store, models: Store, day: str) -> Mapping[str, str | None]:
    """Return that a step depends on tables and settings only."""
    return {}


def step(
    *tables: str,
    settings: tuple[str, ...] = (),
    code: str = "1",
    feedback: tuple[str, ...] = (),
    inputs: Inputs = nothing_else,
    keeps: str = "",
) -> Callable[[Callable[..., None]], Step]:
    """Declare a function as the step that makes some tables; see `Step`."""

    def declared(compute: Callable[..., None]) -> Step:
        made = Step(tables, compute, settings, code, feedback, inputs, keeps)
        STEPS.update(dict.fromkeys(tables, made))
        return made

    return declared


class Day(Store):
    """A day of the store, as one step reads and writes it.

    All of `Store` works on it, and is noted. Where a path or day is not named, it is this day's.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    settings : Settings
    step : Step
    models : Store, optional
        Where the live model lies; by default the same store.
    """

    def __init__(
        self, store: Store, day: str, settings: Settings, step: Step, models: Store | None = None
    ) -> None:
        self.__dict__.update(store.__dict__)
        self._store = store
        self.iso = day
        self.models = models or store
        self._in_force = settings
        self.settings = narrowed(settings, step.settings)
        self.inputs = dict(step.inputs(store, self.models, day))
        self._step = step
        self._named = flattened(self.settings, step.settings)
        self._read: dict[str, dict[str, str | None]] = {}
        self._listed: dict[str, list[Any]] = {}

    def __reduce__(self) -> Any:
        """Reach Dask's workers as the plain store: what they read is files, which the catalogue names."""
        return copy.copy, (self._store,)

    def read(self, table: str, columns: list[str] | None = None) -> pa.Table:
        """Return this day of a table; raises as `Store.open_day`."""
        return self.read_day(table, self.iso, columns)

    def note(self, table: str) -> dict[str, Any]:
        """Return what `write` was given as a note for this day of a table; raises as `Store.open_day`."""
        return self.metadata(table, self.iso)

    def before(self, table: str, days: int) -> list[str]:
        """Return the days that a table has among so many before this one, sorted."""
        first, last = (str(date.fromisoformat(self.iso) - timedelta(days=n)) for n in (days, 1))
        return self.days(table, first, last)

    def write(self, table: str, rows: pa.Table | Iterable[pa.Table], note: dict[str, Any] | None = None) -> int:
        """Replace this day of a table whole, and return its rows; see `Store.write_day`."""
        return self.write_day(table, self.iso, rows, note)

    def read_report(self, report: str, path: str) -> bytes | None:
        """Return the content of a file that a report of this day is made of; None where it has none."""
        record = read_record(self._store, report, self.iso)
        self._read.setdefault(report, {})[self.iso] = record and record[0]
        return self.read_bytes(path) if self.exists(path) else None

    def write_record(self, report: str, content: bytes) -> None:
        """Store what a report, which is no table, was made of, and the digest of its content."""
        record = json.loads(self._record(report, self.iso)[parquet.RECORD_KEY])
        self.write_json(record_path(report, self.iso), {"digest": hashlib.sha256(content).hexdigest(), **record})

    def require_fresh(self, *tables: str) -> None:
        """Refuse to go on from tables of this day that are stale for a reason of this day.

        What other days have become meanwhile is no reason to stop: two days may be at work at once.

        Raises
        ------
        StaleError
            Naming the tables, why they are stale, and what to do.
        """
        fresh = Freshness(self._store, self._in_force, self.models, within_day=True)
        reasons = {table: reason for table in tables if (reason := fresh.stale(table, self.iso))}
        if reasons:
            why = "; ".join(dict.fromkeys(reasons.values()))
            raise StaleError(f"{why}. Materialize {', '.join(reasons)} of {self.iso} first.")

    # -- what Store does, noted -------------------------------------------------------------------------

    unnoted = property(lambda self: self._store)

    def open_day(self, table: str, day: str, known: pq.FileMetaData | None = None) -> pq.ParquetFile:  # noqa: D102
        try:
            file = super().open_day(table, day, known)
        except MissingDayError:
            self._note(table, day, None)
            raise
        self._note(table, day, file.metadata.metadata.get(parquet.DIGEST_KEY, b"").decode())
        return file

    def has_day(self, table: str, day: str) -> bool:  # noqa: D102
        there = super().has_day(table, day)
        if not there:
            self._note(table, day, None)
        return there

    def _note(self, table: str, day: str, digest: str | None) -> None:
        # What was read first counts: rows may be of it, where the table was replaced meanwhile.
        self._read.setdefault(table, {}).setdefault(day, digest)

    def days(self, table: str, first: str = "", last: str = "9999") -> list[str]:  # noqa: D102
        listed = super().days(table, first, last)
        self._listed.setdefault(table, [first, last, listed])
        return listed

    def _record(self, table: str, day: str) -> dict[bytes, bytes]:
        back = set(self._step.feedback)
        made = set(self._step.tables)
        record = {
            "code": self._step.code,
            "settings": self._named,
            "inputs": self.inputs,
            "read": {name: days for name, days in self._read.items() if name not in back | made},
            "listed": {name: listed for name, listed in self._listed.items() if name not in back | made},
            "feedback": {name: days for name, days in self._read.items() if name in back},
        }
        return {parquet.RECORD_KEY: json.dumps(record, sort_keys=True).encode()}


@dataclass
class Freshness:
    """Which tables would be others if they were made now.

    Footers are looked at once: an object is for one question, not for a process.

    Parameters
    ----------
    store : Store
    settings : Settings
        Those in force.
    models : Store, optional
        Where the live model lies; by default the same store.
    within_day : bool
        Whether what other days have become is passed over.
    """

    store: Store
    settings: Settings
    models: Store | None = None
    within_day: bool = False
    _footers: dict[tuple[str, str], tuple[str, dict[str, Any]] | None] = field(default_factory=dict)
    _answers: dict[tuple[str, str], str] = field(default_factory=dict)
    _all_days: dict[str, list[str]] = field(default_factory=dict)

    def stale(self, table: str, day: str) -> str:
        """Return in words why a table or report of a day is not what it would be now; empty where it is.

        A table is stale, too, where one of the same day that it was made of is. Tables of other days count once
        they are replaced.
        """
        key = table, day
        if key not in self._answers:
            self._answers[key] = ""  # of two days that look at each other, the first that is asked for is told
            self._answers[key] = self._why(table, day)
        return self._answers[key]

    def _why(self, table: str, day: str) -> str:
        made_by = STEPS.get(table)
        footer = self._footer(table, day)
        if footer is None:
            return "" if self._dropped(table, day) else f"{table} of {day} is not there"
        if made_by is None:
            return ""
        record = footer[1]
        if not record:
            return f"{table} of {day} was made by no step"
        if record["code"] != made_by.code:
            return f"the code of {table} is {made_by.code}, was {record['code']}"
        if changed := differences(flattened(self.settings, made_by.settings), record["settings"]):
            return changed
        inputs = made_by.inputs(self.store, self.models or self.store, day)
        there = {name: value for name, value in inputs.items() if value is not None}
        if changed := differences(there, {name: record["inputs"].get(name) for name in there}):
            return f"{changed}, for {table} of {day}"
        for name, (first, last, known) in {} if self.within_day else record["listed"].items():
            present = self._days(name, first, last)
            if unlike := [other for other in sorted(set(present) ^ set(known)) if not self._dropped(name, other)]:
                return f"{name} of {unlike[0]} {'is new' if unlike[0] in present else 'is gone'}"
        for name, days in record["read"].items():
            for other, digest in days.items():
                if self._dropped(name, other) or (self.within_day and other != day):
                    continue
                now = self._footer(name, other)
                if (now and now[0]) != digest:
                    happened = "is gone" if now is None else "is new" if digest is None else "was replaced"
                    return f"{name} of {other} {happened}"
                if now and other == day and (why := self.stale(name, other)):
                    return why
        return ""

    def fed_back(self, table: str, day: str) -> str:
        """Return in words what flows back into a table of a day and has changed; empty where nothing has."""
        footer = self._footer(table, day)
        for name, days in (footer[1].get("feedback", {}) if footer else {}).items():
            for other, digest in days.items():
                now = self._footer(name, other)
                if (now and now[0]) != digest:
                    return f"{name} of {other} flows back, and is another one"
        return ""

    def _days(self, table: str, first: str, last: str) -> list[str]:
        if table not in self._all_days:
            self._all_days[table] = self.store.days(table)
        return [day for day in self._all_days[table] if first <= day <= last]

    def _dropped(self, table: str, day: str) -> bool:
        """Whether a day lies too far back for the table to be kept."""
        made_by, policy = STEPS.get(table), self.settings.retention
        kept = [policy.raw_days] if table in policy.raw_tables and not policy.dry_run else []
        if made_by is not None and made_by.keeps:
            kept.append(flattened(self.settings, (made_by.keeps,))[made_by.keeps])
        newest = max(self._days(table, "", "9999"), default=day) if kept else day
        return bool(kept) and day < str(date.fromisoformat(newest) - timedelta(days=min(kept)))

    def _footer(self, table: str, day: str) -> tuple[str, dict[str, Any]] | None:
        """Return the digest of a table or report and what it was made of; None where it is not there."""
        key = table, day
        if key not in self._footers:
            self._footers[key] = read_record(self.store, table, day)
        return self._footers[key]


def differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Return in words what is not as it was; empty where all is."""
    names = sorted(name for name in {*now, *before} if now.get(name) != before.get(name))
    return ", ".join(f"{name} is {now.get(name)}, was {before.get(name)}" for name in names)
