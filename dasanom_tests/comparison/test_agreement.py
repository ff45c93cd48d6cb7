"""Both sides are matched by where and when, never by row, and figures of agreement are the published ones."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dasanom_assets.comparison.agreement import (
    agreement_summary,
    chance_agreement,
    match_events,
    who_flagged,
    window_agreement,
)
from dasanom_assets.comparison.their_alarms import TheirAlarms, rows_of_table
from dasanom_assets.settings import ComparisonSettings
from dasanom_assets.tables.schemas import SCHEMAS

SECOND = 1_000_000_000
BEGAN = 1_767_607_200 * SECOND
Box = tuple[float, float, int, int]


def events(table: str, boxes: list[Box], fibre: str = "north") -> pa.Table:
    """Events of start, end (s), first and last channel; ids are numbered."""
    rows = [
        {
            "fibre": fibre,
            "event_id": f"{fibre}-{table[0]}{k}",
            "start": BEGAN + round(start * SECOND),
            "end": BEGAN + round(end * SECOND),
            "first_channel": first,
            "last_channel": last,
        }
        for k, (start, end, first, last) in enumerate(boxes)
    ]
    return pa.Table.from_pylist(rows, SCHEMAS[table])


def matched(ours: list[Box], theirs: list[Box]) -> list[tuple[str | None, str | None, str]]:
    table = match_events(events("anomaly_events", ours), events("contractor_events", theirs))
    assert table.schema == SCHEMAS["event_matches"]
    return [(row["event_id"], row["contractor_event_id"], row["agreement"]) for row in table.to_pylist()]


def test_one_event_cut_into_several_is_matched_with_all_of_them() -> None:
    ours = [(0, 60, 5, 9), (100, 110, 5, 6)]
    theirs = [(0, 20, 5, 9), (23, 60, 5, 9), (300, 310, 5, 6)]
    assert set(matched(ours, theirs)) == {
        ("north-a0", "north-c0", "both"),
        ("north-a0", "north-c1", "both"),
        ("north-a1", None, "only_us"),
        (None, "north-c2", "only_contractor"),
    }


def share(x: Box, y: Box) -> Fraction:
    """Of a box of ours and one of theirs, by the definition: each widened by a second and a channel."""
    seconds = max(min(x[1], y[1]) - max(x[0], y[0]) + 2, 0)
    channels = max(min(x[3], y[3]) - max(x[2], y[2]) + 3, 0)
    area, other = ((b[1] - b[0] + 2) * (b[3] - b[2] + 3) for b in (x, y))
    return Fraction(seconds * channels, min(area + other - seconds * channels, area))


BOXES = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 10), st.integers(0, 12), st.integers(0, 4)), max_size=5
)


@settings(deadline=None, max_examples=60)
@given(BOXES, BOXES)
def test_what_shares_a_tenth_is_matched_and_nothing_else(ours: list, theirs: list) -> None:
    a, b = ([(s, s + d, f, f + w) for s, d, f, w in side] for side in (ours, theirs))
    rows = matched(a, b)
    got = {(int(u[-1]), int(t[-1])) for u, t, kind in rows if kind == "both" and u and t}
    assert got == {(i, j) for i, x in enumerate(a) for j, y in enumerate(b) if share(x, y) >= Fraction(1, 10)}
    assert {u for u, _, _ in rows if u} == {f"north-a{k}" for k in range(len(a))}
    assert {t for _, t, _ in rows if t} == {f"north-c{k}" for k in range(len(b))}


@settings(deadline=None, max_examples=12)
@given(BOXES, BOXES)
def test_agreement_by_chance_is_the_mean_over_all_circular_shifts(ours: list, theirs: list) -> None:
    circle, fine = 60, 20  # shifts of a twentieth of a second, on both sides of each border
    a, b = ([(s, s + d, f, f + w) for s, d, f, w in side] for side in (ours, theirs))
    tables = events("anomaly_events", a), events("contractor_events", b)
    got = chance_agreement(*tables, (BEGAN, BEGAN + circle * SECOND))
    met = np.zeros(2)
    for k in range(circle * fine):
        shift = (k + 0.5) / fine
        pairs = np.zeros((len(a), len(b)), bool)
        for around in (-2 * circle, -circle, 0):
            for i, x in enumerate(a):
                for j, (s, e, *channels) in enumerate(b):
                    moved = (s + shift + around, e + shift + around, *channels)
                    pairs[i, j] |= float_share(x, moved) >= 0.1
        met += pairs.any(axis=1).sum(), pairs.any(axis=0).sum()
    assert np.allclose([got["ours"], got["theirs"]], met / (circle * fine), atol=0.02)


def float_share(x: tuple, y: tuple) -> float:
    seconds = max(min(x[1], y[1]) - max(x[0], y[0]) + 2, 0)
    common = seconds * max(min(x[3], y[3]) - max(x[2], y[2]) + 3, 0)
    area, other = ((b[1] - b[0] + 2) * (b[3] - b[2] + 3) for b in (x, y))
    return common / min(area + other - common, area)


def test_fibres_are_matched_apart_and_nothing_gives_nothing() -> None:
    box = [(0, 10, 5, 6)]
    table = match_events(events("anomaly_events", box), events("contractor_events", box, "south"))
    assert table["agreement"].to_pylist() == ["only_us", "only_contractor"]
    assert table["fibre"].to_pylist() == ["north", "south"]
    assert matched([], []) == []


def test_the_summary_counts_alarms_of_each_side() -> None:
    pairs = [("a0", "b0"), ("a0", "b1"), ("a1", "b2")]  # one of ours is two of the contractor's
    pairs += [("a2", None), ("a3", None), *((None, f"b{k}") for k in range(3, 10))]
    names = ("event_id", "contractor_event_id")
    kinds = ["both" if a and b else "only_us" if a else "only_contractor" for a, b in pairs]
    rows = [
        {"fibre": "north", "agreement": kind} | dict(zip(names, pair, strict=True))
        for pair, kind in zip(pairs, kinds, strict=True)
    ]
    matches = pa.Table.from_pylist(rows, SCHEMAS["event_matches"])
    summary = agreement_summary(matches, hours=2.0, km=5.0)
    assert (summary["both"], summary["only_us"], summary["only_contractor"]) == (2, 2, 7)
    assert summary["both_contractors"] == 3
    assert summary["positive_agreement"] == pytest.approx(5 / 14)
    assert (summary["ours_an_hour"], summary["contractors_an_hour"]) == (2.0, 5.0)
    assert summary["ours_a_km_and_hour"] == 0.4
    assert agreement_summary(matches.slice(0, 0), 0.0)["positive_agreement"] is None


def window(channel: int, second: float, flagged: bool, fibre: str = "north") -> dict:
    start = BEGAN + round(second * SECOND)
    return {
        "fibre": fibre,
        "channel": channel,
        "start": start,
        "end": start + 8 * SECOND,
        "is_anomaly": flagged,
    }


def row(channel: int, second: float, threat: float | None, fibre: str = "north") -> dict:
    start = BEGAN + round(second * SECOND)
    p = dict.fromkeys(("p_digging", "p_walking", "p_cutting", "p_machine"), None if threat is None else threat / 4)
    noise = None if threat is None else 1 - threat
    return {"fibre": fibre, "channel": channel, "start": start, "end": start + SECOND // 5, "p_noise": noise} | p


def who(windows: list[dict], rows: list[dict]) -> list[int]:
    scores = pa.Table.from_pylist(windows, SCHEMAS["anomaly_scores"])
    theirs = pa.Table.from_pylist(rows, SCHEMAS["contractor_scores"])
    return who_flagged(scores, TheirAlarms(rows_of_table(theirs), ComparisonSettings())).tolist()


def test_windows_are_compared_where_they_are() -> None:
    windows = [
        window(7, 1, True),
        window(7, 0, True),  # its central second is 3.5 to 4.5
        window(7, 0, False, "south"),
        window(8, 0, False),
        window(6, 0, False),
    ]
    rows = [row(8, 4.0, 0.7), row(7, 4.0, 0.7), row(6, 4.0, 0.2), row(6, 4.2, None), row(9, 4.0, 0.9)]
    assert who(windows, rows) == [2, 1, 0, 3, 0]
    assert who(windows, rows[::-1]) == [2, 1, 0, 3, 0]
    assert who(windows, []) == [2, 2, 0, 0, 0]
    assert who([], rows) == []


@pytest.mark.parametrize(("second", "met"), [(3.2, False), (3.4, True), (4.4, True), (4.6, False)])
def test_the_contractor_flags_a_window_within_its_central_second(second: float, met: bool) -> None:
    assert who([window(7, 0, False)], [row(7, second, 0.9)]) == [3 if met else 0]


@settings(deadline=None, max_examples=12)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60))
@example([0, 0])
@example([1, 1])
@example([2, 2])
def test_kappa_and_ac1_are_the_published_ones(codes: list[int]) -> None:
    values = np.array(codes, np.int8)
    out = window_agreement(np.bincount(values, minlength=4))
    us, them = np.isin(values, (1, 2)), np.isin(values, (1, 3))
    if len({*us, *them}) == 1:
        assert out["kappa"] is None
    else:
        a, b, observed = (Fraction(int(flags.sum()), len(codes)) for flags in (us, them, us == them))
        by_chance = a * b + (1 - a) * (1 - b)
        assert out["kappa"] == pytest.approx(float((observed - by_chance) / (1 - by_chance)), abs=1e-12)
    share = (us.mean() + them.mean()) / 2
    chance = 2 * share * (1 - share)
    assert out["ac1"] == pytest.approx(((us == them).mean() - chance) / (1 - chance))
    assert [out[k] for k in ("neither", "both", "only_us", "only_contractor")] == [
        codes.count(k) for k in range(4)
    ]


def test_ac1_stays_high_where_alarms_are_rare_and_kappa_does_not() -> None:
    out = window_agreement(np.array([118, 2, 5, 0]))
    # Table of a = 118, b = 5, c = 0, d = 2 worked by hand.
    assert out["positive_agreement"] == pytest.approx(4 / 9)
    chance = (120 * 0 + 7 * 2 + 118 * 123) / 125**2
    assert out["kappa"] == pytest.approx((0.96 - chance) / (1 - chance))
    assert out["ac1"] > 0.95 > 0.5 > out["kappa"]
    assert window_agreement(np.zeros(4, np.int64))["kappa"] is None
