"""Kinds of event that are found among those of the last weeks, and what analysts call them."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.events.kinds import carried, examples_of, find_kinds
from dasanom_assets.recordings.landing import shifted
from dasanom_assets.review.app import Review
from dasanom_assets.review.worker import computed, root_of
from dasanom_assets.tables import verdicts
from dasanom_assets.tables.parquet import DIGEST_KEY
from dasanom_assets.tables.store import Store

WEEKS_DAYS = 28
"""Up to the day that is looked at, itself included: kinds are found among their events."""
MOST_EVENTS = 20_000
"""Of these days, the last ones count that hold no more events together: the app keeps what it looked at last."""
LISTED = 12
"""Events of a kind that are listed, the last ones."""
TABLE = "event_explanations"


@dataclass(frozen=True)
class Kinds:
    """The events of some weeks and their kinds.

    Attributes
    ----------
    day, event : list of str
        Of each event.
    hz : list
        Up to three of the strongest bands of each event, Hz.
    window : list of int or None
        Begin of the strongest window of each event, µs since 1970.
    profiles : numpy.ndarray
        float32, shape (n, bands).
    kind : numpy.ndarray
        int64, shape (n,), −1 where it is of none; see `kinds.find_kinds`.
    names : dict
        From a kind to the entry that names it.
    """

    day: list[str]
    event: list[str]
    hz: list[list[float]]
    window: list[int | None]
    profiles: np.ndarray
    kind: np.ndarray
    names: dict[int, dict[str, Any]]

    def of_day(self, day: str) -> dict[str, int]:
        """Return the kind of each event of a day that is of one."""
        there = zip(self.day, self.event, self.kind.tolist(), strict=True)
        return {event: kind for other, event, kind in there if other == day and kind >= 0}

    def like(self, event: str, kind: int) -> list[dict[str, Any]]:
        """Return day, name and strongest window of the last events of a kind, but for one."""
        mine = [i for i in np.flatnonzero(self.kind == kind)[::-1] if self.event[i] != event]
        return [{"day": self.day[i], "event": self.event[i], "window": self.window[i]} for i in mine[:LISTED]]

    def examples(self, kind: int) -> list[list[float]]:
        """Return the profiles that the name of a kind is remembered by."""
        return examples_of(self.profiles[self.kind == kind]).tolist()

    def as_json(self, kind: int) -> dict[str, Any]:
        """Return what the pages tell of a kind."""
        mine, name = np.flatnonzero(self.kind == kind), self.names.get(kind, {})
        hz = [band for i in mine for band in self.hz[i]]
        days = [self.day[i] for i in mine]
        return {
            "kind": kind,
            "name": name.get("kind"),
            "by": name.get("who"),
            "entry": name.get("entry_id"),
            "events": len(mine),
            "days": len(set(days)),
            "first_day": days[0],
            "hz": [round(float(q), 1) for q in np.quantile(hz, (0.1, 0.9))] if hz else [],
        }


def kinds_of(review: Review, day: str) -> Kinds:
    """Return the kinds of the weeks up to a day; a process beside the server finds them, once for these events."""
    store = review.store
    digests, total = deque[tuple[str, str]](), 0
    for other in reversed(store.days(TABLE, shifted(day, 1 - WEEKS_DAYS), day)):
        with store.open_day(TABLE, other) as file:
            total += file.metadata.num_rows
            if digests and total > MOST_EVENTS:
                break
            digests.appendleft((other, file.metadata.metadata.get(DIGEST_KEY, b"").decode()))
    columns = computed(gathered, root_of(store), tuple(digests))
    entries = verdicts.kind_names(store)
    examples = [_examples(entry["examples"]) for entry in entries]
    named = carried(examples, columns["profiles"], columns["kind"])
    return Kinds(**columns, names={kind: entries[i] for kind, i in named.items()})


def gathered(root: str, digests: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Return what `Kinds` has but for names, of days, each with the digest that its rows have."""
    store, profiles = Store(root), list[np.ndarray]()
    out: dict[str, list[Any]] = {"day": [], "event": [], "hz": [], "window": []}
    for day, _ in digests:
        table = store.read_day(TABLE, day, ["event_id", "band_hz", "window_start", "profile"])
        out["day"] += [day] * table.num_rows
        out["event"] += table["event_id"].to_pylist()
        out["hz"] += [(bands or [])[:3] for bands in table["band_hz"].to_pylist()]
        out["window"] += [ns and ns // 1000 for ns in table["window_start"].cast(pa.int64()).to_pylist()]
        profiles += list(table["profile"].to_numpy(zero_copy_only=False))
    size = len(profiles[-1]) if profiles else 0
    # Those of other settings of the spectrogram cannot be held against the last ones.
    same = np.array([p if len(p) == size else np.zeros(size) for p in profiles], np.float32)
    same = same.reshape(len(profiles), size)
    return out | {"profiles": same, "kind": find_kinds(same)}


def _examples(rows: list[list[float]] | None) -> np.ndarray:
    return np.array(rows, np.float32) if rows else np.empty((0, 0), np.float32)
