"""Which event and which quiet stretch of a day are worth a look."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from dasanom_assets.settings import WindowSettings
from dasanom_assets.spectrograms.white_rows import WhiteChannel, WhiteRows
from dasanom_assets.spectrograms.windows import SECOND_NS, window_rows

ROWS_AT_ONCE = 4096
"""Rows that are looked at together, so that a day of one channel is not copied whole."""


@dataclass(frozen=True)
class Choice:
    """Two stretches of one channel.

    Attributes
    ----------
    fibre : str
    channel : int
    event, quiet : int
        First second of each stretch, since 1970 UTC.
    seconds : int
        Length of both.
    """

    fibre: str
    channel: int
    event: int
    quiet: int
    seconds: int


def choose(
    channels: Iterable[WhiteChannel], seconds: int, event: int | None = None, quiet: int | None = None
) -> Choice | None:
    """Choose the loudest stretch of a day, and the most usual one of the same channel.

    The event is where the loudest band of each second, against what is usual for it, is highest in the mean over
    `seconds`; Hann weights put it in the middle of its stretch. A mean over all bands would miss what is loud in a
    few. The quiet stretch is where levels depart least from what is usual, in the mean over all bands. Both lie in
    signal without a gap and do not overlap. Where no channel has room for two stretches of `seconds`, they are as
    long as a channel has room for.

    Parameters
    ----------
    channels : iterable of WhiteChannel
        Taken one at a time.
    seconds : int
        Length of a stretch, s, at most.
    event, quiet : int, optional
        First second of a stretch, since 1970 UTC, where it is not to be chosen.

    Returns
    -------
    Choice or None
        None where no channel has two such stretches.
    """
    best: tuple[int, float] = (0, -np.inf)
    choice = None
    for white in channels:
        length = min(seconds, _room(white))
        if not length:
            continue
        first = window_rows(white.start_ns, white.usable, WindowSettings(seconds=length))
        start = white.start_ns[first] // SECOND_NS
        quiets = np.ones(len(start), bool) if quiet is None else start == quiet
        if not quiets.any():
            continue
        apart = (start[quiets][0] <= start - length) | (start[quiets][-1] >= start + length)
        events = apart if event is None else apart & (start == event)
        if not events.any():
            continue
        weights = np.hanning(length + 2)[1:-1]
        loudest = _each_row(white.rows, lambda rows: rows.mean(axis=1).max(axis=1))
        loudness = np.convolve(loudest, weights / weights.sum(), "valid")[first]
        loud = int(np.where(events, loudness, -np.inf).argmax())
        if (length, loudness[loud]) <= best:
            continue
        best = length, float(loudness[loud])
        unusual = _each_row(white.rows, lambda rows: np.abs(rows).mean(axis=(1, 2)))
        departure = np.convolve(unusual, np.full(length, 1 / length), "valid")[first]
        calm = int(np.where(quiets & (abs(start - start[loud]) >= length), departure, np.inf).argmin())
        choice = Choice(white.fibre, white.channel, int(start[loud]), int(start[calm]), length)
    return choice


def _room(white: WhiteChannel) -> int:
    """Return the seconds that two separate stretches of usable rows can have."""
    second = white.start_ns[white.usable] // SECOND_NS
    borders = np.flatnonzero(np.diff(second) != 1) + 1
    runs = sorted(np.diff([0, *borders, len(second)]), reverse=True)
    return int(max([runs[0] // 2, *runs[1:2]]))


def _each_row(rows: np.ndarray | WhiteRows, value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return a value of each row, shape (n_rows,); what is missing counts as usual."""
    pieces = [rows[row : row + ROWS_AT_ONCE] for row in range(0, len(rows), ROWS_AT_ONCE)]
    return np.concatenate([value(np.nan_to_num(piece)) for piece in pieces])
