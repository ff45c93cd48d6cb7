"""Pictures of spectrograms for the Dagster UI."""

import warnings
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dasanom_assets.spectrograms.frames import DayFrames, channel_rows, row_parts
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.metadata import thumbnail
from dasanom_assets.tables.schemas import stack
from dasanom_assets.tables.store import Store

MAX_COLUMNS = 600


def day_thumbnail(store: Store, day: str) -> bytes | None:
    """Return a PNG of one channel's day: time against frequency, level in dB.

    The channel is the middle one of the first fibre. Columns are means over time, gaps stay blank; None where the
    day has no rows.
    """
    keys = _keys(store, day)
    if not keys:
        return None
    of_first_fibre = [key for key in keys if key[0] == keys[0][0]]
    channel = channel_rows(store, day, *of_first_fibre[len(of_first_fibre) // 2])
    metadata = store.metadata("spectrograms", day)
    second = (channel.start_ns - channel.start_ns[0]) // SECOND_NS
    image = np.full((second[-1] + 1, channel.power_db.shape[2]), np.nan, np.float32)
    with warnings.catch_warnings():  # a second without a frame is blank
        warnings.simplefilter("ignore", RuntimeWarning)
        for part in row_parts(len(second)):
            image[second[part]] = np.nanmean(channel.power_db[part], axis=1)
    step = -(-len(image) // MAX_COLUMNS)
    image = np.array([image[i : i + step].mean(axis=0) for i in range(0, len(image), step)])

    figure = Figure(figsize=(6.4, 2.6), dpi=72, layout="constrained")
    axes = figure.subplots()
    minutes = len(image) * step / 60
    drawn = axes.imshow(
        image.T, origin="lower", aspect="auto", extent=(0, minutes, 0, image.shape[1]), cmap="magma"
    )
    _frequency_axis(axes.yaxis, metadata, channel.fibre, image.shape[1])
    start = np.datetime64(int(channel.start_ns[0]), "ns").astype("datetime64[s]")
    axes.set_xlabel(f"minutes after {str(start).replace('T', ' ')} UTC")
    axes.set_title(f"{channel.fibre}, channel {channel.channel}", fontsize=10, parse_math=False)
    figure.colorbar(drawn, ax=axes, label="dB re unit²/Hz")
    return thumbnail(figure)


def background_thumbnail(store: Store, day: str) -> bytes | None:
    """Return a PNG of what is usual: channel against frequency, median level in dB.

    The fibre is the first of those that recorded on the day, or the first of all where none of them did.

    With parts of the day of their own, it is the mean over them. Of several rates it is the lowest.
    None where the day has no rows.
    """
    table = store.read_day("background", day)
    if not table.num_rows:
        return None
    metadata = store.metadata("background", day)
    recorded = {grid["fibre"] for grid in store.metadata("spectrograms", day)["grids"]}
    fibre = min(set(table["fibre"].to_pylist()), key=lambda name: (name not in recorded, name))
    rows = np.flatnonzero(np.array(table["fibre"].to_pylist()) == fibre)
    channels = table["channel"].to_numpy()[rows]
    levels = stack(table["median_db"])[rows].reshape(
        len(rows), metadata.get("n_grids", 1), metadata["hour_classes"], -1
    )
    levels = levels[:, 0].mean(axis=1)
    figure = Figure(figsize=(6.4, 2.6), dpi=72, layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(levels.T, origin="lower", aspect="auto", interpolation="nearest", cmap="magma")
    _frequency_axis(axes.yaxis, store.metadata("spectrograms", day), fibre, levels.shape[1], offset=0)
    ticks = np.unique(np.linspace(0, len(channels) - 1, 7).astype(int))
    axes.set_xticks(ticks, [str(channels[i]) for i in ticks])
    axes.set_xlabel("channel")
    axes.set_title(f"{fibre}: usual level, from {len(metadata['days'])} day(s)", fontsize=10, parse_math=False)
    figure.colorbar(drawn, ax=axes, label="dB re unit²/Hz")
    return thumbnail(figure)


def _frequency_axis(axis: Any, metadata: dict[str, Any], fibre: str, bands: int, offset: float = 0.5) -> None:
    """Label an axis of bands with their centre frequencies, or with numbers where bands are coefficients."""
    ticks = np.unique(np.linspace(0, bands - 1, 5).astype(int))
    of_coefficients = metadata["settings"]["representation"] == "mfcc"
    grid = next((g for g in metadata["grids"] if g["fibre"] == fibre), None)
    if of_coefficients or grid is None:
        axis.set_ticks(ticks + offset, [str(i) for i in ticks])
        axis.set_label_text("coefficient" if of_coefficients else "band")
        return
    axis.set_ticks(ticks + offset, [f"{grid['centre_hz'][i]:.0f}" for i in ticks])
    axis.set_label_text("frequency (Hz)")


def _keys(store: Store, day: str) -> list[tuple[str, int]]:
    return DayFrames(store, day).keys
