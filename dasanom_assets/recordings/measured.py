"""What a recording measures: sound or not, in which unit, and at which rate its clock ticks."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

NO_SOUND = {"DTS": "temperature", "DSS": "strain, averaged over seconds or minutes"}
"""Categories of DASCore that are no sound, and what they measure."""
FREQUENCY = re.compile(r"[kMG]?(Hz|hertz)", re.IGNORECASE)
TEMPERATURE = re.compile(
    r"((º|°|deg(ree)?s?|grad)?[ _.]*(celsius|kelvin|fahrenheit)|(º|°|deg(ree)?s?|grad)?[ _.]*[CKF])", re.IGNORECASE
)
CATEGORY = ("data_category", "category", "sensing")
"""What files call the kind of the instrument, and below the kind of what it measures."""
KIND = ("data_type", "type", "measurement", "measurand", "quantity")
MOST = 1e15
"""Floats beyond it are fill values or an overflow: no samples, and their squares leave what float32 holds."""
NOT_NUMBERS, TOO_LARGE = "samples are not finite", f"samples are larger than {MOST:g}"
UNEVEN = 0.1
"""Samples that lie farther from their place than this share of a step are not evenly spaced."""
FLOAT_SECONDS = ("DASHDF5", "H5Simple", "Uptech_H5")
"""Formats that tell times as seconds since 1970 in float64, of which DASCore takes one step for all."""
HALF_A_TICK_NS = 120
"""Of such a time: they lie 238 ns apart."""
BAD_STATES = ("dead", "saturated")
"""States of `channel_health` whose channels are neither learned from nor scored."""
SAME_HZ = 0.005
"""Bands whose centres differ by a smaller share are the same."""
SAME_RATE = 1e-4
"""Rates that differ by a smaller share are one rate, measured anew."""


def no_sound(units: str | None, attributes: Mapping[str, Any]) -> str | None:
    """Say why a recording is none of sound, or None where it may be.

    Parameters
    ----------
    units : str or None
        Of its samples.
    attributes : mapping
        What the file says: one of `CATEGORY` and one of `KIND`, in the words of DASCore, where they are known.

    Examples
    --------
    >>> no_sound("degC", {})
    'it measures temperature (degC), not sound; leave it out of the delivery'
    >>> no_sound("nanostrain/s", {"data_category": "DAS", "data_type": "strain_rate"}) is None
    True
    """
    said = {name.lower(): value for name, value in attributes.items()}
    category, kind = (
        next((str(said[name]).strip() for name in names if str(said.get(name) or "").strip()), "")
        for names in (CATEGORY, KIND)
    )
    what = NO_SOUND.get(category.upper())
    if kind.lower() == "otdr":
        what = "the light that the fibre gives back, once"
    elif "temperature" in kind.lower() or _is_temperature(units):
        what = "temperature"
    elif units and FREQUENCY.fullmatch(_named(units)):
        what = "the frequency of Brillouin scattering"
    if what is None:
        return None
    known = ", ".join(word for word in (category, units) if word)
    return f"it measures {what}{f' ({known})' if known else ''}, not sound; leave it out of the delivery"


def _named(units: str) -> str:
    """Return a unit as it is written, without the 1 that DASCore puts before it."""
    return re.sub(r"^1(\.0)?\s+", "", units.strip())


def _is_temperature(units: str | None) -> bool:
    if not units:
        return False
    if TEMPERATURE.fullmatch(_named(units)):
        return True
    quantity = _quantity(units)
    return quantity is not None and "[temperature]" in quantity.dimensionality


@lru_cache(maxsize=256)
def _quantity(units: str) -> Any:
    from dascore.units import get_quantity

    try:
        return get_quantity(units)
    except Exception:  # whatever the parser raises at what a file holds
        return None


def changes(row: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Say what a recording measures otherwise than the one before it.

    Parameters
    ----------
    row, before : mapping
        Rows of `recordings`.
    """
    name, remarks = before["path"].rpartition("/")[2], []
    rate, rate_before = row["sampling_rate_hz"], before["sampling_rate_hz"]
    if abs(rate - rate_before) > SAME_RATE * rate_before:
        remarks.append(
            f"sampled at {rate:g} Hz, {name} before it at {rate_before:g} Hz: where bands differ, each rate has a "
            "background of its own"
        )
    units, units_before = (other["units"] or "an unknown unit" for other in (row, before))
    if units != units_before:
        base, base_before = (in_base_units(other["units"])[0] for other in (row, before))
        alike = f"levels of both are told in {base}" if base == base_before else "each has a background of its own"
        remarks.append(f"measured in {units}, {name} before it in {units_before}: {alike}")
    return remarks


