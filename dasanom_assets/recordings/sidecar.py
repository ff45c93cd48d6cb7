"""The sidecar of a vendor bundle: what it says of the samples, checked against itself and the file's size."""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dasanom_assets.recordings.places import MOST_CHANNEL
from dasanom_assets.recordings.site_rules import composed

SIDECAR = ".info"
"""Ending of a sidecar, after the name of its `.bin` file."""
DTYPES = {"int16": "<i2", "int32": "<i4", "float32": "<f4"}
DEFAULT_RATE_HZ = 2000.0
_STAMP = re.compile(r"(\d{8}T\d{6})")
LARGEST_BYTES, MOST_LINES = 1_000_000, 10_000
"""A larger sidecar is none."""
MOST_CHANNELS = 4_000_000
"""Of a bundle: before memory is asked for their numbers. Those of a recording are bounded by the settings."""
LONGEST_NAME = 200
"""Of a fibre or a unit, characters."""
MEND = "mend it in the sidecar"
LATEST_NS = int(9.2e18)
"""Times are counted in ns since 1970, in 64 bits: so far in either direction, and a little for the length."""
_MIDNIGHT = re.compile(r"^(\d{4}-\d{2}-\d{2}|\d{8})[T ]24(?::?00){0,2}(?:[.,]0+)?(?=$|[Zz+-])")
_LEAP_SECOND = re.compile(r"[T ]\d{2}:?\d{2}:?60")
_BELOW_MICROSECONDS = re.compile(r"[.,]\d{6}(\d{1,3})")
_LINE = re.compile(r"([A-Za-z_]\w*)\s*[:=](.*)")


class BundleError(ValueError):
    """A bundle that contradicts itself or the format."""


@dataclass(frozen=True)
class Sidecar:
    """What a bundle's sidecar and file size say.

    Attributes
    ----------
    fibre : str or None
    channels : numpy.ndarray
        int32, shape (n_channels,): absolute channel numbers, in the order of the samples. Where zones overlap, and
        the samples hold both, a channel is there twice.
    sampling_rate_hz : float
    dtype : numpy.dtype
        Of a sample, little-endian.
    start_ns : int
        Time of the first sample, ns since 1970 UTC.
    n_samples : int
    channel_spacing_m, gauge_length_m, first_channel_distance_m : float or None
    units : str or None
    extra : dict
        Keys of the sidecar that the format does not name.
    assumed : tuple of str
        What the sidecar does not say and the reader took for granted.
    start_of_name : bool
        Whether the start is that in the file's name, taken as UTC.
    """

    fibre: str | None
    channels: np.ndarray
    sampling_rate_hz: float
    dtype: np.dtype
    start_ns: int
    n_samples: int
    channel_spacing_m: float | None
    gauge_length_m: float | None
    first_channel_distance_m: float | None
    units: str | None
    extra: dict[str, Any] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    start_of_name: bool = False

    @property
    def distance_m(self) -> np.ndarray | None:
        """Distance of each channel, m, float64, shape (n_channels,); None where the sidecar does not say it."""
        if self.channel_spacing_m is None or self.first_channel_distance_m is None:
            return None
        return self.first_channel_distance_m + (self.channels - self.channels[0]) * self.channel_spacing_m


