"""A day of signal becomes rows: whatever the blocks, files, gaps and rates."""

from dataclasses import dataclass, replace

import librosa
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.spectrograms import engine
from dasanom_assets.spectrograms.engine import day_seconds, settings_note, spectrogram_tables
from dasanom_assets.spectrograms.transform import Transform
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import mismatch, stack

DAY = "2026-01-05"
FIRST, LAST = day_seconds(DAY)
SMALL = SpectrogramSettings(bands=16)


@dataclass(frozen=True)
class Array:
    """A signal in memory."""

    samples: np.ndarray
    start_ns: int = FIRST * SECOND_NS
    sampling_rate_hz: float = 2000.0
    fibre: str = "north"
    channels: np.ndarray = None  # type: ignore[assignment]
    quantization: float | None = 1.0

    def __post_init__(self) -> None:
        if self.channels is None:
            object.__setattr__(self, "channels", np.arange(100, 100 + self.samples.shape[1], dtype=np.int32))

    @property
    def n_samples(self) -> int:
        return len(self.samples)

    def read(self, first: int, last: int) -> np.ndarray:
        assert 0 <= first < last <= len(self.samples)
        return self.samples[first:last]


def noise(seconds: float, channels: int = 2, rate: float = 2000.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(scale=200, size=(int(seconds * rate), channels)).astype(np.int16)


def rows(signals: list, settings: SpectrogramSettings = SMALL, day: str = DAY) -> pa.Table:
    return pa.concat_tables(spectrogram_tables(signals, settings, day))


def cube(table: pa.Table) -> np.ndarray:
    return stack(table["power_db"]).reshape(table.num_rows, 8, -1)


def test_rows_are_the_contracts_and_lie_on_utc_seconds() -> None:
    table = rows([Array(noise(12.5), start_ns=FIRST * SECOND_NS + 300_000_000)])
    assert mismatch("spectrograms", table.schema) is None
    start = table["start"].cast(pa.int64()).to_numpy()
    assert (start % SECOND_NS == 0).all()
    assert table["channel"].to_pylist() == [100] * 13 + [101] * 13
    partial = np.isnan(cube(table)[:, :, 0]).sum(axis=1)
    assert list(partial[:13]) == [2, *[0] * 11, 2]  # 0.3 s are missing in front, 0.2 s behind


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


@settings(deadline=None, max_examples=8)
@given(group_seconds=st.sampled_from([30, 90, 900]), start_ms=st.integers(0, 59_999))
def test_a_day_does_not_depend_on_how_it_is_cut_into_blocks(group_seconds: int, start_ms: int) -> None:
    whole = Array(noise(20), start_ns=FIRST * SECOND_NS + start_ms * 1_000_000)
    expected = rows([whole])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "GROUP_SECONDS", group_seconds)
        patch.setattr(engine, "GROUP_CHANNELS", 1)
        cut = rows([whole]).sort_by([("channel", "ascending"), ("start", "ascending")])
    assert cut.drop(["power_db"]).equals(expected.drop(["power_db"]))
    np.testing.assert_array_equal(cube(cut), cube(expected))


def test_a_gap_stays_a_gap_and_a_second_it_cuts_is_one_row() -> None:
    x = noise(20)
    later = replace(Array(x[9_000:]), start_ns=FIRST * SECOND_NS + 4_500_000_000 + 400_000_000)
    table = rows([Array(x[:9_000]), later])
    start = table["start"].cast(pa.int64()).to_numpy()[: table.num_rows // 2] // SECOND_NS - FIRST
    assert len(set(start)) == len(start) == 21
    missing = np.isnan(cube(table)[4, :, 0])
    assert list(np.flatnonzero(missing)) == [4, 5, 6]  # centres 4.5625, 4.6875 and 4.8125 s lie in the gap


def test_seconds_of_other_days_are_left_to_them() -> None:
    x = noise(10)
    over_midnight = Array(x, start_ns=(LAST - 4) * SECOND_NS)
    today, tomorrow = rows([over_midnight]), rows([over_midnight], day="2026-01-06")
    assert (today.num_rows, tomorrow.num_rows) == (2 * 4, 2 * 6)
    moved = rows([Array(x, start_ns=(FIRST + 30) * SECOND_NS)])
    np.testing.assert_array_equal(np.concatenate([cube(today)[:4], cube(tomorrow)[:6]]), cube(moved)[:10])


@pytest.mark.parametrize(("rate", "samples"), [(500.0, 100), (500.0, 150), (3218.0, 2060), (250.0, 1250)])
def test_short_recordings_and_odd_rates_get_frames(rate: float, samples: int) -> None:
    x = np.random.default_rng(1).normal(size=(samples, 3)).astype(np.float32)
    table = rows([Array(x, sampling_rate_hz=rate, quantization=None, start_ns=FIRST * SECOND_NS + 158_000_000)])
    assert set(table["channel"].to_pylist()) == {100, 101, 102}
    n_frames = np.isfinite(cube(table)[:, :, 0]).sum() / 3
    assert abs(n_frames - samples / rate * 8) <= 1


def test_fibres_of_different_rates_share_a_day() -> None:
    other = Array(noise(10, 1, 1000.0), sampling_rate_hz=1000.0, fibre="south")
    signals = [Array(noise(10)), other]
    table = rows(signals)
    assert set(table["fibre"].to_pylist()) == {"north", "south"}
    grids = settings_note(signals, SMALL)["grids"]
    assert [(g["fibre"], g["win_length"]) for g in grids] == [("north", 512), ("south", 256)]


def test_a_day_without_signal_is_an_empty_table() -> None:
    table = rows([])
    assert table.num_rows == 0
    assert mismatch("spectrograms", table.schema) is None
