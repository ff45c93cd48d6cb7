"""A file at which its reader ends is refused alone."""

import signal
from pathlib import Path
from typing import Any

import pytest

from dasanom_assets.recordings.apart import _READER
from dasanom_assets.recordings.catalogue import catalogue_day
from dasanom_assets.recordings.reasons import RefusedError
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_identity import DAY, deliver


class Ends:
    """Ends the process that unpickles it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return exec, (f"import os; os.kill(os.getpid(), {self.number})",)


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGSEGV, r"damaged: .* \(SIGSEGV\)"), (signal.SIGKILL, "want of memory")]
)
def test_where_the_reader_ends_the_next_file_has_another_one(tmp_path: Path, number: int, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        _READER.ask((Ends(number),))
    deliver(tmp_path, "north_1.h5")
    assert catalogue_day(Store(str(tmp_path)), DAY).recordings["fibre"].to_pylist() == ["north"]
