"""A delivery is known by its names, sizes and times of change."""

import os
from pathlib import Path

from dasanom_assets.recordings.landing import (
    delivered,
    delivered_days,
    landing_days,
    landing_digest,
    landing_files,
    recordings_notes,
)
from dasanom_assets.tables.schemas import empty
from dasanom_assets.tables.store import Store


def test_only_days_are_days_and_hidden_files_do_not_count(tmp_path: Path) -> None:
    for name in ("2026-01-06", "2026-01-05", "2026-13-01", "notes", ".2026-01-07", "2026-1-5"):
        (tmp_path / "landing" / name).mkdir(parents=True)
    (tmp_path / "landing" / "2026-01-05" / "a.bin").write_bytes(b"1")
    (tmp_path / "landing" / "2026-01-05" / ".b.bin.partial").write_bytes(b"1")
    store = Store(str(tmp_path))
    assert landing_days(store) == ["2026-01-05", "2026-01-06"]
    assert [f["path"] for f in landing_files(store, "2026-01-05")] == ["landing/2026-01-05/a.bin"]


def test_a_day_is_made_of_its_files_and_of_those_that_run_into_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for path in ("2026-01-05/late.bin", "2026-01-05/noon.bin", "2026-01-07/own.bin"):
        file = tmp_path / "landing" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"1")
    assert delivered_days(store, recordings_notes(store, store.days("recordings"))) == ["2026-01-05", "2026-01-07"]
    assert delivered(store, "2026-01-06", recordings_notes(store, store.days("recordings"))) == []
    late = "landing/2026-01-05/late.bin"
    store.write_day("recordings", "2026-01-05", empty("recordings"), {"past_midnight": [late]})
    notes = recordings_notes(store, store.days("recordings"))
    assert delivered_days(store, notes) == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert [f["path"] for f in delivered(store, "2026-01-06", notes)] == [late]
    assert [f["path"] for f in delivered(store, "2026-01-07", notes)] == ["landing/2026-01-07/own.bin"]


def test_the_digest_follows_every_change(tmp_path: Path) -> None:
    folder, store = tmp_path / "landing" / "2026-01-05", Store(str(tmp_path))
    folder.mkdir(parents=True)
    file = folder / "a.bin"
    seen = [landing_digest(landing_files(store, "2026-01-05"))]
    for change in (
        lambda: file.write_bytes(b"1"),
        lambda: file.write_bytes(b"12"),
        lambda: os.utime(file, (1, 1)),
        lambda: file.rename(folder / "b.bin"),
    ):
        change()
        seen.append(landing_digest(landing_files(store, "2026-01-05")))
    assert len(set(seen)) == len(seen)
    assert landing_digest(landing_files(store, "2026-01-05")) == seen[-1]
