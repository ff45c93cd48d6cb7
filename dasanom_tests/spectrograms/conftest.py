"""A signal with one tone, and what it looks like in every representation."""

import numpy as np
import pytest

from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.spectrograms.representations import Comparison, represent
from dasanom_assets.spectrograms.stretch_choice import Choice
from dasanom_tests.spectrograms.test_engine import DAY, FIRST, Array, noise

BASE = SpectrogramSettings()
CHOICE = Choice("north", 117, FIRST + 25, FIRST + 47, 12)


@pytest.fixture(scope="session")
def signals() -> list[Array]:
    """Noise on 20 channels, on 117 with a tone for five seconds."""
    x = noise(70, 20)
    x[60_000:70_000, 17] += (3000 * np.sin(2 * np.pi * 200 / 2000 * np.arange(10_000))).astype(np.int16)
    return [Array(x)]


@pytest.fixture(scope="session")
def comparison(signals: list[Array]) -> Comparison:
    return Comparison(CHOICE, *represent(signals, BASE, DAY, CHOICE), "1 m / s")