def read_sidecar(path: str | Path, size: int | None = None) -> Sidecar:
    """Read the sidecar of a `.bin` file and check it against the file's size.

    Parameters
    ----------
    path : str or Path
        The `.bin` file; the sidecar is ``<path>.info``.
    size : int, optional
        Of the `.bin` file, bytes, where only its sidecar is at hand.

    Raises
    ------
    BundleError
        In words, where the sidecar is missing or cannot be understood, contradicts itself or the size of the
        file, or leaves the start unknown.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "north_20260105T100000.bin"
    ...     _ = path.write_bytes(bytes(2 * 3 * 1000))
    ...     _ = path.with_name(path.name + ".info").write_text("selected_channel_zones: [[100, 102]]")
    ...     sidecar = read_sidecar(path)
    >>> sidecar.channels.tolist(), sidecar.n_samples
    ([100, 101, 102], 1000)
    >>> sidecar.assumed[:2]
    ('sampling rate 2000 Hz assumed', 'sample format int16 assumed')
    """
    path = Path(path)
    sidecar = path.with_name(path.name + SIDECAR)
    if not sidecar.is_file():
        raise BundleError(f"there is no sidecar {sidecar.name} beside it: deliver it")
    size = path.stat().st_size if size is None else size
    if size == 0:
        raise BundleError("the file is empty: deliver it again")
    keys = _parse(sidecar)
    assumed: list[str] = []

    def take(key: str, default: Any = None, note: str = "") -> Any:
        value = keys.pop(key, None)
        if value in (None, ""):
            if note:
                assumed.append(note)
            return default
        return value

    rate = _positive(
        "sampling_rate_hz", take("sampling_rate_hz", DEFAULT_RATE_HZ, "sampling rate 2000 Hz assumed")
    )
    sample_format = str(take("sample_format", "int16", "sample format int16 assumed"))
    if sample_format not in DTYPES:
        raise BundleError(f"unknown sample_format {_quoted(sample_format)}; known: {', '.join(DTYPES)}; {MEND}")
    dtype = np.dtype(DTYPES[sample_format])
    channels = _channels(
        take("selected_channel_zones", []), take("number_of_channels_in_one_sample"), size // dtype.itemsize
    )
    start_ns, stamp_used = _start(take("start_time"), path.name)
    if stamp_used:
        assumed.append("start time taken from the file's name as UTC")
    fibre = take("fibre")
    spacing, gauge, first = (
        None if (value := take(key)) is None else check(key, value)
        for key, check in (
            ("channel_spacing_m", _positive),
            ("gauge_length_m", _positive),
            ("first_channel_distance_m", _number),
        )
    )
    units = None if (value := take("units")) is None else composed(str(value))
    for key, value in (("fibre", fibre), ("units", units)):
        if len(str(value)) > LONGEST_NAME:
            raise BundleError(f"{key} has more than {LONGEST_NAME} characters: {MEND}")
    if len(each := np.unique(channels)) < len(channels):
        assumed.append(f"zones overlap; each of their {len(each)} channels counts once")
        if size % (dtype.itemsize * len(channels)) and not size % (dtype.itemsize * len(each)):
            channels = each
    row = dtype.itemsize * len(channels)
    if size % row:
        raise BundleError(
            f"truncated delivery: {size} bytes are not a multiple of {row} "
            f"({len(channels)} channels of {sample_format}); {size % row} bytes are left over; deliver it again, "
            "or mend its sidecar"
        )
    return Sidecar(
        None if fibre is None else str(fibre), channels, rate, dtype, start_ns, size // row, spacing, gauge, first,
        units=units, extra=keys, assumed=tuple(assumed), start_of_name=stamp_used,
    )  # fmt: skip


def _parse(sidecar: Path) -> dict[str, Any]:
    if sidecar.stat().st_size > LARGEST_BYTES:
        raise BundleError(f"the sidecar {sidecar.name} has more than {LARGEST_BYTES} bytes: deliver it again")
    try:
        text = sidecar.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BundleError(f"the sidecar {sidecar.name} is not UTF-8 text: save it as such") from error
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError):  # also of numbers of thousands of digits
        keys, lines = {}, text.splitlines()
        if len(lines) > MOST_LINES:
            raise BundleError(
                f"the sidecar {sidecar.name} has more than {MOST_LINES} lines: deliver it again"
            ) from None
        for line in lines:
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            if match is None:
                raise BundleError(
                    f"the sidecar {sidecar.name} is neither JSON nor lines of key: value; {MEND}"
                ) from None
            value = match[2].removesuffix(",").strip()
            try:
                keys[match[1]] = json.loads(value)
            except (ValueError, RecursionError):
                keys[match[1]] = value.strip("\"'")
    if not isinstance(keys, dict) or not keys:
        raise BundleError(f"the sidecar {sidecar.name} holds no keys: deliver it again")
    return keys


def _quoted(value: Any) -> str:
    """Return a value of a sidecar as it is told: it may be of any length."""
    words = repr(value)
    return words if len(words) <= LONGEST_NAME else words[:LONGEST_NAME] + "…"


def _number(key: str, value: Any) -> float:
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not np.isfinite(number):
        raise BundleError(f"{key} {_quoted(value)} is not a number: {MEND}")
    return number


def _positive(key: str, value: Any) -> float:
    number = _number(key, value)
    if number <= 0:
        raise BundleError(f"{key} {_quoted(value)} is not a positive number: {MEND}")
    return number


