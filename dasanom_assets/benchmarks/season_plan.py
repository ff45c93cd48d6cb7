"""What comes of each day of a season, and the clock that it goes by."""

import struct
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

FIRST_DAY = date(2028, 2, 8)
"""So that a season has a leap day, and a change to summer time."""


@dataclass
class Delivery:
    """What comes of a day.

    Attributes
    ----------
    day : date
        Of the recordings.
    after : int
        Days after its own on which it comes, soon after midnight; none for a day that is withheld.
    trouble : str
        What else is wrong; see `plan`.
    """

    day: date
    after: int | None = 1
    trouble: str = ""


def plan(days: int) -> list[Delivery]:
    """Return what comes of each day of a season, the same for the same number of days.

    From the ninth day on, every third has a trouble, each in its turn.
    """
    troubles = [
        "damaged", "late", "twice", "corrected", "withheld", "ingest killed", "cut short", "of another day",
        "rescore killed", "very late", "of the future", "clock ahead", "daemon killed", "touched",
        "day in two parts",
    ]  # fmt: skip
    made = [Delivery(FIRST_DAY + timedelta(days=n)) for n in range(days)]
    for number, delivery in enumerate(made[8:], 8):
        if number % 3 == 2:
            delivery.trouble = troubles[(number // 3 - 2) % len(troubles)]
            delivery.after = {"late": 3, "very late": 10, "withheld": None}.get(delivery.trouble, 1)
    return made


class Clock:
    """The time of the day in the processes of the season."""

    def __init__(self, file: Path, start: datetime) -> None:
        self._file = file
        self.set(start)

    def now(self) -> datetime:
        """Return what it shows."""
        return datetime.fromtimestamp(time.time() + self._ahead, UTC)

    def set(self, moment: datetime) -> None:
        """Set it; the processes see it at once."""
        self._ahead = round(moment.timestamp() - time.time())
        content = struct.pack("q", self._ahead)
        if self._file.exists():  # mapped: not replaced
            with open(self._file, "r+b") as file:
                file.write(content)
        else:
            self._file.write_bytes(content)

    def preload(self, folder: Path) -> dict[str, str]:
        """Compile the clock, and return the environment of processes that go by it."""
        library = folder / "season_clock.so"
        source = Path(__file__).with_suffix("").with_name("season_clock.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        return {"LD_PRELOAD": str(library), "SEASON_CLOCK": str(self._file)}
