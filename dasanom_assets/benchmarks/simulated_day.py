"""A simulated day with the contractor's files and a model to score it with, as wide and as long as wanted.

Ten minutes of 64 channels are simulated, and laid side by side and one after the other. A model is trained on two
such days, long enough for its latent space to spread: detectors that look there take part, and take their time.
"""

import json
import shutil
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np

from dasanom_assets import chain
from dasanom_assets.recordings.simulation.simulate import simulate
from dasanom_assets.recordings.simulation.sites import Line, without_threats
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.tables.store import Store

LEARNED, DAY = ("2026-01-05", "2026-01-06"), "2026-01-07"
CHANNELS, MINUTES = 64, 10
PER_VALUE = {".bin": ("<i2", 1), ".prob": ("<f4", 5), ".pow": ("<f4", 1)}
"""Type of the numbers in a file, and how many a row has for each channel."""


def settings_of(root: Path) -> Settings:
    """Return settings for a data root, by which networks train in a minute."""
    short = {"windows_per_epoch": 4096}
    return Settings.model_validate({"data": str(root), "vae": short, "device": "cpu"})


def simulated(folder: Path, rate_hz: int) -> Path:
    """Simulate the days, and train a model on the first two; return the data root."""
    root = folder / f"seed-{rate_hz}"
    line = Line(
        zones=((100, 100 + CHANNELS - 1),),
        minutes=MINUTES,
        file_minutes=MINUTES,
        sampling_rate_hz=rate_hz,
        hour=0,
    )
    if not (root / "models/live.json").exists():
        shutil.rmtree(root, ignore_errors=True)
        simulate(without_threats(line), [date.fromisoformat(day) for day in LEARNED], root, contractor=False)
        simulate(line, [date.fromisoformat(DAY)], root)
        store, settings = Store(str(root)), settings_of(root)
        with open_client(settings.dask) as client:
            for day in LEARNED:
                chain.ingest(store, day, settings, client)
        chain.train(store, LEARNED, settings, print)
    return root


def enlarged(folder: Path, channels: int, hours: float, rate_hz: int) -> Path:
    """Write a data root with the seed's model, and its last day wider and longer; return it.

    Parameters
    ----------
    folder : pathlib.Path
        Where data roots are kept for the next time.
    channels : int
        A multiple of `CHANNELS`.
    hours : float
        A multiple of `MINUTES`.
    rate_hz : int
    """
    root, seed = folder / f"{channels}x{hours:g}-{rate_hz}", simulated(folder, rate_hz)
    if root.exists():
        return root
    made = root.with_suffix(".part")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    for part in ("models", "tables"):
        shutil.copytree(seed / part, made / part)
    given, landing = seed / "landing" / DAY, made / "landing" / DAY
    [sidecar] = given.glob("*.info")
    note, stem = json.loads(sidecar.read_text()), sidecar.name.split(".")[0]
    fibre, began = stem.split("_")[0], datetime.fromisoformat(note["start_time"])
    wide = {
        "selected_channel_zones": [[100, 100 + channels - 1]],
        "number_of_channels_in_one_sample": channels,
    }
    for i in range(round(hours * 60 / MINUTES)):
        start = began + timedelta(minutes=MINUTES * i)
        for source in (path for path in given.rglob(f"{stem}*") if path.is_file()):
            name = source.name.replace(stem, f"{fibre}_{start:%Y%m%dT%H%M%S}")
            target = landing / source.relative_to(given).with_name(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source == sidecar:
                target.write_text(json.dumps(note | wide | {"start_time": start.isoformat()}))
            else:
                kind, per_channel = PER_VALUE[source.suffix]
                values = np.fromfile(source, kind).reshape(-1, CHANNELS * per_channel)
                np.tile(values, channels // CHANNELS).tofile(target)
    return made.rename(root)
