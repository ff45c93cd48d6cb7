"""Single steps of a training of infoGAN, each down the gradient of what is learned at that time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from dasanom_assets.models.infogan import InfoGan, adversarial_loss, code_losses, consistency_loss, draw, moved
from dasanom_assets.settings import InfoGanSettings


def warm_up_step(
    model: InfoGan,
    optimizers: Mapping[str, torch.optim.Optimizer],
    x: torch.Tensor,
    generator: torch.Generator,
    bf16: bool,
) -> torch.Tensor:
    """Teach the discriminator categories of real windows."""
    real = model.scaled(x)
    windows = torch.cat([real, moved(real, model.settings, generator)])
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        category, of_moved = model.discriminator(windows).category.chunk(2)
    _descend(optimizers["discriminator"], consistency_loss(category, of_moved))
    return _no_losses(x)


def adversarial_step(
    model: InfoGan,
    optimizers: Mapping[str, torch.optim.Optimizer],
    x: torch.Tensor,
    generator: torch.Generator,
    bf16: bool,
) -> torch.Tensor:
    """Take one step with the discriminator and one with the generator, without a wait for the device.

    Returns
    -------
    torch.Tensor
        Shape (4,): losses of discriminator, generator, categorical and continuous codes.
    """
    settings = model.settings
    real, n = model.scaled(x), len(x)
    latent, category, continuous = draw(n, settings, generator)
    windows = torch.cat([real, moved(real, settings, generator)]) if settings.consistency_weight else real

    def noisy(y: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(y.shape, generator=generator, device=y.device)
        return y + settings.instance_noise * noise

    precision = torch.autocast(x.device.type, torch.bfloat16, enabled=bf16)

    with precision:
        generated = model.generator(latent, generator)
        # Batch norm learns from real windows alone, since those are what will be scored.
        on_real = model.discriminator(noisy(windows))
        with _frozen_statistics(model.discriminator):
            on_generated = model.discriminator(noisy(generated.detach()))
    judging = adversarial_loss(on_real.real[:n], on_generated.real, settings.smoothing)
    categorical, likelihood = code_losses(on_generated, category, continuous)
    loss = judging + _weighted(settings, categorical, likelihood)
    if settings.consistency_weight:
        loss = loss + settings.consistency_weight * consistency_loss(on_real.category[:n], on_real.category[n:])
    _descend(optimizers["discriminator"], loss)

    with precision, _frozen_statistics(model.discriminator):
        judged = model.discriminator(noisy(generated))
    deceiving = functional.softplus(-judged.real).mean()
    _descend(optimizers["generator"], deceiving + _weighted(settings, *code_losses(judged, category, continuous)))
    return torch.stack([judging, deceiving, categorical, likelihood]).detach()


def encoder_step(
    model: InfoGan, optimizers: Mapping[str, torch.optim.Optimizer], x: torch.Tensor, bf16: bool
) -> torch.Tensor:
    """Teach the encoder to bring windows back through the generator as it will be used."""
    real = model.scaled(x)
    model.generator.eval()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        again = model.generator(model.encoder(real))
    _descend(optimizers["encoder"], (again - real).square().mean())
    return _no_losses(x)


def _no_losses(x: torch.Tensor) -> torch.Tensor:
    """Return what a step of `adversarial_step` would have, had it been one."""
    return torch.full((4,), torch.nan, device=x.device)


def _weighted(settings: InfoGanSettings, categorical: torch.Tensor, likelihood: torch.Tensor) -> torch.Tensor:
    return settings.categorical_weight * categorical + settings.continuous_weight * likelihood


def _descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """Take a step with the optimizer's parameters, and with no others."""
    parameters = optimizer.param_groups[0]["params"]
    optimizer.zero_grad()
    loss.backward(inputs=parameters)
    optimizer.step()


@contextmanager
def _frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch norm measure each batch by itself and remember nothing of it."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
