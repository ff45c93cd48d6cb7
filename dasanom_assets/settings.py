"""Every setting, typed, with its unit and default.

A setting is changed by an environment variable, ``DASANOM_`` and its path joined by two underscores:
``DASANOM_DATA=s3://bucket/line``, ``DASANOM_VAE__MAX_EPOCHS=10``. Settings are read once, when a run starts,
and passed on as values; nothing below reads the environment. It is one file of more than 350 lines, so that all
settings can be read in one place.
"""

import difflib
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


def _default_data_root() -> str:
    """``data/`` beside ``pyproject.toml``, or below the current folder for an installed package."""
    project = Path(__file__).resolve().parents[1]
    return str((project if (project / "pyproject.toml").exists() else Path.cwd()) / "data")


def _without_slash(url: str) -> str:
    """Return an address that paths are put behind."""
    return url.rstrip("/")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """Return the SHA-256 of the settings, as hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class LimitSettings(_Section):
    """What a delivered file may be; others are refused, with the reason, before memory is asked for."""

    lowest_rate_hz: float = Field(1.0, gt=0, description="sampling rate, at least: slower ones are no sound, Hz")
    highest_rate_hz: float = Field(100_000.0, gt=0, description="sampling rate, at most, Hz")
    longest_hours: float = Field(168.0, gt=0, description="length of a file, at most, h")
    most_channels: int = Field(100_000, ge=1, description="channels of a file, at most")
    least_spacing_m: float = Field(0.01, gt=0, description="from one channel to the next, at least, m")
    most_spacing_m: float = Field(10_000.0, gt=0, description="from one channel to the next, at most, m")
    longest_name: int = Field(200, ge=1, description="of a fibre, at most, characters")
    most_gigabytes: float = Field(
        16.0, gt=0, description="samples of a file that is read whole, which a vendor bundle is not, at most, GB"
    )


Representation = Literal["mel", "linear", "third_octave", "mfcc", "power"]


class SpectrogramSettings(_Section):
    """How signal becomes one row of numbers a second and channel: frames × bands.

    Lengths are in seconds, frequencies in Hz and distances in metres, so that they mean the same at any sampling
    rate and channel spacing.
    """

    representation: Representation = Field(
        "mel",
        description="bands of a frame: mel; linear: equally wide; third_octave: IEC 61260 base 10; mfcc: cosine "
        "transform of mel levels; power: every bin of the Fourier transform",
    )
    frame_seconds: float = Field(0.256, gt=0, description="length of a frame and of its Fourier transform, s")
    hop_seconds: float = Field(
        0.125, gt=0, le=1, description="from one frame to the next, s; a whole number of microseconds"
    )
    bands: int = Field(64, ge=1, description="number of bands of mel, linear and mfcc")
    lowest_hz: float = Field(8.0, ge=0, description="lower edge of the lowest band, Hz")
    highest_hz: float = Field(
        1000.0, gt=0, description="upper edge of the highest band, Hz; mel and linear end at the Nyquist frequency"
    )
    mel_scale: Literal["htk", "slaney"] = Field(
        "htk", description="HTK's formula, or Slaney's, which is linear below 1 kHz"
    )
    coefficients: int = Field(20, ge=1, description="coefficients kept of mfcc, at most `bands`")
    high_pass_hz: float = Field(0.0, ge=0, description="cut-off of a linear-phase high-pass, Hz; 0: none")
    common_mode_channels: int = Field(
        0, ge=0, description="channels whose common signal is removed from each of them; 0: none"
    )
    difference: Literal["none", "first", "laplacian"] = Field(
        "none", description="between channels: x[j] - x[j-d], or x[j-d] - 2 x[j] + x[j+d]"
    )
    difference_m: float = Field(10.0, gt=0, description="distance d of the difference, at least a gauge length, m")
    group_channels: int = Field(1, ge=1, description="neighbouring channels whose mean power is one row")
    db_step: float = Field(
        0.25, ge=0, le=0.5, description="levels are rounded to this step, dB (error at most half); 0: not rounded"
    )

    @model_validator(mode="after")
    def _possible(self) -> "SpectrogramSettings":
        if self.highest_hz <= self.lowest_hz:
            raise ValueError(f"highest_hz {self.highest_hz} is not above lowest_hz {self.lowest_hz}")
        if abs(self.hop_seconds * 1e6 - round(self.hop_seconds * 1e6)) > 1e-6:
            raise ValueError(f"hop_seconds {self.hop_seconds} is not a whole number of microseconds")
        if self.common_mode_channels and self.difference != "none":
            raise ValueError(
                "common_mode_channels and difference do not go together: a difference between channels already "
                "removes what they have in common"
            )
        if self.representation == "mfcc" and self.coefficients > self.bands:
            raise ValueError(f"coefficients {self.coefficients} are more than bands {self.bands}")
        if not self.row_shape[1]:
            raise ValueError(f"no {self.representation} band lies in {self.lowest_hz:g} to {self.highest_hz:g} Hz")
        return self

    @property
    def hop_ns(self) -> int:
        """`hop_seconds` in nanoseconds."""
        return round(self.hop_seconds * 1e6) * 1000

    @property
    def row_shape(self) -> tuple[int, int]:
        """Frames and bands of one row of `spectrograms`.

        Where `hop_seconds` does not divide a second, some rows hold a frame less than others; its place is NaN.
        """
        frames = -(-1_000_000_000 // self.hop_ns)
        if self.representation == "mfcc":
            return frames, self.coefficients
        if self.representation == "third_octave":
            return frames, len(self.third_octaves())
        if self.representation == "power":
            return frames, len(self.bins(1 / self.frame_seconds))
        return frames, self.bands

    def third_octaves(self) -> range:
        """Return the numbers n of the third-octave bands in the range; their centres are 10^(n/10) Hz."""
        lowest = math.ceil(10 * math.log10(self.lowest_hz) + 0.5 - 1e-9) if self.lowest_hz > 0 else -10
        return range(lowest, math.floor(10 * math.log10(self.highest_hz) - 0.5 + 1e-9) + 1)

    def bins(self, bin_hz: float) -> range:
        """Return the bins of a Fourier transform, `bin_hz` apart, that lie in the range."""
        return range(math.ceil(self.lowest_hz / bin_hz - 1e-6), math.floor(self.highest_hz / bin_hz + 1e-6) + 1)


class WindowSettings(_Section):
    """What a network sees: windows are views on the frames."""

    seconds: int = Field(8, ge=1, description="length of a window, s")
    shift_seconds: int = Field(1, ge=1, description="from one window's start to the next, s")
    image: tuple[int, int] | None = Field(
        None, description="frames and bands that a window is resampled to, true to area; none: as they are"
    )
    scaling: Literal["background", "minmax"] = Field(
        "background",
        description="levels against what is usual for channel and band; or each window from its least (0) to its "
        "greatest level (1), as in 2021",
    )


class BackgroundSettings(_Section):
    """What is usual for a channel and band, and how levels are measured against it."""

    look_back_days: int = Field(7, ge=1, description="earlier days that make the reference")
    hour_classes: Literal[1, 2, 3, 4, 6, 8, 12, 24] = Field(
        1, description="parts of the UTC day with a reference of their own; 1: the day is one"
    )
    scale_floor_db: float = Field(
        0.5, gt=0, description="added to the spread, so that quiet bands stay finite, dB"
    )
    common_channels: int = Field(
        200,
        ge=0,
        description="neighbouring channels whose median level, second by second, is taken off each of them: wind "
        "and drift are no events; what shakes more than half of them is taken for such; 0: nothing is",
    )
    common_seconds: int = Field(5, ge=1, description="seconds that this level is averaged over")
    own_spread: bool = Field(
        True,
        description="bring each channel and day to a spread of one: that of the reference holds drift between its "
        "days, and more of it the more days there are",
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
    likelihood: Literal["gaussian", "bernoulli"] = Field(
        "gaussian", description="of a window's values; bernoulli is for windows scaled to [0, 1], as in 2021"
    )
    batch: int = Field(256, ge=2, description="windows a step")
    learning_rate: float = Field(3e-3, gt=0, description="of the optimizer (Adam)")
    max_epochs: int = Field(8, ge=1, description="passes over what is drawn, at most")
    windows_per_epoch: int = Field(8_192, ge=2, description="windows drawn for an epoch, at most")
    validation_windows: int = Field(2_048, ge=2, description="windows drawn for validation, at most")
    patience: int = Field(4, ge=1, description="epochs without a better validation loss before stopping")
    warm_up_share: float = Field(0.15, ge=0, le=1, description="share of steps over which the KL weight rises")
    kl_weight: float = Field(1.0, ge=0, description="weight of the KL after the warm-up; 1: the evidence bound")
    free_bits: float = Field(
        0.125,
        ge=0,
        description="KL that each dimension has for free and keeps, nat; 0: none",
    )
    trim_share: float = Field(0.02, ge=0, lt=1, description="worst windows of a batch left out of the gradient")
    seed: int = 0


class InfoGanSettings(_Section):
    """infoGAN and its training."""

    categories: int = Field(8, ge=5, description="values of the categorical code")
    continuous: int = Field(2, ge=1, description="continuous codes, uniform over [-1, 1]")
    noise: int = Field(32, ge=1, description="dimensions of the generator's noise")
    widths: tuple[int, ...] = Field((16, 32, 64), min_length=1, description="channels of the convolutions")
    patch: int = Field(4, ge=2, multiple_of=2, description="stride of the outermost convolutions; others have 2")
    features: int = Field(128, ge=1, description="dimensions of what the discriminator's heads see")
    scatter: float = Field(
        0.1, ge=0, description="spread of the noise that the generator adds to each pixel, as it starts learning"
    )
    batch: int = Field(64, ge=2, description="windows a step")
    max_epochs: int = Field(6, ge=1, description="passes over what is drawn, at most")
    windows_per_epoch: int = Field(8_192, ge=2, description="windows drawn for an epoch, at most")
    validation_windows: int = Field(1_024, ge=2, description="windows drawn for validation, at most")
    generator_rate: float = Field(2e-3, gt=0, description="learning rate; each falls to zero over the training")
    discriminator_rate: float = Field(
        2e-4, gt=0, description="below the generator's: a discriminator that is always right teaches nothing"
    )
    encoder_rate: float = Field(3e-3, gt=0, description="learning rate of the encoder")
    warm_up_share: float = Field(
        0.1, ge=0, lt=0.5, description="share of steps over which only categories of real windows are learned"
    )
    encoder_share: float = Field(
        0.3, gt=0, le=0.5, description="share of steps, the last ones, over which only the encoder learns"
    )
    instance_noise: float = Field(
        0.1, ge=0, description="spread of noise on all that the discriminator learns from, the range being -1 to 1"
    )
    smoothing: float = Field(0.1, ge=0, lt=0.5, description="real windows are so far from certainly real")
    categorical_weight: float = Field(1.0, ge=0, description="of the categorical code's cross-entropy")
    continuous_weight: float = Field(0.1, ge=0, description="of the continuous codes' negative log-likelihood")
    consistency_weight: float = Field(
        5.0, ge=0, description="of a real window and a moved copy having one category; 0: plain infoGAN"
    )
    shift: tuple[float, float] = Field((0.1, 0.03), description="of a copy, shares of the frames and bands")
    stretch: float = Field(0.05, ge=0, description="of a copy along each axis, log of the factor")
    shear: float = Field(0.0, ge=0, description="of a copy, bands a frame, both as shares of the window")
    turn_degrees: float = Field(0.0, ge=0, description="of a copy; for images that are no spectrograms")
    seed: int = 0

    @property
    def learning_rates(self) -> dict[str, float]:
        """Those of each network at the start."""
        names = ("generator", "discriminator", "encoder")
        return {name: getattr(self, f"{name}_rate") for name in names}


class ReferenceSettings(_Section):
    """The recipe: every constant that changes a score or a rate. It is stored with the model.

    What each is for, and what half and double of it do, is in ``docs/recipe.md``.
    """

    windows: int = Field(10_000, ge=20, description="reference windows that detectors are fitted on")
    contamination: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="share of the reference windows, the strangest, that detectors are not fitted on; rates still "
        "count them",
    )
    folds: int = Field(4, ge=2, description="parts of the reference that are scored without themselves, at least")
    most_folds: int = Field(8, ge=2, description="folds that more days than these share")
    guard_seconds: float = Field(30.0, ge=0, description="on each side of such a part of a day, left out too")
    neighbours: int = Field(5, ge=1, description="nearest reference windows that a distance is taken to")
    density: float = Field(
        0.5, ge=0, le=1, description="how far distances are measured against those around; 0: not, 1: wholly"
    )
    rank_decay: float = Field(0.9, gt=0, lt=1, description="weight of a frame by its rank in a band: decay^rank")
    ranked_dimensions: int = Field(20, ge=1, description="principal components of ranked and mean levels")
    sharpness: float = Field(1.3, gt=0, description="of the soft maximum over frames: 0 is the mean")
    soft_dimensions: int = Field(8, ge=1, description="principal components of soft maxima")
    spread_quantile: float = Field(
        0.9, gt=0.5, lt=1, description="of the reference scores, by whose distance from the median they are scaled"
    )
    support_seconds: float = Field(6.0, ge=0, description="standard deviation of the Gaussian support in time, s")
    support_channels: float = Field(1.0, ge=0, description="the same along the fibre, channels")
    extend_share: float = Field(
        0.03, gt=0, lt=1, description="share of reference windows that are strange enough to be part of an event"
    )
    half_height: float = Field(
        0.5,
        gt=0,
        le=1,
        description="two peaks are two events where the score falls between them below this share of the lower "
        "one, heights being measured from `extend_share`; an event reaches as far as its score is above it",
    )
    rate_channel_seconds: int = Field(
        10_000_000, ge=60, description="channel-seconds of the reference days that rates are counted on, at most"
    )
    block_seconds: int = Field(300, ge=1, description="of what the bootstrap draws, s")
    replicates: int = Field(200, ge=1, description="of the bootstrap")
    confidence: float = Field(0.9, gt=0, lt=1, description="of intervals of rates")
    tail_peaks: int = Field(50, ge=10, description="strongest events that the tail is fitted to, at most")
    least_peaks: int = Field(10, ge=4, description="with fewer reference events there is no tail")
    most_shape: float = Field(0.3, ge=0, lt=0.5, description="of the tail, at most: 0 falls exponentially")
    place_m: float = Field(15.0, ge=0, description="what lies within is one place, m")
    hourly_from_days: int = Field(
        14, ge=2, description="days of reference from which hours of the day have rates of their own"
    )


class DetectionSettings(_Section):
    """Detectors, the budget of false alarms, and clusters."""

    detectors: tuple[str, ...] = Field(
        ("neighbours", "ranked", "vae", "latent"),
        min_length=1,
        description="that score: by name (neighbours, ranked, plain, mahalanobis, vae, latent, temporal, infogan, "
        "kmeans, dbscan, isolation_forest) or module:Class",
    )
    fused: tuple[str, ...] = Field(
        (),
        description="those of them that make up the score, by name; none named: neighbours and ranked, or all "
        "where neither scores",
    )
    budget: float = Field(1.0, gt=0, description="false alarms that are accepted, per kilometre and day")
    channel_spacing_m: float = Field(5.0, gt=0, description="taken where recordings do not say it, m")
    max_noise_share: float = Field(
        0.4, gt=0, lt=1, description="HDBSCAN settings that call more of them noise lose"
    )
    cluster_windows: int = Field(6_000, ge=20, description="reference windows that are clustered")
    seed: int = 0

    def fusion(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return which of the detectors that score, by name, make up the score."""
        return self.fused or tuple(name for name in names if name in ("neighbours", "ranked")) or tuple(names)


