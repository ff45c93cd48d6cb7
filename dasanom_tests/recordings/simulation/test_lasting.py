"""Vehicles, trams, plants and showers: where they are, how they move, and that any part can be asked for."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from dasanom_assets.recordings.simulation.ground import Background, Ground
from dasanom_assets.recordings.simulation.kinds import KINDS
from dasanom_assets.recordings.simulation.lasting import Lasting, begin_event
from dasanom_assets.recordings.simulation.plans import TRAFFIC_BY_HOUR, Plan, plan_events, traffic_by_hour

LASTING = [name for name, kind in KINDS.items() if kind.lasting]
PLACE_M = np.arange(0, 600, 6.0)
PLANTS = {(9, 0): 120.0, (9, 1): 480.0}
RATE = 500


def plans(kind: str, per_hour: float = 40.0, day: int = 1, hour: int = 10, rush: int | None = None) -> list[Plan]:
    stretch = [(PLACE_M[0], PLACE_M[-1])]
    rates = {kind: per_hour}
    return plan_events((3, day), stretch, 300.0, hour, 60.0, rates, (10.0,), plants_m=PLANTS, rush_hour=rush)


def background(rate: int = RATE) -> Background:
    zones = ((0, len(PLACE_M) - 1),)
    return Background((1, 2), (1, 3), zones, 6.0, 10.0, rate, 90.0, Ground(pump_scale=0.0))


def lasting(plan: Plan, rate: int = RATE) -> Lasting:
    event = begin_event(plan, PLACE_M, background(rate))
    assert isinstance(event, Lasting)
    return event


def whole(event: Lasting, rate: int = RATE) -> np.ndarray:
    """All samples of an event on all channels."""
    x = np.zeros((len(PLACE_M), event.plan.n_rows * rate // 5), np.float32)
    event.add_to(x, event.plan.first_row * rate // 5, rate)
    return x


def complete(kind: str) -> Plan:
    """A passage that is recorded from end to end."""
    return next(plan for plan in plans(kind) if plan.first_row and plan.first_row + plan.n_rows < 18000)


@settings(deadline=None, max_examples=20)
@given(
    kind=st.sampled_from(LASTING),
    rate=st.sampled_from([500, 625, 4000]),
    cut=st.floats(0.1, 7.9),
    at=st.floats(0, 1),
)
def test_any_part_is_the_same_wherever_it_is_cut(kind: str, rate: int, cut: float, at: float) -> None:
    event = lasting(complete(kind), rate)
    begin = int(at * (event.plan.n_rows / 5 - 8) * rate)
    middle, end = begin + int(cut * rate), begin + 8 * rate
    x = np.zeros((len(PLACE_M), end - begin), np.float32)
    for first, last in ((begin, middle), (middle, end)):
        columns, wave = event.wave(first, last)
        x[columns, first - begin : last - begin] += wave
    together = np.zeros_like(x)
    columns, wave = event.wave(begin, end)
    together[columns] = wave
    # Channels at the edge of its reach, which hear nothing above the background, may join earlier or later.
    assert np.abs(x - together).max() < 0.1 * background(rate).band_rms(KINDS[kind].heard_hz(rate)).min()


@pytest.mark.parametrize("kind", LASTING)
@pytest.mark.parametrize("rate", [500, 625, 4000])
def test_its_levels_are_those_of_its_samples(kind: str, rate: int) -> None:
    event, usual = lasting(complete(kind), rate), background(rate).band_rms(KINDS[kind].heard_hz(rate))
    middle = event.plan.n_rows // 2
    x, level_db = np.zeros((len(PLACE_M), 4 * rate)), np.full((len(PLACE_M), 20), -np.inf)
    for whole_line, part, per_row in ((x, event.wave, rate // 5), (level_db, event.levels, 1)):
        columns, values = part(middle * per_row, (middle + 20) * per_row)
        whole_line[columns] = values
    # The load of wheels is no sound, and lies below the band.
    heard = signal.sosfilt(signal.butter(4, 7, "high", fs=rate, output="sos"), x, axis=1)[:, rate // 2 :]
    near = level_db.max(1) > -5
    assert near.any()
    measured = 20 * np.log10(heard[near].std(1) / usual[near])
    stated = 10 * np.log10((10 ** (level_db[near, 3:] / 10)).mean(1))
    assert np.abs(np.median(measured - stated)) < 2
    loudest = max(event.levels(row, row + 1)[1].max(initial=-99) for row in range(event.plan.n_rows))
    assert loudest == pytest.approx(event.plan.snr_db, abs=1)


@pytest.mark.parametrize("kind", ["vehicle", "tram"])
def test_what_rolls_crosses_all_channels_at_its_speed(kind: str) -> None:
    found = [plan for plan in plans(kind) if plan.first_row and plan.first_row + plan.n_rows < 18000]
    assert {plan.along_m_s > 0 for plan in found} == {True, False}
    low, high = KINDS[kind].speed_m_s
    assert all(low <= abs(plan.along_m_s) <= high for plan in found)
    assert len({plan.along_m_s for plan in found}) == len(found)
    for plan in found[:3]:
        x = whole(lasting(plan))
        power = (x**2).reshape(len(x), -1, RATE // 5).mean(2)
        seconds = np.arange(power.shape[1]) / 5
        arrival = (power * seconds).sum(1) / power.sum(1)
        slope = np.polyfit(arrival, PLACE_M, 1)[0]
        assert slope == pytest.approx(plan.along_m_s, rel=0.05)


def test_a_tram_is_longer_heavier_and_slower_than_a_car() -> None:
    trams, vehicles = plans("tram"), plans("vehicle")
    car = min(vehicles, key=lambda plan: plan.axles_m[-1] * np.sign(-plan.along_m_s))
    assert len(car.axles_m) == 2

    def length(plan: Plan) -> float:
        return float(np.ptp(plan.axles_m))

    assert min(map(length, trams)) > 2 * max(length(plan) for plan in vehicles if len(plan.axles_m) == 2)
    assert min(plan.load_db for plan in trams) > max(p.load_db for p in vehicles if len(p.axles_m) == 2)
    assert np.median([abs(p.along_m_s) for p in trams]) < np.median([abs(p.along_m_s) for p in vehicles])


@pytest.mark.parametrize("kind", ["vehicle", "tram"])
def test_wheels_press_the_ground_slowly_below_them(kind: str) -> None:
    plan = max(plans(kind), key=lambda plan: plan.load_db)
    event = lasting(plan)
    x = signal.sosfiltfilt(signal.butter(2, 4, "low", fs=RATE, output="sos"), whole(event), axis=1)
    channel = 50
    passes = (PLACE_M[channel] - plan.origin_m) / plan.along_m_s
    assert np.abs(x[channel]).argmax() / RATE == pytest.approx(passes, abs=(np.ptp(plan.axles_m) / 2 + 3) / 4)
    width_s = (x[channel] > x[channel].max() / 2).sum() / RATE
    assert 2 < width_s * abs(plan.along_m_s) < np.ptp(plan.axles_m) + 4 * plan.lateral_m
    pressed = background().band_rms((1.0, 8.0))[channel] * 10 ** (plan.load_db / 20)
    assert 0.5 * pressed < x[channel].max() < 1.5 * pressed


def test_vehicles_are_everywhere_from_the_first_second_on() -> None:
    on_the_way = [plan for plan in plans("vehicle", per_hour=400) if plan.first_row == 0]
    assert on_the_way
    assert all(plan.n_rows > 0 for plan in on_the_way)
    assert np.ptp([plan.origin_m for plan in on_the_way]) > 100


def test_a_plant_runs_in_turns_at_the_same_place_and_pitch_on_all_days() -> None:
    days = [plans("plant", per_hour=6, day=day) for day in (1, 2)]
    assert days[0] != days[1]
    for runs in days:
        assert {(plan.voice, plan.origin_m) for plan in runs} == set(PLANTS.items())
        for voice in PLANTS:
            own = [plan for plan in runs if plan.voice == voice]
            assert len(own) > 3
            assert all(a.first_row + a.n_rows < b.first_row for a, b in pairwise(own))
    peaks = []
    for runs in days:
        plan = next(plan for plan in runs if plan.voice == (9, 0) and plan.n_rows > 100)
        channel = int(np.abs(PLACE_M - plan.origin_m).argmin())
        x = lasting(plan).wave(5 * RATE, 13 * RATE)
        frequency, power = signal.periodogram(x[1][channel - x[0].start], RATE)
        peaks.append(frequency[power.argmax()])
    assert peaks[0] == pytest.approx(peaks[1], abs=0.5)


def test_a_shower_reaches_every_channel_and_swells_and_falls() -> None:
    event = lasting(complete("shower"))
    n, third = event.plan.n_rows, event.plan.n_rows // 3
    columns, middle = event.levels(n // 2, n // 2 + 5)
    assert columns == slice(0, len(PLACE_M))
    assert middle.max(1).min() > event.plan.snr_db - 15
    assert middle.max(1).std() > 1
    early, late = event.levels(0, 5)[1].max(), event.levels(n - 5, n)[1].max()
    assert max(early, late) < event.levels(third, 2 * third)[1].max() - 10
    _, wave = event.wave(n // 2 * RATE // 5, (n // 2 + 5) * RATE // 5)
    assert np.abs(np.corrcoef(wave) - np.eye(len(wave))).max() < 0.5


def test_traffic_follows_the_hours_and_the_sites_own_rush() -> None:
    for kind in ("vehicle", "tram", "traffic"):
        assert len(plans(kind, hour=2)) < 0.5 * len(plans(kind, hour=11))
        assert len(plans(kind, hour=11, rush=11)) > 1.5 * len(plans(kind, hour=11))
    assert np.array_equal(traffic_by_hour(None), TRAFFIC_BY_HOUR)
    assert traffic_by_hour(0).argmax() == 0