def _integer(value: Any, what: str) -> int:
    number = _number(what, value)
    if not number.is_integer():
        raise BundleError(f"{what} {_quoted(value)} is not a whole number: {MEND}")
    return int(number)


def _channels(zones: Any, count: Any, most: int) -> np.ndarray:
    """Return the channels; more than `most`, the samples that the file has room for, are an error.

    Nothing is allocated before that is known: a slip in a sidecar may ask for any number.
    """
    if isinstance(zones, str):
        try:
            zones = json.loads(zones or "[]")
        except (ValueError, RecursionError) as error:
            raise BundleError(f"selected_channel_zones {_quoted(zones)} is not a list: {MEND}") from error
    if not isinstance(zones, list):
        raise BundleError(f"selected_channel_zones {_quoted(zones)} is not a list: {MEND}")
    if len(zones) == 2 and not any(isinstance(zone, list) for zone in zones):
        zones = [zones]
    total = None if count is None else _integer(count, "number_of_channels_in_one_sample")
    if not zones:
        if total is None or total < 1:
            raise BundleError(
                "neither selected_channel_zones nor number_of_channels_in_one_sample says how many: add one"
            )
        _require_room(total, most)
        return np.arange(total, dtype=np.int32)
    ends = []
    for zone in zones:
        if not isinstance(zone, list) or len(zone) != 2:
            raise BundleError(f"zone {_quoted(zone)} is not [first, last]: {MEND}")
        first, last = (_integer(end, "zone end") for end in zone)
        if last < first:
            raise BundleError(f"zone [{first}, {last}] ends before it begins: {MEND}")
        if first < 0 or last > MOST_CHANNEL:
            raise BundleError(f"zone [{first}, {last}] is not one of channel numbers: {MEND}")
        ends.append((first, last))
    _require_room(sum(last - first + 1 for first, last in ends), most)
    channels = np.concatenate([np.arange(first, last + 1, dtype=np.int32) for first, last in ends])
    each = np.unique(channels)
    if total == len(each):  # samples hold each channel of overlapping zones once, or zones do not overlap
        return channels if len(each) == len(channels) else each
    if total is not None and total != len(channels):
        raise BundleError(
            f"zones {_quoted(zones)} hold {len(channels)} channels, but the sidecar counts {total}: {MEND}"
        )
    return channels


def _require_room(n_channels: int, most: int) -> None:
    if n_channels > most:
        raise BundleError(
            f"truncated delivery: {n_channels} channels a sample, but the file has room for {most} values in all; "
            "deliver it again, or mend its sidecar"
        )
    if n_channels > MOST_CHANNELS:
        raise BundleError(f"{n_channels} channels are more than {MOST_CHANNELS}, which no recording has: {MEND}")


def _start(value: Any, name: str) -> tuple[int, bool]:
    """Return the start in ns since 1970, and whether it was taken from the file's name."""
    if value is not None:
        text, midnight = _MIDNIGHT.subn(r"\1 00:00:00", str(value).strip())
        if _LEAP_SECOND.search(text):
            raise BundleError(
                f"start_time {_quoted(value)} is a leap second, which is not counted here: give the next one"
            )
        try:
            moment = datetime.fromisoformat(text) + timedelta(days=midnight)
        except (ValueError, OverflowError) as error:
            raise BundleError(
                f"start_time {_quoted(value)} is not ISO 8601, as 2026-01-05T10:00:00Z is: {MEND}"
            ) from error
        if moment.tzinfo is None:
            raise BundleError(f"start_time {_quoted(value)} has no time zone: end it with Z where it is UTC")
        # Python's clock ends at microseconds.
        below = _BELOW_MICROSECONDS.search(text)
        return _ns(moment) + (int(below[1].ljust(3, "0")) if below else 0), False
    match = _STAMP.search(name)
    if match is None:
        raise BundleError("no start: neither start_time in the sidecar nor YYYYMMDDTHHMMSS in the name: add one")
    try:
        moment = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError as error:
        what = "a leap second, which is not counted here" if match[1].endswith("5960") else "not a time"
        raise BundleError(f"{match[1]} in the name is {what}: rename it") from error
    return _ns(moment), True


def _ns(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    ns = ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
    if abs(ns) >= LATEST_NS:
        raise BundleError(
            f"it starts at {moment.isoformat()}, and times reach from 1678 to 2261: mend its start_time"
        )
    return ns
