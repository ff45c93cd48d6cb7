"""Pictures of a training of infoGAN: how the losses went, what codes make, and how windows come back."""

import math
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dasanom_assets.models.infogan import InfoGan, draw
from dasanom_assets.models.infogan_training import TrainedInfoGan
from dasanom_assets.spectrograms.windows import WindowBank

DPI = 72
"""Dots an inch, as fit into an event."""

COLUMNS, PANELS = 6, 2
"""Values of a continuous code that are drawn, and codes."""

_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"  # Okabe and Ito: told apart without seeing red and green


def infogan_figures(trained: TrainedInfoGan, bank: WindowBank) -> dict[str, Figure]:
    """Return all figures of a training by their names; `bank` holds windows that were not learned from."""
    return {"losses": loss_curves(trained), "samples": code_samples(trained.model)}


def loss_curves(trained: TrainedInfoGan) -> Figure:
    """Draw by epoch the adversarial losses, what is known of the codes, and the reconstruction, 9 × 3.5 inches."""
    categories = trained.model.settings.categories
    column: dict[str, Any] = {
        key: [np.nan if row[key] is None else row[key] for row in trained.history] for key in trained.history[0]
    }
    figure = Figure(figsize=(9, 3.5), dpi=DPI, layout="constrained")
    losses, codes, error = figure.subplots(1, 3)
    losses.plot(column["epoch"], column["discriminator_loss"], color=_BLUE, marker="o", label="discriminator")
    losses.plot(column["epoch"], column["generator_loss"], color=_ORANGE, marker="s", label="generator")
    losses.axhline(2 * math.log(2), color="0.4", linewidth=1, linestyle="--")
    losses.set(ylabel="cross-entropy (nats)", title="Losses (dashed: a guess)")
    codes.plot(
        column["epoch"], column["categorical_information"], color=_BLUE, marker="o", label="category, generated"
    )
    codes.plot(
        column["epoch"], column["category_information"], color=_GREEN, marker="^", label="category, validation"
    )
    codes.plot(column["epoch"], column["continuous_information"], color=_ORANGE, marker="s", label="continuous")
    codes.axhline(math.log(categories), color="0.4", linewidth=1, linestyle="--")
    codes.set(ylabel="information (nats)", title=f"Codes (dashed: log {categories})")
    error.plot(column["epoch"], column["reconstruction"], color=_BLUE, marker="o")
    error.set(ylabel="mean square error", title="Reconstruction", ylim=(0, None))
    for axes in (losses, codes, error):
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, len(trained.history) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        for line in axes.lines:
            line.set_markersize(3)
    for axes in (losses, codes):
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return figure


def code_samples(model: InfoGan) -> Figure:
    """Draw generated windows of one draw of noise: categories down, values of a continuous code across.

    The first `PANELS` continuous codes have a panel each, in which the others are 0.
    """
    settings = model.settings
    device = next(model.parameters()).device
    panels = min(PANELS, settings.continuous)
    latent, _, _ = draw(1, settings, torch.Generator(device).manual_seed(settings.seed))
    values = torch.linspace(-1, 1, COLUMNS, device=device)
    points = latent.repeat(panels, settings.categories, COLUMNS, 1)
    points[..., settings.noise :] = 0
    for category in range(settings.categories):
        points[:, category, :, settings.noise + category] = 1
    for panel in range(panels):
        points[panel, ..., settings.noise + settings.categories + panel] = values
    model.eval()
    with torch.inference_mode():
        made = model.unscaled(model.generator(points.reshape(-1, points.shape[-1])))[:, 0].cpu().numpy()
    made = made.reshape(panels, settings.categories, COLUMNS, model.frames, model.bands)
    low, high = np.percentile(made, [1, 99.5])

    figure = Figure(figsize=(4.3 * panels, 0.62 * settings.categories + 1), dpi=DPI, layout="constrained")
    figure.suptitle("Generated windows (time to the right, bands upwards)", fontsize=11)
    for panel, axes in enumerate(np.atleast_1d(figure.subplots(1, panels, sharey=True))):
        # Time runs to the right and bands upwards in each window, and categories downwards.
        rows = [
            np.concatenate([np.pad(window.T[::-1], 1, constant_values=np.nan) for window in row], axis=1)
            for row in made[panel]
        ]
        image = axes.imshow(
            np.concatenate(rows),
            cmap="viridis",
            vmin=low,
            vmax=high,
            aspect="auto",
            interpolation="nearest",
            extent=(0, COLUMNS, settings.categories, 0),
        )
        axes.set_xticks(np.arange(COLUMNS) + 0.5, [f"{value:.1f}" for value in values.tolist()])
        axes.set_yticks(np.arange(settings.categories) + 0.5, [str(i + 1) for i in range(settings.categories)])
        axes.tick_params(length=0)
        axes.set_xlabel(f"continuous code {panel + 1}")
        axes.spines[:].set_visible(False)
        if not panel:
            axes.set_ylabel("category")
    figure.colorbar(image, ax=figure.axes, label="level, as windows have it", aspect=25, pad=0.01)
    return figure
