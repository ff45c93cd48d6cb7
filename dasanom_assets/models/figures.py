"""Pictures of a training: how the loss fell, what the network makes of windows, and where it places them."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dasanom_assets.models.encoding import Encoded, encode_bank
from dasanom_assets.models.training import ACTIVE_VARIANCE, NARROW_VARIANCE, TrainedVae
from dasanom_assets.models.vae import Vae
from dasanom_assets.spectrograms.windows import WindowBank

CANDIDATES = 512
"""Windows looked at to choose those that are drawn."""

CELLS = 32
"""Cells a side that a window is drawn with, at most; more are means of neighbours, so that noise stays small."""

DPI = 72
"""Dots an inch, as fit into an event."""

_BLUE, _ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito: told apart without seeing red and green


def vae_figures(trained: TrainedVae, bank: WindowBank) -> dict[str, Figure]:
    """Return all figures of a training by their names; `bank` holds windows that were not learned from."""
    return {
        "loss": loss_curves(trained.history),
        "reconstructions": reconstructions(trained.model, bank),
        "latent_space": latent_space(trained.model, bank),
    }


def loss_curves(history: list[dict[str, Any]]) -> Figure:
    """Draw the losses by epoch, and the KL of each dimension in the best epoch, 8 × 2.8 inches.

    Parameters
    ----------
    history : list of dict
        See `training.TrainedVae`.
    """
    figure = Figure(figsize=(8, 2.8), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    column = {key: [row[key] for row in history] for key in history[0]}
    epoch = column["epoch"]
    best = int(np.nanargmin(column["validation_loss"]))
    left.plot(epoch, column["train_loss"], color=_BLUE, marker="o", markersize=3, label="training")
    left.plot(epoch, column["validation_loss"], color=_ORANGE, marker="o", markersize=3, label="validation")
    left.plot(
        epoch[best], column["validation_loss"][best], "o", markersize=10, mfc="none", color=_ORANGE, label="best"
    )
    left.set(ylabel="loss (nats a window)", title="Loss")
    left.legend(frameon=False)
    per_dimension = sorted(column["kl_per_dimension"][best], reverse=True)
    right.bar(range(1, len(per_dimension) + 1), per_dimension, color=_BLUE)
    right.set_xlim(0.4, len(per_dimension) + 0.6)
    right.set(
        xlabel="latent dimension, by KL",
        ylabel="KL (nats)",
        title=f"Best epoch: {column['active_units'][best]} of {column['latent'][best]} units active",
    )
    left.set_xlabel("epoch")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    return figure


def reconstructions(model: Vae, bank: WindowBank, n: int = 6, centre_hz: np.ndarray | None = None) -> Figure:
    """Draw windows over their reconstructions over the difference, 8.6 × 5 inches.

    The windows are spread evenly over the ranks of the negative log-likelihood, from the most usual to the least.

    Parameters
    ----------
    model : Vae
    bank : WindowBank
        At least one window.
    n : int
        Windows to draw, at most.
    centre_hz : numpy.ndarray, optional
        Centre frequency of each band, Hz, shape (bands,).
    """
    positions, encoded = _encoded(model, bank)
    device = model.band_spread.device
    ranked = np.argsort(encoded.reconstruction_error)
    drawn = ranked[np.linspace(0, len(ranked) - 1, min(n, len(ranked))).astype(int)]
    windows = np.stack([bank.window(i) for i in positions[drawn]])
    with torch.inference_mode():
        means = model.mean(model.decode(torch.from_numpy(encoded.mu[drawn]).to(device)))[:, 0].cpu().numpy()

    windows, means = _coarse(_coarse(windows, 1), 2), _coarse(_coarse(means, 1), 2)
    low, high = np.percentile(windows, [1, 99.5])
    spread = float(np.percentile(np.abs(windows - means), 99.5))
    levels = {"cmap": "viridis", "vmin": low, "vmax": high}
    rows: list[tuple[str, np.ndarray, dict[str, Any]]] = [
        ("window", windows, levels),
        ("reconstruction", means, levels),
        ("difference", windows - means, {"cmap": "RdBu_r", "vmin": -spread, "vmax": spread}),
    ]
    bands = bank.window_shape[1]
    figure = Figure(figsize=(8.6, 5.0), dpi=DPI, layout="constrained")
    grid = figure.subplots(3, len(drawn), sharex=True, sharey=True, squeeze=False)
    for axes_row, (name, pictures, scale) in zip(grid, rows, strict=True):
        for axes, picture in zip(axes_row, pictures, strict=True):
            image = axes.imshow(
                picture.T,
                origin="lower",
                aspect="auto",
                interpolation="nearest",
                extent=(0, bank.rows_per_window, 0, bands),
                **scale,
            )
        figure.colorbar(image, ax=axes_row, label=name, aspect=12, pad=0.01)
    for axes, i in zip(grid[0], drawn, strict=True):
        axes.set_title(f"{encoded.reconstruction_error[i]:.0f} nats", fontsize=10)
    for axes in grid[-1]:
        axes.set_xlabel("time (s)")
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    ticks = np.linspace(0, bands - 1, 4).astype(int)
    labels = ticks if centre_hz is None else [f"{hz:.0f}" for hz in np.asarray(centre_hz)[ticks]]
    for axes in grid[:, 0]:
        axes.set_yticks(ticks + 0.5, labels)
        axes.set_ylabel("band" if centre_hz is None else "frequency (Hz)")
    return figure


def latent_space(model: Vae, bank: WindowBank) -> Figure:
    """Draw where windows lie on the two main axes of their latent means, and how each dimension is used.

    A dimension in use has means that vary from window to window, and posteriors narrower than the prior, whose
    variance is 1. The picture is 8 × 3.4 inches.

    Parameters
    ----------
    model : Vae
    bank : WindowBank
        At least one window.
    """
    _, encoded = _encoded(model, bank)
    mu = encoded.mu - encoded.mu.mean(axis=0)
    axis = np.linalg.svd(mu, full_matrices=False)[2]
    plane = np.pad(mu @ axis[:2].T, ((0, 0), (0, 2)))[:, :2]
    figure = Figure(figsize=(8, 3.4), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    error = encoded.reconstruction_error
    low, high = np.percentile(error, [1, 99])
    points = left.scatter(*plane.T, c=error, s=7, cmap="viridis", vmin=low, vmax=high, linewidths=0)
    figure.colorbar(points, ax=left, label="negative log-likelihood (nats)")
    left.set(xlabel="first principal axis of the means", ylabel="second", title=f"{len(error)} validation windows")
    of_means = mu.var(axis=0)
    order = np.argsort(-of_means)
    rank = np.arange(1, len(order) + 1)
    right.semilogy(rank, of_means[order], "o", markersize=5, color=_BLUE, label="of the means")
    within = np.exp(encoded.logvar).mean(axis=0)[order]
    right.semilogy(rank, within, "s", markersize=4, color=_ORANGE, label="of the posteriors, mean")
    right.axhline(NARROW_VARIANCE, color=_ORANGE, linewidth=1, linestyle="--", label="narrower than the prior")
    right.axhline(ACTIVE_VARIANCE, color=_BLUE, linewidth=1, linestyle="--", label="means that vary")
    right.set(xlabel="latent dimension, ranked", ylabel="variance", title="Use of the dimensions")
    right.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    lines = right.get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower right", ncols=2, frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _encoded(model: Vae, bank: WindowBank) -> tuple[np.ndarray, Encoded]:
    """Return positions of `CANDIDATES` windows, and what the network makes of these."""
    evenly = np.linspace(0, len(bank) - 1, min(len(bank), CANDIDATES)).astype(int)
    return evenly, encode_bank(model, bank.subset(evenly), str(model.band_spread.device))


def _coarse(pictures: np.ndarray, axis: int) -> np.ndarray:
    """Return means of neighbours along an axis, so that at most `CELLS` remain."""
    n = pictures.shape[axis]
    starts = np.arange(0, n, -(-n // CELLS))
    counts = np.diff(np.append(starts, n)).reshape([-1 if i == axis else 1 for i in range(3)])
    return np.add.reduceat(pictures, starts, axis=axis) / counts
