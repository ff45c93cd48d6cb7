"""An explanation names the bands and seconds that were planted, normal windows, and the event's like."""

import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets import chain
from dasanom_assets.detection.detectors.neighbours import Neighbours
from dasanom_assets.detection.events.outlines import event_id, find_events
from dasanom_assets.detection.events.unusual import taking_part
from dasanom_assets.detection.explain import ALIKE, CHANCE, EDGE_SLACK_NS, _edges, _resemblance, explain
from dasanom_assets.detection.reference.model import Reference
from dasanom_assets.spectrograms.white_rows import WhiteChannel
from dasanom_assets.spectrograms.whitening import white_day
from dasanom_assets.spectrograms.windows import make_bank
from dasanom_assets.tables.schemas import TIME, mismatch, stack
from dasanom_assets.tables.store import Store
from dasanom_tests.detection.conftest import (
    EVENTFUL,
    EVENTS,
    FIRST,
    GRID,
    HZ,
    QUIET,
    SECOND,
    SETTINGS,
    TRAINED,
    Ground,
    noon,
    write_day,
)


def of_day(store: Store, day: str, reference: Reference) -> tuple[pa.Table, pa.Table]:
    """Windows that take part in events, and the events."""
    windows = list(taking_part(store, day, reference.least_score))
    result = find_events(windows, None, reference.rates, reference.least_score, SETTINGS.window)[0]
    return pa.concat_tables(windows), result


@pytest.fixture(scope="module")
def told(ground: Ground) -> dict[str, tuple[dict, dict]]:
    """Event and explanation of each of the planted ones."""
    events = ground.store.read_day("anomaly_events", EVENTFUL).to_pylist()
    why = {row["event_id"]: row for row in ground.store.read_day("event_explanations", EVENTFUL).to_pylist()}
    assert [row["event_id"] for row in events] == list(why)
    result = {}
    for name, (channels, seconds, _) in EVENTS.items():
        begin, end = (noon(EVENTFUL) + s * SECOND for s in (seconds.start, seconds.stop))
        (event,) = (
            e
            for e in events
            if e["start"].value < end
            and e["end"].value > begin
            and e["first_channel"] < FIRST + channels.stop
            and e["last_channel"] >= FIRST + channels.start
        )
        result[name] = event, why[event["event_id"]]
    return result


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_where_it_was_planted(name: str, told: dict) -> None:
    event, _ = told[name]
    channels, _, _ = EVENTS[name]
    assert channels.start <= event["peak_channel"] - FIRST < channels.stop
    where = (event["fibre"], event["start"].value, event["first_channel"], event["last_channel"])
    assert event["event_id"] == event_id(*where)


def test_events_begin_and_end_with_what_was_planted(told: dict) -> None:
    further = []
    for name, (event, _) in told.items():
        seconds = EVENTS[name][1]
        further.append(noon(EVENTFUL) + seconds.start * SECOND - event["start"].value)
        further.append(event["end"].value - noon(EVENTFUL) - seconds.stop * SECOND)
    assert np.median(further) == 0
    assert min(further) >= 0
    assert max(further) <= EDGE_SLACK_NS + SECOND  # where a quiet frame so near is as loud as a stroke