@lru_cache(maxsize=256)
def in_base_units(units: str | None) -> tuple[str, float]:
    """Return the unit that recordings are brought to, and what samples in `units` are multiplied by.

    That is the SI unit, strain counting as 1. What is not known to be a multiple of one stays as it is.

    Examples
    --------
    >>> in_base_units("nanostrain/s"), in_base_units("1/s"), in_base_units("mrad"), in_base_units(None)
    (('1 / s', 1e-09), ('1 / s', 1.0), ('rad', 0.001), ('', 1.0))
    """
    quantity = _quantity(units) if units else None
    if not units or quantity is None:
        return units or "", 1.0
    try:
        if not all(unit._is_multiplicative for unit in [quantity]) or "decibel" in f"{quantity.units:P}":
            return units, 1.0
        base = quantity.to_base_units()
        powers = dict(base._units)
        if power := powers.pop("strain", 0):
            base = base / base._REGISTRY.strain**power
        scale = float(base.magnitude)
    except Exception:
        return units, 1.0
    return (str(base.units).strip() or "1", scale) if 0 < scale < float("inf") else (units, 1.0)


def rate_of_step(step_ns: int) -> float:
    """Return the rate of samples that lie a step apart, which was rounded to whole nanoseconds.

    It is the roundest rate that has this step.

    Examples
    --------
    >>> [rate_of_step(step) for step in (500_000, 333_333, 310_771)]
    [2000.0, 3000.0, 3217.8]
    """
    for decimals in (0, 1):
        rate = round(1e9 / step_ns, decimals)
        if rate and abs(1e9 / rate - step_ns) <= 0.5:
            return float(rate)
    return 1e9 / step_ns


def rate_of_times(time_ns: np.ndarray) -> float | None:
    """Return the rate of samples whose times were rounded, each by itself; None where they are not evenly spaced.

    It is the roundest rate that ends where they end.

    Examples
    --------
    >>> rate_of_times(np.rint(np.arange(7) * 1e9 / 3000).astype(np.int64))
    3000.0
    >>> rate_of_times(np.array([0, 1, 3, 4, 5]) * 1_000_000) is None
    True
    """
    n, length = len(time_ns) - 1, int(time_ns[-1]) - int(time_ns[0])
    if n < 1 or length <= 0:
        return None
    due = np.arange(n + 1) * (length / n)
    if np.abs(time_ns - time_ns[0] - due).max() > UNEVEN * length / n:
        return None
    rounded = (round(n * 1e9 / length, decimals) for decimals in (0, 1))
    return next((float(rate) for rate in rounded if rate and abs(n * 1e9 / rate - length) <= 1), n * 1e9 / length)


def rounding_ns(format: str, n_samples: int) -> float:
    """Return by how much the end of a file may be off, ns: DASCore rounds the step from sample to sample."""
    if format.startswith("DASANOM_BUNDLE"):
        return 0.0
    return n_samples * (HALF_A_TICK_NS if format.startswith(FLOAT_SECONDS) else 0.5)


def nominal_rate(rate_hz: float) -> float:
    """Return a rate to five digits: what frequencies of bands are taken from, however a clock measures it.

    >>> nominal_rate(999.9997), nominal_rate(3217.8138)
    (1000.0, 3217.8)
    """
    return float(f"{rate_hz:.5g}")


def not_finite(blocks: Iterable[np.ndarray]) -> str | None:
    """Say how many samples are not finite, or beyond what can be a sample; None where all are numbers.

    Parameters
    ----------
    blocks : iterable of numpy.ndarray
        Samples, of any shape.
    """
    none, large = 0, 0
    for block in blocks:
        if not block.size or (block.dtype.kind != "f" and block.itemsize < 8):  # no smaller integer is too large
            continue
        if float(block.min()) >= -MOST and float(block.max()) <= MOST:  # neither holds of NaN
            continue
        block = block.astype(np.float64, copy=False)  # of the least int64 there is no opposite
        finite = np.isfinite(block)
        none += int((~finite).sum())
        large += int((finite & (np.abs(block) > MOST)).sum())
    notes = [f"{none} {NOT_NUMBERS}"] if none else []
    if large:
        notes.append(f"{large} {TOO_LARGE}, fill values or an overflow, and not used")
    return "; ".join(notes) or None
