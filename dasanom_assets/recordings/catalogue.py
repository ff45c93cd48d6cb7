"""What is readable of a day's delivery, and what is refused with which reason."""

import hashlib
import itertools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import PurePosixPath
from typing import Any

import dascore as dc
import numpy as np
import pyarrow as pa
from dascore.exceptions import UnknownFiberFormatError

from dasanom_assets.recordings.bundle import SIDECAR, BundleError, contractor_files, read_sidecar
from dasanom_assets.recordings.landing import landing_files
from dasanom_assets.recordings.signal import absolute_channels
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store

UNFINISHED = (".partial", ".tmp", ".part")
"""Endings of files that are still being written; they are neither read nor refused."""
_COMPANIONS = (".bin_prob.prob", ".bin_power.pow")
DAY_NS = 86_400_000_000_000


@dataclass(frozen=True)
class Refusal:
    """A file that cannot be used.

    Attributes
    ----------
    path : str
        Relative to the data root.
    sha256 : str
    size : int
        Bytes.
    reason : str
        In words.
    """

    path: str
    sha256: str
    size: int
    reason: str


@dataclass(frozen=True)
class Catalogue:
    """What was found: rows of `recordings`, and the files that were refused."""

    recordings: pa.Table
    refused: list[Refusal]


class RefusedError(ValueError):
    """A file that can be read but not used; the message says why."""


def catalogue_day(store: Store, day: str) -> Catalogue:
    """Look at every file of a day's landing folder, and at those of the day before that run into it.

    Parameters
    ----------
    store : Store
    day : str
        ISO day. A file that starts on another day than its folder's is refused.
    """
    today = catalogue_files(store, [f["path"] for f in landing_files(store, day)], day)
    before = (date.fromisoformat(day) - timedelta(days=1)).isoformat()
    earlier = catalogue_files(store, [f["path"] for f in landing_files(store, before)], before)
    ends = earlier.recordings["end"].cast(pa.int64()).to_numpy()
    tail = earlier.recordings.filter(pa.array(ends > np.datetime64(day).astype("datetime64[ns]").astype(int)))
    return Catalogue(_with_overlaps(pa.concat_tables([tail, today.recordings])), today.refused)


def catalogue_files(store: Store, paths: Iterable[str], day: str | None = None) -> Catalogue:
    """Look at files.

    Parameters
    ----------
    store : Store
    paths : iterable of str
        Relative to the data root. Hidden and unfinished files, and the companions of a bundle among `paths`, are
        passed over.
    day : str, optional
        ISO day on which every file must start; None: any.

    Returns
    -------
    Catalogue
        Rows by fibre and start.
    """
    paths = [p for p in paths if not PurePosixPath(p).name.startswith(".") and not p.endswith(UNFINISHED)]
    known = set(paths)
    companions = {path + SIDECAR for path in paths if path.endswith(".bin")}
    for path in paths:
        if path.endswith(".bin"):
            companions |= {name for _, *pair in contractor_files(path, paths) for name in pair if name}
    rows, refused = [], []
    for path in sorted(known - companions):
        digest = store.digest(path)
        # Whatever a foreign reader raises at a foreign file becomes a record in quarantine, and the day goes on.
        try:
            row = _row(store, path, digest)
            if day is not None:
                _require_day(row["start"], day)
            rows.append(row)
        except Exception as error:
            refused.append(Refusal(path, digest, store.fs.size(store.full(path)), _reason(error)))
    table = pa.Table.from_pylist(rows, SCHEMAS["recordings"])
    return Catalogue(_with_overlaps(table), refused)


def write_quarantine(store: Store, day: str, refused: list[Refusal]) -> None:
    """Keep one record a refused file, and drop those of files of the day's folder that are refused no longer."""
    for entry in store.listing("quarantine"):
        old = store.read_json(entry["path"])
        if old["day"] == day and old["path"] not in {refusal.path for refusal in refused}:
            store.fs.rm_file(store.full(entry["path"]))
    for refusal in refused:
        name = f"{PurePosixPath(refusal.path).name}.{hashlib.sha256(refusal.path.encode()).hexdigest()[:12]}.json"
        store.write_json(f"quarantine/{name}", {**vars(refusal), "day": day})


def _reason(error: Exception) -> str:
    if isinstance(error, BundleError | RefusedError):
        return str(error)
    if isinstance(error, UnknownFiberFormatError):
        return "not a recording of any known format"
    return f"cannot be read: {type(error).__name__}: {error}"