class TemporalSettings(_Section):
    """Temporal dissimilarity: segments of a channel against others in time and along the fibre."""

    segment_seconds: int = Field(60, ge=2, description="length of a segment, s")
    shift_seconds: int = Field(30, ge=1, description="from one segment's start to the next, s")
    min_share: float = Field(
        0.6, gt=0.5, le=1, description="share of a segment's seconds that must be there for it to have a model"
    )
    frames_a_second: int = Field(2, ge=1, description="frames are averaged to so many a second, at most")
    dimensions: int = Field(10, ge=1, description="coefficients kept of the cosine transform over bands, at most")
    days: int = Field(7, ge=1, description="earlier days that a segment is held against at the same time of day")
    weeks: int = Field(8, ge=1, description="weeks that days of the same weekday or type are taken from")
    least_days: int = Field(
        3, ge=1, description="with fewer days of the same weekday or type, the weekly term is the daily one"
    )
    slack_segments: int = Field(2, ge=0, description="segments earlier or later that count as the same time")
    neighbour_gap: int = Field(
        3, ge=0, description="nearest channels on each side that are left out: they may be in the same event"
    )
    neighbours: int = Field(4, ge=1, description="channels beyond them, on each side, that are neighbours")
    time_zone: str = Field("UTC", description="of the local calendar, as Europe/Istanbul")
    holidays: tuple[date, ...] = Field((), description="local days that count as Sundays")
    keep_days: int = Field(60, ge=1, description="days that segment models are kept; weekly terms need 8 weeks")

    @model_validator(mode="after")
    def _possible(self) -> "TemporalSettings":
        if self.shift_seconds > self.segment_seconds:
            raise ValueError(
                f"shift_seconds {self.shift_seconds} leaves gaps between segments: at most segment_seconds"
            )
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"time_zone {self.time_zone!r} is not known: give one as Europe/Istanbul") from error
        return self

    @property
    def look_back_days(self) -> int:
        """Days before the recording day, UTC, that its terms may need."""
        return max(self.days, 7 * self.weeks) + 1


