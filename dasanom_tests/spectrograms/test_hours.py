"""Rows wait in a file of the system until their hour is complete."""

import tempfile

import numpy as np
import pytest

from dasanom_assets.spectrograms.hours import Hour, Piece
from dasanom_assets.tables.parquet import Page
from dasanom_assets.tables.store import StorageFullError


def test_a_full_disk_is_told_by_the_folder_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    piece = Piece(7, np.arange(3), Page(b"levels", 3, 6))
    full = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115, what is written to it never fits
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **more: full)
    with full, pytest.raises(StorageFullError, match="where an hour waits") as raised:
        Hour().add([piece], spool=True)
    assert tempfile.gettempdir() in str(raised.value)
    assert "TMPDIR" in str(raised.value)
