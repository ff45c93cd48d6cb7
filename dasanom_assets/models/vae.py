"""The variational autoencoder: the network and the terms of its objective. How it is trained is elsewhere."""

import itertools
import math

import torch
from torch import nn
from torch.nn import functional

from dasanom_assets.settings import VaeSettings

LOGVAR_LIMIT = 5.0
"""The likelihood's log variance stays within plus and minus this: a spread between 0.08 and 12 whitened units."""

PATCH = 4
"""Frames and bands that the first convolution sees at a time."""

LOG_2_PI = math.log(2 * math.pi)


class Vae(nn.Module):
    """Convolutional variational autoencoder of whitened windows (Kingma and Welling 2014).

    The first convolution sees patches of 4 × 4, which costs half of a stride of 2 at the same likelihood; each
    further one halves both axes. The decoder mirrors the encoder; it enlarges by convolutions to several pixels at
    once (see `Enlarge`), which costs less than transposed ones. Inside, windows are padded with zeros (the usual
    level) up to a whole number of patches. The likelihood is Gaussian, with one learned variance a band, or
    Bernoulli.

    Posterior means are batch-normalised to the spread whose KL is the free bits (Zhu et al. 2020): a dimension
    that says nothing is no cheaper than one that does, so that the latent space opens within an epoch or two.

    Parameters
    ----------
    frames, bands : int
        Shape of a window.
    settings : VaeSettings
        Of these the network uses ``latent``, ``widths``, ``likelihood`` and ``free_bits``.
    """

    def __init__(self, frames: int, bands: int, settings: VaeSettings) -> None:
        super().__init__()
        self.frames, self.bands, self.settings = frames, bands, settings
        widths = settings.widths
        stride = PATCH * 2 ** (len(widths) - 1)
        grid = (widths[-1], -(-frames // stride), -(-bands // stride))
        self._padding = (0, grid[2] * stride - bands, 0, grid[1] * stride - frames)

        encoder: list[nn.Module] = [nn.Conv2d(1, widths[0], PATCH, stride=PATCH), nn.LeakyReLU(inplace=True)]
        decoder: list[nn.Module] = [Enlarge(widths[0], 1, PATCH)]
        for narrow, wide in itertools.pairwise(widths):
            encoder += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.LeakyReLU(inplace=True)]
            decoder = [Enlarge(wide, narrow, 2), nn.LeakyReLU(inplace=True), *decoder]
        self.encoder = nn.Sequential(*encoder, nn.Flatten())
        self.posterior = nn.Linear(math.prod(grid), 2 * settings.latent)
        self.spread = math.sqrt(2 * settings.free_bits)
        self.normalize = nn.BatchNorm1d(settings.latent, affine=False) if self.spread else None
        self.lift = nn.Sequential(nn.Linear(settings.latent, math.prod(grid)), nn.Unflatten(1, grid))
        self.decoder = nn.Sequential(*decoder)
        self.gaussian = settings.likelihood == "gaussian"
        self.band_spread = nn.Parameter(torch.zeros(bands), requires_grad=self.gaussian)
        # Twice as fast on a CPU as channels first.
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)

    @property
    def logvar(self) -> torch.Tensor:
        """Log variance of the likelihood, float32, shape (bands,): bounded, so that no band can run away."""
        return LOGVAR_LIMIT * torch.tanh(self.band_spread / LOGVAR_LIMIT)

    def start_from(self, x: torch.Tensor) -> None:
        """Set the likelihood's variance to that of some windows: the best while the decoder knows nothing.

        Parameters
        ----------
        x : torch.Tensor
            float32, shape (n, 1, frames, bands).
        """
        share = torch.log(x.var(dim=(0, 1, 2)).clamp(min=1e-4)) / LOGVAR_LIMIT
        with torch.no_grad():
            self.band_spread.copy_(LOGVAR_LIMIT * torch.atanh(share.clamp(-0.99, 0.99)))

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance of the posterior.

        Parameters
        ----------
        x : torch.Tensor
            float32, shape (n, 1, frames, bands): whitened windows.

        Returns
        -------
        mu, logvar : torch.Tensor
            float, shape (n, latent).
        """
        return self.encode_patches(self.patches(functional.pad(x, self._padding)))

    @property
    def shares_patches(self) -> bool:
        """Whether windows are a whole number of patches, so that those that overlap can share them."""
        return not any(self._padding)

    def patches(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the first layer makes of frames, shape (n, channels, frames / 4, bands / 4)."""
        return self.encoder[:2](x)

    def encode_patches(self, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `encode` does, from what `patches` made of windows."""
        return self.posterior_of(self.encoder[2:](patches))

    def posterior_of(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `encode` does, from what the last convolution made of windows, shape (n, features)."""
        mu, logvar = self.posterior(features).chunk(2, dim=1)
        if self.normalize is not None:
            mu = self.spread * self.normalize(mu.float())
        return mu, logvar

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Return what parameterizes the likelihood at points z.

        Parameters
        ----------
        z : torch.Tensor
            float, shape (n, latent).

        Returns
        -------
        torch.Tensor
            float, shape (n, 1, frames, bands): means of the Gaussians, or logits of the Bernoulli distributions.
        """
        return in_place(self.decode_points(z))[:, :, : self.frames, : self.bands]

    def decode_points(self, z: torch.Tensor) -> torch.Tensor:
        """Return what `decode` does before pixels, padding too, are brought to their places; see `in_place`."""
        return self.decoder(self.lift(z).permute(0, 2, 3, 1).contiguous())

    def mean(self, decoded: torch.Tensor) -> torch.Tensor:
        """Return the mean of the likelihood, in the unit of windows, from what `decode` returned."""
        return decoded if self.gaussian else torch.sigmoid(decoded)

    def negative_log_likelihood(self, x: torch.Tensor, decoded: torch.Tensor) -> torch.Tensor:
        """Return that of windows, float32, shape (n,), nats, from what `decode` returned."""
        if self.gaussian:
            return negative_log_gaussian(x, decoded, self.logvar)
        return negative_log_bernoulli(x, decoded)


class Enlarge(nn.Conv2d):
    """Each point to several, by a convolution of one point (Shi et al. 2016).

    Since no point looks at another, they need not lie in their places until the last layer is through: what is
    made of a point stays beside it, by row in the point, column in the point, and channel, and no layer moves
    anything.

    Parameters
    ----------
    wide, narrow : int
        Channels of what comes in and of what goes out.
    factor : int
    """

    def __init__(self, wide: int, narrow: int, factor: int) -> None:
        super().__init__(wide, factor**2 * narrow, 1)
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return points (..., factor, factor, narrow) of points (..., wide)."""
        points = functional.linear(x, self.weight.flatten(1), self.bias)
        return points.unflatten(-1, (self.factor, self.factor, -1))


def in_place(points: torch.Tensor) -> torch.Tensor:
    """Return images (n, 1, frames, bands) of pixels as layers of `Enlarge` leave them.

    Parameters
    ----------
    points : torch.Tensor
        Shape (n, rows, columns, rows in each of these, columns in each of these, ..., 1).
    """
    n, *grids, _ = points.shape
    rows, columns = range(1, len(grids) + 1, 2), range(2, len(grids) + 1, 2)
    image = points.squeeze(-1).permute(0, *rows, *columns)
    return image.reshape(n, 1, math.prod(grids[::2]), math.prod(grids[1::2]))


def negative_log_bernoulli(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of windows within [0, 1], summed over the pixels.

    For values between 0 and 1 it is no likelihood, but is often taken for one (Loaiza-Ganem and Cunningham 2019);
    so it was in the study of 2021.

    Parameters
    ----------
    x, logits : torch.Tensor
        Float, shape (n, 1, frames, bands).

    Returns
    -------
    torch.Tensor
        float32, shape (n,), nats.
    """
    loss = functional.binary_cross_entropy_with_logits(logits.float(), x.float(), reduction="none")
    return loss.sum(dim=(1, 2, 3))


def negative_log_gaussian(x: torch.Tensor, mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """Return the negative log-likelihood of windows under independent Gaussians, summed over the pixels.

    Parameters
    ----------
    x, mean : torch.Tensor
        Float, shape (n, 1, frames, bands).
    logvar : torch.Tensor
        Log variance, shape (bands,).

    Returns
    -------
    torch.Tensor
        float32, shape (n,), nats.
    """
    square = (x.float() - mean.float()).square().sum(dim=(1, 2))
    frames = x.shape[1] * x.shape[2]
    return 0.5 * (square @ torch.exp(-logvar) + frames * (logvar.sum() + len(logvar) * LOG_2_PI))


def kl(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """Return the divergence of the posterior N(mu, exp(logvar)) from N(0, 1) in each dimension.

    ``½ (mu² + exp(logvar) − 1 − logvar)``; Kingma and Welling 2014, appendix B.

    Parameters
    ----------
    mu, logvar : torch.Tensor
        Float, shape (n, latent).

    Returns
    -------
    torch.Tensor
        float32, shape (n, latent), nats.
    """
    mu, logvar = mu.float(), logvar.float()
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar)
