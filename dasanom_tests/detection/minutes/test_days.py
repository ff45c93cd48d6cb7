"""The calendar knows which days are like a day."""

from datetime import date, timedelta

from dasanom_assets.detection.minutes.days import Calendar
from dasanom_assets.settings import TemporalSettings


def test_the_calendar_backs_off_from_weekday_to_type_of_day_to_nothing() -> None:
    wednesday = date(2026, 3, 4)
    settings = TemporalSettings(holidays=(date(2026, 2, 25),), weeks=8, least_days=3)

    def calendar(*lags: int) -> Calendar:
        return Calendar(settings, frozenset(wednesday - timedelta(days=n) for n in lags))

    assert calendar(14, 21, 28, 1, 2).weekly(wednesday) == [14, 21, 28]
    # A week ago was a holiday; 3 and 4 days ago a Sunday and a Saturday.
    assert calendar(7, 14, 21, 1, 3, 4).weekly(wednesday) == [1, 14, 21]
    assert calendar(1, 2, 3, 4, 7).weekly(wednesday) == []
    assert calendar(*range(1, 13)).weekly(wednesday) == [1, 2, 5, 6, 8, 9, 12]
    sunday = date(2026, 3, 8)  # whose like are two Sundays before, and the holiday
    assert calendar(3, 10).weekly(sunday) == []
    assert calendar(3, 7, 10).weekly(sunday) == [7, 11, 14]
    assert calendar(3, 7, 10, 17).weekly(sunday) == [7, 14, 21]
    assert calendar(1, 2, 8, 9).daily(wednesday) == [1, 2]
