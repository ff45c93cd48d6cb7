"""infoGAN: the networks and the terms of their objectives. How they are trained is elsewhere.

A generator makes windows of noise and of codes; a discriminator tells them from real ones and says which codes
they were made of, which keeps the information between codes and windows high (Chen et al. 2016); an encoder finds
the noise and codes of which the generator makes a given window (f-AnoGAN, Schlegl et al. 2019).
"""

import itertools
import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from dasanom_assets.settings import InfoGanSettings

LOGVAR_LIMIT = 5.0
"""The log variance of a continuous code stays within plus and minus this."""

LOG_2_PI = math.log(2 * math.pi)

BALANCE, INFORMATION = 4.0, 0.1
"""IMSAT's weights of the entropy of all windows' categories, and of the information in the regulariser."""


class Judgement(NamedTuple):
    """What the discriminator says of windows.

    Attributes
    ----------
    features : torch.Tensor
        Shape (n, features): what the heads see.
    real : torch.Tensor
        Shape (n,): logit of being real.
    category : torch.Tensor
        Shape (n, categories): logits.
    mean, logvar : torch.Tensor
        Shape (n, continuous): Gaussian of the continuous code.
    """

    features: torch.Tensor
    real: torch.Tensor
    category: torch.Tensor
    mean: torch.Tensor
    logvar: torch.Tensor


class InfoGan(nn.Module):
    """Generator, discriminator with its code heads, and encoder, of windows of one shape.

    Inside, windows lie in the generator's range [−1, 1]; see `scaled`.

    Parameters
    ----------
    frames, bands : int
        Shape of a window.
    levels : tuple of float
        Least and greatest value of a window: those that become −1 and 1.
    settings : InfoGanSettings
    """

    def __init__(self, frames: int, bands: int, levels: tuple[float, float], settings: InfoGanSettings) -> None:
        super().__init__()
        low, high = levels
        if not low < high:
            raise ValueError(f"levels from {low:g} to {high:g} are no range")
        self.frames, self.bands, self.levels, self.settings = frames, bands, (low, high), settings
        self.generator = Generator(frames, bands, settings)
        self.discriminator = Discriminator(frames, bands, settings)
        self.encoder = Encoder(frames, bands, settings)
        # As in the VAE: about twice as fast on a CPU as channels first.
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)

    def scaled(self, x: torch.Tensor) -> torch.Tensor:
        """Map windows into [−1, 1]; what lies beyond the levels is set to them."""
        low, high = self.levels
        return ((2 * x - (low + high)) / (high - low)).clamp(-1, 1)

    def unscaled(self, y: torch.Tensor) -> torch.Tensor:
        """Undo `scaled`, within the levels."""
        low, high = self.levels
        return ((high - low) * y + (low + high)) / 2


