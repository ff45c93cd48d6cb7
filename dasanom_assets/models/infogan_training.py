"""How infoGAN is trained and stored.

As for the VAE, the same windows and settings give the same weights on one CPU.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from dasanom_assets.models import checkpoints
from dasanom_assets.models.device import knows_bf16
from dasanom_assets.models.encoding import encode_gan
from dasanom_assets.models.infogan import InfoGan, entropy
from dasanom_assets.models.infogan_steps import adversarial_step, encoder_step, warm_up_step
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
        information = [row["categorical_information"] for row in self.history]
        return next((value for value in reversed(information) if value is not None), None)

    def lines(self) -> list[str]:
        """Return each epoch in one line of text."""
        return [InfoGanEpoch(**row).line() for row in self.history]

    def note(self) -> dict[str, Any]:
        """Return what is told of the training beside the network, JSON-serialisable."""
        last = self.history[-1]
        kept = ("reconstruction", "category_information", "categories_used")
        codes = {"categorical_information": self.categorical_information, "deaf": self.deaf}
        return {"epochs": len(self.history), **{key: last[key] for key in kept}, **codes}


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
        Torch device; see `device.resolve_device`.
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
            return encoder_step(model, optimizers, x, bf16)
        if settings.consistency_weight and before < settings.warm_up_share * total:
            return warm_up_step(model, optimizers, x, state.generator, bf16)
        return adversarial_step(model, optimizers, x, state.generator, bf16)

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


def _validated(
    model: InfoGan, held_out: WindowBank, device: str, losses: torch.Tensor, epoch: int, seconds: float
) -> InfoGanEpoch:
    settings = model.settings
    means = losses.double().nanmean(dim=0).tolist()
    judging, deceiving, categorical, likelihood = (None if math.isnan(v) else v for v in means)
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
