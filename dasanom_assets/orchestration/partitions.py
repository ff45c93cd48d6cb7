"""The recording day."""

from datetime import date

import dagster as dg


def recording_days(first_day: date) -> dg.DailyPartitionsDefinition:
    """Return the daily partitions, UTC, from `first_day` to today: what lands today can be looked at today."""
    return dg.DailyPartitionsDefinition(start_date=first_day.isoformat(), timezone="UTC", end_offset=1)
