"""Labelled clips through the product's own code: levels, whitening, windows, networks, detectors, scores.

A group of clips (a machine of an id, say) is learned by itself, from normal clips alone, and none that was learned
from is evaluated on. Memory grows with the levels of one group; samples are held a clip at a time.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from dasanom_assets.benchmarks.autoencoder import Autoencoder, vectors
from dasanom_assets.detection.calibration.conformal import Conformal, fused
from dasanom_assets.detection.detectors.base import Detector, Windows, detector_class, detector_classes
from dasanom_assets.detection.detectors.neighbours import SMALLEST, Mahalanobis
from dasanom_assets.detection.minutes.gaussians import Gaussians, divergence, fit_gaussians
from dasanom_assets.detection.reference.inputs import ERROR, FEATURES
from dasanom_assets.models.encoding import Encoded, encode_bank, encode_gan
from dasanom_assets.models.infogan_training import train_infogan
from dasanom_assets.models.training import train_vae
from dasanom_assets.recordings.labelled_sets import Clip, Layout
from dasanom_assets.settings import (
    BackgroundSettings,
    InfoGanSettings,
    Settings,
    SpectrogramSettings,
    VaeSettings,
    WindowSettings,
)
from dasanom_assets.spectrograms.transform import Transform
from dasanom_assets.spectrograms.whitening import unusable_rows, whiten
from dasanom_assets.spectrograms.windows import WindowBank

SOUND = SpectrogramSettings(frame_seconds=0.064, hop_seconds=0.03125, lowest_hz=50.0, highest_hz=8000.0)
"""For 16 kHz: 1024 samples every 500, 64 mel bands; 64 frames, a window, are 2 s."""
SOUND_WINDOW = WindowSettings(seconds=2, shift_seconds=1)
SOUND_FUSED = ("mahalanobis", "dasanom_assets.benchmarks.clips:Residual")
"""What is fused of sound, unless `detection.fused` names something.

Chosen on machines with planted faults of seeds 0 to 3, where the mean AUC of four machines is 0.971; 0.891 by
`mahalanobis`, 0.959 by `residual` alone. On seeds 4 and 5, which nothing was chosen on: 0.957, 0.902 and 0.951.
"""
BASELINE = "dense_autoencoder"
FUSED = "fused"
TEMPORAL = "temporal"
TEMPORAL_DIMENSIONS = 10
"""Principal components of whitened frames that a clip's Gaussian is fitted in."""
TRAIN_SHARE, VALIDATION_SHARE = 0.7, 0.1
"""Of the normal clips that are not held out; the rest sets thresholds."""
LEAST_NORMAL = 4
"""Normal clips that a group needs: one to train on, to stop by, to set the threshold, and to evaluate."""
STEPS = 600
"""Steps that a network takes at least: sets of a few clips have few windows an epoch."""


class TooFewError(ValueError):
    """A group that nothing can be said of; the message says what it lacks."""


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


@dataclass(frozen=True)
class Parts:
    """Positions of clips by what they are for; no clip is in two of them."""

    train: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray
    evaluation: np.ndarray


