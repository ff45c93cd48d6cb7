"""Which files of a day that is not over are scored now, and where the tables of a stretch lie."""

import os
from pathlib import Path

import pyarrow as pa
import pytest

from dasanom_assets import chain, today
from dasanom_assets.detection.events.so_far import TABLE
from dasanom_assets.tables.schemas import SCHEMAS, empty
from dasanom_assets.tables.store import Store

DAY, BEFORE = "2026-01-05", "2026-01-04"
NOW = 1_767_607_200.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "landing" / DAY).mkdir(parents=True)
    return Store(str(tmp_path))


def deliver(store: Store, name: str, age: float, size: int = 1) -> str:
    path = f"landing/{DAY}/{name}"
    Path(store.full(path)).write_bytes(b"x" * size)
    os.utime(store.full(path), (NOW - age,) * 2)
    return path


def told(store: Store, *paths: str) -> None:
    files = {f["path"]: today._state(f) for f in store.listing(f"landing/{DAY}") if f["path"] in paths}
    store.write_day(TABLE, DAY, empty(TABLE), {"files": files})


def test_a_file_waits_until_it_has_not_changed_for_a_while(store: Store) -> None:
    old, young = deliver(store, "a.h5", 60), deliver(store, "b.h5", 5)
    assert today.waiting(store, DAY, NOW) == ([old], [young])


def test_a_bundle_waits_for_its_sidecar(store: Store) -> None:
    samples, sidecar = deliver(store, "a.bin", 60), deliver(store, "a.bin.info", 5)
    assert today.waiting(store, DAY, NOW) == ([], [samples, sidecar])


def test_what_is_still_copied_or_hidden_is_no_file_yet(store: Store) -> None:
    for name in ("a.h5.part", ".a.h5", "a.tmp"):
        deliver(store, name, 60)
    assert today.waiting(store, DAY, NOW) == ([], [])


def test_a_clock_that_is_ahead_holds_nothing_up(store: Store) -> None:
    assert today.waiting(store, DAY, NOW)[0] == []
    late = deliver(store, "a.h5", -7200)
    assert today.waiting(store, DAY, NOW) == ([late], [])


def test_a_file_is_scored_once_and_again_when_it_has_changed(store: Store) -> None:
    first, second = deliver(store, "a.h5", 60), deliver(store, "b.h5", 60)
    told(store, first)
    assert today.waiting(store, DAY, NOW)[0] == [second]
    deliver(store, "a.h5", 60, size=2)
    assert today.waiting(store, DAY, NOW)[0] == [first, second]


def test_files_that_adjoin_a_new_one_go_with_it() -> None:
    second = 1_000_000_000
    spans = {"a": [0, 10 * second], "b": [400 * second, 500 * second], "new": [100 * second, 300 * second]}
    assert today._adjoining({"new": spans["new"]}, spans) == {"a", "b", "new"}
    far = spans | {"b": [421 * second, 500 * second]}
    assert today._adjoining({"new": spans["new"]}, far) == {"a", "new"}


def test_yesterday_is_at_work_until_the_night_has_scored_it(store: Store) -> None:
    assert today.days_at_work(store, [BEFORE, DAY], DAY) == [BEFORE, DAY]
    store.write_day("anomaly_events", BEFORE, empty("anomaly_events"))
    assert today.days_at_work(store, [BEFORE, DAY], DAY) == [DAY]


def test_a_part_of_a_day_has_its_own_tables_and_the_other_days_of_the_store(store: Store) -> None:
    row = {"fibre": "north", "channel": 1, "state": "ok"}
    whole = pa.Table.from_pylist([row], SCHEMAS["channel_health"])
    store.write_day("channel_health", BEFORE, whole)
    store.write_day("channel_health", DAY, whole)
    part = store.part_of_day(DAY, "today/part", [])
    assert part.days("channel_health") == [BEFORE]
    part.write_day("channel_health", DAY, empty("channel_health"))
    assert part.days("channel_health") == [BEFORE, DAY]
    assert (part.read_day("channel_health", DAY).num_rows, part.read_day("channel_health", BEFORE).num_rows) == (
        0,
        1,
    )
    assert store.read_day("channel_health", DAY).num_rows == 1


def test_a_stretch_goes_through_all_steps_that_its_scores_are_made_of() -> None:
    names = [step.tables[0] for step in today.steps()]
    assert {"recordings", "spectrograms", "background", "common_levels", "embeddings"} <= set(names)
    assert set(names) < {step.tables[0] for step in (*chain.INGEST, *chain.SCORE)}
