"""What becomes of files that are damaged at random: catalogue and samples of each, as the product reads them.

Bytes are turned over, cut off, inserted and repeated, and numbers that may be lengths are replaced, in the real
recordings of `data/das` and in simulated bundles. Some of what is inserted is a pickle that would write a file.
"""

import json
import pickle
import random
import struct
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from dasanom_assets.benchmarks.machine import kilobytes
from dasanom_assets.recordings.apart import _READERS
from dasanom_assets.recordings.catalogue import catalogue_files
from dasanom_assets.recordings.opened import ChangedError
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.settings import LimitSettings
from dasanom_assets.tables.store import Store

FOLDER = "landing/2026-01-05"
HEAD = 20_000
"""Bytes at the beginning of a file in which what describes it mostly lies."""
NUMBERS = (0, 1, 255, 10**7, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
BLOCK = 200_000
"""Samples that are read at a time."""


class Runs:
    """Writes a file where it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return exec, (f"open({self.marker!r}, 'w').write('x')",)


@dataclass
class Outcome:
    """What became of the files.

    Attributes
    ----------
    counts : Counter
        Files by what became of them.
    slowest_s : float
        The longest that a file took, by the clock.
    slowest : int
        Its number.
    stopped : list of str
        What was raised where nothing should be.
    """

    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest: int = 0
    stopped: list[str] = field(default_factory=list)


def mutated(content: bytes, rng: random.Random, harmful: bytes) -> bytes:
    """Return a file's content, damaged in one way; `harmful` may be inserted."""
    made = bytearray(content)
    kind = rng.randrange(7)
    place = rng.randrange(min(len(made), HEAD) if rng.random() < 0.7 else len(made))
    if kind == 0:  # cut short
        del made[place + 1 :]
    elif kind == 1:  # a few bits, where a file is described
        for _ in range(rng.randint(1, 8)):
            made[rng.randrange(min(len(made), HEAD))] ^= 1 << rng.randrange(8)
    elif kind == 2:  # bytes anywhere
        for _ in range(rng.randint(1, 200)):
            made[rng.randrange(len(made))] = rng.randrange(256)
    elif kind == 3:  # a length, or another number
        size = rng.choice((2, 4, 8))
        made[place : place + size] = struct.pack("<Q", rng.choice(NUMBERS))[:size]
    elif kind == 4:  # a block is inserted, or takes the place of others
        block = harmful if rng.random() < 0.3 else rng.randbytes(rng.randint(1, 5000))
        made[place : place + rng.choice((0, len(block)))] = block
    elif kind == 5:  # a block is repeated
        made[place:place] = made[place : place + rng.randint(1, 5000)]
    else:  # a block is missing
        del made[place : place + rng.randint(1, 5000)]
    return bytes(made)


def bundles(rng: random.Random) -> dict[str, bytes]:
    """Return a simulated bundle of four channels, by ending of its files."""
    sidecar = {
        "number_of_channels_in_one_sample": 4, "selected_channel_zones": [[100, 103]], "sampling_rate_hz": 2000,
        "sample_format": rng.choice(("int16", "float32")), "start_time": "2026-01-05T10:00:00Z", "fibre": "north",
        "channel_spacing_m": 2.0, "gauge_length_m": 10.0, "first_channel_distance_m": 0.0, "units": "counts",
    }  # fmt: skip
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in sidecar.items())
    samples = np.frombuffer(rng.randbytes(16_000), "u1").astype(
        "<i2" if sidecar["sample_format"] == "int16" else "<f4"
    )
    return {".bin": samples.tobytes(), ".bin.info": rng.choice((lines, json.dumps(sidecar))).encode()}


