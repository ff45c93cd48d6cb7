"""Absurd rates, lengths, sizes and clocks are refused, and what is beside them is not."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dasanom_assets.recordings.catalogue import catalogue_day
from dasanom_assets.recordings.hdf5 import contents
from dasanom_assets.recordings.health import channel_health
from dasanom_assets.recordings.limits import LimitError, require_room, require_within
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.settings import LimitSettings
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_measured import DAY, bundle, noise, patch

NOON = int(np.datetime64("2026-01-05T12", "ns").astype(np.int64))
GOOD = {"start_ns": NOON, "n_samples": 7_200_000, "rate_hz": 2000.0, "n_channels": 1000}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rate_hz": 0.0005, "of_sidecar": True}, ["below limits.lowest_rate_hz", "write 2000"]),
        ({"rate_hz": 0.0005}, ["below limits.lowest_rate_hz", "leave it out of the delivery"]),
        ({"rate_hz": 1 / 30}, ["too slow for sound"]),
        ({"rate_hz": 200e6}, ["above limits.highest_rate_hz"]),
        ({"rate_hz": float("nan")}, ["below limits.lowest_rate_hz"]),
        ({"n_channels": 2_000_000_000}, ["limits.most_channels"]),
        ({"n_samples": 2000 * 3600 * 200}, ["limits.longest_hours"]),
        ({"start_ns": 0}, ["clock of the interrogator was not set"]),
        ({"start_ns": -(2**63)}, ["clock of the interrogator was not set"]),
        ({"start_ns": 253_370_764_800 * 10**9}, ["clock of the interrogator was not set"]),
    ],
)
def test_what_no_interrogator_makes_is_refused_by_number(wrong: dict[str, Any], words: list[str]) -> None:
    require_within(LimitSettings(), **GOOD)
    with pytest.raises(LimitError) as error:
        require_within(LimitSettings(), **GOOD | wrong)
    assert all(word in str(error.value) for word in words)


def test_an_interval_for_a_rate_leaves_the_other_fibre_alone(tmp_path: Path) -> None:
    bundle(tmp_path, "north_20260105T100000", noise(4000, 2, "<i2"))
    bundle(tmp_path, "south_20260105T100000", np.zeros((720_000, 1), "<i2"), sampling_rate_hz=0.0005)
    bundle(tmp_path, "west_20260105T100000", noise(960, 4, "<i2"), sampling_rate_hz=200e6)
    patch(tmp_path, "east_1.h5", noise(20, 4), 30_000_000_000)
    catalogue = catalogue_day(Store(str(tmp_path)), DAY)
    assert catalogue.recordings["fibre"].to_pylist() == ["north"]
    assert all("sampling rate" in refusal.reason for refusal in catalogue.refused)
    assert len(catalogue.refused) == 3


def test_limits_are_settings(tmp_path: Path) -> None:
    bundle(tmp_path, "slow_20260105T100000", noise(40, 2, "<i2"), sampling_rate_hz=0.4)
    store = Store(str(tmp_path))
    catalogue = catalogue_day(store, DAY, LimitSettings(lowest_rate_hz=0.1))
    health, _ = channel_health(stretches(store, catalogue.recordings))
    assert health["seconds"].to_pylist() == pytest.approx([100, 100])
    assert health["state"].to_pylist() == ["ok", "ok"]


def test_a_file_that_claims_more_than_it_holds_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("inner/data", (10**7, 10**6), "f4", chunks=(1000, 1000), compression="gzip")
    with pytest.raises(LimitError, match="inner/data claims 4e\\+04 GB in 0 bytes"):
        require_room(LimitSettings(), path.stat().st_size, contents(path).datasets)


def test_a_file_too_large_for_memory_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        file["data"] = noise(1000, 100)
    require_room(LimitSettings(), path.stat().st_size, contents(path).datasets)
    with pytest.raises(LimitError, match=r"limits\.most_gigabytes"):
        require_room(LimitSettings(most_gigabytes=1e-4), path.stat().st_size, contents(path).datasets)
