"""Whether infoGAN's categorical code finds the digits of MNIST, of which it is told nothing.

``dasanom bench mnist --samples ../shared/data/mnist --out docs/mnist.json`` trains on nine
tenths of the images, reads the category of the others, assigns categories to digits in the best way, and prints
the accuracy, the confusion matrix and how long it took. A figure of samples over the codes lies beside the JSON.
Labels are used for nothing but that measure. ``taskset -c 0`` before it keeps it to one core.
"""

import gzip
import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment

from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.benchmarks.options import numbers
from dasanom_assets.models.encoding import encode_gan
from dasanom_assets.models.infogan_figures import code_samples
from dasanom_assets.models.infogan_training import train_infogan
from dasanom_assets.settings import InfoGanSettings
from dasanom_assets.spectrograms.windows import WindowBank

SIDE, DIGITS = 28, 10
HELD_OUT_SHARE = 0.1
VALIDATION = 500
"""Training images that the epochs' reports are made of; they choose nothing."""

SETTINGS = InfoGanSettings(
    categories=DIGITS,
    widths=(32, 64),
    patch=2,
    scatter=0,
    instance_noise=0,
    discriminator_rate=5e-4,
    batch=100,
    max_epochs=40,
    windows_per_epoch=10_000,
    encoder_share=0.05,
    shift=(0.1, 0.1),
    stretch=0.15,
    shear=0.2,
    turn_degrees=15,
)
"""As by default, but for the size of the images, the moves that leave a digit what it is, and an encoder, which
has no part in categories, that learns for less long."""


def read_digits(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images, float32, shape (n, 28, 28), in [0, 1], and their digits, int64, in an order drawn once.

    An image lies as a spectrogram does: its columns are the frames, and its rows, from below, the bands.

    Raises
    ------
    FileNotFoundError
        Where the folder lacks one of ``0.json.gz`` to ``9.json.gz``.
    """
    of_digit = [
        np.array(json.loads(gzip.decompress((folder / f"{digit}.json.gz").read_bytes()))["data"], np.float32)
        for digit in range(DIGITS)
    ]
    images = np.concatenate([values.reshape(-1, SIDE, SIDE)[:, ::-1].transpose(0, 2, 1) for values in of_digit])
    digits = np.repeat(np.arange(DIGITS), [values.size // SIDE**2 for values in of_digit])
    order = np.random.default_rng(0).permutation(len(images))
    return images[order], digits[order]


def best_assignment(category: np.ndarray, digit: np.ndarray) -> np.ndarray:
    """Return the confusion matrix after the assignment of categories to digits with the most matches.

    Parameters
    ----------
    category, digit : numpy.ndarray
        int, shape (n,), 0 to 9.

    Returns
    -------
    numpy.ndarray
        int64, shape (10, 10): a row for each digit, a column for each category, in the order of its digit.
    """
    counts = np.zeros((DIGITS, DIGITS), np.int64)
    np.add.at(counts, (digit, category), 1)
    return counts[:, linear_sum_assignment(counts, maximize=True)[1]]


def run(images: np.ndarray, digits: np.ndarray, settings: InfoGanSettings) -> tuple[dict[str, Any], Figure]:
    """Train, measure, and return what came of it and a figure of samples."""
    held_out = int(HELD_OUT_SHARE * len(images))
    bank = WindowBank(images, np.arange(len(images)), 1, levels=(0.0, 1.0))
    place = np.arange(len(images))
    started = time.perf_counter()
    trained = train_infogan(
        bank.subset(place[held_out + VALIDATION :]),
        bank.subset(place[held_out : held_out + VALIDATION]),
        settings,
        "cpu",
        on_epoch=lambda so_far: print(so_far.lines()[-1], file=sys.stderr, flush=True),
    )
    seconds = time.perf_counter() - started
    category = encode_gan(trained.model, bank.subset(place[:held_out]), "cpu").category.argmax(axis=1)
    confusion = best_assignment(category, digits[:held_out])
    figures = {
        "seed": settings.seed,
        "accuracy": round(float(np.trace(confusion)) / held_out, 4),
        "held_out": held_out,
        "trained_on": len(images) - held_out - VALIDATION,
        "epochs": len(trained.history),
        "seconds": round(seconds, 1),
        "confusion": confusion.tolist(),
    }
    return figures, code_samples(trained.model)


def main(
    samples: Annotated[Path, typer.Option(help="folder of 0.json.gz to 9.json.gz")],
    out: Annotated[Path | None, typer.Option(help="JSON file to write, and PNG beside it")] = None,
    epochs: Annotated[int, typer.Option(help="of training")] = SETTINGS.max_epochs,
    seeds: Annotated[str, typer.Option(help="of training")] = "0",
) -> None:
    """Run the benchmark."""
    images, digits = read_digits(samples)
    runs = []
    for seed in numbers(seeds):
        settings = SETTINGS.model_copy(update={"max_epochs": epochs, "seed": seed})
        figures, picture = run(images, digits, settings)
        runs.append(figures)
        write_figures(out, {"runs": runs}, load=os.getloadavg()[0])
        if out:
            picture.savefig(out.with_name(f"{out.stem}-{seed}.png"), dpi=110)
        print(
            f"seed {seed}: accuracy {figures['accuracy']:.3f} on {figures['held_out']} held-out images, "
            f"{figures['seconds']:.0f} s for {figures['epochs']} epochs"
        )
        print("\n".join(" ".join(f"{n:4d}" for n in row) for row in figures["confusion"]))