def split(abnormal: np.ndarray) -> Parts:
    """Split clips, which are in order of their names, into those to learn from and those to evaluate on.

    As in MIMII's own baseline, as many normal clips are held out as there are abnormal ones, the first by name;
    where there are too few, half of the normal ones. The others go to training, validation and calibration in
    stretches, since neighbours by name may be neighbours in time.

    Parameters
    ----------
    abnormal : numpy.ndarray
        bool, shape (n_clips,).

    Raises
    ------
    TooFewError
        Without an abnormal clip, or with fewer than `LEAST_NORMAL` normal ones.
    """
    normal = np.flatnonzero(~abnormal)
    if len(normal) < LEAST_NORMAL or not abnormal.any():
        raise TooFewError(
            f"{len(normal)} normal and {int(abnormal.sum())} abnormal clips: {LEAST_NORMAL} and 1 are needed"
        )
    held = min(int(abnormal.sum()), max(1, len(normal) // 2), len(normal) - 3)
    left = normal[held:]
    validation = max(1, round(VALIDATION_SHARE * len(left)))
    train = min(max(1, round(TRAIN_SHARE * len(left))), len(left) - validation - 1)
    learned, stopped, limits = np.split(left, [train, train + validation])
    return Parts(learned, stopped, limits, np.concatenate([normal[:held], np.flatnonzero(abnormal)]))


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
    rows, first, of_clip, at = [], [], [], 0
    for position, clip in enumerate(levels):
        white = whiten(clip, usual.median_db, usual.mad_db, background)
        for channel, raw in zip(white, clip, strict=True):
            usable = ~unusable_rows(raw)["silent"]
            starts = np.arange(0, len(channel) - window.seconds + 1, window.shift_seconds)
            starts = starts[[bool(usable[s : s + window.seconds].all()) for s in starts]]
            rows.append(channel)
            first.append(at + starts)
            of_clip.append(np.full(len(starts), position))
            at += len(channel)
    joined = np.concatenate(first).astype(np.int64)
    return WindowBank(np.concatenate(rows), joined, window.seconds), np.concatenate(of_clip)


def vae_settings(settings: VaeSettings, n_windows: int) -> VaeSettings:
    """Return settings with which a network takes `STEPS` steps at least, however few windows there are."""
    batch, epochs = _steps(settings, n_windows)
    patience = max(settings.patience, epochs // 4)
    return settings.model_copy(update={"batch": batch, "max_epochs": epochs, "patience": patience})


def infogan_settings(settings: InfoGanSettings, n_windows: int) -> InfoGanSettings:
    """Return settings as `vae_settings` does."""
    batch, epochs = _steps(settings, n_windows)
    return settings.model_copy(update={"batch": batch, "max_epochs": epochs})


def _steps(settings: VaeSettings | InfoGanSettings, n_windows: int) -> tuple[int, int]:
    """Return windows a step, and epochs at most."""
    batch = int(np.clip(n_windows // 8, 8, settings.batch))
    per_epoch = math.ceil(min(n_windows, settings.windows_per_epoch) / batch)
    return batch, max(settings.max_epochs, math.ceil(STEPS / per_epoch))


class Residual(Mahalanobis):
    """Distance from the plane of the principal components, which `mahalanobis` does not look beyond."""

    name = "residual"
    whitened = False

    def _between(self, features: np.ndarray, itself: bool = False) -> np.ndarray:
        centred = features - self.mean
        beyond = centred - (centred @ self.components) @ self.components.T
        return np.log(np.linalg.norm(beyond, axis=1) + SMALLEST).astype(np.float32)


def looks_through(detector: type[Detector]) -> str | None:
    """Return the network that a detector looks through, ``vae`` or ``infogan``, None where it needs none."""
    if {FEATURES, ERROR} & set(detector.inputs):
        return "infogan"
    return "vae" if detector.network else None


@dataclass(frozen=True)
class GroupScores:
    """What detectors say of the clips of a group.

    Attributes
    ----------
    parts : Parts
    scores : dict
        Detector, `FUSED` or `BASELINE` to ``mean`` and ``max`` over the windows of a clip, float64, shape
        (n_clips,); NaN for clips that were learned from, or have no window.
    seconds : dict
        The same names to ``train`` (networks included) and ``score``, seconds of all clips that are scored.
    windows : int
        Windows that were learned from.
    """

    parts: Parts
    scores: dict[str, dict[str, np.ndarray]]
    seconds: dict[str, dict[str, float]]
    windows: int


def score_group(
    levels: list[np.ndarray],
    abnormal: np.ndarray,
    scale: Scale,
    settings: Settings,
    device: str,
    compared: Iterable[str] = (),
    say: Callable[[str], Any] | None = None,
) -> GroupScores:
    """Learn the normal clips of a group and score the others.

    Parameters
    ----------
    levels : list of numpy.ndarray
        Of each clip, in order of the names; see `clip_levels`.
    abnormal : numpy.ndarray
        bool, shape (n_clips,).
    scale : Scale
    settings : Settings
        Of these: background, vae, infogan, reference, and detection with detectors to measure beside the fused.
    device : str
        Torch device.
    compared : iterable of str
        Further detectors to measure. Detectors that cannot be fitted, or tell no clips apart, are left out.
    say : callable, optional
        Takes a line of text on each step.

    Raises
    ------
    TooFewError
        See `split`; or where too few windows, or no detector of the fusion, are left.
    """
    parts = split(abnormal)
    say = say or (lambda line: None)
    usual = Usual.of([levels[i] for i in parts.train])

    def bank(which: np.ndarray) -> tuple[WindowBank, np.ndarray]:
        windows, of_clip = bank_of([levels[i] for i in which], usual, settings.background, scale.window)
        return windows, which[of_clip]

    learned, _ = bank(parts.train)
    kept, _ = bank(parts.validation)
    seen = np.concatenate([parts.calibration, parts.evaluation])
    new, of_clip = bank(seen)
    calibration = np.isin(of_clip, parts.calibration)
    if min(len(learned), calibration.sum()) < 20 or not len(kept):
        raise TooFewError(
            f"{len(learned)} windows to learn from and {calibration.sum()} to calibrate by are too few"
        )

    some = np.random.default_rng(settings.detection.seed).permutation(len(learned))[: settings.reference.windows]
    some.sort()
    of_fusion = detector_classes(scale.fused)
    classes = detector_classes(list(dict.fromkeys([*settings.detection.detectors, *compared]))) | of_fusion
    temporal = classes.pop(TEMPORAL, None)
    for name, of in list(classes.items()):
        if unknown := set(of.inputs) - {FEATURES, ERROR}:
            say(f"{name} is left out: clips do not have what it asks for, {', '.join(sorted(unknown))}")
            del classes[name]
    networks = {name: looks_through(of) for name, of in classes.items()}
    costs: dict[str | None, tuple[float, float]] = {None: (0.0, 0.0)}
    banks = (learned.subset(some), new)
    encoded: list[Encoded | None] = [None, None]
    more: list[dict[str, np.ndarray]] = [{}, {}]
    if "vae" in networks.values():
        began = time.perf_counter()
        vae = train_vae(learned, kept, vae_settings(settings.vae, len(learned)), device).model
        done = time.perf_counter()
        encoded = [encode_bank(vae, bank, device) for bank in banks]
        costs["vae"] = (done - began, time.perf_counter() - done)
    if "infogan" in networks.values():
        began = time.perf_counter()
        clipped = (settings.background.clip_low, settings.background.clip_high)
        gan = train_infogan(
            replace(learned, levels=clipped), kept, infogan_settings(settings.infogan, len(learned)), device
        ).model
        done = time.perf_counter()
        of_bank = [encode_gan(gan, bank, device) for bank in banks]
        more = [{FEATURES: found.features, ERROR: found.reconstruction_error} for found in of_bank]
        costs["infogan"] = (done - began, time.perf_counter() - done)
    for network, (trained, _) in costs.items():
        if network:
            say(f"{network} of {len(learned):,} windows: trained in {trained:.1f} s")
    reference, windows = (
        Windows(bank, of, more=extra) for bank, of, extra in zip(banks, encoded, more, strict=True)
    )

    def by_frames() -> tuple[float, np.ndarray]:
        models, of_model = clip_models(levels, parts.train, usual, settings.background)
        fitted = time.perf_counter()
        return fitted, clip_divergences(models, of_model, parts.train, seen, len(levels))[of_clip]

    def by_detector(of: type[Detector]) -> tuple[float, np.ndarray]:
        detector = of.fit(reference, settings)
        return time.perf_counter(), detector.score(windows)

    by_window: dict[str, np.ndarray] = {}
    conformal: dict[str, Conformal] = {}
    seconds: dict[str, dict[str, float]] = {}
    steps: dict[str, Callable[[], tuple[float, np.ndarray]]] = {
        name: partial(by_detector, of) for name, of in classes.items()
    }
    if temporal:
        steps[TEMPORAL] = by_frames
    for name, step in steps.items():
        began = time.perf_counter()
        try:
            fitted, values = step()
        except Exception as error:  # whatever it is, also of somebody else's detector: the others go on
            say(f"{name} is left out: it could not be fitted ({error})")
            continue
        try:
            conformal[name] = Conformal.fit(values[calibration])
        except ValueError as error:
            say(f"{name} is left out: it {error}")
            continue
        done = time.perf_counter()
        by_window[name] = values
        train, score = costs[networks.get(name)]
        seconds[name] = {"train": fitted - began + train, "score": done - fitted + score}
        say(f"{name}: fitted in {fitted - began:.1f} s, scored in {done - fitted:.1f} s")
    names = [name for name in of_fusion if name in conformal]
    if not names:
        raise TooFewError(f"no detector of the fusion is left of {', '.join(of_fusion)}")
    began = time.perf_counter()
    by_window[FUSED] = fused({name: conformal[name] for name in names}, by_window)
    taken = time.perf_counter() - began
    shared = [networks.get(name) for name in names]
    twice = [(n - 1, cost) for network, cost in costs.items() if (n := shared.count(network)) > 1]
    seconds[FUSED] = {
        "train": sum(seconds[name]["train"] for name in names) - sum(n * train for n, (train, _) in twice),
        "score": sum(seconds[name]["score"] for name in names) - sum(n * score for n, (_, score) in twice) + taken,
    }
    out = {name: _by_clip(values, of_clip, len(levels)) for name, values in by_window.items()}
    out[BASELINE], seconds[BASELINE] = _baseline(levels, parts, seen, settings.vae.seed, device)
    say(f"{BASELINE}: {seconds[BASELINE]['train']:.1f} s")
    return GroupScores(parts, out, seconds, len(learned))


def clip_models(
    levels: list[np.ndarray], train: np.ndarray, usual: Usual, background: BackgroundSettings
) -> tuple[Gaussians, np.ndarray]:
    """Fit a Gaussian to the whitened frames of each channel of each clip.

    Frames are seen by their principal components, which are those of the training clips.

    Returns
    -------
    models : Gaussians
        One a channel of a clip.
    of_clip : numpy.ndarray
        int64, of the same length: positions of their clips.
    """
    white = [whiten(clip, usual.median_db, usual.mad_db, background) for clip in levels]
    lanes = [lane.reshape(-1, lane.shape[-1]) for clip in white for lane in clip]
    of_clip = np.repeat(np.arange(len(levels)), [len(clip) for clip in levels])
    learned = np.concatenate([lanes[i] for i in np.flatnonzero(np.isin(of_clip, train))])
    pca = PCA(min(TEMPORAL_DIMENSIONS, learned.shape[1]), svd_solver="covariance_eigh").fit(learned)
    frames = np.full((len(lanes), max(map(len, lanes)), pca.n_components_), np.nan, np.float32)
    for row, lane in zip(frames, lanes, strict=True):
        row[: len(lane)] = pca.transform(lane)
    return fit_gaussians(frames), of_clip


def clip_divergences(
    models: Gaussians, of_clip: np.ndarray, train: np.ndarray, seen: np.ndarray, n_clips: int
) -> np.ndarray:
    """Return the least symmetric divergence of each clip from those learned from, nats, NaN for clips not seen.

    Of several channels it is the mean.
    """
    reference = models[np.isin(of_clip, train)]
    out = np.full(n_clips, np.nan)
    for i in seen:
        out[i] = np.nanmean(divergence(models[of_clip == i][:, None], reference[None]).min(axis=1))
    return out


def _by_clip(values: np.ndarray, of_clip: np.ndarray, n_clips: int) -> dict[str, np.ndarray]:
    """Return mean and largest score over the windows of each clip, NaN for clips without one."""
    count = np.bincount(of_clip, minlength=n_clips)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(of_clip, values.astype(np.float64), n_clips) / count
    largest = np.full(n_clips, -np.inf)
    np.maximum.at(largest, of_clip, values)
    return {"mean": mean, "max": np.where(count > 0, largest, np.nan)}


def _baseline(
    levels: list[np.ndarray], parts: Parts, seen: np.ndarray, seed: int, device: str
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return the scores of the dense autoencoder of each clip, and its seconds."""

    def of(position: int) -> np.ndarray:
        clip = levels[position]
        lanes = clip.reshape(len(clip), -1, clip.shape[-1])
        return np.concatenate([vectors(lane) for lane in lanes])

    began = time.perf_counter()
    network = Autoencoder.fit(np.concatenate([of(i) for i in parts.train]), seed, device)
    trained = time.perf_counter()
    out = {name: np.full(len(levels), np.nan) for name in ("mean", "max")}
    for i in seen:
        errors = network.errors(of(i))
        out["mean"][i], out["max"][i] = errors.mean(), errors.max()
    return out, {"train": trained - began, "score": time.perf_counter() - trained}


def read_levels(
    clips: Iterable[Clip], scale: Scale, left_out: Callable[[Path, str], Any]
) -> tuple[list[np.ndarray], list[Clip]]:
    """Return the levels of clips, and the clips without their samples, less those too short for a window."""
    levels, kept = [], []
    for clip in clips:
        try:
            found = clip_levels(clip, scale.spectrogram)
        except ValueError as error:
            left_out(clip.path, str(error))
            continue
        if found.shape[1] < scale.window.seconds:
            left_out(clip.path, f"{found.shape[1]} s are shorter than a window of {scale.window.seconds} s")
            continue
        levels.append(found)
        kept.append(
            Clip(clip.group, clip.label, clip.path, clip.rate, np.empty((0, 0), np.float32), clip.quantization)
        )
    return levels, kept
