"""The contractor's files, held against the recording that they are said to describe.

They have no header: a file of another number of channels, another rate or the other byte order is read without an
error, and its alarms land elsewhere. What does not fit is left out, with the reason.
"""

import numpy as np

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


def read_probabilities(
    content: bytes, shape: tuple[int, int, int], rows_per_second: float, lag: int
) -> tuple[np.ndarray, str]:
    """Return class probabilities, and a remark on what of them is left out; empty where nothing is.

    Parameters
    ----------
    content : bytes
        float32, little-endian, rows × channels × classes.
    shape : (int, int, int)
        Rows, channels and classes that the recording has.
    rows_per_second : float
    lag : int
        Rows that may be missing, since the probabilities lag by so many.

    Returns
    -------
    values : numpy.ndarray
        float32, shape (rows in the file, channels, classes); NaN where not all of a row's classes are finite.
    remark : str

    Raises
    ------
    MisfitError
        Where they cannot be those of the recording.
    """
    values = _numbers(content, shape[2], shape, rows_per_second, lag).reshape(-1, *shape[1:])
    known = values[np.isfinite(values)]
    least, most = float(known.min()), float(known.max())
    if least < -ROUNDING or most > 1 + ROUNDING:
        raise MisfitError(f"not probabilities, they run from {least:g} to {most:g}")
    if not _sum_to_one(values.sum(axis=2)) and _sum_to_one(values.reshape(shape[2], -1).sum(axis=0)):
        raise MisfitError("its classes come first, and rows, channels and then classes are due")
    finite = np.isfinite(values).all(axis=2)
    values = np.where(finite[..., None], np.clip(values, 0, 1), np.float32(np.nan))
    return values, _remark(finite)


def read_power(content: bytes, shape: tuple[int, int], rows_per_second: float) -> tuple[np.ndarray, str]:
    """Return real power, float32, shape (rows in the file, channels), and a remark, as `read_probabilities`.

    Parameters
    ----------
    content : bytes
        float32, little-endian: real and then normalised power, each rows × channels.
    shape : (int, int)
        Rows and channels that the recording has.
    rows_per_second : float

    Raises
    ------
    MisfitError
        Where they cannot be those of the recording.
    """
    real = _numbers(content, POWERS, shape, rows_per_second).reshape(POWERS, -1, shape[1])[0]
    finite = np.isfinite(real)
    if (real[finite] < 0).any():
        raise MisfitError(f"not power, it runs down to {float(real[finite].min()):g}")
    return np.where(finite, real, np.float32(np.nan)), _remark(finite)


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


def _numbers(
    content: bytes, per_channel: int, shape: tuple[int, ...], rows_per_second: float, lag: int = 0
) -> np.ndarray:
    """Return the numbers of a file that has as many rows as its recording."""
    require_fit(len(content), per_channel, shape, rows_per_second, lag)
    values = np.frombuffer(content, "<f4")
    if not np.isfinite(values).any():
        raise MisfitError("none of its numbers is finite")
    if not np.count_nonzero(values):
        raise MisfitError("all of its numbers are 0: space was kept for it, and not written")
    if _absurd(values) and not _absurd(values.view(">f4")):
        raise MisfitError("its numbers are big-endian, and little-endian ones are due")
    if _absurd(values):
        raise MisfitError("its numbers are no float32: their sizes are beyond any power or probability")
    return values


def _sum_to_one(total: np.ndarray) -> bool:
    """Whether most of what is finite is 1."""
    total = total[np.isfinite(total)]
    return bool(len(total)) and float((np.abs(total - 1) <= SUM_TOLERANCE).mean()) > 0.5


def _absurd(values: np.ndarray) -> bool:
    """Whether many numbers other than 0 are of no size that anything measured has."""
    size = np.abs(values[np.isfinite(values) & (values != 0)])
    return bool(len(size)) and float(((size < SMALLEST) | (size > LARGEST)).mean()) > MOST_ABSURD


def _remark(finite: np.ndarray) -> str:
    missing = finite.size - int(finite.sum())
    return f"{missing} of its {finite.size} values are not finite, and left out" if missing else ""
