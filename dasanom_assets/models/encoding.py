"""What trained networks make of windows, without drawing a random number."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dasanom_assets.models.device import knows_bf16
from dasanom_assets.models.infogan import InfoGan
from dasanom_assets.models.loop import DeviceWindows
from dasanom_assets.models.overlapping import OfBatch, can_share, sharing
from dasanom_assets.models.vae import Vae, kl
from dasanom_assets.spectrograms.windows import WindowBank

ENCODING_BATCH = {"cpu": 256, "cuda": 4096}
"""Windows encoded at once: on a CPU, larger batches leave the cache and are slower."""


@dataclass(frozen=True)
class Encoded:
    """Windows as the network sees them, float32.

    Attributes
    ----------
    mu, logvar : numpy.ndarray
        Shape (n, latent): mean and log variance of the posterior.
    reconstruction_error : numpy.ndarray
        Shape (n,): negative log-likelihood of the window at the posterior's mean, nats.
    kl : numpy.ndarray
        Shape (n,): divergence of the posterior from the prior, nats.
    """

    mu: np.ndarray
    logvar: np.ndarray
    reconstruction_error: np.ndarray
    kl: np.ndarray

    @classmethod
    def empty(cls, latent: int) -> "Encoded":
        """Return no windows."""
        wide, flat = np.empty((0, latent), np.float32), np.empty(0, np.float32)
        return cls(wide, wide, flat, flat)

    def subset(self, index: np.ndarray) -> "Encoded":
        """Return some of the windows; `index` are positions or a mask."""
        return Encoded(*(values[index] for values in vars(self).values()))


def encode_bank(model: Vae, bank: WindowBank, device: str, batch: int | None = None) -> Encoded:
    """Return what the network makes of windows, without drawing a random number.

    Where windows overlap and a CPU computes, what they share is computed once. The network computes in bfloat16
    where the device knows it, as while it trained. Means and likelihoods differ
    from those of float32 by less than a hundredth of their spread over windows.

    Parameters
    ----------
    model : Vae
        Moved to `device`, where it stays, in eval mode.
    bank : WindowBank
        Windows of the network's shape, without NaN.
    device : str
        Torch device.
    batch : int, optional
        Windows at once; `ENCODING_BATCH` by default.
    """
    n, latent = len(bank), model.settings.latent
    if not n:
        return Encoded.empty(latent)
    # In one piece: small tensors that stay, between large ones that go, would keep the heap from shrinking.
    (mu, logvar), (error, divergence) = (torch.empty(2, *shape, device=device) for shape in ((n, latent), (n,)))
    batch = batch or ENCODING_BATCH[torch.device(device).type]
    _bring(model, device)
    with torch.inference_mode():
        of_batch = sharing(model, bank) if can_share(model, bank, device) else _looking(model, bank, device)
        for first in range(0, n, batch):
            rows = slice(first, min(first + batch, n))
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=knows_bf16(device)):
                mu[rows], logvar[rows], error[rows] = of_batch(rows)
            divergence[rows] = kl(mu[rows], logvar[rows]).sum(dim=1)
    return Encoded(*(values.cpu().numpy() for values in (mu, logvar, error, divergence)))


def _bring(model: nn.Module, device: str) -> None:
    """Move a network to a device, in eval mode; one that is there is not touched.

    Threads encode at once. One that sets tensors anew holds a lock of torch and waits for Python, while one that
    notes gradients holds Python and waits for the lock: so nothing is set, and no gradient is noted.
    """
    if next(model.parameters()).device != torch.empty(0, device=device).device:
        model.to(device)
    model.eval()


def _looking(model: Vae, bank: WindowBank, device: str) -> OfBatch:
    """Return what looks at each window by itself, on any device."""
    windows = DeviceWindows(bank, device)

    def of_batch(rows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = windows[torch.arange(rows.start, rows.stop, device=device)]
        mu, logvar = model.encode(x)
        decoded = model.decode(mu)
        with torch.autocast(x.device.type, enabled=False):  # likelihoods are float32
            return mu, logvar, model.negative_log_likelihood(x, decoded)

    return of_batch


@dataclass(frozen=True)
class GanEncoded:
    """Windows as infoGAN sees them, float32.

    Attributes
    ----------
    features : numpy.ndarray
        Shape (n, features): what the discriminator's heads see.
    reconstruction_error : numpy.ndarray
        Shape (n,): mean square error of the encoded and generated window, in units of the window squared.
    category : numpy.ndarray
        Shape (n, categories): probabilities of the categorical code.
    """

    features: np.ndarray
    reconstruction_error: np.ndarray
    category: np.ndarray


def encode_gan(model: InfoGan, bank: WindowBank, device: str, batch: int | None = None) -> GanEncoded:
    """Return what the networks make of windows, without drawing a random number.

    They compute in bfloat16 where the device knows it, as in `encode_bank`.

    Parameters
    ----------
    model : InfoGan
        Moved to `device`, where it stays, in eval mode.
    bank : WindowBank
        Windows of the network's shape, without NaN.
    device : str
        Torch device.
    batch : int, optional
        Windows at once; `ENCODING_BATCH` by default.
    """
    settings = model.settings
    n = len(bank)
    # In one piece: small tensors that stay, between large ones that go, would keep the heap from shrinking.
    features, error, category = (
        torch.empty(n, *size) for size in ([settings.features], [], [settings.categories])
    )
    with torch.inference_mode():
        for rows, x in _batches(model, bank, device, batch) if n else ():
            real = model.scaled(x)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=knows_bf16(device)):
                judged, made = model.discriminator(real), model.generator(model.encoder(real))
            features[rows], category[rows] = judged.features, judged.category.softmax(dim=1)
            error[rows] = (model.unscaled(made) - x).square().mean(dim=(1, 2, 3))
    return GanEncoded(features.numpy(), error.numpy(), category.numpy())


def _batches(
    model: nn.Module, bank: WindowBank, device: str, batch: int | None
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Move a network to a device, in eval mode, and yield the windows of a bank there, with their positions."""
    _bring(model, device)
    end = 0
    for x in DeviceWindows(bank, device).batches(batch or ENCODING_BATCH[torch.device(device).type]):
        yield slice(end, end := end + len(x)), x
