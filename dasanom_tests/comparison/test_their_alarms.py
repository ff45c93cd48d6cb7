"""The contractor's alarms are read channel by channel, each once."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.comparison.their_alarms import TheirAlarms, rows_of_day, rows_of_table
from dasanom_assets.settings import ComparisonSettings
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import DayFile, MissingDayError, Store

DAY, SECOND = "2026-01-05", 1_000_000_000
MIDNIGHT = int(np.datetime64(DAY, "ns").astype(np.int64))
CHANNELS = [("north", 7), ("north", 9), ("south", 7)]


def rows(fibre: str, channel: int, n: int = 40) -> pa.Table:
    """A fifth of a second each, of which the sixth part alarms; the last is shorter."""
    start = MIDNIGHT + np.arange(n) * (SECOND // 5)
    end = np.append(start[1:], start[-1] + SECOND // 10)
    threat = np.where((np.arange(n) + channel) % 6, 0.1, 0.9)
    return pa.Table.from_pylist(
        [
            {"fibre": fibre, "channel": channel, "start": int(a), "end": int(b), "p_noise": 1 - p}
            | dict.fromkeys(("p_digging", "p_walking", "p_cutting", "p_machine"), p / 4)
            for a, b, p in zip(start, end, threat, strict=True)
        ],
        SCHEMAS["contractor_scores"],
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path))
    store.write_day("contractor_scores", DAY, [rows(*key) for key in CHANNELS])
    return store


def test_a_channel_is_read_once_and_without_the_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = DayFile.read_row_group

    def noted(self: DayFile, i: int, columns: list[str] | None = None, **options: object) -> pa.Table:
        read.append(i)
        return original(self, i, columns, **options)

    monkeypatch.setattr(DayFile, "read_row_group", noted)
    of_day = TheirAlarms(rows_of_day(store, "contractor_scores", DAY), ComparisonSettings())
    windows = MIDNIGHT + np.arange(5) * SECOND, MIDNIGHT + (np.arange(5) + 2) * SECOND
    everything = pa.concat_tables(rows(*key) for key in CHANNELS)
    in_memory = TheirAlarms(rows_of_table(everything), ComparisonSettings())
    for key in [*CHANNELS, ("north", 8), ("west", 7)]:
        alarms = of_day.rows(*key)
        assert alarms.to_pylist() == in_memory.rows(*key).to_pylist()
        assert len(alarms) == (6 + (key[1] == 9) if key in CHANNELS else 0)
        within = of_day.within(*key, *windows)
        np.testing.assert_array_equal(within, in_memory.within(*key, *windows))
        assert within.any() == (key in CHANNELS)
    assert read == [0, 1, 2]


def test_a_day_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingDayError):
        rows_of_day(Store(str(tmp_path)), "contractor_scores", DAY)
