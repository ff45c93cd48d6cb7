"""Windows that overlap, through the VAE on a CPU: what they share is computed once, and none is copied."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numba import njit
from torch import nn
from torch.nn import functional

from dasanom_assets.models.vae import LOG_2_PI, PATCH, Vae, in_place
from dasanom_assets.spectrograms.windows import WindowBank

OfBatch = Callable[[slice], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""From some windows of a bank to means, log variances and reconstruction errors."""


def can_share(model: Vae, bank: WindowBank, device: str) -> bool:
    """Whether windows are whole patches of rows as they are, under a Gaussian likelihood, on a CPU."""
    whole = bank.imaging is None and bank.rows.shape[1] % PATCH == 0 and model.shares_patches
    return whole and model.gaussian and torch.device(device).type == "cpu"


def sharing(model: Vae, bank: WindowBank) -> OfBatch:
    """Return what looks at windows that `can_share`, in a third of the time that it takes one by one.

    A window of eight seconds has seven of them in common with the next, and what the encoder makes of these; see
    `_encode`. Decoded pixels are held against the rows where they are, instead of being brought to their places in
    images.
    """
    n_rows, (slots, bands) = bank.rows_per_window, bank.rows.shape[1:]
    a_row = slots // PATCH
    logvar_of_bands = model.logvar.detach()
    weight = torch.exp(-logvar_of_bands).numpy()
    constant = 0.5 * n_rows * slots * (float(logvar_of_bands.sum()) + bands * LOG_2_PI)

    def of_batch(windows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        first = bank.first[windows]
        low, high = int(first.min()), int(first.max()) + n_rows
        if high - low <= n_rows * len(first):  # rows between them, if any, belong to no window
            rows, place = bank.rows[low:high], first - low
        else:
            used, place = np.unique(first[:, None] + np.arange(n_rows), return_inverse=True)
            rows, place = bank.rows[used], place.reshape(len(first), n_rows)[:, 0]
        patches = model.patches(torch.from_numpy(rows).view(1, 1, -1, bands))
        mu, logvar = _encode(model, patches, torch.from_numpy(place * a_row), a_row, n_rows * a_row)
        points = model.decode_points(mu)
        squares = _squares(bank.rows, first, _bits(points), _runs(points.shape[1:]), weight)
        return mu, logvar, torch.from_numpy((0.5 * squares + constant).astype(np.float32))

    return of_batch


def _encode(
    model: Vae, patches: torch.Tensor, begin: torch.Tensor, a_row: int, n: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return means and log variances of windows from the patches of all of them.

    A convolution sees the padding before a window in its first row alone; there is none behind it, where rows are
    even in number. All other rows are the same in each window that holds them. They are made once, by convolutions
    over the whole, which step by less than their own stride where windows do not begin on multiples of it.

    Parameters
    ----------
    model : Vae
    patches : torch.Tensor
        Shape (1, channels, rows, columns), with rows of patches one after another.
    begin : torch.Tensor
        int64, shape (n_windows,): first row of each window, multiples of `a_row`.
    a_row : int
        Rows of patches in a row of the bank.
    n : int
        Rows of patches in a window.
    """
    inner, apart, step = patches.contiguous(memory_format=torch.channels_last), 1, 1
    first = _at(inner, begin[:, None])
    layers = list(model.encoder)[2:-1]
    for convolution, activation in zip(layers[::2], layers[1::2], strict=True):
        assert isinstance(convolution, nn.Conv2d)
        beside = _at(inner, (begin[:, None] + step) // apart)
        first = activation(convolution(torch.cat([first, beside], dim=2)))
        reach, before = step // apart, apart
        step, apart = 2 * step, math.gcd(a_row, 2 * step)
        stride, padding, dilation = (apart // before, 2), (reach, 1), (reach, 1)
        inner = activation(
            functional.conv2d(inner, convolution.weight, convolution.bias, stride, padding, dilation)
        )
    others = _at(inner, (begin[:, None] + torch.arange(step, n, step)) // apart)
    return model.posterior_of(torch.cat([first, others], dim=2).flatten(1))


def _at(of_all: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return some rows of each window, shape (n_windows, channels, rows, columns), of those of all."""
    return of_all[0].permute(1, 2, 0)[rows].permute(0, 3, 1, 2)


def _runs(shape: torch.Size) -> np.ndarray:
    """Return where each run of `PATCH` bands begins among the points of a window, int64, frame by frame."""
    places = in_place(torch.arange(shape.numel()).view(1, *shape))
    return places[..., ::PATCH].flatten().numpy()


def _bits(values: torch.Tensor) -> np.ndarray:
    """Return the bits of bfloat16, which NumPy does not know, or of float32, shape (n, values)."""
    flat = values.flatten(1)
    if flat.dtype == torch.bfloat16:
        return flat.view(torch.int16).numpy().view(np.uint16)
    return flat.numpy().view(np.uint32)


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _squares(
    rows: np.ndarray, first: np.ndarray, decoded: np.ndarray, runs: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Return weighted sums of squares between windows and what was decoded, float64, shape (n,).

    `decoded` are `_bits` of points, shape (n, pixels); for `runs` see `_runs`.
    """
    out, (_, slots, bands) = np.zeros(len(first)), rows.shape
    a_frame = bands // PATCH
    shift = np.uint32(32 - 8 * decoded.itemsize)
    bits = np.empty(bands, np.uint32)
    means = bits.view(np.float32)
    for window in range(len(first)):
        for frame in range(len(runs) // a_frame):
            for run in range(a_frame):
                begin = runs[frame * a_frame + run]
                for j in range(PATCH):
                    bits[run * PATCH + j] = np.uint32(decoded[window, begin + j]) << shift
            levels = rows[first[window] + frame // slots, frame % slots]
            total = np.float32(0)
            for band in range(bands):
                total += weight[band] * (levels[band] - means[band]) ** 2
            out[window] += total
    return out
