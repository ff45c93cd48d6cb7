"""What is done with a foreign file, in the process that can do nothing else: see `cage`."""

import contextlib
import importlib
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dascore as dc
import numpy as np
from dascore.exceptions import UnknownFiberFormatError
from dascore.io import FiberIO
from dascore.units import get_quantity
from dascore.utils.hdf5 import H5Reader

from dasanom_assets.recordings.hdf5 import SIGNATURE, Contents, contents
from dasanom_assets.recordings.identity import identify
from dasanom_assets.recordings.limits import require_extent, require_room, require_within
from dasanom_assets.recordings.measured import no_sound, not_finite, rate_of_step, rate_of_times
from dasanom_assets.recordings.patches import time_first
from dasanom_assets.recordings.places import told_places
from dasanom_assets.recordings.reasons import (
    HEAD_BYTES,
    NO_DATE,
    PICKLED,
    READERS,
    REWRITTEN,
    RefusedError,
    foreign,
    misread,
    uneven,
)
from dasanom_assets.recordings.site_rules import Site, composed
from dasanom_assets.settings import LimitSettings

DAY_NS = 86_400 * 1_000_000_000
BLOCK_VALUES = 1 << 20
"""Samples that are looked at together in the search for those that are not finite."""


def load_readers() -> None:
    """Import what formats are read with, before a process is closed off."""
    FiberIO.manager.load_plugins()
    for package in READERS:
        with contextlib.suppress(ImportError):
            importlib.import_module(package)
    get_quantity("m/s")


