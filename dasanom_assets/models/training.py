"""How the VAE is trained and stored.

Nothing here depends on the clock or on torch's global random state: on one CPU, the same windows and settings give
the same weights.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from dasanom_assets.models import checkpoints
from dasanom_assets.models.device import knows_bf16
from dasanom_assets.models.encoding import encode_bank
from dasanom_assets.models.loop import (
    DeviceWindows,
    State,
    epochs,
    load_weights,
    prepare,
    save_network,
    total_steps,
)
from dasanom_assets.models.unfinished import Unfinished
from dasanom_assets.models.vae import Vae, kl
from dasanom_assets.settings import VaeSettings
from dasanom_assets.spectrograms.windows import WindowBank
from dasanom_assets.tables.store import Store

ACTIVE_VARIANCE = 0.01
"""Variance of a dimension's posterior mean over windows above which it carries something (Burda et al. 2016)."""

NARROW_VARIANCE = 0.8
"""Variance of a dimension's posteriors, mean over windows, below which they say more than the prior."""

LEAST_ACTIVE_SHARE = 0.25
"""Share of active dimensions below which the posterior counts as collapsed."""

GRADIENT_NORM = 500.0
"""Gradients are clipped to this norm, several times that of a reconstruction summed over 64 × 64 pixels."""


@dataclass(frozen=True)
class EpochReport:
    """What one epoch came to. Losses are nats a window, means without the worst share of each batch.

    Attributes
    ----------
    epoch, max_epochs : int
        The epoch, from 1, and how many there are at most.
    train_loss : float
        The objective: reconstruction, and KL weighted and with its free bits.
    validation_loss : float
        Reconstruction at the posterior's mean and weighted KL of the validation windows: what stops the training.
    reconstruction, kl : float
        Its two parts, before the weight.
    active_units, latent : int
        Dimensions in use, of how many.
    kl_per_dimension : list of float
        Mean over the validation windows, nats.
    collapsed : bool
        Whether too few dimensions are in use.
    seconds : float
        Wall-clock time.
    """

    epoch: int
    max_epochs: int
    train_loss: float
    validation_loss: float
    reconstruction: float
    kl: float
    active_units: int
    latent: int
    kl_per_dimension: list[float]
    collapsed: bool
    seconds: float

    def line(self) -> str:
        """Return the epoch in one line of text."""
        return (
            f"epoch {self.epoch} of {self.max_epochs}: loss {self.train_loss:.1f}, "
            f"validation {self.validation_loss:.1f} nats a window "
            f"(reconstruction {self.reconstruction:.1f}, KL {self.kl:.2f}), "
            f"{self.active_units} of {self.latent} units active, {self.seconds:.1f} s"
        )


@dataclass(frozen=True)
class TrainedVae:
    """A trained network and how it came to be.

    Attributes
    ----------
    model : Vae
        In eval mode; once trained, on the CPU and with the weights of the best epoch.
    history : list of dict
        One `EpochReport` an epoch.
    best_epoch : int
        Position in `history`.
    """

    model: Vae
    history: list[dict[str, Any]]
    best_epoch: int

    @property
    def best(self) -> dict[str, Any]:
        """The report of the best epoch."""
        return self.history[self.best_epoch]

    @property
    def usable(self) -> bool:
        """Whether the network may be made live."""
        return not self.best["collapsed"]

    def lines(self) -> list[str]:
        """Return each epoch in one line of text."""
        return [EpochReport(**row).line() for row in self.history]

    def note(self) -> dict[str, Any]:
        """Return what is told of the training beside the network, JSON-serialisable."""
        kept = ("validation_loss", "active_units", "latent", "kl_per_dimension", "collapsed")
        return {"epochs": len(self.history), **{key: self.best[key] for key in kept}}


