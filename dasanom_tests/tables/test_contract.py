"""What breaks the contract of a table is noted while rows are written, whichever way they come."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.orchestration.checks import contract_violations
from dasanom_assets.spectrograms.hours import rows_table
from dasanom_assets.tables.contract import CONTRACT_KEY
from dasanom_assets.tables.parquet import encode
from dasanom_assets.tables.store import Store

DAY = "2026-01-05"
MIDNIGHT = int(np.datetime64(DAY, "ns").astype(np.int64))
SECOND = 1_000_000_000


def rows(channel: int, seconds: list[int], fibre: str = "north") -> pa.Table:
    start = MIDNIGHT + np.array(seconds, np.int64) * SECOND
    return rows_table(fibre, channel, start, np.zeros((len(seconds), 2, 4), np.float32))


def broken(store: Store, groups: list[pa.Table], by_parts: bool) -> list[str]:
    if by_parts:
        store.write_day_parts("spectrograms", DAY, map(encode, groups))
    else:
        store.write_day("spectrograms", DAY, iter(groups))
    return contract_violations(store, "spectrograms", DAY)


AGAIN = "rows repeat the key fibre, channel, start"
BEFORE = "row groups hold a start that is not after those before it of the same key"


@pytest.mark.parametrize("by_parts", [False, True])
@pytest.mark.parametrize(
    ("groups", "wanted"),
    [
        ([rows(1, [0, 1]), rows(2, [0, 1]), rows(1, [2, 3]), rows(1, [2], "south")], []),
        ([rows(1, [])], []),
        ([rows(1, [0, 1, 1, 1])], [f"2 {AGAIN}"]),
        ([rows(1, [3, 1, 2])], []),
        ([rows(1, [0, 1]), rows(1, [1, 2]), rows(2, [5])], [f"1 {BEFORE}"]),
        ([rows(1, [5]), rows(2, [9]), rows(1, [4])], [f"1 {BEFORE}"]),
        ([rows(1, [-1, 0, 86_399, 86_400])], [f"2 rows do not lie within {DAY}"]),
    ],
)
def test_what_rows_break_is_noted(
    tmp_path: Path, groups: list[pa.Table], wanted: list[str], by_parts: bool
) -> None:
    assert broken(Store(str(tmp_path)), groups, by_parts) == wanted


def test_several_channels_of_a_row_group_are_told_apart(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    both = pa.concat_tables([rows(1, [0, 1]), rows(2, [0, 1])])
    assert broken(store, [both, rows(2, [2]), rows(1, [2])], False) == []
    assert broken(store, [both, rows(2, [1]), rows(1, [2])], False) == [f"1 {BEFORE}"]


def test_a_table_of_others_is_told_apart_from_one_that_keeps_its_contract(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert broken(store, [rows(1, [0])], False) == []
    assert json.loads(store.footer("spectrograms", DAY)[CONTRACT_KEY]) == []
    import pyarrow.parquet as pq

    pq.write_table(rows(1, [0]), store.full(store.day_path("spectrograms", DAY)))
    assert contract_violations(store, "spectrograms", DAY) == [
        f"spectrograms of {DAY} was not written by this project: materialize it again"
    ]
