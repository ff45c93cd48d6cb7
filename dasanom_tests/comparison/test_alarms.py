"""Alarms of both sides as one list, and which of many a picture shows."""

from dataclasses import replace

from dasanom_assets.comparison.alarms import MOST_DRAWN, Alarm, drawn, rarest_first

ONE = Alarm("us", "north", "a", 0, 1, 5, 6, "only_us", None, None, score=4.0, rate_per_km_day=0.5)
THEIRS = replace(ONE, side="contractor", agreement="only_contractor", score=None, rate_per_km_day=None)


def test_of_many_alarms_the_rarest_of_each_kind_are_drawn() -> None:
    n = MOST_DRAWN + 100
    ours = [replace(ONE, event_id=f"o{i}", rate_per_km_day=float(i)) for i in range(n)]
    theirs = [replace(THEIRS, event_id=f"t{i}", contractor_probability=i / n) for i in range(n)]
    shown = {alarm.event_id for alarm in drawn([*reversed(ours), *theirs])}
    assert shown == {f"o{i}" for i in range(MOST_DRAWN)} | {f"t{i}" for i in range(100, n)}


def test_alarms_come_rarest_first_then_strongest_then_the_contractors_by_probability() -> None:
    order = [
        replace(ONE, rate_per_km_day=0.0, score=9.0),
        replace(ONE, rate_per_km_day=0.0, score=8.0),
        ONE,
        replace(THEIRS, contractor_probability=0.9),
        replace(THEIRS, contractor_probability=0.6),
    ]
    assert sorted(reversed(order), key=rarest_first) == order
