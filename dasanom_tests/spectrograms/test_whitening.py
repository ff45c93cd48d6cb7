"""Whitening is what its formula says, and says which seconds it cannot be used for."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.common_level import common_levels
from dasanom_assets.spectrograms.white_rows import own_spread
from dasanom_assets.spectrograms.whitening import healthy_rows, white_day
from dasanom_assets.tables.schemas import SCHEMAS, empty, vector
from dasanom_assets.tables.store import Store
from dasanom_tests.spectrograms.test_windows import DAY, write_day


def write_references(store: Store, channels: list[int], bands: int, classes: int, states: dict[int, str]) -> None:
    values = np.repeat(np.arange(classes, dtype=np.float32) * 10, bands)
    n = len(channels)
    keys = {"fibre": pa.array(["north"] * n), "channel": pa.array(channels, pa.int32())}
    vectors = {
        "median_db": vector(np.tile(values, (n, 1))),
        "mad_db": vector(np.ones((n, len(values)), np.float32)),
    }
    store.write_day("background", DAY, pa.table(keys | vectors), {"hour_classes": classes})
    health = [dict.fromkeys(SCHEMAS["channel_health"].names, 0.0) for _ in states]
    for row, (channel, state) in zip(health, states.items(), strict=True):
        row |= {"fibre": "north", "channel": channel, "state": state}
    store.write_day("channel_health", DAY, pa.Table.from_pylist(health, SCHEMAS["channel_health"]))
    store.write_day("clipped_seconds", DAY, empty("clipped_seconds"))
    store.write_day("common_levels", DAY, common_levels(store, DAY, BackgroundSettings(common_channels=0)))


def test_rows_are_measured_against_their_part_of_the_day(tmp_path: Path) -> None:
    store, grid = Store(str(tmp_path)), SpectrogramSettings(bands=4, hop_seconds=0.5)
    levels = write_day(store, grid, [5, 6, 7])
    write_references(store, [5, 6, 7], 4, 2, {5: "ok", 6: "dead", 7: "noisy"})
    wide = BackgroundSettings(clip_low=-100, clip_high=100, own_spread=False)
    result = list(white_day(store, DAY, wide, WindowSettings()))
    assert [channel.channel for channel in result] == [5, 7]
    own = list(white_day(store, DAY, wide.model_copy(update={"own_spread": True}), WindowSettings()))
    np.testing.assert_allclose(
        own[1].rows, np.asarray(result[1].rows) / own_spread(np.asarray(result[1].rows)), rtol=1e-5
    )
    usual = np.where(np.arange(50) < 10, 0, 10)[:, None, None]  # noon is ten seconds on
    np.testing.assert_allclose(result[1].rows, (levels[2] - usual) / (1.4826 + 0.5), rtol=1e-4, atol=1e-5)
    (raw,) = white_day(store, DAY, wide, WindowSettings(scaling="minmax"), lambda fibre, channel: channel == 7)
    np.testing.assert_array_equal(raw.rows, levels[2])


def test_a_group_takes_part_as_long_as_one_of_its_channels_is_alive(tmp_path: Path) -> None:
    store, grid = Store(str(tmp_path)), SpectrogramSettings(bands=4, hop_seconds=0.5, group_channels=2)
    write_day(store, grid, [4, 6])
    write_references(store, [4, 6], 4, 1, {4: "dead", 5: "ok", 6: "dead", 7: "saturated"})
    assert healthy_rows(store, DAY, grid) == {("north", 4)}
    assert [channel.channel for channel in white_day(store, DAY, BackgroundSettings(), WindowSettings())] == [4]
