"""Files that are damaged at random are read or refused: no run stops, and no code runs."""

import random
from pathlib import Path

import pytest

from dasanom_assets.benchmarks.mutations import mutated, run

HARMLESS = "read", "refused", "samples: refused"


@pytest.mark.parametrize("kind", [".h5", ".hdf5", ".tdms", "bundle"])
def test_damaged_files_are_read_or_refused(samples: Path, tmp_path: Path, kind: str) -> None:
    sources = {path.name: path.read_bytes() for path in (samples / "das").glob(f"*{kind}")}
    assert bool(sources) == (kind != "bundle")
    files = 20 if sources else 300
    outcome = run(tmp_path, sources, files, seed=1)
    assert outcome.stopped == []
    assert sum(outcome.counts.values()) == files
    assert all(kind.startswith(HARMLESS) for kind in outcome.counts), outcome.counts
    assert outcome.counts["refused"]
    assert outcome.counts["read"]


def test_each_file_is_damaged_in_another_way() -> None:
    content, rng = bytes(range(256)) * 100, random.Random(0)
    made = {mutated(content, rng, b"harm") for _ in range(200)}
    assert len(made) > 190
    assert any(b"harm" in damaged for damaged in made)
    lengths = {(len(damaged) > len(content)) - (len(damaged) < len(content)) for damaged in made}
    assert lengths == {-1, 0, 1}
