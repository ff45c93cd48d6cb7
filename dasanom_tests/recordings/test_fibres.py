"""The table `fibres` tells metres, also where a fibre changes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.recordings import steps
from dasanom_assets.recordings.catalogue import adjoining
from dasanom_assets.recordings.fibres import Places, places_of, with_metres
from dasanom_assets.settings import Settings
from dasanom_assets.tables.schemas import SCHEMAS, empty
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_bundle import numbers, write
from dasanom_tests.recordings.test_identity import DAY, deliver

TEN = pa.scalar(np.datetime64(f"{DAY}T10", "ns")).cast(pa.int64()).as_py()


def told(root: Path, day: str = DAY) -> list[tuple]:
    """Return fibre, channel and metres of a day after its ingest, by channel."""
    store = Store(str(root))
    steps.recordings(store, day, Settings())
    rows = store.read_day("fibres", day).to_pylist()
    return [(row["fibre"], row["channel"], row["distance_m"]) for row in rows]


def test_distances_are_those_that_files_say_and_not_the_product(tmp_path: Path) -> None:
    deliver(tmp_path, "north_1.h5", distance=101.0 + 2 * np.arange(3))
    deliver(tmp_path, "south_1.h5", distance=6 - 2.0 * np.arange(2))
    assert told(tmp_path) == [
        ("north", 50, 101.0), ("north", 51, 103.0), ("north", 52, 105.0), ("south", 2, 4.0), ("south", 3, 6.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sidecar", "metres"),
    [
        ({"channel_spacing_m": 2.0, "first_channel_distance_m": 100.0}, [100.0, 102.0]),
        ({"channel_spacing_m": 2.0}, [14.0, 16.0]),
        ({}, [None, None]),
    ],
)
def test_a_sidecar_says_where_channels_lie_or_nothing_does(
    tmp_path: Path, sidecar: dict, metres: list[float | None]
) -> None:
    (tmp_path / "landing" / DAY).mkdir(parents=True)
    write(
        tmp_path / "landing" / DAY, numbers(20, 2), {"selected_channel_zones": [7, 8]} | sidecar, f"n_{DAY}T100000"
    )
    keys = {"selected_channel_zones": [7, 8], "start_time": f"{DAY}T10:00:00Z"} | sidecar
    write(tmp_path / "landing" / DAY, numbers(20, 2), keys, f"n_{DAY}T100000")
    assert [row[2] for row in told(tmp_path)] == metres


def test_a_rule_of_the_site_says_how_far_channels_lie_apart(tmp_path: Path) -> None:
    (tmp_path / "sites.toml").write_text('[[site]]\nfibre = "west"\nspacing_m = 4.0')
    deliver(tmp_path, "x.h5", distance=np.arange(10.0, 13))  # numbers of channels, not metres
    assert told(tmp_path) == [("west", 10, 40.0), ("west", 11, 44.0), ("west", 12, 48.0)]


def test_a_channel_keeps_the_time_from_which_it_lies_there_until_it_moves(tmp_path: Path) -> None:
    deliver(tmp_path, "north_1.h5", distance=2.0 * np.arange(2))
    told(tmp_path)
    store, later = Store(str(tmp_path)), "2026-01-06"
    deliver(tmp_path, f"../{later}/north_2.h5", 86_400, distance=2.0 * np.arange(3))
    told(tmp_path, later)
    since = store.read_day("fibres", later)["valid_from"].cast(pa.int64()).to_pylist()
    assert since == [TEN, TEN, TEN + 86_400 * 10**9]


def test_a_file_that_does_not_say_where_channels_lie_moves_none(tmp_path: Path) -> None:
    for day, places in ((DAY, {"channel_spacing_m": 2.0}), ("2026-01-06", {})):
        folder = tmp_path / "landing" / day
        folder.mkdir(parents=True)
        keys = {"selected_channel_zones": [7, 8], "fibre": "north", "start_time": f"{day}T10:00:00Z"}
        write(folder, numbers(20, 2), keys | places, f"a_{day}")
        write(folder, numbers(20, 2), keys | {"start_time": f"{day}T11:00:00Z"}, f"b_{day}")
        assert told(tmp_path, day) == [("north", 7, 14.0), ("north", 8, 16.0)]


def test_another_spacing_than_on_earlier_days_is_another_fibre(tmp_path: Path) -> None:
    deliver(tmp_path, "north_1.h5", distance=2.0 * np.arange(2))
    told(tmp_path)
    for day, second in (("2026-01-06", 86_400), ("2026-01-07", 2 * 86_400)):
        deliver(tmp_path, f"../{day}/north_2.h5", second, distance=4.0 * np.arange(2))
        assert told(tmp_path, day) == [("north-4m", 0, 0.0), ("north-4m", 1, 4.0)]


def test_files_beside_a_day_are_of_the_same_fibre(tmp_path: Path) -> None:
    deliver(tmp_path, "north_1.h5", distance=2.0 * np.arange(2))
    deliver(tmp_path, "north_2.h5", 14 * 3600 - 0.5, samples=50, distance=4.0 * np.arange(2))
    told(tmp_path)
    deliver(tmp_path, "../2026-01-06/north_3.h5", 86_400, distance=4.0 * np.arange(2))
    told(tmp_path, "2026-01-06")
    assert adjoining(Store(str(tmp_path)), "2026-01-06")["fibre"].to_pylist() == ["north-4m"]


def test_events_carry_metres_of_their_channels_and_time() -> None:
    rows = [("n", 1, 10.0, 0), ("n", 2, 12.0, 0), ("n", 3, 14.0, 0), ("n", 2, 99.0, 50), ("s", 1, None, 0)]
    fibres = pa.Table.from_pylist(
        [
            {"fibre": fibre, "channel": channel, "distance_m": metres, "valid_from": since}
            for fibre, channel, metres, since in rows
        ],
        SCHEMAS["fibres"],
    )
    extents = [("n", 1, 2, 10), ("n", 2, 3, 60), ("s", 1, 1, 10), ("e", 1, 1, 10)]
    events = pa.Table.from_pylist(
        [
            {"fibre": fibre, "first_channel": first, "last_channel": last, "start": start}
            for fibre, first, last, start in extents
        ],
        SCHEMAS["anomaly_events"],
    )
    found = with_metres(events, Places(fibres))
    assert found["first_m"].to_pylist() == [10.0, 14.0, None, None]
    assert found["last_m"].to_pylist() == [12.0, 99.0, None, None]
    assert found.schema == SCHEMAS["anomaly_events"]
    assert with_metres(empty("anomaly_events"), Places(fibres)).num_rows == 0


def fibres_of(metres: dict[tuple[str, int], float], since: int = 0) -> pa.Table:
    """Return rows of `fibres`, by fibre and channel."""
    rows = [
        {"fibre": fibre, "channel": channel, "distance_m": distance, "valid_from": since}
        for (fibre, channel), distance in metres.items()
    ]
    return pa.Table.from_pylist(rows, SCHEMAS["fibres"])


def test_metres_of_channels_between_and_beyond_those_that_are_said() -> None:
    rising = {("n", c): 10.0 + 2 * c for c in (4, 5, 8)}
    falling = {("f", c): 100.0 - 2 * c for c in (4, 5, 8)}
    places = Places(fibres_of(rising | falling), unsaid_m=5.0)
    channels = np.array([2, 4, 7, 8, 10])
    assert places.metres("n", channels).tolist() == [14.0, 18.0, 24.0, 26.0, 30.0]
    assert places.metres("f", channels).tolist() == [96.0, 92.0, 86.0, 84.0, 80.0]
    assert places.metres("unsaid", channels).tolist() == [10.0, 20.0, 35.0, 40.0, 50.0]
    assert [places.spacing_m(name) for name in ("n", "f", "unsaid")] == [2.0, 2.0, 5.0]
    assert np.isnan(Places(empty("fibres")).metres("n", channels)).all()


def test_places_of_several_days_are_the_last_ones(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_day("fibres", DAY, fibres_of({("n", 1): 3.0}, TEN))
    store.write_day("fibres", "2026-01-06", fibres_of({("n", 1): 4.0}, TEN + 10**13))
    places = places_of(store, [DAY, "2026-01-06", "2026-01-07"])
    assert places.layout("n")[1].tolist() == [4.0]
    assert places.layout("n", TEN)[1].tolist() == [3.0]
    assert places.layout("n", 0)[1].tolist() == [3.0]
