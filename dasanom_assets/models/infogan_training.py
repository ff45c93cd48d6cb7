"""How infoGAN is trained, stored and applied to windows.

As for the VAE, the same windows and settings give the same weights on one CPU.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dasanom_assets.models import checkpoints
from dasanom_assets.models.infogan import (
    InfoGan,
    adversarial_loss,
    code_losses,
    consistency_loss,
    draw,
    entropy,
    moved,
)
from dasanom_assets.models.loop import (
    DeviceWindows,
    State,
    epochs,
    load_weights,
    prepare,
    save_network,
    total_steps,
)
from dasanom_assets.models.training import ENCODING_BATCH, knows_bf16
from dasanom_assets.models.unfinished import Unfinished
from dasanom_assets.settings import InfoGanSettings
from dasanom_assets.spectrograms.windows import WindowBank
from dasanom_assets.tables.store import Store

BETAS = (0.5, 0.999)
"""Of Adam, as for DCGAN (Radford et al. 2016)."""

LEAST_INFORMATION_SHARE = 0.25
"""Share of a category's entropy, below which the generator counts as deaf to it."""


@dataclass(frozen=True)
class InfoGanEpoch:
    """What one epoch came to; losses and information in nats.

    Attributes
    ----------
    epoch, max_epochs : int
        The epoch, from 1, and how many there are.
    discriminator_loss, generator_loss : float or None
        Cross-entropies of real against generated windows; None while only categories or the encoder are learned.
    categorical_information, continuous_information : float or None
        Lower bounds on what generated windows tell of their codes: at most ``log(categories)``; and without such a
        limit for continuous ones.
    category_information : float
        Between validation windows and the category that the discriminator reads from them.
    categories_used : float
        Exponential of the entropy of the validation windows' categories.
    reconstruction : float
        Mean square error of the encoded and generated validation windows, in units of the windows squared.
    seconds : float
        Wall-clock time.
    """

    epoch: int
    max_epochs: int
    discriminator_loss: float | None
    generator_loss: float | None
    categorical_information: float | None
    continuous_information: float | None
    category_information: float
    categories_used: float
    reconstruction: float
    seconds: float

    def line(self) -> str:
        """Return the epoch in one line of text."""
        if self.discriminator_loss is None:
            losses = "categories of real windows or encoder alone"
        else:
            losses = (
                f"losses {self.discriminator_loss:.2f} and {self.generator_loss:.2f} nats, "
                f"information {self.categorical_information:.2f} and {self.continuous_information:.2f} nats"
            )
        return (
            f"epoch {self.epoch} of {self.max_epochs}: {losses}, {self.categories_used:.1f} categories in use, "
            f"reconstruction {self.reconstruction:.3f}, {self.seconds:.1f} s"
        )


@dataclass(frozen=True)
class TrainedInfoGan:
    """Trained networks and how they came to be.

    Attributes
    ----------
    model : InfoGan
        In eval mode; once trained, on the CPU.
    history : list of dict
        One `InfoGanEpoch` an epoch.
    """

    model: InfoGan
    history: list[dict[str, Any]]

    @property
    def usable(self) -> bool:
        """Whether the network may be made live: its generator was trained, which a few steps may not come to.

        One that is deaf to its codes may: features and reconstruction are scored, and codes are not.
        """
        return self.categorical_information is not None

    @property
    def deaf(self) -> bool:
        """Whether the generator makes little of its categorical code."""
        least = LEAST_INFORMATION_SHARE * math.log(self.model.settings.categories)
        return self.categorical_information is None or self.categorical_information < least

    @property
    def categorical_information(self) -> float | None:
        """That of the last epoch in which the generator learned, nats."""
        told = [row["categorical_information"] for row in self.history]
        return next((value for value in reversed(told) if value is not None), None)

    def lines(self) -> list[str]:
        """Return each epoch in one line of text."""
        return [InfoGanEpoch(**row).line() for row in self.history]

    def note(self) -> dict[str, Any]:
        """Return what is told of the training beside the network, JSON-serialisable."""
        last = self.history[-1]
        kept = ("reconstruction", "category_information", "categories_used")
        told = {"categorical_information": self.categorical_information, "deaf": self.deaf}
        return {"epochs": len(self.history), **{key: last[key] for key in kept}, **told}


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


