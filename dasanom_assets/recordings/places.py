"""Where channels lie: from distances to channel numbers that mean the same place in all files of a fibre."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

METRES = {"m": 1.0, "km": 1000.0, "ft": 0.3048}
"""In a unit of distance."""
MOST_CHANNEL = 10**9
"""Numbers of channels beyond it are fill values."""
SAME_SPACING = 0.005
"""Share by which the spacings of two files may differ, to be the same."""
UNEVEN = 0.25
"""Share of a spacing by which a distance may be off a multiple of it."""
MOST_MISSING = 8
"""Channels that may be missing between any two, for a spacing to be found that all gaps are multiples of."""
LEAST_SPACING = 0.05
"""Share of the usual spacing below which two channels are too close to be numbered by their distance."""


def told_places(patch: Any) -> dict[str, Any]:
    """Return what a DASCore patch, time first, says of its channels.

    Returns
    -------
    dict
        ``channels``: int32 numbers, where it has a coordinate ``channel``, else None. ``distance``: float64, shape
        (n_channels,), in m where ``says_unit``; None where it has channels only. ``channel_spacing_m``: from one
        number to the next, where it has numbers, else from one channel to the next; None where that is uneven.
    """
    n = patch.shape[1]
    channels = None
    if "channel" in patch.coords.coord_map:
        numbers = np.asarray(patch.coords.get_array("channel"))
        if numbers.shape == (n,) and _are_numbers(numbers):
            channels = numbers.astype(np.int32)
    if "distance" not in patch.coords.coord_map:
        channels = np.arange(n, dtype=np.int32) if channels is None else channels
        return {"channels": channels, "distance": None, "says_unit": True, "channel_spacing_m": None}
    coordinate = patch.get_coord("distance")
    distance = np.asarray(coordinate.values, float)
    factor = 1.0 if coordinate.units is None else _metres(coordinate.units)
    step = coordinate.step
    spacing = None
    if np.isfinite(factor) and step is not None and np.isfinite(step) and step != 0:
        spacing = abs(float(step)) * factor
    if channels is not None:
        spacing = _per_number(distance * factor, channels)
    return {
        "channels": channels,
        "distance": distance * factor,
        "says_unit": coordinate.units is not None,
        "channel_spacing_m": spacing,
    }


def _per_number(distance: np.ndarray, channels: np.ndarray) -> float | None:
    """Return how far channels of neighbouring numbers lie apart, m; None where that is not one distance."""
    numbers = np.diff(channels.astype(float))
    if not len(numbers) or not numbers.all():
        return None
    metres = np.diff(distance) / numbers
    spacing = float(np.median(metres))
    even = np.isfinite(metres).all() and (np.abs(metres - spacing) <= SAME_SPACING * abs(spacing)).all()
    return float(f"{abs(spacing):.9g}") if even and spacing else None


def _metres(units: Any) -> float:
    """Return how many metres a unit of DASCore is; NaN where it is no length."""
    from dascore.units import convert_units

    try:
        return float(convert_units(1.0, "m", units))
    except Exception:  # of several libraries
        return float("nan")


def _are_numbers(numbers: np.ndarray) -> bool:
    """Whether they are whole, and within what is left for an offset of a rule."""
    if numbers.dtype.kind not in "iuf":
        return False
    return bool(((numbers >= -MOST_CHANNEL) & (numbers <= MOST_CHANNEL) & (numbers == np.rint(numbers))).all())


def number_channels(rows: Sequence[dict[str, Any]], known_m: Mapping[str, float]) -> None:
    """Give rows of the catalogue their ``channels`` and ``channel_spacing_m``, and say in ``issues`` what is odd.

    A channel is ``distance / spacing``, so that files of other parts of the fibre fit beside each other. Distances
    may fall, be negative, or have gaps. The spacing is that of the file. For a single channel it is that of the
    site's rule, of other files of the fibre, of earlier days, or what the distances of all such files have in
    common, in this order. Unevenly spaced channels have the number of the nearest multiple.

    Parameters
    ----------
    rows : sequence of dict
        With what `told_places` returns, ``fibre``, and ``site``: the rule of the site, or None.
    known_m : mapping
        Spacing of fibres on earlier days, m.
    """
    fibres = defaultdict(list)
    for row in rows:
        if (site := row["site"]) is not None:
            if site.distance_unit and row["distance"] is not None and not row["says_unit"]:
                _in_metres(row, METRES[site.distance_unit])
            row["ruled_m"] = site.spacing_m
        fibres[row["fibre"]].append(row)
    for fibre, of_fibre in fibres.items():
        lone = [row for row in of_fibre if row["channels"] is None and row["channel_spacing_m"] is None]
        common, whence = _common_spacing(of_fibre, lone, known_m.get(fibre))
        for row in of_fibre:
            if row["channels"] is None:
                _number(row, common, whence)
            if ruled := row.get("ruled_m"):
                if row["distance"] is not None and row["channel_spacing_m"]:
                    row["distance"] = row["distance"] * (ruled / row["channel_spacing_m"])
                row["channel_spacing_m"] = ruled
            if row["site"] is not None:
                row["channels"] = (row["channels"] + row["site"].channel_offset).astype(np.int32)


def _in_metres(row: dict[str, Any], factor: float) -> None:
    row["distance"] = row["distance"] * factor
    if row["channel_spacing_m"] is not None:
        row["channel_spacing_m"] *= factor


def _common_spacing(
    rows: Sequence[dict[str, Any]], lone: Sequence[dict[str, Any]], known_m: float | None
) -> tuple[float | None, str]:
    """Return the spacing for files of single or uneven channels, m, and whence it is."""
    for row in rows:
        if row.get("ruled_m"):
            return row["ruled_m"], ""
    if spacings := [row["channel_spacing_m"] for row in rows if row["channel_spacing_m"]]:
        return float(np.median(spacings)), "other files of the fibre"
    if known_m is not None:
        return known_m, "earlier days"
    if single := [row["distance"] for row in lone if len(row["distance"]) == 1]:
        return _grid(np.concatenate(single)), "the distances of the fibre's files"
    return None, ""


def _number(row: dict[str, Any], common: float | None, whence: str) -> None:
    """Set ``channels`` of a row that has distances only."""
    distance = row["distance"]
    n = len(distance)
    if n == 1 and row["channel_spacing_m"] is None:
        if common is None:
            row["channels"] = np.zeros(1, np.int32)
            if distance[0]:
                row["issues"].append(
                    f"its one channel at {distance[0]:g} m is called 0, since nothing says how far channels lie "
                    "apart; give spacing_m in sites.toml"
                )
            return
        row["channel_spacing_m"] = common
        if whence:
            row["issues"].append(f"spacing {common:g} m taken from {whence}")
    spacing = row["channel_spacing_m"]
    if spacing is None:
        spacing = row["channel_spacing_m"] = _grid(distance)
        if spacing is None:
            spacing = _nearest(distance)
            if spacing is not None:
                row["issues"].append(
                    f"its channels are unevenly spaced; they are numbered by the nearest multiple of {spacing:g} m"
                )
    channels = None if spacing is None else _multiples(distance, spacing)
    if channels is None:
        channels, row["distance"] = np.arange(n), None
        row["issues"].append("its distances do not tell its channels apart; they are counted from 0")
    row["channels"] = channels.astype(np.int32)


def _multiples(distance: np.ndarray, spacing: float) -> np.ndarray | None:
    """Return distances as multiples of a spacing; None where they are no numbers of channels."""
    if not np.isfinite(distance).all() or np.abs(distance / spacing).max() > MOST_CHANNEL:
        return None
    least = distance.min()
    multiples = np.rint(least / spacing) + np.rint((distance - least) / spacing)
    return None if len(np.unique(multiples)) < len(np.unique(distance)) else multiples


def _gaps(distance: np.ndarray) -> np.ndarray:
    """Return the gaps between distances, sorted along the fibre; none where there is one place only."""
    return np.diff(np.unique(distance[np.isfinite(distance)]))


def _grid(distance: np.ndarray) -> float | None:
    """Return the spacing of which all gaps between channels are multiples, m; None where there is none."""
    gaps = _gaps(distance)
    if not len(gaps) or gaps.min() < LEAST_SPACING * np.median(gaps):
        return None
    for parts in range(1, MOST_MISSING + 2):
        n = np.rint(gaps / gaps.min() * parts)
        spacing = float(gaps.sum() / n.sum())
        if (np.abs(gaps / spacing - n) <= UNEVEN / 5 / parts**2).all():  # the finer, the more would fit by chance
            return float(f"{spacing:.9g}")
    return None


def _nearest(distance: np.ndarray) -> float | None:
    """Return a spacing that tells unevenly spaced channels apart, m; None where there is none."""
    gaps = _gaps(distance)
    if not len(gaps):
        return None
    for spacing in (float(np.median(gaps)), float(gaps.min())):
        if gaps.min() >= LEAST_SPACING * np.median(gaps) and _multiples(distance, spacing) is not None:
            return spacing
    return None


def part_spacings(rows: Sequence[dict[str, Any]], known_m: Mapping[str, float]) -> dict[str, str]:
    """Keep apart files of a fibre whose channels lie otherwise, since their numbers mean other places.

    The spacing that the fibre had on earlier days, or else has in its first file, keeps the name. Files with
    another one are a fibre of their own, and say so in ``issues``. A file that has fewer channels of the same
    ground at the same time is a copy. Changes ``fibre`` of `rows`.

    Parameters
    ----------
    rows : sequence of dict
        See `number_channels`.
    known_m : mapping
        Spacing of fibres on earlier days, m.

    Returns
    -------
    dict of str
        Why files are copies, by path.
    """
    fibres = defaultdict(list)
    for row in rows:
        if row["channel_spacing_m"]:
            fibres[row["fibre"]].append(row)
    copies: dict[str, str] = {}
    for fibre, of_fibre in fibres.items():
        first = min(of_fibre, key=lambda row: (row["start"], row["channel_spacing_m"], row["path"]))
        usual = known_m.get(fibre, first["channel_spacing_m"])
        if (
            fibre not in known_m and (f"{fibre}-{usual:.4g}m") in known_m
        ):  # a day without the fibre's first spacing
            usual = 0.0
        if usual and all(same_spacing(row["channel_spacing_m"], usual) for row in of_fibre):
            continue
        finest = min(row["channel_spacing_m"] for row in of_fibre)
        for row in of_fibre:
            if same_spacing(row["channel_spacing_m"], finest):
                continue
            if finer := next((other for other in of_fibre if _is_copy(row, other)), None):
                copies[row["path"]] = (
                    f"a copy of {finer['path']} with a channel every {row['channel_spacing_m']:g} m instead of "
                    f"{finer['channel_spacing_m']:g} m; the finer one is used"
                )
        known = f"{usual:g} m" if usual else "as before"
        for row in of_fibre:
            spacing = row["channel_spacing_m"]
            if (not usual or not same_spacing(spacing, usual)) and row["path"] not in copies:
                row["fibre"] = f"{fibre}-{spacing:.4g}m"
                row["issues"].append(
                    f"its channels lie {spacing:g} m apart and not {known}, so that the same number is another "
                    f"place: it is kept apart from {fibre}; name it in sites.toml"
                )
    return copies


def same_spacing(a: float, b: float) -> bool:
    """Whether two spacings are the same but for rounding."""
    return abs(a / b - 1) <= SAME_SPACING


def _is_copy(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a row has fewer channels than another, of its ground and at its time."""
    if row["channel_spacing_m"] <= other["channel_spacing_m"] * (1 + SAME_SPACING):
        return False
    a, b = (_reach(each) for each in (row, other))
    slack = row["channel_spacing_m"]
    return (
        other["start"] <= row["start"] + 1e9
        and other["end"] >= row["end"] - 1e9
        and b[0] - slack <= a[0]
        and a[1] <= b[1] + slack
        and len(row["channels"]) < len(other["channels"])
    )