def collapse_report(mu: np.ndarray, logvar: np.ndarray) -> dict[str, Any]:
    """Say how much of the latent space is in use.

    Parameters
    ----------
    mu, logvar : numpy.ndarray
        Float, shape (n, latent), of many windows.

    Returns
    -------
    dict
        ``active_units`` (dimensions whose mean varies and is known better than the prior says; means that are
        normalised vary in any case), ``kl_per_dimension`` (nats, mean over the windows), and
        ``collapsed``, true where fewer than a quarter of the dimensions are active.
    """
    narrow = np.exp(logvar).mean(axis=0) < NARROW_VARIANCE
    active = int(((mu.var(axis=0) > ACTIVE_VARIANCE) & narrow).sum())
    per_dimension = kl(torch.from_numpy(mu), torch.from_numpy(logvar)).mean(dim=0)
    return {
        "active_units": active,
        "kl_per_dimension": [round(value, 5) for value in per_dimension.tolist()],
        "collapsed": active < LEAST_ACTIVE_SHARE * mu.shape[1],
    }


def train_vae(
    train: WindowBank,
    validation: WindowBank,
    settings: VaeSettings,
    device: str,
    on_epoch: Callable[[TrainedVae], object] | None = None,
    progress: bool = False,
    unfinished: Unfinished | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainedVae:
    """Train a VAE on windows, most of which are normal.

    The objective is the negative evidence lower bound: reconstruction summed over pixels, and the KL with a
    weight that rises to `kl_weight` over the first steps and with free bits in each dimension (Kingma et al.
    2016). The worst share of each batch has no gradient, since some windows are what the detector is to find.
    Networks compute in bfloat16 where the device knows it, losses and weights are float32.
    Training stops when the validation loss no longer falls, and the best weights are kept.

    Parameters
    ----------
    train, validation : WindowBank
        Without NaN; of equal window shape.
    settings : VaeSettings
    device : str
        Torch device; see `device.resolve_device`.
    on_epoch : callable, optional
        Called after each epoch with the network as it is then, on the device.
    progress : bool
        Whether to show a progress bar over the steps.
    unfinished : Unfinished, optional
        Where the state of the training is kept after each epoch and where it is stopped, and what it goes on from:
        on one CPU, to the same weights as without a stop. The caller discards it once the network is stored.
    stop : callable
        Asked before each step whether to stop.

    Raises
    ------
    Interrupted
        Where `stop` says so.
    ValueError
        Where there are too few windows, their shapes differ, or the likelihood is not one of such values.
    FloatingPointError
        Where no epoch had a finite validation loss.

    Examples
    --------
    >>> levels = np.random.default_rng(0).normal(size=(90, 4, 16)).astype(np.float32)  # seconds, frames, bands
    >>> windows = WindowBank(levels, np.arange(87), rows_per_window=4)
    >>> train, validation = windows.subset(np.arange(50)), windows.subset(np.arange(60, 87))
    >>> trained = train_vae(train, validation, VaeSettings(latent=3, widths=(4, 8), max_epochs=2), "cpu")
    >>> len(trained.history), encode_bank(trained.model, validation, "cpu").mu.shape
    (2, (27, 3))
    """
    held_out = prepare(train, validation, settings.validation_windows)
    if settings.likelihood == "bernoulli" and not (train.imaging and train.imaging.minmax):
        raise ValueError(
            "a Bernoulli likelihood is for values within [0, 1]: set window.scaling to minmax and materialize "
            "training_set again, or vae.likelihood to gaussian"
        )
    source = DeviceWindows(train, device)
    model = _new_model(*train.window_shape, settings).to(device)
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)
    state = State(model, {"vae": optimizer}, torch.Generator(device).manual_seed(settings.seed))
    if settings.likelihood == "gaussian":
        first = np.linspace(0, len(train) - 1, min(len(train), settings.batch)).astype(int)
        model.start_from(source[torch.from_numpy(first).to(device)])
    if unfinished:
        state.restore(unfinished)
    bf16 = knows_bf16(device)
    warm_up = settings.warm_up_share * total_steps(len(train), settings)

    def step(x: torch.Tensor, number: int) -> torch.Tensor:
        weight = settings.kl_weight * min(1.0, number / max(warm_up, 1.0))
        return _step(model, optimizer, x, weight, state.generator, bf16)

    for losses, seconds in epochs(
        state, source, settings, step, "vae", progress, unfinished, stop, patience=settings.patience
    ):
        report = _validated(model, held_out, device, float(losses.mean()), state.epoch, seconds)
        least = state.history[state.best]["validation_loss"] if state.best >= 0 else math.inf
        state.end_epoch(asdict(report), better=report.validation_loss < least)
        if unfinished:
            state.save(unfinished)
        if on_epoch:
            on_epoch(TrainedVae(model, state.history, state.best))
    if state.best < 0:
        raise FloatingPointError(
            "the validation loss was never finite: lower vae.learning_rate, and look for extreme training windows"
        )
    model.load_state_dict(state.best_weights)
    return TrainedVae(model.to("cpu").eval(), state.history, state.best)


