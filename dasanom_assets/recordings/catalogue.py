"""What is readable of a day's delivery, and what is refused with which reason."""

import hashlib
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import dascore as dc
import numpy as np
import pyarrow as pa
from dascore.exceptions import UnknownFiberFormatError
from dascore.utils.hdf5 import H5Reader

from dasanom_assets.recordings.bundle import (
    CONTRACTOR_ENDINGS,
    SIDECAR,
    BundleError,
    bundle_of,
    samples,
)
from dasanom_assets.recordings.landing import landing_files, shifted
from dasanom_assets.recordings.signal import absolute_channels, stored_sidecar
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store

UNFINISHED = (".partial", ".tmp", ".part")
"""Endings of files that are still being written; they are neither read nor refused."""
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
DIGEST_THREADS = 4
"""Files that are digested at once, from disk or over a network."""
BLOCK_VALUES = 1 << 24
"""Samples that are looked at together in the search for those that are not finite."""


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
    rows, reasons = _look(store, [f["path"] for f in landing_files(store, day)], day)
    before = shifted(day, -1)
    tail, _ = _look(store, [f["path"] for f in landing_files(store, before)], before, _extent(day, 0))
    return _catalogue(store, tail + rows, reasons)


def past_midnight(recordings: pa.Table, day: str) -> list[str]:
    """Return the paths of a day's own recordings that go on after its end: they are of the next day too.

    Parameters
    ----------
    recordings : pyarrow.Table
        Rows of `recordings` of the day.
    day : str
        ISO day.
    """
    start, end = _extent(day, 0)
    began, ended = (recordings[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    return recordings["path"].filter(pa.array((began >= start) & (ended > end))).to_pylist()


def adjoining(store: Store, day: str) -> pa.Table:
    """Return the files around a day: of the day before and after, those within a second of midnight.

    They are not of the day, but the frames at its first and last instant reach into them. Digests are left out.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.

    Returns
    -------
    pyarrow.Table
        Rows of `recordings`; ``sha256`` is null.
    """
    rows = []
    for shift in (-1, 1):
        other = shifted(day, shift)
        found, _ = _look(store, [f["path"] for f in landing_files(store, other)], other, _extent(day, 1))
        rows += found
    start, end = _extent(day, 0)
    outside = [{**row, "sha256": None} for row in rows if row["end"] <= start or row["start"] >= end]
    columns = SCHEMAS["recordings"].names
    return pa.Table.from_pylist([{name: r[name] for name in columns} for r in outside], SCHEMAS["recordings"])


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
    return _catalogue(store, *_look(store, paths, day))


def _look(
    store: Store, paths: Iterable[str], day: str | None, extent: tuple[int, int] | None = None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return a row for each file that can be used, and the reason for each that cannot.

    A row lacks its digest and has the ``channels`` beside the columns of `recordings`. Files wholly outside of
    `extent`, ns since 1970, are among those that cannot be used, and are not read.
    """
    known = {p for p in paths if not PurePosixPath(p).name.startswith(".") and not p.endswith(UNFINISHED)}
    rows, reasons = [], {}
    for path in sorted(p for p in known if bundle_of(p) not in known):
        # Whatever a foreign reader raises at a foreign file becomes a record in quarantine, and the day goes on.
        try:
            row = _row(store, path, extent)
            if day is not None:
                _require_day(row["start"], day)
            rows.append(row)
        except Exception as error:
            reasons[path] = _reason(error)
    return rows, reasons


def _catalogue(store: Store, rows: list[dict[str, Any]], reasons: dict[str, str]) -> Catalogue:
    rows = sorted(rows, key=lambda row: (row["fibre"], row["start"], row["path"]))
    _note_neighbours(rows)
    columns = SCHEMAS["recordings"].names
    with ThreadPoolExecutor(DIGEST_THREADS) as pool:
        digests = dict(pool.map(lambda p: (p, store.digest(p)), [*(row["path"] for row in rows), *reasons]))
    table = [{**row, "sha256": digests[row["path"]]} for row in rows]
    return Catalogue(
        pa.Table.from_pylist([{name: row[name] for name in columns} for row in table], SCHEMAS["recordings"]),
        [Refusal(p, digests[p], store.fs.size(store.full(p)), reason) for p, reason in reasons.items()],
    )


def write_quarantine(store: Store, day: str, refused: list[Refusal]) -> None:
    """Keep one record a refused file, and drop those of files of the day's folder that are refused no longer."""
    for entry in store.listing("quarantine"):
        if PurePosixPath(entry["path"]).name.startswith("."):  # left by a writer that was killed
            continue
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


def _require_extent(start_ns: int, end_ns: int, extent: tuple[int, int] | None) -> None:
    if extent is not None and (end_ns <= extent[0] or start_ns >= extent[1]):
        raise RefusedError("it lies outside of the time that is looked for")


def _extent(day: str, margin_seconds: int) -> tuple[int, int]:
    """Return start and end of a day and a margin around it, ns since 1970."""
    start, end = (int(np.datetime64(d, "ns").astype(np.int64)) for d in (day, shifted(day, 1)))
    return start - margin_seconds * 1_000_000_000, end + margin_seconds * 1_000_000_000


def _row(store: Store, path: str, extent: tuple[int, int] | None) -> dict[str, Any]:
    """Return a row of `recordings`; raises whatever makes the file useless."""
    name = PurePosixPath(path).name
    if store.fs.size(store.full(path)) == 0:
        raise RefusedError("the file is empty")
    if name.endswith(".bin" + SIDECAR):
        raise RefusedError(f"a sidecar without its recording {name.removesuffix(SIDECAR)}")
    if name.endswith(tuple(".bin" + ending for ending in CONTRACTOR_ENDINGS)):
        raise RefusedError("a contractor's file without its recording")
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
    if note := _not_finite(patch.data):
        issues.append(note)
    start_ns = _ns(patch.get_coord("time").min())
    step_ns = int(step.astype("timedelta64[ns]").astype(np.int64))
    n_samples, channels = patch.shape[0], absolute_channels(patch)
    end_ns = start_ns + n_samples * step_ns
    _require_extent(start_ns, end_ns, extent)
    spacing = None if distance.step is None or not np.isfinite(distance.step) else abs(float(distance.step))
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
        head = file.read(100)
    if b"dascore.core" in head:
        raise RefusedError("a pickled object, which could run code when opened")
    try:
        return dc.get_format(local)
    except UnknownFiberFormatError:
        if head.startswith(HDF5_SIGNATURE):
            H5Reader.get_handle(local).close()
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
    n = sum(int((~np.isfinite(data[at : at + rows])).sum()) for at in range(0, len(data), rows))
    return f"{n} samples are not finite" if n else None


def _note_neighbours(rows: list[dict[str, Any]]) -> None:
    """Note in `issues` by how much a file overlaps, or leaves a gap to, what its channels have before it.

    Changes `rows`, which are sorted by fibre and start.
    """
    latest: dict[tuple[str, bytes], dict[str, Any]] = {}  # the one that ends last, of each fibre and channels
    for row in rows:
        fibre, channels = row["fibre"], row["channels"]
        earlier = [
            other
            for (name, _), other in latest.items()
            if name == fibre and np.isin(channels, other["channels"]).any()
        ]
        if earlier:
            before = max(earlier, key=lambda other: other["end"])
            late = (row["start"] - before["end"]) / 1e9
            name = PurePosixPath(before["path"]).name
            if late * row["sampling_rate_hz"] <= -0.5:
                row["issues"].append(f"overlaps {name} by {-late:.3f} s")
            elif late * row["sampling_rate_hz"] > 0.5:
                row["issues"].append(f"{late:.3f} s are missing after {name}")
        key = fibre, channels.tobytes()
        if key not in latest or latest[key]["end"] < row["end"]:
            latest[key] = row
