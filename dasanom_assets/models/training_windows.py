"""The windows of a training set, loaded and whitened as its manifest says."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dasanom_assets.models.training_set import SPLITS, WindowIndex, split_of
from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings, TrainingSetSettings, WindowSettings
from dasanom_assets.spectrograms.streams import blocks, spread
from dasanom_assets.spectrograms.usual import Usual
from dasanom_assets.spectrograms.white_rows import WhiteChannel, chosen_rows
from dasanom_assets.spectrograms.whitening import WhiteDay
from dasanom_assets.spectrograms.windows import SECOND_NS, WindowBank, make_bank, window_rows
from dasanom_assets.tables.store import Store

if TYPE_CHECKING:
    from distributed import Client


def load_bank(
    store: Store,
    manifest: dict[str, Any],
    split: str | None,
    against: Mapping[str, Usual] | None = None,
    client: "Client | None" = None,
) -> tuple[WindowBank, WindowIndex]:
    """Load the windows of one split, or of all that is kept, whitened.

    Left out are channels that are dead or saturated, seconds with missing frames or without any variation, and
    what analysts confirmed as threats.

    Parameters
    ----------
    store : Store
    manifest : dict
        From `build_manifest`.
    split : str or None
        One of `SPLITS`; None for all of them, and windows that lie across their borders.
    against : mapping of str to Usual, optional
        What each day is measured against, in place of its `background`.
    client : distributed.Client, optional
        Whitens blocks of channels on its workers; threads of this process by default. The windows are the same.

    Returns
    -------
    bank : WindowBank
        The rows of all channels take memory for ``channel_seconds`` of the manifest.
    index : WindowIndex
        Of the same length and order.

    Raises
    ------
    ValueError
        Where a table has been replaced since the manifest was built.
    """
    background = BackgroundSettings(**manifest["background"])
    window = WindowSettings(**manifest["window"])
    splits = TrainingSetSettings(**manifest["training_set"])
    spectrogram = SpectrogramSettings(**manifest["spectrogram"])
    codes = range(len(SPLITS)) if split is None else [SPLITS.index(split)]
    total = sum(manifest["channel_seconds"][SPLITS[code]] for code in codes)
    rows = np.empty((total, *spectrogram.row_shape), np.float32)
    filled = 0
    firsts = [np.empty(0, np.int64)]
    parts = [WindowIndex.of_channel("", 0, firsts[0], "")]
    for day in manifest["days"]:
        if any(store.content_digest(table, day) != digest for table, digest in manifest["digests"][day].items()):
            raise ValueError(f"{day} has changed since the training set was made: materialize training_set again")
        kept = {(fibre, channel) for fibre, some in manifest["channels"][day].items() for channel in some}
        plan = WhiteDay(store, day, background, window, against=None if against is None else against[day])
        keys = blocks([key for key in plan.keys if key in kept], plan.frames.seconds)
        work = _Learned(plan, window, splits, codes, manifest["threats"].get(day, []))
        for channel in spread(work, keys, client):
            end = filled + len(channel.rows)
            rows[filled:end] = channel.rows
            firsts.append(filled + channel.first)
            parts.append(WindowIndex.of_channel(channel.fibre, channel.channel, channel.start_ns, day))
            filled = end
    index = WindowIndex(
        *(np.concatenate(column) for column in zip(*(vars(part).values() for part in parts), strict=True))
    )
    bank = make_bank(rows[:filled], np.concatenate(firsts), index.start_ns, spectrogram, window)
    limits = (0.0, 1.0) if window.scaling == "minmax" else (background.clip_low, background.clip_high)
    return replace(bank, levels=limits), index


class LearnedChannel(NamedTuple):
    """What is learned from one channel of a day.

    Attributes
    ----------
    fibre : str
    channel : int
    rows : numpy.ndarray
        float32, shape (n_rows, frames, bands), whitened.
    first, start_ns : numpy.ndarray
        int64, shape (n_windows,): the first row of each window, and its start, ns since 1970 UTC.
    """

    fibre: str
    channel: int
    rows: np.ndarray
    first: np.ndarray
    start_ns: np.ndarray


@dataclass(frozen=True)
class _Learned:
    """The work of a worker: what is learned from some channels of a day."""

    plan: WhiteDay
    window: WindowSettings
    splits: TrainingSetSettings
    codes: Sequence[int]
    threats: Sequence[Sequence[Any]]

    def __call__(self, keys: list[tuple[str, int]]) -> Iterator[LearnedChannel]:
        for channel in self.plan.channels(keys):
            inside = channel.usable & np.isin(split_of(channel.start_ns, self.splits), self.codes)
            inside &= ~confirmed(self.threats, channel, self.plan.spectrogram.group_channels)
            first = window_rows(channel.start_ns, inside, self.window)
            yield LearnedChannel(
                channel.fibre,
                channel.channel,
                chosen_rows(channel.rows, inside),
                np.cumsum(inside)[first] - 1,
                channel.start_ns[first],
            )


def confirmed(boxes: Iterable[Sequence[Any]], channel: WhiteChannel, size: int) -> np.ndarray:
    """Return which rows of a channel, or group of `size`, lie in confirmed threats: they are not usual.

    Parameters
    ----------
    boxes : iterable of sequence
        Those of the channel's day in the manifest's ``threats``.
    channel : WhiteChannel
    size : int

    Returns
    -------
    numpy.ndarray
        bool, shape (n_rows,).
    """
    out = np.zeros(len(channel.start_ns), bool)
    for fibre, low, high, start, stop in boxes:
        if fibre == channel.fibre and low < channel.channel + size and channel.channel <= high:
            out |= (channel.start_ns < stop) & (channel.start_ns + SECOND_NS > start)
    return out