class Generator(nn.Module):
    """Points of the latent space to windows in [−1, 1].

    Levels of a spectrogram scatter from pixel to pixel, which no few numbers tell: without noise of its own, of a
    learned spread a band, a generated window is known by its smoothness, and there is nothing else to learn.
    """

    def __init__(self, frames: int, bands: int, settings: InfoGanSettings) -> None:
        super().__init__()
        self.frames, self.bands = frames, bands
        grid, _ = _grid(frames, bands, settings)
        layers: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(reversed(settings.widths)):
            up = nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False)
            layers += [up, nn.BatchNorm2d(narrow), nn.ReLU()]
        self.lift = nn.Sequential(
            nn.Linear(latent_size(settings), math.prod(grid), bias=False),
            nn.BatchNorm1d(math.prod(grid)),
            nn.ReLU(),
            nn.Unflatten(1, grid),
        )
        patch = settings.patch
        last = Enlarge(settings.widths[0], 1, 2 * patch, stride=patch, padding=patch // 2)
        self.layers = nn.Sequential(*layers, last)
        self.scatter = nn.Parameter(torch.full((bands,), settings.scatter))

    def forward(self, latent: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return windows, shape (n, 1, frames, bands), of points of shape (n, noise + categories + continuous).

        Pixels scatter where there is a random number generator; otherwise a window is what is usual of its point.
        """
        grid = self.lift(latent).contiguous(memory_format=torch.channels_last)
        made = self.layers(grid)[:, :, : self.frames, : self.bands].float()
        if generator is not None:
            made = made + self.scatter * torch.randn(made.shape, generator=generator, device=made.device)
        return torch.tanh(made)


class Enlarge(nn.ConvTranspose2d):
    """A transposed convolution whose kernel is twice its stride, by a convolution to several pixels at once.

    It is the same map (Shi et al. 2016); with one output channel, torch takes several times as long for it.
    """

    def forward(self, x: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """Return images of shape (n, out, stride · rows, stride · columns) of shape (n, in, rows, columns)."""
        stride, margin = self.stride[0], int(self.padding[0])
        wide, narrow = self.weight.shape[:2]
        # The second half of the kernel reaches into the next cell: there it is the tap of the cell before.
        taps = self.weight.reshape(wide, narrow, 2, stride, 2, stride).flip(2, 4)
        taps = taps.permute(1, 3, 5, 0, 2, 4).reshape(narrow * stride**2, wide, 2, 2)
        made = functional.conv2d(x, taps.contiguous(memory_format=torch.channels_last), padding=1)
        made = functional.pixel_shuffle(made, stride)[:, :, margin:-margin, margin:-margin]
        return made if self.bias is None else made + self.bias[:, None, None]


class Discriminator(nn.Module):
    """Windows in [−1, 1] to a `Judgement`; all heads share the trunk."""

    def __init__(self, frames: int, bands: int, settings: InfoGanSettings) -> None:
        super().__init__()
        self.trunk = _trunk(frames, bands, settings)
        self.real = nn.Linear(settings.features, 1)
        self.category = nn.Linear(settings.features, settings.categories)
        self.continuous = nn.Linear(settings.features, 2 * settings.continuous)

    def forward(self, y: torch.Tensor) -> Judgement:
        """Judge windows of shape (n, 1, frames, bands)."""
        features = self.trunk(y)
        mean, logvar = self.continuous(features).float().chunk(2, dim=1)
        logvar = LOGVAR_LIMIT * torch.tanh(logvar / LOGVAR_LIMIT)
        real, category = self.real(features).float()[:, 0], self.category(features).float()
        return Judgement(features.float(), real, category, mean, logvar)


class Encoder(nn.Module):
    """Windows in [−1, 1] to points of the latent space."""

    def __init__(self, frames: int, bands: int, settings: InfoGanSettings) -> None:
        super().__init__()
        self.sizes = [settings.noise, settings.categories, settings.continuous]
        self.trunk = _trunk(frames, bands, settings)
        self.point = nn.Linear(settings.features, sum(self.sizes))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Return points, shape (n, latent), of windows of shape (n, 1, frames, bands).

        A category is given by its probabilities, a continuous code lies in [−1, 1].
        """
        noise, category, continuous = self.point(self.trunk(y)).float().split(self.sizes, dim=1)
        return torch.cat([noise, category.softmax(dim=1), torch.tanh(continuous)], dim=1)


def latent_size(settings: InfoGanSettings) -> int:
    """Return the dimensions of the generator's input: noise, one-hot category, continuous codes."""
    return settings.noise + settings.categories + settings.continuous


def draw(n: int, settings: InfoGanSettings, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Draw points of the latent space, on the generator's device.

    Returns
    -------
    latent : torch.Tensor
        float32, shape (n, latent).
    category : torch.Tensor
        int64, shape (n,): uniform over the categories.
    continuous : torch.Tensor
        float32, shape (n, continuous): uniform over [−1, 1].
    """
    device = generator.device
    noise = torch.randn(n, settings.noise, generator=generator, device=device)
    category = torch.randint(settings.categories, (n,), generator=generator, device=device)
    continuous = 2 * torch.rand(n, settings.continuous, generator=generator, device=device) - 1
    one_hot = functional.one_hot(category, settings.categories).float()
    return torch.cat([noise, one_hot, continuous], dim=1), category, continuous


def adversarial_loss(real: torch.Tensor, generated: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Return the discriminator's cross-entropy, nats, of logits of real and of generated windows.

    Real windows have the target ``1 − smoothing``, generated ones 0 (one-sided label smoothing, Salimans et al.
    2016). It is 2 log 2 where the discriminator cannot tell them apart and there is no smoothing.
    """
    bce = functional.binary_cross_entropy_with_logits
    return bce(real, torch.full_like(real, 1 - smoothing)) + bce(generated, torch.zeros_like(generated))


def code_losses(
    judged: Judgement, category: torch.Tensor, continuous: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how badly the codes of generated windows are read, nats, means over the windows.

    Returns
    -------
    categorical : torch.Tensor
        Cross-entropy; ``log(categories)`` less this is a lower bound on the information (Chen et al. 2016).
    continuous : torch.Tensor
        Gaussian negative log-likelihood, summed over the codes; ``continuous · log 2`` less this is the bound.
    """
    square = (continuous - judged.mean).square() * torch.exp(-judged.logvar)
    likelihood = 0.5 * (square + judged.logvar + LOG_2_PI).sum(dim=1).mean()
    return functional.cross_entropy(judged.category, category), likelihood


def consistency_loss(category: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """Return how little the category of real windows says of them, nats.

    IMSAT (Hu et al. 2017): the divergence of the categories of moved copies from those of the windows, less the
    weighted information between window and category, ``0.1 · (4 H(category) − H(category | window))``.

    Parameters
    ----------
    category, moved : torch.Tensor
        Shape (n, categories): logits of windows, and of slightly moved copies of them.
    """
    log_p = category.log_softmax(dim=1)
    p = log_p.exp()
    divergence = (p.detach() * (log_p.detach() - moved.log_softmax(dim=1))).sum(dim=1).mean()
    return divergence - INFORMATION * (BALANCE * entropy(p.mean(dim=0)) + (p * log_p).sum(dim=1).mean())


def entropy(p: torch.Tensor) -> torch.Tensor:
    """Return the entropy of probabilities along the last dimension, nats."""
    return torch.special.entr(p).sum(dim=-1)


def moved(y: torch.Tensor, settings: InfoGanSettings, generator: torch.Generator) -> torch.Tensor:
    """Return slightly moved copies of windows: each by a random affine map, its edges continued.

    Parameters
    ----------
    y : torch.Tensor
        Shape (n, 1, frames, bands).
    settings : InfoGanSettings
        Of these ``shift``, ``stretch``, ``shear`` and ``turn_degrees``: the greatest of each.
    generator : torch.Generator
        On the device of `y`.
    """

    def between(greatest: float) -> torch.Tensor:
        return greatest * (2 * torch.rand(len(y), generator=generator, device=y.device) - 1)

    # The coordinates of a grid are (band, frame), from −1 to 1.
    shift = torch.stack([between(2 * share) for share in reversed(settings.shift)], dim=1)
    turn, shear = between(math.radians(settings.turn_degrees)), between(settings.shear)
    stretch = torch.exp(torch.stack([between(settings.stretch), between(settings.stretch)], dim=1))
    turned = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], dim=1).reshape(-1, 2, 2)
    sheared = torch.eye(2, device=y.device).repeat(len(y), 1, 1)
    sheared[:, 0, 1] = shear
    maps = torch.cat([stretch[:, :, None] * (turned @ sheared), shift[:, :, None]], dim=2)
    grid = functional.affine_grid(maps, list(y.shape), align_corners=False)
    return functional.grid_sample(y, grid, padding_mode="border", align_corners=False)


def _grid(
    frames: int, bands: int, settings: InfoGanSettings
) -> tuple[tuple[int, int, int], tuple[int, int, int, int]]:
    """Return the shape of the innermost layer, and the padding of windows up to a whole number of its cells."""
    stride = settings.patch * 2 ** (len(settings.widths) - 1)
    rows, columns = -(-frames // stride), -(-bands // stride)
    return (settings.widths[-1], rows, columns), (0, columns * stride - bands, 0, rows * stride - frames)


def _trunk(frames: int, bands: int, settings: InfoGanSettings) -> nn.Sequential:
    grid, padding = _grid(frames, bands, settings)
    patch, widths = settings.patch, settings.widths
    pad: nn.Module = nn.ReplicationPad2d(padding)
    layers = [
        pad,
        nn.Conv2d(1, widths[0], 2 * patch, stride=patch, padding=patch // 2),
        nn.LeakyReLU(0.1, inplace=True),
    ]
    for narrow, wide in itertools.pairwise(widths):
        down = nn.Conv2d(narrow, wide, 4, stride=2, padding=1, bias=False)
        layers += [down, nn.BatchNorm2d(wide), nn.LeakyReLU(0.1, inplace=True)]
    dense = nn.Linear(math.prod(grid), settings.features)
    return nn.Sequential(*layers, nn.Flatten(), dense, nn.LeakyReLU(0.1, inplace=True))