class ComparisonSettings(_Section):
    """The contractor's side, and the report."""

    contractor_probability: float = Field(0.5, gt=0, le=1, description="threat from which the contractor alarms")
    contractor_lag_rows: int = Field(
        6, ge=0, description="rows by which class probabilities lag the power, where sites.toml has no lag_rows"
    )
    rows_per_second: float = Field(
        5.0, gt=0, le=1000, description="rows a second in .prob and .pow, where sites.toml has no rows_per_second"
    )
    join_seconds: float = Field(2.0, ge=0, description="contractor rows this close form one event, s")
    map_windows: int = Field(3_000, ge=10, description="windows of a day on the embedding map, at most")
    triage_places: int = Field(
        4, ge=1, le=100, description="alarms of each kind of agreement that analysts are asked to judge a day"
    )


class ReportsSettings(_Section):
    """Where people look at what was found."""

    url: Annotated[str, AfterValidator(_without_slash)] = Field(
        "http://127.0.0.1:3100", description="of the review app, for links from Dagster's pages"
    )


class DaskSettings(_Section):
    """Where the parts of a day are computed."""

    address: str | None = Field(
        None, description="scheduler of a running Dask cluster, tcp://host:8786; none: threads of the run itself"
    )
    threads: int | None = Field(None, ge=1, description="threads without a cluster; none: one a core")
    processes: int = Field(
        0,
        ge=0,
        description="processes of one thread each in place of threads; they take seconds to start; 0: none",
    )


