"""Which earlier days a day is held against, by the local calendar, and what clocks show."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from dasanom_assets.settings import TemporalSettings

ENDS = (timedelta(0), timedelta(hours=23, minutes=59))
"""The first and the last minute of a day."""


@dataclass(frozen=True)
class Calendar:
    """Which earlier days are like a day, by the local calendar.

    Attributes
    ----------
    settings : TemporalSettings
    known : frozenset of datetime.date
        Local days of which there are segments.
    """

    settings: TemporalSettings
    known: frozenset[date]

    @staticmethod
    def of(days: list[str], settings: TemporalSettings) -> "Calendar":
        """Return the calendar where there are segments of some UTC days."""
        zone = ZoneInfo(settings.time_zone)
        ends = [datetime.fromisoformat(day).replace(tzinfo=UTC) + end for day in days for end in ENDS]
        return Calendar(settings, frozenset(end.astimezone(zone).date() for end in ends))

    def day_type(self, day: date) -> str:
        """Return ``weekday``, ``Saturday`` or ``Sunday``, which holidays are too."""
        if day in self.settings.holidays or day.weekday() == 6:
            return "Sunday"
        return "Saturday" if day.weekday() == 5 else "weekday"

    def daily(self, day: date) -> list[int]:
        """Return how many days back the last days are that there are segments of."""
        return self._known(day, self.settings.days)

    def weekly(self, day: date) -> list[int]:
        """Return how many days back days of the same weekday and type are, or else the last of the same type.

        Empty where there are fewer than ``least_days`` of either.
        """
        weeks, least = self.settings.weeks, self.settings.least_days
        same_type = [
            n for n in self._known(day, 7 * weeks) if self.day_type(day - timedelta(days=n)) == self.day_type(day)
        ]
        same_weekday = [n for n in same_type if n % 7 == 0]
        if len(same_weekday) >= least:
            return same_weekday
        return same_type[:weeks] if len(same_type) >= least else []

    def _known(self, day: date, most: int) -> list[int]:
        return [n for n in range(1, most + 1) if day - timedelta(days=n) in self.known]


def local_seconds(start: np.ndarray, time_zone: str) -> np.ndarray:
    """Return seconds since 1970 as clocks of a time zone show them, int64, shape of `start`."""
    clock = pd.to_datetime(start, unit="s", utc=True).tz_convert(time_zone).tz_localize(None)
    return clock.as_unit("s").asi8
