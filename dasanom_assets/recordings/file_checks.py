"""One file of a delivery: its row of the catalogue, or the reason why it cannot be used."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from dasanom_assets.recordings import apart
from dasanom_assets.recordings.identity import identify
from dasanom_assets.recordings.limits import require_extent, require_within
from dasanom_assets.recordings.measured import no_sound, not_finite
from dasanom_assets.recordings.opened import BundleSamples, stored_sidecar
from dasanom_assets.recordings.reasons import RefusedError, misnamed
from dasanom_assets.recordings.sidecar import SIDECAR, BundleError
from dasanom_assets.recordings.site_rules import Site, in_utc, unsure
from dasanom_assets.settings import LimitSettings
from dasanom_assets.tables.store import Store

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
    """
    name = PurePosixPath(path).name
    if store.fs.size(store.full(path)) == 0:
        raise RefusedError("the file is empty: deliver it again")
    if problem := misnamed(path):
        raise RefusedError(problem)
    if name.endswith(".bin"):
        return _bundle_row(store, path, extent, limits, rules)
    with store.local(path) as local:
        return apart.look(local, path, extent, limits, rules)


def _bundle_row(
    store: Store, path: str, extent: tuple[int, int] | None, limits: LimitSettings, rules: Sequence[Site]
) -> dict[str, Any]:
    if not store.exists(path + SIDECAR):
        raise BundleError(f"there is no sidecar {PurePosixPath(path).name}{SIDECAR} beside it: deliver it")
    sidecar = stored_sidecar(store, path)
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
    if sidecar.dtype.kind == "f":
        # Not mapped: a file that is cut meanwhile would end the process.
        samples = BundleSamples(store, path, sidecar.dtype, len(sidecar.channels))
        if note := not_finite(samples, sidecar.n_samples, len(sidecar.channels)):
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
