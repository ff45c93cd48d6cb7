"""What scoring needs beside the networks: clusters of normal windows and calibrated scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dasanom_assets.detection.clustering import Clusters, assign, cluster_quality, fit_clusters, refit
from dasanom_assets.detection.thresholds import Calibration, combine
from dasanom_assets.models import checkpoints
from dasanom_assets.models.training import encode_bank
from dasanom_assets.models.training_set import WindowIndex, load_bank
from dasanom_assets.models.vae import Vae
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import DETECTORS
from dasanom_assets.tables.store import Store

NAME = "reference_model"
SUPPORT_NS = 2 * SECOND_NS
"""Windows of a channel and of its neighbours whose starts differ by no more support each other."""


class IncompatibleModelError(ValueError):
    """A model that does not fit the table it should score."""


@dataclass(frozen=True)
class ChannelScores:
    """Fused scores of the windows of one channel, −log10 of a p-value each; `start_ns` ascends."""

    fibre: str
    channel: int
    start_ns: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class Reference:
    """A fitted reference model.

    Attributes
    ----------
    vae_version : str
        The checkpoint whose latent space this is.
    clusters : Clusters
        HDBSCAN on a sample of training windows.
    calibrations : dict
        Detector name, and ``"fused"``, to its `Calibration` on windows that no network was trained on.
    settings : dict
        The settings that a table must share to be scored: spectrogram, window and background.
    note : dict
        What a person wants to know: counts, quality of the clusters, shares left out.
    version : str
        Of the stored checkpoint; empty before it is stored.
    """

    vae_version: str
    clusters: Clusters
    calibrations: dict[str, Calibration]
    settings: dict[str, Any]
    note: dict[str, Any]
    version: str = ""


def scores_of(mu: np.ndarray, reconstruction_error: np.ndarray, kl: np.ndarray, outlier: np.ndarray) -> np.ndarray:
    """Return the score of each detector, larger is more unusual, float32, shape (n, detectors).

    ``vae`` is the negative evidence lower bound of the window, nats: reconstruction and KL at the posterior's
    mean. ``latent`` is the GLOSH outlier score of the mean.
    """
    assert DETECTORS == ("vae", "latent")
    return np.stack([reconstruction_error + kl, outlier], axis=1).astype(np.float32)


def needed(settings: Settings) -> dict[str, Any]:
    """Return the settings that a model and the table that it scores must share."""
    names = ("spectrogram", "window", "background")
    return {name: getattr(settings, name).model_dump(mode="json") for name in names}


def fit_reference(
    store: Store, manifest: dict[str, Any], vae: Vae, vae_version: str, settings: Settings, device: str
) -> Reference:
    """Fit clusters on training windows and calibrate every detector on the calibration blocks.

    Reference windows are not clean: those whose raw score lies far above the rest, by any detector, are taken
    for events and left out of the calibration (see `Calibration.fit`).

    Parameters
    ----------
    store : Store
    manifest : dict
        The training set; see `models.training_set.build_manifest`.
    vae : Vae
    vae_version : str
    settings : Settings
    device : str
    """
    detection = settings.detection
    train, _ = load_bank(store, manifest, "train", detection.reference_windows, detection.seed)
    held_out, where = load_bank(store, manifest, "calibration")
    clusters = fit_clusters(encode_bank(vae, train, device).mu, detection)
    encoded = encode_bank(vae, held_out, device)
    label, _, outlier = assign(clusters, encoded.mu)
    scores = scores_of(encoded.mu, encoded.reconstruction_error, encoded.kl, outlier)
    fits = {name: Calibration.fit(scores[:, i], detection.trim_mads) for i, name in enumerate(DETECTORS)}
    quiet = np.all([fits[name].is_quiet(scores[:, i]) for i, name in enumerate(DETECTORS)], axis=0)
    calibrations = {name: Calibration.fit(scores[quiet, i], trim_mads=np.inf) for i, name in enumerate(DETECTORS)}
    fused = _supported_all(where, fuse(calibrations, scores), manifest["spectrogram"]["group_channels"])
    calibrations["fused"] = Calibration.fit(fused[quiet], trim_mads=np.inf)
    note = {
        "reference_windows": len(train),
        "calibration_windows": len(held_out),
        "taken_for_events": round(float(1 - quiet.mean()), 5),
        "clusters": cluster_quality(encoded.mu, label),
    }
    return Reference(vae_version, clusters, calibrations, needed(settings), note)


def fuse(calibrations: dict[str, Calibration], scores: np.ndarray) -> np.ndarray:
    """Return −log10 of the Cauchy combination of the detectors' p-values, float64, shape (n,)."""
    p = np.stack([calibrations[name].p_values(scores[:, i]) for i, name in enumerate(DETECTORS)], axis=1)
    return -np.log10(combine(p))


