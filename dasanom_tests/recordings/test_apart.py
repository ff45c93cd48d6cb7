"""A file that harms its reader is refused alone, runs no code, and leaves nothing behind."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dascore as dc
import h5py
import numpy as np
import pytest
from distributed import Client

from dasanom_assets.recordings import apart, steps
from dasanom_assets.recordings.apart import _READERS
from dasanom_assets.recordings.catalogue import catalogue_day
from dasanom_assets.recordings.opened import ChangedError
from dasanom_assets.recordings.reasons import CodeError, RefusedError
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.recordings.unpickled import loads
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms import steps as spectrograms
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_identity import DAY, deliver

DAMAGED = {
    "crash": ("deformation_rate_event_1.hdf5", {4963: 229}),
    "hang": ("ap_sensing_1.hdf5", {4464: 0}),
    "memory": (
        "deformation_rate_event_1.hdf5",
        {3004: 2, 4440: 114, 5984: 190, 6639: 20, 9262: 247, 16530: 205, 18480: 10, 19408: 38},
    ),
}
"""Bytes of real recordings that end a reader, hold it, or have it ask for gigabytes."""


class Runs:
    """Writes a file where it is unpickled."""

    def __init__(self, marker: Path, head: str = "") -> None:
        self.code = f"{head}\nopen({str(marker)!r}, 'w').write('x')"

    def __reduce__(self) -> Any:
        return exec, (self.code,)


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGSEGV, r"damaged: .* \(SIGSEGV\)"), (signal.SIGKILL, "want of memory")]
)
def test_where_a_reader_ends_the_next_file_has_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    deliver(tmp_path, "north_1.h5")
    store = Store(str(tmp_path))
    assert catalogue_day(store, DAY).recordings.num_rows == 1
    ask = apart._Reader.ask

    def ends(reader: apart._Reader, *args: Any) -> Any:
        os.kill(reader.pid, number)
        return ask(reader, *args)

    with monkeypatch.context() as patched:
        patched.setattr(apart._Reader, "ask", ends)
        with pytest.raises(RefusedError, match=reason):
            _READERS.ask("look", tmp_path / "landing" / DAY / "north_1.h5", {})
    assert catalogue_day(store, DAY).recordings["fibre"].to_pylist() == ["north"]


def test_a_reader_that_was_ended_meanwhile_costs_no_file(tmp_path: Path) -> None:
    deliver(tmp_path, "north_1.h5")
    store = Store(str(tmp_path))
    catalogue_day(store, DAY)
    os.kill(_READERS._idle[-1].pid, signal.SIGKILL)
    assert _READERS._idle[-1].connection.poll(60)
    assert _READERS._process
    _READERS._process.kill()  # and the one that it was forked from
    _READERS._process.wait()
    assert catalogue_day(store, DAY).recordings.num_rows == 1


def test_files_that_harm_their_reader_are_refused_and_the_day_goes_on(samples: Path, tmp_path: Path) -> None:
    deliver(tmp_path, "north_1.h5")
    for case, (name, changes) in DAMAGED.items():
        content = bytearray((samples / "das" / name).read_bytes())
        for place, value in changes.items():
            content[place] = value
        (tmp_path / "landing" / DAY / f"{case}.h5").write_bytes(content)
    found = catalogue_day(Store(str(tmp_path)), DAY)
    assert found.recordings["path"].to_pylist() == [f"landing/{DAY}/north_1.h5"]
    reasons = {Path(refusal.path).stem: refusal.reason for refusal in found.refused}
    assert reasons.keys() == DAMAGED.keys()
    assert all("damaged" in reason or "memory" in reason for reason in reasons.values()), reasons


def test_an_attribute_that_is_a_pickle_runs_no_code(tmp_path: Path) -> None:
    path, marker = tmp_path / deliver(tmp_path, "north_1.h5"), tmp_path / "ran"
    with h5py.File(path, "a") as file:
        group = next(iter(file["waveforms"].values()))
        group.attrs["_attrs_tag"] = np.bytes_(pickle.dumps(Runs(marker), protocol=0))
    (refusal,) = catalogue_day(Store(str(tmp_path)), DAY).refused
    assert refusal.reason.startswith("a pickled object, which could run code")
    assert not marker.exists()


def test_a_file_that_becomes_a_pickle_after_it_was_catalogued_runs_no_code(tmp_path: Path, client: Client) -> None:
    path, marker = tmp_path / deliver(tmp_path, "north_1.h5"), tmp_path / "ran"
    deliver(tmp_path, "south_1.h5")
    store, told = Store(str(tmp_path)), list[str]()
    steps.recordings(store, DAY, Settings())
    path.write_bytes(pickle.dumps(Runs(marker, "#dascore.core Patch"), protocol=0))
    spectrograms.spectrograms(store, DAY, Settings(), dask=client, warn=told.append)
    assert not marker.exists()
    assert len(told) == 1
    assert "north_1.h5" in told[0]
    assert set(store.read_day("channel_health", DAY)["fibre"].to_pylist()) == {"south"}


@pytest.mark.parametrize("how", ["link", "external", "virtual"])
def test_a_file_that_would_have_another_one_opened_is_refused(tmp_path: Path, how: str) -> None:
    path, secret = tmp_path / deliver(tmp_path, "north_1.h5"), tmp_path / "secret"
    secret.write_bytes(bytes(1 << 16))
    with h5py.File(path, "a") as file:
        group = next(iter(file["waveforms"].values()))
        shape, dtype = group["data"].shape, group["data"].dtype
        del group["data"]
        if how == "link":
            group["data"] = h5py.ExternalLink(str(secret), "/data")
        elif how == "external":
            group.create_dataset("data", shape, dtype, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        else:
            layout = h5py.VirtualLayout(shape, dtype)
            layout[:] = h5py.VirtualSource(str(secret), "data", shape)
            group.create_virtual_dataset("data", layout)
    (refusal,) = catalogue_day(Store(str(tmp_path)), DAY).refused
    assert "its content lies in other files" in refusal.reason


def test_a_pickle_is_data_or_nothing() -> None:
    moment = np.datetime64("2026-01-05T10:00:00", "ns")
    value = {"time": {"min": moment, "step": np.timedelta64(500, "us"), "units": None}, "history": ("a", 1.5)}
    for protocol in range(3):
        assert loads(np.bytes_(pickle.dumps(value, protocol))) == value
    for harmful in (Runs(Path("x")), np.array([Path()], object), dc.get_example_patch()):
        with pytest.raises(CodeError):
            loads(pickle.dumps(harmful, 0))
    with pytest.raises(pickle.UnpicklingError):
        loads(b"channels\nof the north.\n.")


PROBES = {
    "write": "open('{marker}', 'w')",
    "system": "os.system('touch {marker}')",
    "spawn": "__import__('subprocess').run(['touch', '{marker}'])",
    "network": "__import__('socket').socket()",
    "unpickle": "pickle.loads(b'cos\\nsystem\\n.')",
    "exec": "exec('marker = 1')",
    "remove": "os.remove('{marker}')",
    "fork": "os.fork()",
}


@pytest.mark.parametrize("probe", PROBES)
def test_in_the_cage_nothing_but_reading_is_possible(tmp_path: Path, probe: str) -> None:
    there = tmp_path / "there"
    there.write_text("x")
    marker = there if probe == "remove" else tmp_path / "made"
    attempt = compile(PROBES[probe].format(marker=marker), __file__, "eval")
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if not pid:
        import ctypes

        from dasanom_assets.recordings import cage

        ours.close()
        cage._work(theirs, ctypes.CDLL(None), {"look": lambda *_: eval(attempt)})
    theirs.close()
    reader = apart._Reader(pid, ours, Connection(os.dup(ours.fileno())))
    answer = reader.ask({"ask": "look", "file": "x", "more": {}, "seconds": 5, "bytes": 1 << 30}, None, 60)
    assert "pickled object, which could run code" in answer["error"], answer
    reader.connection.close()
    ours.close()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert there.exists()
    assert not (tmp_path / "made").exists()


def test_readers_end_with_the_process_that_asked_also_by_a_kill(tmp_path: Path) -> None:
    deliver(tmp_path, "north_1.h5")
    code = (
        "import sys, time; from dasanom_assets.recordings.catalogue import catalogue_day, Store\n"
        "from dasanom_assets.recordings.apart import _READERS\n"
        f"catalogue_day(Store({str(tmp_path)!r}), {DAY!r})\n"
        "print(_READERS._process.pid, _READERS._idle[0].pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        pids = process.stdout.readline().split()
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        process.kill()
    until = time.monotonic() + 30
    while time.monotonic() < until and any(_alive(pid) for pid in pids):
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)


def _alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_samples_that_are_not_those_of_the_catalogue_are_told(tmp_path: Path) -> None:
    path = tmp_path / deliver(tmp_path, "north_1.h5", samples=2000)
    store = Store(str(tmp_path))
    found = catalogue_day(store, DAY)
    (signal_there,) = stretches(store, found.recordings)
    path.unlink()
    deliver(tmp_path, "north_1.h5", samples=50)
    with pytest.raises(ChangedError, match="written again"):
        signal_there.read(0, 10)
