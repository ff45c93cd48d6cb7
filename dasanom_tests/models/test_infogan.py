"""The networks take any window, stay in the generator's range, and their losses are what their formulas say."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import log_loss, mutual_info_score
from torch import nn
from torch.distributions import Normal

from dasanom_assets.models.infogan import (
    LOGVAR_LIMIT,
    Enlarge,
    InfoGan,
    Judgement,
    adversarial_loss,
    code_losses,
    consistency_loss,
    draw,
    latent_size,
    moved,
)
from dasanom_assets.settings import InfoGanSettings

SMALL = InfoGanSettings(categories=5, continuous=2, noise=3, widths=(4, 8), features=6)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def judgement(category: torch.Tensor, mean: torch.Tensor, logvar: torch.Tensor) -> Judgement:
    return Judgement(torch.empty(0), torch.empty(0), category, mean, logvar)


@settings(deadline=None, max_examples=15)
@given(frames=st.integers(8, 80), bands=st.integers(8, 80), n=st.integers(2, 4), patch=st.sampled_from([2, 4]))
def test_windows_of_any_shape_come_back_in_that_shape_and_range(
    frames: int, bands: int, n: int, patch: int
) -> None:
    model = InfoGan(frames, bands, (-5, 15), SMALL.model_copy(update={"patch": patch}))
    latent, category, continuous = draw(n, SMALL, generator())
    assert latent.shape == (n, latent_size(SMALL))
    made = model.generator(latent)
    assert made.shape == (n, 1, frames, bands)
    assert made.abs().max() <= 1
    judged = model.discriminator(made)
    assert judged.features.shape == (n, 6)
    assert judged.real.shape == (n,)
    assert judged.category.shape == (n, 5)
    assert judged.mean.shape == judged.logvar.shape == continuous.shape == (n, 2)
    assert model.encoder(made).shape == latent.shape
    assert category.shape == (n,)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([2, 4, 6]), st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.booleans())
def test_enlarging_is_torchs_transposed_convolution_gradients_included(
    stride: int, wide: int, narrow: int, rows: int, bias: bool
) -> None:
    torch.manual_seed(0)
    shape = {"stride": stride, "padding": stride // 2, "bias": bias}
    expected, result = (parts(wide, narrow, 2 * stride, **shape) for parts in (nn.ConvTranspose2d, Enlarge))
    result.load_state_dict(expected.state_dict())
    x = torch.randn(2, wide, rows, rows + 1)
    for layer in (expected, result):
        layer(x).square().sum().backward()
    torch.testing.assert_close(result(x), expected(x))
    torch.testing.assert_close(result.weight.grad, expected.weight.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("levels", [(-5.0, 15.0), (0.0, 1.0)])
def test_whitened_minmax_and_mnist_values_fill_the_range_of_the_generator(levels: tuple[float, float]) -> None:
    model = InfoGan(8, 8, levels, SMALL)
    x = torch.linspace(*levels, 101)
    y = model.scaled(x)
    assert y.min() == -1
    assert y.max() == 1
    torch.testing.assert_close(model.unscaled(y), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(y, torch.linspace(-1, 1, 101), rtol=0, atol=1e-6)
    assert model.scaled(torch.tensor([levels[0] - 9, levels[1] + 9])).tolist() == [-1, 1]


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no range"):
        InfoGan(8, 8, (3, 3), SMALL)


def test_two_categories_for_normal_and_abnormal_are_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 5"):
        InfoGanSettings(categories=2)


def test_momentum_of_batch_norm_is_not_its_epsilon() -> None:
    norms = [m for m in InfoGan(16, 16, (0, 1), SMALL).modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) >= 4
    assert {(m.eps, m.momentum) for m in norms} == {(1e-5, 0.1)}


def test_the_encoder_names_points_that_the_generator_knows() -> None:
    model = InfoGan(16, 16, (0, 1), SMALL)
    point = model.encoder(10 * torch.randn(4, 1, 16, 16, generator=generator()))
    torch.testing.assert_close(point[:, 3:8].sum(dim=1), torch.ones(4))
    assert (point[:, 3:8] >= 0).all()
    assert (point[:, 8:].abs() <= 1).all()


def test_in_eval_mode_a_window_is_judged_alike_alone_and_among_others() -> None:
    model = InfoGan(16, 16, (0, 1), SMALL)
    x = torch.randn(6, 1, 16, 16, generator=generator())
    model.discriminator(x)
    model.eval()
    together, again = model.discriminator(x), model.discriminator(x)
    for one, other in zip(together, again, strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(model.discriminator(x[2:3]).features, together.features[2:3])
    model.train()
    assert not torch.allclose(model.discriminator(x[2:4]).features, together.features[2:4])


def test_codes_are_uniform_and_the_latent_holds_them() -> None:
    latent, category, continuous = draw(20_000, SMALL, generator())
    assert (torch.bincount(category, minlength=5) / 20_000 - 0.2).abs().max() < 0.015
    assert (latent[:, 3:8].argmax(dim=1) == category).all()
    assert (latent[:, 3:8].sum(dim=1) == 1).all()
    assert torch.equal(latent[:, 8:], continuous)
    assert continuous.abs().max() <= 1
    np.testing.assert_allclose(continuous.var(dim=0).numpy(), 1 / 3, rtol=0.03)
    np.testing.assert_allclose(latent[:, :3].std(dim=0).numpy(), 1, rtol=0.03)
    assert torch.equal(draw(9, SMALL, generator(3))[0], draw(9, SMALL, generator(3))[0])


def test_cross_entropies_take_logits() -> None:
    logits = 4 * torch.randn(300, 5, generator=generator())
    category = torch.randint(5, (300,), generator=generator(1))
    nothing = torch.zeros(300, 2)
    result, _ = code_losses(judgement(logits, nothing, nothing), category, nothing)
    expected = log_loss(category.numpy(), logits.double().softmax(dim=1).numpy(), labels=range(5))
    np.testing.assert_allclose(float(result), expected, rtol=1e-4)
    # A softmax before it would never get below log(e + 4) − 1 = 0.905.
    certain, _ = code_losses(
        judgement(40.0 * nn.functional.one_hot(category, 5), nothing, nothing), category, nothing
    )
    assert certain < 1e-4

    real, generated = 3 * torch.randn(2, 200, generator=generator(2))
    p = torch.cat([real, generated]).sigmoid().double()
    target = np.repeat([1, 0], 200)
    expected = -2 * np.log(np.where(target, p, 1 - p)).mean()
    np.testing.assert_allclose(float(adversarial_loss(real, generated, 0.0)), expected, rtol=1e-5)
    none = torch.zeros(10)
    np.testing.assert_allclose(float(adversarial_loss(none, none, 0.1)), 2 * math.log(2), rtol=1e-6)


def test_real_windows_are_best_called_as_real_as_the_smoothing_allows() -> None:
    logit = torch.linspace(-6, 6, 2401)
    low = torch.full((1,), -30.0)
    loss = torch.stack([adversarial_loss(value[None], low, 0.1) for value in logit])
    np.testing.assert_allclose(float(logit[loss.argmin()].sigmoid()), 0.9, atol=1e-3)


def test_continuous_codes_have_a_gaussian_likelihood() -> None:
    mean, logvar, code = torch.randn(3, 50, 2, generator=generator())
    _, result = code_losses(judgement(torch.zeros(50, 5), mean, logvar), torch.zeros(50, dtype=torch.long), code)
    expected = -Normal(mean, torch.exp(0.5 * logvar)).log_prob(code).sum(dim=1).mean()
    torch.testing.assert_close(result, expected)


def test_the_spread_of_a_code_cannot_run_away() -> None:
    model = InfoGan(8, 8, (0, 1), SMALL)
    with torch.no_grad():
        model.discriminator.continuous.bias.fill_(-1e4)
    assert model.discriminator(torch.randn(4, 1, 8, 8)).logvar.abs().max() <= LOGVAR_LIMIT


def test_consistency_is_divergence_less_information() -> None:
    rng = np.random.default_rng(0)
    category = rng.integers(0, 5, 400)
    certain = torch.from_numpy(60.0 * np.eye(5)[category])
    # Certain and alike: no divergence; H(category | window) is 0 and H(category) is the entropy of the labels.
    np.testing.assert_allclose(
        float(consistency_loss(certain, certain)), -0.4 * mutual_info_score(category, category), rtol=1e-6
    )
    flat = torch.zeros(400, 5)
    np.testing.assert_allclose(
        float(consistency_loss(flat, flat)), -0.1 * (4 * math.log(5) - math.log(5)), rtol=1e-5
    )
    other = torch.randn(400, 5, generator=generator())
    p, q = certain.softmax(dim=1), other.double().softmax(dim=1)
    more = float(consistency_loss(certain, other) - consistency_loss(certain, certain))
    np.testing.assert_allclose(more, float((p * (p / q).clamp(min=1e-300).log()).nansum(dim=1).mean()), rtol=1e-4)


def test_a_copy_moves_no_further_than_the_settings_say_and_along_the_right_axis() -> None:
    # A window that is its frame number over its band number: the copy tells where each pixel came from.
    time, band = torch.meshgrid(torch.arange(40.0), torch.arange(30.0), indexing="ij")
    still = {"shift": (0.0, 0.0), "stretch": 0.0, "shear": 0.0, "turn_degrees": 0.0}
    for changes, most_time, most_band in (
        ({}, 0.0, 0.0),
        ({"shift": (0.1, 0.0)}, 4.0, 0.0),
        ({"shift": (0.0, 0.1)}, 0.0, 3.0),
        ({"stretch": 0.1}, 20 * (math.exp(0.1) - 1), 15 * (math.exp(0.1) - 1)),
        ({"shear": 0.2}, 0.0, 3.0),
    ):
        chosen = SMALL.model_copy(update=still | changes)
        for source, most in ((time, most_time), (band, most_band)):
            copies = moved(source.expand(200, 1, 40, 30), chosen, generator())
            furthest = float((copies - source).abs().max())
            assert furthest <= most + 1e-3
            assert furthest >= 0.6 * most
