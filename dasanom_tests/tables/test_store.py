"""A day is replaced whole, whatever happens to the writer; other programs can open it.

It is one file of more than 350 lines: each kind of storage is held to the same promises.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from s3fs.core import S3File

from dasanom_assets.tables.parquet import encode
from dasanom_assets.tables.schemas import (
    KEYS,
    SCHEMAS,
    TIME,
    detectors_in,
    empty,
    mismatch,
    stack,
    vector,
    with_detectors,
)
from dasanom_assets.tables.store import READ_AHEAD, MissingDayError, StorageFullError, Store

DAY = "2026-01-05"


def background(level: float, n: int = 3) -> pa.Table:
    values = np.full((n, 4), level, np.float32)
    return pa.table(
        {
            "fibre": pa.array(["north"] * n, pa.string()),
            "channel": pa.array(np.arange(n, dtype=np.int32)),
            "median_db": vector(values),
            "mad_db": vector(values + 1),
        }
    )


def level(store: Store) -> float:
    return float(stack(store.read_day("background", DAY)["median_db"]).mean())


def unfinished(store: Store) -> list[Path]:
    """Files that writers left, which no listing of the store shows."""
    return list(Path(store.full("tables")).rglob("*.partial")) if store.is_local else []


def bucket(store: Store) -> str:
    return store.full("").split("/")[0]


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path) if request.param == "local" else request.getfixturevalue("s3"))


def test_what_is_aside_is_written_and_read_there_and_all_else_in_its_place(store: Store) -> None:
    store.write_day("background", DAY, background(1.0))
    aside = store.aside("trial", ["tables/background", "models/live.json"])
    assert aside.days("background") == []
    aside.write_day("background", DAY, background(2.0))
    aside.write_json("models/live.json", {})
    aside.write_json("models/live.json.more", {})
    assert (level(store), level(aside)) == (1.0, 2.0)
    assert aside.days("background") == store.days("background") == [DAY]
    assert store.exists("trial/tables/background")
    assert [store.exists(f"models/live.json{more}") for more in ("", ".more")] == [False, True]


def test_a_day_comes_back_as_written_and_a_new_one_replaces_it(store: Store) -> None:
    assert not store.has_day("background", DAY)
    assert store.write_day("background", DAY, background(1.0), {"days": [DAY]}) == 3
    assert store.write_day("background", DAY, iter([background(2.0), background(4.0, 1)])) == 4
    assert store.days("background") == [DAY]
    assert [t.num_rows for t in store.iter_day("background", DAY)] == [3, 1]
    assert level(store) == pytest.approx(2.5)
    assert store.metadata("background", DAY) == {}


def test_a_writer_that_fails_leaves_the_old_day(store: Store) -> None:
    store.write_day("background", DAY, background(1.0), {"n": 1})

    def half() -> object:
        yield background(2.0)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="no space left for tables/background/day=2026-01-05"):
        store.write_day("background", DAY, half())
    assert level(store) == 1.0
    assert store.metadata("background", DAY) == {"n": 1}
    assert len(store.listing("tables", recursive=True)) == 1
    assert unfinished(store) == []
    if not store.is_local:
        assert "Uploads" not in store.fs.call_s3("list_multipart_uploads", Bucket=bucket(store))


def test_a_killed_writer_leaves_the_old_day_and_nothing_that_readers_see(store: Store) -> None:
    store.write_day("background", DAY, background(1.0))
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
from test_store import DAY, Store, background
from dasanom_assets.tables.schemas import vector
def slow():
    rng = np.random.default_rng(0)
    while True:
        noise = vector(rng.random((100_000, 4), dtype=np.float32))
        yield background(2.0, 100_000).set_column(2, "median_db", noise)
        print("wrote", flush=True)
Store({store.url("")!r}).write_day("background", DAY, slow())
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert child.stdout is not None
    for _ in range(100):  # past the size of a part of an upload
        assert child.stdout.readline() == b"wrote\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert level(store) == 1.0
    assert [e["path"] for e in store.listing("tables", recursive=True)] == [store.day_path("background", DAY)]
    if store.is_local:
        assert len(unfinished(store)) == 1
        assert len(pd.read_parquet(store.full("tables/background"))) == 3
        assert len(pl.read_parquet(store.full("tables/background/**/*.parquet"))) == 3
    else:
        assert store.fs.call_s3("list_multipart_uploads", Bucket=bucket(store))["Uploads"]
    assert store.write_day("background", DAY, background(3.0)) == 3
    assert level(store) == 3.0
    assert unfinished(store) == []


def test_what_a_living_writer_has_not_finished_is_left_to_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path))

    def other_writes_first() -> Iterator[pa.Table]:
        yield background(2.0)
        Store(str(tmp_path)).write_day("background", DAY, background(1.0))
        assert level(store) == 1.0

    store.write_day("background", DAY, other_writes_first())
    assert level(store) == 2.0
    assert unfinished(store) == []


def test_writers_of_one_file_at_once_all_finish(tmp_path: Path) -> None:
    def write(n: int) -> None:
        for _ in range(200):
            Store(str(tmp_path)).write_bytes("tables/a.json", b"%d" % n * 1000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    content = Store(str(tmp_path)).read_bytes("tables/a.json")
    assert len(content) == 1000
    assert len(set(content)) == 1
    assert unfinished(Store(str(tmp_path))) == []


def test_two_writers_of_one_store_do_not_mix(store: Store) -> None:
    def slowly(day: str) -> Iterator[pa.Table]:
        for _ in range(20):
            time.sleep(0.005)
            yield background(float(day[-2:]))
        if day.endswith("08"):
            raise RuntimeError("this one fails")

    days = [f"2026-01-{d:02d}" for d in range(5, 9)]
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(store.write_day, "background", day, slowly(day)) for day in days]
    assert [future.exception() is None for future in done] == [True, True, True, False]
    assert store.days("background") == days[:3]
    for day in days[:3]:
        assert set(stack(store.read_day("background", day)["median_db"]).ravel()) == {float(day[-2:])}


def test_what_another_program_writes_is_seen_at_once(s3: str) -> None:
    here, there = Store(s3), Store(s3)
    there.fs = type(there.fs)(skip_instance_cache=True)
    there.write_day("background", DAY, background(1.0))
    assert len(here.listing("tables", recursive=True)) == 1
    there.write_day("background", DAY, background(2.0, 1000))
    assert level(here) == 2.0
    there.fs.rm(there.full(there.day_path("background", DAY)))
    assert not here.has_day("background", DAY)


def test_one_row_group_is_read_from_afar_without_the_others(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(s3)
    values = np.random.default_rng(0).random((100_000, 64), dtype=np.float32)
    hour = background(1.0, 100_000).set_column(2, "median_db", vector(values))
    store.write_day("background", DAY, [hour, hour, hour, hour])
    (entry,) = store.listing("tables", recursive=True)
    read: list[int] = []
    fetch = S3File._fetch_range

    def counted(file: S3File, start: int, end: int) -> bytes:
        content = fetch(file, start, end)
        read.append(len(content))
        return content

    monkeypatch.setattr(S3File, "_fetch_range", counted)
    with store.open_day("background", DAY) as file:
        assert file.read_row_group(1).equals(hour)
    assert len(read) <= 3
    assert sum(read) < entry["size"] / 4 + 2 * READ_AHEAD


def test_no_space_left_is_an_error_that_says_so_and_the_old_day_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
from test_store import DAY, Store, background, level
from dasanom_assets.tables.schemas import vector
from dasanom_assets.tables.store import StorageFullError
store = Store({str(disk)!r})
store.write_day("background", DAY, background(1.0))
noise = vector(np.random.default_rng(0).random((1_000_000, 4)))
big = background(2.0, 1_000_000).set_column(2, "median_db", noise)
try:
    store.write_day("background", DAY, big)
except StorageFullError as error:
    print(error)
assert level(store) == 1.0
assert len(store.listing("tables", recursive=True)) == 1
"""
    mounted = ["unshare", "--mount", "--user", "--map-root-user"] if os.getuid() else ["unshare", "--mount"]
    script = f"mount -t tmpfs -o size=1m tmpfs {disk} && exec {sys.executable} -"
    done = subprocess.run([*mounted, "sh", "-c", script], input=program, capture_output=True, text=True)
    if done.returncode and "mount" in done.stderr:
        pytest.skip(f"this machine does not let a test mount a small disk: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "no space left for tables/background/day=2026-01-05/background.parquet: free some" in done.stdout


def test_a_range_is_read_and_a_file_that_ends_before_is_named(store: Store) -> None:
    store.write_bytes("landing/a.bin", b"0123456789")
    assert store.read_range("landing/a.bin", 3, 7) == b"3456"
    assert store.read_range("landing/a.bin", 3, 3) == b""
    for start in (3, 10, 11):
        with pytest.raises(OSError, match=r"landing/a\.bin ends early: 10 bytes of at least 12"):
            store.read_range("landing/a.bin", start, 12)
    with pytest.raises(FileNotFoundError):
        store.read_range("landing/b.bin", 0, 1)


def test_keys_of_an_object_store_show_nowhere(s3: str) -> None:
    store = Store(s3)
    store.write_day("background", DAY, background(1.0), {"days": [DAY]})
    shown = [store.url("tables"), repr(store), str(store.listing("tables", recursive=True))]
    with pytest.raises(MissingDayError) as error:
        store.read_day("background", "2026-01-06")
    shown += [str(error.value), store.read_bytes(store.day_path("background", DAY)).decode("latin1")]
    with pytest.raises(FileNotFoundError) as failed:
        Store("s3://no-such-bucket-of-ours/data").write_json("a.json", {})
    shown += traceback.format_exception(failed.value)
    assert not [text for text in shown if "-of-the-test" in text]


@pytest.mark.parametrize("root", ["s3://AKIA:a/secret@bucket/data", "sftp://me:a-secret@host:22/data"])
def test_a_password_in_the_data_root_is_refused_and_not_repeated(root: str) -> None:
    with pytest.raises(ValueError, match="holds a password") as error:
        Store(root)
    assert "secret" not in str(error.value)


def test_a_quota_that_is_used_up_is_told_as_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    store.write_day("background", DAY, background(1.0))

    def exceeded(descriptor: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", exceeded)
    with pytest.raises(StorageFullError, match="no space left for tables/background"):
        store.write_day("background", DAY, background(2.0))
    assert level(store) == 1.0
    assert unfinished(store) == []


def test_columns_that_are_not_the_contracts_are_refused(store: Store) -> None:
    store.write_day("background", DAY, background(1.0))
    with pytest.raises(ValueError, match="background has columns"):
        store.write_day("background", DAY, background(2.0).drop(["mad_db"]))
    wrong = background(2.0).set_column(1, "channel", pa.array(["a", "b", "c"]))
    with pytest.raises(ValueError, match=r"background\.channel is string, wanted int32"):
        store.write_day("background", DAY, wrong)
    assert level(store) == 1.0


def test_parts_are_joined_as_if_they_had_been_written_together(store: Store) -> None:
    parts = [background(1.0), background(2.0, 0), background(3.0, 5)]
    assert store.write_day_parts("background", DAY, map(encode, parts), {"n": 1}) == 8
    assert store.read_day("background", DAY).equals(pa.concat_tables(parts))
    assert store.metadata("background", DAY) == {"n": 1}
    with pytest.raises(ValueError, match="background has columns"):
        store.write_day_parts("background", DAY, [encode(background(4.0).drop(["mad_db"]))])
    with pytest.raises(ValueError, match="parts differ in columns"):
        store.write_day_parts(
            "background", DAY, [encode(t) for t in (background(4.0), background(4.0).drop(["mad_db"]))]
        )
    assert store.read_day("background", DAY).num_rows == 8


def test_a_day_that_is_not_there_says_what_to_do(store: Store) -> None:
    with pytest.raises(MissingDayError, match=f"materialize embeddings for {DAY} first"):
        store.read_day("embeddings", DAY)


def test_pandas_polars_and_duckdb_open_a_table(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    start = pa.array([1_767_607_200_000_000_000 + 250_000_000], pa.int64()).cast(TIME)
    events = {
        "fibre": ["north"], "event_id": ["a"], "start": start, "end": start, "first_channel": [3],
        "last_channel": [4], "contractor_class": ["digging"], "probability": [0.5],
    }  # fmt: skip
    store.write_day("contractor_events", DAY, pa.table(events, schema=SCHEMAS["contractor_events"]))
    store.write_day("background", DAY, background(1.5))
    frame = pd.read_parquet(tmp_path / "tables/contractor_events")
    assert str(frame["start"].iloc[0]) == "2026-01-05 10:00:00.250000+00:00"
    assert str(frame["day"].iloc[0]) == DAY
    lazy = pl.scan_parquet(tmp_path / "tables/background", hive_partitioning=True).collect()
    assert lazy["median_db"][0].to_list() == [1.5] * 4
    assert str(lazy["day"][0]) == DAY
    files = f"'{tmp_path}/tables/contractor_events/*/*.parquet'"
    query = f"SELECT epoch_ms(start::TIMESTAMPTZ), day FROM read_parquet({files})"
    assert [str(v) for v in duckdb.sql(query).fetchall()[0]] == ["1767607200250", DAY]
    query = f"SELECT median_db[2] FROM read_parquet('{tmp_path}/tables/background/*/*.parquet')"
    assert duckdb.sql(query).fetchall() == [(1.5,)] * 3


def test_every_contract_has_keys_among_its_columns_and_fits_itself() -> None:
    assert SCHEMAS.keys() == KEYS.keys()
    for table, keys in KEYS.items():
        assert set(keys) <= set(SCHEMAS[table].names)
    assert mismatch("recordings", empty("recordings").schema) is None


def test_scores_have_the_columns_of_their_detectors_and_no_others() -> None:
    schema = with_detectors(["neighbours", "vae"])
    assert schema.names[4:9] == ["score_neighbours", "score_vae", "p_neighbours", "p_vae", "score"]
    assert detectors_in(schema.names) == ["neighbours", "vae"]
    assert mismatch("anomaly_scores", schema) is None
    without_p = schema.remove(schema.get_field_index("p_vae"))
    assert "p_vae" in str(mismatch("anomaly_scores", without_p))


def test_vectors_come_back_without_a_copy_also_when_there_are_none() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    column = vector(values)
    assert np.shares_memory(stack(column), values)
    assert stack(pa.chunked_array([column, column])).shape == (6, 4)
    assert stack(pa.chunked_array([vector(values)])[1:]).tolist() == values[1:].tolist()
    assert stack(vector(np.empty((0, 4)), 4)).shape == (0, 4)
    assert stack(pa.chunked_array([], pa.list_(pa.float32(), 4))).shape == (0, 4)


def test_listing_tells_size_and_time_of_change(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    (tmp_path / "landing" / DAY / "deep").mkdir(parents=True)
    (tmp_path / "landing" / DAY / "deep" / "a.bin").write_bytes(b"12345")
    (entry,) = store.listing(f"landing/{DAY}", recursive=True)
    assert (entry["path"], entry["size"]) == (f"landing/{DAY}/deep/a.bin", 5)
    assert abs(entry["modified"] - time.time()) < 60
    assert store.folders("landing") == [DAY]
    assert store.listing("landing/2026-01-06") == []


def test_json_and_bytes_are_replaced_whole(store: Store) -> None:
    store.write_json("models/a/live.json", {"version": "1"})
    store.write_json("models/a/live.json", {"version": "2"})
    assert store.read_json("models/a/live.json") == {"version": "2"}
    assert json.loads(store.read_bytes("models/a/live.json")) == {"version": "2"}
