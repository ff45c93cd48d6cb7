"""Sick channels are named, healthy ones are measured as NumPy would."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasanom_assets.recordings.health import channel_health, health_of, sums
from dasanom_tests.recordings.test_signal import T0, deliver, joined


def table(root: Path, data: np.ndarray, **sidecar: object) -> dict[int, dict]:
    half = len(data) // 2
    paths = [deliver(root, "a", data[:half], 0, **sidecar), deliver(root, "b", data[half:], half, **sidecar)]
    return {row["channel"]: row for row in channel_health(joined(root, paths))[0].to_pylist()}


@pytest.mark.parametrize("sample_format", ["int16", "float32"])
def test_states_and_figures(tmp_path: Path, sample_format: str) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(300, 100, size=(20_000, 24))
    data[:, 3] = 300  # dead
    data[:, 5] = np.clip(data[:, 5] * 400, -32768, 32767)  # clipped
    data[:, 9] = 300 + (data[:, 9] - 300) * 10  # 20 dB above its neighbours
    data[: 2000 * 3, 12] = 7  # dead for 3 s of 10
    data = data.astype("<i2" if sample_format == "int16" else "<f4")
    rows = table(tmp_path, data, sample_format=sample_format)
    assert {c: r["state"] for c, r in rows.items() if r["state"] != "ok"} == {
        13: "dead",
        15: "saturated",
        19: "noisy",
    }
    assert rows[22]["dead_fraction"] == pytest.approx(0.3)
    assert rows[10]["seconds"] == pytest.approx(10.0)
    for channel in (10, 19, 22):
        assert rows[channel]["rms"] == pytest.approx(data[:, channel - 10].std(dtype=float), rel=1e-6)
    if sample_format == "int16":
        share = (np.abs(data[:, 5].astype(int) + 0.5) > 32767).mean()
        assert rows[15]["clipped_fraction"] == pytest.approx(share)


@settings(deadline=None, max_examples=12)
@given(
    n=st.integers(100, 9000),
    offset=st.sampled_from([0, -(2**20), 2**30]),
    sample_format=st.sampled_from(["int32", "float32"]),
    silent=st.tuples(st.integers(0, 9000), st.integers(0, 9000)),
    seed=st.integers(0, 99),
)
def test_figures_are_those_of_the_joined_array(
    tmp_path_factory: pytest.TempPathFactory, n: int, offset: int, sample_format: str, silent: tuple, seed: int
) -> None:
    data = np.random.default_rng(seed).normal(0, 300, size=(n, 3)) + offset
    data[min(silent) : max(silent), 1] = offset
    data = data.astype({"int32": "<i4", "float32": "<f4"}[sample_format])
    blocks = max(1, round(n / 2000))
    edges = np.arange(1, blocks) * n // blocks
    constant = np.mean([np.ptp(block.astype(float), axis=0) == 0 for block in np.split(data, edges)], axis=0)
    rows = table(tmp_path_factory.mktemp("health"), data, sample_format=sample_format)
    for channel, row in rows.items():
        assert row["seconds"] == pytest.approx(n / 2000)
        assert row["rms"] == pytest.approx(data[:, channel - 10].astype(float).std(), rel=1e-9, abs=1e-9)
        assert row["dead_fraction"] == pytest.approx(constant[channel - 10])


def test_a_sample_more_than_whole_seconds_is_no_dead_second(tmp_path: Path) -> None:
    data = np.random.default_rng(2).normal(0, 99, size=(4001, 2)).astype("<i2")
    assert {row["dead_fraction"] for row in table(tmp_path, data).values()} == {0.0}


def test_a_second_with_nan_is_dead_and_does_not_spoil_the_rest(tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(0, 5, size=(8000, 4)).astype("<f4")
    data[2500, 1] = np.nan
    rows = table(tmp_path, data, sample_format="float32")
    assert rows[11]["dead_fraction"] == pytest.approx(0.25)
    clean = np.delete(data[:, 1], slice(2000, 4000))
    assert rows[11]["rms"] == pytest.approx(clean.std(dtype=float), rel=1e-5)
    assert {row["state"] for row in rows.values()} == {"ok"}


def test_no_signal_is_an_empty_table() -> None:
    assert [t.num_rows for t in channel_health([])] == [0, 0]


def clipped_seconds(root: Path, data: np.ndarray, **sidecar: object) -> list[tuple[int, float, float, float]]:
    """Channel, start and end in seconds since the first sample, and share of clipped samples."""
    half = len(data) // 2
    paths = [deliver(root, "a", data[:half], 0, **sidecar), deliver(root, "b", data[half:], half, **sidecar)]
    rows = channel_health(joined(root, paths))[1].to_pylist()
    first = T0.astype("datetime64[ns]").astype(np.int64)
    seconds = [[(row[name].value - first) / 1e9 for name in ("start", "end")] for row in rows]
    return [(row["channel"], *ends, row["clipped_fraction"]) for row, ends in zip(rows, seconds, strict=True)]


@pytest.mark.parametrize("sample_format", ["int16", "float32"])
def test_clipped_seconds_are_those_with_more_than_a_glitch_at_the_limits(
    tmp_path: Path, sample_format: str
) -> None:
    data = np.random.default_rng(3).normal(0, 100, size=(12_000, 4))
    data[4000:4040, 1] = 32767  # second 2
    data[9990:10_010, 2] = -32768  # seconds 4 and 5, ten samples each
    data[7000, 3] = 32767  # one sample
    data = data.astype("<i2" if sample_format == "int16" else "<f4")
    found = clipped_seconds(tmp_path, data, sample_format=sample_format)
    assert [row[:3] for row in found] == [(11, 2, 3), (12, 4, 5), (12, 5, 6)]
    assert [row[3] for row in found] == pytest.approx([0.02, 0.005, 0.005])


@pytest.mark.parametrize(("sample_format", "fill"), [("int32", -9999), ("int16", -9999), ("int32", 2**30)])
def test_fill_values_of_lost_integers_are_clipped(tmp_path: Path, sample_format: str, fill: int) -> None:
    data = np.random.default_rng(3).normal(0, 300, size=(12_000, 4))
    data[5900:6100, 1] = fill  # the ends of seconds 2 and 3
    data[7000:7002, 2] = fill  # a glitch
    data[2000:4000, 3] = np.where(np.arange(2000) % 500 < 5, 9, 0)  # a weak pulse of few steps
    data = data.astype({"int32": "<i4", "int16": "<i2"}[sample_format])
    found = clipped_seconds(tmp_path, data, sample_format=sample_format)
    assert found == [(11, 2, 3, 0.05), (11, 3, 4, 0.05)]


def test_a_signal_that_is_not_clipped_has_no_clipped_second(tmp_path: Path) -> None:
    data = np.random.default_rng(3).normal(0, 1e4, size=(8000, 3)).astype("<i2")
    data[2000:4000, 1] = 7  # silent, which is not clipped
    assert clipped_seconds(tmp_path, data) == []


def test_sums_over_parts_are_those_of_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    data = rng.normal(1000, 300, size=(50_300, 6)).astype("<f4")  # 25.15 s: blocks lie across full seconds
    data[30_000:31_000, 2] = 5.0
    (signal,) = joined(tmp_path, [deliver(tmp_path, "a", data, 0, sample_format="float32")])
    borders = [None, *(int(T0.astype(np.int64)) + round(s * 1e9) for s in (3, 3.5, 11.003, 24.99)), None]
    parts = [sums(signal, first, last) for first, last in pairwise(borders)]
    health, clipped = health_of(part for part in parts if part)
    whole, whole_clipped = channel_health([signal])
    assert clipped.equals(whole_clipped)
    assert clipped.num_rows
    for name in whole.column_names:
        if name == "rms":
            np.testing.assert_allclose(health[name].to_numpy(), whole[name].to_numpy(), rtol=1e-12)
        else:
            assert health[name].equals(whole[name])
