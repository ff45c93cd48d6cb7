"""Metres beside channel numbers: an axis of a figure, and the reach of an event in words."""

from typing import Any

import numpy as np

from dasanom_assets.recordings.fibres import SAME_PLACE_M, Places

FROM_KM = 5000
"""Metres from which an axis is in km."""
LABELS = 6
"""Of an axis whose channels do not lie evenly."""


def metres_axis(places: Places, fibre: str, ends: tuple[float, float]) -> dict[str, Any] | None:
    """Return an axis of metres that lies along one of channels, for plotly; None where no metres are said.

    Where channels lie unevenly, some of them are labelled with their own distance.

    Parameters
    ----------
    places : Places
    fibre : str
    ends : (float, float)
        Of the axis of channels.
    """
    channels, metres = places.layout(fibre)
    seen = (channels > ends[0]) & (channels < ends[1])
    channels, metres = channels[seen], metres[seen]
    if not len(channels):
        return None
    scale, unit = (1000, "km") if np.abs(metres).max() > FROM_KM else (1, "m")
    spread = channels[-1] - channels[0]
    slope = (metres[-1] - metres[0]) / spread if spread else (places.spacing_m(fibre) or 0.0)
    line = metres[0] + slope * (np.array([*ends, *channels]) - channels[0])
    axis: dict[str, Any] = {"title": f"distance ({unit})"}
    if slope and np.abs(line[2:] - metres).max() <= max(SAME_PLACE_M, abs(slope) / 2):
        return axis | {"range": (line[:2] / scale).tolist()}
    some = np.unique(np.linspace(0, len(channels) - 1, LABELS).astype(int))
    texts = [f"{metres[i] / scale:.5g}" for i in some]
    return axis | {"range": list(ends), "tickvals": channels[some].tolist(), "ticktext": texts}


def reach(places: Places, fibre: str, first: int, last: int) -> str:
    """Return from where to where channels lie, as ``510–535 m``; empty where no metres are said."""
    channels, metres = places.layout(fibre)
    inside = metres[(channels >= first) & (channels <= last)]
    if not len(inside):
        return ""
    low, high = (f"{value:.0f}" for value in (inside.min(), inside.max()))
    if low == high:
        return f"{low} m"
    return f"{low} to {high} m" if low.startswith("-") else f"{low}–{high} m"
