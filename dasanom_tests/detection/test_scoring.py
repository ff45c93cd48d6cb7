"""Fused scores lean on their surroundings, and a model for other settings is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dasanom_assets.detection.reference import (
    ChannelScores,
    IncompatibleModelError,
    Reference,
    needed,
    require_fit,
    supported,
)
from dasanom_assets.detection.scoring import _with_neighbours
from dasanom_assets.settings import BackgroundSettings, Settings, WindowSettings
from dasanom_assets.spectrograms.engine import settings_note

SECOND = 1_000_000_000


def channel(number: int, scores: list[float], first: int = 0, fibre: str = "north") -> ChannelScores:
    start = (first + np.arange(len(scores))) * SECOND
    return ChannelScores(fibre, number, start, np.array(scores, float))


def test_support_is_the_mean_over_four_seconds_and_the_neighbours() -> None:
    here = channel(5, [0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0])
    alone = supported(here, [])
    np.testing.assert_allclose(alone, [0, 9 / 6, 9 / 7, 9 / 8, 9 / 9, 9 / 9, 9 / 9, 9 / 8, 9 / 7, 9 / 6, 0])
    beside = channel(6, [1.0] * 11)
    far, other = channel(7, [100.0] * 11), channel(6, [100.0] * 11, fibre="south")
    np.testing.assert_allclose(supported(here, [beside, far, other])[5], (9 + 9) / 18)


def test_a_gap_in_time_or_channels_supports_nothing() -> None:
    here = channel(5, [3.0, 3.0])
    np.testing.assert_allclose(supported(here, [channel(6, [0.0, 0.0], first=100)]), [3.0, 3.0])


def test_each_channel_is_seen_between_its_neighbours() -> None:
    assert list(_with_neighbours(iter([1, 2, 3]))) == [(None, 1, 2), (1, 2, 3), (2, 3, None)]
    assert list(_with_neighbours(iter([]))) == []


def heard(fibre: str, rate: float) -> SimpleNamespace:
    return SimpleNamespace(fibre=fibre, sampling_rate_hz=rate)


GRID = {"fibre": "north", "sampling_rate_hz": 2000.0, "centre_hz": [10.0, 100.0, 990.0]}


def test_a_model_for_other_settings_is_refused_and_says_what_to_do() -> None:
    settings = Settings()
    reference = Reference("v", {}, {}, frozenset(), {}, needed(settings), [GRID["centre_hz"]], {}, {}, "abc")
    metadata = {"settings": settings.spectrogram.model_dump(), "grids": [GRID]}
    require_fit(reference, metadata, settings, "2026-01-05")
    made = {
        r"spectrogram\.bands 32 \(model: 64\)": {"bands": 32},
        r"spectrogram\.mel_scale slaney \(model: htk\)": {"mel_scale": "slaney"},
        r"spectrogram\.group_channels 4 \(model: 1\)": {"group_channels": 4},
    }
    for wrong, change in made.items():
        other = metadata | {"settings": metadata["settings"] | change}
        with pytest.raises(IncompatibleModelError, match=wrong + r"\. Materialize .*run the job train"):
            require_fit(reference, other, settings, "2026-01-05")
    in_force = {
        r"abc does not fit 2026-01-05: window\.seconds 9 \(model: 8\)": {"window": WindowSettings(seconds=9)},
        r"window\.scaling minmax \(model: background\)": {"window": WindowSettings(scaling="minmax")},
        r"background\.hour_classes 4 .*background\.common_channels 0": {
            "background": BackgroundSettings(hour_classes=4, common_channels=0)
        },
    }
    for wrong, change in in_force.items():
        with pytest.raises(IncompatibleModelError, match=wrong + r".*run the job train"):
            require_fit(reference, metadata, settings.model_copy(update=change), "2026-01-05")


def test_a_fibre_whose_bands_are_other_ones_is_refused_and_one_whose_rate_is_a_little_off_is_not() -> None:
    settings = Settings()
    own = [grid["centre_hz"] for grid in settings_note([heard("north", 2000.0)], settings.spectrogram)["grids"]]
    reference = Reference("v", {}, {}, frozenset(), {}, needed(settings), own, {}, {}, "abc")
    for rate in (2000.0, 1999.0, 5000.0):  # bands end at 1000 Hz
        note = settings_note([heard("north", 2000.0), heard("south", rate)], settings.spectrogram)
        require_fit(reference, note, settings, "2026-01-05")
    note = settings_note([heard("north", 2000.0), heard("south", 1000.0)], settings.spectrogram)
    with pytest.raises(IncompatibleModelError, match=r"fibre south, sampled at 1000 Hz.*highest_hz.*train again"):
        require_fit(reference, note, settings, "2026-01-05")
    learned = replace(reference, grids=[grid["centre_hz"] for grid in note["grids"]])
    require_fit(learned, note, settings, "2026-01-05")
