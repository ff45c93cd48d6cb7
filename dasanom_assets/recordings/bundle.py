"""The vendor bundle as DASCore reads it: headerless samples, and a sidecar that describes them.

The format is a plug-in of DASCore, registered by the entry point ``DASANOM_BUNDLE__V1``, so that
``dascore.spool(folder)`` finds bundles too.
"""

from pathlib import Path
from typing import Any

import dascore as dc
import numpy as np
from dascore.core import get_coord, get_coord_manager
from dascore.io import FiberIO

from dasanom_assets.recordings.bundle_files import samples
from dasanom_assets.recordings.identity import identify
from dasanom_assets.recordings.sidecar import SIDECAR, Sidecar, read_sidecar


class BundleAttrs(dc.PatchAttrs):
    """Attributes of a patch from a vendor bundle."""

    fibre: str = ""
    gauge_length: float = np.nan
    gauge_length_units: str = "m"


class VendorBundleV1(FiberIO):
    """DASCore's reader of the vendor bundle."""

    name = "DASANOM_BUNDLE"
    preferred_extensions = ("bin",)
    version = "1"

    def get_format(self, resource: Path, **kwargs: Any) -> tuple[str, str] | bool:
        """Return name and version for a file that has a bundle's sidecar, else False."""
        path = Path(resource)
        is_bundle = path.suffix == ".bin" and path.with_name(path.name + SIDECAR).is_file()
        return (self.name, self.version) if is_bundle else False

    def scan(self, resource: Path, **kwargs: Any) -> list[dc.PatchAttrs]:
        """Return the attributes of the one patch of a bundle; raises as `read_sidecar`."""
        sidecar = read_sidecar(resource)
        return [_attrs(sidecar, Path(resource), coords=_coords(sidecar), path=str(resource), format=self)]

    def read(
        self,
        resource: Path,
        time: tuple[Any, Any] | None = None,
        distance: tuple[float | None, float | None] | None = None,
        channel: tuple[int | None, int | None] | None = None,
        **kwargs: Any,
    ) -> dc.BaseSpool:
        """Read a bundle.

        Parameters
        ----------
        resource : Path
            The `.bin` file.
        time, distance : tuple, optional
            Limits, inclusive, as for any DASCore format; only what lies within them is read from disk.
        channel : tuple of int, optional
            First and last absolute channel number, inclusive.

        Raises
        ------
        BundleError
            See `read_sidecar`.
        """
        sidecar = read_sidecar(resource)
        coords, data = _coords(sidecar), samples(resource, sidecar)
        limits = {
            k: v for k, v in {"time": time, "distance": distance, "channel": channel}.items() if v is not None
        }
        if limits:
            coords, data = coords.select(data, **limits)
        if not data.size:
            return dc.spool([])
        patch = dc.Patch(
            data=np.array(data), coords=coords, attrs=_attrs(sidecar, Path(resource)), dims=("time", "distance")
        )
        return dc.spool([patch])


def _coords(sidecar: Sidecar) -> Any:
    step = np.timedelta64(round(1e9 / sidecar.sampling_rate_hz), "ns")
    time = get_coord(start=np.datetime64(sidecar.start_ns, "ns"), step=step, shape=(sidecar.n_samples,))
    spacing = sidecar.channel_spacing_m or 1.0
    offset = sidecar.first_channel_distance_m
    first = sidecar.channels[0] if offset is not None else 0
    metres = (offset or 0.0) + (sidecar.channels.astype(float) - first) * spacing
    distance = get_coord(values=metres, units="m")
    coords = {"time": time, "distance": distance, "channel": ("distance", sidecar.channels)}
    return get_coord_manager(coords=coords, dims=("time", "distance"))


def _attrs(sidecar: Sidecar, file: Path, format: VendorBundleV1 | None = None, **more: Any) -> BundleAttrs:
    if format is not None:
        more |= {"file_format": format.name, "file_version": format.version}
    if sidecar.gauge_length_m is not None:
        more["gauge_length"] = sidecar.gauge_length_m
    if sidecar.units:
        more["data_units"] = sidecar.units
    fibre, _, _ = identify(file.name, (), {}, sidecar.fibre)
    return BundleAttrs(fibre=fibre, tag=fibre[:100], **more)
