"""What happens follows the hours of the day."""

from dasanom_assets.recordings.simulation.plans import plan_events


def test_there_is_less_traffic_at_night() -> None:
    def vehicles(hour: int) -> int:
        return len(plan_events((1, 1), [(0.0, 500.0)], 100.0, hour, 60.0, {"traffic": 40}, (10.0,)))

    assert vehicles(2) < 0.4 * vehicles(10)
