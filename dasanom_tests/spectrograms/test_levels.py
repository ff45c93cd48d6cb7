"""Levels are those of librosa and SciPy, on one grid, whatever the rate, the conditioning and the groups."""

from dataclasses import replace

import librosa
import numpy as np
import pytest
import scipy.signal

from dasanom_assets.spectrograms import conditioning
from dasanom_assets.spectrograms.engine import parts_of_day
from dasanom_assets.spectrograms.levels import levels_of, unfit
from dasanom_assets.spectrograms.transform import Transform
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_tests.spectrograms.test_engine import DAY, FIRST, SMALL, Array, cube, noise, rows


def test_frames_are_librosas_centred_reflected_stft() -> None:
    x = noise(10, 1)
    exact = SMALL.model_copy(update={"db_step": 0.0})
    ours = cube(rows([Array(x)], exact)).reshape(80, -1)
    transform = Transform(exact, 2000.0)
    # librosa's frame k has its centre at 250 k; ours at 250 k + 125.
    shifted = np.pad(x[:, 0].astype(np.float32), 256, mode="reflect")[125:]
    spectrum = librosa.stft(shifted, n_fft=512, hop_length=250, center=False)[:, :80]
    power = np.abs(spectrum.T) ** 2 @ transform.weights
    np.testing.assert_allclose(ours, 10 * np.log10(power), atol=0.05)


def test_an_impulse_shows_in_the_frames_around_it() -> None:
    x = np.zeros((20_000, 1), np.int16)
    x[5 * 2000 + 500] = 30_000  # at 5.25 s
    level = cube(rows([Array(x)])).mean(axis=2)
    assert np.unravel_index(level.argmax(), level.shape)[0] == 5
    loud = np.flatnonzero(level.reshape(-1) > level.min() + 10)
    assert list(loud) == [41, 42]  # centres at 5.1875 and 5.3125 s


