"""What a channel sounds like, a minute at a time: the table `segment_models`.

A segment's frames are whitened bands, averaged to a few a second, of which the first coefficients of the
orthonormal cosine transform over bands are kept. That needs no training, so the models of all days can be compared
whatever network is live.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from scipy.fft import dct

from dasanom_assets.detection.minutes.gaussians import Gaussians, divergence, fit_gaussians
from dasanom_assets.detection.rows import channel_rows
from dasanom_assets.settings import Settings, SpectrogramSettings, TemporalSettings, WindowSettings
from dasanom_assets.spectrograms.frames import row_parts
from dasanom_assets.spectrograms.streams import blocks, spread, with_neighbours
from dasanom_assets.spectrograms.white_rows import WhiteChannel
from dasanom_assets.spectrograms.whitening import WhiteDay
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store

if TYPE_CHECKING:
    from distributed import Client

TABLE = "segment_models"


@dataclass(frozen=True)
class Segments:
    """The segments of one channel on one day.

    Attributes
    ----------
    fibre : str
    channel : int
    start_ns : numpy.ndarray
        int64, shape (n,), ns since 1970 UTC, ascending.
    models : Gaussians
        Of shape (n,).
    n_frames : numpy.ndarray
        int32, shape (n,): frames that a model was fitted on.
    """

    fibre: str
    channel: int
    start_ns: np.ndarray
    models: Gaussians
    n_frames: np.ndarray


def segments_note(store: Store, day: str, settings: Settings) -> dict[str, Any]:
    """Return the metadata of `segment_models`: what makes its models comparable with those of another day.

    All of it must be the same but for ``grids``, which count fibre by fibre.
    """
    temporal = settings.temporal.model_dump(mode="json")
    names = ("segment_seconds", "shift_seconds", "frames_a_second", "dimensions")
    metadata = store.metadata("spectrograms", day)
    return {
        "spectrogram": metadata["settings"],
        "grids": metadata.get("grids", []),
        "background": settings.background.model_dump(mode="json"),
        "segments": {name: temporal[name] for name in names},
    }


def segment_models(
    store: Store, day: str, settings: Settings, client: "Client | None" = None
) -> Iterator[pa.Table]:
    """Yield the rows of `segment_models` of a day, one table a channel, in bounded memory.

    Segments start on multiples of the shift since 1970. One that lies across midnight belongs to the day that most
    of it is in.

    Parameters
    ----------
    store : Store
        Must hold what `white_day` needs.
    day : str
        ISO day.
    settings : Settings
    client : distributed.Client, optional
        Fits blocks of channels on its workers; threads of this process by default.
    """
    spectrogram = SpectrogramSettings(**store.metadata("spectrograms", day)["settings"])
    d, temporal = min(settings.temporal.dimensions, spectrogram.row_shape[1]), settings.temporal
    none = Gaussians(*np.empty((2, 0, d), np.float32))
    empty = Segments("", 0, np.empty(0, np.int64), none, np.empty(0, np.int32))
    yield models_table(empty, np.empty(0, np.float32), temporal)
    levels = WhiteDay(store, day, settings.background, WindowSettings())
    fitted = spread(Fitting(levels, temporal), blocks(levels.keys, levels.frames.seconds), client)
    yield from with_neighbours_told(fitted, temporal, spectrogram.group_channels)


@dataclass(frozen=True)
class Fitting:
    """What fits models to the segments of any channels of a day, on this machine or another."""

    levels: WhiteDay
    settings: TemporalSettings

    def __call__(self, keys: list[tuple[str, int]]) -> Iterator[Segments]:
        """Return the segments of those of some channels that have any."""
        return segments_of(self.levels.channels(keys), self.settings)


def models_of_channels(
    channels: Iterable[WhiteChannel], settings: TemporalSettings, step: int = 1
) -> Iterator[pa.Table]:
    """Yield the rows of `segment_models` of channels that have a segment; see `with_neighbours_told`."""
    return with_neighbours_told(segments_of(channels, settings), settings, step)


def segments_of(channels: Iterable[WhiteChannel], settings: TemporalSettings) -> Iterator[Segments]:
    """Yield the segments of those of some channels that have any."""
    for channel in channels:
        start, frames = segment_frames(channel, settings)
        if len(start):
            yield _fitted(channel.fibre, channel.channel, start, frames)


def with_neighbours_told(
    channels: Iterable[Segments], settings: TemporalSettings, step: int = 1
) -> Iterator[pa.Table]:
    """Yield the rows of `segment_models` of channels, one table each, with how unlike their neighbours they are.

    Parameters
    ----------
    channels : iterable of Segments
        By fibre and ascending; as many as are neighbours of one are in memory.
    settings : TemporalSettings
    step : int
        From one channel number to the next: the size of groups of channels.
    """
    gap, reach = settings.neighbour_gap, settings.neighbour_gap + settings.neighbours
    for segments, neighbours in with_neighbours(channels, reach):
        near = (other for other in neighbours if other.fibre == segments.fibre)
        far = [other for other in near if gap * step < abs(other.channel - segments.channel) <= reach * step]
        yield models_table(segments, _to_neighbours(segments, far), settings)


def segment_frames(channel: WhiteChannel, settings: TemporalSettings) -> tuple[np.ndarray, np.ndarray]:
    """Cut a channel into segments.

    Returns
    -------
    start : numpy.ndarray
        int64, shape (n,): first second of each segment that has enough of its seconds, since 1970.
    frames : numpy.ndarray
        float32, shape (n, frames a segment, dimensions), NaN where missing: a view, of overlapping segments.
    """
    second = channel.start_ns // SECOND_NS
    if not len(second):
        return second, np.empty((0, 1, 1), np.float32)
    length, shift = settings.segment_seconds, settings.shift_seconds
    features = np.concatenate([band_features(channel.rows[part], settings) for part in row_parts(len(second))])
    features[~channel.usable] = np.nan
    rate = features.shape[1]
    first = (second[0] - length) // shift * shift + shift
    grid = np.full((second[-1] + length + 1 - first, *features.shape[1:]), np.nan, np.float32)
    grid[second - first] = features
    seconds = np.concatenate([[0], np.cumsum(np.isfinite(grid[:, 0, 0]))])
    begin = np.arange(0, len(grid) - length + 1, shift)
    enough = np.flatnonzero(seconds[begin + length] - seconds[begin] >= settings.min_share * length)
    views = np.lib.stride_tricks.sliding_window_view(grid.reshape(-1, grid.shape[2]), length * rate, axis=0)
    views = views[:: shift * rate].swapaxes(1, 2)
    # A slice is no copy, and most days have no gap between their first segment and their last.
    gapless = len(enough) > 0 and enough[-1] - enough[0] + 1 == len(enough)
    return first + begin[enough], views[enough[0] : enough[-1] + 1] if gapless else views[enough]


def band_features(rows: np.ndarray, settings: TemporalSettings) -> np.ndarray:
    """Return averages of frames, by their first coefficients of an orthonormal cosine transform over bands.

    Parameters
    ----------
    rows : numpy.ndarray
        float32, shape (n_rows, frames a second, bands): whitened levels.
    settings : TemporalSettings

    Returns
    -------
    numpy.ndarray
        float32, shape (n_rows, averages a second, dimensions); NaN where a frame is missing.
    """
    slots, bands = rows.shape[1:]
    projected = rows @ cosine_basis(bands, settings.dimensions).T
    parts = np.array_split(projected, min(settings.frames_a_second, slots), axis=1)
    missing = np.isnan(rows[:, -1, 0]).any()  # the grid leaves the last place of some rows empty
    with np.errstate(invalid="ignore"):
        means = (
            np.nansum(part, axis=1) / np.isfinite(part).sum(axis=1) if missing else part.mean(axis=1)
            for part in parts
        )
        return np.stack(list(means), axis=1).astype(np.float32, copy=False)


def cosine_basis(bands: int, dimensions: int) -> np.ndarray:
    """Return the first rows of the orthonormal DCT-II, float32, shape (at most dimensions, bands)."""
    return dct(np.eye(bands), type=2, norm="ortho", axis=0)[:dimensions].astype(np.float32)


def _fitted(fibre: str, channel: int, start: np.ndarray, frames: np.ndarray) -> Segments:
    n_frames = np.isfinite(frames[:, :, 0]).sum(axis=1, dtype=np.int32)
    return Segments(fibre, channel, start * SECOND_NS, fit_gaussians(frames), n_frames)


def _to_neighbours(segments: Segments, others: list[Segments]) -> np.ndarray:
    """Return the median divergence from other channels at the same time, float32; NaN where there is none."""
    start = segments.start_ns
    each = np.full((len(others), len(start)), np.nan, np.float32)
    for row, other in zip(each, others, strict=True):
        _, left, right = np.intersect1d(start, other.start_ns, assume_unique=True, return_indices=True)
        row[left] = divergence(segments.models[left], other.models[right])
    known = np.isfinite(each).any(axis=0)
    out = np.full(len(start), np.nan, np.float32)
    out[known] = np.nanmedian(each[:, known], axis=0)
    return out


def models_table(segments: Segments, to_neighbours: np.ndarray, settings: TemporalSettings) -> pa.Table:
    """Return the rows of `segment_models` of one channel; `to_neighbours` is float32, shape (n,)."""
    place, seconds = (segments.fibre, segments.channel, segments.start_ns), settings.segment_seconds
    columns = vars(segments.models) | {"n_frames": segments.n_frames, "to_neighbours": to_neighbours}
    return channel_rows(SCHEMAS[TABLE], *place, seconds, columns)


def drop_old_models(store: Store, day: str, keep_days: int) -> list[str]:
    """Remove the days of `segment_models` that lie more than `keep_days` before a day, and return them."""
    oldest = str(date.fromisoformat(day) - timedelta(days=keep_days))
    old = [d for d in store.days(TABLE) if d < oldest]
    for d in old:
        store.drop_day(TABLE, d)
    return old
