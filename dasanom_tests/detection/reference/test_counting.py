"""Events of the reference are counted against as many kilometres as the recordings say."""

import pyarrow as pa

from dasanom_assets.detection.reference.counting import spacings
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store
from dasanom_tests.detection.conftest import SETTINGS, TRAINED, Ground


def test_channels_are_as_far_apart_as_recordings_say_or_the_settings(ground: Ground, later: Store) -> None:
    assert spacings(ground.store, TRAINED, SETTINGS) == {"north": 5.0}
    schema = SCHEMAS["recordings"]
    rows = [
        {field.name: None for field in schema} | {"fibre": fibre, "channel_spacing_m": metres}
        for fibre, metres in (("north", 4.0), ("north", None), ("north", 8.0), ("north", 4.0), ("south", None))
    ]
    later.write_day("recordings", TRAINED[0], pa.Table.from_pylist(rows, schema))
    result = spacings(later, TRAINED, SETTINGS)
    assert result == {"north": 4.0, "south": SETTINGS.detection.channel_spacing_m}
