"""The chain from recordings to events without Dagster, as benchmarks run it.

``python -m dasanom_assets.benchmarks.chain <data> <models> <day>`` scores a day of one data root by the live model
of another, and prints seconds by step, channel-seconds and peak memory as JSON.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from distributed import Client

from dasanom_assets.benchmarks.machine import kilobytes
from dasanom_assets.detection.embedding import embeddings
from dasanom_assets.detection.events import end_of_day_before, find_events, taking_part
from dasanom_assets.detection.explain import explain
from dasanom_assets.detection.fitting import fit_reference
from dasanom_assets.detection.reference import load_reference, save_reference
from dasanom_assets.detection.scoring import anomaly_scores, cluster_labels
from dasanom_assets.detection.segments import segment_models, segments_note
from dasanom_assets.detection.temporal import temporal_terms
from dasanom_assets.models import checkpoints
from dasanom_assets.models.infogan_training import save_infogan, train_infogan
from dasanom_assets.models.training import load_vae, resolve_device, save_vae, train_vae
from dasanom_assets.models.training_set import build_manifest, load_bank
from dasanom_assets.recordings.catalogue import catalogue_day
from dasanom_assets.recordings.health import channel_health
from dasanom_assets.recordings.signal import stretches
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.background import background, histograms_note, level_histograms
from dasanom_assets.spectrograms.common_level import common_levels
from dasanom_assets.spectrograms.engine import settings_note, spectrogram_parts
from dasanom_assets.tables.store import Store


def ingest(store: Store, day: str, settings: Settings, client: Client) -> None:
    """Make the tables of a day, from recordings to temporal terms."""
    found = catalogue_day(store, day)
    store.write_day("recordings", day, found.recordings)
    signals = stretches(store, found.recordings)
    health, clipped = channel_health(signals)
    store.write_day("channel_health", day, health)
    store.write_day("clipped_seconds", day, clipped)
    parts = spectrogram_parts(signals, settings.spectrogram, day, client)
    store.write_day_parts("spectrograms", day, parts, settings_note(signals, settings.spectrogram))
    note = histograms_note(store, day, settings.background)
    store.write_day("level_histograms", day, level_histograms(store, day, settings.background), note)
    store.write_day("background", day, *background(store, day, settings.background))
    store.write_day("common_levels", day, common_levels(store, day, settings.background))
    store.write_day(
        "segment_models", day, segment_models(store, day, settings), segments_note(store, day, settings)
    )
    store.write_day("temporal_terms", day, temporal_terms(store, day, settings.temporal))


def train(store: Store, days: Iterable[str], settings: Settings, say: Callable[[str], Any]) -> str:
    """Train the networks and fit a reference model on some days; return its version, which is live then."""
    manifest = build_manifest(store, list(days), settings)
    version = checkpoints.save(store, "training_set", {}, manifest)
    learned, kept = (load_bank(store, manifest, split)[0] for split in ("train", "validation"))
    device = resolve_device(settings.device)
    lineage = {"training_set": version, "days": manifest["days"]}

    def on_epoch(so_far: Any) -> None:
        say(so_far.lines()[-1])

    vae_version = save_vae(store, train_vae(learned, kept, settings.vae, device, on_epoch), lineage)
    infogan_version = None
    if "infogan" in settings.detection.detectors:
        infogan = train_infogan(learned, kept, settings.infogan, device, on_epoch)
        infogan_version = save_infogan(store, infogan, lineage)
    vae = load_vae(store, vae_version)
    fitted = fit_reference(store, manifest, vae, vae_version, settings, device, infogan_version)
    reference = save_reference(store, fitted)
    checkpoints.set_live(store, "reference_model", reference)
    return reference


def score(store: Store, day: str, models: Store, settings: Settings) -> dict[str, float]:
    """Score a day with the live model of another (or the same) store; return the seconds of each step."""
    seconds: dict[str, float] = {}
    began = time.perf_counter()

    def lap(name: str) -> None:
        seconds[name] = time.perf_counter() - began - sum(seconds.values())

    reference, device = load_reference(models), resolve_device(settings.device)
    vae, inputs = load_vae(models, reference.vae_version), reference.inputs(store, models, device)
    lap("load")
    note = {"model_version": reference.version, "vae_version": reference.vae_version}
    store.write_day("embeddings", day, embeddings(store, day, vae, settings, device), note)
    lap("embeddings")
    store.write_day("cluster_labels", day, cluster_labels(store, day, reference), note)
    lap("cluster_labels")
    store.write_day("anomaly_scores", day, anomaly_scores(store, day, reference, settings, inputs), note)
    lap("anomaly_scores")
    scores, labels = taking_part(store, day, reference.level)
    before = end_of_day_before(store, day, note, reference.level)
    group = settings.spectrogram.group_channels
    rates, level = reference.rates, reference.level
    events = find_events(scores, labels, None, rates, level, settings.window, group, before)
    events, explanations = explain(store, day, events, scores, reference, settings)
    store.write_day("anomaly_events", day, events, note)
    store.write_day("event_explanations", day, explanations, note)
    lap("anomaly_events")
    return seconds


def main() -> int:
    """Score one day and print what it cost; return the exit status."""
    data, models, day = sys.argv[1:]
    store = Store(data)
    seconds = score(store, day, Store(models), Settings())
    with store.open_day("spectrograms", day) as file:
        rows = file.metadata.num_rows
    told = {
        "seconds": seconds,
        "channel_seconds": rows,
        "peak_mb": kilobytes("VmHWM") / 1024,
    }
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
