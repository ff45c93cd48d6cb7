"""Terms hold a segment against the right others, whatever days there are."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.detection.minutes.days import Calendar, local_seconds
from dasanom_assets.detection.minutes.gaussians import Gaussians, divergence, fit_gaussians
from dasanom_assets.detection.minutes.segments import Segments, models_table
from dasanom_assets.detection.minutes.terms import (
    TERMS,
    DayTerms,
    History,
    StoredSegments,
    channel_terms,
    needed_days,
    standing_out,
    temporal_terms,
)
from dasanom_assets.settings import SpectrogramSettings, TemporalSettings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import SCHEMAS, TIME, empty, mismatch
from dasanom_assets.tables.store import Store

SETTINGS = TemporalSettings(dimensions=3)
NOTE = {"spectrogram": SpectrogramSettings().model_dump(mode="json"), "segments": {}}
DAY = "2026-03-04"  # a Wednesday


def second(day: str, clock: str = "00:00") -> int:
    return int(datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC).timestamp())


def day_before(day: str, n: int) -> str:
    return str(date.fromisoformat(day) - timedelta(days=n))


def models(n: int, seed: int, shift: float = 0.0) -> Gaussians:
    return fit_gaussians(np.random.default_rng(seed).normal(shift, size=(n, 40, 3)))


def write(
    store: Store, day: str, clock: str = "10:00", n: int = 20, shift: float = 0.0, note: dict = NOTE, **to: float
) -> None:
    """Write segments of two channels from a time of day on."""
    start = second(day, clock) + 30 * np.arange(n)
    tables = []
    for channel in (7, 8):
        result = models(n, second(day) % 10_007 + channel, shift)
        rows = Segments("north", channel, start * SECOND_NS, result, np.full(n, 40, np.int32))
        tables.append(models_table(rows, np.full(n, to.get("to_neighbours", np.nan), np.float32), SETTINGS))
    store.write_day("segment_models", day, iter(tables), note)


def stored(store: Store, day: str, channel: int = 8) -> History:
    (result,) = StoredSegments(store, day).of([("north", channel)])
    assert result is not None
    return result


def terms(store: Store, day: str = DAY, settings: TemporalSettings = SETTINGS, channel: int = 8) -> np.ndarray:
    tables = list(temporal_terms(store, day, settings))
    assert all(mismatch("temporal_terms", table.schema) is None for table in tables)
    (rows,) = (t for t in tables if t.num_rows and t["channel"][0].as_py() == channel)
    return np.stack([rows[name].to_numpy() for name in TERMS], axis=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def least(today: History, earlier: History, lag_seconds: int, slack: int = 60) -> np.ndarray:
    out = np.full(len(today.start), np.nan)
    for i, start in enumerate(today.start):
        near = np.abs(earlier.start - (start - lag_seconds)) <= slack
        if near.any():
            out[i] = divergence(today.models[i], earlier.models[near]).min()
    return out


def test_terms_are_what_their_definitions_say_segment_by_segment(store: Store) -> None:
    for lag in range(5):
        write(store, day_before(DAY, lag), to_neighbours=[3.0, 1.0, 1.5, 8.0, 1.2][lag])
    result = terms(store)
    today, written = stored(store, DAY), models(20, second(DAY) % 10_007 + 8)
    np.testing.assert_array_equal(today.models.means, written.means)
    np.testing.assert_array_equal(today.models.variances, written.variances)
    expected = np.full(20, np.nan)
    expected[2:] = divergence(today.models[2:], today.models[:-2])
    np.testing.assert_allclose(result[:, 0], expected, rtol=1e-5)
    by_day = [least(today, stored(store, day_before(DAY, lag)), lag * 86_400) for lag in range(1, 5)]
    np.testing.assert_allclose(result[:, 1], np.min(by_day, axis=0), rtol=1e-5)
    # Wednesday: Tuesday and Monday are working days, Sunday and Saturday are not: two are too few.
    np.testing.assert_array_equal(result[:, 2], result[:, 1])
    np.testing.assert_allclose(result[:, 3], 3.0 - np.median([1.0, 1.5, 8.0, 1.2]), rtol=1e-5)


def test_the_first_day_has_no_history_and_short_ones_work(store: Store) -> None:
    write(store, DAY, n=3, to_neighbours=2.0)
    result = terms(store)
    assert np.isnan(result[:, 1:]).all()
    assert np.isnan(result[:2, 0]).all()
    assert np.isfinite(result[2, 0])


def test_later_days_and_days_of_other_settings_are_no_reference_and_missing_days_do_no_harm(store: Store) -> None:
    for lag in (6, 2):
        write(store, day_before(DAY, lag))
    write(store, DAY)
    before = terms(store)
    write(store, day_before(DAY, -1))
    write(store, day_before(DAY, 1), note=NOTE | {"segments": {"dimensions": 4}})
    write(store, day_before(DAY, 58))  # beyond the look-back
    np.testing.assert_array_equal(terms(store), before)
    assert needed_days(store, DAY, SETTINGS) == [day_before(DAY, 6), day_before(DAY, 2)]


def test_what_raised_an_alarm_is_no_reference(store: Store) -> None:
    other = day_before(DAY, 1)
    for day in (DAY, other):
        write(store, day, to_neighbours=1.0)
    event = {
        "fibre": ["north"] * 2,
        "start": pa.array([second(other, "10:03") * SECOND_NS] * 2, pa.int64()).cast(TIME),
        "end": pa.array([second(other, "10:03") * SECOND_NS + 1] * 2, pa.int64()).cast(TIME),
        "first_channel": pa.array([8, 20], pa.int32()),
        "last_channel": pa.array([9, 30], pa.int32()),
    }
    none = empty("anomaly_events").schema
    rows = [event[f.name] if f.name in event else pa.nulls(2, f.type) for f in none]
    store.write_day("anomaly_events", other, pa.table(rows, schema=none))
    result, untouched = terms(store), terms(store, channel=7)
    today, earlier = stored(store, DAY), stored(store, other)
    # Segments from 10:02:00 + 1 ns to 10:03:00 overlap the event: those of 10:02:30 and 10:03:00.
    kept = earlier[~np.isin(earlier.start - second(other, "10:00"), [150, 180])]
    np.testing.assert_allclose(result[:, 1], least(today, kept, 86_400), rtol=1e-5)
    whole = least(stored(store, DAY, 7), stored(store, other, 7), 86_400)
    np.testing.assert_allclose(untouched[:, 1], whole, rtol=1e-5)


def test_weekdays_have_weekdays_as_reference_and_few_of_them_the_days_before(store: Store) -> None:
    for lag in range(1, 22):
        day = day_before(DAY, lag)
        write(store, day, shift=0.0 if lag % 7 == 0 else 4.0)  # Wednesdays are quiet, all other days loud
    write(store, DAY)
    result = terms(store)
    today = stored(store, DAY)
    weeks = [least(today, stored(store, day_before(DAY, lag)), lag * 86_400) for lag in (7, 14, 21)]
    np.testing.assert_allclose(result[:, 2], np.min(weeks, axis=0), rtol=1e-5)


def test_the_same_time_is_that_of_local_clocks(store: Store) -> None:
    zone = "Europe/Berlin"  # clocks go forward on 29 March 2026
    settings = SETTINGS.model_copy(update={"time_zone": zone, "slack_segments": 0})
    start = np.array([second("2026-03-28", "10:00"), second("2026-03-30", "10:00")])
    local = local_seconds(start, zone)
    clocks = [datetime.fromtimestamp(int(s), ZoneInfo(zone)).replace(tzinfo=UTC).timestamp() for s in start]
    np.testing.assert_array_equal(local, clocks)
    write(store, "2026-03-28", "10:00")
    write(store, "2026-03-30", "09:00")
    result = terms(store, "2026-03-30", settings)
    expected = least(stored(store, "2026-03-30"), stored(store, "2026-03-28"), 47 * 3600, slack=0)
    np.testing.assert_allclose(result[:, 1], expected, rtol=1e-5)
    assert np.isnan(terms(store, "2026-03-30", settings.model_copy(update={"time_zone": "UTC"}))[:, 1]).all()


def test_days_of_a_far_time_zone_reach_into_the_utc_days_around(store: Store) -> None:
    settings = SETTINGS.model_copy(update={"time_zone": "Pacific/Auckland"})
    for lag in (1, 0):
        write(store, day_before(DAY, lag), "23:50", n=18)
    result = terms(store, DAY, settings)
    expected = least(stored(store, DAY), stored(store, day_before(DAY, 1)), 86_400)
    np.testing.assert_allclose(result[:, 1], expected, rtol=1e-5)


def test_the_segment_before_may_lie_on_the_day_before_but_not_long_ago(store: Store) -> None:
    other = day_before(DAY, 1)
    write(store, other, "23:50", n=19)  # to 23:59:00 and 60 s
    write(store, DAY, "00:00", n=2)
    result = terms(store)
    today, earlier = stored(store, DAY), stored(store, other)
    np.testing.assert_allclose(result[:, 0], divergence(today.models, earlier.models[-1:]), rtol=1e-5)
    write(store, DAY, "00:02", n=2)
    assert np.isnan(terms(store)[:, 0]).all()
    later = History(today.start + np.array([0, 600]), today.models, today.to_neighbours)
    assert np.isnan(channel_terms(later, later[:0], Calendar.of([], SETTINGS))[:, 0]).all()


def test_the_usual_divergence_of_neighbours_is_that_of_the_hour() -> None:
    start = second(DAY, "10:00") - 86_400 + 1800 * np.arange(6)  # 10:00 to 12:30 on the day before
    earlier = History(start, models(6, 1), np.array([1, 1, 5, 7, np.nan, np.nan], np.float32))
    today = History(start + 86_400, models(6, 2), np.full(6, 4, np.float32))
    calendar = Calendar.of([day_before(DAY, 1)], SETTINGS)
    np.testing.assert_allclose(channel_terms(today, earlier, calendar)[:, 3], [3, 3, -2, -2, np.nan, np.nan])
    assert channel_terms(today[:0], earlier, calendar).shape == (0, 4)


def test_a_window_has_the_largest_terms_of_the_segments_that_overlap_it(store: Store) -> None:
    start = second(DAY) + np.array([0, 30, 60, 300])
    values = np.array([[1, np.nan, 7], [5, np.nan, 6], [2, 9, np.nan], [8, 8, 8]], np.float32)
    columns = {
        "fibre": pa.array(["north"] * 4),
        "channel": pa.array([3] * 4, pa.int32()),
        "start": pa.array(start * SECOND_NS, pa.int64()).cast(TIME),
        "end": pa.array((start + 60) * SECOND_NS, pa.int64()).cast(TIME),
        **{name: pa.array(values[:, i]) for i, name in enumerate(TERMS[:3])},
        "neighbours": pa.array(np.full(4, np.nan, np.float32)),
    }
    store.write_day("temporal_terms", DAY, pa.table(columns, schema=SCHEMAS["temporal_terms"]))
    begin = (second(DAY) + np.array([0, 22, 23, 59, 112, 120, 295])) * SECOND_NS
    of_day = DayTerms(store, DAY)
    result = of_day.of("north", 3, begin, begin + 8 * SECOND_NS)
    nan = np.nan
    expected = [[1, nan, 7], [1, nan, 7], [5, nan, 7], [5, 9, 7], [2, 9, nan], [nan] * 3, [8, 8, 8]]
    np.testing.assert_array_equal(result, [[*row, nan] for row in expected])
    assert np.isnan(of_day.of("north", 4, begin, begin + SECOND_NS)).all()
    assert of_day.of("north", 3, begin[:0], begin[:0]).shape == (0, 4)
    assert standing_out(store, DAY) == ("north", 3, second(DAY) + 300)
