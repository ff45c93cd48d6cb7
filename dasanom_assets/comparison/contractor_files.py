"""The contractor's files, held against the recording that they are said to describe.

They have no header: a file of another number of channels, another rate or the other byte order is read without an
error, and its alarms land elsewhere. What does not fit is left out, with the reason.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

NUMBERS_AT_ONCE = 1 << 20
"""Numbers of a file that are in memory together."""
READ_AT_ONCE = 1 << 22
"""The same where rows are turned to the order of channels: few of a wide fibre would make small pieces of each."""
SUM_TOLERANCE = 0.01
"""What the classes of a row may miss 1 by."""
POWERS = 2
"""Real and normalised power."""
ROUNDING = 1e-4
"""What a probability may miss [0, 1] by, to be taken for rounding."""
MOST_MISSING = 0.1
"""Share of a recording's rows that a file may lack at its end, where that is no more than a second."""
SMALLEST, LARGEST = 1e-30, 1e30
"""Beyond these, numbers other than 0 are no power and no probability: their bytes are in another order."""
MOST_ABSURD = 0.05
"""Share of such numbers; of random ones in the wrong order, a fifth are such."""


class MisfitError(ValueError):
    """A contractor's file that does not belong to its recording; the message says why."""


def look_at_probabilities(
    path: Path, shape: tuple[int, int, int], rows_per_second: float, lag: int
) -> tuple[int, int, str]:
    """Return of how many rows all classes are known, of how many of these they sum to 1, and a remark.

    Parameters
    ----------
    path : pathlib.Path
        float32, little-endian, rows × channels × classes; a piece of it is in memory at a time.
    shape : (int, int, int)
        Rows, channels and classes that the recording has.
    rows_per_second : float
    lag : int
        Rows that may be missing, since the probabilities lag by so many.

    Returns
    -------
    known, ones : int
        Rows of a channel.
    remark : str
        What is left out; empty where nothing is.

    Raises
    ------
    MisfitError
        Where they cannot be those of the recording.
    """
    n_rows = _require_numbers(path, shape[2], shape, rows_per_second, lag)
    least, most = np.inf, -np.inf
    known = ones = finite_sums = sums_to_one = 0
    for numbers in _pieces(path, shape[2]):
        p = numbers.reshape(-1, shape[2])
        finite = np.isfinite(p)
        least, most = (
            min(least, p.min(where=finite, initial=np.inf)),
            max(most, p.max(where=finite, initial=-np.inf)),
        )
        finite_sums, sums_to_one = np.add((finite_sums, sums_to_one), _sums(p.sum(axis=1)))
        known, ones = np.add((known, ones), _sums(np.clip(p[finite.all(axis=1)], 0, 1).sum(axis=1)))
    if least < -ROUNDING or most > 1 + ROUNDING:
        raise MisfitError(f"not probabilities, they run from {least:g} to {most:g}")
    if 2 * sums_to_one <= finite_sums and _classes_first(path, shape[2]):
        raise MisfitError("its classes come first, and rows, channels and then classes are due")
    return int(known), int(ones), _remark(n_rows * shape[1], int(known))


def look_at_power(path: Path, shape: tuple[int, int], rows_per_second: float) -> str:
    """Return a remark on what of real power is left out; empty where nothing is.

    Parameters
    ----------
    path : pathlib.Path
        float32, little-endian: real and then normalised power, each rows × channels.
    shape : (int, int)
        Rows and channels that the recording has.
    rows_per_second : float

    Raises
    ------
    MisfitError
        Where they cannot be those of the recording.
    """
    n_rows = _require_numbers(path, POWERS, shape, rows_per_second)
    known, least = 0, np.inf
    for real in _pieces(path, 1, count=n_rows * shape[1]):
        finite = np.isfinite(real)
        known += int(finite.sum())
        least = min(least, real.min(where=finite, initial=np.inf))
    if least < 0:
        raise MisfitError(f"not power, it runs down to {least:g}")
    return _remark(n_rows * shape[1], known)


