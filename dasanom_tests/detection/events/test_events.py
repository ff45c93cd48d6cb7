"""Events cover their cause in time and along the fibre, keep their ids, and say what the contractor says.

It is one file of more than 350 lines: all of it draws on one way to plant events in scores.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dasanom_assets.detection.events import components
from dasanom_assets.detection.events.outlines import (
    MOST_BELOW,
    ContractorsView,
    cause,
    find_events,
    hour_of,
    outlines,
)
from dasanom_assets.detection.events.unusual import end_of_day_before, taking_part, unusual
from dasanom_assets.detection.reference.crossfit import Heard
from dasanom_assets.detection.reference.fitting import count_events
from dasanom_assets.recordings.fibres import Places
from dasanom_assets.settings import ReferenceSettings, Settings, WindowSettings
from dasanom_assets.tables.schemas import SCHEMAS, TIME, empty, mismatch
from dasanom_assets.tables.store import Store
from dasanom_tests.detection.calibration.test_rates import made

SECOND = 1_000_000_000
BEGAN = 1_767_607_200 * SECOND
WINDOW, RECIPE = WindowSettings(), ReferenceSettings()
LEVEL, FLAGGED = 2.0, 5.0
RATES = made(np.random.default_rng(0).exponential(size=200), km_days=2.0)


def interval(fibre: str, channel: int, second: float, length: float) -> dict:
    start = BEGAN + round(second * SECOND)
    return {"fibre": fibre, "channel": channel, "start": start, "end": start + round(length * SECOND)}


def scored(score: np.ndarray, fibre: str = "north", first_channel: int = 100) -> pa.Table:
    """Windows of 8 s, one a second, with scores of shape (channels, windows); flagged from `FLAGGED` on."""
    rows = [
        interval(fibre, first_channel + j, k, 8)
        | {"score": one, "p_value": 0.5, "is_anomaly": bool(one >= FLAGGED), "model_version": "v1"}
        for j, line in enumerate(score)
        for k, one in enumerate(line)
    ]
    return pa.Table.from_pylist(rows, SCHEMAS["anomaly_scores"])


def found(
    scores: pa.Table,
    labels: pa.Table | None = None,
    contractor: ContractorsView | None = None,
    group: int = 1,
    before: pa.Table | None = None,
) -> list[dict]:
    if before is not None and "invalid" in before.column_names:
        before = unusual(before, None, LEVEL)
    windows, earlier = by_channel(unusual(scores, labels, LEVEL)), [] if before is None else by_channel(before)
    return find_events(windows, contractor, RATES, LEVEL, WINDOW, group, earlier)[0].to_pylist()


def by_channel(rows: pa.Table) -> list[pa.Table]:
    keys = (
        rows.group_by(["fibre", "channel"])
        .aggregate([])
        .sort_by([("fibre", "ascending"), ("channel", "ascending")])
        .to_pylist()
    )
    of_key = (pc.and_(pc.equal(rows["fibre"], k["fibre"]), pc.equal(rows["channel"], k["channel"])) for k in keys)
    return [rows.filter(own) for own in of_key]


def labelled(scores: pa.Table, label: np.ndarray) -> pa.Table:
    n = scores.num_rows
    more = [pa.array(label, pa.int32()), pa.array(np.ones(n), pa.float32()), pa.array(np.zeros(n), pa.float32())]
    columns = [scores[name] for name in ("fibre", "channel", "start", "end")] + more
    return pa.table(columns, schema=SCHEMAS["cluster_labels"])


def quiet(channels: int = 6, windows: int = 60) -> np.ndarray:
    return np.zeros((channels, windows))


def hill(score: np.ndarray, channel: float, window: float, top: float, wide: tuple[float, float]) -> None:
    """Raise a Gaussian hill, so many channels and windows wide, out of a day."""
    c, k = np.ogrid[: score.shape[0], : score.shape[1]]
    score += top * np.exp(-0.5 * ((c - channel) / wide[0]) ** 2 - 0.5 * ((k - window) / wide[1]) ** 2)


def test_an_event_begins_as_its_first_window_ends_and_ends_as_its_last_begins() -> None:
    score = quiet()
    score[2, 15:25] = 8
    score[2, 22] = 10
    score[3, 25:27] = 6  # touching by a corner
    score[5, 40:45] = 4  # nothing of it is flagged
    (event,) = found(scored(score))
    assert (event["first_channel"], event["last_channel"], event["n_windows"]) == (102, 103, 12)
    # Window 15 spans seconds 15 to 23; what it has of the event is in its last one.
    assert event["start"].value == BEGAN + 22 * SECOND
    assert event["end"].value == BEGAN + 27 * SECOND
    assert (event["peak_channel"], event["peak_start"].value) == (102, BEGAN + 22 * SECOND)
    assert event["score"] == pytest.approx(10)
    assert (event["cluster"], event["contractor_class"], event["contractor_probability"]) == (None, None, None)


@pytest.mark.parametrize(("top", "n"), [(FLAGGED - 0.1, 0), (FLAGGED, 1)])
def test_the_peak_decides_whether_there_is_an_event(top: float, n: int) -> None:
    score = quiet()
    score[2, 20:30] = 3
    score[2, 24] = top
    rows = scored(score)
    assert len(found(rows)) == n
    flags = pc.equal(rows["channel"], 102)  # whatever others say
    others = pa.array(rows["start"].cast(pa.int64()).to_numpy() != BEGAN + 24 * SECOND)
    index = rows.schema.get_field_index("is_anomaly")
    assert not found(rows.set_column(index, "is_anomaly", pc.and_(flags, others)))


def test_an_event_says_how_often_the_reference_does_as_much_at_its_place_and_hour() -> None:
    score = quiet()
    score[2, 20:30], score[5, 20:30] = 6, 30
    for event in found(scored(score)):
        position = [np.array([event["score"]]), ["north"], np.array([event["peak_channel"]]), np.array([10])]
        reported = RATES.at(*position)
        names = ("rate_per_km_day", "rate_low", "rate_high", "beyond_reference")
        assert [event[name] for name in names] == [values[0] for values in reported]
        assert event["rate_low"] <= event["rate_per_km_day"] <= event["rate_high"]


def test_an_event_of_fewer_windows_than_overlap_a_second_is_the_second_in_their_middle() -> None:
    score = quiet()
    score[2, 20:25] = 8
    (event,) = found(scored(score))
    # Windows 20 to 24 span seconds 20 to 32.
    assert (event["start"].value, event["end"].value) == tuple(BEGAN + round(s * SECOND) for s in (25.5, 26.5))
    assert cause(0, 0, WINDOW) == (3.5 * SECOND, 4.5 * SECOND)
    assert cause(0, 30 * SECOND, WINDOW) == (7 * SECOND, 31 * SECOND)


def test_an_event_reaches_as_far_as_it_is_half_as_high_as_its_peak() -> None:
    score = quiet(11, 80)
    hill(score, 5, 40, 12, (2.0, 8.0))
    (event,) = found(scored(score))
    channels, windows = np.nonzero(score - LEVEL >= 0.5 * (12 - LEVEL))
    assert (event["first_channel"], event["last_channel"]) == (100 + channels.min(), 100 + channels.max())
    assert event["start"].value == BEGAN + (windows.min() + 7) * SECOND
    assert event["end"].value == BEGAN + (windows.max() + 1) * SECOND
    assert event["n_windows"] == (score >= LEVEL).sum() > len(windows)


@pytest.mark.parametrize("apart", [(7.0, 0.0), (0.0, 40.0), (5.0, 25.0)], ids=["place", "time", "both"])
def test_two_threats_near_each_other_are_two_where_there_is_a_valley_between(apart: tuple[float, float]) -> None:
    score = quiet(16, 100)
    for side, top in ((-0.5, 14), (0.5, 9)):
        hill(score, 8 + side * apart[0], 50 + side * apart[1], top, (1.8, 9.0))
    events = found(scored(score))
    assert sorted(e["score"] for e in events) == pytest.approx([9, 14], abs=0.8)
    assert sum(e["n_windows"] for e in events) == (score >= LEVEL).sum()
    assert (score >= LEVEL).sum() > 100
    near = quiet(16, 100)
    for side, top in ((-0.5, 14), (0.5, 9)):
        hill(near, 8 + side * apart[0] / 2.5, 50 + side * apart[1] / 2.5, top, (1.8, 9.0))
    assert len(found(scored(near))) == 1


def test_noise_on_a_slope_makes_no_event_of_its_own() -> None:
    score = quiet(12, 90)
    hill(score, 6, 45, 14, (2.0, 9.0))
    score += np.random.default_rng(0).uniform(0, 1, score.shape)
    assert len(found(scored(score))) == 1


@pytest.mark.parametrize("seed", range(5))
def test_events_of_the_reference_are_found_as_those_of_a_day_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = quiet(20, 200)
    for _ in range(12):
        hill(score, rng.uniform(0, 19), rng.uniform(0, 199), rng.uniform(4, 20), (1.5, 7.0))
    score += rng.uniform(0, 0.5, score.shape)
    score = score.astype(np.float32)
    start = BEGAN + np.arange(200) * SECOND
    heard = [Heard("2026-01-05", "north", 100 + c, start, {}) for c in range(20)]
    rates = count_events(heard, list(score), LEVEL, Places(empty("fibres"), 10.0), Settings(), 1)
    rows = scored(score)
    events = found(
        rows.set_column(rows.schema.get_field_index("is_anomaly"), "is_anomaly", pa.array([True] * 4000))
    )
    assert len(events) > 5
    assert sorted(rates.strength.tolist()) == sorted(e["score"] for e in events)
    places = {(e["score"], e["peak_channel"], hour_of(e["peak_start"].value)) for e in events}
    peaks = zip(rates.strength.tolist(), rates.channel[rates.place].tolist(), rates.hour.tolist(), strict=True)
    assert set(peaks) == places
    assert rates.km_days == pytest.approx(20 * 0.01 * 200 / 86_400)
    assert rates.km_days == pytest.approx(rates.place_exposure.sum())
    assert rates.km_days == pytest.approx(rates.hour_exposure[10])
    assert rates.distance_m[3] == 1030.0
    assert rates.days == 1


def test_missing_scores_are_not_listened_to_and_ground_without_events_has_rates() -> None:
    start = BEGAN + np.arange(100) * SECOND
    score = np.zeros(100, np.float32)
    score[:25] = np.nan
    places = Places(empty("fibres"), 5.0)
    rates = count_events([Heard("d", "north", 7, start, {})], [score], LEVEL, places, Settings(), 4)
    assert rates.km_days == pytest.approx(75 * 4 * 0.005 / 86_400)
    assert len(rates.strength) == 0
    assert rates.pooled(9.0).rate[0] == pytest.approx(rates.finest)


def test_outlines_say_which_windows_an_event_has_and_which_it_reaches_over() -> None:
    score = quiet(1, 12)
    score[0, 3:9] = 3, 8, 10, 7, 4, 3
    rows = scored(score)
    rows = rows.filter(pc.greater_equal(rows["score"], LEVEL))
    (one,) = outlines(rows, LEVEL, RECIPE, WINDOW)
    assert one.windows.tolist() == [0, 1, 2, 3, 4, 5]
    assert one.extent.tolist() == [1, 2, 3]  # from 2 + (10 − 2) / 2 on
    assert one.peak == 2
    assert outlines(rows.slice(0, 0), LEVEL, RECIPE, WINDOW) == []


def test_the_peak_of_an_event_beyond_the_scale_is_its_middle() -> None:
    score = quiet()
    score[1:6, 20:33] = 300
    (event,) = found(scored(score))
    assert (event["peak_channel"], event["peak_start"].value) == (103, BEGAN + 26 * SECOND)


def test_groups_of_channels_that_follow_each_other_are_neighbours_and_events_cover_all_their_channels() -> None:
    score = quiet()
    score[2:4, 20:25] = 8
    rows = scored(score)
    every_fourth = pa.array(100 + 4 * (rows["channel"].to_numpy() - 100), pa.int32())
    rows = rows.set_column(rows.schema.get_field_index("channel"), "channel", every_fourth)
    (event,) = found(rows, group=4)
    assert (event["first_channel"], event["last_channel"]) == (108, 115)
    assert len(found(rows)) == 2


def test_an_event_goes_on_where_a_new_file_has_another_time_grid() -> None:
    score = quiet(2, 80)
    score[1, 30:50] = 8
    rows = scored(score)
    start, end = (rows[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    late = start >= BEGAN + 40 * SECOND
    for name, values in (("start", start), ("end", end)):  # the second file begins 0.4 s later
        moved = pa.array(values + late * (4 * SECOND // 10)).cast(TIME)
        rows = rows.set_column(rows.schema.get_field_index(name), name, moved)
    (event,) = found(rows)
    assert event["n_windows"] == 20


MIDNIGHT = 86_400 - 36_000
"""Seconds from `BEGAN`, ten o'clock, to the end of the day."""


