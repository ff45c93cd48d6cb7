"""Clips and sets of sound whose faults cannot be missed, and networks that learn next to nothing, in seconds."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from dasanom_assets.recordings.labelled_sets import Clip, Group
from dasanom_assets.settings import DetectionSettings, InfoGanSettings, Settings, VaeSettings

RATE = 16_000


def a_clip(x: np.ndarray, rate: float = RATE) -> Clip:
    return Clip(Group("fan"), "normal", Path("x.wav"), rate, np.atleast_2d(x).astype(np.float32), None)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("dasanom_assets.evaluation.groups.STEPS", 20)
    monkeypatch.setattr("dasanom_assets.evaluation.autoencoder.EPOCHS", 3)
    vae = VaeSettings(latent=4, widths=(8, 8, 8), max_epochs=1)
    infogan = InfoGanSettings(widths=(8, 8), features=16, max_epochs=1)
    detection = DetectionSettings(detectors=("neighbours", "vae"), fused=("neighbours", "vae"))
    return Settings(vae=vae, infogan=infogan, detection=detection)


def write_set(root: Path, machine: str = "made_fan", normal: int = 50, abnormal: int = 6) -> None:
    """A set whose faults cannot be missed: they are a hiss."""
    for label, count in (("normal", normal), ("abnormal", abnormal)):
        folder = root / "6_dB" / machine / "id_00" / label
        folder.mkdir(parents=True)
        for i in range(count):
            rng = np.random.default_rng([i, len(label)])
            x = rng.normal(0, 0.02, 4 * RATE) + (label == "abnormal") * 0.1 * np.sign(rng.normal(size=1))
            x += (label == "abnormal") * np.diff(rng.normal(0, 0.03, 4 * RATE + 1))
            soundfile.write(folder / f"{i:03d}.wav", x, RATE, subtype="PCM_16")
