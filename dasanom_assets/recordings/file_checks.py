"""One file of a delivery: its row of the catalogue, or the reason why it cannot be used."""

import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import dascore as dc
import numpy as np
from dascore.exceptions import UnknownFiberFormatError
from dascore.utils.hdf5 import H5Reader

from dasanom_assets.recordings.identity import identify
from dasanom_assets.recordings.limits import require_room, require_within
from dasanom_assets.recordings.measured import MOST, NOT_NUMBERS, TOO_LARGE, no_sound, rate_of_step, rate_of_times
from dasanom_assets.recordings.patches import time_first
from dasanom_assets.recordings.places import told_places
from dasanom_assets.recordings.reasons import HEAD_BYTES, NO_DATE, RefusedError, foreign, misnamed, misread, uneven
from dasanom_assets.recordings.sidecar import SIDECAR, BundleError
from dasanom_assets.recordings.signal import BundleSamples, stored_sidecar
from dasanom_assets.recordings.site_rules import Site, in_utc, unsure
from dasanom_assets.settings import LimitSettings
from dasanom_assets.tables.store import Store

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
DAY_NS = 86_400 * 1_000_000_000
BLOCK_VALUES = 1 << 24
"""Samples that are looked at together in the search for those that are not finite."""


LIMITS = LimitSettings()