NO_SETTINGS = ("DASANOM_CASES", "DASANOM_SAMPLES", "DASANOM_STREET", "DASANOM_UPDATE_GOLDEN")
"""Variables that only the tests read."""
ORIGINAL: dict[str, Any] = {
    "spectrogram": {
        "mel_scale": "slaney",
        "frame_seconds": 0.256,
        "hop_seconds": 0.256,
        # 128 bands from 0 Hz without the first 8, written as the 120 that are left.
        "bands": 120,
        "lowest_hz": 1000 * 8 / 129,
    },
    "window": {"seconds": 10, "shift_seconds": 1, "image": (64, 64), "scaling": "minmax"},
    "vae": {"likelihood": "bernoulli"},
}
"""The settings of 2021: 512 samples of a frame and hop at 2000 Hz, min and max of each 10 s window, 64 × 64, taken
for probabilities."""


def unknown_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that look like settings and are none, and the nearest setting of each, or nothing."""
    known = [*NO_SETTINGS]
    for name, field in Settings.model_fields.items():
        known.append(f"DASANOM_{name}".upper())
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            known += [f"DASANOM_{name}__{leaf}".upper() for leaf in field.annotation.model_fields]
    return {
        name: next(iter(difflib.get_close_matches(name, known, 1, 0.6)), "")
        for name in sorted(environment)
        if name.startswith("DASANOM_") and name not in known
    }


class _Preset(PydanticBaseSettingsSource):
    """What `preset` stands for; anything that is set by itself wins over it."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return ORIGINAL if self.current_state.get("preset") == "original" else {}