def run(root: Path, sources: dict[str, bytes], files: int, seed: int, first: int = 0) -> Outcome:
    """Damage `files` files below `root` one after the other, and read each from number `first` on.

    Parameters
    ----------
    root : Path
    sources : dict
        Real recordings by name; none: bundles are simulated.
    files, seed, first : int

    Returns
    -------
    Outcome
    """
    rng, outcome, store = random.Random(seed), Outcome(), Store(str(root))
    folder, marker = root / FOLDER, root / "code-ran"
    folder.mkdir(parents=True)
    harmful = pickle.dumps(Runs(str(marker)), protocol=0)
    for name, content in [*sources.items()][:1]:  # the process that loads all formats starts once
        (folder / name).write_bytes(content)
        _read(store, [f"{FOLDER}/{name}"])
        (folder / name).unlink()
    for number in range(files):
        if sources:
            name = rng.choice(sorted(sources))
            written = {f"case{Path(name).suffix}": mutated(sources[name], rng, harmful)}
        else:
            written = {f"case{ending}": content for ending, content in bundles(rng).items()}
            for name in rng.sample(sorted(written), rng.choice((1, 1, 2))):
                written[name] = mutated(written[name], rng, harmful)
        if number < first:
            continue
        for name, content in written.items():
            (folder / name).write_bytes(content)
        began = time.perf_counter()
        try:
            outcome.counts[_read(store, [f"{FOLDER}/{name}" for name in written])] += 1
        except Exception as error:
            outcome.counts["stopped the run"] += 1
            outcome.stopped.append(f"{number}: {type(error).__name__}: {error}"[:300])
        took = time.perf_counter() - began
        if took > outcome.slowest_s:
            outcome.slowest_s, outcome.slowest = took, number
        for path in folder.iterdir():
            path.unlink()
        if marker.exists():
            outcome.counts["ran code"] += 1
            marker.unlink()
    return outcome


def _read(store: Store, paths: list[str]) -> str:
    """Return in words what becomes of a file in catalogue and samples."""
    found = catalogue_files(store, paths, limits=LimitSettings())
    if found.refused:
        return _kind(found.refused[0].reason)
    try:
        for signal in stretches(store, found.recordings):
            step = max(1, BLOCK // len(signal.channels))
            for first in range(0, signal.n_samples, step):
                signal.read(first, min(first + step, signal.n_samples))
    except ChangedError as error:
        return f"samples: {_kind(error.reason)}"
    return "read"


def _kind(reason: str) -> str:
    for words, kind in (
        ("(SIG", "refused: its reader crashed"),
        ("still at it", "refused: its reader took too long"),
        ("was not read within", "refused: its reader took too long"),
        ("memory", "refused: its reader took too much memory"),
        ("could run code", "refused: a pickle"),
    ):
        if words in reason:
            return kind
    return "refused"


def main(
    format: Annotated[Literal["hdf5", "tdms", "bundle"], typer.Option(help="what is damaged")] = "hdf5",
    files: Annotated[int, typer.Option(help="damaged files in all")] = 10_000,
    seed: Annotated[int, typer.Option(help="of the damage")] = 2026,
    first: Annotated[int, typer.Option(help="the first that is read, to go on where a run ended")] = 0,
    samples: Annotated[Path, typer.Option(help="folder of real recordings")] = Path("../shared/data/das"),
) -> None:
    """Run the benchmark."""
    endings = {"hdf5": (".h5", ".hdf5"), "tdms": (".tdms",), "bundle": ()}[format]
    sources = {path.name: path.read_bytes() for path in sorted(samples.glob("*")) if path.suffix in endings}
    if endings and not sources:
        raise typer.BadParameter(f"{samples} holds no file of {' or '.join(endings)}: give --samples")
    if first >= files:
        raise typer.BadParameter(f"--first {first} leaves none of {files} files: give more --files")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder), sources, files, seed, first)
    held = _READERS.rest()
    print(f"{format}: {files - first} files from {first} on, seed {seed}, {time.perf_counter() - began:.0f} s")
    for kind, count in outcome.counts.most_common():
        print(f"  {count:6d} {kind}")
    print(f"  the slowest file, {outcome.slowest}, took {outcome.slowest_s:.1f} s by the clock")
    print(f"  memory at most: {held / 1e6:.0f} MB a reader, {kilobytes('VmHWM') / 1e3:.0f} MB this process")
    print("\n".join(outcome.stopped))


if __name__ == "__main__":
    typer.run(main)
