"""Figures against the truth: which windows count, how well they rank, and which events are found."""

import math
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.benchmarks.simulated import (
    evaluate_events,
    evaluate_windows,
    main,
    median_errors,
    read_truth,
    window_truth,
)
from dasanom_assets.recordings.simulation.simulate import simulate
from dasanom_assets.recordings.simulation.sites import Line
from dasanom_assets.recordings.simulation.truth import ACTIVITY, EVENTS
from dasanom_assets.tables.schemas import SCHEMAS, TIME, with_detectors
from dasanom_assets.tables.store import Store

T0 = pd.Timestamp("2026-01-05T10:00:00Z").value
SECOND = 1_000_000_000


def windows(channels: np.ndarray, starts: np.ndarray, fibre: str = "north", seconds: int = 8) -> pa.Table:
    """All windows of `channels` that start `starts` seconds after ten."""
    channel, start = (grid.ravel() for grid in np.meshgrid(channels, starts, indexing="ij"))
    columns = {
        "fibre": pa.array([fibre] * len(channel), pa.string()),
        "channel": pa.array(channel, pa.int32()),
        "start": pa.array(T0 + start * SECOND, pa.int64()).cast(TIME),
        "end": pa.array(T0 + (start + seconds) * SECOND, pa.int64()).cast(TIME),
    }
    return pa.table(columns)


def active(channel: int, seconds: range, kind: str = "pickaxe", fibre: str = "north") -> pa.Table:
    rows = [
        {"fibre": fibre, "channel": channel, "start": T0 + s * SECOND, "kind": kind, "snr_db": 9.0}
        for s in seconds
    ]
    return pa.Table.from_pylist(rows, ACTIVITY)


def truth_at(table: pa.Table, truth: np.ndarray, channel: int, start: int) -> int:
    frame = table.to_pandas()
    row = (frame["channel"] == channel) & (frame["start"] == pd.Timestamp(T0 + start * SECOND, tz="UTC"))
    return int(truth[row.to_numpy()].item())


def test_windows_count_as_threat_quiet_or_neither() -> None:
    table = windows(np.arange(99, 110), np.arange(0, 60))
    truth = window_truth(table, active(104, range(20, 30)))
    assert truth.dtype == np.int8
    for channel, start, expected in [
        (104, 20, 1),
        (104, 16, 1),  # four of its eight seconds
        (104, 15, -1),
        (104, 26, 1),
        (104, 27, -1),
        (104, 6, 0),  # ends at 14, six seconds before
        (104, 7, -1),
        (104, 35, -1),
        (104, 36, 0),
        (108, 22, -1),
        (109, 22, 0),
        (100, 22, -1),
        (99, 22, 0),
    ]:
        assert truth_at(table, truth, channel, start) == expected, (channel, start)


def test_fibres_do_not_disturb_each_other() -> None:
    table = pa.concat_tables(
        [windows(np.array([104]), np.arange(30)), windows(np.array([104]), np.arange(30), "south")]
    )
    truth = window_truth(table, active(104, range(10, 20), fibre="south"))
    assert not truth[:30].any()
    assert set(truth[30:]) == {-1, 0, 1}


@settings(deadline=None, max_examples=20)
@given(
    cells=st.sets(st.tuples(st.integers(95, 108), st.integers(-5, 40)), max_size=30),
    seconds=st.integers(1, 10),
    least=st.integers(1, 5),
)
def test_truth_is_that_of_counting_one_by_one(cells: set[tuple[int, int]], seconds: int, least: int) -> None:
    table = windows(np.arange(100, 104), np.arange(0, 30, 3), seconds=seconds)
    activity = pa.concat_tables([ACTIVITY.empty_table(), *[active(c, range(s, s + 1)) for c, s in cells]])
    frame = table.to_pandas()
    start = (frame["start"].astype("int64") - T0) // SECOND
    expected = []
    for channel, first in zip(frame["channel"], start, strict=True):
        inside = sum(c == channel and first <= s < first + seconds for c, s in cells)
        near = any(abs(c - channel) <= 4 and first - 6 <= s < first + seconds + 6 for c, s in cells)
        expected.append(1 if inside >= least else -1 if near else 0)
    assert window_truth(table, activity, least).tolist() == expected


