"""Dissimilarity of clips to those learned from: what `temporal` measures of minutes, for clips."""

import numpy as np
from sklearn.decomposition import PCA

from dasanom_assets.detection.minutes.gaussians import Gaussians, divergence, fit_gaussians
from dasanom_assets.evaluation.clips import Usual
from dasanom_assets.settings import BackgroundSettings
from dasanom_assets.spectrograms.white_rows import whiten

DIMENSIONS = 10
"""Principal components of whitened frames that a clip's Gaussian is fitted in."""


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
    channels = [channel.reshape(-1, channel.shape[-1]) for clip in white for channel in clip]
    of_clip = np.repeat(np.arange(len(levels)), [len(clip) for clip in levels])
    learned = np.concatenate([channels[i] for i in np.flatnonzero(np.isin(of_clip, train))])
    pca = PCA(min(DIMENSIONS, learned.shape[1]), svd_solver="covariance_eigh").fit(learned)
    frames = np.full((len(channels), max(map(len, channels)), pca.n_components_), np.nan, np.float32)
    for row, channel in zip(frames, channels, strict=True):
        row[: len(channel)] = pca.transform(channel)
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