def train_infogan(
    train: WindowBank,
    validation: WindowBank,
    settings: InfoGanSettings,
    device: str,
    on_epoch: Callable[[TrainedInfoGan], object] | None = None,
    progress: bool = False,
    unfinished: Unfinished | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainedInfoGan:
    """Train infoGAN on windows, most of which are normal.

    Over the first steps only the category's head and the trunk below it learn, by `infogan.consistency_loss` on
    real windows: a generator that is faster would teach them categories of its own. Then each step moves the
    discriminator, by that loss, by its cross-entropy and by how badly it reads the codes of generated windows; and
    the generator, by the non-saturating loss and the codes. Over the last steps the encoder learns, by the square
    error of windows that it and the generator, which no longer changes, bring back. Learning rates fall to zero in
    a straight line. Networks compute in bfloat16 where the device knows it, losses and weights are float32.

    Parameters
    ----------
    train, validation : WindowBank
        Without NaN; of equal window shape; `train` with its `levels`.
    settings : InfoGanSettings
    device : str
        Torch device; see `training.resolve_device`.
    on_epoch : callable, optional
        Called after each epoch with the networks as they are then, on the device.
    progress : bool
        Whether to show a progress bar over the steps.
    unfinished, stop
        See `training.train_vae`.

    Raises
    ------
    Interrupted
        Where `stop` says so.
    ValueError
        Where there are too few windows, their shapes differ, or their levels are not known.
    FloatingPointError
        Where a loss is no longer finite.
    """
    held_out = prepare(train, validation, settings.validation_windows)
    source = DeviceWindows(train, device)
    if train.levels is None:
        raise ValueError("the least and the greatest value of the windows are not known: set WindowBank.levels")
    model = _new_model(*train.window_shape, train.levels, settings).to(device)
    optimizers = {
        name: torch.optim.Adam(getattr(model, name).parameters(), rate, BETAS)
        for name, rate in settings.learning_rates.items()
    }
    state = State(model, optimizers, torch.Generator(device).manual_seed(settings.seed))
    if unfinished:
        state.restore(unfinished)
    total = total_steps(len(train), settings)
    made_by = (1 - settings.encoder_share) * total
    bf16 = knows_bf16(device)

    def step(x: torch.Tensor, number: int) -> torch.Tensor:
        before = number - 1
        for name, rate in settings.learning_rates.items():
            left = (total - before) / (total - made_by) if name == "encoder" else 1 - before / made_by
            optimizers[name].param_groups[0]["lr"] = rate * left
        if before >= made_by:
            return _encoder_step(model, optimizers, x, bf16)
        if settings.consistency_weight and before < settings.warm_up_share * total:
            return _warm_up_step(model, optimizers, x, state.generator, bf16)
        return _step(model, optimizers, x, state.generator, bf16)

    for losses, seconds in epochs(state, source, settings, step, "infogan", progress, unfinished, stop):
        report = _validated(model, held_out, device, losses, state.epoch, seconds)
        state.end_epoch(asdict(report), better=False)
        if not math.isfinite(report.reconstruction):
            raise FloatingPointError(
                f"the losses of infoGAN were not finite in epoch {report.epoch}: lower infogan.generator_rate "
                "and infogan.discriminator_rate, and look for extreme training windows"
            )
        if unfinished:
            state.save(unfinished)
        if on_epoch:
            on_epoch(TrainedInfoGan(model, state.history))
    return TrainedInfoGan(model.to("cpu").eval(), state.history)


def encode_gan(model: InfoGan, bank: WindowBank, device: str, batch: int | None = None) -> GanEncoded:
    """Return what the networks make of windows, without drawing a random number.

    They compute in bfloat16 where the device knows it, as `training.encode_bank` does.

    Parameters
    ----------
    model : InfoGan
        Moved to `device`, where it stays, in eval mode.
    bank : WindowBank
        Windows of the network's shape, without NaN.
    device : str
        Torch device.
    batch : int, optional
        Windows at once; `training.ENCODING_BATCH` by default.
    """
    settings = model.settings
    batch, bf16 = batch or ENCODING_BATCH[torch.device(device).type], knows_bf16(device)
    model.to(device).eval()
    n = len(bank)
    # In one piece: small tensors that stay, between large ones that go, would keep the heap from shrinking.
    features, error, category = (torch.empty(n, *of) for of in ((settings.features,), (), (settings.categories,)))
    at = 0
    with torch.inference_mode():
        for x in DeviceWindows(bank, device).batches(batch) if n else ():
            here = slice(at, at := at + len(x))
            real = model.scaled(x)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
                judged, made = model.discriminator(real), model.generator(model.encoder(real))
            features[here], category[here] = judged.features, judged.category.softmax(dim=1)
            error[here] = (model.unscaled(made) - x).square().mean(dim=(1, 2, 3))
    return GanEncoded(features.numpy(), error.numpy(), category.numpy())


def save_infogan(store: Store, trained: TrainedInfoGan, lineage: dict[str, Any]) -> str:
    """Store trained networks as model ``infogan`` and return their version; making it live is a separate step.

    Parameters
    ----------
    store : Store
    trained : TrainedInfoGan
    lineage : dict
        What it was trained on; kept at the top of the description, beside the figures of the last epoch.
    """
    model = trained.model
    description = {
        **lineage,
        "frames": model.frames,
        "bands": model.bands,
        "levels": list(model.levels),
        "settings": model.settings.model_dump(),
        **trained.note(),
    }
    return save_network(store, "infogan", model, trained.history, description)


def load_infogan(store: Store, version: str) -> InfoGan:
    """Return stored networks, in eval mode, on the CPU.

    Raises
    ------
    checkpoints.CheckpointError
        Where they do not exist or are damaged.
    """
    tensors, d = checkpoints.load(store, "infogan", version)
    model = _new_model(d["frames"], d["bands"], tuple(d["levels"]), InfoGanSettings(**d["settings"]))
    load_weights(model, tensors)
    return model


def _new_model(frames: int, bands: int, levels: tuple[float, float], settings: InfoGanSettings) -> InfoGan:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(settings.seed)
        return InfoGan(frames, bands, levels, settings)


def _warm_up_step(
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


def _step(
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


def _encoder_step(
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
    """Return what a step of `_step` would have, had it been one."""
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


def _validated(
    model: InfoGan, held_out: WindowBank, device: str, losses: torch.Tensor, epoch: int, seconds: float
) -> InfoGanEpoch:
    settings = model.settings
    told = losses.double().nanmean(dim=0).cpu()
    judging, deceiving, categorical, likelihood = (None if math.isnan(v) else v for v in told.tolist())
    encoded = encode_gan(model, held_out, device)
    p = torch.from_numpy(encoded.category)
    used = entropy(p.mean(dim=0))
    return InfoGanEpoch(
        epoch=epoch + 1,
        max_epochs=settings.max_epochs,
        discriminator_loss=judging,
        generator_loss=deceiving,
        categorical_information=None if categorical is None else math.log(settings.categories) - categorical,
        continuous_information=None if likelihood is None else settings.continuous * math.log(2) - likelihood,
        category_information=float(used - entropy(p).mean()),
        categories_used=float(used.exp()),
        reconstruction=float(encoded.reconstruction_error.mean()),
        seconds=seconds,
    )
