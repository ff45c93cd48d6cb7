"""What Dagster loads."""

import gc

import dagster as dg

from dasanom_assets.comparison import assets as comparison
from dasanom_assets.detection import assets as detection
from dasanom_assets.evaluation import assets as evaluation
from dasanom_assets.models import assets as models
from dasanom_assets.orchestration.checks import build_checks
from dasanom_assets.orchestration.jobs import build_jobs
from dasanom_assets.orchestration.partitions import recording_days
from dasanom_assets.orchestration.proposing import build_proposals
from dasanom_assets.orchestration.resources import build_resources
from dasanom_assets.orchestration.schedules import build_schedules
from dasanom_assets.orchestration.sensors import build_sensors
from dasanom_assets.orchestration.specs import described
from dasanom_assets.orchestration.tidying import build_tidying
from dasanom_assets.orchestration.today import build_asset, build_job, build_sensor
from dasanom_assets.recordings import assets as recordings
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms import assets as spectrograms

gc.set_threshold(50_000)
"""Modules leave a million objects that stay; to look at all of them time and again took a seventh of an ingest."""


def build_defs(settings: Settings | None = None, resources: dict[str, object] | None = None) -> dg.Definitions:
    """Assemble the code location; production and tests share it.

    Parameters
    ----------
    settings : Settings, optional
        Decide the first partition and the look-back; read from the environment by default.
    resources : dict, optional
        Replace those of `build_resources`, by name.
    """
    settings = settings or Settings()
    days = recording_days(settings.first_day)
    assets = [
        *recordings.build_assets(days),
        *spectrograms.build_assets(days, settings.background.look_back_days),
        *models.build_assets(days),
        *detection.build_assets(days, settings.temporal.look_back_days),
        *comparison.build_assets(days),
        build_asset(days, settings.background.look_back_days),
        *evaluation.build_assets(),
    ]
    jobs = {job.name: job for job in [*build_jobs(settings.automation), build_job()]}
    retention, tidy, nightly = build_tidying()
    scorecard, monthly, each_morning = comparison.build_scorecard(settings.first_day)
    return dg.Definitions(
        assets=[described(asset) for asset in (*assets, scorecard, retention)],
        asset_checks=build_checks(days, settings.automation),
        jobs=[*jobs.values(), monthly, tidy],
        schedules=[
            *build_schedules(jobs["rescore"], settings.first_day),
            build_proposals(jobs["propose"]),
            each_morning,
            nightly,
        ],
        sensors=[
            *build_sensors(jobs["ingest"], jobs["rescore"], settings.first_day),
            build_sensor(jobs["so_far"]),
        ],
        resources={**build_resources(), **(resources or {})},
        executor=dg.multiprocess_executor.configured({"max_concurrent": 2, "start_method": {"spawn": {}}}),
    )


defs = build_defs()