@pytest.mark.parametrize("name", EVENTS)
def test_the_planted_bands_and_seconds_come_first(name: str, told: dict) -> None:
    _, why = told[name]
    _, seconds, bands = EVENTS[name]
    planted = HZ[bands]
    assert set(why["band_hz"][: len(planted)]) == set(planted)
    assert sum(why["band_weight"][: len(planted)]) > 0.8
    assert (np.diff(why["band_weight"]) <= 0).all()
    assert (np.diff(why["second_weight"]) <= 0).all()
    second = [(position.value - noon(EVENTFUL)) // SECOND for position in why["seconds"]]
    assert all(seconds.start <= s < seconds.stop for s in second)
    assert sum(why["second_weight"]) <= 1


def test_the_nearest_normal_windows_are_those_of_the_detector(ground: Ground, told: dict) -> None:
    event, why = told["high"]
    key = (event["fibre"], event["peak_channel"])
    (channel,) = white_day(ground.store, EVENTFUL, SETTINGS.background, SETTINGS.window, lambda *k: k == key)
    first = np.searchsorted(channel.start_ns, [why["window_start"].value])
    bank = make_bank(channel.rows[:], first, channel.start_ns[first], GRID, SETTINGS.window)
    detector = ground.reference.detectors["neighbours"]
    assert isinstance(detector, Neighbours)
    distance, which = detector.nearest(bank)
    np.testing.assert_allclose(why["normal_distance"], distance[0])
    windows = ground.reference.windows
    assert why["normal_channel"] == windows["channel"][which[0]].tolist()
    assert [position.value for position in why["normal_start"]] == windows["start_ns"][which[0]].tolist()
    assert {f"{position:%Y-%m-%d}" for position in why["normal_start"]} <= set(TRAINED)


def test_an_event_resembles_the_one_with_its_bands_and_no_other(told: dict) -> None:
    (low, why_low), (_, why_high), (_, why_again) = (told[name] for name in ("low", "high", "low again"))
    assert (why_low["resembles"], why_low["similarity"]) == (None, None)
    assert (why_high["resembles"], why_high["similarity"]) == (None, None)
    assert why_again["resembles"] == low["event_id"]
    assert ALIKE <= why_again["similarity"] < 1


def test_a_peak_lies_within_its_event_and_the_strongest_window(told: dict) -> None:
    for event, why in told.values():
        assert event["start"] <= event["peak_start"] < event["end"]
        assert 0 <= event["peak_start"].value - why["window_start"].value < SETTINGS.window.seconds * SECOND


def test_resemblance_is_to_the_most_alike_of_those_before() -> None:
    angle = np.array([0.0, 0.3, 1.2, 1.3, 0.6])
    profiles = list(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    rows = [{"event_id": name} for name in "abcde"]
    _resemblance(rows, profiles)
    assert [row.get("resembles") for row in rows] == [None, "a", None, "c", "b"]
    assert rows[1]["similarity"] == pytest.approx(np.cos(0.3))


def test_explanations_keep_their_contract_with_and_without_events(ground: Ground) -> None:
    stored = ground.store.read_day("event_explanations", EVENTFUL)
    assert mismatch("event_explanations", stored.schema) is None
    np.testing.assert_allclose(np.linalg.norm(stack(stored["profile"]), axis=1), 1, rtol=1e-5)
    scores, events = of_day(ground.store, QUIET, ground.reference)
    events = events.slice(0, 0)
    none, why = explain(ground.store, QUIET, events, scores, ground.reference, SETTINGS)
    assert (none.num_rows, why.num_rows) == (0, 0)
    assert mismatch("event_explanations", why.schema) is None
    assert mismatch("anomaly_events", none.schema) is None


def test_channels_with_events_are_in_memory_one_after_the_other(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[weakref.ref] = []

    def watched(*arguments: Any) -> Iterator[WhiteChannel]:
        for channel in white_day(*arguments):
            assert sum(rows() is not None for rows in read) <= 1
            read.append(weakref.ref(channel.rows))
            yield channel
            del channel

    monkeypatch.setattr("dasanom_assets.detection.explain.white_day", watched)
    scores, events = of_day(ground.store, EVENTFUL, ground.reference)
    result, _ = explain(ground.store, EVENTFUL, events, scores, ground.reference, SETTINGS)
    assert len(read) >= len(EVENTS)
    assert result.equals(ground.store.read_day("anomaly_events", EVENTFUL).replace_schema_metadata())


def test_a_model_without_neighbours_explains_without_normal_windows(ground: Ground) -> None:
    detectors = {k: d for k, d in ground.reference.detectors.items() if k != "neighbours"}
    scores, events = of_day(ground.store, EVENTFUL, ground.reference)
    other = replace(ground.reference, detectors=detectors)
    _, why = explain(ground.store, EVENTFUL, events, scores, other, SETTINGS)
    assert why["normal_start"].to_pylist() == [[]] * events.num_rows
    assert all(why["band_hz"].to_pylist())


def quiet_channel(seed: int) -> WhiteChannel:
    rows = np.random.default_rng(seed).normal(size=(200, 8, 4)).astype(np.float32)
    return WhiteChannel("north", 100, np.arange(200) * SECOND, rows, np.ones(200, bool), {})


ALONG, ROW = np.full(4, 0.5, np.float32), {"start": 92 * SECOND, "end": 99 * SECOND}


def test_edges_are_the_first_and_the_last_of_strokes_with_pauses_between_them() -> None:
    further = []
    for seed in range(50):
        channel = quiet_channel(seed)
        for second in (91, 92, 95, 98):
            channel.rows[second, 2] += 4
        channel.rows[89] = np.nan  # what is missing is neither
        ((number, (begin, end)),) = _edges(ROW, channel, ALONG).items()
        assert number == 100
        further.append((91.25 - begin / SECOND, end / SECOND - 98.375))
    assert np.min(further) >= 0
    assert np.median(further, axis=0).tolist() == [0, 0]
    assert np.mean(np.array(further) == 0) > 0.8
    assert np.max(further) < EDGE_SLACK_NS / SECOND + 1


def test_quiet_frames_have_no_edges() -> None:
    result = [seed for seed in range(200) if _edges(ROW, quiet_channel(seed), ALONG)]
    assert len(result) <= 200 * CHANCE
    silent = quiet_channel(0)
    silent.rows[:] = 0
    assert not _edges(ROW, silent, ALONG)


def test_an_event_that_began_before_midnight_keeps_its_start_and_gets_its_exact_end(
    ground: Ground, later: Store
) -> None:
    day = "2026-01-09"
    midnight = int(np.datetime64(day, "ns").astype(np.int64))

    def at_once(power: np.ndarray) -> None:
        power[5:8, :20, :, :2] += 15

    write_day(later, day, at_once, began=midnight)
    chain.score(later, day, SETTINGS)
    scores, events = of_day(later, day, ground.reference)
    events = events.slice(0, 1)
    began = pa.array([midnight - 10 * SECOND]).cast(TIME)
    events = events.set_column(events.schema.get_field_index("start"), "start", began)
    (result,) = explain(later, day, events, scores, ground.reference, SETTINGS)[0].to_pylist()
    assert result["start"].value == midnight - 10 * SECOND
    assert 0 <= result["end"].value - midnight - 20 * SECOND <= EDGE_SLACK_NS + SECOND


def test_an_event_on_a_channel_that_is_gone_has_no_bands_and_keeps_its_windows_edges(ground: Ground) -> None:
    scores, events = of_day(ground.store, EVENTFUL, ground.reference)
    events = events.slice(0, 1)
    for name in ("first_channel", "last_channel", "peak_channel"):
        position = events.schema.get_field_index(name)
        events = events.set_column(position, name, pa.array([9000], pa.int32()))
    result, why = explain(ground.store, EVENTFUL, events, scores, ground.reference, SETTINGS)
    assert result["start"].equals(events["start"])
    assert why["band_hz"].to_pylist() == [[]]
    assert not stack(why["profile"]).any()
