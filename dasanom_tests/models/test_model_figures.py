"""Thumbnails are pictures that fit into an event, whatever the training and the windows were like."""

import io
from dataclasses import asdict

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from dasanom_assets.models.figures import latent_space, loss_curves, reconstructions
from dasanom_assets.models.training import EpochReport
from dasanom_assets.models.vae import Vae
from dasanom_assets.settings import VaeSettings
from dasanom_assets.spectrograms.windows import WindowBank
from dasanom_assets.tables.metadata import LARGEST_PICTURE, png, thumbnail


def history(n: int) -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        asdict(
            EpochReport(
                i + 1, n, 5000 / (i + 1), 5100 / (i + 1), 5090, 10, 12, 16, rng.random(16).tolist(), False, 4
            )
        )
        for i in range(n)
    ]


def noise(frames: int, bands: int, n: int = 20) -> WindowBank:
    rows = np.random.default_rng(1).normal(size=(n + 7, frames // 8, bands)).astype(np.float32)
    return WindowBank(rows, np.arange(n), 8)


def opened(figure: Figure) -> Image.Image:
    small = thumbnail(figure)
    assert len(small) <= LARGEST_PICTURE
    return Image.open(io.BytesIO(small))


def test_noise_is_made_smaller_until_it_fits_into_an_event() -> None:
    figure = Figure(figsize=(6, 4))
    figure.figimage(np.random.default_rng(0).random((400, 600)))
    assert 100 < opened(figure).width < 600


@pytest.mark.parametrize("epochs", [1, 20])
def test_loss_curves_fit_into_an_event(epochs: int) -> None:
    assert opened(loss_curves(history(epochs))).format == "PNG"


def test_a_training_that_lost_its_way_is_drawn() -> None:
    lost = history(3)
    lost[2]["validation_loss"] = float("nan")
    assert opened(loss_curves(lost)).format == "PNG"


@pytest.mark.parametrize(("frames", "bands", "n"), [(64, 64, 20), (16, 16, 3), (40, 77, 1)])
def test_windows_of_noise_fit_into_an_event(frames: int, bands: int, n: int) -> None:
    model = Vae(frames, bands, VaeSettings(latent=2, widths=(4, 8)))
    picture = opened(reconstructions(model, noise(frames, bands, n), centre_hz=np.linspace(8, 1000, bands)))
    assert picture.width == 619
    larger = Image.open(io.BytesIO(png(reconstructions(model, noise(frames, bands, n)), dpi=144)))
    assert abs(larger.width - 2 * picture.width) <= 1


@pytest.mark.parametrize(("latent", "n"), [(16, 60), (1, 20), (2, 1)])
def test_latent_spaces_of_any_size_fit_into_an_event(latent: int, n: int) -> None:
    model = Vae(16, 16, VaeSettings(latent=latent, widths=(4, 8))).eval()
    assert opened(latent_space(model, noise(16, 16, n))).format == "PNG"


def test_what_is_drawn_of_a_bernoulli_likelihood_are_its_means() -> None:
    torch.manual_seed(0)
    model = Vae(16, 16, VaeSettings(latent=2, widths=(4, 8), likelihood="bernoulli")).eval()
    bank = noise(16, 16)
    within = WindowBank(1 / (1 + np.exp(-bank.rows)), bank.first, 8)
    axes = reconstructions(model, within).axes
    drawn = [image.get_array() for panel in axes[6:12] for image in panel.get_images()]
    assert len(drawn) == 6
    assert all(
        0.3 < picture.min() <= picture.max() < 0.7 for picture in drawn
    )  # an untrained network says one half


def test_the_least_likely_window_is_drawn_last() -> None:
    bank = noise(16, 16, 60)
    bank.rows[30:32] = 12.0
    model = Vae(16, 16, VaeSettings(latent=2, widths=(4, 8)))
    axes = reconstructions(model, bank, n=3).axes
    loudest = [image.get_array().max() for panel in axes[:3] for image in panel.get_images()]
    assert loudest[2] == 12.0 > max(loudest[:2])
