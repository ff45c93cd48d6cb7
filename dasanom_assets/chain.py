"""The chain from recordings to a report, without Dagster: for notebooks, benchmarks and tests.

Each step is one of those that the assets run. `stale` says which tables would be others if they were made now.

>>> from dasanom_assets import chain
>>> [step.tables[0] for step in chain.INGEST][:3]
['recordings', 'spectrograms', 'level_histograms']
"""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from dasanom_assets.comparison import steps as comparison
from dasanom_assets.detection import steps as detection
from dasanom_assets.models import checkpoints
from dasanom_assets.recordings import steps as recordings
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms import steps as spectrograms
from dasanom_assets.tables.provenance import Freshness, Step
from dasanom_assets.tables.store import Store

if TYPE_CHECKING:  # takes a second, and notebooks that only score have no use for it
    from distributed import Client

INGEST: tuple[Step, ...] = (
    recordings.recordings,
    spectrograms.spectrograms,
    spectrograms.level_histograms,
    spectrograms.background,
    spectrograms.common_levels,
    detection.segment_models,
    detection.temporal_terms,
)
"""From recordings to temporal terms, in their order."""
SCORE: tuple[Step, ...] = (
    comparison.contractor_scores,
    detection.scores,
    detection.anomaly_events,
)
"""From the contractor's scores and embeddings to events, in their order; events carry the contractor's word."""
COMPARE: tuple[Step, ...] = (
    comparison.contractor_events,
    comparison.event_matches,
    comparison.waterfalls,
    comparison.embedding_map,
    comparison.contractor_comparison,
)
"""From the contractor's alarms to the report, in their order."""


def stale(
    store: Store, day: str, settings: Settings, steps: Iterable[Step], fresh: Freshness | None = None
) -> dict[str, str]:
    """Return why tables of a day would be others if they were made now, in words, by table.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    settings : Settings
    steps : iterable of Step
        Whose tables are asked for: `INGEST`, `SCORE`, `COMPARE`.
    fresh : Freshness, optional
        Asked, for several days one after the other, in place of one of its own.
    """
    fresh = fresh or Freshness(store, settings)
    reasons = {table: fresh.stale(table, day) for step in steps for table in step.tables}
    return {table: reason for table, reason in reasons.items() if reason}


def given(step: Step, settings: Settings, client: "Client | None") -> dict[str, Any]:
    """Return what a step takes beside store, day and settings: a Dask client, and a device."""
    spread = (
        *(spectrograms.spectrograms, spectrograms.level_histograms),
        *(detection.segment_models, detection.temporal_terms),
        *(detection.scores, comparison.waterfalls),
    )
    device = {"device": settings.device} if step is detection.scores else {}
    return device | ({"dask": client} if step in spread else {})


def ingest(store: Store, day: str, settings: Settings, client: "Client") -> None:
    """Make the tables of a day, from recordings to temporal terms."""
    for step in INGEST:
        step(store, day, settings, **given(step, settings, client))


def train(store: Store, days: Iterable[str], settings: Settings, say: Callable[[str], Any]) -> str:
    """Train the networks and fit a reference model on some days; return its version, which is live then.

    No check is asked.
    """
    from dasanom_assets.detection.reference.fitting import fit_reference
    from dasanom_assets.detection.reference.model import promote, save_reference
    from dasanom_assets.models.device import resolve_device
    from dasanom_assets.models.infogan_training import save_infogan, train_infogan
    from dasanom_assets.models.training import load_vae, save_vae, train_vae
    from dasanom_assets.models.training_set import build_manifest
    from dasanom_assets.models.training_windows import load_bank

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
    promote(store, reference, anyway=True)
    return reference


def score(
    store: Store, day: str, settings: Settings, models: Store | None = None, client: "Client | None" = None
) -> dict[str, float]:
    """Score a day with the live model of the same, or of another, store; return the seconds of each step.

    Without a Dask client, threads of the process do it.
    """
    seconds = {}
    for step in SCORE:
        began = time.perf_counter()
        step(store, day, settings, models, **given(step, settings, client))
        seconds[step.tables[0]] = time.perf_counter() - began
    return seconds


def compare(store: Store, day: str, settings: Settings, client: "Client | None" = None) -> None:
    """Lay a scored day beside the contractor's, and write its report; without a Dask client, threads do it."""
    for step in COMPARE:
        step(store, day, settings, **given(step, settings, client))
