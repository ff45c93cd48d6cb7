"""Detectors on the clips of a group: learned from normal ones, scored on the others.

A group of clips (a machine of an id, say) is learned by itself, from normal clips alone, and none that was learned
from is evaluated on. Memory grows with the levels of one group; samples are held a clip at a time.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from dasanom_assets.detection.calibration.conformal import Conformal, fused
from dasanom_assets.detection.detectors.base import Detector, Windows, detector_classes
from dasanom_assets.detection.reference.inputs import ERROR, FEATURES
from dasanom_assets.evaluation.autoencoder import Autoencoder, vectors
from dasanom_assets.evaluation.clip_gaussians import clip_divergences, clip_models
from dasanom_assets.evaluation.clips import Scale, Usual, bank_of
from dasanom_assets.evaluation.split import Parts, TooFewError, split
from dasanom_assets.models.encoding import Encoded, encode_bank, encode_gan
from dasanom_assets.models.infogan_training import train_infogan
from dasanom_assets.models.training import train_vae
from dasanom_assets.settings import InfoGanSettings, Settings, VaeSettings
from dasanom_assets.spectrograms.windows import WindowBank

BASELINE = "dense_autoencoder"
FUSED = "fused"
TEMPORAL = "temporal"
STEPS = 600
"""Steps that a network takes at least: sets of a few clips have few windows an epoch."""


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

    reference_windows = np.random.default_rng(settings.detection.seed).permutation(len(learned))
    reference_windows = np.sort(reference_windows[: settings.reference.windows])
    fusion_classes = detector_classes(scale.fused)
    classes = detector_classes(list(dict.fromkeys([*settings.detection.detectors, *compared]))) | fusion_classes
    temporal = classes.pop(TEMPORAL, None)
    for name, detector_type in list(classes.items()):
        if unknown := set(detector_type.inputs) - {FEATURES, ERROR}:
            say(f"{name} is left out: clips do not have what it asks for, {', '.join(sorted(unknown))}")
            del classes[name]
    networks = {name: looks_through(detector_type) for name, detector_type in classes.items()}
    costs: dict[str | None, tuple[float, float]] = {None: (0.0, 0.0)}
    banks = (learned.subset(reference_windows), new)
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
        codes = [encode_gan(gan, bank, device) for bank in banks]
        more = [{FEATURES: code.features, ERROR: code.reconstruction_error} for code in codes]
        costs["infogan"] = (done - began, time.perf_counter() - done)
    for network, (trained, _) in costs.items():
        if network:
            say(f"{network} of {len(learned):,} windows: trained in {trained:.1f} s")
    reference, windows = (
        Windows(bank, encoding, more=extra) for bank, encoding, extra in zip(banks, encoded, more, strict=True)
    )

    def by_frames() -> tuple[float, np.ndarray]:
        models, of_model = clip_models(levels, parts.train, usual, settings.background)
        fitted = time.perf_counter()
        return fitted, clip_divergences(models, of_model, parts.train, seen, len(levels))[of_clip]

    def by_detector(detector_type: type[Detector]) -> tuple[float, np.ndarray]:
        detector = detector_type.fit(reference, settings)
        return time.perf_counter(), detector.score(windows)

    by_window: dict[str, np.ndarray] = {}
    conformal: dict[str, Conformal] = {}
    seconds: dict[str, dict[str, float]] = {}
    steps: dict[str, Callable[[], tuple[float, np.ndarray]]] = {
        name: partial(by_detector, detector_type) for name, detector_type in classes.items()
    }
    if temporal:
        steps[TEMPORAL] = by_frames
    for name, step in steps.items():
        began = time.perf_counter()
        try:
            fitted, values = step()
        except OSError:  # of the machine, and not of the detector
            raise
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
    names = [name for name in fusion_classes if name in conformal]
    if not names:
        raise TooFewError(f"no detector of the fusion is left of {', '.join(fusion_classes)}")
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
        microphones = clip.reshape(len(clip), -1, clip.shape[-1])
        return np.concatenate([vectors(microphone) for microphone in microphones])

    began = time.perf_counter()
    network = Autoencoder.fit(np.concatenate([of(i) for i in parts.train]), seed, device)
    trained = time.perf_counter()
    out = {name: np.full(len(levels), np.nan) for name in ("mean", "max")}
    for i in seen:
        errors = network.errors(of(i))
        out["mean"][i], out["max"][i] = errors.mean(), errors.max()
    return out, {"train": trained - began, "score": time.perf_counter() - trained}
