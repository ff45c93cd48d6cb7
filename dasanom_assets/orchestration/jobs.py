"""The three jobs: a day in, a model, a day scored.

A day is one run and one process: its steps share what they have loaded, and two days at once are two runs.
"""

from typing import Any

import dagster as dg

from dasanom_assets import chain
from dasanom_assets.models.assets import ONE_GPU

INGEST = tuple(table for step in chain.INGEST for table in step.tables)
TRAIN = ("training_set", "vae_checkpoint", "infogan_checkpoint", "reference_model", "live_model")
RESCORE = (
    "temporal_terms",  # again, where what raised an alarm on the days before has become known
    *(table for step in (*chain.SCORE, *chain.COMPARE) for table in step.tables),
)


def build_jobs() -> list[Any]:
    """Return `ingest`, `train` and `rescore`."""

    def job(name: str, assets: tuple[str, ...], description: str, tags: dict[str, Any] | None = None) -> Any:
        selection = dg.AssetSelection.assets(*assets)
        return dg.define_asset_job(
            name,
            selection,
            description=description,
            tags={"dasanom/long": "true", **(tags or {})},
            executor_def=dg.in_process_executor,
        )

    return [
        job("ingest", INGEST, "A day: recordings to spectrograms, their background and temporal terms."),
        job("train", TRAIN, "Learn what is normal, from the days that `training_set` is given.", ONE_GPU),
        job("rescore", RESCORE, "A day: the contractor's files and embeddings to the comparison report."),
    ]
