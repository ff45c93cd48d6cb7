"""Events: windows that belong together in time and along the fibre, found alike on a day and on the reference."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.calibration.rates import Rates
from dasanom_assets.detection.events.components import STEPS_APART, apart, links, members
from dasanom_assets.detection.events.unusual import with_end_of_day_before
from dasanom_assets.settings import ReferenceSettings, WindowSettings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.groups import group_keys
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store

ORDER = [("start", "ascending"), ("fibre", "ascending"), ("first_channel", "ascending")]
"""How events are sorted."""
THREATS = ("digging", "walking", "cutting", "machine")
"""The contractor's classes that are alarms, as its columns ``p_<class>`` name them."""
MOST_BELOW, RATED_AT_ONCE = 5, 1000
"""Of what lies below the threshold, the rarest are told, so many a day; of so many at once."""
HOUR_NS = 3600 * SECOND_NS


def event_id(fibre: str, start_ns: int, first_channel: int, last_channel: int) -> str:
    """Return the id of an event: the same place and time have the same id whenever they are found again."""
    text = f"{fibre}\t{start_ns}\t{first_channel}\t{last_channel}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Outline(NamedTuple):
    """An event among windows: positions of all its windows, of those that it reaches over, and of its peak."""

    windows: np.ndarray
    extent: np.ndarray
    peak: int


def outlines(
    rows: pa.Table, least_score: float, recipe: ReferenceSettings, window: WindowSettings, group_channels: int = 1
) -> list[Outline]:
    """Return the events that windows form.

    Windows of at least `least_score` that touch in time or along the fibre belong together, up to where the score
    falls between two peaks below the recipe's `half_height` of the lower one. Heights are counted from
    `least_score`. An event reaches over those of its windows that are above the same share of its own peak.

    Parameters
    ----------
    rows : pyarrow.Table
        Has `fibre`, `channel`, `start` and `score`: windows at least as strange as `least_score`.
    least_score : float
    recipe : ReferenceSettings
    window : WindowSettings
    group_channels : int
        Channels that a row stands for.
    """
    from dasanom_assets.detection.events.basins import basins  # its compiler is slow to load

    height = np.maximum(rows["score"].to_numpy().astype(np.float64) - least_score, 0)
    reach = int(STEPS_APART * window.shift_seconds * SECOND_NS)
    events = []
    for windows in members(basins(height, links(rows, reach, group_channels), recipe.half_height)):
        peak = int(windows[height[windows].argmax()])
        extent = windows[height[windows] >= recipe.half_height * height[peak]]
        events.append(Outline(windows, extent, peak))
    return events


