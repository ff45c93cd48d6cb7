"""A sample that stays what it is, and what follows from it for all places it was drawn from."""

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.comparison.triage import Cell, drawn, places_of, precision
from dasanom_assets.tables.schemas import SCHEMAS

DAY = "2026-01-05"


def matches(n: int, pairs: list[tuple[str | None, str | None]] = ()) -> pa.Table:  # type: ignore[assignment]
    alone = [(f"a{k}", None) for k in range(n)] + [(None, f"c{k}") for k in range(n)]
    rows = [
        {
            "fibre": "north",
            "event_id": a,
            "contractor_event_id": b,
            "agreement": "both" if a and b else "only_us" if a else "only_contractor",
        }
        for a, b in [*pairs, *alone]
    ]
    return pa.Table.from_pylist(rows, SCHEMAS["event_matches"])


def test_events_that_are_matched_with_each_other_are_one_place() -> None:
    pairs = [("x", "p"), ("x", "q"), ("y", "q"), ("z", "r")]
    places = {place.events: place.agreement for place in places_of(matches(1, pairs), DAY)}
    assert places == {
        ("x", "y", "p", "q"): "both",
        ("z", "r"): "both",
        ("a0",): "only_us",
        ("c0",): "only_contractor",
    }
    assert places_of(matches(0), DAY) == []


def test_a_sample_is_the_same_again_differs_by_day_and_a_larger_one_adds_to_it() -> None:
    few, more = (drawn(places_of(matches(200), DAY), each) for each in (4, 9))
    assert [place.events for place in few] == [place.events for place in drawn(places_of(matches(200), DAY), 4)]
    assert {place.events for place in few} < {place.events for place in more}
    assert [sum(p.agreement == kind for p in few) for kind in ("both", "only_us", "only_contractor")] == [0, 4, 4]
    other = drawn(places_of(matches(200), "2026-01-06"), 4)
    assert {place.events for place in few} != {place.events for place in other}


def test_every_place_is_as_likely_to_be_drawn() -> None:
    n, each, days = 20, 5, 400
    count = np.zeros(n)
    for day in range(days):
        for place in drawn(places_of(matches(n).filter(pa.array([True] * n + [False] * n)), f"day {day}"), each):
            count[int(place.events[0][1:])] += 1
    mean, spread = days * each / n, np.sqrt(days * (each / n) * (1 - each / n))
    assert abs(count - mean).max() < 4 * spread


def test_a_judged_place_counts_as_many_as_it_was_drawn_from() -> None:
    days = [
        {"both": Cell(4, 4, 4, 3, 0), "only_us": Cell(40, 4, 4, 1, 0), "only_contractor": Cell(0, 0, 0, 0, 0)},
        {"both": Cell(0, 0, 0, 0, 0), "only_us": Cell(10, 5, 5, 5, 0), "only_contractor": Cell(0, 0, 0, 0, 0)},
    ]
    said = precision(days, "ours")
    horvitz_thompson = 3 * 4 / 4 + 1 * 40 / 4 + 5 * 10 / 5
    assert said["value"] == pytest.approx(horvitz_thompson / 54)
    assert said["places"] == 54
    assert said["low"] < said["value"] < said["high"]


def test_what_is_judged_as_a_whole_is_known_and_what_nobody_judged_is_not() -> None:
    whole = {"both": Cell(3, 3, 3, 2, 0), "only_us": Cell(1, 1, 1, 0, 0), "only_contractor": Cell(7, 0, 0, 0, 0)}
    said = precision([whole], "ours")
    assert said["value"] == said["low"] == said["high"] == pytest.approx(0.5)
    half = precision([whole], "contractor")  # seven places of which nothing is known
    assert half["value"] is None
    assert half["low"] < 0.3 < 0.8 < half["high"]
    nobody = {name: Cell(5, 4, 0, 0, 0) for name in whole}
    assert precision([nobody], "ours")["low"] is None
