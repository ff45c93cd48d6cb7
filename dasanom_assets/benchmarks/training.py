"""How fast the VAE trains, beside plainer ways to feed and lay out the same network in the same run.

``dasanom bench training --out docs/training.json`` takes steps of training with the default
settings on windows of noise, prints a table and writes the figures as JSON. The ways take turns, several times;
figures are medians, ratios are those of medians.

- ``as_it_is``: rows lie on the device, windows are cut there by index; channels last; bf16 where it knows that.
- ``plain``: float32, channels first, and a `DataLoader` that copies each window.
- ``data_loader``: the network as it is, fed by such a `DataLoader` with a worker a core.
- ``random_tensors``: the network as it is, on batches that lie on the device already.
- ``float32``, ``random_tensors_float32``: as these two, without bf16.
- ``beside_neighbour``: as it is, on the threads that a training takes, while another process keeps one core busy;
  ``alone`` is the same without it.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn
from torch.utils.data import DataLoader, Dataset

from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.benchmarks.options import Out
from dasanom_assets.models.cores import training_threads
from dasanom_assets.models.device import knows_bf16
from dasanom_assets.models.loop import DeviceWindows
from dasanom_assets.models.training import _step
from dasanom_assets.models.vae import Enlarge, Vae
from dasanom_assets.settings import SpectrogramSettings, VaeSettings
from dasanom_assets.spectrograms.windows import WindowBank

SETTINGS = VaeSettings()
SECONDS = 8
ROW = SpectrogramSettings().row_shape


class Plain(Vae):
    """The same network, channels first in weights and activations."""

    def __init__(self, frames: int, bands: int, settings: VaeSettings) -> None:
        super().__init__(frames, bands, settings)
        layers: list[nn.Module] = []
        for layer in self.decoder:
            if isinstance(layer, Enlarge):
                layers += [nn.Conv2d(layer.in_channels, layer.out_channels, 1), nn.PixelShuffle(layer.factor)]
            else:
                layers.append(layer)
        self.decoder = nn.Sequential(*layers)
        nn.utils.convert_conv2d_weight_memory_format(self, torch.contiguous_format)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """As `Vae.decode`."""
        return self.decoder(self.lift(z))[:, :, : self.frames, : self.bands]


class Copied(Dataset):
    """The windows of a bank, one at a time."""

    def __init__(self, bank: WindowBank) -> None:
        self.bank = bank

    def __len__(self) -> int:
        return len(self.bank)

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.from_numpy(self.bank.window(i)[None].copy())


def noise(n: int) -> WindowBank:
    """Return `n` windows of the default size that overlap by seven eighths."""
    rows = np.random.default_rng(0).normal(size=(n + SECONDS - 1, *ROW)).astype(np.float32)
    return WindowBank(rows, np.arange(n), SECONDS)


class Way:
    """A way to train: a network of its own, and what it is fed with.

    Parameters
    ----------
    network : type of Vae
    feed : callable
        Gives batches without end.
    device : str
    bf16 : bool
        Whether the network computes in it where the device knows it, as in `train_vae`.
    """

    def __init__(
        self, network: type[Vae], feed: Callable[[], Iterator[torch.Tensor]], device: str, bf16: bool = True
    ) -> None:
        torch.manual_seed(0)
        self.model = network(SECONDS * ROW[0], ROW[1], SETTINGS).to(device).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), SETTINGS.learning_rate)
        self.generator = torch.Generator(device).manual_seed(0)
        self.batches, self.device, self.bf16 = feed(), device, bf16 and knows_bf16(device)

    def images_a_second(self, steps: int) -> float:
        """Take some steps and return how many windows went through them in a second."""
        self._wait()
        began = time.perf_counter()
        n = 0
        for _ in range(steps):
            x = next(self.batches)
            _step(self.model, self.optimizer, x, 1.0, self.generator, self.bf16)
            n += len(x)
        self._wait()
        return n / (time.perf_counter() - began)

    def _wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()


def ways(bank: WindowBank, device: str) -> dict[str, Way]:
    """Return the ways that are compared on a device."""
    generator = torch.Generator(device).manual_seed(0)

    def cut_by_index() -> Iterator[torch.Tensor]:
        source = DeviceWindows(bank, device)
        while True:
            for positions in torch.randperm(len(bank), generator=generator, device=device).split(SETTINGS.batch):
                yield source[positions]

    def copied(workers: int) -> Iterator[torch.Tensor]:
        loader = DataLoader(
            Copied(bank),
            SETTINGS.batch,
            shuffle=True,
            num_workers=workers,
            pin_memory=device != "cpu",
            persistent_workers=workers > 0,
        )
        while True:
            for x in loader:
                yield x.to(device, non_blocking=True)

    def ready() -> Iterator[torch.Tensor]:
        shape = (SETTINGS.batch, 1, SECONDS * ROW[0], ROW[1])
        batches = [torch.randn(shape, generator=generator, device=device) for _ in range(8)]
        while True:
            yield from batches

    as_it_is = Way(Vae, cut_by_index, device)
    if device == "cpu":  # workers would take the cores from the network
        return {"as_it_is": as_it_is, "plain": Way(Plain, lambda: copied(0), device, bf16=False)}
    cores = len(os.sched_getaffinity(0))
    return {
        "as_it_is": as_it_is,
        "plain": Way(Plain, lambda: copied(cores), device, bf16=False),
        "data_loader": Way(Vae, lambda: copied(cores), device),
        "random_tensors": Way(Vae, ready, device),
        "float32": Way(Vae, cut_by_index, device, bf16=False),
        "random_tensors_float32": Way(Vae, ready, device, bf16=False),
    }


def bench(device: str, windows: int, steps: int, runs: int) -> dict[str, Any]:
    """Let the ways take turns and return medians, spreads and ratios."""
    compared = ways(noise(windows), device)
    for way in compared.values():
        way.images_a_second(3)  # what is chosen and compiled at first use
    speeds: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(runs):
        for name, way in compared.items():
            speeds[name].append(way.images_a_second(steps))
    median = {name: statistics.median(values) for name, values in speeds.items()}
    out: dict[str, Any] = {f"{name}_images_per_s": value for name, value in median.items()}
    out |= {f"{name}_range": [min(values), max(values)] for name, values in speeds.items()}
    return out | {
        f"ratio_to_{name}": median["as_it_is"] / value for name, value in median.items() if name != "as_it_is"
    }


def bench_neighbour(windows: int, steps: int, runs: int) -> dict[str, float]:
    """Return how fast the CPU trains alone and beside a process that keeps one core busy, medians of turns."""
    torch.set_num_threads(training_threads())
    way = ways(noise(windows), "cpu")["as_it_is"]
    way.images_a_second(3)
    speeds: dict[str, list[float]] = {"alone": [], "beside_neighbour": []}
    core = max(os.sched_getaffinity(0))
    for _ in range(runs):
        speeds["alone"].append(way.images_a_second(steps))
        busy = [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"]
        with subprocess.Popen(busy) as neighbour:
            speeds["beside_neighbour"].append(way.images_a_second(steps))
            neighbour.kill()
    median = {f"{name}_images_per_s": statistics.median(values) for name, values in speeds.items()}
    return median | {"times_alone": median["alone_images_per_s"] / median["beside_neighbour_images_per_s"]}


GOALS: tuple[tuple[str, str, str, Callable[[float], bool]], ...] = (
    ("cpu", "ratio_to_plain", "≥ 1.5", lambda v: v >= 1.5),
    ("neighbour", "times_alone", "≤ 3", lambda v: v <= 3),
    ("gpu", "ratio_to_random_tensors", "≥ 0.8", lambda v: v >= 0.8),
    ("gpu", "ratio_to_data_loader", "≥ 5", lambda v: v >= 5),
)


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Return the figures that have a goal as a Markdown table."""
    lines = ["| figure | measured | goal | met |", "|---|---|---|---|"]
    for group, name, goal, met in GOALS:
        value = figures[group][name] if group in figures else None
        measured = (
            "no GPU | " + goal + " | not measured"
            if value is None
            else (f"{value:.2f} | {goal} | {'yes' if met(value) else 'no'}")
        )
        lines.append(f"| {group}: {name.replace('_', ' ')} | {measured} |")
    return "\n".join(lines)


def main(
    out: Out = None,
    windows: Annotated[int, typer.Option(help="windows to draw from")] = 20_000,
    steps: Annotated[int, typer.Option(help="steps a run on a CPU")] = 16,
    runs: Annotated[int, typer.Option(help="runs of each way")] = 7,
) -> None:
    """Run the benchmark."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    figures = {"cpu": bench("cpu", windows, steps, runs)}
    figures["neighbour"] = bench_neighbour(windows, steps, runs)
    there = torch.cuda.is_available()
    if there:
        figures["gpu"] = bench("cuda", windows, 10 * steps, runs)
    write_figures(
        out,
        figures,
        bf16={kind: knows_bf16(kind) for kind in ("cpu", "cuda")[: 1 + there]},
        gpu=torch.cuda.get_device_name() if there else None,
        torch=torch.__version__,
    )
    print(table(figures))
