"""Events cover their cause in time and along the fibre, keep their ids, and say what the contractor says."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dasanom_assets.detection.events import at_midnight, end_of_day_before, find_events, taking_part
from dasanom_assets.settings import DetectionSettings, WindowSettings
from dasanom_assets.tables.schemas import SCHEMAS, TIME, mismatch
from dasanom_assets.tables.store import Store

SECOND = 1_000_000_000
BEGAN = 1_767_607_200 * SECOND
SETTINGS, WINDOW = DetectionSettings(), WindowSettings()


def interval(fibre: str, channel: int, second: float, length: float) -> dict:
    start = BEGAN + round(second * SECOND)
    return {"fibre": fibre, "channel": channel, "start": start, "end": start + round(length * SECOND)}


def scored(p_values: np.ndarray, fibre: str = "north", first_channel: int = 100) -> pa.Table:
    """Windows of 8 s, one a second, with p-values of shape (channels, windows); flagged from 1e-3 on."""
    rows = [
        interval(fibre, first_channel + j, k, 8)
        | {
            "score_vae": 1.0,
            "score_latent": 1.0,
            "p_vae": p,
            "p_latent": p,
            "score": -np.log10(p),
            "p_value": p,
            "is_anomaly": p <= 1e-3,
            "model_version": "v1",
        }
        for j, line in enumerate(p_values)
        for k, p in enumerate(line)
    ]
    return pa.Table.from_pylist(rows, SCHEMAS["anomaly_scores"])


def labelled(scores: pa.Table, label: np.ndarray) -> pa.Table:
    n = scores.num_rows
    more = [pa.array(label, pa.int32()), pa.array(np.ones(n), pa.float32()), pa.array(np.zeros(n), pa.float32())]
    columns = [scores[name] for name in ("fibre", "channel", "start", "end")] + more
    return pa.table(columns, schema=SCHEMAS["cluster_labels"])


def quiet(channels: int = 6, windows: int = 60) -> np.ndarray:
    return np.full((channels, windows), 0.5)


def test_an_event_begins_as_its_first_window_ends_and_ends_as_its_last_begins() -> None:
    p = quiet()
    p[2, 15:25] = 1e-4
    p[2, 22] = 1e-6
    p[3, 25:27] = 5e-3  # below extend_p_value, touching by a corner
    p[5, 40:45] = 5e-3  # never opened
    event, *others = find_events(scored(p), None, None, SETTINGS, WINDOW).to_pylist()
    assert not others
    assert (event["first_channel"], event["last_channel"], event["n_windows"]) == (102, 103, 12)
    # Window 15 spans seconds 15 to 23; what it has of the event is in its last one.
    assert event["start"].value == BEGAN + 22 * SECOND
    assert event["end"].value == BEGAN + 27 * SECOND
    assert (event["peak_channel"], event["peak_start"].value) == (102, BEGAN + 22 * SECOND)
    assert event["p_value"] == pytest.approx(1e-6)
    assert event["score"] == pytest.approx(6)
    assert (event["cluster"], event["contractor_class"], event["contractor_probability"]) == (None, None, None)


def test_an_event_of_fewer_windows_than_overlap_a_second_is_the_second_in_their_middle() -> None:
    p = quiet()
    p[2, 20:25] = 1e-4
    (event,) = find_events(scored(p), None, None, SETTINGS, WINDOW).to_pylist()
    # Windows 20 to 24 span seconds 20 to 32.
    assert (event["start"].value, event["end"].value) == tuple(BEGAN + round(s * SECOND) for s in (25.5, 26.5))


def test_an_event_reaches_no_further_than_windows_that_a_detector_finds_unusual_by_itself() -> None:
    p = quiet()
    p[1:4, 10:40] = 1e-6  # with support from what is between
    rows, by_itself, far = scored(p), quiet(), quiet()
    by_itself[2, 20:30] = 1e-4
    far[:] = 1e-9
    rows = rows.append_column("p_vae", pa.array(by_itself.ravel()))
    rows = rows.append_column("p_temporal", pa.array(far.ravel()))  # looks at more than a window
    (event,) = find_events(rows, None, None, SETTINGS, WINDOW).to_pylist()
    assert (event["first_channel"], event["last_channel"], event["n_windows"]) == (102, 102, 90)
    assert (event["start"].value, event["end"].value) == (BEGAN + 27 * SECOND, BEGAN + 30 * SECOND)


def cores(*places: tuple[slice, slice]) -> pa.Table:
    """One component of windows, flagged all over, in which a detector finds those of some places unusual."""
    p, by_itself = quiet(12, 80), quiet(12, 80)
    p[:, 10:70] = 1e-6
    for place in places:
        by_itself[place] = 1e-5
    return scored(p).append_column("p_vae", pa.array(by_itself.ravel()))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((slice(1, 4), slice(20, 60)), (slice(5, 8), slice(20, 60))),
        ((slice(4, 7), slice(12, 30)), (slice(4, 7), slice(34, 60))),
    ],
    ids=["a channel between", "five seconds between"],
)
def test_two_causes_whose_surroundings_touch_are_two_events_that_share_all_windows(
    one: tuple[slice, slice], other: tuple[slice, slice]
) -> None:
    found = find_events(cores(one, other), None, None, SETTINGS, WINDOW).to_pylist()
    assert sum(event["n_windows"] for event in found) == 12 * 60
    for event, (channels, windows) in zip(found, (one, other), strict=True):
        assert (event["first_channel"], event["last_channel"]) == (100 + channels.start, 99 + channels.stop)
        assert event["start"].value == BEGAN + (windows.start + 7) * SECOND
        assert event["end"].value == BEGAN + windows.stop * SECOND


def test_a_cause_that_pauses_for_less_than_its_surroundings_reach_is_one_event() -> None:
    paused = cores((slice(4, 7), slice(12, 30)), (slice(4, 7), slice(33, 60)))
    (event,) = find_events(paused, None, None, SETTINGS, WINDOW).to_pylist()
    assert (event["start"].value, event["end"].value) == (BEGAN + 19 * SECOND, BEGAN + 60 * SECOND)


def test_few_windows_beside_a_cause_neither_lengthen_it_nor_are_an_event() -> None:
    beside = cores((slice(4, 7), slice(30, 50)), (slice(10, 11), slice(12, 14)))
    (event,) = find_events(beside, None, None, SETTINGS, WINDOW).to_pylist()
    assert (event["first_channel"], event["last_channel"], event["n_windows"]) == (104, 106, 12 * 60)
    assert event["start"].value == BEGAN + 37 * SECOND


def test_the_peak_of_an_event_beyond_the_scale_is_its_middle() -> None:
    p = quiet()
    p[1:6, 20:33] = 1e-300
    (event,) = find_events(scored(p), None, None, SETTINGS, WINDOW).to_pylist()
    assert (event["peak_channel"], event["peak_start"].value) == (103, BEGAN + 26 * SECOND)


def test_groups_of_channels_that_follow_each_other_are_neighbours_and_events_cover_all_their_channels() -> None:
    p = quiet()
    p[2:4, 20:25] = 1e-4
    rows = scored(p)
    every_fourth = pa.array(100 + 4 * (rows["channel"].to_numpy() - 100), pa.int32())
    rows = rows.set_column(rows.schema.get_field_index("channel"), "channel", every_fourth)
    (event,) = find_events(rows, None, None, SETTINGS, WINDOW, group_channels=4).to_pylist()
    assert (event["first_channel"], event["last_channel"]) == (108, 115)
    assert find_events(rows, None, None, SETTINGS, WINDOW).num_rows == 2


def test_low_windows_lengthen_an_event_only_where_they_touch_a_high_one_or_each_other() -> None:
    p = quiet(windows=80)
    p[2, 30:34] = 1e-4
    p[2, 20:30] = p[2, 34:45] = 5e-3  # lead in and out
    p[2, 47:60] = 5e-3  # two steps further on
    (event,) = find_events(scored(p), None, None, SETTINGS, WINDOW).to_pylist()
    assert event["start"].value == BEGAN + 27 * SECOND
    assert event["end"].value == BEGAN + 45 * SECOND
    higher = SETTINGS.model_copy(update={"extend_p_value": 1e-3})
    (event,) = find_events(scored(p), None, None, higher, WINDOW).to_pylist()
    assert event["n_windows"] == 4


def test_an_event_goes_on_where_a_new_file_has_another_time_grid() -> None:
    p = quiet(2, 80)
    p[1, 30:50] = 1e-4
    rows = scored(p)
    start, end = (rows[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    late = start >= BEGAN + 40 * SECOND
    for name, values in (("start", start), ("end", end)):  # the second file begins 0.4 s later
        moved = pa.array(values + late * (4 * SECOND // 10)).cast(TIME)
        rows = rows.set_column(rows.schema.get_field_index(name), name, moved)
    (event,) = find_events(rows, None, None, SETTINGS, WINDOW).to_pylist()
    assert event["n_windows"] == 20


MIDNIGHT = 86_400 - 36_000
"""Seconds from `BEGAN`, ten o'clock, to the end of the day."""


