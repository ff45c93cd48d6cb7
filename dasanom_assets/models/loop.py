"""What trainings of networks share: windows on the device, and steps that can be stopped and gone on with.

Rows of frames go to the device once, and windows are cut there by index.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dasanom_assets.models import checkpoints
from dasanom_assets.models.cores import training_threads
from dasanom_assets.models.unfinished import Interrupted, Unfinished, optimizer_tensors, restore_optimizer
from dasanom_assets.spectrograms.windows import TOP_DB, WindowBank
from dasanom_assets.tables.store import Store


class DeviceWindows:
    """The windows of a bank as tensors (n, 1, frames, bands) on a device, cut from the rows when asked for."""

    def __init__(self, bank: WindowBank, device: str) -> None:
        self.rows = torch.from_numpy(bank.rows).to(device)
        self.first = torch.from_numpy(bank.first).to(device)
        self.offsets = torch.arange(bank.rows_per_window, device=device)
        self.shape = (-1, bank.rows_per_window * bank.rows.shape[1], bank.rows.shape[2])
        self.imaging = bank.imaging
        if self.imaging is not None and self.imaging.time is not None and self.imaging.bands is not None:
            self.time = torch.from_numpy(self.imaging.time).to(device)
            self.bands = torch.from_numpy(self.imaging.bands).to(device)
            self.phase = torch.from_numpy(bank.phase).to(device)

    def __getitem__(self, windows: torch.Tensor) -> torch.Tensor:
        """Return images as `windows.Imaging.image` makes them."""
        x = self.rows[self.first[windows, None] + self.offsets].reshape(self.shape)
        if self.imaging is None:
            return x[:, None]
        if self.imaging.minmax:
            x = torch.maximum(x, x.amax(dim=(1, 2), keepdim=True) - TOP_DB)
        if self.imaging.time is not None:
            x = self.time[self.phase[windows]] @ x @ self.bands.T
        if self.imaging.minmax:
            x = x - x.amin(dim=(1, 2), keepdim=True)
            x = x / x.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
        return x[:, None]

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """Yield all images in their order, `size` at a time."""
        for windows in torch.arange(len(self.first), device=self.first.device).split(size):
            yield self[windows]


def save_network(
    store: Store, name: str, model: nn.Module, history: list[dict[str, Any]], description: dict[str, Any]
) -> str:
    """Store a trained network and return its version; making it live is a separate step.

    Parameters
    ----------
    store : Store
    name : str
        What kind of model; see `checkpoints.save`.
    model : torch.nn.Module
    history : list of dict
        One an epoch; their ``seconds``, which differ from run to run, are left out.
    description : dict
        JSON-serialisable: what it was trained on, what it is made anew from, and how good it is.
    """
    reports = [{key: value for key, value in row.items() if key != "seconds"} for row in history]
    tensors = {key: value.cpu() for key, value in model.state_dict().items()}
    return checkpoints.save(store, name, tensors, {**description, "history": reports})


def load_weights(model: nn.Module, tensors: Mapping[str, np.ndarray]) -> None:
    """Give a network stored weights, and leave it in eval mode.

    Raises
    ------
    checkpoints.CheckpointError
        Where they are of a network that is built otherwise.
    """
    try:
        model.load_state_dict({key: torch.from_numpy(value) for key, value in tensors.items()})
    except RuntimeError as error:
        raise checkpoints.CheckpointError(
            f"a stored {type(model).__name__} is of another version of dasanom: run the job train again ({error})"
        ) from error
    model.eval()


class Drawing(Protocol):
    """Settings of how windows are drawn, as sections of networks have them."""

    @property
    def batch(self) -> int:
        """Windows a step."""

    @property
    def max_epochs(self) -> int:
        """Epochs at most."""

    @property
    def windows_per_epoch(self) -> int:
        """Windows drawn for an epoch, at most."""


class State:
    """All that a training is at one moment."""

    def __init__(
        self, model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer], generator: torch.Generator
    ) -> None:
        self.model, self.optimizers, self.generator = model, optimizers, generator
        self.epoch, self.best, self.seconds = 0, -1, 0.0
        self.history: list[dict[str, Any]] = []
        self.best_weights: dict[str, torch.Tensor] = {}
        self.drawn: torch.Tensor | None = None
        """The windows of the epoch in their order."""
        self.losses: list[torch.Tensor] = []
        """Of the steps that the epoch has taken."""

    def end_epoch(self, report: dict[str, Any], better: bool) -> None:
        """Note how the epoch ended, keep the weights where they are the best so far, and begin the next."""
        self.history.append(report)
        if better:
            self.best, self.best_weights = self.epoch, copy.deepcopy(self.model.state_dict())
        self.epoch, self.drawn, self.losses, self.seconds = self.epoch + 1, None, [], 0.0

    def save(self, unfinished: Unfinished) -> None:
        """Write it all."""
        tensors = {"generator": self.generator.get_state()}
        for name, optimizer in self.optimizers.items():
            tensors |= optimizer_tensors(optimizer, f"optimizer.{name}")
        for prefix, weights in (("model", self.model.state_dict()), ("best", self.best_weights)):
            tensors |= {f"{prefix}.{name}": value.cpu() for name, value in weights.items()}
        if self.drawn is not None:
            losses = torch.stack(self.losses).cpu() if self.losses else torch.empty(0)
            tensors |= {"drawn": self.drawn.cpu(), "losses": losses}
        values = {"epoch": self.epoch, "best": self.best, "seconds": self.seconds, "history": self.history}
        unfinished.save(tensors, values)

    def restore(self, unfinished: Unfinished) -> None:
        """Become what was written, if there is something."""
        if (saved := unfinished.load()) is None:
            return
        tensors, values = saved
        device = self.generator.device

        def weights(prefix: str) -> dict[str, torch.Tensor]:
            names = [name for name in tensors if name.startswith(prefix)]
            return {name.removeprefix(prefix): torch.from_numpy(tensors[name]) for name in names}

        self.model.load_state_dict(weights("model."))
        self.best_weights = weights("best.")
        for name, optimizer in self.optimizers.items():
            restore_optimizer(optimizer, tensors, f"optimizer.{name}")
        self.generator.set_state(torch.from_numpy(tensors["generator"]))
        self.epoch, self.best, self.seconds = values["epoch"], values["best"], values["seconds"]
        self.history = values["history"]
        if "drawn" in tensors:
            self.drawn = torch.from_numpy(tensors["drawn"]).to(device)
            self.losses = list(torch.from_numpy(tensors["losses"]).to(device))


def prepare(train: WindowBank, validation: WindowBank, validation_windows: int) -> WindowBank:
    """Return the windows that an epoch is judged by, spread over `validation`, and take a training's threads.

    Raises
    ------
    ValueError
        Where there are too few windows, or their shapes differ.
    """
    if len(train) < 2 or not len(validation):
        raise ValueError(
            f"{len(train)} windows to train on and {len(validation)} to stop by: both are needed; "
            "add days to the training set, or shorten training_set.block_seconds"
        )
    if train.window_shape != validation.window_shape:
        raise ValueError(f"windows of {train.window_shape} and of {validation.window_shape} do not go together")

    torch.set_num_threads(training_threads())  # whatever OMP_NUM_THREADS says of runs that share the machine
    evenly = np.linspace(0, len(validation) - 1, min(len(validation), validation_windows)).astype(int)
    return validation.subset(evenly)


def total_steps(windows: int, settings: Drawing) -> int:
    """Return how many steps a training has at most."""
    return settings.max_epochs * math.ceil(_drawn(windows, settings) / settings.batch)


def _drawn(windows: int, settings: Drawing) -> int:
    """Return how many windows an epoch draws: one left alone would have no spread to be normalised to."""
    n = min(windows, settings.windows_per_epoch)
    return n - (n % settings.batch == 1)


def epochs(
    state: State,
    source: DeviceWindows,
    settings: Drawing,
    step: Callable[[torch.Tensor, int], torch.Tensor],
    name: str,
    progress: bool,
    unfinished: Unfinished | None,
    stop: Callable[[], bool],
    patience: float = math.inf,
) -> Iterator[tuple[torch.Tensor, float]]:
    """Take the steps that are left of a training, and yield after each epoch, which the caller ends.

    Parameters
    ----------
    state : State
    source : DeviceWindows
    settings : Drawing
    step : callable
        Takes windows and the number of the step, from 1, and returns its loss or losses.
    name : str
        Of the progress bar.
    progress : bool
    unfinished, stop
        See `train_vae`.
    patience : float
        Epochs without a better one that end the training.

    Yields
    ------
    losses : torch.Tensor
        Shape (steps, ...), of the epoch.
    seconds : float
        That it took.

    Raises
    ------
    Interrupted
        Where `stop` says so.
    """
    n = len(source.first)
    total = total_steps(n, settings)
    batches = total // settings.max_epochs
    done = batches * state.epoch + len(state.losses)
    with tqdm(total=total, initial=done, unit="step", desc=name, mininterval=2, disable=not progress) as bar:
        while state.epoch < settings.max_epochs and state.epoch - 1 - state.best < patience:
            started = time.perf_counter()
            state.model.train()
            if state.drawn is None:
                everything = torch.randperm(n, generator=state.generator, device=state.generator.device)
                state.drawn = everything[: _drawn(n, settings)]
            for windows in state.drawn.split(settings.batch)[len(state.losses) :]:
                if stop():
                    if unfinished:
                        state.seconds += time.perf_counter() - started
                        state.save(unfinished)
                    epoch = f"epoch {state.epoch + 1} of {settings.max_epochs}"
                    raise Interrupted(epoch, kept=unfinished is not None)
                number = batches * state.epoch + len(state.losses) + 1
                state.losses.append(step(source[windows], number))
                bar.update()
            yield torch.stack(state.losses), state.seconds + time.perf_counter() - started
