"""One file of a delivery: its row of the catalogue, or the reason why it cannot be used."""

import warnings
from pathlib import Path, PurePosixPath
from typing import Any

import dascore as dc
import numpy as np
from dascore.exceptions import UnknownFiberFormatError
from dascore.utils.hdf5 import H5Reader

from dasanom_assets.recordings.bundle import samples
from dasanom_assets.recordings.patches import time_first
from dasanom_assets.recordings.reasons import HEAD_BYTES, NO_DATE, RefusedError, foreign, misnamed, uneven
from dasanom_assets.recordings.sidecar import SIDECAR, BundleError
from dasanom_assets.recordings.signal import absolute_channels, stored_sidecar
from dasanom_assets.tables.store import Store

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
DAY_NS = 86_400 * 1_000_000_000
BLOCK_VALUES = 1 << 24
"""Samples that are looked at together in the search for those that are not finite."""


def file_row(store: Store, path: str, extent: tuple[int, int] | None = None) -> dict[str, Any]:
    """Return a row of `recordings` without its digest, and with the ``channels``.

    Parameters
    ----------
    store : Store
    path : str
        Relative to the data root.
    extent : (int, int), optional
        A file that lies wholly outside of it is refused, ns since 1970.

    Raises
    ------
    RefusedError, BundleError
        In words, where the file cannot be used.
    Exception
        Whatever a reader of DASCore raises at a file that it cannot read.
    """
    name = PurePosixPath(path).name
    if store.fs.size(store.full(path)) == 0:
        raise RefusedError("the file is empty: deliver it again")
    if problem := misnamed(path):
        raise RefusedError(problem)
    if name.endswith(".bin"):
        return _bundle_row(store, path, extent)
    with store.local(path) as local, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind, version = _format(local)
        if extent is not None:
            for attrs in dc.scan(local, file_format=kind, file_version=version, progress=None):
                time = attrs.coords["time"]
                _require_extent(_ns(time.min), _ns(time.max + time.step), extent)
        patches = dc.read(local, file_format=kind, file_version=version)
    if len(patches) != 1:
        raise RefusedError(f"{len(patches)} separate pieces in one file; split it into one file each")
    patch = patches[0]
    patch = time_first(patch)
    if not patch.data.size:
        raise RefusedError("it holds no samples: deliver it again")
    time = patch.get_coord("time")
    step = time.step if np.issubdtype(time.dtype, np.datetime64) else None
    if step is None or not step > np.timedelta64(0, "ns"):
        raise RefusedError(uneven(time.values))
    if patch.data.dtype.kind not in "iuf":
        raise RefusedError(f"its samples are {patch.data.dtype}, not real numbers")
    distance, units = patch.get_coord(patch.dims[1]), patch.attrs.data_units
    issues = []
    if note := _not_finite(patch.data):
        issues.append(note)
    start_ns = _ns(time.min())
    if start_ns < DAY_NS:  # also where it is no time at all
        raise RefusedError(NO_DATE)
    step_ns = int(step.astype("timedelta64[ns]").astype(np.int64))
    n_samples, channels = patch.shape[0], absolute_channels(patch)
    end_ns = start_ns + n_samples * step_ns
    _require_extent(start_ns, end_ns, extent)
    spacing = None
    if patch.dims[1] == "distance" and distance.step is not None and np.isfinite(distance.step):
        spacing = abs(float(distance.step))
    return {
        "fibre": name.split(".")[0].split("_")[0],
        "path": path,
        "format": f"{kind} {version}",
        "start": start_ns,
        "end": end_ns,
        "sampling_rate_hz": 1e9 / step_ns,
        "n_samples": n_samples,
        "first_channel": int(channels[0]),
        "n_channels": patch.shape[1],
        "channel_spacing_m": spacing,
        "units": None if units is None else str(units),
        "issues": issues,
        "channels": channels,
    }


def _format(local: Path) -> tuple[str, str]:
    """Return name and version of a file's format.

    Raises
    ------
    RefusedError
        For a pickled object: DASCore would unpickle it to find out, and that runs whatever code it holds.
    OSError
        For an HDF5 file that is cut short or damaged, saying how.
    UnknownFiberFormatError
        For any other file that is not a recording.
    """
    with open(local, "rb") as file:
        head = file.read(HEAD_BYTES)
    if b"dascore.core" in head[:100]:
        raise RefusedError("a pickled object, which could run code when opened")
    try:
        return dc.get_format(local)
    except UnknownFiberFormatError:
        if head.startswith(HDF5_SIGNATURE):
            H5Reader.get_handle(local).close()
        if what := foreign(head, local.name):
            raise RefusedError(what) from None
        raise


def _bundle_row(store: Store, path: str, extent: tuple[int, int] | None) -> dict[str, Any]:
    if not store.exists(path + SIDECAR):
        raise BundleError(f"there is no sidecar {PurePosixPath(path).name}{SIDECAR} beside it")
    sidecar = stored_sidecar(store, path)
    end_ns = sidecar.start_ns + round(sidecar.n_samples * 1e9 / sidecar.sampling_rate_hz)
    _require_extent(sidecar.start_ns, end_ns, extent)
    issues = list(sidecar.assumed)
    if sidecar.dtype.kind == "f":
        with store.local(path, path + SIDECAR) as local:
            if note := _not_finite(samples(local, sidecar)):
                issues.append(note)
    return {
        "fibre": sidecar.fibre,
        "path": path,
        "format": "DASANOM_BUNDLE 1",
        "start": sidecar.start_ns,
        "end": end_ns,
        "sampling_rate_hz": sidecar.sampling_rate_hz,
        "n_samples": sidecar.n_samples,
        "first_channel": int(sidecar.channels[0]),
        "n_channels": len(sidecar.channels),
        "channel_spacing_m": sidecar.channel_spacing_m,
        "units": sidecar.units,
        "issues": issues,
        "channels": sidecar.channels,
    }


def _ns(time: np.datetime64) -> int:
    return int(time.astype("datetime64[ns]").astype(np.int64))


def _not_finite(data: np.ndarray) -> str | None:
    """Say how many samples are not finite, None where all are."""
    rows = max(1, BLOCK_VALUES // data.shape[1])
    n = sum(int((~np.isfinite(data[row : row + rows])).sum()) for row in range(0, len(data), rows))
    return f"{n} samples are not finite" if n else None


def _require_extent(start_ns: int, end_ns: int, extent: tuple[int, int] | None) -> None:
    if extent is not None and (end_ns <= extent[0] or start_ns >= extent[1]):
        raise RefusedError("it lies outside of the time that is looked for")