def test_a_perfect_score_ranks_perfectly_and_a_blind_one_does_not() -> None:
    table = windows(np.arange(100, 120), np.arange(0, 100))
    activity = pa.concat_tables([active(104, range(20, 40)), active(112, range(60, 80), "walking")])
    truth = window_truth(table, activity)
    rng = np.random.default_rng(0)
    noise = rng.random(len(truth))
    # It finds digging, and nothing else.
    half = noise + 2.0 * (window_truth(table, activity.filter(pa.compute.equal(activity["kind"], "pickaxe"))) == 1)
    for name, value in (("score", truth + 0.1 * noise), ("score_half", half), ("score_blind", noise)):
        table = table.append_column(name, pa.array(value))
    perfect = evaluate_windows(table, activity)
    assert (perfect["auc"], perfect["average_precision"], perfect["partial_auc"]) == (1.0, 1.0, 1.0)
    assert perfect["n_positive"] == (truth == 1).sum()
    assert perfect["n_negative"] == (truth == 0).sum()
    assert perfect["auc_by_kind"] == {"pickaxe": 1.0, "walking": 1.0}
    blind = evaluate_windows(table, activity, "score_blind")
    assert blind["auc"] == pytest.approx(0.5, abs=0.15)
    assert blind["partial_auc"] == pytest.approx(0.5, abs=0.1)
    seen = evaluate_windows(table, activity, "score_half")
    assert seen["auc_by_kind"]["pickaxe"] == 1.0
    assert seen["auc_by_kind"]["walking"] < 0.8
    assert seen["auc_by_kind"]["walking"] < seen["auc"] < 1.0


def test_figures_without_threats_are_not_numbers() -> None:
    table = windows(np.arange(100, 102), np.arange(10)).append_column("score", pa.array(np.arange(20.0)))
    result = evaluate_windows(table, ACTIVITY.empty_table())
    assert math.isnan(result["auc"])
    assert (result["n_positive"], result["n_negative"], result["auc_by_kind"]) == (0, 20, {})


def true_event(kind: str, start: float, end: float, first: int, last: int, peak: int, **more: object) -> dict:
    return {
        "event_id": f"{kind}{start}",
        "fibre": "north",
        "kind": kind,
        "threat": kind not in ("traffic", "wind"),
        "start": T0 + int(start * SECOND),
        "end": T0 + int(end * SECOND),
        "first_channel": first,
        "last_channel": last,
        "peak_channel": peak,
        "snr_db": 10.0,
    } | more


def our_event(start: float, end: float, first: int, last: int, peak: int, score: float, **more: object) -> dict:
    blank = dict.fromkeys(SCHEMAS["anomaly_events"].names)
    return (
        blank
        | {key: v for key, v in true_event("x", start, end, first, last, peak).items() if key in blank}
        | {"score": score}
        | more
    )


