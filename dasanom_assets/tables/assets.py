"""Dagster's side of a step: one asset a table, which says what was made and of what."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from dasanom_assets.settings import Settings
from dasanom_assets.tables.metadata import day_metadata
from dasanom_assets.tables.provenance import Freshness, Step
from dasanom_assets.tables.records import note_run, read_record
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store

STALE_ONLY = "dasanom/stale_only"
"""Tag of runs that make only what is stale: those of the sensor, the schedule and `make run`."""

Describe = Callable[[Store, str, Settings], Mapping[str, Any]]
"""From the store, an ISO day and the settings to what the event of a materialization says."""


def step_asset(
    step: Step,
    days: dg.PartitionsDefinition,
    *,
    group: str,
    deps: Iterable[Any],
    kinds: set[str],
    describe: Mapping[str, Describe] | None = None,
    descriptions: Mapping[str, str] | None = None,
    resources: Mapping[str, Callable[[dg.AssetExecutionContext], Any]] | None = None,
    pool: str | None = None,
) -> dg.AssetsDefinition:
    """Return the assets of the tables that a step makes, one partition a recording day.

    Parameters
    ----------
    step : Step
    days : dagster.PartitionsDefinition
    group : str
        Of the stage.
    deps : iterable
        What the step reads, as Dagster's assets take it.
    kinds : set of str
    describe : mapping, optional
        By table, what its event says beside rows and place.
    descriptions : mapping, optional
        By table, in place of the step's own.
    resources : mapping, optional
        What the step is given besides, by its name: from the context of a run.
    pool : str, optional
        Of runs that must not be at work at the same time.
    """
    deps = list(deps)
    specs = [
        dg.AssetSpec(
            table,
            deps=deps,
            description=(descriptions or {}).get(table, step.__doc__),
            kinds=kinds,
            code_version=step.code,
        )
        for table in step.tables
    ]
    needed = {"store", "settings", *({"device", "dask"} & set(resources or {}))}

    @dg.multi_asset(
        specs=specs,
        partitions_def=days,
        group_name=group,
        name=step.tables[0],
        pool=pool,
        required_resource_keys=needed,
    )
    def made(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        day = context.partition_key
        store: Store = context.resources.store
        settings: Settings = context.resources.settings
        reason = _why(context, step, store, day, settings)
        if reason:
            context.log.info(reason)
            given = {name: give(context) for name, give in (resources or {}).items()}
            step(store, day, settings, **given)
            for table in step.tables:
                note_run(store, table, day, context.run.run_id)
        for table in step.tables:
            record = read_record(store, table, day)
            assert record is not None
            version = f"sha256:{record[0]}"
            made = {"made": reason or "not again: it is as it would be now"}
            told = {} if reason else _told_before(context.instance, table, day, version)
            if not told:
                told = {**_rows(store, table, day), **(describe or {}).get(table, _nothing)(store, day, settings)}
            yield dg.MaterializeResult(table, data_version=dg.DataVersion(version), metadata={**told, **made})

    return made


def _told_before(instance: dg.DagsterInstance, table: str, day: str, version: str) -> Mapping[str, Any]:
    """Return what the last event of a table and day says, if it is about the same content: pictures take long."""
    of_day = dg.AssetRecordsFilter(asset_key=dg.AssetKey(table), asset_partitions=[day])
    for record in instance.fetch_materializations(of_day, limit=1).records:
        event = record.asset_materialization
        if event is not None and (event.tags or {}).get(DATA_VERSION_TAG) == version:
            return event.metadata
    return {}


def _why(context: dg.AssetExecutionContext, step: Step, store: Store, day: str, settings: Settings) -> str:
    """Return why a step is run; empty where it is not."""
    if context.run.tags.get(STALE_ONLY) != "true":
        return "asked for"
    fresh = Freshness(store, settings)
    reasons = [fresh.stale(table, day) for table in step.tables]
    if context.job_name == "rescore":  # by now the alarms of the days before are known
        reasons += [fresh.fed_back(table, day) for table in step.tables]
    return next(filter(None, reasons), "")


def _rows(store: Store, table: str, day: str) -> dict[str, Any]:
    if table not in SCHEMAS:
        return {}
    with store.open_day(table, day) as file:
        return day_metadata(store, table, day, file.metadata.num_rows)


def _nothing(store: Store, day: str, settings: Settings) -> Mapping[str, Any]:
    return {}
