"""A recording is read once for the catalogue and once for its spectrograms, on a disk and in an object store."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client
from s3fs import S3FileSystem

from dasanom_assets.recordings import steps
from dasanom_assets.recordings.apart import _READERS
from dasanom_assets.recordings.catalogue import catalogue_day
from dasanom_assets.recordings.landing import shifted
from dasanom_assets.recordings.reasons import REWRITTEN
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms import steps as spectrograms
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_bundle import write
from dasanom_tests.recordings.test_identity import DAY, deliver

NEXT = shifted(DAY, 1)
FILES = ("north_1.h5", "south_1.h5", "west_20260105T100000.bin")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two HDF5 recordings, a bundle of floats, and a foreign file, of one day."""
    for name in FILES[:2]:
        deliver(tmp_path, name, samples=2000)
    folder = tmp_path / "landing" / DAY
    x = np.random.default_rng(0).normal(size=(8000, 2)).astype("<f4")
    sidecar = {"selected_channel_zones": [[0, 1]], "sampling_rate_hz": 2000, "sample_format": "float32"}
    write(folder, x, sidecar, stem="west_20260105T100000")
    (folder / "words.txt").write_text("no recording")
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What readers are asked, by name of file and question."""
    asked, ask = list[tuple[str, str]](), _READERS.ask

    def counted(what: str, local: Path, *more: Any) -> Any:
        asked.append((local.name, what))
        return ask(what, local, *more)

    monkeypatch.setattr(_READERS, "ask", counted)
    return asked


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often the content of an object was asked for, by name."""
    count, call = Counter[str](), S3FileSystem._call_s3

    async def counted(fs: S3FileSystem, method: str, *args: Any, **more: Any) -> Any:
        if method == "get_object":
            count[more["Key"].rpartition("/")[2]] += 1
        return await call(fs, method, *args, **more)

    monkeypatch.setattr(S3FileSystem, "_call_s3", counted)
    return count


def test_on_a_disk(root: Path, client: Client, asked: list[tuple[str, str]]) -> None:
    store = Store(str(root))
    steps.recordings(store, DAY, Settings())
    assert sorted(asked) == [(name, "look") for name in (*FILES[:2], "words.txt")]
    asked.clear()
    spectrograms.spectrograms(store, DAY, Settings(), dask=client)
    assert sorted(asked) == [(name, "samples") for name in FILES[:2]]
    for table in ("spectrograms", "channel_health"):
        assert set(store.read_day(table, DAY)["fibre"].to_pylist()) == {"north", "south", "west"}


def test_in_an_object_store(root: Path, s3: str, client: Client, fetched: Counter[str]) -> None:
    store = Store(s3)
    for path in (root / "landing" / DAY).iterdir():
        store.write_bytes(f"landing/{DAY}/{path.name}", path.read_bytes())
    steps.recordings(store, DAY, Settings())
    assert {name: fetched[name] for name in (*FILES, "words.txt")} == dict.fromkeys((*FILES, "words.txt"), 1)
    catalogued = store.read_day("recordings", DAY)
    assert {Path(row["path"]).name: row["sha256"] for row in catalogued.to_pylist()} == {
        name: hashlib.sha256((root / "landing" / DAY / name).read_bytes()).hexdigest() for name in FILES
    }
    fetched.clear()
    spectrograms.spectrograms(store, DAY, Settings(), dask=client)
    assert {name: fetched[name] for name in FILES} == dict.fromkeys(FILES, 1)


def test_other_days_know_from_its_catalogue_that_a_file_ends_before_them(
    root: Path, asked: list[tuple[str, str]]
) -> None:
    store = Store(str(root))
    steps.recordings(store, DAY, Settings())
    asked.clear()
    steps.recordings(store, NEXT, Settings())
    assert asked == []
    deliver(root, "late_1.h5", 14 * 3600 - 0.5)  # it runs into the next day
    catalogue = catalogue_day(store, NEXT)
    assert catalogue.recordings["path"].to_pylist() == [f"landing/{DAY}/late_1.h5"]
    assert {name for name, _ in asked} == {"late_1.h5", *FILES[:2], "words.txt"}
    steps.recordings(store, DAY, Settings())
    asked.clear()
    assert catalogue_day(store, NEXT).recordings.equals(catalogue.recordings)
    assert asked == [("late_1.h5", "look")]


def test_a_file_that_is_written_while_it_is_looked_at_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = _READERS.ask

    def written(what: str, local: Path, *more: Any) -> Any:
        answer = ask(what, local, *more)
        if local.name == "north_1.h5":
            with open(local, "ab") as file:
                file.write(b"more")
        return answer

    monkeypatch.setattr(_READERS, "ask", written)
    refused = {Path(refusal.path).name: refusal for refusal in catalogue_day(Store(str(root)), DAY).refused}
    assert refused.keys() == {"north_1.h5", "words.txt"}
    assert refused["north_1.h5"].reason == REWRITTEN
    content = (root / "landing" / DAY / "words.txt").read_bytes()
    assert refused["words.txt"].sha256 == hashlib.sha256(content).hexdigest()
    assert refused["words.txt"].size == len(content)
