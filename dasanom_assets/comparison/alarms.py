"""The events of both sides as one list, for figures and reports."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.calibration.rates import in_words

AGREEMENTS = ("both", "only_us", "only_contractor")
MOST_DRAWN = 250
"""Events of each kind of agreement that a waterfall shows, at most: more hide what they are drawn on."""


@dataclass(frozen=True)
class Alarm:
    """An event of one side, and whether the other side has it too.

    Attributes
    ----------
    side : str
        ``us`` or ``contractor``.
    fibre, event_id : str
    start_ns, end_ns : int
        ns since 1970 UTC, half-open.
    first_channel, last_channel : int
        Absolute, both inclusive.
    agreement : str
        One of `AGREEMENTS`.
    contractor_class, contractor_probability
        What the contractor says of it; None where it says nothing.
    score, rate_per_km_day, cluster
        Of our events; None for the contractor's.
    rate : str or None
        `rate_per_km_day` as people read it.
    """

    side: str
    fibre: str
    event_id: str
    start_ns: int
    end_ns: int
    first_channel: int
    last_channel: int
    agreement: str
    contractor_class: str | None
    contractor_probability: float | None
    score: float | None = None
    rate_per_km_day: float | None = None
    rate: str | None = None
    cluster: int | None = None


def alarms_of(
    events: pa.Table, contractor_events: pa.Table | None, matches: pa.Table, km_days: float
) -> list[Alarm]:
    """Return the events of both sides; one that both report is there twice, once a side.

    Parameters
    ----------
    events, matches : pyarrow.Table
        Rows of `anomaly_events` and `event_matches`.
    contractor_events : pyarrow.Table or None
        Rows of `contractor_events`; None on a day without the contractor's files, all our events then being
        ``only_us``.
    km_days : float
        Of the reference.

    Raises
    ------
    ValueError
        Where an event has no row in `matches`, on a day with the contractor's files.
    """
    theirs = [] if contractor_events is None else _rows(contractor_events)
    pairs = matches.to_pylist()
    if contractor_events is None:
        pairs = [{"event_id": event_id, "agreement": "only_us"} for event_id in events["event_id"].to_pylist()]
    ours_agree = {pair["event_id"]: pair["agreement"] for pair in pairs}
    theirs_agree = {pair.get("contractor_event_id"): pair["agreement"] for pair in pairs}
    names = ("contractor_class", "contractor_probability", "score", "rate_per_km_day", "cluster")
    try:
        return [
            *(
                Alarm(
                    "us",
                    agreement=ours_agree[e["event_id"]],
                    rate=in_words(e, km_days),
                    **_extent(e),
                    **{key: e[key] for key in names},
                )
                for e in _rows(events)
            ),
            *(
                Alarm(
                    "contractor",
                    agreement=theirs_agree[e["event_id"]],
                    contractor_class=e["contractor_class"],
                    contractor_probability=e["probability"],
                    **_extent(e),
                )
                for e in theirs
            ),
        ]
    except KeyError as missing:
        raise ValueError(f"event_matches lacks event {missing}: materialize event_matches again") from missing


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows with their times as whole ns, which Python's datetime would cut to µs."""
    for name in ("start", "end"):
        table = table.append_column(f"{name}_ns", table[name].cast(pa.int64()))
    return table.drop_columns(["start", "end"]).to_pylist()


def _extent(event: dict[str, Any]) -> dict[str, Any]:
    names = ("fibre", "event_id", "start_ns", "end_ns", "first_channel", "last_channel")
    return {name: event[name] for name in names}


def of_side(alarms: Iterable[Alarm], side: str) -> list[Alarm]:
    """Return the alarms of ``us`` or the ``contractor``, or of ``all``: ours and what only the contractor has."""
    if side == "all":
        return [alarm for alarm in alarms if alarm.side == "us" or alarm.agreement == "only_contractor"]
    return [alarm for alarm in alarms if alarm.side == side]


def rarest_first(alarm: Alarm) -> tuple[float, float, float]:
    """Return what alarms are sorted by: ours from the rarest on, then the contractor's by probability."""
    rate = np.inf if alarm.rate_per_km_day is None else alarm.rate_per_km_day
    return rate, -(alarm.score or 0.0), -(alarm.contractor_probability or 0.0)


def drawn(alarms: Iterable[Alarm]) -> list[Alarm]:
    """Return the first `MOST_DRAWN` of each kind of agreement, the rarest first."""
    ranked = sorted(alarms, key=rarest_first)
    return [a for kind in AGREEMENTS for a in [a for a in ranked if a.agreement == kind][:MOST_DRAWN]]


def clock(ns: int, pattern: str = "%H:%M:%S") -> str:
    """Return a time in ns since 1970 as text, UTC."""
    return f"{datetime.fromtimestamp(ns / 1e9, UTC):{pattern}}"


def cluster_name(label: int | None) -> str:
    """Return the name of a cluster label; −1 is no cluster."""
    return {None: "–", -1: "noise"}.get(label, str(label))
