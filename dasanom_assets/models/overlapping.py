"""Windows that overlap, through the VAE on a CPU: what they share is computed once, and none is copied."""

from collections.abc import Callable

import numpy as np
import torch
from numba import njit

from dasanom_assets.models.vae import LOG_2_PI, PATCH, Vae, in_place
from dasanom_assets.spectrograms.windows import WindowBank

OfBatch = Callable[[slice], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""From some windows of a bank to means, log variances and reconstruction errors."""


def can_share(model: Vae, bank: WindowBank, device: str) -> bool:
    """Whether windows are whole patches of rows as they are, under a Gaussian likelihood, on a CPU."""
    whole = bank.imaging is None and bank.rows.shape[1] % PATCH == 0 and model.shares_patches
    return whole and model.gaussian and torch.device(device).type == "cpu"


def sharing(model: Vae, bank: WindowBank) -> OfBatch:
    """Return what looks at windows that `can_share`, in half of the time that it takes one by one.

    Patches are made of rows: a window of eight seconds has seven of them in common with the next. Decoded pixels
    are held against the rows where they are, instead of being brought to their places in images.
    """
    n_rows, (slots, bands) = bank.rows_per_window, bank.rows.shape[1:]
    a_row = slots // PATCH
    within = np.arange(n_rows * a_row)
    logvar_of_bands = model.logvar.detach()
    weight = torch.exp(-logvar_of_bands).numpy()
    constant = 0.5 * n_rows * slots * (float(logvar_of_bands.sum()) + bands * LOG_2_PI)

    def of_batch(windows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        first = bank.first[windows]
        used, place = np.unique(first[:, None] + np.arange(n_rows), return_inverse=True)
        gapless = used[-1] - used[0] + 1 == len(used)
        rows = torch.from_numpy(bank.rows[used[0] : used[-1] + 1] if gapless else bank.rows[used])
        patches = model.patches(rows.view(1, 1, -1, bands))[0].permute(1, 2, 0)
        begin = place.reshape(len(first), n_rows)[:, :1] * a_row
        mu, logvar = model.encode_patches(patches[torch.from_numpy(begin + within)].permute(0, 3, 1, 2))
        points = model.decode_points(mu)
        squares = _squares(bank.rows, first, _bits(points), _runs(points.shape[1:]), weight)
        return mu, logvar, torch.from_numpy((0.5 * squares + constant).astype(np.float32))

    return of_batch


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
