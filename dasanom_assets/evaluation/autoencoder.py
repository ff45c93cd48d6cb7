"""The dense autoencoder of MIMII and DCASE: the baseline that a detector of machine sound is measured beside.

It sees five frames of 64 mel levels at a time; the mean squared error over a clip is its score (Purohit et al.
2019).
"""

import itertools

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn

FRAMES = 5
WIDTHS = (64, 64, 8, 64, 64)
EPOCHS = 50
BATCH = 512
LEARNING_RATE = 1e-3


def vectors(levels: np.ndarray) -> np.ndarray:
    """Return the levels of every five frames in a row.

    Parameters
    ----------
    levels : numpy.ndarray
        float32, shape (frames, bands), dB.

    Returns
    -------
    numpy.ndarray
        float32, shape (frames − 4, 5 × bands).
    """
    stretches = sliding_window_view(levels, FRAMES, axis=0)
    return stretches.transpose(0, 2, 1).reshape(len(stretches), -1)


class Autoencoder:
    """A trained autoencoder.

    Parameters
    ----------
    network : torch.nn.Module
    mean, scale : float
        Of all training levels: what the network sees is scaled by them.
    """

    def __init__(self, network: nn.Module, mean: float, scale: float) -> None:
        self.network, self.mean, self.scale = network, mean, scale

    @classmethod
    def fit(cls, x: np.ndarray, seed: int, device: str) -> "Autoencoder":
        """Train on the vectors of normal clips, float32, shape (n, size), by Adam on the mean squared error."""
        mean, scale = float(x.mean()), float(x.std())
        sizes = (x.shape[1], *WIDTHS)
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)
            layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
            network = nn.Sequential(*layers, nn.Linear(WIDTHS[-1], x.shape[1])).to(device)
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        generator = torch.Generator(device).manual_seed(seed)
        data = (torch.from_numpy(x).to(device) - mean) / scale
        for _ in range(EPOCHS):
            for positions in torch.randperm(len(data), generator=generator, device=device).split(BATCH):
                batch = data[positions]
                loss = nn.functional.mse_loss(network(batch), batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return cls(network.eval(), mean, scale)

    def errors(self, x: np.ndarray) -> np.ndarray:
        """Return the mean squared error of each vector, float32, shape (n,)."""
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            data = (torch.from_numpy(x).to(device) - self.mean) / self.scale
            return (self.network(data) - data).square().mean(dim=1).cpu().numpy()