def require_fit(size: int, per_channel: int, shape: tuple[int, ...], rows_per_second: float, lag: int = 0) -> None:
    """Refuse a file of a size that its recording cannot have.

    Parameters
    ----------
    size : int
        Bytes.
    per_channel : int
        Numbers that a row has for each channel: `POWERS`, or the classes.
    shape : tuple of int
        Rows and channels that the recording has, first.
    rows_per_second : float
    lag : int
        Rows that may be missing.

    Raises
    ------
    MisfitError
        With both numbers of rows, or of channels.
    """
    n_rows, n_channels = shape[:2]
    row_bytes = 4 * per_channel * n_channels
    rows, rest = divmod(size, row_bytes)
    if rest or not size:
        raise MisfitError(f"{size} bytes are not whole rows of {row_bytes}, as {n_channels} channels have")
    if lag >= n_rows:
        raise MisfitError(f"its recording has {n_rows} rows, all of which lie within the lag of {lag}")
    fewest = n_rows - lag - int(min(np.ceil(rows_per_second), MOST_MISSING * n_rows))
    wanted = f"{n_rows} rows, at {rows_per_second:g} a second" + (
        f", or {n_rows - lag} with the lag" if lag else ""
    )
    if not max(1, fewest) <= rows <= n_rows:
        raise MisfitError(f"it has {rows} rows of {n_channels} channels, and its recording {wanted}")
    others, rest = divmod(size, 4 * per_channel * n_rows)
    if not rest and others != n_channels:
        raise MisfitError(f"it has {n_rows} rows of {others} channels, and its recording {n_channels} channels")


def read_rows(path: Path, n: int, n_channels: int, per_channel: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first `n` rows of a file, some at a time: the first one's number, and a part of the rows.

    Parameters
    ----------
    path : pathlib.Path
        float32, little-endian, rows × channels × numbers of a channel.
    n, n_channels, per_channel : int

    Yields
    ------
    int
    numpy.ndarray
        float32, shape (rows, n_channels, per_channel).

    Raises
    ------
    MisfitError
        Where it has fewer.
    """
    first, of_row = 0, n_channels * per_channel
    for piece in _pieces(path, of_row, count=n * of_row, at_once=READ_AT_ONCE):
        rows = piece.reshape(-1, n_channels, per_channel)
        yield first, rows
        first += len(rows)


def _pieces(
    path: Path, together: int, first: int = 0, count: int = -1, order: str = "<", at_once: int | None = None
) -> Iterator[np.ndarray]:
    """Yield `count` numbers of a file from the `first` on, some at a time; `together` of them are never parted."""
    at_once = max(1, (at_once or NUMBERS_AT_ONCE) // together) * together
    end = path.stat().st_size // 4 if count < 0 else first + count
    for begin in range(first, end, at_once):
        piece = np.fromfile(path, f"{order}f4", min(at_once, end - begin), offset=4 * begin)
        if len(piece) < min(at_once, end - begin):
            raise MisfitError("it became shorter while it was read")
        yield piece


def _require_numbers(
    path: Path, per_channel: int, shape: tuple[int, ...], rows_per_second: float, lag: int = 0
) -> int:
    """Return how many rows a file has; raises where they are not those of its recording, or no numbers."""
    size = path.stat().st_size
    require_fit(size, per_channel, shape, rows_per_second, lag)
    if not any(np.isfinite(piece).any() for piece in _pieces(path, 1)):
        raise MisfitError("none of its numbers is finite")
    if not any(np.count_nonzero(piece) for piece in _pieces(path, 1)):
        raise MisfitError("all of its numbers are 0: space was kept for it, and not written")
    if _absurd(path, "<"):
        if not _absurd(path, ">"):
            raise MisfitError("its numbers are big-endian, and little-endian ones are due")
        raise MisfitError("its numbers are no float32: their sizes are beyond any power or probability")
    return size // (4 * per_channel * shape[1])


def _sums(total: np.ndarray) -> tuple[int, int]:
    """Return how many sums are finite, and how many of these are 1."""
    total = total[np.isfinite(total)]
    return len(total), int((np.abs(total - 1) <= SUM_TOLERANCE).sum())


def _classes_first(path: Path, classes: int) -> bool:
    """Whether most sums are 1 where all rows of a class come before those of the next."""
    each = path.stat().st_size // 4 // classes
    by_class = [_pieces(path, 1, k * each, each) for k in range(classes)]
    finite, ones = np.sum([_sums(np.sum(pieces, axis=0)) for pieces in zip(*by_class, strict=True)], axis=0)
    return bool(2 * ones > finite)


def _absurd(path: Path, order: str) -> bool:
    """Whether many numbers other than 0 are of no size that anything measured has."""
    known = absurd = 0
    for piece in _pieces(path, 1, order=order):
        size = np.abs(piece[np.isfinite(piece) & (piece != 0)])
        known += len(size)
        absurd += int(((size < SMALLEST) | (size > LARGEST)).sum())
    return absurd > MOST_ABSURD * known


def _remark(size: int, known: int) -> str:
    return f"{size - known} of its {size} values are not finite, and left out" if size > known else ""
