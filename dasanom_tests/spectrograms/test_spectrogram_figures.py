"""Pictures of a day show what recorded on it, also where other fibres are known from the days before."""

import io
from pathlib import Path

import matplotlib.pyplot as plt
import pyarrow as pa

from dasanom_assets.spectrograms.figures import background_thumbnail, day_thumbnail
from dasanom_assets.tables.store import Store
from dasanom_tests.spectrograms.test_common_level import DAY, GRID, levels, write


def test_a_fibre_that_is_absent_today_is_not_drawn_and_stops_nothing(tmp_path: Path) -> None:
    store, white = Store(str(tmp_path)), levels(4, 10)
    write(store, white)
    grids = [{"fibre": "north", "centre_hz": [10.0, 100.0, 300.0]}]
    spectrograms = list(store.iter_day("spectrograms", DAY))
    store.write_day(
        "spectrograms", DAY, iter(spectrograms), {"settings": GRID.model_dump(mode="json"), "grids": grids}
    )
    usual = store.read_day("background", DAY)
    absent = usual.set_column(0, "fibre", pa.array(["a_test"] * 4))
    for present in (pa.concat_tables([absent, usual]), absent):
        store.write_day("background", DAY, present, {"days": [DAY], "hour_classes": 1})
        picture = background_thumbnail(store, DAY)
        assert picture is not None
        assert plt.imread(io.BytesIO(picture)).ndim == 3
    assert day_thumbnail(store, DAY) is not None