def split_at_midnight(scores: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the windows of both days: none lies across midnight."""
    start, end = (scores[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    midnight = BEGAN + MIDNIGHT * SECOND
    return scores.filter(pa.array(end <= midnight)), scores.filter(pa.array(start >= midnight))


def around_midnight(p: np.ndarray) -> pa.Table:
    """As `scored`, with the fortieth window at midnight."""
    rows = scored(p)
    for name in ("start", "end"):
        moved = rows[name].cast(pa.int64()).to_numpy() + (MIDNIGHT - 40) * SECOND
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(moved).cast(TIME))
    return rows


def test_an_event_across_midnight_is_told_whole_on_the_day_on_which_it_ends() -> None:
    p = quiet(4, 80)
    p[1, 25:46] = 1e-4  # across
    p[3, 15:25] = 1e-4  # ended before
    p[3, 60:70] = 1e-4
    p[1, 42] = 1e-5
    whole = find_events(around_midnight(p), None, None, SETTINGS, WINDOW).to_pylist()
    before, today = split_at_midnight(around_midnight(p))
    found = find_events(today, None, None, SETTINGS, WINDOW, before=before).to_pylist()
    assert found == [whole[1] | {"n_windows": 8 + 6}, whole[2]]
    # Of the day by itself, only what is left of it.
    alone = find_events(today, None, None, SETTINGS, WINDOW).to_pylist()
    assert [event["n_windows"] for event in alone] == [6, 10]
    assert alone[1]["event_id"] == found[1]["event_id"]


def test_the_peak_of_an_event_across_midnight_is_that_of_the_day() -> None:
    p = quiet(1, 80)
    p[0, 25:46] = 1e-4
    p[0, 30], p[0, 43] = 1e-6, 1e-5
    before, today = split_at_midnight(around_midnight(p))
    (event,) = find_events(today, None, None, SETTINGS, WINDOW, before=before).to_pylist()
    assert event["peak_start"].value == BEGAN + (MIDNIGHT + 3) * SECOND
    assert event["score"] == pytest.approx(5)


def test_an_event_that_ended_before_midnight_is_not_told_again_for_what_it_leaves_behind() -> None:
    p = quiet(1, 80)
    p[0, 20:33] = 1e-4  # up to the last window of the day
    p[0, 40:43] = 5e-3  # which raises no alarm
    rows = around_midnight(p)
    before, today = split_at_midnight(rows.append_column("p_vae", rows["p_value"]))
    assert not find_events(today, None, None, SETTINGS, WINDOW, before=before).num_rows
    none = today.slice(0, 0)
    no_labels = labelled(none, np.empty(0))
    assert not find_events(none, no_labels, None, SETTINGS, WINDOW, before=before).num_rows


def test_only_what_reaches_midnight_matters_to_the_next_day(tmp_path: Path) -> None:
    p = quiet(2, 80)
    p[0, 10:15] = 1e-4
    day = "2026-01-05"
    ended, _ = split_at_midnight(around_midnight(p))
    unusual = pc.less(ended["p_value"], SETTINGS.extend_p_value)
    assert at_midnight(ended.filter(unusual), day) == at_midnight(None, day) == ""
    p[1, 28:33] = 1e-4
    on, _ = split_at_midnight(around_midnight(p))
    store = Store(str(tmp_path))
    store.write_day("anomaly_scores", day, on, {"model_version": "v1"})
    store.write_day("cluster_labels", day, labelled(on, np.zeros(on.num_rows)))
    told = at_midnight(taking_part(store, day, SETTINGS)[0], day)
    assert told
    assert told == at_midnight(end_of_day_before(store, "2026-01-06", {"model_version": "v1"}, SETTINGS), day)
    p[1, 31] = 1e-5
    assert told != at_midnight(split_at_midnight(around_midnight(p))[0], day)


def test_what_ends_before_midnight_and_what_begins_after_it_are_two_events() -> None:
    p = quiet(1, 80)
    p[0, 20:29] = 1e-4  # its last window ends four seconds before midnight
    p[0, 40:50] = 1e-4
    before, today = split_at_midnight(around_midnight(p))
    (event,) = find_events(today, None, None, SETTINGS, WINDOW, before=before).to_pylist()
    assert event["n_windows"] == 10


def test_the_cluster_of_an_event_across_midnight_is_that_of_its_windows_of_the_day() -> None:
    p = quiet(1, 80)
    p[0, 28:46] = 1e-4
    before, today = split_at_midnight(around_midnight(p))
    label = np.full(today.num_rows, 3)
    label[:6] = 5
    (event,) = find_events(today, labelled(today, label), None, SETTINGS, WINDOW, before=before).to_pylist()
    assert event["cluster"] == 5


def test_the_end_of_the_day_before_counts_where_the_same_model_scored_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    p = quiet(2, 80)
    p[1, 28:46] = 1e-4
    p[0, 31] = 5e-3
    before, today = split_at_midnight(around_midnight(p))
    day, yesterday = "2026-01-06", "2026-01-05"
    assert end_of_day_before(store, day, {"model_version": "v1"}, SETTINGS) is None
    store.write_day("anomaly_scores", yesterday, before, {"model_version": "v1"})
    store.write_day("anomaly_scores", day, today, {"model_version": "v1"})
    rows = end_of_day_before(store, day, store.metadata("anomaly_scores", day), SETTINGS)
    assert rows.num_rows == 6  # five flagged and one that extends
    (event,) = find_events(today, None, None, SETTINGS, WINDOW, before=rows).to_pylist()
    assert event["n_windows"] == 12
    assert end_of_day_before(store, day, {"model_version": "v2"}, SETTINGS) is None


def test_windows_that_can_take_part_come_with_their_labels(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    p = quiet(3, 40)
    p[1, 10:15], p[2, 20] = 1e-4, 5e-3
    scores = scored(p)
    labels = labelled(scores, np.arange(scores.num_rows))
    for table, rows in (("anomaly_scores", scores), ("cluster_labels", labels)):
        parts = [rows.filter(pc.equal(rows["channel"], c)) for c in (100, 101, 102)]
        store.write_day(table, "2026-01-05", iter(parts))
    taken, of_them = taking_part(store, "2026-01-05", SETTINGS)
    assert of_them["label"].to_pylist() == [*range(50, 55), 100]
    assert taken.select(["channel", "start"]).equals(of_them.select(["channel", "start"]))
    one, other = (find_events(*rows, None, SETTINGS, WINDOW) for rows in ((scores, labels), (taken, of_them)))
    assert one.equals(other)
    store.write_day("cluster_labels", "2026-01-05", labels)
    with pytest.raises(ValueError, match="materialize both again"):
        taking_part(store, "2026-01-05", SETTINGS)


def test_too_few_flagged_windows_are_no_event() -> None:
    p = quiet()
    p[2, 20:22] = 1e-4
    p[2, 22:30] = 5e-3
    assert find_events(scored(p), None, None, SETTINGS, WINDOW).num_rows == 0
    p[3, 22] = 1e-4
    assert find_events(scored(p), None, None, SETTINGS, WINDOW).num_rows == 1


def test_windows_that_could_not_be_scored_belong_to_no_event() -> None:
    p = quiet()
    p[2, 20:30] = 1e-4
    p[2, 24] = np.nan
    events = find_events(scored(p), None, None, SETTINGS, WINDOW).to_pylist()
    assert [event["n_windows"] for event in events] == [4, 5]


def test_events_are_sorted_and_keep_their_ids_whatever_the_order_of_rows() -> None:
    p = quiet()
    p[1, 40:45] = p[4, 10:15] = 1e-5
    scores = pa.concat_tables([scored(p), scored(p, "south")])
    events = find_events(scores, None, None, SETTINGS, WINDOW)
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
    assert find_events(shuffled, None, None, SETTINGS, WINDOW).equals(events)


def test_the_cluster_is_the_most_frequent_label_of_the_event() -> None:
    p = quiet(2, 20)
    p[0, 5:10] = 1e-4
    scores = scored(p)
    label = np.zeros(40, int)
    label[5:8] = -1
    labels = labelled(scores, label)
    (event,) = find_events(scores, labels, None, SETTINGS, WINDOW).to_pylist()
    assert event["cluster"] == -1
    with pytest.raises(ValueError, match="materialize both again"):
        find_events(scores, labels.slice(1), None, SETTINGS, WINDOW)
    with pytest.raises(ValueError, match="other windows"):
        find_events(scores, labels.take(np.arange(40)[::-1]), None, SETTINGS, WINDOW)


def contractor(rows: list[tuple[str, int, float, list[float | None]]]) -> pa.Table:
    names = ("p_digging", "p_walking", "p_cutting", "p_machine", "p_noise")
    table = [
        interval(fibre, channel, second, 0.2) | {"power": 1.0} | dict(zip(names, p, strict=True))
        for fibre, channel, second, p in rows
    ]
    return pa.Table.from_pylist(table, SCHEMAS["contractor_scores"])


def test_the_contractors_view_is_taken_from_the_events_extent_only() -> None:
    p = quiet(3, 40)
    p[1, 6:24] = 1e-4  # channel 101, seconds 13 to 24
    scores = scored(p)
    rows = [
        ("north", 101, 15.0, [0.1, 0.6, 0.1, 0.1, 0.1]),
        ("north", 101, 18.0, [0.2, 0.3, 0.0, 0.0, 0.5]),
        ("north", 101, 16.0, [None] * 5),
        ("north", 101, 12.8, [0.99, 0, 0, 0, 0.01]),  # ends as the event begins
        ("north", 101, 24.0, [0.99, 0, 0, 0, 0.01]),  # begins as the event ends
        ("north", 102, 15.0, [0.99, 0, 0, 0, 0.01]),
        ("south", 101, 15.0, [0.99, 0, 0, 0, 0.01]),
    ]
    (event,) = find_events(scores, None, contractor(rows), SETTINGS, WINDOW).to_pylist()
    assert event["contractor_class"] == "walking"
    assert event["contractor_probability"] == pytest.approx(0.6)
    for silent in (rows[2:], rows[2:3], []):
        (event,) = find_events(scores, None, contractor(silent), SETTINGS, WINDOW).to_pylist()
        assert (event["contractor_class"], event["contractor_probability"]) == (None, None)


def test_a_day_without_windows_has_no_events() -> None:
    empty = [SCHEMAS[name].empty_table() for name in ("anomaly_scores", "cluster_labels", "contractor_scores")]
    events = find_events(*empty, SETTINGS, WINDOW)
    assert events.schema == SCHEMAS["anomaly_events"]
    assert events.num_rows == 0
    assert events["start"].type == TIME
