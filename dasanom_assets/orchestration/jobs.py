"""The jobs: a day in, a model, another that is proposed, a day scored.

A day is one run and one process: its steps share what they have loaded, and two days at once are two runs.
"""

from typing import Any

import dagster as dg

from dasanom_assets import chain
from dasanom_assets.models.assets import ONE_GPU
from dasanom_assets.settings import AutomationSettings

TRAINING = {**ONE_GPU, "dasanom/training": "true"}
"""One at a time: each takes what its steps have made last."""
SCORING = {"dasanom/scoring": "true"}
"""One at a time, in the order they are asked for: a day goes on from the scores and alarms of the days before."""
INGEST = tuple(table for step in chain.INGEST for table in step.tables)
LEARN = ("training_set", "vae_checkpoint", "infogan_checkpoint", "reference_model")
TRAIN = (*LEARN, "live_model")
RESCORE = (
    "temporal_terms",  # again, where what raised an alarm on the days before has become known
    *(table for step in (*chain.SCORE, *chain.COMPARE) for table in step.tables),
)


def build_jobs(automation: AutomationSettings) -> list[Any]:
    """Return `ingest`, `train`, `propose`, `promote` and `rescore`."""
    by_rule = automation.promote == "rule"

    def job(
        name: str,
        assets: tuple[str, ...],
        description: str,
        tags: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
    ) -> Any:
        selection = dg.AssetSelection.assets(*assets)
        return dg.define_asset_job(
            name,
            selection,
            config=config,
            description=description,
            tags={"dasanom/long": "true", **(tags or {})},
            executor_def=dg.in_process_executor,
        )

    return [
        job("ingest", INGEST, "A day: recordings to spectrograms, their background and temporal terms."),
        job("train", TRAIN, "Learn what is normal, from the days that `training_set` is given.", TRAINING),
        job(
            "propose",
            (*LEARN, "model_proposal", *(("live_model",) if by_rule else ())),
            "Train on the newest days but the last, and hold the model against the live one on these; "
            + ("it goes live if it is no worse." if by_rule else "nothing goes live."),
            TRAINING,
            {
                "ops": {
                    "training_set": {
                        "config": {"newest": automation.learn_days, "held_out": automation.held_out_days}
                    }
                }
            },
        ),
        job("promote", ("live_model",), "Make a model live, by its version: a proposed one, or an earlier one."),
        job("rescore", RESCORE, "A day: the contractor's files and embeddings to the comparison report.", SCORING),
    ]
