"""A day that is not over: what its files tell is told minutes after each is closed.

Each call scores the files that are new, and those that adjoin them in time, as a small day of its own: with the
background of the days before, the live model and the steps of any day. Its tables lie in `today/day=…/` and are
replaced by those of the next stretch; its events become part of `events_so_far`. The night gives the day its final
form from all of its files, and nothing of it is made of what is here.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dasanom_assets import chain
from dasanom_assets.tables.provenance import Step, warning
from dasanom_assets.tables.store import Store

if TYPE_CHECKING:
    from distributed import Client

    from dasanom_assets.settings import Settings

FOLDER = "today"
CLOSED_SECONDS = 20.0
"""A file that has not changed for so long is closed."""
CONTEXT_SECONDS = 120
"""Files that end or begin so near to a new one are scored with it, since windows and events go on there."""
NOT_NEEDED = {"level_histograms", "contractor_scores"}
"""What no score of the day itself is made of."""


clock = time.time
"""Tells what time it is, seconds since 1970."""


def steps() -> tuple[Step, ...]:
    """Return the steps that a stretch goes through, in their order."""
    return tuple(step for step in (*chain.INGEST, *chain.SCORE) if not NOT_NEEDED & set(step.tables))


def waiting(store: Store, day: str, now: float) -> tuple[list[str], list[str]]:
    """Return the files of a day that are closed and not scored yet, and those that are still written.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    now : float
        Seconds since 1970.

    Returns
    -------
    closed, open : list of str
        Paths. A file is open as long as one beside it, that has its name but for the ending, is.
    """
    from dasanom_assets.detection.events.so_far import so_far
    from dasanom_assets.recordings.catalogue import UNFINISHED
    from dasanom_assets.recordings.landing import ahead, landing_files

    known = so_far(store, day)[1].get("files", {})
    files = [file for file in landing_files(store, day) if not file["path"].endswith(UNFINISHED)]
    late = {file["path"] for file in ahead(files, now)}  # clocks that are ahead say nothing of when a file changed
    open_names = {
        _stem(file["path"])
        for file in files
        if file["path"] not in late and now - file["modified"] < CLOSED_SECONDS
    }
    fresh = [file["path"] for file in files if known.get(file["path"]) != _state(file)]
    closed = [path for path in fresh if _stem(path) not in open_names]
    return closed, [path for path in fresh if _stem(path) in open_names]


def score_so_far(
    store: Store,
    day: str,
    settings: "Settings",
    client: "Client",
    device: str,
    now: float | None = None,
    warn: Callable[[str], object] = warning,
) -> dict[str, Any]:
    """Score the files of a day that are closed and new, and tell their events in `events_so_far`.

    Parameters
    ----------
    store : Store
        Must hold a live model, and `level_histograms` of days before.
    day : str
        ISO day.
    settings : Settings
    client : distributed.Client
    device : str
        Torch device.
    now : float, optional
        Seconds since 1970; the clock's by default.
    warn : callable
        Told of files that are left out.

    Returns
    -------
    dict
        ``files`` that are new, ``new_events``, ``grown_events`` and ``events``, numbers; ``seconds`` between the
        last change of the newest file and now that its events are told.
    """
    from dasanom_assets.detection.events.so_far import TABLE, grown, so_far
    from dasanom_assets.recordings.landing import landing_files

    now = clock() if now is None else now
    paths, _ = waiting(store, day, now)
    known, note = so_far(store, day)
    states = {file["path"]: file for file in landing_files(store, day) if file["path"] in paths}
    spans: dict[str, list[Any]] = dict(note.get("spans", {}))
    folder = f"{FOLDER}/day={day}"
    found = None
    if paths:
        _remove_others(store, day)
        # Twice, since only their catalogue knows when new files begin, and which others adjoin them.
        new = _catalogued(store.part_of_day(day, folder, paths), day, settings, warn)
        spans |= new
        stretch = store.part_of_day(day, folder, {*paths, *_adjoining(new, spans)})
        found = _events(stretch, store, day, settings, client, device) if new else None
    events = known if found is None else grown(known, found, time.time_ns())
    note = {
        "files": note.get("files", {}) | {path: _state(file) for path, file in states.items()},
        "spans": spans,
    }
    store.write_day(TABLE, day, events, note)
    new_events = events.num_rows - known.num_rows
    return {
        "files": len(paths),
        "events": events.num_rows,
        "new_events": new_events,
        "grown_events": 0 if found is None else found.num_rows - new_events,
        "seconds": clock() - max((file["modified"] for file in states.values()), default=now),
    }


def _events(
    stretch: Store, models: Store, day: str, settings: "Settings", client: "Client", device: str
) -> pa.Table | None:
    """Run the steps on a stretch and return its events; None where it has no levels."""
    more: dict[str, dict[str, Any]] = {
        "spectrograms": {"dask": client},
        "segment_models": {"dask": client},
        "temporal_terms": {"dask": client},
        "embeddings": {"device": device, "dask": client},
    }
    for step in steps():
        step(stretch, day, settings, models, **more.get(step.tables[0], {}))
        if "spectrograms" in step.tables and not stretch.open_day("spectrograms", day).metadata.num_rows:
            return None
    return stretch.read_day("anomaly_events", day)


def _catalogued(
    stretch: Store, day: str, settings: "Settings", warn: Callable[[str], object]
) -> dict[str, list[Any]]:
    """Catalogue the files of a stretch, and return begin and end of each that can be used, ns since 1970."""
    chain.INGEST[0](stretch, day, settings, warn=warn)
    rows = stretch.read_day("recordings", day, ["path", "start", "end"])
    start, end = (rows[name].cast(pa.int64()).to_pylist() for name in ("start", "end"))
    of_day = f"landing/{day}/"
    return {
        path: [begin, until]
        for path, begin, until in zip(rows["path"].to_pylist(), start, end, strict=True)
        if path.startswith(of_day)
    }


def _adjoining(new: dict[str, list[Any]], spans: dict[str, list[Any]]) -> set[str]:
    """Return the files that end or begin near to those that are new."""
    margin = CONTEXT_SECONDS * 1_000_000_000
    return {
        path
        for path, (begin, end) in spans.items()
        if any(begin < until + margin and end > start - margin for start, until in new.values())
    }


def _remove_others(store: Store, day: str) -> None:
    """Remove what stretches of days long before have left; nights have made these days whole."""
    from dasanom_assets.recordings.landing import shifted

    for name in store.folders(FOLDER):
        if name < f"day={shifted(day, -1)}":
            for file in store.listing(f"{FOLDER}/{name}", recursive=True):
                store.remove(file["path"])


def _state(file: dict[str, Any]) -> list[float]:
    return [file["size"], round(file["modified"], 6)]


def _stem(path: str) -> str:
    """Return a path without all that follows the first dot of its name: a bundle's files share it."""
    pure = PurePosixPath(path)
    return str(pure.with_name(pure.name.partition(".")[0]))


def days_at_work(store: Store, days: Iterable[str], today: str) -> list[str]:
    """Return which of some days are told of while they go on: today, and yesterday until it is scored whole."""
    from dasanom_assets.recordings.landing import shifted

    yesterday = shifted(today, -1)
    at_work = {today} | ({yesterday} - set(store.days("anomaly_events", yesterday, yesterday)))
    return sorted(at_work & set(days))
