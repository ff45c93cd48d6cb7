"""What was not heard is counted by reason, and a fibre is broken where all beyond a place falls silent at once."""

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.comparison.heard import breaks, heard_row, mean_level
from dasanom_assets.recordings.of_day import extent
from dasanom_assets.spectrograms.white_rows import WhiteChannel
from dasanom_assets.tables.schemas import SCHEMAS, mismatch

DAY = "2026-03-02"
SECOND = 1_000_000_000
START = extent(DAY)[0]
N = 600


def channel(
    number: int, until: int = N, *, faint_from: int = N, dead: bool = False, fibre: str = "north"
) -> WhiteChannel:
    """A channel that is recorded all the time, silent from `until` on, without an echo from `faint_from` on."""
    second = np.arange(N)
    rows = np.zeros((N, 2, 4), np.float32)
    rows[faint_from:] = -5
    unusable = {"silent": second >= until, "incomplete": second < 3}
    if dead:
        unusable = {"dead": np.ones(N, bool)}
    usable = ~np.any(list(unusable.values()), axis=0)
    return WhiteChannel(fibre, number, START + second * SECOND, rows, usable, unusable)


def heard(*channels: WhiteChannel) -> pa.Table:
    return pa.Table.from_pylist([heard_row(one, mean_level(one.rows)) for one in channels], SCHEMAS["heard"])


def test_seconds_are_counted_by_why_they_cannot_be_used() -> None:
    table = heard(channel(1), channel(2, until=500), channel(3, dead=True))
    assert mismatch("heard", table.schema) is None
    assert table["channel"].to_pylist() == [1, 2, 3]
    assert table["recorded_s"].to_pylist() == [N] * 3
    assert table["usable_s"].to_pylist() == [N - 3, 497, 0]
    assert table["silent_s"].to_pylist() == [0, 100, 0]
    assert table["incomplete_s"].to_pylist() == [3, 3, 0]
    assert table["dead_s"].to_pylist() == [0, 0, N]
    until = table["heard_until"].cast(pa.int64()).to_pylist()
    assert until == [START + N * SECOND, START + 500 * SECOND, None]


@pytest.mark.parametrize("how", ["until", "faint_from"])
def test_a_break_is_where_all_beyond_falls_silent_or_loses_its_echo(how: str) -> None:
    lost = [channel(c, **{how: 400 + c % 2}) for c in range(6, 10)]
    table = heard(*(channel(c) for c in range(6)), *lost)
    assert breaks(table, DAY) == [
        {"fibre": "north", "first_channel": 6, "last_channel": 9, "since": START + 401 * SECOND}
    ]


@pytest.mark.parametrize(
    "channels",
    [
        [channel(c) for c in range(10)],
        [channel(c, until=400) for c in range(10)],  # the recording ended for all
        [channel(c, until=400 if c in (4, 5, 6) else N) for c in range(10)],  # in the middle
        [channel(c, until=400 if c == 9 else N) for c in range(10)],  # the last channel alone
        [channel(c, until=570 if c > 5 else N) for c in range(10)],  # for half a minute
    ],
)
def test_what_is_no_break_is_none(channels: list[WhiteChannel]) -> None:
    assert breaks(heard(*channels), DAY) == []


def test_what_was_lost_before_has_not_broken_today() -> None:
    today = heard(*(channel(c, dead=c > 5) for c in range(10)))
    whole, lost = heard(*(channel(c) for c in range(10))), today
    assert breaks(today, DAY) == []
    assert breaks(today, DAY, lost) == []
    (broken,) = breaks(today, DAY, whole)
    assert (broken["first_channel"], broken["since"]) == (6, START)