def find_events(
    tables: Iterable[pa.Table],
    contractor: "ContractorsView | None",
    rates: Rates,
    least_score: float,
    window: WindowSettings,
    group_channels: int = 1,
    before: Iterable[pa.Table] = (),
) -> tuple[pa.Table, pa.Table]:
    """Return the rows of `anomaly_events` of a day, and in a second table the rarest that just miss to be one.

    Events are the `outlines` whose peak is an anomaly. Of the others, `MOST_BELOW` are told: those that the
    reference has least often.

    An event begins at the end of its first window and ends at the beginning of its last, so that it is not longer
    than its cause by a window at each end.

    Parameters
    ----------
    tables : iterable of pyarrow.Table
        From `taking_part`, or of `unusual`; ascending by fibre and channel.
    contractor : ContractorsView or None
    rates : Rates
        How often the reference does as much.
    least_score : float
        The score from which a window can be part of an event; see `Reference.least_score`.
    window : WindowSettings
    group_channels : int
        Channels that a row stands for, from its own number on.
    before : iterable of pyarrow.Table, optional
        From `end_of_day_before`: an event that began there is told whole, but for its peak, which is that of the
        day, and events that ended there are left out.

    Raises
    ------
    ValueError
        Where channels do not ascend.

    Examples
    --------
    >>> from dasanom_assets.detection.events.unusual import unusual
    >>> from dasanom_assets.detection.rows import channel_rows
    >>> from dasanom_assets.tables.schemas import with_detectors
    >>> score = np.where(np.isin(np.arange(60), range(20, 30)), 9.0, 0.0)  # ten windows of sixty
    >>> columns = {"score": score, "is_anomaly": score > 5, "model_version": ["v1"] * 60}
    >>> scores = channel_rows(with_detectors([]), "north", 7, np.arange(60) * SECOND_NS, 8, columns)
    >>> strength, zero = np.float32([12, 8, 6]), np.zeros(3, np.int32)  # three events of reference ground
    >>> place = np.array(["north"]), np.array([7]), np.zeros(1)
    >>> km_days = np.full(1, 0.5), np.full(1, 0.5), np.full(24, 0.5 / 24)
    >>> rates = Rates(strength, zero, zero, zero, *place, *km_days, days=1, recipe=ReferenceSettings())
    >>> windows, settings = [unusual(scores, None, 3.0)], WindowSettings()
    >>> events, below = find_events(windows, None, rates, least_score=3.0, window=settings)
    >>> events.select(["first_channel", "n_windows", "rate_per_km_day"]).to_pylist()
    [{'first_channel': 7, 'n_windows': 10, 'rate_per_km_day': 4.0}]
    """
    reach = int(STEPS_APART * window.shift_seconds * SECOND_NS)
    placed = with_end_of_day_before(tables, before, window)
    events: list[dict[str, Any]] = []
    below: list[dict[str, Any]] = []
    for part in apart(placed, reach, group_channels, "near"):
        for row, alarm in _events_of(part, rates, least_score, window, group_channels):
            (events if alarm else below).append(row)
        if len(below) > RATED_AT_ONCE:
            below = _rarest(below, rates)
    _rate(events, rates)
    return _table(events, contractor), _table(_rarest(below, rates), contractor)


