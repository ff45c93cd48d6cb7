"""What cannot be opened is a record in quarantine, and the rest of the day goes on."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dasanom_assets.recordings import catalogue
from dasanom_assets.recordings.catalogue import catalogue_day
from dasanom_assets.recordings.landing import landing_digest, landing_files
from dasanom_assets.recordings.quarantine import write_quarantine
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_catalogue import DAY, deliver

GOOD = "north_20260105T100000"
LONG = "x" * 251
NOBODY = 65534


@pytest.fixture
def root() -> Iterator[Path]:
    """A data root with one good recording, that another user may enter, too."""
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        deliver(Path(folder), DAY, GOOD)
        yield Path(folder)


def become(user: int) -> None:
    """Take the rights of a user, where root runs the tests: it may read everything."""
    if os.getuid() == 0:
        os.seteuid(user)


@pytest.fixture
def powerless() -> Iterator[None]:
    become(NOBODY)
    yield
    become(0)


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "spoilt.bin")


def a_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.getcwd()
        os.chdir(folder)
        made.bind("spoilt")
        os.chdir(here)


def not_utf8(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/kay\xfdt.h5")).write_bytes(b"not a recording")


def in_a_folder_not_utf8(folder: Path) -> None:
    inside = Path(os.fsdecode(os.fsencode(folder) + b"/kay\xfdt"))
    inside.mkdir()
    (inside / "a.h5").write_bytes(b"not a recording")


def too_long(folder: Path) -> None:
    (folder / f"{LONG}.bin").write_bytes(b"1234")


def a_pipe_for_a_sidecar(folder: Path) -> None:
    (folder / "late.bin").write_bytes(b"1234")
    os.mkfifo(folder / "late.bin.info")


SPOILT: dict[Callable[[Path], None], str] = {
    lambda folder: (folder / "spoilt.h5").symlink_to(folder / "gone.h5"): "a link to nothing",
    lambda folder: (folder / "spoilt.h5").symlink_to(folder / "spoilt.h5"): "leads back to itself",
    lambda folder: (folder / "disk2").symlink_to(folder.parent): "a link to a folder",
    lambda folder: (folder / "spoilt.h5").symlink_to("/dev/zero"): "a device, no file",
    a_pipe: "a pipe, no file",
    a_socket: "a socket, no file",
    not_utf8: "its name is not UTF-8",
    in_a_folder_not_utf8: "its name is not UTF-8",
    too_long: "there is no sidecar",
    a_pipe_for_a_sidecar: "its sidecar late.bin.info: a pipe, no file",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("spoil", SPOILT, ids=SPOILT.values())
def test_what_is_no_readable_file_is_refused_alone(root: Path, spoil: Callable[[Path], None]) -> None:
    store = Store(str(root))
    spoil(root / "landing" / DAY)
    found = catalogue_day(store, DAY)
    assert found.recordings["path"].to_pylist() == [f"landing/{DAY}/{GOOD}.bin"]
    (refusal,) = found.refused
    assert SPOILT[spoil] in refusal.reason
    write_quarantine(store, DAY, found.refused)
    (record,) = (root / "quarantine").iterdir()
    assert store.read_json(f"quarantine/{record.name}")["reason"] == refusal.reason
    write_quarantine(store, DAY, [])
    assert list((root / "quarantine").iterdir()) == []


def test_what_may_not_be_read_is_refused_until_it_may(root: Path, powerless: None) -> None:
    store, folder = Store(str(root)), root / "landing" / DAY
    become(0)
    other = root / deliver(root, DAY, "south_20260105T100000")
    inside = root / deliver(root, f"{DAY}/box2", "east_20260105T100000")
    other.chmod(0)
    inside.parent.chmod(0)
    become(NOBODY)
    before, found = landing_digest(landing_files(store, DAY)), catalogue_day(store, DAY)
    assert found.recordings["path"].to_pylist() == [f"landing/{DAY}/{GOOD}.bin"]
    assert [refusal.path for refusal in found.refused] == [
        str(p.relative_to(root)) for p in (folder / "box2", other)
    ]
    assert all("it may not be read" in refusal.reason for refusal in found.refused)
    become(0)
    other.chmod(0o644)
    inside.parent.chmod(0o755)
    become(NOBODY)
    assert catalogue_day(store, DAY).refused == []
    assert landing_digest(landing_files(store, DAY)) != before


def test_a_file_that_vanishes_while_it_is_read_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late, look = root / deliver(root, DAY, "late_20260105T110000"), catalogue._look

    def looked(*arguments, **more):
        found = look(*arguments, **more)
        late.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(catalogue, "_look", looked)
    found = catalogue_day(Store(str(root)), DAY)
    assert found.recordings["path"].to_pylist() == [f"landing/{DAY}/{GOOD}.bin"]
    (refusal,) = found.refused
    assert refusal.path == str(late.relative_to(root))
    assert "lost while it was read" in refusal.reason


def test_what_else_lies_in_quarantine_is_left_alone(root: Path) -> None:
    store, quarantine = Store(str(root)), root / "quarantine"
    quarantine.mkdir()
    (quarantine / "notes.txt").write_text("ask the crew")
    (quarantine / "list.json").write_text("[]")
    (quarantine / "broken.json").write_text("{")
    (quarantine / "other.json").write_text('{"day": 1}')
    os.mkfifo(quarantine / "pipe.json")
    (quarantine / "away.json").symlink_to(quarantine / "nothing")
    foreign = sorted(quarantine.iterdir())
    (root / "landing" / DAY / "empty.h5").write_bytes(b"")
    write_quarantine(store, DAY, catalogue_day(store, DAY).refused)
    assert len(list(quarantine.iterdir())) == len(foreign) + 1
    write_quarantine(store, DAY, [])
    assert sorted(quarantine.iterdir()) == foreign
