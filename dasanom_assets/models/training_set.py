"""Which windows are learned from: days, blocks of time and channels, and how they split.

Windows a second apart share most of their frames, so whole blocks of time go to one split, the same for every
channel and fibre, and no window reaches over the border of a split.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dasanom_assets.settings import Settings, SpectrogramSettings, TrainingSetSettings
from dasanom_assets.spectrograms.streams import spread
from dasanom_assets.spectrograms.whitening import healthy_rows
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables import verdicts
from dasanom_assets.tables.store import Store

if TYPE_CHECKING:
    from distributed import Client

SPLITS = ("train", "validation", "calibration")
"""Names of the splits, in the order of their codes."""

TABLES = ("spectrograms", "background", "channel_health", "common_levels")
"""What the windows of a day are made of."""

RUN_CHANNELS = 16
"""Neighbours that are kept or left out together: detection looks at a window's surroundings."""
GOLDEN = 0.618034
"""Multiples of the golden section, modulo 1, stay evenly spread however many there are."""


@dataclass(frozen=True)
class WindowIndex:
    """Where the windows of a bank come from; arrays of shape (n_windows,).

    Attributes
    ----------
    fibre : numpy.ndarray
        object (str).
    channel : numpy.ndarray
        int32, absolute channel number.
    start_ns : numpy.ndarray
        int64, ns since 1970 UTC.
    day : numpy.ndarray
        object (str): ISO day of the table.
    """

    fibre: np.ndarray
    channel: np.ndarray
    start_ns: np.ndarray
    day: np.ndarray

    @staticmethod
    def of_channel(fibre: str, channel: int, start_ns: np.ndarray, day: str) -> "WindowIndex":
        """Return where windows of one channel come from, by their starts."""
        n = len(start_ns)
        return WindowIndex(
            np.full(n, fibre, object), np.full(n, channel, np.int32), start_ns, np.full(n, day, object)
        )

    def __len__(self) -> int:
        return len(self.start_ns)

    def subset(self, index: np.ndarray) -> "WindowIndex":
        """Return some of the windows; `index` are positions or a mask."""
        return WindowIndex(self.fibre[index], self.channel[index], self.start_ns[index], self.day[index])

    def groups(self) -> dict[tuple[str, str, int], np.ndarray]:
        """Return the positions of each day, fibre and channel, in order of time."""
        order = np.lexsort((self.start_ns, self.channel, self.fibre.astype(str), self.day.astype(str)))
        columns = [column[order] for column in (self.day, self.fibre, self.channel)]
        border = np.flatnonzero(np.any([column[1:] != column[:-1] for column in columns], axis=0)) + 1
        parts = np.split(order, border) if len(order) else []
        return {(self.day[part[0]], self.fibre[part[0]], int(self.channel[part[0]])): part for part in parts}


