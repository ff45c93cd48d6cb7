"""What waits in a temporary file comes back, and a full disk says where it is."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasanom_assets.tables.spool import Spool
from dasanom_assets.tables.store import StorageFullError


@given(st.lists(st.binary(max_size=40), max_size=8), st.randoms(use_true_random=False))
def test_what_is_put_there_comes_back_in_any_order(contents: list[bytes], random: object) -> None:
    with Spool("bytes wait") as spool:
        places = []
        for content in contents:
            places.append(spool.put(content))
            assert spool.get(places[0]) == contents[0]
        for place, content in sorted(zip(places, contents, strict=True), key=lambda pair: random.random()):  # type: ignore[attr-defined]
            assert spool.get(place) == content


@given(st.lists(st.lists(st.binary(max_size=40), max_size=5), max_size=4))
def test_what_is_put_there_together_comes_back_one_by_one(parts: list[list[bytes]]) -> None:
    with Spool("bytes wait") as spool:
        places = [spool.put_all(contents) for contents in parts]
        for contents, own in zip(parts, places, strict=True):
            assert [spool.get(own.of(number)) for number in range(len(contents))] == contents


def test_nothing_stays_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Spool("bytes wait") as spool:
        spool.put(b"abc")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_by_the_folder_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115, what is written to it never fits
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **more: full)
    with full, pytest.raises(StorageFullError, match=r"where bytes wait: .*TMPDIR") as raised:
        Spool("bytes wait").put(b"abc")
    assert tempfile.gettempdir() in str(raised.value)
