"""The benchmark of opening reads what it says, in a day of few channels."""

from pathlib import Path

import pytest

from dasanom_assets.benchmarks import opening
from dasanom_assets.spectrograms.frames import DayFrames
from dasanom_assets.tables.store import Store


@pytest.mark.parametrize(("hour_groups", "together"), [(256, 1), (3, 2)])
def test_the_hour_that_is_timed_is_whole_and_the_day_is_one_of_spectrograms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hour_groups: int, together: int
) -> None:
    monkeypatch.setattr(opening, "HOUR_GROUPS", hour_groups)
    store, hours = Store(str(tmp_path)), opening.HOUR + 1
    parts = opening.day_parts(5, hours)
    store.write_day_parts("spectrograms", opening.DAY, parts, {"settings": opening.SETTINGS.model_dump()})
    figures = opening.opening(store, 1, 1)
    assert (figures["rows"], figures["row_groups"]) == (3600, hours * -(-5 // together))
    frames = DayFrames(store, opening.DAY)
    assert [frames.seconds(key) for key in frames.keys].count(3600 + 2 * opening.HOUR) == together
