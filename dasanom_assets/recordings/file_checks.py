"""One file of a delivery, read once: its digest, and its row of the catalogue or why it cannot be used."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from dasanom_assets.recordings import apart
from dasanom_assets.recordings.identity import identify
from dasanom_assets.recordings.limits import require_extent, require_within
from dasanom_assets.recordings.listing import closed, of_network, why_closed
from dasanom_assets.recordings.measured import no_sound, not_finite
from dasanom_assets.recordings.opened import stored_sidecar
from dasanom_assets.recordings.reasons import REWRITTEN, RefusedError, misnamed, reason_of
from dasanom_assets.recordings.sidecar import SIDECAR, BundleError, Sidecar
from dasanom_assets.recordings.site_rules import Site, in_utc, unsure
from dasanom_assets.settings import LimitSettings
from dasanom_assets.tables.store import Store

LIMITS = LimitSettings()
BLOCK_BYTES = 1 << 22
"""Of a bundle, that are looked at together."""


@dataclass(frozen=True)
class Look:
    """What one reading of a file found.

    Attributes
    ----------
    path : str
        Relative to the data root.
    row : dict or None
        Of `recordings`, and what its places are found by: ``site``, the rule that fits, and what
        `places.told_places` returns. None where the file cannot be used.
    reason : str
        Why not, in words.
    sha256 : str
        Of its content; empty where it cannot be read, or is not of the time that was looked for.
    size : int
        Bytes.
    """

    path: str
    row: dict[str, Any] | None = None
    reason: str = ""
    sha256: str = ""
    size: int = 0


def look_at(
    store: Store,
    path: str,
    extent: tuple[int, int] | None = None,
    limits: LimitSettings = LIMITS,
    rules: Sequence[Site] = (),
    refused: str = "",
) -> Look:
    """Read a file once, for its row and its digest; nothing is raised at what it holds, but where a store is away.

    Parameters
    ----------
    store : Store
    path : str
        Relative to the data root.
    extent : (int, int), optional
        A file that lies wholly outside of it is refused, ns since 1970, and not digested.
    limits : LimitSettings, optional
    rules : sequence of Site, optional
        Of the site.
    refused : str, optional
        Why it cannot be used, where that is known: it is digested only.
    """
    if problem := closed(store, path):
        return Look(path, reason=problem)
    try:
        with _content(store, path) as content:
            row, reason = None, refused
            # Whatever is raised at a foreign file becomes a record in quarantine, and the day goes on.
            try:
                if not reason:
                    row = _row(store, path, content, extent, limits, rules)
            except Exception as error:
                if path.endswith(".bin") and of_network(error, store):  # others are read from a copy
                    raise
                reason = reason_of(error)
            if row is None and extent is not None:
                return Look(path, reason=reason)
            digest = content.sha256()
            if row is not None and content.is_changed():
                row, reason = None, REWRITTEN
            return Look(path, row and row | {"sha256": digest}, reason, digest, content.size)
    except OSError as error:
        if of_network(error, store):
            raise
        return Look(path, reason=f"it was lost while it was read: {why_closed(error)}")


class _Content:
    """The content of a file, of which each block passes once and leaves its trace in the digest."""

    def __init__(self, file: BinaryIO, size: int, local: Path | None) -> None:
        self.size, self.local = size, local
        self._file, self._hash, self._read = file, hashlib.sha256(), 0
        self._before = self._stamp()

    def blocks(self, n_bytes: int) -> Iterator[bytes]:
        """Yield what has not passed yet."""
        while block := self._file.read(n_bytes):
            self._hash.update(block)
            self._read += len(block)
            yield block

    def sha256(self) -> str:
        """Return the digest of all that passed, and of what is left."""
        for _ in self.blocks(BLOCK_BYTES):
            pass
        return self._hash.hexdigest()

    def is_changed(self) -> bool:
        """Whether the file was written meanwhile, so that the digest may not be that of what was looked at."""
        return self._read != self.size or self._stamp() != self._before

    def _stamp(self) -> tuple[int, int] | None:
        found = None if self.local is None else os.stat(self.local)
        return found and (found.st_size, found.st_mtime_ns)


@contextmanager
def _content(store: Store, path: str) -> Iterator[_Content]:
    """Open a file; of an object store, a bundle passes by as a stream, and others are copied to this machine."""
    if path.endswith(".bin") and not store.is_local:
        with store.fs.open(store.full(path), "rb") as file:
            yield _Content(file, file.size, None)
        return
    with store.local(path) as local, open(local, "rb") as file:
        yield _Content(file, os.fstat(file.fileno()).st_size, local)


def _row(
    store: Store,
    path: str,
    content: _Content,
    extent: tuple[int, int] | None,
    limits: LimitSettings,
    rules: Sequence[Site],
) -> dict[str, Any]:
    """Return a row; raises RefusedError, BundleError or LimitError, in words, where the file cannot be used."""
    if content.size == 0:
        raise RefusedError("the file is empty: deliver it again")
    if problem := misnamed(path):
        raise RefusedError(problem)
    if path.endswith(".bin"):
        return _bundle_row(store, path, content, extent, limits, rules)
    assert content.local is not None
    return apart.look(content.local, path, extent, limits, rules)


def _bundle_row(
    store: Store,
    path: str,
    content: _Content,
    extent: tuple[int, int] | None,
    limits: LimitSettings,
    rules: Sequence[Site],
) -> dict[str, Any]:
    if not store.exists(path + SIDECAR):
        raise BundleError(f"there is no sidecar {PurePosixPath(path).name}{SIDECAR} beside it: deliver it")
    sidecar = stored_sidecar(store, path, content.size)
    fibre, decided, site = identify(path, rules, vars(sidecar) | sidecar.extra, sidecar.fibre)
    units = (site and site.unit) or sidecar.units
    if reason := no_sound(units, sidecar.extra):
        raise RefusedError(reason)
    n_channels, rate = len(sidecar.channels), sidecar.sampling_rate_hz
    require_within(limits, sidecar.start_ns, sidecar.n_samples, rate, n_channels, of_sidecar=True)
    start_ns = sidecar.start_ns
    issues = list(sidecar.assumed)
    if sidecar.start_of_name and site is not None and site.time_zone != "UTC":
        doubt = unsure(start_ns, site.time_zone)
        start_ns = in_utc(start_ns, site.time_zone)
        issues = [*([doubt] if doubt else []), *issues]
        issues = [issue.replace("as UTC", f"in {site.time_zone}") for issue in issues]
    end_ns = start_ns + round(sidecar.n_samples * 1e9 / sidecar.sampling_rate_hz)
    require_extent(start_ns, end_ns, extent)
    if note := not_finite(_samples(content, sidecar)):
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
        "units": units,
        "issues": issues,
        "channels": sidecar.channels,
        "sample_type": sidecar.dtype.str,
        "fibre_from": decided,
        "site": site,
        "distance": sidecar.distance_m,
        "says_unit": True,
    }


def _samples(content: _Content, sidecar: Sidecar) -> Iterator[np.ndarray]:
    """Yield the samples of a bundle, of those that may not be finite."""
    if sidecar.dtype.kind == "f":
        left = sidecar.n_samples * len(sidecar.channels) * sidecar.dtype.itemsize
        for block in content.blocks(BLOCK_BYTES):  # not mapped: a file that is cut meanwhile would end the process
            yield np.frombuffer(block, sidecar.dtype, max(0, min(len(block), left)) // sidecar.dtype.itemsize)
            left -= len(block)