def test_events_are_matched_by_time_and_channels() -> None:
    truth = pa.Table.from_pylist(
        [
            true_event("pickaxe", 10.4, 40, 100, 105, 102),
            true_event("walking", 60, 90, 120, 130, 125),
            true_event("cutting", 100, 120, 100, 105, 102),
            true_event("traffic", 50, 55, 110, 115, 112),
            true_event("wind", 200, 230, 100, 120, 110),
            true_event("wind", 42, 60, 100, 102, 101),
        ],
        EVENTS,
    )
    ours = pa.Table.from_pylist(
        [
            our_event(12, 20, 103, 108, 103, 3.0),  # digging, twice
            our_event(25, 45, 101, 103, 101, 5.0),
            our_event(65, 70, 121, 122, 122, 2.0),  # walking
            our_event(100, 120, 106, 109, 107, 9.0),  # beside cutting
            our_event(120, 130, 100, 105, 102, 9.0),  # just after cutting
            our_event(51, 53, 112, 112, 112, 4.0),  # traffic
            our_event(10, 40, 100, 105, 102, 9.0, fibre="south"),
        ],
        SCHEMAS["anomaly_events"],
    )
    result = evaluate_events(ours, truth)
    assert (result["n_threats"], result["n_found"]) == (3, 2)
    assert result["recall"] == pytest.approx(2 / 3)
    assert result["recall_by_kind"] == {"pickaxe": 1.0, "walking": 1.0, "cutting": 0.0}
    assert (result["n_events"], result["false_alarms"]) == (7, 4)
    assert result["false_alarms_on"] == {"traffic": 1, "wind": 0}
    assert result["onset_errors_s"] == pytest.approx([1.6, 5])
    assert result["channel_errors"] == [1, 3]
    assert result["found"] == [True, True, False]
    assert result["durations_s"] == pytest.approx([29.6, 30, 20])
    assert result["apart"] == [False, True]  # one that is digging is wind too
    expected = {"onset_error_s": 3.3, "onset_error_apart_s": 5, "channel_error": 2}
    assert median_errors([result]) == pytest.approx(expected)
    more = {"onset_errors_s": [9.0], "channel_errors": [2], "apart": [True]}
    assert median_errors([result, more])["onset_error_apart_s"] == 7


def test_nothing_reported_and_nothing_true_are_no_error() -> None:
    none = evaluate_events(
        SCHEMAS["anomaly_events"].empty_table(),
        pa.Table.from_pylist([true_event("pickaxe", 1, 9, 1, 2, 1)], EVENTS),
    )
    assert (none["recall"], none["false_alarms"]) == (0.0, 0)
    assert math.isnan(median_errors([none])["onset_error_s"])
    empty = evaluate_events(SCHEMAS["anomaly_events"].empty_table(), EVENTS.empty_table())
    assert math.isnan(empty["recall"])


def test_command_prints_the_days_that_have_scores_and_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit, match="1"):
        main(str(tmp_path))
    assert "no day" in capsys.readouterr().err

    rates = {"machine": 60.0, "traffic": 60.0}
    line = Line(zones=((100, 111),), minutes=1, events_per_hour=rates, snrs_db=(15.0,))
    simulate(line, [date(2026, 1, 5), date(2026, 1, 6)], tmp_path, contractor=False)
    store = Store(str(tmp_path))
    activity = read_truth(store, "2026-01-05", "activity")
    scores = windows(line.channels, np.arange(53))
    truth = window_truth(scores, activity)
    table = {name: scores[name].to_pylist() for name in scores.column_names}
    rng = np.random.default_rng(0)
    schema = with_detectors(["vae", "latent"])
    columns = {
        field.name: table.get(field.name, np.where(truth == 1, 2.0, rng.random(len(truth))))
        for field in schema
        if field.name not in ("is_anomaly", "model_version", "invalid")
    }
    columns |= {"is_anomaly": truth == 1, "model_version": ["test"] * len(truth), "invalid": [None] * len(truth)}
    store.write_day("anomaly_scores", "2026-01-05", pa.table(columns, schema=schema))
    ours = [event for event in read_truth(store, "2026-01-05", "events").to_pylist() if event["threat"]]
    blank = dict.fromkeys(SCHEMAS["anomaly_events"].names)
    rows = [{key: event.get(key) for key in blank} | {"score": 3.0} for event in ours]
    store.write_day("anomaly_events", "2026-01-05", pa.Table.from_pylist(rows, SCHEMAS["anomaly_events"]))

    main(str(tmp_path))
    printed = capsys.readouterr().out
    assert "2026-01-06" not in printed
    lines = [line.split() for line in printed.splitlines() if line]
    assert [words[1] for words in lines if words[0] == "2026-01-05"][:3] == ["score_vae", "score_latent", "score"]
    assert lines[1][2:5] == ["1.000", "1.000", "1.000"]
    header = lines.index(next(words for words in lines if "n_threats" in words))
    event_row = dict(
        zip([w for w in lines[header] if w != "false" and w != "on"], lines[header + 1], strict=False)
    )
    assert (event_row["n_threats"], event_row["recall"], event_row["false_alarms"]) == ("1", "1.000", "0")
