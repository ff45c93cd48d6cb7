"""A day of signal becomes rows: whatever the parts, files and gaps."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.recordings.catalogue import adjoining, catalogue_day
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.spectrograms import engine, levels
from dasanom_assets.spectrograms.engine import (
    compute_part,
    day_seconds,
    parts_of_day,
    settings_note,
    spectrogram_parts,
)
from dasanom_assets.spectrograms.frames import DayFrames
from dasanom_assets.spectrograms.hours import Hour, rows_table
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.parquet import encode
from dasanom_assets.tables.schemas import mismatch, stack
from dasanom_assets.tables.store import Store

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
    distance_m: np.ndarray = None  # type: ignore[assignment]
    units: str = ""
    scale: float = 1.0
    pieces: tuple = ()

    @property
    def dtype(self) -> np.dtype:
        return self.samples.dtype

    def __post_init__(self) -> None:
        if self.channels is None:
            object.__setattr__(self, "channels", np.arange(100, 100 + self.samples.shape[1], dtype=np.int32))
        if self.distance_m is None:
            object.__setattr__(self, "distance_m", self.channels * 5.0)

    @property
    def n_samples(self) -> int:
        return len(self.samples)

    def read(self, first: int, last: int) -> np.ndarray:
        assert 0 <= first < last <= len(self.samples)
        return self.samples[first:last]


def noise(seconds: float, channels: int = 2, rate: float = 2000.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(scale=200, size=(int(seconds * rate), channels)).astype(np.int16)


def parts_here(
    signals: list, settings: SpectrogramSettings = SMALL, day: str = DAY
) -> Iterator[bytes | list[bytes]]:
    """What `spectrogram_parts` yields, without a cluster."""
    yield encode(rows_table("", 0, np.empty(0, np.int64), np.empty((0, *settings.row_shape), np.float32)))
    hour = Hour()
    for part in parts_of_day(signals, settings, day):
        pieces, n, _ = compute_part([s for s in signals if s.fibre == part.fibre], settings, part)
        assert n == sum(len(piece.start_ns) for piece in pieces)
        hour.add(pieces, spool=not part.ends)
        if part.ends:
            yield from hour.row_groups(part.fibre, settings.row_shape, part.together)
            hour = Hour()


def rows(signals: list, settings: SpectrogramSettings = SMALL, day: str = DAY) -> pa.Table:
    """Rows of a day, without a cluster."""
    first, last = day_seconds(day)
    files = [[part] if isinstance(part, bytes) else part for part in parts_here(signals, settings, day)]
    table = pa.concat_tables([pq.read_table(pa.BufferReader(file)) for part in files for file in part])
    seconds = table["start"].cast(pa.int64()).to_numpy() // SECOND_NS
    assert ((first <= seconds) & (seconds < last)).all()
    return table


def cube(table: pa.Table, settings: SpectrogramSettings = SMALL) -> np.ndarray:
    return stack(table["power_db"]).reshape(table.num_rows, *settings.row_shape)


def in_order(table: pa.Table) -> pa.Table:
    return table.sort_by([("fibre", "ascending"), ("channel", "ascending"), ("start", "ascending")])


def test_rows_are_the_contracts_and_lie_on_utc_seconds() -> None:
    table = rows([Array(noise(12.5), start_ns=FIRST * SECOND_NS + 300_000_000)])
    assert mismatch("spectrograms", table.schema) is None
    start = table["start"].cast(pa.int64()).to_numpy()
    assert (start % SECOND_NS == 0).all()
    assert table["channel"].to_pylist() == [100] * 13 + [101] * 13
    partial = np.isnan(cube(table)[:, :, 0]).sum(axis=1)
    assert list(partial[:13]) == [2, *[0] * 11, 2]  # 0.3 s are missing in front, 0.2 s behind


@settings(deadline=None, max_examples=12)
@given(
    group_seconds=st.sampled_from([30, 90, 900, 7200]),
    part_rows=st.sampled_from([1, 100, 400, 10_000]),
    read_bytes=st.sampled_from([1000, 77_777, 1 << 30]),
    write=st.sampled_from([1, 100, 10_000]),
    start_ms=st.integers(0, 59_999),
    hop_seconds=st.sampled_from([0.125, 0.256, 0.1]),
)
def test_a_day_does_not_depend_on_how_it_is_cut(
    group_seconds: int, part_rows: int, read_bytes: int, write: int, start_ms: int, hop_seconds: float
) -> None:
    whole = Array(noise(70, 3, 500.0), FIRST * SECOND_NS + start_ms * 1_000_000, sampling_rate_hz=500.0)
    settings = SMALL.model_copy(update={"hop_seconds": hop_seconds, "high_pass_hz": 10.0})
    expected = rows([whole], settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "GROUP_SECONDS", group_seconds)
        patch.setattr(engine, "PART_ROW_SECONDS", part_rows)
        patch.setattr(levels, "READ_BYTES", read_bytes)
        patch.setattr(engine, "WRITE_CHANNEL_SECONDS", write)
        cut = in_order(rows([whole], settings))
    assert cut.drop(["power_db"]).equals(in_order(expected).drop(["power_db"]))
    np.testing.assert_array_equal(cube(cut, settings), cube(in_order(expected), settings))


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


def test_parts_from_the_cluster_are_the_day(client: Client, tmp_path: Path) -> None:
    signals = [Array(noise(65, 40)), Array(noise(20, 2), fibre="south", start_ns=(LAST - 10) * SECOND_NS)]
    done: list[int] = []
    store = Store(str(tmp_path))
    written = store.write_day_parts(
        "spectrograms", DAY, spectrogram_parts(signals, SMALL, DAY, client, done.append)
    )
    table, expected = store.read_day("spectrograms", DAY), rows(signals)
    assert written == sum(done) == table.num_rows == expected.num_rows == 65 * 40 + 10 * 2
    assert table.equals(expected)


def test_one_channels_hour_is_one_row_group_and_lies_together(client: Client, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    signal = Array(noise(3700, 2, 50.0), sampling_rate_hz=50.0)
    settings = SMALL.model_copy(update={"bands": 4})
    store.write_day_parts("spectrograms", DAY, spectrogram_parts([signal], settings, DAY, client))
    with store.open_day("spectrograms", DAY) as file:
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    assert [(g.column(1).statistics.min, g.num_rows) for g in groups if g.num_rows] == [
        (100, 3600), (101, 3600), (100, 100), (101, 100)
    ]  # fmt: skip


@pytest.mark.parametrize(("seconds", "parts"), [(300, 1), (2400, 4), (7200, 8), (14 * 3600, 14)])
def test_a_short_day_is_cut_so_that_threads_can_share_it(seconds: int, parts: int) -> None:
    signal = Array(np.zeros((seconds, 1), np.int16), sampling_rate_hz=1.0)
    assert len(parts_of_day([signal], SMALL, DAY)) == parts


def test_a_part_that_fails_ends_the_day_with_its_error(client: Client) -> None:
    class Broken(Array):
        def read(self, first: int, last: int) -> np.ndarray:
            raise OSError("file north_1.bin ended early")

    with pytest.raises(OSError, match=r"north_1\.bin ended early"):
        list(spectrogram_parts([Broken(noise(5))], SMALL, DAY, client))


@pytest.mark.parametrize("cut", [10.0, 7.3])
def test_files_that_meet_around_midnight_give_the_frames_of_the_joined_file(tmp_path: Path, cut: float) -> None:
    x, start = noise(20, 3, 500.0), np.datetime64("2026-01-05T23:59:50", "ns")

    def deliver(root: Path, first: int, last: int) -> None:
        time = start + np.timedelta64(first * 2_000_000, "ns")
        folder = root / "landing" / str(time.astype("datetime64[D]"))
        folder.mkdir(parents=True, exist_ok=True)
        x[first:last].astype("<i2").tofile(folder / f"north_{first}.bin")
        sidecar = {
            "selected_channel_zones": [4, 6],
            "sampling_rate_hz": 500,
            "start_time": f"{str(time)[:26]}Z",
        }
        (folder / f"north_{first}.bin.info").write_text(json.dumps(sidecar))

    def day(root: Path, name: str) -> pa.Table:
        store = Store(str(root))
        files = pa.concat_tables([catalogue_day(store, name).recordings, adjoining(store, name)])
        return rows(stretches(store, files), day=name)

    deliver(tmp_path / "joined", 0, 10_000)
    for first, last in itertools.pairwise([0, 1234, round(cut * 500), 8000, 10_000]):
        deliver(tmp_path / "cut", first, last)
    for name in ("2026-01-05", "2026-01-06"):
        expected = day(tmp_path / "joined", name)
        assert expected.num_rows == 30
        assert day(tmp_path / "cut", name).equals(expected)


@dataclass(frozen=True)
class Counted(Array):
    """A signal in memory that notes how often each sample was read."""

    reads: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "reads", np.zeros(len(self.samples), int))

    def read(self, first: int, last: int) -> np.ndarray:
        self.reads[first:last] += 1
        return super().read(first, last)


@pytest.mark.parametrize("start_ms", [0, 300])
def test_each_sample_of_a_wide_fibre_is_read_once_for_levels_and_health(
    start_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PART_ROW_SECONDS", 600 * 60)
    monkeypatch.setattr(levels, "CHUNK_SAMPLES", 600 * 50 * 10)
    signal = Counted(noise(150, 600, 50.0), FIRST * SECOND_NS + start_ms * 1_000_000, sampling_rate_hz=50.0)
    assert levels.chunk_seconds(signal) == 10
    settings = SMALL.model_copy(update={"bands": 4})
    parts = parts_of_day([signal], settings, DAY, [signal])
    assert [part.last_second - part.first_second for part in parts] == [60] * 3
    sums = [s for part in parts for s in compute_part([signal], settings, part, [signal])[2]]
    assert sum(s.counts[0, 1] for s in sums) == 150
    assert signal.reads.min() == 1
    again = np.flatnonzero(signal.reads > 1)
    # Where parts meet, a frame reaches into the next; a second that begins in one part may end in the next.
    assert len(again) <= 2 * (round(settings.frame_seconds * 50) + 50 * (start_ms > 0))
    assert signal.reads.max() == 2


def test_levels_of_a_wide_fibre_are_those_of_its_channels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Array(noise(45, 3, 500.0), FIRST * SECOND_NS + 300_000_000, sampling_rate_hz=500.0)
    settings = SMALL.model_copy(update={"high_pass_hz": 10.0})
    expected = rows([whole], settings)
    for seconds in levels.SHORT_CHUNKS:
        monkeypatch.setattr(levels, "CHUNK_SAMPLES", 3 * 500 * seconds)
        assert levels.chunk_seconds(whole) == seconds
        table = rows([whole], settings)
        assert table.drop(["power_db"]).equals(expected.drop(["power_db"]))
        np.testing.assert_allclose(cube(table, settings), cube(expected, settings), atol=settings.db_step)


def test_channels_of_a_wide_fibre_share_row_groups_and_are_read_alone(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "HOUR_GROUPS", 3)
    monkeypatch.setattr(engine, "GROUP_SECONDS", 60)
    monkeypatch.setattr(engine, "PART_ROW_SECONDS", 7 * 30)
    late = Array(noise(40, 2), start_ns=(FIRST + 70) * SECOND_NS, channels=np.int32([300, 305]))
    signals = [Array(noise(130, 5)), late, Array(noise(20, 2), fibre="south")]
    store = Store(str(tmp_path))
    store.write_day_parts(
        "spectrograms", DAY, spectrogram_parts(signals, SMALL, DAY, client), {"settings": SMALL.model_dump()}
    )
    expected = in_order(rows(signals))
    assert in_order(store.read_day("spectrograms", DAY)).equals(expected)
    with store.open_day("spectrograms", DAY) as file:
        n_rows = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert n_rows == [0, *[3 * 60, 2 * 60], *[3 * 60, 2 * 60 + 40, 40], *[3 * 10, 2 * 10], *[20] * 2]
    frames = DayFrames(store, DAY)
    assert frames.keys == [("north", c) for c in (*range(100, 105), 300, 305)] + [("south", 100), ("south", 101)]
    for channel in frames.channels(frames.keys):
        of_channel = (expected["fibre"].to_numpy() == channel.fibre) & (
            expected["channel"].to_numpy() == channel.channel
        )
        wanted = expected.filter(pa.array(of_channel))
        assert frames.seconds((channel.fibre, channel.channel)) == wanted.num_rows
        np.testing.assert_array_equal(channel.start_ns, wanted["start"].cast(pa.int64()).to_numpy())
        np.testing.assert_array_equal(channel.power_db, cube(wanted))
    assert frames.extents()["north"] == ((100, 305), (FIRST, FIRST + 130))
    files = f"'{tmp_path}/tables/spectrograms/*/*.parquet'"
    query = f"SELECT count(*) FROM {files} WHERE fibre = 'north' AND channel = 300"
    assert duckdb.sql(query).fetchall() == [(40,)]
