"""What happened at a place before: alarms day after day, and what was judged a nuisance there."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.recordings.landing import shifted
from dasanom_assets.tables import verdicts
from dasanom_assets.tables.store import Store

LOOK_BACK_DAYS = 28
"""After so many days a nuisance is forgotten, too."""
ALWAYS_SHARE, LEAST_DAYS = 0.75, 3
"""A place alarms always where it does on so many of the days before, of at least so many."""
SLACK_CHANNELS = 2


@dataclass(frozen=True)
class History:
    """The days before one.

    Attributes
    ----------
    days : int
        That were scored.
    alarmed : mapping
        Fibre to a bool array for each of these days, by channel from 0 on, whether the place had an alarm.
    nuisances : list
        Verdicts ``false`` that are in force, and the day of each.
    """

    days: int
    alarmed: dict[str, list[np.ndarray]]
    nuisances: list[tuple[str, dict[str, Any]]]

    def always(self, row: dict[str, Any]) -> str | None:
        """Say on how many of the days before a place alarmed, where it does always; else None."""
        if self.days < LEAST_DAYS or row["agreement"] == "only_contractor":
            return None
        n = 0
        for channels in self.alarmed.get(row["fibre"], []):
            n += bool(
                ((channels >= row["first"] - SLACK_CHANNELS) & (channels <= row["last"] + SLACK_CHANNELS)).any()
            )
        return f"{n} of {self.days} days before" if n >= ALWAYS_SHARE * self.days else None

    def nuisance(self, row: dict[str, Any]) -> str | None:
        """Say when, and by whom, the same kind was judged a nuisance at this place; None where it was not."""
        for day, said in reversed(self.nuisances):
            meets = said["first_channel"] <= row["last"] + SLACK_CHANNELS
            meets &= said["last_channel"] >= row["first"] - SLACK_CHANNELS
            if said["fibre"] == row["fibre"] and meets and said["kind"] in (None, row["kind"]):
                return f"{day}, {said['who']}"
        return None


def of(store: Store, day: str) -> History:
    """Return what happened before a day."""
    first, last = shifted(day, -LOOK_BACK_DAYS), shifted(day, -1)
    days = store.days("anomaly_events", first, last)
    alarmed: dict[str, list[np.ndarray]] = {}
    for other in days:
        for fibre, channels in _peaks(store, other, store.content_digest("anomaly_events", other)).items():
            alarmed.setdefault(fibre, []).append(channels)
    nuisances = [
        (other, said)
        for other in store.days(verdicts.TABLE, first, last)
        for said in verdicts.in_force(verdicts.entries(store, other))
        if said["verdict"] == "false"
    ]
    return History(len(days), alarmed, nuisances)


@lru_cache(256)
def _peaks(store: Store, day: str, digest: str) -> dict[str, np.ndarray]:
    """Return the channels of the peaks of a day's alarms, by fibre."""
    table = store.read_day("anomaly_events", day, ["fibre", "peak_channel"])
    fibre = np.array(table["fibre"].to_pylist(), object)
    channel = table["peak_channel"].cast(pa.int32()).to_numpy()
    return {name: np.unique(channel[fibre == name]) for name in set(fibre.tolist())}