@pytest.mark.parametrize("hop_seconds", [0.125, 0.256, 0.1, 0.3, 1.0])
def test_frames_lie_on_one_grid_and_rows_hold_those_of_their_second(hop_seconds: float) -> None:
    settings = SMALL.model_copy(update={"hop_seconds": hop_seconds, "db_step": 0.0})
    x = noise(70, 1)
    table = rows([Array(x)], settings)
    levels = cube(table, settings)
    k = np.arange(int((FIRST - 1) / hop_seconds), int((FIRST + 72) / hop_seconds))
    centre_ns = (2 * k + 1) * settings.hop_ns // 2
    transform = Transform(settings, 2000.0)
    for second in (1, 29, 30, 47, 68):
        centres = centre_ns[centre_ns // SECOND_NS == FIRST + second]
        first = np.rint((centres - FIRST * SECOND_NS) / 1e9 * 2000).astype(int) - 256
        expected = transform.decibels(transform.band_power(x[None, :, 0].astype(np.float32), first)[0], -300)
        np.testing.assert_allclose(levels[second][: len(centres)], expected, atol=1e-4)
        assert np.isnan(levels[second][len(centres) :]).all()


@pytest.mark.parametrize(("rate", "samples"), [(500.0, 100), (500.0, 150), (3218.0, 2060), (250.0, 1250)])
def test_short_recordings_and_odd_rates_get_frames(rate: float, samples: int) -> None:
    x = np.random.default_rng(1).normal(size=(samples, 3)).astype(np.float32)
    table = rows([Array(x, sampling_rate_hz=rate, quantization=None, start_ns=FIRST * SECOND_NS + 158_000_000)])
    assert set(table["channel"].to_pylist()) == {100, 101, 102}
    n_frames = np.isfinite(cube(table)[:, :, 0]).sum() / 3
    assert abs(n_frames - samples / rate * 8) <= 1


def test_differences_have_rows_where_both_channels_exist_at_their_distance_in_metres() -> None:
    x = noise(12, 6)
    x[:, 3] += (2000 * np.sin(np.arange(len(x)))).astype(np.int16)
    settings = SMALL.model_copy(update={"difference": "laplacian", "difference_m": 10.0, "db_step": 0.0})
    table = rows([Array(x)], settings)
    assert sorted(set(table["channel"].to_pylist())) == [102, 103]  # 10 m are two channels of 5 m
    y = x.astype(float)
    by_hand = Array((y[:, :2] - 2 * y[:, 2:4] + y[:, 4:]).astype(np.float32))
    plain = settings.model_copy(update={"difference": "none"})
    np.testing.assert_allclose(cube(table, settings), cube(rows([by_hand], plain), plain), atol=1e-3)


def test_differences_of_uneven_channels_are_those_of_their_metres() -> None:
    x = noise(12, 6)
    metres = np.array([0.0, 5.0, 10.0, 12.0, 14.0, 16.0])  # 5 m apart, then 2 m
    settings = SMALL.model_copy(update={"difference": "first", "difference_m": 10.0, "db_step": 0.0})
    table = rows([Array(x, distance_m=metres)], settings)
    assert sorted(set(table["channel"].to_pylist())) == [102, 104]
    y = x.astype(float)
    by_hand = Array((y[:, [2, 4]] - y[:, [0, 1]]).astype(np.float32))  # 10 m, and 9 m
    plain = settings.model_copy(update={"difference": "none"})
    np.testing.assert_allclose(cube(table, settings), cube(rows([by_hand], plain), plain), atol=1e-3)


def test_differences_without_a_known_place_or_neighbour_are_refused_by_name() -> None:
    settings = SMALL.model_copy(update={"difference": "first"})
    unknown = replace(Array(noise(1)), distance_m=np.full(2, np.nan))
    assert "add channel_spacing_m to the sidecar" in unfit(unknown, settings)
    assert "has another one about spectrogram.difference_m = 10 m" in unfit(Array(noise(1)), settings)
    assert unfit(Array(noise(1, 3)), settings) is None


def test_the_high_pass_is_scipys_across_chunk_borders() -> None:
    settings = SMALL.model_copy(update={"high_pass_hz": 40.0, "db_step": 0.0})
    x = np.cumsum(noise(70, 1, 500.0).astype(float), axis=0)
    x = (x / np.abs(x).max() * 30_000).astype(np.int16)
    ours = cube(rows([Array(x, sampling_rate_hz=500.0)], settings), settings)
    taps = conditioning.high_pass_taps(40.0, 500.0)
    filtered = scipy.signal.fftconvolve(x[:, 0], taps, mode="same")[:, None].astype(np.float32)
    direct = Array(filtered, sampling_rate_hz=500.0)
    plain = settings.model_copy(update={"high_pass_hz": 0.0})
    np.testing.assert_allclose(ours[2:-2], cube(rows([direct], plain), plain)[2:-2], atol=0.05)


def test_the_common_mode_is_that_of_the_block_whatever_the_parts() -> None:
    shared = 3000 * np.random.default_rng(1).standard_normal((20_000, 1))
    x = (noise(10, 40) + shared).astype(np.int16)
    settings = SMALL.model_copy(update={"common_mode_channels": 20})
    parts = parts_of_day([Array(x)], settings, DAY)
    assert [len(block) for part in parts for block in part.blocks] == [20, 20]
    with_shared, without = cube(rows([Array(x)])), cube(rows([Array(noise(10, 40))]))
    removed = cube(rows([Array(x)], settings))
    assert np.median(with_shared - without) > 20
    assert abs(np.median(removed - without)) < 0.5


def test_groups_have_the_mean_power_of_their_channels_and_the_lowest_number() -> None:
    x = noise(10, 7)
    x[:, 2] *= 4
    settings = SMALL.model_copy(update={"group_channels": 4, "db_step": 0.0})
    plain = SMALL.model_copy(update={"db_step": 0.0})
    single = Array(x, channels=np.array([6, 7, 8, 9, 10, 11, 20], np.int32))
    table, power = rows([single], settings), 10 ** (cube(rows([single], plain)) / 10)
    assert table["channel"].to_pylist() == [4] * 10 + [8] * 10 + [20] * 10
    power = power.reshape(7, 10, 8, -1)
    expected = np.stack([power[:2].mean(axis=0), power[2:6].mean(axis=0), power[6]])
    np.testing.assert_allclose(cube(table).reshape(3, 10, 8, -1), 10 * np.log10(expected), atol=1e-3)


def test_a_channel_of_nan_is_missing_alone_and_in_its_group() -> None:
    x = noise(5, 3).astype(np.float32)
    x[:, 1] = np.nan
    assert set(rows([Array(x, quantization=None)])["channel"].to_pylist()) == {100, 102}
    grouped = SMALL.model_copy(update={"group_channels": 2, "db_step": 0.0})
    pair = cube(rows([Array(x, quantization=None)], grouped))[:5]
    single = cube(rows([Array(x[:, :1], quantization=None)], SMALL.model_copy(update={"db_step": 0.0})))
    np.testing.assert_allclose(pair, single, atol=1e-3)


def test_zones_in_any_order_keep_their_channels() -> None:
    x = noise(5, 4)
    sorted_zones = Array(x, channels=np.array([10, 11, 50, 51], np.int32))
    swapped = Array(x[:, [2, 3, 0, 1]], channels=np.array([50, 51, 10, 11], np.int32))
    assert rows([sorted_zones]).equals(rows([swapped]))


def test_levels_of_some_channels_are_those_of_the_day() -> None:
    signal = Array(noise(40, 5))
    channels, levels = levels_of([signal], SMALL, [np.array([101, 103], np.int32)], FIRST, FIRST + 60)
    day = cube(rows([signal])).reshape(5, 40, 8, -1)
    assert channels.tolist() == [101, 103]
    np.testing.assert_array_equal(levels[:, :40], day[[1, 3]])
    assert np.isnan(levels[:, 40:]).all()


@pytest.mark.parametrize(
    ("dtype", "offset"), [("<i4", 1_500_000_000), ("<f8", 1e9), ("<i8", 10**12), ("<f4", 1e5)]
)
def test_an_offset_changes_no_level(dtype: str, offset: float) -> None:
    x = np.round(np.random.default_rng(0).normal(scale=20, size=(20_000, 2)))
    quantization = 1.0 if np.dtype(dtype).kind == "i" else None
    near, far = (cube(rows([Array((x + o).astype(dtype), quantization=quantization)])) for o in (0, offset))
    np.testing.assert_allclose(far, near, atol=0.26)


def test_one_sample_that_is_not_finite_takes_no_more_than_the_filter_reaches() -> None:
    x = noise(60, 2).astype(np.float32)
    x[60_000, 1] = np.nan
    signal, settings = Array(x, quantization=None), SMALL.model_copy(update={"high_pass_hz": 2.0})
    _, levels = levels_of([signal], settings, [signal.channels], FIRST, FIRST + 60)
    _, without = levels_of(
        [Array(noise(60, 2).astype(np.float32), quantization=None)], settings, [signal.channels], FIRST, FIRST + 60
    )
    whole = np.isfinite(levels).all(axis=(2, 3))
    reach = len(conditioning.high_pass_taps(2.0, 2000.0)) / 2000 / 2 + SMALL.frame_seconds / 2
    centre = (np.arange(480) + 0.5) * SMALL.hop_seconds
    assert whole[0].all()
    assert set(np.flatnonzero(~whole[1])) == set(centre[abs(centre - 30) < reach].astype(int))
    np.testing.assert_allclose(levels[whole], without[whole], atol=0.26)


def test_a_signal_between_two_frames_says_so() -> None:
    short = Array(noise(1, 2)[:60], start_ns=FIRST * SECOND_NS + 70_000_000)
    assert "0.030 s" in (unfit(short, SMALL) or "")
    assert unfit(Array(noise(1, 2)[:60], start_ns=FIRST * SECOND_NS + 40_000_000), SMALL) is None
