"""Every setting, typed, with its unit and default.

A setting is changed by an environment variable, ``DASANOM_`` and its path joined by two underscores:
``DASANOM_DATA=s3://bucket/line``, ``DASANOM_VAE__MAX_EPOCHS=10``. Settings are read once, when a run starts,
and passed on as values; nothing below reads the environment.
"""

import hashlib
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _default_data_root() -> str:
    """``data/`` beside ``pyproject.toml``, or below the current folder for an installed package."""
    project = Path(__file__).resolve().parents[1]
    return str((project if (project / "pyproject.toml").exists() else Path.cwd()) / "data")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """Return the SHA-256 of the settings, as hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class SpectrogramSettings(_Section):
    """How a second of signal becomes frames of band power."""

    frame_seconds: float = Field(0.256, gt=0, description="length of a frame, s")
    frames_per_second: int = Field(8, ge=1, description="frames a second, on the UTC second grid")
    bands: int = Field(64, ge=1, description="number of mel bands")
    lowest_hz: float = Field(8.0, ge=0, description="lower edge of the lowest band, Hz")
    highest_hz: float = Field(
        1000.0, gt=0, description="upper edge of the highest band, Hz; the Nyquist frequency limits it"
    )
    mel_scale: Literal["htk", "slaney"] = Field(
        "htk", description="HTK's formula, or Slaney's, which is linear below 1 kHz"
    )
    db_step: float = Field(
        0.25, ge=0, description="levels are rounded to this step, dB (error at most half); 0: not rounded"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "SpectrogramSettings":
        if self.highest_hz <= self.lowest_hz:
            raise ValueError(f"highest_hz {self.highest_hz} is not above lowest_hz {self.lowest_hz}")
        return self


class WindowSettings(_Section):
    """What a network sees: windows are views on the frames."""

    seconds: int = Field(8, ge=1, description="length of a window, s")
    shift_seconds: int = Field(1, ge=1, description="from one window's start to the next, s")


class BackgroundSettings(_Section):
    """What is usual for a channel and band, and how levels are measured against it."""

    look_back_days: int = Field(7, ge=1, description="earlier days that make the reference")
    scale_floor_db: float = Field(
        0.5, gt=0, description="added to the spread, so that quiet bands stay finite, dB"
    )
    clip_low: float = Field(-5.0, description="whitened values below are set to this")
    clip_high: float = Field(15.0, description="whitened values above are set to this")


class TrainingSetSettings(_Section):
    """Which windows are learned from, and how they are split."""

    block_seconds: int = Field(60, ge=2, description="a block of time goes whole to one split, s")
    validation_share: float = Field(0.1, gt=0, lt=0.5, description="blocks for early stopping")
    calibration_share: float = Field(0.25, gt=0, lt=0.5, description="blocks for thresholds")
    max_channel_seconds: int = Field(
        400_000, ge=60, description="channel-seconds kept at most; more are thinned evenly over channels"
    )


class VaeSettings(_Section):
    """The variational autoencoder and its training."""

    latent: int = Field(16, ge=1, description="dimensions of the latent space")
    widths: tuple[int, ...] = Field(
        (32, 64, 128), min_length=1, description="channels of the encoder's convolutions"
    )
    batch: int = Field(256, ge=2, description="windows a step")
    learning_rate: float = Field(3e-3, gt=0)
    max_epochs: int = Field(8, ge=1)
    windows_per_epoch: int = Field(8_192, ge=2, description="windows drawn for an epoch, at most")
    validation_windows: int = Field(2_048, ge=2, description="windows drawn for validation, at most")
    patience: int = Field(4, ge=1, description="epochs without a better validation loss before stopping")
    warm_up_share: float = Field(0.15, ge=0, le=1, description="share of steps over which the KL weight rises")
    kl_weight: float = Field(1.0, ge=0, description="weight of the KL after the warm-up; 1: the evidence bound")
    free_bits: float = Field(0.1, ge=0, description="KL left free, nat a dimension")
    trim_share: float = Field(0.02, ge=0, lt=1, description="worst windows of a batch left out of the gradient")
    seed: int = 0


class DetectionSettings(_Section):
    """Clustering, thresholds and events."""

    reference_windows: int = Field(6_000, ge=100, description="windows that HDBSCAN is fitted on")
    max_noise_share: float = Field(
        0.4, gt=0, lt=1, description="HDBSCAN settings that call more of them noise lose"
    )
    threshold: Literal["conformal", "gaussian", "quantile"] = Field(
        "conformal", description="which threshold decides is_anomaly"
    )
    false_alarm_rate: float = Field(1e-3, gt=0, lt=1, description="share of quiet windows above the threshold")
    quantile: float = Field(0.999, gt=0, lt=1, description="of the reference scores, for the quantile threshold")
    trim_mads: float = Field(
        8.0, gt=0, description="reference windows further above the median, in MADs, are taken for events"
    )
    extend_p_value: float = Field(
        0.01, gt=0, lt=1, description="an event, once open, extends to windows below this"
    )
    min_windows: int = Field(3, ge=1, description="an event has at least so many windows above the threshold")
    seed: int = 0


class ComparisonSettings(_Section):
    """The contractor's side, and the report."""

    contractor_probability: float = Field(0.5, gt=0, le=1, description="threat from which the contractor alarms")
    contractor_lag_rows: int = Field(6, ge=0, description="rows by which class probabilities lag the power")
    rows_per_second: float = Field(5.0, gt=0, description="rows a second in .prob and .pow")
    join_seconds: float = Field(2.0, ge=0, description="contractor rows this close form one event, s")
    map_windows: int = Field(3_000, ge=10, description="windows of a day on the embedding map, at most")


class Settings(BaseSettings):
    """All settings of the project; see the sections for units."""

    model_config = SettingsConfigDict(
        env_prefix="DASANOM_", env_nested_delimiter="__", frozen=True, extra="ignore"
    )

    data: str = Field(default_factory=_default_data_root, description="data root: a folder or an fsspec URL")
    first_day: date = Field(date(2026, 1, 1), description="first recording day, UTC")
    device: str = Field("auto", description="where networks run: auto, cpu, cuda or cuda:<n>")
    spectrogram: SpectrogramSettings = SpectrogramSettings()
    window: WindowSettings = WindowSettings()
    background: BackgroundSettings = BackgroundSettings()
    training_set: TrainingSetSettings = TrainingSetSettings()
    vae: VaeSettings = VaeSettings()
    detection: DetectionSettings = DetectionSettings()
    comparison: ComparisonSettings = ComparisonSettings()