class AutomationSettings(_Section):
    """What the sensor and the schedule do by themselves, and when a day is overdue."""

    attempts: int = Field(6, ge=1, description="runs for the same files, settings, code and model, at most")
    first_pause_seconds: float = Field(
        60.0, ge=0, description="before the second; each further is four times as long, s"
    )
    longest_pause_seconds: float = Field(21_600.0, ge=0, description="pause before a run, at most, s")
    overdue_hours: float = Field(12.0, ge=0, description="after its end a day has to be delivered and scored, h")
    expected_days: int = Field(14, ge=1, description="last days that are looked at for what is overdue")
    weekdays: tuple[int, ...] = Field(
        (0, 1, 2, 3, 4, 5, 6), description="on which recordings are expected: Monday is 0, Sunday 6"
    )
    propose_after_days: int = Field(
        30,
        ge=0,
        description="days after the last that the live model learned from, until another is proposed; 0: none",
    )
    propose_drifted_days: int = Field(
        3, ge=0, description="another model is proposed where so many days in a row have drifted; 0: none"
    )
    learn_days: int = Field(28, ge=1, description="newest days that a proposed model learns from")
    held_out_days: int = Field(
        7,
        ge=1,
        description="days after them that it is held against the live model on; at least so many pass "
        "between two proposals",
    )
    promote: Literal["hand", "rule"] = Field(
        "hand", description="what makes a proposed model live: a hand, or the check better_or_equal"
    )


