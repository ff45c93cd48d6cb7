"""A model that does not fit a day is refused; what has other bands than it knows has no score."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dasanom_assets.detection.reference.crossfit import CrossFitted, Folds
from dasanom_assets.detection.reference.known import other_bands
from dasanom_assets.detection.reference.model import (
    NEEDED,
    IncompatibleModelError,
    Reference,
    require_fit,
)
from dasanom_assets.detection.scoring import Judge
from dasanom_assets.settings import BackgroundSettings, ReferenceSettings, Settings, WindowSettings
from dasanom_assets.spectrograms.engine import settings_note
from dasanom_assets.spectrograms.white_rows import WhiteChannel
from dasanom_tests.detection.conftest import SECOND


def heard(fibre: str, rate: float, second: int = 0) -> SimpleNamespace:
    """Ten seconds of channels 5 and 6."""
    channels, start = np.array([5, 6]), second * SECOND
    return SimpleNamespace(
        fibre=fibre, sampling_rate_hz=rate, units="", channels=channels, start_ns=start, n_samples=10 * rate
    )


HEARD = {"fibre": "north", "sampling_rate_hz": 2000.0, "centre_hz": [10.0, 100.0, 990.0]}


def model(settings: Settings, grids: list[list[float]], **changes: Any) -> Reference:
    """A model of nothing, for some settings and bands."""
    return replace(
        Reference(
            vae_version="v",
            detectors={},
            crossed=CrossFitted(Folds({}, 0, 0), []),
            conformal={},
            fused=(),
            rates=None,
            least_score=0.0,
            windows={},
            settings={},
            grids=[],
            usual={},
            note={},
        ),
        settings={name: getattr(settings, name).model_dump(mode="json") for name in NEEDED},
        grids=grids,
        version="abc",
        **changes,
    )


def test_a_model_for_other_settings_is_refused_and_says_what_to_do() -> None:
    settings = Settings()
    reference = model(settings, [HEARD["centre_hz"]])
    metadata = {"settings": settings.spectrogram.model_dump(), "grids": [HEARD]}
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


@pytest.mark.parametrize("name", ReferenceSettings.model_fields)
def test_a_model_of_another_recipe_is_refused_by_name(name: str) -> None:
    settings = Settings()
    own = getattr(settings.reference, name)
    other = own + 1 if isinstance(own, int) else own / 2 + 0.01
    changed = settings.model_copy(update={"reference": settings.reference.model_copy(update={name: other})})
    metadata = {"settings": settings.spectrogram.model_dump(), "grids": []}
    require_fit(model(settings, []), metadata, settings, "2026-01-05")
    words = rf"reference\.{name} {other} \(model: {own}\)\. Set the recipe back, or run the job train\.$"
    with pytest.raises(IncompatibleModelError, match=words):
        require_fit(model(settings, []), metadata, changed, "2026-01-05")


def test_a_fibre_whose_bands_are_other_ones_is_refused_and_one_whose_rate_is_a_little_off_is_not() -> None:
    settings = Settings()
    own = [grid["centre_hz"] for grid in settings_note([heard("north", 2000.0)], settings.spectrogram)["grids"]]
    reference = model(settings, own)
    for rate in (2000.0, 1999.0, 5000.0):  # bands end at 1000 Hz
        note = settings_note([heard("north", 2000.0), heard("south", rate)], settings.spectrogram)
        require_fit(reference, note, settings, "2026-01-05")
    note = settings_note([heard("south", 1000.0)], settings.spectrogram)
    with pytest.raises(IncompatibleModelError, match=r"fibre south, sampled at 1000 Hz.*highest_hz.*train again"):
        require_fit(reference, note, settings, "2026-01-05")
    learned = replace(reference, grids=[grid["centre_hz"] for grid in note["grids"]])
    require_fit(learned, note, settings, "2026-01-05")


def test_of_a_day_with_known_bands_only_what_has_other_ones_has_no_score() -> None:
    settings = Settings()
    signals = [heard("north", 2000.0), heard("north", 1000.0, 10), heard("south", 1000.0), heard("west", 2000.0)]
    note = settings_note(signals, settings.spectrogram)
    reference = model(settings, [next(grid["centre_hz"] for grid in note["grids"] if grid["fibre"] == "west")])
    require_fit(reference, note, settings, "2026-01-05")
    assert [key[:2] for key in other_bands(reference, note)] == [("north", 1000.0), ("south", 1000.0)]
    levels = SimpleNamespace(frames=SimpleNamespace(note=note))
    judge = Judge("2026-01-05", levels, settings, reference, None, None, "cpu")  # type: ignore[arg-type]
    start, all_there = np.arange(20) * SECOND, np.ones(20, bool)
    for fibre, there in (("north", np.arange(20) < 10), ("south", ~all_there), ("west", all_there)):
        channel = WhiteChannel(fibre, 5, start, np.zeros((20, 8, 64), np.float32), all_there, {})
        of_model = judge._of_known_bands(channel)
        assert of_model.usable.tolist() == there.tolist()
        assert np.array_equal(of_model.unusable.get("other bands", ~all_there), ~there)
