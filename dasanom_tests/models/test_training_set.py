"""What is learned from: whole blocks of time, healthy channels, and a manifest that notices changes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.models.training_set import (
    SPLITS,
    WindowIndex,
    build_manifest,
    days_to_learn,
    split_of,
)
from dasanom_assets.models.training_windows import load_bank
from dasanom_assets.settings import (
    BackgroundSettings,
    Settings,
    SpectrogramSettings,
    TrainingSetSettings,
    WindowSettings,
)
from dasanom_assets.spectrograms import streams
from dasanom_assets.spectrograms.common_level import common_levels
from dasanom_assets.spectrograms.white_rows import whiten
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import SCHEMAS, TIME, empty, vector
from dasanom_assets.tables.store import MissingDayError, Store

GRID = SpectrogramSettings(hop_seconds=0.5, bands=3)
SETTINGS = Settings(
    window=WindowSettings(seconds=4), training_set=TrainingSetSettings(block_seconds=10), spectrogram=GRID
)
DAYS = ["2026-01-05", "2026-01-06"]
N_SECONDS = 200
HEALTH = {
    ("east", 7): "ok",
    ("east", 8): "noisy",
    ("east", 9): "dead",
    ("west", 7): "saturated",
    ("west", 8): "ok",
}
GAP, SILENT, MISSING = 50, 90, 130
"""Seconds of channel east 7 that are absent, of one level, and partly missing."""


def start_of(day: str) -> int:
    return int(np.datetime64(day, "ns").astype(np.int64)) + 36_000 * SECOND_NS


def levels(day: str, channel: int, grid: SpectrogramSettings = GRID) -> np.ndarray:
    rng = np.random.default_rng([DAYS.index(day), channel])
    return rng.normal(channel, 2, (N_SECONDS, *grid.row_shape)).astype(np.float32)


def channel_rows(day: str, fibre: str, channel: int, grid: SpectrogramSettings) -> Iterator[pa.Table]:
    power, second = levels(day, channel, grid), np.arange(N_SECONDS)
    if (fibre, channel) == ("east", 7):
        power[SILENT], power[MISSING, 1] = -3.0, np.nan
        power, second = np.delete(power, GAP, axis=0), np.delete(second, GAP)
    start = start_of(day) + second * SECOND_NS
    table = pa.table(
        {
            "fibre": pa.array([fibre] * len(second)),
            "channel": pa.array(np.full(len(second), channel, np.int32)),
            "start": pa.array(start).cast(TIME),
            "end": pa.array(start + SECOND_NS).cast(TIME),
            "power_db": vector(power),
        }
    )
    yield table.slice(0, 0)
    yield table.slice(0, 120)
    yield table.slice(120)


def write_day(store: Store, day: str, grid: SpectrogramSettings = GRID) -> None:
    tables = (rows for fibre, channel in HEALTH for rows in channel_rows(day, fibre, channel, grid))
    store.write_day("spectrograms", day, tables, {"settings": grid.model_dump(), "settings_digest": grid.digest()})
    fibre, channel = pa.array([f for f, _ in HEALTH]), pa.array([c for _, c in HEALTH], pa.int32())
    usual = np.repeat(channel.to_numpy()[:, None], grid.bands, axis=1)
    background = {"fibre": fibre, "channel": channel, "median_db": vector(usual), "mad_db": vector(0 * usual + 1)}
    store.write_day("background", day, pa.table(background))
    number = pa.array(np.zeros(len(HEALTH)))
    health = dict.fromkeys(SCHEMAS["channel_health"].names, number)
    health |= {"fibre": fibre, "channel": channel, "state": pa.array(HEALTH.values())}
    store.write_day("channel_health", day, pa.table(health))
    store.write_day("clipped_seconds", day, empty("clipped_seconds"))
    store.write_day("common_levels", day, common_levels(store, day, SETTINGS.background))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path))
    for day in DAYS:
        write_day(store, day)
    return store


@settings(deadline=None, max_examples=40)
@given(
    block=st.integers(2, 7200),
    validation=st.floats(0.05, 0.45),
    calibration=st.floats(0.05, 0.45),
    first=st.integers(0, 3_000_000_000),
)
def test_shares_are_kept_and_blocks_are_whole(
    block: int, validation: float, calibration: float, first: int
) -> None:
    shares = TrainingSetSettings(block_seconds=block, validation_share=validation, calibration_share=calibration)
    blocks = first // block + np.arange(20_000)
    split = split_of(blocks * block * SECOND_NS, shares)
    np.testing.assert_array_equal(split_of(((blocks + 1) * block - 1) * SECOND_NS, shares), split)
    np.testing.assert_array_equal(split_of(blocks * block * SECOND_NS + SECOND_NS // 2, shares), split)
    # Every start of a day may cut a cycle short.
    tolerance = 2 * len(np.unique(blocks * block // 86_400)) / len(blocks)
    wanted = [1 - validation - calibration, validation, calibration]
    np.testing.assert_allclose(np.bincount(split, minlength=3) / len(split), wanted, atol=tolerance + 1e-3)


def test_ten_minutes_of_any_day_hold_all_splits() -> None:
    minute = start_of("2026-01-05") + np.arange(10) * 60 * SECOND_NS
    for offset in range(0, 400 * 24 * 60, 47):
        start = minute + offset * 60 * SECOND_NS
        if start[0] // (86_400 * SECOND_NS) == start[-1] // (86_400 * SECOND_NS):
            assert set(split_of(start, TrainingSetSettings())) == {0, 1, 2}


def test_no_minute_of_the_day_always_goes_to_one_split() -> None:
    minutes = start_of("2026-01-05") + np.arange(200 * 1440) * 60 * SECOND_NS
    split = split_of(minutes, TrainingSetSettings()).reshape(200, 1440)
    for code in range(3):
        share = (split == code).mean(axis=0)
        assert share.min() > 0.05
        assert share.max() < 0.75


def test_splits_share_no_second_and_lose_none_that_is_usable(store: Store) -> None:
    manifest = build_manifest(store, DAYS, SETTINGS)
    used: list[set[tuple[str, int, int]]] = []
    for split in SPLITS:
        bank, index = load_bank(store, manifest, split)
        assert len(bank) == len(index.fibre) == len(index.channel) == len(index.start_ns) == len(index.day) > 0
        assert bank.window_shape == (8, 3)
        seconds = index.start_ns[:, None] + np.arange(4) * SECOND_NS
        assert (split_of(seconds, SETTINGS.training_set) == SPLITS.index(split)).all()
        used.append(
            {
                (fibre, int(channel), int(t))
                for fibre, channel, row in zip(index.fibre, index.channel, seconds, strict=True)
                for t in row
            }
        )
        assert len(bank.rows) <= manifest["channel_seconds"][split]
    assert not (used[0] & used[1]) | (used[0] & used[2]) | (used[1] & used[2])
    # A channel without holes: blocks of ten seconds hold windows at every one of them.
    whole = {t for _, channel, t in set.union(*used) if channel == 8}
    assert whole == {start_of(day) + s * SECOND_NS for day in DAYS for s in range(N_SECONDS)}


def test_windows_of_all_splits_are_those_of_each_and_those_across_their_borders(store: Store) -> None:
    manifest = build_manifest(store, DAYS, SETTINGS)
    bank, index = load_bank(store, manifest, None)
    assert bank.window_shape == (8, 3)
    assert len(bank.rows) <= sum(manifest["channel_seconds"].values())

    def keys(parts: WindowIndex) -> list[tuple[str, str, int, int]]:
        return list(zip(parts.day, parts.fibre, parts.channel.tolist(), parts.start_ns.tolist(), strict=True))

    position = {key: i for i, key in enumerate(keys(index))}
    assert len(position) == len(index)
    inside = 0
    for split in SPLITS:
        sample, parts = load_bank(store, manifest, split)
        inside += len(sample)
        for i, key in enumerate(keys(parts)):
            np.testing.assert_array_equal(bank.window(position[key]), sample.window(i))
    whole = (index.fibre == "west") & (index.channel == 8)
    assert whole.sum() == 2 * (N_SECONDS - 3)  # every second begins one, but for the last
    across = split_of(index.start_ns, SETTINGS.training_set) != split_of(
        index.start_ns + 3 * SECOND_NS, SETTINGS.training_set
    )
    # Windows across two blocks of the same split are in its bank, too.
    assert len(index) - inside == across.sum() > 0


def test_some_windows_of_an_index_are_given_by_position_or_mask(store: Store) -> None:
    _, index = load_bank(store, build_manifest(store, DAYS, SETTINGS), None)
    sample = np.array([5, 2, 9])
    result = index.subset(sample)
    for name in ("fibre", "channel", "start_ns", "day"):
        np.testing.assert_array_equal(getattr(result, name), getattr(index, name)[sample])
    mask = np.isin(np.arange(len(index)), sample)
    np.testing.assert_array_equal(index.subset(mask).start_ns, index.start_ns[np.sort(sample)])
    assert len(index.subset(np.zeros(len(index), bool))) == 0


def test_windows_hold_the_whitened_levels_of_their_place_and_time(store: Store) -> None:
    bank, index = load_bank(store, build_manifest(store, DAYS, SETTINGS), "train")
    for i in range(0, len(bank), 17):
        channel, day = int(index.channel[i]), index.day[i]
        second = (int(index.start_ns[i]) - start_of(day)) // SECOND_NS
        power = levels(day, channel)[second : second + 4].reshape(8, 3)
        usual, spread = np.full(3, channel, np.float32), np.ones(3, np.float32)
        expected = whiten(power, usual, spread, SETTINGS.background)
        own = bank.window(i) / expected  # that of the channel's day: levels spread by 2 dB about the usual ones
        np.testing.assert_allclose(own, own[0, 0], rtol=1e-4)
        assert 1 / own[0, 0] == pytest.approx(2 / (1.4826 + SETTINGS.background.scale_floor_db), rel=0.1)


def test_the_spread_of_a_day_may_be_left_to_the_reference(store: Store) -> None:
    plain = SETTINGS.model_copy(update={"background": BackgroundSettings(own_spread=False)})
    bank, index = load_bank(store, build_manifest(store, DAYS, plain), "train")
    channel, day = int(index.channel[0]), index.day[0]
    second = (int(index.start_ns[0]) - start_of(day)) // SECOND_NS
    power = levels(day, channel)[second : second + 4].reshape(8, 3)
    usual, spread = np.full(3, channel, np.float32), np.ones(3, np.float32)
    np.testing.assert_allclose(bank.window(0), whiten(power, usual, spread, plain.background), atol=1e-6)


def test_bad_channels_and_bad_seconds_are_left_out(store: Store) -> None:
    manifest = build_manifest(store, DAYS, SETTINGS)
    for split in SPLITS:
        bank, index = load_bank(store, manifest, split)
        assert np.isfinite(bank.rows).all()
        result = set(zip(index.fibre, index.channel.tolist(), strict=True))
        assert result == {key for key, state in HEALTH.items() if state in ("ok", "noisy")}
        broken = (index.fibre == "east") & (index.channel == 7)
        first = (index.start_ns[broken] - np.array([start_of(d) for d in index.day[broken]])) // SECOND_NS
        for second in (GAP, SILENT, MISSING):
            assert not ((first <= second) & (second < first + 4)).any()
    seconds = sum(manifest["channel_seconds"].values())
    assert seconds == 2 * (3 * N_SECONDS - 1)  # silent seconds count until they are looked at


def test_too_many_channels_are_thinned_and_days_take_different_ones(store: Store) -> None:
    limited = SETTINGS.model_copy(
        update={"training_set": TrainingSetSettings(block_seconds=10, max_channel_seconds=3 * N_SECONDS)}
    )
    manifest = build_manifest(store, DAYS, limited)
    kept = [{(fibre, n) for fibre, some in manifest["channels"][day].items() for n in some} for day in DAYS]
    assert {len(channels) for channels in kept} <= {1, 2}
    assert sum(manifest["channel_seconds"].values()) <= 4 * N_SECONDS
    _, index = load_bank(store, manifest, "train")
    by_day = [
        set(zip(index.fibre[rows], index.channel[rows], strict=True))
        for rows in (index.day == day for day in DAYS)
    ]
    assert by_day == kept
    assert by_day[0] | by_day[1] == {key for key, state in HEALTH.items() if state in ("ok", "noisy")}
    assert not by_day[0] & by_day[1]


def test_windows_are_the_same_whoever_whitens_them(
    store: Store, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BLOCK_SECONDS", N_SECONDS)  # each channel by itself
    manifest = build_manifest(store, DAYS, SETTINGS)
    assert build_manifest(store, DAYS, SETTINGS, client) == manifest
    (alone, of_one), (spread, of_many) = (load_bank(store, manifest, None, client=c) for c in (None, client))
    for one, many in zip(vars(of_one).values(), vars(of_many).values(), strict=True):
        np.testing.assert_array_equal(one, many)
    for i in range(len(alone)):
        np.testing.assert_array_equal(alone.window(i), spread.window(i))


def test_days_are_learned_from_once_they_are_over_and_ingested(store: Store) -> None:
    assert days_to_learn(store, "2026-12-01") == []
    for day in DAYS:
        store.write_day("temporal_terms", day, empty("temporal_terms"))
    store.drop_day("background", DAYS[0])  # a run that was killed, say
    assert days_to_learn(store, "2026-12-01") == DAYS[1:]
    assert days_to_learn(store, DAYS[1]) == DAYS[1:]  # there is no other
    write_day(store, DAYS[0])
    assert days_to_learn(store, "2026-12-01") == DAYS
    assert days_to_learn(store, DAYS[1]) == DAYS[:1]


def test_the_manifest_is_json_and_the_same_each_time(store: Store) -> None:
    manifest = build_manifest(store, DAYS, SETTINGS)
    assert build_manifest(store, [*reversed(DAYS), DAYS[0]], SETTINGS) == manifest
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["days"] == DAYS
    assert manifest["spectrogram"] == GRID.model_dump()
    assert manifest["digests"][DAYS[0]]["spectrograms"] == store.content_digest("spectrograms", DAYS[0])
    read_back: dict[str, Any] = json.loads(json.dumps(manifest))
    assert len(load_bank(store, read_back, "validation")[0]) > 0


@pytest.mark.parametrize("table", ["spectrograms", "background", "channel_health"])
def test_a_table_that_was_replaced_since_is_noticed(store: Store, table: str) -> None:
    manifest = build_manifest(store, DAYS, SETTINGS)
    rows = store.read_day(table, DAYS[1])
    store.write_day(table, DAYS[1], rows.slice(1), store.metadata(table, DAYS[1]))
    with pytest.raises(ValueError, match=r"2026-01-06 has changed.*materialize training_set again"):
        load_bank(store, manifest, "train")


def test_days_that_cannot_be_learned_from_are_refused_with_a_remedy(store: Store) -> None:
    with pytest.raises(ValueError, match="run the job ingest"):
        build_manifest(store, [], SETTINGS)
    with pytest.raises(MissingDayError, match="materialize spectrograms for 2026-02-01"):
        build_manifest(store, ["2026-02-01"], SETTINGS)
    long_blocks = SETTINGS.model_copy(update={"training_set": TrainingSetSettings(block_seconds=3600)})
    with pytest.raises(ValueError, match=r"nothing for .*; add days, or shorten training_set.block_seconds"):
        build_manifest(store, DAYS, long_blocks)
    short_blocks = SETTINGS.model_copy(update={"training_set": TrainingSetSettings(block_seconds=3)})
    with pytest.raises(ValueError, match="shorter than window"):
        build_manifest(store, DAYS, short_blocks)
    write_day(store, DAYS[1], SpectrogramSettings(hop_seconds=0.5, bands=4))
    with pytest.raises(
        ValueError, match="spectrograms of 2026-01-06 have other settings than those of 2026-01-05"
    ):
        build_manifest(store, DAYS, SETTINGS)
