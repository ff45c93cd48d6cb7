"""What could not be heard on a day, and where: seconds of each channel by why they have no score."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dasanom_assets.recordings.of_day import extent
from dasanom_assets.spectrograms.windows import SECOND_NS

if TYPE_CHECKING:  # its compiler takes a second to load
    from dasanom_assets.spectrograms.white_rows import WhiteChannel

REASONS = ("silent", "clipped", "stuck", "incomplete", "dead", "saturated")
FAINT = -3.0
"""Mean whitened level below which a second is fainter than ground ever is: beyond a break there is no echo."""
BREAK_SECONDS = 60
"""A stretch that falls silent for less is no break."""
BREAK_CHANNELS = 2


def mean_level(rows: np.ndarray) -> np.ndarray:
    """Return the mean whitened level of each second of a channel, float32, shape (n_rows,)."""
    with np.errstate(invalid="ignore"):
        total, n = np.nansum(rows, axis=(1, 2)), np.isfinite(rows).sum(axis=(1, 2))
        return total / n


def heard_row(channel: "WhiteChannel", level: np.ndarray) -> dict[str, Any]:
    """Return a channel's row of `heard`; `level` is its `mean_level`."""
    clear = channel.usable & (level > FAINT)
    heard = channel.start_ns[clear]
    return {
        "fibre": channel.fibre,
        "channel": channel.channel,
        "recorded_s": len(channel.start_ns),
        "usable_s": int(channel.usable.sum()),
        **{f"{why}_s": int(channel.unusable.get(why, np.zeros(1)).sum()) for why in REASONS},
        "heard_from": int(heard[0]) if len(heard) else None,
        "heard_until": int(heard[-1]) + SECOND_NS if len(heard) else None,
    }


def breaks(heard: pa.Table, day: str, before: pa.Table | None = None) -> list[dict[str, Any]]:
    """Return breaks of fibres: all channels beyond a place fall silent at once, and those before it do not.

    Parameters
    ----------
    heard : pyarrow.Table
        Rows of `heard` of a day.
    day : str
        ISO day.
    before : pyarrow.Table, optional
        Those of the day before: a stretch that was not heard then either has not broken on this day.

    Returns
    -------
    list of dict
        ``fibre``, ``first_channel`` and ``last_channel`` of what is lost, and ``since``, ns since 1970.
    """
    out = []
    known = {} if before is None else _until(before)
    for fibre, (channel, until) in sorted(_until(heard).items()):
        alive = until.max(initial=0)
        lost = until < alive - BREAK_SECONDS * SECOND_NS
        n = int(np.argmin(lost[::-1])) if lost.any() else 0
        if n < BREAK_CHANNELS or n == len(channel):
            continue
        beyond = slice(len(channel) - n, None)
        since = int(until[beyond].max())
        if not since:  # nothing was heard there all day: was there anything the day before?
            channels, last = known.get(fibre, (channel, np.zeros(len(channel), np.int64)))
            if before is None or not last[np.isin(channels, channel[beyond])].any():
                continue
            since = extent(day)[0]
        out.append(
            {
                "fibre": fibre,
                "first_channel": int(channel[beyond][0]),
                "last_channel": int(channel[-1]),
                "since": since,
            }
        )
    return out


def kilometres(heard: pa.Table, fibres: pa.Table) -> np.ndarray:
    """Return how many kilometres each row of `heard` stands for, float64; 0 where no file tells spacing.

    Parameters
    ----------
    heard, fibres : pyarrow.Table
        Rows of the tables of that name; of the latter `fibre` and `spacing_m`.
    """
    spacing = {
        row["fibre"]: row["spacing_m_max"]
        for row in fibres.group_by("fibre").aggregate([("spacing_m", "max")]).to_pylist()
    }
    metres = [spacing.get(name) or 0.0 for name in heard["fibre"].to_pylist()]
    channel, fibre = heard["channel"].to_numpy(), np.array(heard["fibre"].to_pylist(), object)
    step = {name: int(np.min(np.diff(channel[fibre == name]), initial=1 << 20)) for name in set(fibre.tolist())}
    size = [1 if step[name] == 1 << 20 else step[name] for name in fibre.tolist()]
    return np.array(metres) * np.array(size) / 1000


def _until(heard: pa.Table) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return channels of each fibre, and until when each was heard, ns since 1970; 0 where it was not."""
    fibre = np.array(heard["fibre"].to_pylist(), object)
    channel = heard["channel"].to_numpy()
    until = heard["heard_until"].cast(pa.int64()).fill_null(0).to_numpy()
    return {name: (channel[fibre == name], until[fibre == name]) for name in set(fibre.tolist())}
