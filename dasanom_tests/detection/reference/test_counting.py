"""Events of the reference are counted against as many kilometres as `fibres` says."""

import numpy as np
import pytest

from dasanom_assets.detection.calibration.rates import Rates
from dasanom_assets.detection.reference.counting import count_events
from dasanom_assets.detection.reference.crossfit import Heard
from dasanom_assets.recordings.fibres import Places
from dasanom_assets.settings import Settings
from dasanom_assets.tables.schemas import empty
from dasanom_tests.detection.events.test_events import BEGAN, LEVEL, SECOND
from dasanom_tests.recordings.test_fibres import fibres_of


def counted(places: Places, step: int = 1) -> Rates:
    """Return rates of ground on which nothing happens for 100 s."""
    start = BEGAN + np.arange(100) * SECOND
    heard = [Heard("2026-01-05", "north", channel, start, {}) for channel in (100, 101, 104)]
    return count_events(heard, [np.zeros(100, np.float32)] * 3, LEVEL, places, Settings(), step)


def test_lanes_lie_where_fibres_says_also_where_distances_fall() -> None:
    places = Places(fibres_of({("north", c): 900.0 - 4 * c for c in (100, 101, 104)}))
    rates = counted(places)
    assert rates.distance_m.tolist() == [500.0, 496.0, 484.0]
    assert rates.km_days == pytest.approx(3 * 0.004 * 100 / 86_400)


def test_a_fibre_of_which_nothing_is_said_has_the_spacing_of_the_settings() -> None:
    rates = counted(Places(empty("fibres"), 5.0), step=2)
    assert rates.distance_m.tolist() == [500.0, 505.0, 520.0]
    assert rates.km_days == pytest.approx(3 * 2 * 0.005 * 100 / 86_400)