def _reach(row: dict[str, Any]) -> tuple[float, float]:
    metres = row["distance"] if row["distance"] is not None else row["channels"] * row["channel_spacing_m"]
    return float(np.min(metres)), float(np.max(metres))


def written(channels: np.ndarray) -> str:
    """Return channel numbers as text, runs of them as ``first..last``, with ``:step`` where that is not 1.

    Examples
    --------
    >>> written(np.r_[100:148, 4000:4048]), written(np.arange(99, 91, -1)), written(np.arange(0, 400, 4))
    ('100..147,4000..4047', '99..92', '0..396:4')
    """
    parts, i, n = [], 0, len(channels)
    steps = np.diff(channels)
    ends = np.r_[np.flatnonzero(steps[1:] != steps[:-1]) + 1, n - 1] if n > 1 else np.array([0])
    while i < n:
        end = int(ends[np.searchsorted(ends, i, side="right")]) if i < n - 1 else i
        step = int(channels[min(i + 1, n - 1)] - channels[i])
        if end > i and step and (abs(step) == 1 or end > i + 1):
            parts.append(f"{channels[i]}..{channels[end]}" + (f":{abs(step)}" if abs(step) > 1 else ""))
            i = end + 1
        else:
            parts.append(str(channels[i]))
            i += 1
    return ",".join(parts)


@lru_cache(maxsize=1024)
def parsed(text: str) -> np.ndarray:
    """Return the channel numbers, int32, that `written` wrote; not to be changed."""
    parts = []
    for part in text.split(","):
        ends, _, step = part.partition(":")
        first, _, last = ends.partition("..")
        a, b, by = int(first), int(last or first), int(step or 1)
        parts.append(np.arange(a, b + 1, by) if b >= a else np.arange(a, b - 1, -by))
    channels = np.concatenate(parts).astype(np.int32)
    channels.flags.writeable = False
    return channels
