"""Pictures of spectrograms for the Dagster UI."""

import numpy as np
from matplotlib.figure import Figure

from dasanom_assets.spectrograms.windows import SECOND_NS, day_frames
from dasanom_assets.tables.metadata import thumbnail
from dasanom_assets.tables.store import Store

MAX_COLUMNS = 600


def day_thumbnail(store: Store, day: str) -> bytes | None:
    """Return a PNG of one channel's day: time against frequency, level in dB.

    The channel is the middle one of the first fibre. Columns are means over time, gaps stay blank; None where the
    day has no rows.
    """
    frames = list(_keys(store, day))
    if not frames:
        return None
    fibre = frames[0][0]
    wanted = [key for key in frames if key[0] == fibre]
    key = wanted[len(wanted) // 2]
    channel = next(f for f in day_frames(store, day) if (f.fibre, f.channel) == key)
    grid = next(g for g in store.metadata("spectrograms", day)["grids"] if g["fibre"] == fibre)
    second = (channel.start_ns - channel.start_ns[0]) // SECOND_NS
    image = np.full((second[-1] + 1, channel.power_db.shape[2]), np.nan, np.float32)
    image[second] = channel.power_db.mean(axis=1)
    step = -(-len(image) // MAX_COLUMNS)
    image = np.array([image[i : i + step].mean(axis=0) for i in range(0, len(image), step)])

    figure = Figure(figsize=(6.4, 2.6), dpi=72, layout="constrained")
    axes = figure.subplots()
    minutes = len(image) * step / 60
    drawn = axes.imshow(
        image.T, origin="lower", aspect="auto", extent=(0, minutes, 0, image.shape[1]), cmap="magma"
    )
    ticks = np.linspace(0, image.shape[1] - 1, 5).astype(int)
    axes.set_yticks(ticks + 0.5, [f"{grid['centre_hz'][i]:.0f}" for i in ticks])
    start = np.datetime64(int(channel.start_ns[0]), "ns").astype("datetime64[s]")
    axes.set_xlabel(f"minutes after {str(start).replace('T', ' ')} UTC")
    axes.set_ylabel("frequency (Hz)")
    axes.set_title(f"{fibre}, channel {key[1]}", fontsize=10)
    figure.colorbar(drawn, ax=axes, label="dB re unit²/Hz")
    return thumbnail(figure)


def _keys(store: Store, day: str) -> list[tuple[str, int]]:
    table = store.read_day("spectrograms", day, ["fibre", "channel"]).group_by(["fibre", "channel"]).aggregate([])
    return sorted(zip(table["fibre"].to_pylist(), table["channel"].to_pylist(), strict=True))