def _require_day(start_ns: int, day: str) -> None:
    own = str(np.datetime64(start_ns, "ns").astype("datetime64[D]"))
    if own != day:
        raise RefusedError(f"it starts on {own}, but lies in the folder of {day}")


def _row(store: Store, path: str, digest: str) -> dict[str, Any]:
    """Return a row of `recordings`; raises whatever makes the file useless."""
    name = PurePosixPath(path).name
    if store.fs.size(store.full(path)) == 0:
        raise RefusedError("the file is empty")
    if name.endswith(SIDECAR) and ".bin" in name:
        raise RefusedError(f"a sidecar without its recording {name.removesuffix(SIDECAR)}")
    if name.endswith(_COMPANIONS):
        raise RefusedError("a contractor's file without its recording")
    if name.endswith(".bin"):
        return _bundle_row(store, path, digest)
    with store.local(path) as local, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind, version = dc.get_format(local)
        patches = dc.read(local, file_format=kind, file_version=version)
    if len(patches) != 1:
        raise RefusedError(f"{len(patches)} separate pieces in one file; split it into one file each")
    patch = patches[0]
    if set(patch.dims) != {"time", "distance"}:
        raise RefusedError(f"its dimensions are {', '.join(patch.dims)}, not time and distance")
    patch = patch.transpose("time", "distance")
    if not patch.data.size:
        raise RefusedError("it holds no samples")
    step = patch.get_coord("time").step
    if step is None or not step > np.timedelta64(0, "ns"):
        raise RefusedError("its samples are not evenly spaced in time")
    if patch.data.dtype.kind not in "iuf":
        raise RefusedError(f"its samples are {patch.data.dtype}, not real numbers")
    distance, units = patch.get_coord("distance"), patch.attrs.data_units
    issues = []
    if n := int((~np.isfinite(patch.data)).sum()):
        issues.append(f"{n} samples are not finite")
    start_ns, step_ns = int(patch.get_coord("time").min().astype("datetime64[ns]").astype(int)), step
    n_samples = patch.shape[0]
    step_ns = int(step.astype("timedelta64[ns]").astype(int))
    spacing = None if distance.step is None or not np.isfinite(distance.step) else abs(float(distance.step))
    return {
        "fibre": name.split(".")[0].split("_")[0],
        "path": path,
        "format": f"{kind} {version}",
        "start": start_ns,
        "end": start_ns + n_samples * step_ns,
        "sampling_rate_hz": 1e9 / step_ns,
        "n_samples": n_samples,
        "first_channel": int(absolute_channels(patch)[0]),
        "n_channels": patch.shape[1],
        "channel_spacing_m": spacing,
        "units": None if units is None else str(units),
        "sha256": digest,
        "issues": issues,
    }


def _bundle_row(store: Store, path: str, digest: str) -> dict[str, Any]:
    if not store.exists(path + SIDECAR):
        raise BundleError(f"there is no sidecar {PurePosixPath(path).name}{SIDECAR} beside it")
    with store.local(path, path + SIDECAR) as local:
        sidecar = read_sidecar(local)
    return {
        "fibre": sidecar.fibre,
        "path": path,
        "format": "DASANOM_BUNDLE 1",
        "start": sidecar.start_ns,
        "end": sidecar.start_ns + round(sidecar.n_samples * 1e9 / sidecar.sampling_rate_hz),
        "sampling_rate_hz": sidecar.sampling_rate_hz,
        "n_samples": sidecar.n_samples,
        "first_channel": int(sidecar.channels[0]),
        "n_channels": len(sidecar.channels),
        "channel_spacing_m": sidecar.channel_spacing_m,
        "units": sidecar.units,
        "sha256": digest,
        "issues": list(sidecar.assumed),
    }


def _with_overlaps(table: pa.Table) -> pa.Table:
    """Sort by fibre and start, and note in `issues` which file overlaps the one before it, and by how much."""
    table = table.sort_by([("fibre", "ascending"), ("start", "ascending"), ("path", "ascending")])
    rows = table.set_column(3, "start", table["start"].cast(pa.int64()))
    rows = rows.set_column(4, "end", table["end"].cast(pa.int64())).to_pylist()
    for before, row in itertools.pairwise(rows):
        overlap = (before["end"] - row["start"]) / 1e9
        note = f"overlaps {PurePosixPath(before['path']).name} by {overlap:.3f} s"
        if (
            before["fibre"] == row["fibre"]
            and overlap * row["sampling_rate_hz"] >= 0.5
            and note not in row["issues"]
        ):
            row["issues"].append(note)
    return pa.Table.from_pylist(rows, SCHEMAS["recordings"])