def _events_of(
    rows: pa.Table, rates: Rates, least_score: float, window: WindowSettings, group_channels: int
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield what windows tell of each of their `outlines`, and whether its peak is an anomaly."""
    # By time and channel, so that the first of equal peaks is the same one whatever the order of the rows.
    rows = rows.take(np.lexsort([rows[name] for name in ("channel", "start")]))
    flagged, today = (rows[name].to_numpy(zero_copy_only=False) for name in ("is_anomaly", "today"))
    channel, score = (rows[name].to_numpy() for name in ("channel", "score"))
    start = rows["start"].cast(pa.int64()).to_numpy()
    label = rows["label"].fill_null(0).to_numpy()  # of today's alone, or of none
    labelled = rows["label"].null_count < len(rows)
    placed = rows.drop(["start"]).append_column("start", rows["near"])
    for windows, extent, _ in outlines(placed, least_score, rates.recipe, window, group_channels):
        of_day = windows[today[windows]]
        if not today[extent].any():
            continue
        peak = _peak(of_day, score, channel, start)
        fibre = rows["fibre"][peak].as_py()
        first_channel, last_channel = int(channel[extent].min()), int(channel[extent].max()) + group_channels - 1
        begin, end = cause(int(start[extent].min()), int(start[extent].max()), window)
        row = {
            "fibre": fibre,
            "event_id": event_id(fibre, begin, first_channel, last_channel),
            "start": begin,
            "end": end,
            "first_channel": first_channel,
            "last_channel": last_channel,
            "peak_start": int(start[peak]),
            "peak_channel": int(channel[peak]),
            "score": float(score[peak]),
            "n_windows": len(windows),
            "cluster": int(np.bincount(label[of_day] + 1).argmax()) - 1 if labelled else None,
            "model_version": rows["model_version"][peak].as_py(),
        }
        yield row, bool(flagged[peak])


def _table(rows: list[dict[str, Any]], contractor: "ContractorsView | None") -> pa.Table:
    """Return rows of `anomaly_events`, with what the contractor says of them."""
    if contractor:
        for row in rows:
            where = (row[name] for name in ("fibre", "start", "end", "first_channel", "last_channel"))
            row["contractor_class"], row["contractor_probability"] = contractor.of(*where)
    return pa.Table.from_pylist(rows, SCHEMAS["anomaly_events"]).sort_by(ORDER)


def _rarest(rows: list[dict[str, Any]], rates: Rates) -> list[dict[str, Any]]:
    _rate(rows, rates)
    return sorted(rows, key=lambda row: (row["rate_per_km_day"], -row["score"], row["event_id"]))[:MOST_BELOW]


def _rate(rows: list[dict[str, Any]], rates: Rates) -> None:
    """Say of each event how often the reference does as much, at its place and hour."""
    if not rows:
        return
    strength, fibre, channel = ([row[name] for row in rows] for name in ("score", "fibre", "peak_channel"))
    hour = np.array([hour_of(row["peak_start"]) for row in rows])
    rate = rates.at(np.array(strength), fibre, np.array(channel), hour)
    names = ("rate_per_km_day", "rate_low", "rate_high", "beyond_reference")
    for i, row in enumerate(rows):
        row |= {name: values[i].item() for name, values in zip(names, rate, strict=True)}


def hour_of(start_ns: Any) -> Any:
    """Return the hour of the UTC day, 0 to 23, of times in ns since 1970."""
    return start_ns // HOUR_NS % 24


def cause(first_ns: int, last_ns: int, window: WindowSettings) -> tuple[int, int]:
    """Return begin and end of what windows from a first to a last one hold, ns since 1970.

    The first window that notices it has it at its end, the last at its beginning; where they are fewer than all
    that overlap it, it is about their middle.
    """
    step, length = window.shift_seconds * SECOND_NS, window.seconds * SECOND_NS
    early = min(length - step, (last_ns - first_ns + length - step) // 2)
    return first_ns + early, last_ns + length - early


def _peak(windows: np.ndarray, score: np.ndarray, channel: np.ndarray, start: np.ndarray) -> int:
    """Return the strongest of some windows: of those that reach the largest score there is, the middle one."""
    top = windows[score[windows] == score[windows].max()]
    off_channel, off_time = (np.abs(x[top] - np.median(x[top])) for x in (channel, start - start[top[0]]))
    return int(top[np.lexsort((off_time, off_channel))[0]])


class ContractorsView:
    """What the contractor says of a stretch of time and channels, read channel by channel where it is asked for.

    Parameters
    ----------
    store : Store
    day : str
        ISO day; one that lacks `contractor_scores` says nothing.
    """

    def __init__(self, store: Store, day: str) -> None:
        self._groups: dict[tuple[str, int], list[int]] = {}
        if store.has_day("contractor_scores", day):
            self._file = store.open_day("contractor_scores", day)
            for group, key in enumerate(group_keys(self._file.metadata)):
                if key is not None:
                    self._groups.setdefault(key, []).append(group)

    def of(
        self, fibre: str, begin: int, end: int, first_channel: int, last_channel: int
    ) -> tuple[str | None, float | None]:
        """Return the most probable threat and its probability, or None where the contractor has no rows."""
        largest = np.full(len(THREATS), -np.inf)
        for channel in range(first_channel, last_channel + 1):
            for group in self._groups.get((fibre, channel), ()):
                rows = self._file.read_row_group(group, ["start", "end", *(f"p_{name}" for name in THREATS)])
                start, stop = (rows[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
                inside = (stop > begin) & (start < end)
                p = np.stack([rows[f"p_{name}"].to_numpy()[inside] for name in THREATS], axis=1)
                # Rows of power alone have no probabilities.
                largest = np.max(p, axis=0, initial=-np.inf, where=np.isfinite(p)).clip(min=largest)
        if not np.isfinite(largest).any():
            return None, None
        return THREATS[largest.argmax()], float(largest.max())