def save_vae(store: Store, trained: TrainedVae, lineage: dict[str, Any]) -> str:
    """Store a trained network as model ``vae`` and return its version; making it live is a separate step.

    Parameters
    ----------
    store : Store
    trained : TrainedVae
    lineage : dict
        What it was trained on; kept at the top of the description, beside the figures of the best epoch.
    """
    model = trained.model
    description = {
        **lineage,
        "frames": model.frames,
        "bands": model.bands,
        "settings": model.settings.model_dump(),
        "best_epoch": trained.best_epoch,
        **{key: trained.best[key] for key in ("validation_loss", "active_units", "collapsed")},
    }
    return save_network(store, "vae", model, trained.history, description)


def load_vae(store: Store, version: str) -> Vae:
    """Return a stored network, in eval mode, on the CPU.

    Raises
    ------
    checkpoints.CheckpointError
        Where it does not exist or is damaged.
    """
    tensors, description = checkpoints.load(store, "vae", version)
    model = _new_model(description["frames"], description["bands"], VaeSettings(**description["settings"]))
    load_weights(model, tensors)
    return model


def _new_model(frames: int, bands: int, settings: VaeSettings) -> Vae:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(settings.seed)
        return Vae(frames, bands, settings)


def _step(
    model: Vae,
    optimizer: torch.optim.Optimizer,
    x: torch.Tensor,
    kl_weight: float,
    generator: torch.Generator,
    bf16: bool,
) -> torch.Tensor:
    """Take one step down the gradient and return the loss, without a wait for the device."""
    settings = model.settings
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        mu, logvar = model.encode(x)
        noise = torch.randn(mu.shape, generator=generator, device=mu.device)
        decoded = model.decode(mu + noise * torch.exp(0.5 * logvar))
    error, divergence = model.negative_log_likelihood(x, decoded), kl(mu, logvar)
    kept = _best(error.detach() + divergence.detach().sum(dim=1), settings.trim_share)
    free = divergence[kept].mean(dim=0).clamp(min=settings.free_bits).sum()
    loss = error[kept].mean() + kl_weight * free
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
    optimizer.step()
    return loss.detach()


def _best(loss: torch.Tensor, trim_share: float) -> torch.Tensor:
    """Return the positions of all but the worst share of a batch; at least one stays."""
    return loss.argsort()[: max(1, len(loss) - math.ceil(trim_share * len(loss)))]


def _validated(
    model: Vae, held_out: WindowBank, device: str, train_loss: float, epoch: int, seconds: float
) -> EpochReport:
    settings = model.settings
    encoded = encode_bank(model, held_out, device)
    loss = torch.from_numpy(encoded.reconstruction_error + settings.kl_weight * encoded.kl)
    kept = _best(loss, settings.trim_share).numpy()
    return EpochReport(
        epoch=epoch + 1,
        max_epochs=settings.max_epochs,
        train_loss=train_loss,
        validation_loss=float(loss[kept].mean()),
        reconstruction=float(encoded.reconstruction_error[kept].mean()),
        kl=float(encoded.kl[kept].mean()),
        latent=settings.latent,
        seconds=seconds,
        **collapse_report(encoded.mu, encoded.logvar),
    )
