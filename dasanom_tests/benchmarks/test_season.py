"""The season's verdict repeats runs in the order in which they made what others read."""

import dagster as dg

from dasanom_assets.benchmarks.season_verdict import _last_runs

FIRST, SECOND = "2028-02-08", "2028-02-09"
DAYS = dg.StaticPartitionsDefinition([FIRST, SECOND])


@dg.asset(partitions_def=DAYS)
def background() -> None:
    """Made by an ingest."""


@dg.asset(partitions_def=DAYS)
def anomaly_events() -> None:
    """Made by a scoring."""


def test_an_ingest_beside_the_scoring_of_the_day_before_comes_first_though_it_ended_later() -> None:
    with dg.instance_for_test() as instance:

        def run(job: str, day: str) -> None:
            defs.resolve_job_def(job).execute_in_process(partition_key=day, instance=instance)

        @dg.asset(partitions_def=DAYS, deps=[background])
        def segment_models(context: dg.AssetExecutionContext) -> None:
            """Made by an ingest; meanwhile the day before is scored."""
            if context.partition_key == SECOND:
                run("rescore", FIRST)

        jobs = [
            dg.define_asset_job("ingest", [background, segment_models]),
            dg.define_asset_job("rescore", [anomaly_events]),
        ]
        defs = dg.Definitions([background, segment_models, anomaly_events], jobs=jobs)
        for job, day in (("ingest", FIRST), ("ingest", SECOND), ("rescore", SECOND)):
            run(job, day)
        found = _last_runs(instance)
    assert found == [("ingest", FIRST), ("ingest", SECOND), ("rescore", FIRST), ("rescore", SECOND)]
