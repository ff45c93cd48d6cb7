"""Segments: which frames they have, on what grid, beside which neighbours, and how long they are kept."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.minutes.gaussians import divergence, fit_gaussians
from dasanom_assets.detection.minutes.segments import (
    Segments,
    band_features,
    cosine_basis,
    drop_old_models,
    models_of_channels,
    models_table,
    segment_frames,
)
from dasanom_assets.settings import TemporalSettings
from dasanom_assets.spectrograms.white_rows import WhiteChannel
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import mismatch, stack
from dasanom_assets.tables.store import Store

DAY = "2026-01-05"
START = int(np.datetime64(DAY, "s").astype(int))
TEMPORAL = TemporalSettings()
BANDS = 64


def white(channel: int, seconds: np.ndarray, seed: int = 0, fibre: str = "north") -> WhiteChannel:
    rows = np.random.default_rng([seed, channel]).normal(size=(len(seconds), 8, BANDS)).astype(np.float32)
    start = (START + np.asarray(seconds)) * SECOND_NS
    return WhiteChannel(fibre, channel, start, rows, np.ones(len(seconds), bool), {})


def test_features_are_averages_by_the_first_coefficients_of_an_orthonormal_transform() -> None:
    rows = white(1, np.arange(5)).rows
    result = band_features(rows, TemporalSettings())
    means = rows.reshape(5, 2, 4, BANDS).mean(axis=2)
    np.testing.assert_allclose(result, means @ cosine_basis(BANDS, 10).T, atol=1e-5)
    np.testing.assert_allclose(cosine_basis(BANDS, 10) @ cosine_basis(BANDS, 10).T, np.eye(10), atol=1e-6)
    np.testing.assert_allclose(cosine_basis(BANDS, 1), BANDS**-0.5)
    assert band_features(rows[:, :, :4], TemporalSettings()).shape == (5, 2, 4)


def test_a_frame_that_the_grid_leaves_out_counts_neither_way() -> None:
    rows = white(1, np.arange(4)).rows[:, :4].copy()
    rows[1, 3] = np.nan
    result = band_features(rows, TemporalSettings())
    np.testing.assert_allclose(result[1, 1], cosine_basis(BANDS, 10) @ rows[1, 2], atol=1e-5)
    assert np.isfinite(result).all()


def test_segments_start_on_the_grid_and_are_views_of_their_frames() -> None:
    channel = white(1, np.arange(600))
    start, frames = segment_frames(channel, TemporalSettings())
    np.testing.assert_array_equal(start - START, np.arange(0, 541, 30))
    assert frames.shape == (19, 120, 10)
    expected = band_features(channel.rows, TemporalSettings())[30:90].reshape(120, 10)
    np.testing.assert_array_equal(frames[1], expected)
    assert not frames.flags.owndata


def test_a_gappy_segment_needs_its_share_of_seconds() -> None:
    seconds = np.r_[0:60, 60:83, 120:180]
    channel = white(1, seconds)
    channel.usable[:25] = False
    start, frames = segment_frames(channel, TemporalSettings(min_share=0.6))
    # 0: 35 of 60 s; 30: 53; 60: 23; 90: 30; 120: 60
    np.testing.assert_array_equal(start - START, [30, 120])
    assert np.isfinite(frames[0, :, 0]).sum() == 2 * 53
    assert len(segment_frames(white(1, np.arange(20)), TemporalSettings())[0]) == 0
    assert len(segment_frames(white(1, np.arange(0)), TemporalSettings())[0]) == 0


def test_a_segment_across_midnight_belongs_to_the_day_that_has_most_of_it() -> None:
    settings = TemporalSettings(shift_seconds=20, min_share=0.55)
    of_day, _ = segment_frames(white(1, np.arange(200)), settings)
    of_day_before, _ = segment_frames(white(1, np.arange(-200, 0)), settings)
    both = np.r_[of_day_before, of_day]
    np.testing.assert_array_equal(np.unique(both, return_counts=True)[1], 1)
    assert {START - 20, START - 40} <= set(both.tolist())


def test_every_channel_is_fitted_and_held_against_those_beyond_its_own_event() -> None:
    numbers = [*range(100, 112), 120]
    channels = [white(n, np.arange(180)) for n in numbers] + [white(101, np.arange(90), fibre="south")]

    short = white(113, np.arange(9))  # has no segment
    tables = list(models_of_channels(iter([*channels[:12], short, *channels[12:]]), TEMPORAL))
    assert all(mismatch("segment_models", table.schema) is None for table in tables)
    by_channel = {(t["fibre"][0].as_py(), t["channel"][0].as_py()): t for t in tables}
    assert list(by_channel) == [(c.fibre, c.channel) for c in channels]

    models = {}
    for channel in channels:
        key = (channel.fibre, channel.channel)
        models[key] = fit_gaussians(segment_frames(channel, TEMPORAL)[1])
        rows = by_channel[key]
        np.testing.assert_array_equal(stack(rows["means"]), models[key].means)
        np.testing.assert_array_equal(stack(rows["variances"]), models[key].variances)
        assert rows["n_frames"].to_pylist() == [120] * len(rows)
    others = [100, 101, 109, 110, 111]  # of 105, at more than 3 and at most 7 channels
    expected = np.median([divergence(models["north", 105], models["north", n]) for n in others], axis=0)
    np.testing.assert_allclose(by_channel["north", 105]["to_neighbours"].to_numpy(), expected, rtol=1e-5)
    assert np.isnan(by_channel["north", 120]["to_neighbours"].to_numpy()).all()
    assert np.isnan(by_channel["south", 101]["to_neighbours"].to_numpy()).all()


def test_models_are_kept_for_as_many_days_as_the_setting_says(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    frames = np.random.default_rng(0).normal(size=(1, 50, 3))
    for day in ("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-09"):
        rows = Segments("north", 1, np.array([START * SECOND_NS]), fit_gaussians(frames), np.array([50], np.int32))
        store.write_day("segment_models", day, models_table(rows, np.zeros(1, np.float32), TemporalSettings()))
    assert drop_old_models(store, "2026-01-03", keep_days=1) == ["2026-01-01"]
    assert store.days("segment_models") == ["2026-01-02", "2026-01-03", "2026-01-09"]
    assert drop_old_models(store, "2026-01-03", keep_days=1) == []
    store.drop_day("segment_models", "2026-01-01")
    assert isinstance(store.read_day("segment_models", "2026-01-02"), pa.Table)
