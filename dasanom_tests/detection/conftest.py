"""A small line made of levels, without recordings, that everything after the spectrograms has run on."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets import chain
from dasanom_assets.detection.reference.model import Reference, load_reference
from dasanom_assets.detection.scoring import score_day
from dasanom_assets.models import checkpoints
from dasanom_assets.models.training import load_vae
from dasanom_assets.settings import (
    DetectionSettings,
    ReferenceSettings,
    Settings,
    SpectrogramSettings,
    TrainingSetSettings,
    VaeSettings,
    WindowSettings,
)
from dasanom_assets.spectrograms.hours import rows_table
from dasanom_assets.tables.provenance import STEPS, Day
from dasanom_assets.tables.schemas import SCHEMAS, empty
from dasanom_assets.tables.store import Store

SECOND = 1_000_000_000
FIBRE, FIRST, CHANNELS, SECONDS = "north", 100, 24, 600
GRID = SpectrogramSettings(hop_seconds=0.25, bands=8)
HZ = [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 900.0]
SETTINGS = Settings(
    device="cpu",
    spectrogram=GRID,
    window=WindowSettings(seconds=4),
    training_set=TrainingSetSettings(block_seconds=30),
    vae=VaeSettings(
        latent=4,
        widths=(8, 16),
        learning_rate=1e-2,
        warm_up_share=0,
        kl_weight=0.3,
        batch=64,
        max_epochs=3,
        windows_per_epoch=1024,
        validation_windows=256,
    ),
    detection=DetectionSettings(detectors=("neighbours", "ranked", "vae", "latent", "temporal")),
    reference=ReferenceSettings(windows=1500, replicates=60, block_seconds=60),
)
KIND = np.array([0, 0, 1, 1, 0, 0, -1, -1])
TRAINED, QUIET, EVENTFUL = ("2026-01-05", "2026-01-06"), "2026-01-07", "2026-01-08"

Change = Callable[[np.ndarray], None]
"""Works on levels, dB, shape (channels, seconds, frames a second, bands), in place."""


def noon(day: str) -> int:
    return int(np.datetime64(f"{day}T12", "ns").astype(np.int64))


def levels(day: str) -> np.ndarray:
    """Quiet ground: levels of its own in each channel and band, a swell that all share, and two kinds of calm."""
    place = np.random.default_rng(7).normal(-60, 6, (CHANNELS, 1, 1, len(HZ)))
    rng = np.random.default_rng(int(day.replace("-", "")))
    swell = 3 * np.sin(np.arange(SECONDS) / 40 + rng.uniform(0, 6))[None, :, None, None]
    hum = np.repeat(rng.random((CHANNELS, SECONDS // 20)) < 0.5, 20, axis=1)[:, :, None, None]
    return place + swell + 4 * hum * KIND + rng.normal(0, 3, (CHANNELS, SECONDS, GRID.row_shape[0], len(HZ)))


def write_day(
    store: Store,
    day: str,
    change: Change | None = None,
    health: dict[int, str] | None = None,
    began: int | None = None,
) -> None:
    """Write the tables of a day, from spectrograms to common levels, whose recordings begin at noon or `began`."""
    power = levels(day)
    if change:
        change(power)
    power = (np.rint(power / GRID.db_step) * GRID.db_step).astype(np.float32)
    start = (noon(day) if began is None else began) + np.arange(SECONDS) * SECOND
    note = {
        "settings": GRID.model_dump(mode="json"),
        "settings_digest": GRID.digest(),
        "grids": [{"fibre": FIBRE, "sampling_rate_hz": 2000.0, "centre_hz": HZ}],
    }
    channels = range(FIRST, FIRST + CHANNELS)
    rows = (rows_table(FIBRE, c, start, own) for c, own in zip(channels, power, strict=True))
    made_by_hand(store, "spectrograms", day).write("spectrograms", rows, note)
    states = [
        dict.fromkeys(SCHEMAS["channel_health"].names, 0.0)
        | {"fibre": FIBRE, "channel": c, "state": (health or {}).get(c, "ok")}
        for c in channels
    ]
    health_table = pa.Table.from_pylist(states, SCHEMAS["channel_health"])
    made_by_hand(store, "channel_health", day).write("channel_health", health_table)
    for table in ("recordings", "clipped_seconds"):
        made_by_hand(store, table, day).write(table, empty(table))
    for step in chain.INGEST[3:]:
        step(store, day, SETTINGS)


def made_by_hand(store: Store, table: str, day: str) -> Day:
    """A day to write a table of, as if its step had made it."""
    return Day(store, day, SETTINGS, STEPS[table])


def scored(store: Store, day: str, reference: Reference, settings: Settings = SETTINGS) -> Iterator[pa.Table]:
    """Yield the rows of `anomaly_scores` of a day by a model that needs no more than the day's own store."""
    for tables in judged(store, day, reference, settings):
        if "anomaly_scores" in tables:
            yield tables["anomaly_scores"]


def judged(
    store: Store, day: str, reference: Reference, settings: Settings = SETTINGS, client: Any = None
) -> Iterator[dict[str, pa.Table]]:
    """Return the rows of all tables that are made of windows, through the live VAE."""
    vae = load_vae(store, checkpoints.live(store, "vae"))
    inputs = reference.inputs(store, store, "cpu")
    return score_day(store, day, vae, reference, settings, inputs, "cpu", client)


EVENTS = {
    "low": (slice(5, 8), slice(120, 140), slice(0, 2)),
    "high": (slice(14, 17), slice(300, 312), slice(5, 8)),
    "low again": (slice(10, 12), slice(450, 470), slice(0, 2)),
}
"""Channels, seconds and bands of what is planted on the eventful day."""


def plant(power: np.ndarray) -> None:
    for channels, seconds, bands in EVENTS.values():
        power[channels, seconds, :, bands] += 15


@dataclass(frozen=True)
class Ground:
    """The line: two days that a model learned from, a quiet one and one with events, both scored."""

    root: Path
    store: Store
    reference: Reference
    settings: Settings = SETTINGS


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    root = tmp_path_factory.mktemp("ground")
    store = Store(str(root))
    for day in (*TRAINED, QUIET, EVENTFUL):
        write_day(store, day, plant if day == EVENTFUL else None)
    chain.train(store, TRAINED, SETTINGS, lambda line: None)
    for day in (QUIET, EVENTFUL):
        chain.score(store, day, SETTINGS)
    return Ground(root, store, load_reference(store))


@pytest.fixture
def later(ground: Ground, tmp_path: Path) -> Store:
    """A copy of the line, to which a test adds days."""
    shutil.copytree(ground.root, tmp_path / "later")
    return Store(str(tmp_path / "later"))
