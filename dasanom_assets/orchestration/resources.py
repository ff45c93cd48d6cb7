"""What assets are given: settings, the data root, and the device for networks."""

import dagster as dg

from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store


class SettingsFromEnvironment(dg.ConfigurableResourceFactory[Settings]):
    """`Settings`, read from the environment when a run starts."""

    def create_resource(self, context: dg.InitResourceContext) -> Settings:
        """Read the environment."""
        return Settings()


class DataRoot(dg.ConfigurableResourceFactory[Store]):
    """The data root."""

    url: str | None = None
    """Folder or fsspec URL; default: ``DASANOM_DATA``."""

    def create_resource(self, context: dg.InitResourceContext) -> Store:
        """Open the data root."""
        return Store(self.url or Settings().data)


class ComputeDevice(dg.ConfigurableResourceFactory[str]):
    """Where networks run."""

    name: str | None = None
    """``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``; default: ``DASANOM_DEVICE``, else ``auto``."""

    def create_resource(self, context: dg.InitResourceContext) -> str:
        """Return the name; it is resolved, and refused where the machine lacks it, by the step that uses it."""
        return self.name or Settings().device


def build_resources() -> dict[str, object]:
    """Return the resources by the names that assets, schedules and sensors ask for."""
    return {"settings": SettingsFromEnvironment(), "store": DataRoot(), "device": ComputeDevice()}