class NotifySettings(_Section):
    """Whom to tell, and of what; the address holds a secret, and comes from the environment."""

    url: SecretStr | None = Field(
        None, description="an address as Apprise takes it, as mailtos://… or jsons://…; none: a file alone"
    )
    base_url: Annotated[str, AfterValidator(_without_slash)] = Field(
        "http://127.0.0.1:3000", description="of the UI, for links"
    )
    alarm_rate: float = Field(
        0.1, ge=0, description="alarms are told that ordinary ground raises so often at most, a kilometre and day"
    )
    digest_hour: int = Field(6, ge=0, le=23, description="of the day from which its digest is sent, UTC")


class RetentionSettings(_Section):
    """How long what grows is kept; recordings, verdicts and tables of events are never removed."""

    dry_run: bool = Field(True, description="only say each night what would go")
    raw_days: int = Field(400, ge=90, description="newest days of the raw tables that are kept")
    raw_tables: tuple[str, ...] = Field(
        (
            *("spectrograms", "common_levels", "temporal_terms", "embeddings", "cluster_labels"),
            *("anomaly_scores", "contractor_scores", "clipped_seconds"),
        ),
        description="tables with rows for each second or window of a channel",
    )
    report_days: int = Field(800, ge=1, description="days that reports are kept")
    models: int = Field(5, ge=1, description="newest versions of each kind of model that are kept")
    model_days: int = Field(180, ge=0, description="days that other versions are kept, where nothing needs them")
    unfinished_days: int = Field(30, ge=1, description="days that the state of an unfinished training is kept")
    runs: int = Field(20_000, ge=100, description="newest runs of Dagster that are kept, at most")
    run_days: int = Field(400, ge=1, description="days that runs of Dagster and their logs are kept")


class WebSettings(_Section):
    """The web server of the UI, which listens on 127.0.0.1."""

    hosts: tuple[str, ...] = Field(
        (), description="other names by which it may be asked: those that a proxy in front passes on"
    )


class Settings(BaseSettings):
    """All settings of the project; see the sections for units."""

    model_config = SettingsConfigDict(
        env_prefix="DASANOM_", env_nested_delimiter="__", frozen=True, extra="ignore"
    )

    data: str = Field(default_factory=_default_data_root, description="data root: a folder or an fsspec URL")
    preset: Literal["default", "original"] = Field(
        "default", description="original: the settings of 2021, for comparison"
    )
    first_day: date = Field(date(2026, 1, 1), description="first recording day, UTC")
    dask: DaskSettings = DaskSettings()
    device: str = Field("auto", description="where networks run: auto, cpu, cuda or cuda:<n>")
    automation: AutomationSettings = AutomationSettings()
    notify: NotifySettings = NotifySettings()
    retention: RetentionSettings = RetentionSettings()
    web: WebSettings = WebSettings()
    limits: LimitSettings = LimitSettings()
    spectrogram: SpectrogramSettings = SpectrogramSettings()
    window: WindowSettings = WindowSettings()
    background: BackgroundSettings = BackgroundSettings()
    training_set: TrainingSetSettings = TrainingSetSettings()
    vae: VaeSettings = VaeSettings()
    infogan: InfoGanSettings = InfoGanSettings()
    detection: DetectionSettings = DetectionSettings()
    reference: ReferenceSettings = ReferenceSettings()
    temporal: TemporalSettings = TemporalSettings()
    comparison: ComparisonSettings = ComparisonSettings()
    reports: ReportsSettings = ReportsSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: Any,
        env_settings: Any,
        dotenv_settings: Any,
        file_secret_settings: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the preset below what is set by argument or environment."""
        return init_settings, env_settings, _Preset(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        for name, nearest in unknown_variables(os.environ).items():
            raise ValueError(f"{name} is no setting" + (f": did you mean {nearest}?" if nearest else ""))
        return values

    @model_validator(mode="after")
    def _together(self) -> "Settings":
        if 1_000_000_000 % self.spectrogram.hop_ns and self.window.image is None:
            raise ValueError(
                f"spectrogram.hop_seconds {self.spectrogram.hop_seconds:g} does not divide a second, so windows "
                "differ in frames: set window.image to the size they are resampled to"
            )
        return self
