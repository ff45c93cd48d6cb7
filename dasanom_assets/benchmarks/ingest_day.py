"""The simulated day that ingest is measured on, and its ingest as one call."""

import json
import os
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from dasanom_assets.recordings.catalogue import catalogue_day
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.recordings.simulation.simulate import simulate_days
from dasanom_assets.recordings.simulation.sites import Line
from dasanom_assets.settings import DaskSettings, SpectrogramSettings
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.spectrograms.engine import settings_note, spectrogram_parts
from dasanom_assets.tables.store import Store

DAY = "2026-01-05"
RATE = 2000.0
SETTINGS = SpectrogramSettings()
FRAME, HOP, BANDS = round(SETTINGS.frame_seconds * RATE), round(SETTINGS.hop_seconds * RATE), SETTINGS.bands


def prepare(root: Path, long: Path) -> None:
    """Simulate half an hour of 64 channels, and lay eight of it one after the other for four hours."""
    simulate_days(Line(zones=((100, 163),), minutes=30, seed=1), [date.fromisoformat(DAY)], root)
    folder = long / "landing" / DAY
    folder.mkdir(parents=True)
    for source in sorted(root.glob("landing/*/*.bin")):
        sidecar = json.loads(Path(f"{source}.info").read_text())
        start = datetime.strptime(source.stem.split("_")[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        for i in range(8):
            file_start = start + timedelta(minutes=30 * i)
            name = f"north_{file_start:%Y%m%dT%H%M%S}.bin"
            os.link(source, folder / name)
            (folder / f"{name}.info").write_text(json.dumps({**sidecar, "start_time": file_start.isoformat()}))


def ingest(root: str, address: str | None = None) -> dict[str, float]:
    """Catalogue a day with digests, make its spectrograms and commit both tables.

    Returns
    -------
    dict
        Seconds of each step.
    """
    store, began = Store(root), time.perf_counter()
    seconds: dict[str, float] = {}

    def lap(name: str) -> None:
        seconds[name] = time.perf_counter() - began - sum(seconds.values())

    catalogue = catalogue_day(store, DAY)
    store.write_day("recordings", DAY, catalogue.recordings)
    lap("recordings")
    signals = stretches(store, catalogue.recordings)
    with open_client(DaskSettings(address=address)) as client:
        lap("cluster")
        parts = spectrogram_parts(signals, SETTINGS, DAY, client)
        store.write_day_parts("spectrograms", DAY, parts, settings_note(signals, SETTINGS))
        lap("spectrograms")
    return seconds
