"""What assets are given: settings, the data root, the device for networks, a Dask cluster, and processes."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store

_OPTIONAL = {"is_required": False}


@dg.resource(description="All settings, read from the environment when a run starts.")
def settings_resource(context: dg.InitResourceContext) -> Settings:
    """Read the settings from the environment."""
    return Settings()


@dg.resource(
    config_schema={"url": dg.Field(str, **_OPTIONAL, description="folder or fsspec URL; default: DASANOM_DATA")},
    description="The data root.",
)
def store_resource(context: dg.InitResourceContext) -> Store:
    """Open the data root."""
    return Store(context.resource_config.get("url") or Settings().data)


@dg.resource(
    config_schema={
        "name": dg.Field(str, **_OPTIONAL, description="auto, cpu, cuda or cuda:<n>; default: DASANOM_DEVICE")
    },
    description="Where networks run; a step that uses a device refuses one that is not there.",
)
def device_resource(context: dg.InitResourceContext) -> str:
    """Return the name of the device."""
    return context.resource_config.get("name") or Settings().device


@dg.resource(
    config_schema={
        "address": dg.Field(
            str, **_OPTIONAL, description="scheduler of a running cluster; default: DASANOM_DASK__ADDRESS"
        )
    },
    description="Dask cluster: threads of the run by default, or a running cluster by address.",
)
def dask_resource(context: dg.InitResourceContext) -> Iterator[Any]:
    """Connect to a cluster, or start one within the process."""
    from dasanom_assets.spectrograms.cluster import open_client

    settings = Settings().dask
    if address := context.resource_config.get("address"):
        settings = settings.model_copy(update={"address": address})
    with open_client(settings) as client:
        yield client


def build_resources() -> dict[str, object]:
    """Return the resources by the names that assets, schedules and sensors ask for."""
    return {
        "settings": settings_resource,
        "store": store_resource,
        "device": device_resource,
        "dask": dask_resource,
        "pipes": dg.PipesSubprocessClient(),
    }