def split_at_midnight(scores: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the windows of both days: none lies across midnight."""
    start, end = (scores[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    midnight = BEGAN + MIDNIGHT * SECOND
    return scores.filter(pa.array(end <= midnight)), scores.filter(pa.array(start >= midnight))


def around_midnight(score: np.ndarray) -> pa.Table:
    """As `scored`, with the fortieth window at midnight."""
    rows = scored(score)
    for name in ("start", "end"):
        moved = rows[name].cast(pa.int64()).to_numpy() + (MIDNIGHT - 40) * SECOND
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(moved).cast(TIME))
    return rows


def test_an_event_across_midnight_is_told_once_and_whole_on_the_day_on_which_it_ends() -> None:
    score = quiet(4, 80)
    score[1, 25:46] = 8  # across
    score[3, 15:25] = 8  # ended before
    score[3, 60:70] = 8
    score[1, 42] = 9
    whole = found(around_midnight(score))
    before, today = split_at_midnight(around_midnight(score))
    events = found(today, before=before)
    assert events == [whole[1] | {"n_windows": 8 + 6}, whole[2]]
    # Of the day by itself, only what is left of it.
    single = found(today)
    assert [event["n_windows"] for event in single] == [6, 10]
    assert single[1]["event_id"] == events[1]["event_id"]


def test_the_peak_of_an_event_across_midnight_is_that_of_the_day() -> None:
    score = quiet(1, 80)
    score[0, 25:46] = 8
    score[0, 30], score[0, 43] = 9.5, 9
    before, today = split_at_midnight(around_midnight(score))
    (event,) = found(today, before=before)
    assert event["peak_start"].value == BEGAN + (MIDNIGHT + 3) * SECOND
    assert event["score"] == pytest.approx(9)


def test_an_event_that_ended_before_midnight_is_not_told_again_for_what_it_leaves_behind() -> None:
    score = quiet(1, 80)
    score[0, 20:33] = 8  # up to the last window of the day
    score[0, 40:43] = 3  # the slope of it
    before, today = split_at_midnight(around_midnight(score))
    assert found(today, before=before) == []
    none = today.slice(0, 0)
    assert found(none, labelled(none, np.empty(0)), before=before) == []


def test_what_ends_before_midnight_and_what_begins_after_it_are_two_events() -> None:
    score = quiet(1, 80)
    score[0, 20:29] = 8  # its last window ends four seconds before midnight
    score[0, 40:50] = 8
    before, today = split_at_midnight(around_midnight(score))
    (event,) = found(today, before=before)
    assert event["n_windows"] == 10


def test_the_cluster_of_an_event_across_midnight_is_that_of_its_windows_of_the_day() -> None:
    score = quiet(1, 80)
    score[0, 28:46] = 8
    before, today = split_at_midnight(around_midnight(score))
    label = np.full(today.num_rows, 3)
    label[:6] = 5
    (event,) = found(today, labelled(today, label), before=before)
    assert event["cluster"] == 5


def test_the_end_of_the_day_before_counts_where_the_same_model_scored_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    score = quiet(2, 80)
    score[1, 28:46] = 8
    score[0, 31] = 3
    before, today = split_at_midnight(around_midnight(score))
    day, yesterday = "2026-01-06", "2026-01-05"
    assert not list(end_of_day_before(store, day, {"model_version": "v1"}, LEVEL))
    store.write_day("anomaly_scores", yesterday, before, {"model_version": "v1"})
    store.write_day("anomaly_scores", day, today, {"model_version": "v1"})
    rows = pa.concat_tables(end_of_day_before(store, day, store.metadata("anomaly_scores", day), LEVEL))
    assert rows.num_rows == 6  # five flagged and one that is strange enough
    (event,) = found(today, before=rows)
    assert event["n_windows"] == 12
    assert not list(end_of_day_before(store, day, {"model_version": "v2"}, LEVEL))


def test_windows_that_can_take_part_come_with_their_labels(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    score = quiet(3, 40)
    score[1, 10:15], score[2, 20] = 8, LEVEL
    scores = scored(score)
    labels = labelled(scores, np.arange(scores.num_rows))
    for table, rows in (("anomaly_scores", scores), ("cluster_labels", labels)):
        parts = [rows.filter(pc.equal(rows["channel"], c)) for c in (100, 101, 102)]
        store.write_day(table, "2026-01-05", iter(parts))
    taken = list(taking_part(store, "2026-01-05", LEVEL))
    assert [rows["label"].to_pylist() for rows in taken] == [[], [*range(50, 55)], [100]]
    assert found(scores, labels) == find_events(taken, None, RATES, LEVEL, WINDOW)[0].to_pylist()
    store.write_day("cluster_labels", "2026-01-05", labels)
    with pytest.raises(ValueError, match="materialize both again"):
        list(taking_part(store, "2026-01-05", LEVEL))


def test_windows_that_could_not_be_scored_belong_to_no_event() -> None:
    score = quiet()
    score[2, 20:30] = 8
    score[2, 24] = np.nan
    assert [event["n_windows"] for event in found(scored(score))] == [4, 5]


def test_events_are_sorted_and_keep_their_ids_whatever_the_order_of_rows() -> None:
    score = quiet()
    score[1, 40:45] = score[4, 10:15] = 9
    scores = pa.concat_tables([scored(score), scored(score, "south")])
    events, below = find_events([unusual(scores, None, LEVEL)], None, RATES, LEVEL, WINDOW)
    assert below.num_rows == 0
    assert mismatch("anomaly_events", events.schema) is None
    assert [(e["fibre"], e["first_channel"]) for e in events.to_pylist()] == [
        ("north", 104),
        ("south", 104),
        ("north", 101),
        ("south", 101),
    ]
    ids = events["event_id"].to_pylist()
    assert len(set(ids)) == 4
    assert all(len(name) == 16 and set(name) <= set("0123456789abcdef") for name in ids)
    shuffled = scores.take(np.random.default_rng(0).permutation(scores.num_rows))
    assert find_events([unusual(shuffled, None, LEVEL)], None, RATES, LEVEL, WINDOW)[0].equals(events)


def test_the_rarest_of_what_lies_below_the_threshold_is_told_apart_and_only_a_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    score = quiet(1, 220)
    score[0, 5:12] = 9
    for i, top in enumerate([4.5, 3.5, 4.9, 4.2, 4.8, 3.2, 4.6]):  # all of them below `FLAGGED`
        score[0, 25 * i + 30 : 25 * i + 33] = top
    windows = by_channel(unusual(scored(score), None, LEVEL))
    event, below = (table.to_pylist() for table in find_events(windows, None, RATES, LEVEL, WINDOW))
    assert [round(row["score"], 1) for row in below] == [4.5, 4.9, 4.2, 4.8, 4.6]
    assert len(below) == MOST_BELOW
    assert all(row["rate_per_km_day"] > event[0]["rate_per_km_day"] for row in below)
    monkeypatch.setattr("dasanom_assets.detection.events.outlines.RATED_AT_ONCE", 5)
    assert find_events(windows, None, RATES, LEVEL, WINDOW)[1].to_pylist() == below


def test_events_do_not_depend_on_how_many_windows_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    score = np.abs(np.random.default_rng(3).normal(0, 2.5, (12, 200)))
    before = scored(score[:, ::-1], first_channel=98)
    shifted = pc.subtract(before["start"].cast(pa.int64()), 207 * SECOND).cast(TIME)
    before = before.set_column(before.schema.get_field_index("start"), "start", shifted)
    whole = found(scored(score), before=before)
    monkeypatch.setattr(components, "ROWS_AT_ONCE", 50)
    assert len(whole) > 20
    assert found(scored(score), before=before) == whole


def test_the_cluster_is_the_most_frequent_label_of_the_event() -> None:
    score = quiet(2, 20)
    score[0, 5:10] = 8
    scores = scored(score)
    label = np.zeros(40, int)
    label[5:8] = -1
    labels = labelled(scores, label)
    (event,) = found(scores, labels)
    assert event["cluster"] == -1
    with pytest.raises(ValueError, match="materialize both again"):
        found(scores, labels.slice(1))
    with pytest.raises(ValueError, match="other windows"):
        found(scores, labels.take(np.arange(40)[::-1]))


def contractor(store: Store, rows: list[tuple[str, int, float, list[float | None]]]) -> ContractorsView:
    names = ("p_digging", "p_walking", "p_cutting", "p_machine", "p_noise")
    table = [
        interval(fibre, channel, second, 0.2) | {"power": 1.0} | dict(zip(names, p, strict=True))
        for fibre, channel, second, p in rows
    ]
    every = pa.Table.from_pylist(table, SCHEMAS["contractor_scores"])
    channels = sorted({(row[0], row[1]) for row in rows})
    groups = [
        every.filter(pc.and_(pc.equal(every["fibre"], fibre), pc.equal(every["channel"], channel)))
        for fibre, channel in channels
    ]
    store.write_day("contractor_scores", "2026-01-05", iter([every.slice(0, 0), *groups]))
    return ContractorsView(store, "2026-01-05")


def test_the_contractors_view_is_taken_from_the_events_extent_only(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert ContractorsView(store, "2026-01-05").of("north", 0, 1, 0, 9) == (None, None)
    score = quiet(3, 40)
    score[1, 6:24] = 8  # channel 101, seconds 13 to 24
    scores = scored(score)
    rows = [
        ("north", 101, 15.0, [0.1, 0.6, 0.1, 0.1, 0.1]),
        ("north", 101, 18.0, [0.2, 0.3, 0.0, 0.0, 0.5]),
        ("north", 101, 16.0, [None] * 5),
        ("north", 101, 12.8, [0.99, 0, 0, 0, 0.01]),  # ends as the event begins
        ("north", 101, 24.0, [0.99, 0, 0, 0, 0.01]),  # begins as the event ends
        ("north", 102, 15.0, [0.99, 0, 0, 0, 0.01]),
        ("south", 101, 15.0, [0.99, 0, 0, 0, 0.01]),
    ]
    (event,) = found(scores, None, contractor(store, rows))
    assert event["contractor_class"] == "walking"
    assert event["contractor_probability"] == pytest.approx(0.6)
    for silent in (rows[2:], rows[2:3], []):
        (event,) = found(scores, None, contractor(store, silent))
        assert (event["contractor_class"], event["contractor_probability"]) == (None, None)


def test_a_day_without_windows_has_no_events() -> None:
    empty = [SCHEMAS[name].empty_table() for name in ("anomaly_scores", "cluster_labels")]
    events, below = find_events([unusual(*empty, LEVEL)], None, RATES, LEVEL, WINDOW)
    assert events.schema == below.schema == SCHEMAS["anomaly_events"]
    assert events.num_rows == below.num_rows == 0
    assert events["start"].type == TIME
