"""What assets are given: settings, the data root, the device for networks, a Dask cluster, and processes.

Where data lies and where code runs is for who starts Dagster to say, by the environment. It is no configuration of
a run, so that whoever may launch runs cannot point them at other places.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store


class SettingsResource(dg.ConfigurableResource[Settings]):
    """All settings, read from the environment when a run starts."""

    def create_resource(self, context: dg.InitResourceContext) -> Settings:
        """Read the settings from the environment."""
        return Settings()


class StoreResource(dg.ConfigurableResource[Store]):
    """The data root: the folder or fsspec URL that DASANOM_DATA names when a run starts."""

    def create_resource(self, context: dg.InitResourceContext) -> Store:
        """Open the data root."""
        return Store(Settings().data)


class DeviceResource(dg.ConfigurableResource[str]):
    """Where networks run; a step that uses a device refuses one that is not there."""

    name: str | None = Field(default=None, description="auto, cpu, cuda or cuda:<n>; default: DASANOM_DEVICE")

    def create_resource(self, context: dg.InitResourceContext) -> str:
        """Return the name of the device."""
        return self.name or Settings().device


class DaskResource(dg.ConfigurableResource[Callable[[], Any]]):
    """Dask cluster: threads of the run by default, or the running cluster that DASANOM_DASK__ADDRESS names."""

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Callable[[], Any]]:
        """Give what connects to a cluster, or starts one within the process, when it is first asked."""
        with contextlib.ExitStack() as stack:

            @functools.cache
            def client() -> Any:
                from dasanom_assets.spectrograms.cluster import open_client

                return stack.enter_context(open_client(Settings().dask))

            yield client


def build_resources() -> dict[str, object]:
    """Return the resources by the names that assets, schedules and sensors ask for."""
    return {
        "settings": SettingsResource(),
        "store": StoreResource(),
        "device": DeviceResource(),
        "dask": DaskResource(),
        "pipes": dg.PipesSubprocessClient(),
    }
