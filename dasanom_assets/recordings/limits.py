"""Bounds of what a delivered file may be: what lies beyond is refused before memory is asked for."""

from collections.abc import Iterable

import numpy as np

from dasanom_assets.recordings.hdf5 import SMALL_BYTES, Dataset
from dasanom_assets.settings import LimitSettings

EARLIEST_NS, LATEST_NS = (int(np.datetime64(year, "ns").astype(np.int64)) for year in ("1971", "2200"))
"""A clock that was never set says 1970; int64 nanoseconds end in 2262."""
MOST_EXPANSION = 1100
"""Bytes of samples that a byte of a compressed file becomes, at most; deflate reaches 1032."""


class LimitError(ValueError):
    """A file beyond what is taken for a recording; the message says what, and which setting allows it."""


def require_within(
    limits: LimitSettings,
    start_ns: float,
    n_samples: int,
    rate_hz: float,
    n_channels: int,
    *,
    of_sidecar: bool = False,
) -> None:
    """Refuse a recording that no interrogator makes.

    Parameters
    ----------
    limits : LimitSettings
    start_ns : float
        Time of the first sample, ns since 1970 UTC.
    n_samples, n_channels : int
    rate_hz : float
    of_sidecar : bool
        Whether somebody wrote the rate into a sidecar.

    Raises
    ------
    LimitError
        Naming the number, and the setting that bounds it.
    """
    require_rate(limits, rate_hz, of_sidecar=of_sidecar)
    if n_channels > limits.most_channels:
        raise LimitError(
            f"it has {n_channels} channels, more than limits.most_channels = {limits.most_channels}; "
            "if that is right, raise the limit"
        )
    if n_samples > limits.longest_hours * 3600 * rate_hz:
        raise LimitError(
            f"its {n_samples} samples at {rate_hz:g} Hz are {n_samples / rate_hz / 3600:.4g} h, more than "
            f"limits.longest_hours = {limits.longest_hours:g}; correct the rate, or split the file"
        )
    if not EARLIEST_NS <= start_ns < LATEST_NS:
        raise LimitError(
            "it starts before 1971 or after 2200: the clock of the interrogator was not set; correct the start"
        )


def require_rate(limits: LimitSettings, rate_hz: float, *, of_sidecar: bool = False) -> None:
    """Refuse a sampling rate that is no rate of sound; raises `LimitError`.

    `of_sidecar`: whether somebody wrote it into a sidecar.
    """
    if not rate_hz >= limits.lowest_rate_hz:
        advice = ""
        # Only a person who writes a sidecar takes the one for the other.
        if of_sidecar and rate_hz > 0 and limits.lowest_rate_hz <= 1 / rate_hz <= limits.highest_rate_hz:
            advice = f", or write {1 / rate_hz:g} where an interval of {rate_hz:g} s was given for the rate"
        raise LimitError(
            f"its sampling rate is {rate_hz:g} Hz, below limits.lowest_rate_hz = {limits.lowest_rate_hz:g}: too "
            f"slow for sound; leave it out of the delivery{advice}"
        )
    if rate_hz > limits.highest_rate_hz:
        raise LimitError(
            f"its sampling rate is {rate_hz:g} Hz, above limits.highest_rate_hz = {limits.highest_rate_hz:g}; "
            "correct the rate, or raise the limit"
        )


def beyond(limits: LimitSettings, fibre: str, spacing_m: float | None) -> str | None:
    """Say why a recording is refused for its fibre's name, or for how far its channels lie apart; else None."""
    if len(fibre) > limits.longest_name:
        return (
            f"the name of its fibre has {len(fibre)} characters, more than limits.longest_name = "
            f"{limits.longest_name}; give the fibre a shorter one in sites.toml"
        )
    if spacing_m is not None and not limits.least_spacing_m <= spacing_m <= limits.most_spacing_m:
        return (
            f"its channels lie {spacing_m:g} m apart, and limits.least_spacing_m = {limits.least_spacing_m:g} and "
            f"limits.most_spacing_m = {limits.most_spacing_m:g} bound that; give spacing_m or distance_unit in "
            "sites.toml, or change the limit"
        )
    return None


def require_room(limits: LimitSettings, size: int, datasets: Iterable[Dataset]) -> None:
    """Refuse a file, of a format that is read whole, whose samples would not fit into memory.

    Parameters
    ----------
    limits : LimitSettings
    size : int
        Of the file, bytes.
    datasets : iterable of hdf5.Dataset
        Where it is HDF5.

    Raises
    ------
    LimitError
        Also for an HDF5 file that claims far more samples than its bytes can hold.
    """
    _require_bytes(limits, size)
    for dataset in datasets:
        if dataset.stored is not None and dataset.n_bytes > max(SMALL_BYTES, MOST_EXPANSION * dataset.stored):
            raise LimitError(
                f"it is damaged or made up: {dataset.name} claims {dataset.n_bytes / 1e9:.3g} GB in "
                f"{dataset.stored} bytes"
            )
        _require_bytes(limits, dataset.n_bytes)


def _require_bytes(limits: LimitSettings, n_bytes: int) -> None:
    if n_bytes > limits.most_gigabytes * 1e9:
        raise LimitError(
            f"its samples take {n_bytes / 1e9:.3g} GB, more than limits.most_gigabytes = "
            f"{limits.most_gigabytes:g}; split the file, or raise the limit where there is memory for it"
        )


def require_extent(start_ns: int, end_ns: int, extent: tuple[int, int] | None) -> None:
    """Refuse what lies wholly outside of `extent`, ns since 1970; raises `LimitError`."""
    if extent is not None and (end_ns <= extent[0] or start_ns >= extent[1]):
        raise LimitError("it lies outside of the time that is looked for")
