"""Agreement by channel-seconds: exact areas, the published measures, and intervals that hold the truth."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from dasanom_assets.comparison.agreement import BOTH, NEITHER, ONLY_CONTRACTOR, ONLY_US, ac1, kappa, match_events
from dasanom_assets.comparison.seconds import CELL_S, MEASURES, agreement_of_day, covered, measures
from dasanom_assets.comparison.triage import RIGHT, SIDES, cells_of, drawn, places_of, precision
from dasanom_assets.tables.schemas import SCHEMAS, empty
from dasanom_tests.comparison.made_truth import DAY, MIDNIGHT, SECOND, expected, made_day, recordings

BOXES = st.lists(
    st.tuples(st.integers(-30, 200), st.integers(1, 90), st.integers(0, 7), st.integers(0, 4)), max_size=6
)


def events(table: str, boxes: list) -> pa.Table:
    rows = [
        {
            "fibre": "north",
            "event_id": f"{table[0]}{k}",
            "start": MIDNIGHT + start * SECOND,
            "end": MIDNIGHT + (start + seconds) * SECOND,
            "first_channel": first,
            "last_channel": first + wide,
        }
        for k, (start, seconds, first, wide) in enumerate(boxes)
    ]
    return pa.Table.from_pylist(rows, SCHEMAS[table])


def files(rows: list[tuple[int, int, str]]) -> pa.Table:
    made = [
        {"fibre": "north", "path": f"{k}", "start": MIDNIGHT + a * SECOND, "end": MIDNIGHT + b * SECOND}
        | {"channels": channels, "issues": []}
        for k, (a, b, channels) in enumerate(rows)
    ]
    return pa.Table.from_pylist(made, SCHEMAS["recordings"])


@settings(deadline=None, max_examples=60)
@given(BOXES, BOXES)
def test_channel_seconds_are_those_that_counting_one_by_one_gives(ours: list, theirs: list) -> None:
    recorded = np.zeros((9, 300), bool)
    recorded[0:6, 0:100] = recorded[0:6, 100:150] = recorded[[1, 3, 5, 7], 160:270] = True
    got = covered(
        events("anomaly_events", ours),
        events("contractor_events", theirs),
        files([(100, 150, "0..5"), (0, 100, "0..5"), (160, 270, "7..1:2")]),
        DAY,
    )
    flags = np.zeros((2, 9, 300), bool)
    for side, boxes in enumerate((ours, theirs)):
        for start, seconds, first, wide in boxes:
            flags[side, first : first + wide + 1, max(start, 0) : max(start + seconds, 0)] = True
    us, them = flags
    kinds = {BOTH: us & them, ONLY_US: us & ~them, ONLY_CONTRACTOR: them & ~us, NEITHER: ~us & ~them}
    for kind, mask in kinds.items():
        by_cell = (mask & recorded).reshape(9, -1, CELL_S).sum(axis=(0, 2))
        assert got[:, kind].tolist() == by_cell.tolist()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 500), min_size=4, max_size=4))
def test_kappa_is_scikit_learns_and_ac1_is_gwets(counts: list[int]) -> None:
    neither, both, us, them = counts
    n = sum(counts)
    if them or us or 0 < both < n:
        reference = cohen_kappa_score([0, 1, 1, 0], [0, 1, 0, 1], sample_weight=[neither, both, us, them])
        assert kappa(np.array(counts, float)) == pytest.approx(reference)
    else:
        assert np.isnan(kappa(np.array(counts, float)))
    if n:
        # Gwet (2008), as for any number of categories: the chance is the mean of π(1 − π) over categories.
        share = np.array([(2 * both + us + them) / 2 / n, (2 * neither + us + them) / 2 / n])
        chance = (share * (1 - share)).sum() / (len(share) - 1)
        assert ac1(np.array(counts, float)) == pytest.approx(((both + neither) / n - chance) / (1 - chance))


def test_intervals_are_the_same_each_time_and_widen_where_seconds_come_together() -> None:
    rng = np.random.default_rng(0)
    spread = np.column_stack([np.full(1440, 1900.0), rng.integers(0, 9, (1440, 3))])
    bunched = spread[np.argsort(spread[:, ONLY_US] - spread[:, BOTH])]
    one, same, other = (measures(cells)["kappa"] for cells in (spread, spread, bunched))
    assert one == same
    assert one.value == pytest.approx(other.value)
    assert other.high - other.low > 2 * (one.high - one.low)


def test_a_day_on_which_hardly_anything_happened_has_values_and_no_intervals() -> None:
    one = events("anomaly_events", [(100, 30, 2, 2)])
    row = agreement_of_day(one, one, empty("event_matches"), recordings(), DAY)
    (said,) = row.to_pylist()
    assert said["kappa"] == said["positive_agreement"] == 1.0
    assert said["kappa_low"] is None
    nothing = agreement_of_day(
        empty("anomaly_events"), empty("contractor_events"), empty("event_matches"), recordings(), DAY
    )
    (said,) = nothing.to_pylist()
    assert said["kappa"] is None
    assert said["ac1"] == 1.0
    assert said["neither_s"] == 32 * 86_400


@pytest.mark.slow
def test_of_100_days_with_known_truth_90_lie_within_their_intervals_and_all_are_matched_exactly() -> None:
    truth = {name: float(measure(expected())) for name, measure in MEASURES.items()}
    within = dict.fromkeys([*truth, *SIDES], 0)
    for seed in range(100):
        day = made_day(seed)
        matches = match_events(day.ours, day.theirs)
        places = places_of(matches, DAY)
        names = ("both", "only_us", "only_contractor")
        found = {place.events[0]: place.agreement for place in places}
        assert found == {name: names[(BOTH, ONLY_US, ONLY_CONTRACTOR).index(k)] for name, k in day.kinds.items()}
        for name, (_, low, high) in measures(covered(day.ours, day.theirs, day.recordings, DAY)).items():
            within[name] += low <= truth[name] <= high
        sample = drawn(places, 8)
        said = ["true" if day.true[place.events[0]] else "false" for place in sample]
        cells = cells_of(places, sample, said)
        assert set(said) <= {*RIGHT, "false"}
        for side, kinds in SIDES.items():
            mine = [day.true[place.events[0]] for place in places if place.agreement in kinds]
            judged = precision([cells], side)
            within[side] += judged["low"] <= np.mean(mine) <= judged["high"]
    assert min(within.values()) >= 90, within
