"""Fused scores lean on their surroundings, and a model for other settings is refused."""

from dataclasses import replace

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
from dasanom_assets.settings import Settings, WindowSettings

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


def test_a_model_for_other_settings_is_refused_and_says_what_to_do() -> None:
    settings = Settings()
    reference = Reference("v", {}, {}, frozenset(), {}, needed(settings), {}, "abc")
    metadata = {"settings": settings.spectrogram.model_dump()}
    require_fit(reference, metadata, settings, "2026-01-05")
    other = metadata["settings"] | {"bands": 32}
    with pytest.raises(IncompatibleModelError, match=r"spectrogram\.bands 32 \(model: 64\).*run the job train"):
        require_fit(reference, {"settings": other}, settings, "2026-01-05")
    longer = settings.model_copy(update={"window": WindowSettings(seconds=9)})
    with pytest.raises(IncompatibleModelError, match=r"abc does not fit 2026-01-05: window\.seconds 9"):
        require_fit(replace(reference), metadata, longer, "2026-01-05")
