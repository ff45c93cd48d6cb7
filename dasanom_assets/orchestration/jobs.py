"""The three jobs: a day in, a model, a day scored.

A day is one run and one process: its steps share what they have loaded, and two days at once are two runs.
"""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

INGEST = (
    "recordings",
    "channel_health",
    "clipped_seconds",
    "spectrograms",
    "level_histograms",
    "background",
    "common_levels",
    "segment_models",
    "temporal_terms",
)
TRAIN = ("training_set", "vae_checkpoint", "infogan_checkpoint", "reference_model")
RESCORE = (
    "temporal_terms",  # again: what raised an alarm on the days before is known by now
    "embeddings",
    "cluster_labels",
    "anomaly_scores",
    "contractor_scores",
    "anomaly_events",
    "event_explanations",
    "contractor_events",
    "event_matches",
    "embedding_map",
    "contractor_comparison",
)


def build_jobs() -> list[UnresolvedAssetJobDefinition]:
    """Return `ingest`, `train` and `rescore`."""

    def job(name: str, assets: tuple[str, ...], description: str) -> UnresolvedAssetJobDefinition:
        selection = dg.AssetSelection.assets(*assets)
        return dg.define_asset_job(name, selection, description=description, executor_def=dg.in_process_executor)

    return [
        job("ingest", INGEST, "A day: recordings to spectrograms and their background."),
        job("train", TRAIN, "Learn what is normal, from the days that `training_set` is given."),
        job("rescore", RESCORE, "A day: embeddings to the comparison report."),
    ]
