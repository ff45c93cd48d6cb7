"""Which bands the rows of a day have: those of a fibre whose rate or unit changes are never compared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dasanom_assets.recordings.measured import SAME_HZ, nominal_rate
from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.spectrograms.transform import Transform
from dasanom_assets.spectrograms.windows import SECOND_NS

if TYPE_CHECKING:  # its module loads DASCore
    from dasanom_assets.recordings.signal import Stretch


@dataclass(frozen=True)
class Grid:
    """What the levels of a row mean.

    Attributes
    ----------
    centre_hz : tuple of float
        Of each band; empty where it is not known, which is taken for any.
    units : str
        Base unit of the signal.
    """

    centre_hz: tuple[float, ...] = ()
    units: str = ""

    def same(self, other: "Grid") -> bool:
        """Return whether levels of both can be compared."""
        if not self.centre_hz or not other.centre_hz:
            return True
        alike = len(self.centre_hz) == len(other.centre_hz) and self.units == other.units
        return alike and bool(np.allclose(self.centre_hz, other.centre_hz, rtol=SAME_HZ))


@dataclass(frozen=True)
class Span:
    """Where a signal lies: from ``start_ns`` to ``end_ns``, ns since 1970, on the rows of channels in ``runs``."""

    grid: int
    start_ns: int
    end_ns: int
    runs: tuple[tuple[int, int], ...]


class DayGrids:
    """The grids of each fibre of a day, numbered in the order in which they are noted.

    Parameters
    ----------
    note : mapping
        Metadata of the day of `spectrograms`: see `grids_note`.
    """

    def __init__(self, note: Mapping[str, Any]) -> None:
        self._of: dict[str, list[Grid]] = {}
        for entry in note.get("grids", ()):
            _number(
                self._of.setdefault(entry["fibre"], []), Grid(tuple(entry["centre_hz"]), entry.get("units", ""))
            )
        self._spans: dict[str, list[Span]] = {}
        for fibre, grid, start, end, runs in note.get("spans", ()):
            self._spans.setdefault(fibre, []).append(Span(grid, start, end, tuple(map(tuple, runs))))

    @property
    def most(self) -> int:
        """Number of grids of the fibre that has most."""
        return max((len(grids) for grids in self._of.values()), default=1)

    @property
    def fibres(self) -> set[str]:
        """Those of which grids are known."""
        return set(self._of)

    def of(self, fibre: str) -> list[Grid]:
        """Return the grids of a fibre; one that is like any where nothing is known of it."""
        return self._of.get(fibre) or [Grid()]

    def like(self, other: "DayGrids", fibre: str) -> bool:
        """Return whether a fibre has the same grids on another day, in the same order, or lacks that day."""
        pairs = self.of(fibre), other.of(fibre)
        return len(pairs[0]) == len(pairs[1]) and all(a.same(b) for a, b in zip(*pairs, strict=True))

    def number(self, fibre: str, grid: Grid) -> int | None:
        """Return the number of a fibre's grid that is like another, or None."""
        return next((i for i, own in enumerate(self.of(fibre)) if own.same(grid)), None)

    def of_rows(self, fibre: str, channel: int, start_ns: np.ndarray) -> np.ndarray:
        """Return the number of the grid of each row, int64; `start_ns` are whole seconds, shape (n_rows,)."""
        return np.maximum(self._owners(fibre, channel, start_ns), 0)

    def changes(self, fibre: str, channel: int, start_ns: np.ndarray) -> np.ndarray:
        """Return whether the second before each row has another grid, bool; parameters are those of `of_rows`."""
        before = self._owners(fibre, channel, start_ns - SECOND_NS)
        return (before >= 0) & (before != self._owners(fibre, channel, start_ns))

    def _owners(self, fibre: str, channel: int, start_ns: np.ndarray) -> np.ndarray:
        """Return the number of the grid of each second, −1 where there is none."""
        owner = np.full(len(start_ns), -1)
        for span in self._spans.get(fibre, ()):
            if any(first <= channel <= last for first, last in span.runs):
                here = (start_ns < span.end_ns) & (start_ns + SECOND_NS > span.start_ns)
                owner[here & (owner < 0)] = span.grid
        return owner


def grids_note(signals: "Iterable[Stretch]", settings: SpectrogramSettings) -> dict[str, Any]:
    """Return the metadata of `spectrograms` that `DayGrids` reads.

    Parameters
    ----------
    signals : iterable of Stretch
    settings : SpectrogramSettings

    Returns
    -------
    dict
        ``grids``: bands of each fibre, rate and unit; ``spans``, of fibres that have several grids: fibre, number
        of the grid, start and end, ns since 1970, and first and last row of each run of channels.
    """
    signals = list(signals)
    grids = []
    for fibre, rate, units in sorted({(s.fibre, nominal_rate(s.sampling_rate_hz), s.units) for s in signals}):
        t = Transform(settings, rate)
        grids.append(
            {
                "fibre": fibre,
                "sampling_rate_hz": rate,
                "units": units,
                "win_length": t.win_length,
                "n_fft": t.n_fft,
                "centre_hz": [round(float(hz), 3) for hz in t.centre_hz],
            }
        )
    note: dict[str, Any] = {"grids": grids}
    of_day = DayGrids(note)
    several = [signal for signal in signals if len(of_day.of(signal.fibre)) > 1]
    note["spans"] = [
        [
            signal.fibre,
            of_day.number(signal.fibre, grid_of(signal, settings)),
            signal.start_ns,
            round(signal.start_ns + signal.n_samples / signal.sampling_rate_hz * SECOND_NS),
            _runs(signal.channels // settings.group_channels * settings.group_channels, settings.group_channels),
        ]
        for signal in sorted(several, key=lambda signal: signal.start_ns)
    ]
    return note


def grid_of(signal: "Stretch", settings: SpectrogramSettings) -> Grid:
    """Return the grid of a signal's rows."""
    centres = Transform(settings, nominal_rate(signal.sampling_rate_hz)).centre_hz
    return Grid(tuple(round(float(hz), 3) for hz in centres), signal.units)


def _number(grids: list[Grid], grid: Grid) -> None:
    if not any(grid.same(other) for other in grids):
        grids.append(grid)


def _runs(channels: np.ndarray, step: int) -> list[list[int]]:
    channels = np.unique(channels)
    parts = np.split(channels, np.flatnonzero(np.diff(channels) > step) + 1)
    return [[int(part[0]), int(part[-1])] for part in parts if len(part)]