def supported(channel: ChannelScores, beside: list[ChannelScores], step: int = 1) -> np.ndarray:
    """Return the mean fused score over a window's surroundings, float64, shape (n_windows,).

    What happens on the ground reaches neighbouring channels and lasts longer than the shift between windows; noise
    does neither. The surroundings are windows within `SUPPORT_NS` on this channel and on those next to it.

    Parameters
    ----------
    channel : ChannelScores
    beside : list of ChannelScores
        Others; those of another fibre or farther than one step away are not neighbours.
    step : int
        From one channel number to the next: the size of groups of channels.
    """
    total, count = np.zeros(len(channel.score)), np.zeros(len(channel.score))
    for other in (channel, *beside):
        if other.fibre == channel.fibre and abs(other.channel - channel.channel) <= step:
            first = np.searchsorted(other.start_ns, channel.start_ns - SUPPORT_NS, side="left")
            last = np.searchsorted(other.start_ns, channel.start_ns + SUPPORT_NS, side="right")
            sums = np.concatenate([[0.0], np.cumsum(other.score)])
            total += sums[last] - sums[first]
            count += last - first
    return total / np.maximum(count, 1)


def _supported_all(where: WindowIndex, fused: np.ndarray, step: int) -> np.ndarray:
    """Apply `supported` to the windows of a bank."""
    rows = _groups(where)
    channels = {key: ChannelScores(key[1], key[2], where.start_ns[at], fused[at]) for key, at in rows.items()}
    out = np.empty(len(fused))
    for (day, fibre, number), at in rows.items():
        beside = [channels[k] for n in (number - step, number + step) if (k := (day, fibre, n)) in channels]
        out[at] = supported(channels[day, fibre, number], beside, step)
    return out


def _groups(where: WindowIndex) -> dict[tuple[str, str, int], np.ndarray]:
    """Return the positions of each day, fibre and channel, in order of time."""
    order = np.lexsort((where.start_ns, where.channel, where.fibre.astype(str), where.day.astype(str)))
    columns = [column[order] for column in (where.day, where.fibre, where.channel)]
    border = np.flatnonzero(np.any([column[1:] != column[:-1] for column in columns], axis=0)) + 1
    parts = np.split(order, border) if len(order) else []
    return {(where.day[at[0]], where.fibre[at[0]], int(where.channel[at[0]])): at for at in parts}


def save_reference(store: Store, reference: Reference) -> str:
    """Store a reference model and return its version; making it live is a separate step."""
    tensors = {"points": reference.clusters.points}
    tensors |= {f"calibration.{name}": c.scores for name, c in reference.calibrations.items()}
    description = {
        "vae_version": reference.vae_version,
        "clusters": reference.clusters.parameters(),
        "calibrations": {name: c.to_dict() for name, c in reference.calibrations.items()},
        "settings": reference.settings,
        "note": reference.note,
    }
    return checkpoints.save(store, NAME, tensors, description)


def load_reference(store: Store, version: str | None = None) -> Reference:
    """Return a reference model, the live one by default.

    Raises
    ------
    checkpoints.CheckpointError
        Where there is none, or it is damaged.
    """
    version = version or checkpoints.live(store, NAME)
    if version is None:
        raise checkpoints.CheckpointError("there is no reference model yet: run the job train first")
    tensors, d = checkpoints.load(store, NAME, version)
    calibrations = {
        name: Calibration.from_dict(c, tensors[f"calibration.{name}"]) for name, c in d["calibrations"].items()
    }
    clusters = refit(tensors["points"], d["clusters"])
    return Reference(d["vae_version"], clusters, calibrations, d["settings"], d["note"], version)


def require_fit(reference: Reference, metadata: dict[str, Any], settings: Settings, day: str) -> None:
    """Refuse to score a day with a model that was made for other settings.

    Parameters
    ----------
    reference : Reference
    metadata : dict
        That of the day of `spectrograms`.
    settings : Settings
        Those in force.
    day : str

    Raises
    ------
    IncompatibleModelError
        Naming what differs, and what to do.
    """
    have = needed(settings) | {"spectrogram": metadata["settings"]}
    for section, wanted in reference.settings.items():
        if differs := [key for key in wanted if have[section].get(key) != wanted[key]]:
            names = ", ".join(
                f"{section}.{key} {have[section].get(key)} (model: {wanted[key]})" for key in differs
            )
            raise IncompatibleModelError(
                f"reference model {reference.version} does not fit {day}: {names}. "
                "Materialize the day's spectrograms with the model's settings, or run the job train."
            )
