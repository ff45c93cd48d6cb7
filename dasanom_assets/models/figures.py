"""Pictures of a training for the Dagster UI: how the loss fell, and what the network makes of windows."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dasanom_assets.models.training import encode_bank
from dasanom_assets.models.vae import Vae
from dasanom_assets.spectrograms.windows import WindowBank
from dasanom_assets.tables.metadata import thumbnail

CANDIDATES = 512
"""Windows looked at to choose those that are drawn."""

CELLS = 32
"""Cells a side that a window is drawn with, at most; more are means of neighbours, so that noise stays small."""

_BLUE, _ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito: told apart without seeing red and green


def loss_curves(history: list[dict[str, Any]], dpi: int = 72) -> bytes:
    """Return a PNG of the losses by epoch, and of the KL and active units by epoch.

    Parameters
    ----------
    history : list of dict
        See `training.TrainedVae`.
    dpi : int
        Dots an inch; the picture is 8 × 2.8 inches.
    """
    figure = Figure(figsize=(8, 2.8), dpi=dpi, layout="constrained")
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
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    return thumbnail(figure)


def reconstructions(
    model: Vae, bank: WindowBank, n: int = 6, centre_hz: np.ndarray | None = None, dpi: int = 72
) -> bytes:
    """Return a PNG of windows over their reconstructions over the difference.

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
    dpi : int
        Dots an inch; the picture is 8.6 inches wide.
    """
    some = np.linspace(0, len(bank) - 1, min(len(bank), CANDIDATES)).astype(int)
    device = str(model.band_spread.device)
    error = encode_bank(model, bank.subset(some), device)
    ranked = np.argsort(error.reconstruction_error)
    drawn = ranked[np.linspace(0, len(ranked) - 1, min(n, len(ranked))).astype(int)]
    windows = np.stack([bank.window(i) for i in some[drawn]])
    with torch.inference_mode():
        means = model.decode(torch.from_numpy(error.mu[drawn]).to(device))[:, 0].cpu().numpy()

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
    figure = Figure(figsize=(8.6, 5.0), dpi=dpi, layout="constrained")
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
        axes.set_title(f"{error.reconstruction_error[i]:.0f} nats", fontsize=10)
    for axes in grid[-1]:
        axes.set_xlabel("time (s)")
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    ticks = np.linspace(0, bands - 1, 4).astype(int)
    labels = ticks if centre_hz is None else [f"{hz:.0f}" for hz in np.asarray(centre_hz)[ticks]]
    for axes in grid[:, 0]:
        axes.set_yticks(ticks + 0.5, labels)
        axes.set_ylabel("band" if centre_hz is None else "frequency (Hz)")
    return thumbnail(figure)


def _coarse(pictures: np.ndarray, axis: int) -> np.ndarray:
    """Return means of neighbours along an axis, so that at most `CELLS` remain."""
    n = pictures.shape[axis]
    starts = np.arange(0, n, -(-n // CELLS))
    counts = np.diff(np.append(starts, n)).reshape([-1 if i == axis else 1 for i in range(3)])
    return np.add.reduceat(pictures, starts, axis=axis) / counts
