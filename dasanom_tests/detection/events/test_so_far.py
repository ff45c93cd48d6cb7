"""Events of a day that is not over have their id once, grow, and are laid beside those of the whole day."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dasanom_assets.detection.events.so_far import TABLE, changes, grown, so_far
from dasanom_assets.tables.schemas import SCHEMAS, empty
from dasanom_assets.tables.store import Store

DAY, SECOND = "2026-01-05", 1_000_000_000
BEGAN = 1_767_607_200 * SECOND


def event(
    name: str, start: int, end: int, first: int = 10, last: int = 12, score: float = 5.0, **more: Any
) -> dict:
    times = {"start": BEGAN + start * SECOND, "end": BEGAN + end * SECOND, "peak_start": BEGAN + start * SECOND}
    place = {"first_channel": first, "last_channel": last, "peak_channel": first}
    metres = {"first_m": 5.0 * first, "last_m": 5.0 * last}
    of_rate = {"rate_per_km_day": 1 / score, "beyond_reference": False, "n_windows": end - start}
    return {"fibre": "north", "event_id": name, "score": score, **times, **place, **metres, **of_rate, **more}


def found(*events: dict) -> pa.Table:
    return pa.Table.from_pylist(list(events), SCHEMAS["anomaly_events"])


def seconds(row: dict) -> tuple[float, float]:
    return row["start"].timestamp() - BEGAN / SECOND, row["end"].timestamp() - BEGAN / SECOND


def test_an_event_that_goes_on_keeps_its_id_and_reaches_over_both_parts() -> None:
    first = grown(empty(TABLE), found(event("a", 0, 20, score=4.0)), now_ns=BEGAN)
    (row,) = grown(first, found(event("b", 10, 50, 11, 15, score=6.0)), now_ns=BEGAN + SECOND).to_pylist()
    assert (row["event_id"], seconds(row), row["first_channel"], row["last_channel"]) == ("a", (0, 50), 10, 15)
    assert (row["score"], row["peak_channel"], row["first_m"], row["last_m"]) == (6.0, 11, 50.0, 75.0)


def test_a_weaker_part_makes_an_event_longer_and_no_weaker() -> None:
    first = grown(empty(TABLE), found(event("a", 0, 20, score=6.0)), now_ns=BEGAN)
    (row,) = grown(first, found(event("b", 10, 50, score=4.0)), now_ns=BEGAN).to_pylist()
    assert (row["event_id"], row["score"], seconds(row)) == ("a", 6.0, (0, 50))


def test_other_places_times_and_fibres_are_other_events() -> None:
    known = grown(empty(TABLE), found(event("a", 0, 20)), now_ns=BEGAN)
    others = found(event("b", 0, 20, 13, 15), event("c", 20, 30), event("d", 0, 20, fibre="south"))
    assert set(grown(known, others, now_ns=BEGAN)["event_id"].to_pylist()) == {"a", "b", "c", "d"}


def test_where_no_file_tells_metres_there_are_none() -> None:
    known = grown(empty(TABLE), found(event("a", 0, 20, first_m=None, last_m=None)), now_ns=BEGAN)
    (row,) = grown(known, found(event("b", 0, 20, first_m=None, last_m=None)), now_ns=BEGAN).to_pylist()
    assert row["first_m"] is None


SPANS = st.lists(
    st.tuples(st.integers(0, 80), st.integers(1, 20), st.integers(0, 30), st.integers(0, 5)), max_size=8
)


@given(SPANS, SPANS)
def test_nothing_that_was_told_is_lost_and_the_same_stretch_again_changes_nothing(early: list, late: list) -> None:
    def stretch(spans: list, name: str) -> pa.Table:
        return found(
            *(event(f"{name}{i}", s, s + n, c, c + width, 4.0 + i) for i, (s, n, c, width) in enumerate(spans))
        )

    known = grown(empty(TABLE), stretch(early, "e"), now_ns=BEGAN)
    both = grown(known, stretch(late, "l"), now_ns=BEGAN + SECOND)
    assert set(known["event_id"].to_pylist()) <= set(both["event_id"].to_pylist())
    assert len(set(both["event_id"].to_pylist())) == both.num_rows
    rows = both.to_pylist()
    for s, n, c, width in early + late:  # all of it lies in some event
        assert any(
            seconds(row)[0] <= s
            and s + n <= seconds(row)[1]
            and row["first_channel"] <= c
            and c + width <= row["last_channel"]
            for row in rows
        )
    again = grown(both, stretch(late, "l"), now_ns=BEGAN + 2 * SECOND)
    assert set(again["event_id"].to_pylist()) == set(both["event_id"].to_pylist())


def test_the_whole_day_says_what_was_told_before_what_is_new_and_what_is_withdrawn(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_day("anomaly_events", DAY, found(event("a", 5, 20), event("n", 60, 70)))
    assert changes(store, DAY) == {}
    store.write_day(TABLE, DAY, grown(empty(TABLE), found(event("x", 0, 20), event("gone", 90, 99)), now_ns=BEGAN))
    assert changes(store, DAY) == {"told_before": 1, "new": 1, "withdrawn": ["gone"]}


def test_before_the_first_stretch_nothing_is_told(tmp_path: Path) -> None:
    rows, note = so_far(Store(str(tmp_path)), DAY)
    assert (rows.num_rows, note) == (0, {})