def split_of(start_ns: np.ndarray, settings: TrainingSetSettings) -> np.ndarray:
    """Return the split that each second belongs to.

    Blocks lie on the UTC grid. Within a day each split comes around as evenly as its share allows, so that ten
    blocks in a row hold all three; from day to day the sequence starts elsewhere, so that no split always gets the
    same minutes.

    Parameters
    ----------
    start_ns : numpy.ndarray
        int64, any shape, ns since 1970 UTC.
    settings : TrainingSetSettings

    Returns
    -------
    numpy.ndarray
        int8, shape of `start_ns`: positions in `SPLITS`.
    """
    block = start_ns // (settings.block_seconds * SECOND_NS)
    day = block * settings.block_seconds // 86_400
    position = block - -(-day * 86_400 // settings.block_seconds) + (day * 0x9E3779B1 >> 8) % 1000
    validation, before = _takes_turn(position, settings.validation_share)
    share = settings.calibration_share / (1 - settings.validation_share)
    calibration, _ = _takes_turn(position - before, share)
    return np.where(validation, 1, np.where(calibration, 2, 0)).astype(np.int8)


def _takes_turn(position: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Whether each position is one of an evenly spread share, and how many before it are (Bresenham's line)."""
    # Whole numbers: a float product would now and then skip or double a turn.
    millionths = round(share * 1_000_000)
    before = position * millionths // 1_000_000
    return (position + 1) * millionths // 1_000_000 > before, before


def days_to_learn(store: Store, today: str, newest: int | None = None, held_out: int = 0) -> list[str]:
    """Return the days that are ingested: those before `today`, which still grows, or it where there is no other.

    Parameters
    ----------
    store : Store
    today : str
        ISO day, UTC.
    newest : int, optional
        Days at most; all by default.
    held_out : int
        Days after them that are left out.
    """
    ingested = set.intersection(*(set(store.days(table)) for table in (*TABLES, "temporal_terms")))
    days = sorted(day for day in ingested if day <= today)
    days = [day for day in days if day < today] or days
    return days[: max(len(days) - held_out, 0)][-(newest or len(days)) :]


def build_manifest(
    store: Store, days: list[str], settings: Settings, client: "Client | None" = None
) -> dict[str, Any]:
    """Describe the training set so fully that the same windows can be loaded again, or a change is noticed.

    Parameters
    ----------
    store : Store
        Must hold the `TABLES` of the days.
    days : list of str
        ISO days.
    settings : Settings
    client : distributed.Client, optional
        Its workers count the seconds of the days; threads of this process by default.

    Returns
    -------
    dict
        JSON-serialisable: ``days``; ``digests`` of each day's tables; the settings ``spectrogram``, ``window``,
        ``background`` and ``training_set``; ``channels`` that are kept, by day and fibre; ``channel_seconds`` of
        them in each split, at most; and ``threats``: boxes that analysts confirmed, by day.

    Raises
    ------
    ValueError
        Where there are no days, their spectrograms differ in settings, blocks are shorter than a window, or a
        split would be empty; the message says what to do.
    MissingDayError
        Where a table lacks a day.
    """
    days = sorted(set(days))
    if not days:
        raise ValueError("there is no day to learn from: run the job ingest for some days first")
    block, window = settings.training_set.block_seconds, settings.window.seconds
    if block < window:
        raise ValueError(
            f"training_set.block_seconds {block} is shorter than window.seconds {window}: no window fits a block"
        )
    made_with = {day: store.metadata("spectrograms", day)["settings"] for day in days}
    if differ := [day for day in days if made_with[day] != made_with[days[0]]]:
        raise ValueError(
            f"spectrograms of {', '.join(differ)} have other settings than those of {days[0]}: materialize "
            "spectrograms of these days again, or leave them out of training_set's days"
        )

    healthy = spread(_HealthySeconds(store, settings.training_set), days, client)
    seconds = dict(zip(days, healthy, strict=True))
    total = sum(int(counts.sum()) for channels in seconds.values() for counts in channels.values())
    step = max(1, -(-total // settings.training_set.max_channel_seconds))
    kept = np.zeros(len(SPLITS), np.int64)
    chosen: dict[str, dict[str, list[int]]] = {day: {} for day in days}
    for i, (day, channels) in enumerate(seconds.items()):
        for key in thinned(list(channels), step, i):
            kept += channels[key]
            chosen[day].setdefault(key[0], []).append(key[1])
    counts = dict(zip(SPLITS, kept.tolist(), strict=True))
    if short := [split for split, n in counts.items() if n < window]:
        raise ValueError(
            f"{', '.join(days)} leave nothing for {' and '.join(short)}: {total} seconds of healthy channels; "
            "add days, or shorten training_set.block_seconds"
        )
    return {
        "days": days,
        "digests": {day: {table: store.content_digest(table, day) for table in TABLES} for day in days},
        "spectrogram": made_with[days[0]],
        "window": settings.window.model_dump(mode="json"),
        "background": settings.background.model_dump(),
        "training_set": settings.training_set.model_dump(),
        "channels": chosen,
        "channel_seconds": counts,
        "threats": {day: boxes for day in days if (boxes := _threats(store, day))},
    }


def _threats(store: Store, day: str) -> list[list[Any]]:
    """Return the boxes of a day's confirmed threats: fibre, first and last channel, start and end, ns."""
    boxes = verdicts.threats(verdicts.entries(store, day))
    columns = [boxes[name].to_pylist() for name in verdicts.BOX[:3]]
    columns += [boxes[name].cast(pa.int64()).to_pylist() for name in verdicts.BOX[3:]]
    return [list(box) for box in zip(*columns, strict=True)]


@dataclass(frozen=True)
class _HealthySeconds:
    """The work of a worker: of a day's channels that can be whitened, the seconds in each split, int64."""

    store: Store
    settings: TrainingSetSettings

    def __call__(self, day: str) -> list[dict[tuple[str, int], np.ndarray]]:
        store = self.store
        spectrogram = SpectrogramSettings(**store.metadata("spectrograms", day)["settings"])
        healthy = healthy_rows(store, day, spectrogram)
        usual = store.read_day("background", day, ["fibre", "channel"]).to_pylist()
        seconds = {
            key: np.zeros(len(SPLITS), np.int64)
            for key in sorted((row["fibre"], row["channel"]) for row in usual)
            if key in healthy
        }
        for rows in store.iter_day("spectrograms", day, ["fibre", "channel", "start"]):
            start = rows["start"].cast(pa.int64()).to_numpy()
            channel, split = rows["channel"].to_numpy(), split_of(start, self.settings)
            for number in np.unique(channel):  # of one fibre
                if (key := (rows["fibre"][0].as_py(), int(number))) in seconds:
                    seconds[key] += np.bincount(split[channel == number], minlength=len(SPLITS))
        return [{key: counts for key, counts in seconds.items() if counts.any()}]


def thinned(channels: list[tuple[str, int]], step: int, day: int) -> list[tuple[str, int]]:
    """Return one in `step` channels, in runs of neighbours; other days have other runs, and complement it."""
    run = max(1, min(RUN_CHANNELS, len(channels) // step))
    runs = [channels[i : i + run] for i in range(0, len(channels), run)]
    return [key for neighbours in runs[int(day * GOLDEN * step) % step :: step] for key in neighbours]
