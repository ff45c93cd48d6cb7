"""Labelled clips through the product's own code: levels, whitening, windows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dasanom_assets.detection.detectors.base import detector_class
from dasanom_assets.recordings.labelled_sets import Clip, Layout
from dasanom_assets.settings import BackgroundSettings, Settings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.transform import Transform
from dasanom_assets.spectrograms.white_rows import unusable_rows, whiten
from dasanom_assets.spectrograms.windows import WindowBank

SOUND = SpectrogramSettings(frame_seconds=0.064, hop_seconds=0.03125, lowest_hz=50.0, highest_hz=8000.0)
"""For 16 kHz: 1024 samples every 500, 64 mel bands; 64 frames, a window, are 2 s."""
SOUND_WINDOW = WindowSettings(seconds=2, shift_seconds=1)
SOUND_FUSED = ("mahalanobis", "dasanom_assets.evaluation.residual:Residual")
"""What is fused of sound, unless `detection.fused` names something.

Chosen on machines with planted faults of seeds 0 to 3, where the mean AUC of four machines is 0.971; 0.891 by
`mahalanobis`, 0.959 by `residual` alone. On seeds 4 and 5, which nothing was chosen on: 0.957, 0.902 and 0.951.
"""


@dataclass(frozen=True)
class Scale:
    """How signal becomes windows for a kind of recording, and what is fused: detectors as settings name them."""

    spectrogram: SpectrogramSettings
    window: WindowSettings
    fused: tuple[str, ...]

    @staticmethod
    def of(layout: Layout, settings: Settings) -> "Scale":
        """Return that of sound, or for a fibre that of the settings; a fusion that these name is for both."""
        path = {detector_class(name).name: name for name in settings.detection.detectors}
        fused = tuple(path[name] for name in settings.detection.fusion(list(path)))
        if layout == "mimii":
            return Scale(SOUND, SOUND_WINDOW, fused if settings.detection.fused else SOUND_FUSED)
        return Scale(settings.spectrogram, settings.window, fused)

    def within(self, seconds: int) -> "Scale":
        """Return it with windows no longer than a clip of so many seconds."""
        shorter = min(self.window.seconds, seconds)
        return replace(self, window=self.window.model_copy(update={"seconds": shorter}))


def clip_levels(clip: Clip, settings: SpectrogramSettings) -> np.ndarray:
    """Return the levels of a clip on the grid that `spectrograms` has.

    Frame ``k`` has its centre at ``(k + ½) · hop``; at the ends the signal goes on by reflection.

    Parameters
    ----------
    clip : Clip
    settings : SpectrogramSettings
        Its hop divides a second.

    Returns
    -------
    numpy.ndarray
        float32, shape (channels, whole seconds, frames a second, bands), dB.

    Raises
    ------
    ValueError
        Where the hop does not divide a second, the clip is shorter than one, or `Transform` refuses the rate.
    """
    if 1_000_000_000 % settings.hop_ns:
        raise ValueError(f"spectrogram.hop_seconds {settings.hop_seconds:g} does not divide a second")
    transform = Transform(settings, clip.rate)
    seconds = int(clip.samples.shape[1] / clip.rate + 1e-3)
    if seconds < 1:
        raise ValueError(f"{clip.samples.shape[1] / clip.rate:.2f} s are shorter than a second")
    frames, bands = settings.row_shape
    pad = transform.win_length
    x = np.pad(clip.samples, ((0, 0), (pad, pad)), mode="reflect")
    centre = (np.arange(seconds * frames) + 0.5) * settings.hop_seconds * clip.rate
    first = np.rint(centre - transform.win_length / 2).astype(np.int64) + pad
    power = transform.band_power(x, first)
    levels = transform.decibels(power, transform.floor_db(clip.quantization))
    return levels.reshape(len(levels), seconds, frames, bands)


def read_levels(
    clips: Iterable[Clip], scale: Scale, left_out: Callable[[Path, str], Any]
) -> tuple[list[np.ndarray], list[Clip]]:
    """Return the levels of clips, and the clips without their samples, less those too short for a window."""
    levels, kept = [], []
    for clip in clips:
        try:
            decibels = clip_levels(clip, scale.spectrogram)
        except ValueError as error:
            left_out(clip.path, str(error))
            continue
        if decibels.shape[1] < scale.window.seconds:
            left_out(clip.path, f"{decibels.shape[1]} s are shorter than a window of {scale.window.seconds} s")
            continue
        levels.append(decibels)
        kept.append(
            Clip(clip.group, clip.label, clip.path, clip.rate, np.empty((0, 0), np.float32), clip.quantization)
        )
    return levels, kept


@dataclass(frozen=True)
class Usual:
    """Median and MAD of each channel and band over training clips, float32, shape (channels, 1, 1, bands), dB.

    Where clips differ in their channels, one value stands for all: shape (1, 1, 1, bands).
    """

    median_db: np.ndarray
    mad_db: np.ndarray

    @staticmethod
    def of(levels: list[np.ndarray]) -> "Usual":
        """Measure it on levels of clips."""
        bands = levels[0].shape[-1]
        if len({len(x) for x in levels}) == 1:
            frames = np.concatenate([x.reshape(len(x), -1, bands) for x in levels], axis=1)
        else:
            frames = np.concatenate([x.reshape(1, -1, bands) for x in levels], axis=1)
        median = np.median(frames, axis=1, keepdims=True)
        mad = np.median(np.abs(frames - median), axis=1, keepdims=True)
        return Usual(median[:, None], mad[:, None])


def bank_of(
    levels: list[np.ndarray], usual: Usual, background: BackgroundSettings, window: WindowSettings
) -> tuple[WindowBank, np.ndarray]:
    """Return whitened windows of clips, and the position of the clip that each is from, int64, shape (n_windows,).

    No window reaches over the end of a clip or holds a silent second.
    """
    rows, first, of_clip, next_row = [], [], [], 0
    for position, clip in enumerate(levels):
        white = whiten(clip, usual.median_db, usual.mad_db, background)
        for channel, raw in zip(white, clip, strict=True):
            usable = ~unusable_rows(raw)["silent"]
            starts = np.arange(0, len(channel) - window.seconds + 1, window.shift_seconds)
            starts = starts[[bool(usable[s : s + window.seconds].all()) for s in starts]]
            rows.append(channel)
            first.append(next_row + starts)
            of_clip.append(np.full(len(starts), position))
            next_row += len(channel)
    joined = np.concatenate(first).astype(np.int64)
    return WindowBank(np.concatenate(rows), joined, window.seconds), np.concatenate(of_clip)