def look(
    local: Path,
    target: mmap.mmap | None,
    path: str,
    extent: tuple[int, int] | None,
    limits: dict[str, Any],
    rules: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return what `file_checks.file_row` does of a file that is no bundle; ``site`` is the number of its rule.

    Parameters
    ----------
    local : Path
        Where the file lies.
    target : mmap.mmap or None
        Not used.
    path, extent, limits, rules
        As there, in the fields of `LimitSettings` and `Site`.

    Raises
    ------
    RefusedError, LimitError
        In words, where the file cannot be used.
    Exception
        Whatever a reader of DASCore raises at a file that it cannot read.
    """
    bounds, sites = LimitSettings(**limits), [Site(**rule) for rule in rules]
    kind, version = _format(local, bounds)
    if extent is not None:
        for attrs in dc.scan(local, file_format=kind, file_version=version, progress=None):
            time = attrs.coords["time"]
            step = np.timedelta64(0, "ns") if time.step is None else time.step
            require_extent(_ns(time.min), _ns(time.max + step), extent)
    patches = dc.read(local, file_format=kind, file_version=version)
    head = local.read_bytes()[:HEAD_BYTES] if kind.lower() == "sentek" else b""
    for patch in patches:
        fibre, decided, site = identify(path, sites, dict(patch.attrs))
        told = patch.attrs.data_units
        units = (site and site.unit) or (None if told is None else composed(str(told)))
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
    require_within(bounds, start_ns, n_samples, rate, n_channels)
    issues = []
    rows = max(1, BLOCK_VALUES // n_channels)
    if note := not_finite(patch.data[row : row + rows] for row in range(0, n_samples, rows)):
        issues.append(note)
    end_ns = start_ns + round(n_samples * 1e9 / rate)
    require_extent(start_ns, end_ns, extent)
    return {
        "fibre": fibre,
        "path": path,
        "format": f"{kind} {version}",
        "start": start_ns,
        "end": end_ns,
        "sampling_rate_hz": rate,
        "n_samples": n_samples,
        "units": units,
        "issues": issues,
        "sample_type": patch.data.dtype.str,
        "fibre_from": decided,
        "site": None if site is None else sites.index(site),
        **told_places(patch),
    }


def outline(local: Path, target: mmap.mmap | None, limits: dict[str, Any]) -> dict[str, Any]:
    """Return format, rates, shapes and sample types of all pieces of a file, whatever they measure and whenever.

    Parameters
    ----------
    local : Path
        Where the file lies.
    target : mmap.mmap or None
        Not used.
    limits : dict
        The fields of `LimitSettings`.

    Returns
    -------
    dict
        ``format``, and ``pieces``: ``rate`` (Hz), ``shape`` (samples, channels) and ``dtype`` of each.

    Raises
    ------
    RefusedError, LimitError
        In words, where it cannot be used.
    Exception
        Whatever a reader of DASCore raises at a file that it cannot read.
    """
    kind, version = _format(local, LimitSettings(**limits))
    pieces = []
    for patch in map(time_first, dc.read(local, file_format=kind, file_version=version)):
        time = patch.get_coord("time")
        if time.dtype.kind not in "mM" or len(time) < 2 or (rate := _rate(time)) is None:
            raise RefusedError("its samples are not evenly spaced in time")
        if patch.data.dtype.kind not in "iuf":
            raise RefusedError(f"its samples are {patch.data.dtype}, not real numbers")
        pieces.append({"rate": rate, "shape": patch.shape, "dtype": patch.data.dtype.str})
    return {"format": f"{kind} {version}", "pieces": pieces}


def samples(
    local: Path, target: mmap.mmap | None, format: str, shape: tuple[int, int], dtype: str, piece: int, pieces: int
) -> None:
    """Write the samples of a file, time first, to memory that is shared with the process that asks.

    Parameters
    ----------
    local : Path
        Where the file lies.
    target : mmap.mmap
        Of the size of the samples.
    format : str
        Name and version, as the catalogue says: nobody asks the file again.
    shape : (int, int)
        Samples and channels, as the catalogue says.
    dtype : str
        Of a sample, as the catalogue says.
    piece, pieces : int
        Which of how many the file consists of.

    Raises
    ------
    RefusedError
        Where it does not hold these any more.
    Exception
        Whatever a reader of DASCore raises at a file that it cannot read.
    """
    assert target is not None
    _require_whole(contents(local))
    kind, version = format.split(" ", 1)
    patches = dc.read(local, file_format=kind, file_version=version)
    data = time_first(patches[piece]).data if len(patches) == pieces else np.empty(0)
    if data.shape != tuple(shape) or data.dtype.str != dtype:
        raise RefusedError(REWRITTEN)
    np.frombuffer(target, dtype).reshape(shape)[...] = data


ANSWERS: dict[str, Callable[..., Any]] = {"look": look, "outline": outline, "samples": samples}
"""What can be asked for."""


def _format(local: Path, bounds: LimitSettings) -> tuple[str, str]:
    """Return name and version of a file's format.

    Raises
    ------
    RefusedError
        For a pickled object: DASCore would unpickle it to find out, and that runs whatever code it holds. For HDF5
        whose content lies in other files.
    LimitError
        See `require_room`.
    OSError
        For an HDF5 file that is cut short or damaged, saying how.
    UnknownFiberFormatError
        For any other file that is not a recording.
    """
    with open(local, "rb") as file:
        head = file.read(HEAD_BYTES)
    if b"dascore.core" in head[:100]:
        raise RefusedError(PICKLED)
    hdf5 = contents(local)
    _require_whole(hdf5)
    require_room(bounds, local.stat().st_size, hdf5.datasets)
    try:
        return dc.get_format(local)
    except UnknownFiberFormatError:
        if head.startswith(SIGNATURE):
            H5Reader.get_handle(local).close()
        if what := foreign(head, local.name):
            raise RefusedError(what) from None
        raise


def _require_whole(hdf5: Contents) -> None:
    """Refuse HDF5 that would have other files opened, which may be any of this machine."""
    if hdf5.others:
        raise RefusedError(f"its content lies in other files, as {hdf5.others[0][:100]!r}: deliver it in one")


def _rate(time: Any) -> float | None:
    """Return the sampling rate of a coordinate, Hz, None where its samples are not evenly spaced."""
    if time.step is not None:
        step_ns = int(time.step.astype("timedelta64[ns]").astype(np.int64))
        return rate_of_step(step_ns) if step_ns > 0 else None
    return rate_of_times(time.values.astype(f"{time.dtype.kind}8[ns]").astype(np.int64))


def _ns(time: np.datetime64) -> int:
    return int(time.astype("datetime64[ns]").astype(np.int64))