def file_row(
    store: Store,
    path: str,
    extent: tuple[int, int] | None = None,
    limits: LimitSettings = LIMITS,
    rules: Sequence[Site] = (),
) -> dict[str, Any]:
    """Return a row of `recordings` without its digest, and what its places are found by.

    Beside the columns there are ``site``, the rule that fits, and what `places.told_places` returns.

    Parameters
    ----------
    store : Store
    path : str
        Relative to the data root.
    extent : (int, int), optional
        A file that lies wholly outside of it is refused, ns since 1970.
    limits : LimitSettings, optional
    rules : sequence of Site, optional
        Of the site.

    Raises
    ------
    RefusedError, BundleError, LimitError
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
        return _bundle_row(store, path, extent, limits, rules)
    with store.local(path) as local, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind, version = _format(local)
        require_room(limits, local)
        if extent is not None:
            for attrs in dc.scan(local, file_format=kind, file_version=version, progress=None):
                time = attrs.coords["time"]
                step = np.timedelta64(0, "ns") if time.step is None else time.step
                _require_extent(_ns(time.min), _ns(time.max + step), extent)
        patches = dc.read(local, file_format=kind, file_version=version)
        head = local.read_bytes()[:HEAD_BYTES] if kind.lower() == "sentek" else b""
    for patch in patches:
        units = None if patch.attrs.data_units is None else str(patch.attrs.data_units)
        if reason := no_sound(units, dict(patch.attrs)):
            raise RefusedError(reason)
    if not len(patches):
        raise RefusedError("it holds no samples: deliver it again")
    if len(patches) != 1:
        raise RefusedError(f"{len(patches)} separate pieces in one file; split it into one file each")
    patch = patches[0]
    patch = time_first(patch)
    if not patch.data.size:
        raise RefusedError("it holds no samples: deliver it again")
    time = patch.get_coord("time")
    rate = _rate(time) if np.issubdtype(time.dtype, np.datetime64) and len(time) > 1 else None
    if rate is None:
        raise RefusedError(uneven(time.values))
    if head and (problem := misread(kind, head, 1e9 / rate)):
        raise RefusedError(problem)
    if patch.data.dtype.kind not in "iuf":
        raise RefusedError(f"its samples are {patch.data.dtype}, not real numbers")
    start_ns, (n_samples, n_channels) = _ns(time.min()), patch.shape
    if start_ns < DAY_NS:  # also where it is no time at all
        raise RefusedError(NO_DATE)
    require_within(limits, start_ns, n_samples, rate, n_channels)
    issues = []
    if note := _not_finite(patch.data, n_samples, n_channels):
        issues.append(note)
    end_ns = start_ns + round(n_samples * 1e9 / rate)
    _require_extent(start_ns, end_ns, extent)
    fibre, decided, site = identify(path, rules, dict(patch.attrs))
    return {
        "fibre": fibre,
        "path": path,
        "format": f"{kind} {version}",
        "start": start_ns,
        "end": end_ns,
        "sampling_rate_hz": rate,
        "n_samples": n_samples,
        "units": (site and site.unit) or units,
        "issues": issues,
        "sample_type": patch.data.dtype.str,
        "fibre_from": decided,
        "site": site,
        **told_places(patch),
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


def _bundle_row(
    store: Store, path: str, extent: tuple[int, int] | None, limits: LimitSettings, rules: Sequence[Site]
) -> dict[str, Any]:
    if not store.exists(path + SIDECAR):
        raise BundleError(f"there is no sidecar {PurePosixPath(path).name}{SIDECAR} beside it: deliver it")
    sidecar = stored_sidecar(store, path)
    if reason := no_sound(sidecar.units, sidecar.extra):
        raise RefusedError(reason)
    n_channels, rate = len(sidecar.channels), sidecar.sampling_rate_hz
    require_within(limits, sidecar.start_ns, sidecar.n_samples, rate, n_channels, of_sidecar=True)
    fibre, decided, site = identify(path, rules, vars(sidecar) | sidecar.extra, sidecar.fibre)
    start_ns = sidecar.start_ns
    issues = list(sidecar.assumed)
    if sidecar.start_of_name and site is not None and site.time_zone != "UTC":
        doubt = unsure(start_ns, site.time_zone)
        start_ns = in_utc(start_ns, site.time_zone)
        issues = [*([doubt] if doubt else []), *issues]
        issues = [issue.replace("as UTC", f"in {site.time_zone}") for issue in issues]
    end_ns = start_ns + round(sidecar.n_samples * 1e9 / sidecar.sampling_rate_hz)
    _require_extent(start_ns, end_ns, extent)
    if sidecar.dtype.kind == "f":
        # Not mapped: a file that is cut meanwhile would end the process.
        samples = BundleSamples(store, path, sidecar.dtype, len(sidecar.channels))
        if note := _not_finite(samples, sidecar.n_samples, len(sidecar.channels)):
            issues.append(note)
    return {
        "fibre": fibre,
        "path": path,
        "format": "DASANOM_BUNDLE 1",
        "start": start_ns,
        "end": end_ns,
        "sampling_rate_hz": sidecar.sampling_rate_hz,
        "n_samples": sidecar.n_samples,
        "channel_spacing_m": sidecar.channel_spacing_m,
        "units": (site and site.unit) or sidecar.units,
        "issues": issues,
        "channels": sidecar.channels,
        "sample_type": sidecar.dtype.str,
        "fibre_from": decided,
        "site": site,
        "distance": sidecar.distance_m,
        "says_unit": True,
    }


def _rate(time: Any) -> float | None:
    """Return the sampling rate of a coordinate, Hz, None where its samples are not evenly spaced."""
    if time.step is not None:
        step_ns = int(time.step.astype("timedelta64[ns]").astype(np.int64))
        return rate_of_step(step_ns) if step_ns > 0 else None
    return rate_of_times(time.values.astype("datetime64[ns]").astype(np.int64))


def _ns(time: np.datetime64) -> int:
    return int(time.astype("datetime64[ns]").astype(np.int64))


def _not_finite(data: "np.ndarray | BundleSamples", n_samples: int, n_channels: int) -> str | None:
    """Say how many samples are not finite, or beyond what can be a sample; None where all are numbers."""
    rows = max(1, BLOCK_VALUES // n_channels)
    none, large = 0, 0
    for row in range(0, n_samples, rows):
        block = data[row : min(row + rows, n_samples)]
        finite = np.isfinite(block)
        none += int((~finite).sum())
        large += int((finite & (np.abs(block) > MOST)).sum()) if block.dtype.kind == "f" else 0
    notes = [f"{none} {NOT_NUMBERS}"] if none else []
    if large:
        notes.append(f"{large} {TOO_LARGE}, fill values or an overflow, and not used")
    return "; ".join(notes) or None


def _require_extent(start_ns: int, end_ns: int, extent: tuple[int, int] | None) -> None:
    if extent is not None and (end_ns <= extent[0] or start_ns >= extent[1]):
        raise RefusedError("it lies outside of the time that is looked for")
