"""Of files that tell of the same channels at the same time, which one counts: each sample of a channel once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dasanom_assets.recordings.measured import rounding_ns

FINER_SHARE = 0.01
"""Share by which a rate is above another one, at least, where it is the finer."""

LEAST_SECONDS = 1.0
"""Of a file beside a finer one, so that what rounding leaves at its ends is no signal of another rate."""


@dataclass(frozen=True)
class Part:
    """Samples ``[first, last)`` of some channels of a file that count.

    Attributes
    ----------
    row : dict
        Of the file.
    columns : numpy.ndarray
        Positions of the channels among those of the file, ascending.
    """

    row: dict[str, Any]
    columns: np.ndarray
    first: int
    last: int

    @property
    def start_ns(self) -> int:
        """Time of the first sample, ns since 1970."""
        return self.row["start"] + round(self.first * 1e9 / self.row["sampling_rate_hz"])


@dataclass(frozen=True)
class Overlap:
    """Of a file: the one that counts in its place, and for how long, s."""

    other: dict[str, Any]
    seconds: float


def end_ns(row: dict[str, Any]) -> int:
    """Return the end of a file, ns since 1970."""
    return row["start"] + round(row["n_samples"] * 1e9 / row["sampling_rate_hz"])


def resolve(rows: Sequence[dict[str, Any]]) -> tuple[list[Part], dict[str, list[Overlap]]]:
    """Decide what counts of each file.

    Of two files of a fibre, the one with the higher rate counts, or else the one that started earlier, or else the
    one whose path sorts first; of the other, the channels and times that the first does not have. A channel that a
    file holds twice counts once.

    Parameters
    ----------
    rows : sequence of dict
        ``fibre``, ``path``, ``format``, ``start`` (ns since 1970), ``sampling_rate_hz``, ``n_samples`` and
        ``channels``.

    Returns
    -------
    parts : list of Part
        By fibre, start and path.
    overlaps : dict of list of Overlap
        By path of the file that does not count there.
    """
    parts: list[Part] = []
    overlaps: dict[str, list[Overlap]] = {}
    fibres: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        fibres.setdefault(row["fibre"], []).append(row)
    for _, of_fibre in sorted(fibres.items()):
        finer: list[_Class] = []
        for of_class in _rate_classes(of_fibre):
            for number, file in enumerate(of_class.files):
                before = [*(other for done in finer for other in done.near(file)), *of_class.near(file, number)]
                free, covering = _free(file, [other for other in before if file.meets(other)])
                parts += free
                if covering:
                    overlaps[file.row["path"]] = covering
            finer.append(of_class)
    parts.sort(key=lambda part: (part.row["fibre"], part.start_ns, part.row["path"], part.columns[0]))
    return parts, overlaps


class _File:
    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.channels = row["channels"]
        self.start, self.end = row["start"], end_ns(row)
        self.lowest, self.highest = int(self.channels.min()), int(self.channels.max())

    def meets(self, other: "_File") -> bool:
        """Whether both may share channels for more than half a sample, or what an end is rounded by."""
        shared = min(self.end, other.end) - max(self.start, other.start)
        first = min(self, other, key=lambda file: file.start).row
        return (
            shared > 0.5e9 / self.row["sampling_rate_hz"] + rounding_ns(first["format"], first["n_samples"])
            and self.lowest <= other.highest
            and self.highest >= other.lowest
        )


class _Class:
    """Files of about one rate, by start and path."""

    def __init__(self, files: list[_File]) -> None:
        self.files = sorted(files, key=lambda file: (file.start, file.row["path"]))
        self._starts, self._ends, self._lowest, self._highest = np.array(
            [(file.start, file.end, file.lowest, file.highest) for file in self.files]
        ).T
        self._longest = int((self._ends - self._starts).max())

    def near(self, file: _File, before: int | None = None) -> list[_File]:
        """Return the files, of the first `before`, at the time and between the channels of one.

        Where each channel is a file of its own, thousands are at one time.
        """
        first, last = np.searchsorted(self._starts, [file.start - self._longest, file.end])
        there = slice(first, last if before is None else min(last, before))
        near = (self._ends[there] > file.start) & (self._lowest[there] <= file.highest)
        near &= self._highest[there] >= file.lowest
        return [self.files[i] for i in first + np.flatnonzero(near)]


def _rate_classes(rows: list[dict[str, Any]]) -> Iterator[_Class]:
    """Yield files by rate, the highest first."""
    files = sorted(map(_File, rows), key=lambda file: -file.row["sampling_rate_hz"])
    first = 0
    for i in range(1, len(files) + 1):
        highest = files[first].row["sampling_rate_hz"]
        if i == len(files) or files[i].row["sampling_rate_hz"] < highest * (1 - FINER_SHARE):
            yield _Class(files[first:i])
            first = i


def _free(file: _File, others: list[_File]) -> tuple[list[Part], list[Overlap]]:
    """Return what of a file no other one has, and where others have what it has."""
    start, rate, n = file.start, file.row["sampling_rate_hz"], file.row["n_samples"]
    first_time = np.sort(np.unique(file.channels, return_index=True)[1])
    groups: list[tuple[np.ndarray, list[tuple[int, int]]]] = [(first_time, [])]
    covering = []
    for other in others:
        shared = np.isin(file.channels, other.channels)
        if not shared.any():
            continue
        ends = (round((end - start) * rate / 1e9) for end in (other.start, other.end))
        taken = tuple(min(max(end, 0), n) for end in ends)
        covering.append(Overlap(other.row, (taken[1] - taken[0]) / rate))
        split = [
            (columns[mask], spans)
            for columns, known in groups
            for mask, spans in ((shared[columns], [*known, taken]), (~shared[columns], known))
        ]
        groups = [(columns, spans) for columns, spans in split if len(columns)]
    parts = [Part(file.row, columns, *span) for columns, spans in groups for span in _gaps(spans, n)]
    if any(overlap.other["sampling_rate_hz"] > rate * (1 + FINER_SHARE) for overlap in covering):
        parts = [part for part in parts if part.last - part.first >= rate * LEAST_SECONDS]
    return _joined(parts), covering


def _gaps(spans: list[tuple[int, int]], n: int) -> Iterator[tuple[int, int]]:
    """Yield what of ``[0, n)`` lies in no span."""
    reached = 0
    for first, last in sorted(spans):
        if first > reached:
            yield reached, first
        reached = max(reached, last)
    if reached < n:
        yield reached, n


def _joined(parts: list[Part]) -> list[Part]:
    """Join parts of the same samples."""
    spans: dict[tuple[int, int], list[Part]] = {}
    for part in parts:
        spans.setdefault((part.first, part.last), []).append(part)
    return [
        Part(same[0].row, np.sort(np.concatenate([part.columns for part in same])), *span)
        for span, same in spans.items()
    ]
