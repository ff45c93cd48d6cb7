"""Levels of a channel are unpacked as they are looked at, whatever their file is made of."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.spectrograms import frames as module
from dasanom_assets.spectrograms.frames import DayFrames, PackedLevels, day_frames, row_parts
from dasanom_assets.spectrograms.hours import rows_table
from dasanom_assets.tables.store import Store

GRID = SpectrogramSettings(bands=4, hop_seconds=0.5)
DAY, MIDNIGHT_S = "2026-01-05", int(np.datetime64("2026-01-05", "s").astype(int))
HOUR = 3600


def write(store: Store, hours: list[np.ndarray], channels: list[int], seed: int = 0) -> dict[int, np.ndarray]:
    """Write a day of row groups, one for each channel and hour of seconds; return the levels in order of time."""
    rng = np.random.default_rng(seed)
    tables, levels = [], {}
    for channel in channels:
        parts = [rng.normal(-60, 9, (len(hour), 2, 4)).astype(np.float32) for hour in hours]
        tables += [
            rows_table("north", channel, (MIDNIGHT_S + hour) * 1_000_000_000, part)
            for hour, part in zip(hours, parts, strict=True)
        ]
        levels[channel] = np.concatenate(parts)[np.argsort(np.concatenate(hours), kind="stable")]
    note = {"settings": GRID.model_dump(mode="json"), "settings_digest": GRID.digest()}
    store.write_day("spectrograms", DAY, tables, note)
    return levels


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    order=st.sampled_from(["in order", "late files last", "interleaved", "shuffled"]),
    ends=st.lists(st.tuples(st.integers(-5, 130), st.integers(-5, 130)), min_size=1, max_size=6),
)
def test_any_slice_is_that_of_all_levels(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], order: str, ends: list[tuple[int, int]]
) -> None:
    store = Store(str(tmp_path_factory.mktemp("day")))
    edges = np.cumsum([0, *sizes])
    hours = [np.arange(a, b) for a, b in pairwise(edges)]
    if order == "late files last":
        hours = hours[::-1]
    elif order == "interleaved":
        hours = [part for part in (np.arange(0, edges[-1], 2), np.arange(1, edges[-1], 2)) if len(part)]
    elif order == "shuffled":
        hours = [np.random.default_rng(edges[-1]).permutation(edges[-1])]
    levels = write(store, hours, [5, 6])
    for channel in day_frames(store, DAY):
        whole = levels[channel.channel]
        assert (np.diff(channel.start_ns) > 0).all()
        assert channel.power_db.shape == whole.shape
        for begin, end in ends:
            np.testing.assert_array_equal(channel.power_db[begin:end], whole[begin:end])
        np.testing.assert_array_equal(channel.power_db, whole)


def test_one_row_group_at_a_time_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    write(store, [np.arange(h * 40, h * 40 + 40) for h in range(3)], [5])
    (channel,) = day_frames(store, DAY)
    unpacked: list[int] = []
    read = module.read_vectors

    def noted(content: bytes, out: np.ndarray) -> None:
        unpacked.append(len(out))
        read(content, out)

    monkeypatch.setattr(module, "read_vectors", noted)
    for first in range(0, 120, 8):  # windows over the edges of row groups, one after the other
        channel.power_db[first : first + 12]
    assert unpacked == [40, 40, 40]


def test_every_second_row_is_not_asked_for(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write(store, [np.arange(40)], [5])
    (channel,) = day_frames(store, DAY)
    with pytest.raises(ValueError, match="a step of 2"):
        channel.power_db[::2]


def test_only_the_row_groups_of_an_hour_are_read(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    levels = write(store, [np.arange(h * HOUR, h * HOUR + 20) for h in (0, 1, 5)], [5, 6])
    frames = DayFrames(store, DAY)
    for number, hour in enumerate((0, 1, 5)):
        begin = MIDNIGHT_S + hour * HOUR
        for channel in frames.channels(frames.keys, (begin, begin + HOUR)):
            np.testing.assert_array_equal(channel.start_ns // 1_000_000_000, begin + np.arange(20))
            np.testing.assert_array_equal(
                channel.power_db, levels[channel.channel][20 * number : 20 * number + 20]
            )
    empty = list(frames.channels(frames.keys, (MIDNIGHT_S + 3 * HOUR, MIDNIGHT_S + 4 * HOUR)))
    assert [(channel.channel, channel.power_db.shape) for channel in empty] == [(5, (0, 2, 4)), (6, (0, 2, 4))]
    assert frames.extents() == {"north": ((5, 6), (MIDNIGHT_S, MIDNIGHT_S + 5 * HOUR + 20))}


def test_no_rows_are_one_empty_part() -> None:
    assert list(row_parts(0)) == [slice(0, 0)]
    assert PackedLevels([], [], (2, 4))[0:0].shape == (0, 2, 4)
    assert sum(part.stop - part.start for part in row_parts(10_000)) == 10_000
