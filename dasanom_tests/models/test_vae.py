"""The network takes any window, and the terms of its objective are what their formulas say."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal, kl_divergence

from dasanom_assets.models.vae import LOGVAR_LIMIT, Enlarge, Vae, kl, negative_log_bernoulli, negative_log_gaussian
from dasanom_assets.settings import VaeSettings

SMALL = VaeSettings(latent=3, widths=(4, 8, 8))


@settings(deadline=None, max_examples=15)
@given(frames=st.integers(8, 80), bands=st.integers(8, 80), n=st.integers(1, 3))
def test_windows_of_any_shape_come_back_in_that_shape(frames: int, bands: int, n: int) -> None:
    model = Vae(frames, bands, SMALL).eval()
    mu, logvar = model.encode(torch.randn(n, 1, frames, bands))
    assert mu.shape == logvar.shape == (n, 3)
    assert model.decode(mu).shape == (n, 1, frames, bands)
    assert model.logvar.shape == (bands,)


@settings(deadline=None, max_examples=15)
@given(
    n=st.integers(1, 3),
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    wide=st.integers(1, 4),
    narrow=st.integers(1, 4),
    factor=st.integers(1, 4),
)
def test_enlarging_is_torchs_pixel_shuffle_with_channels_in_another_order(
    n: int, rows: int, columns: int, wide: int, narrow: int, factor: int
) -> None:
    layer = Enlarge(wide, narrow, factor)
    x = torch.randn(n, wide, rows, columns)
    made = torch.nn.functional.conv2d(x, layer.weight, layer.bias).unflatten(1, (factor**2, narrow))
    wanted = torch.nn.functional.pixel_shuffle(made.transpose(1, 2).flatten(1, 2), factor)
    points = layer(x.permute(0, 2, 3, 1)).permute(0, 5, 1, 3, 2, 4)
    torch.testing.assert_close(points.reshape(wanted.shape), wanted)


@pytest.mark.parametrize("widths", [(4,), (4, 8), (4, 8, 8, 16)])
def test_depth_follows_the_settings(widths: tuple[int, ...]) -> None:
    model = Vae(20, 33, VaeSettings(latent=2, widths=widths)).eval()
    assert model.decode(model.encode(torch.zeros(1, 1, 20, 33))[0]).shape == (1, 1, 20, 33)
    assert [m.out_channels for m in model.encoder if isinstance(m, torch.nn.Conv2d)] == list(widths)


def test_every_pixel_reaches_the_code_and_every_code_reaches_the_pixels() -> None:
    torch.manual_seed(0)
    model = Vae(19, 21, SMALL).eval()
    x = torch.randn(1, 1, 19, 21, requires_grad=True)
    mu, _ = model.encode(x)
    mu.square().sum().backward()
    assert (x.grad != 0).all()
    z = torch.randn(1, 3)
    moved = model.decode(z + 1) - model.decode(z)
    assert (moved != 0).all()


def test_likelihood_is_that_of_independent_gaussians_summed_over_pixels() -> None:
    generator = torch.Generator().manual_seed(1)
    x, mean = torch.randn(2, 4, 1, 12, 9, generator=generator)
    logvar = torch.linspace(-3, 3, 9)
    expected = -Normal(mean, torch.exp(0.5 * logvar)).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(negative_log_gaussian(x, mean, logvar), expected)
    model = Vae(12, 9, SMALL)
    torch.testing.assert_close(
        model.negative_log_likelihood(x, mean), negative_log_gaussian(x, mean, model.logvar)
    )
    assert model.mean(mean) is mean


def test_bernoulli_loss_is_the_cross_entropy_summed_over_pixels_and_least_at_the_windows_own_values() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(4, 1, 12, 9, generator=generator)
    logits = torch.randn(4, 1, 12, 9, generator=generator)
    model = Vae(12, 9, SMALL.model_copy(update={"likelihood": "bernoulli"}))
    loss = model.negative_log_likelihood(x, logits)
    torch.testing.assert_close(loss, negative_log_bernoulli(x, logits))
    p = model.mean(logits)
    torch.testing.assert_close(loss, -(x * p.log() + (1 - x) * (1 - p).log()).sum(dim=(1, 2, 3)))
    whole = x.round()
    expected = -Bernoulli(logits=logits).log_prob(whole).sum(dim=(1, 2, 3))
    torch.testing.assert_close(negative_log_bernoulli(whole, logits), expected)
    assert (negative_log_bernoulli(x, torch.logit(x)) < loss).all()
    assert not model.band_spread.requires_grad


def test_the_variance_starts_as_that_of_the_windows_in_each_band() -> None:
    spread = torch.linspace(0.2, 3, 9)
    x = torch.randn(300, 1, 12, 9, generator=torch.Generator().manual_seed(4)) * spread
    model = Vae(12, 9, SMALL)
    model.start_from(x)
    torch.testing.assert_close(torch.exp(0.5 * model.logvar), spread, rtol=0.05, atol=0)
    model.start_from(0 * x)  # silence has a variance, too
    assert torch.isfinite(model.logvar).all()


@pytest.mark.parametrize("free_bits", [0.05, 0.125])
def test_each_dimension_keeps_its_free_bits_whatever_the_encoder_does(free_bits: float) -> None:
    model = Vae(16, 16, SMALL.model_copy(update={"free_bits": free_bits})).train()
    with torch.no_grad():
        model.posterior.weight.mul_(10)
        model.posterior.bias.add_(3.0)
    mu, logvar = model.encode(torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(5)))
    least = kl(mu, torch.zeros_like(logvar)).mean(dim=0)  # the posterior's variance can only add to it
    torch.testing.assert_close(least, torch.full((3,), free_bits), rtol=0.02, atol=0)


def test_weights_and_images_are_channels_last_and_points_lie_side_by_side_all_the_way() -> None:
    model = Vae(64, 64, VaeSettings())
    seen: dict[str, bool] = {}

    def look(name: str):
        layout = torch.channels_last if name.startswith("encoder") else torch.contiguous_format
        return lambda _module, _given, out: seen.update({name: out.is_contiguous(memory_format=layout)})

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.LeakyReLU):
            module.register_forward_hook(look(name))
    model.decode(model.encode(torch.randn(4, 1, 64, 64))[0]).sum().backward()
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(seen) == 11
    assert all(seen.values()), seen
    assert all(m.weight.is_contiguous(memory_format=torch.channels_last) for m in convolutions)
    assert all(m.weight.grad.is_contiguous(memory_format=torch.channels_last) for m in convolutions)


def test_kl_is_the_closed_form() -> None:
    generator = torch.Generator().manual_seed(2)
    mu, logvar = 2 * torch.randn(2, 50, 4, generator=generator)
    expected = kl_divergence(Normal(mu, torch.exp(0.5 * logvar)), Normal(0.0, 1.0))
    torch.testing.assert_close(kl(mu, logvar), expected, rtol=1e-5, atol=1e-6)


def test_kl_is_the_mean_log_ratio_of_samples() -> None:
    generator = torch.Generator().manual_seed(3)
    mu, logvar = torch.tensor([[0.0, 1.5, -0.3]]), torch.tensor([[0.0, -1.0, 0.8]])
    z = mu + torch.exp(0.5 * logvar) * torch.randn(400_000, 3, generator=generator)
    ratio = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    error = ratio.std(dim=0) / np.sqrt(len(z))
    assert (torch.abs(kl(mu, logvar)[0] - ratio.mean(dim=0)) <= 5 * error).all()


def test_the_spread_of_a_band_cannot_run_away() -> None:
    model = Vae(8, 8, SMALL)
    with torch.no_grad():
        model.band_spread.copy_(torch.linspace(-1e4, 1e4, 8))
    assert model.logvar.abs().max() <= LOGVAR_LIMIT
    with torch.no_grad():
        model.band_spread.fill_(0.1)
    torch.testing.assert_close(model.logvar, torch.full((8,), 0.1), rtol=1e-3, atol=0)
