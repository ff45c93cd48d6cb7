"""What is computed of one alarm when somebody asks: from the tables of its channel and from the recording itself.

These functions read a channel's day whole and load networks, so a process of its own runs them; see `worker`.
"""

import io
import wave
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.settings import Settings, SpectrogramSettings
from dasanom_assets.spectrograms.frames import channel_rows
from dasanom_assets.spectrograms.windows import SECOND_NS, make_bank
from dasanom_assets.tables.schemas import stack
from dasanom_assets.tables.store import Store

if TYPE_CHECKING:  # heavy, and imported by the server, too
    from dasanom_assets.spectrograms.white_rows import WhiteChannel

AROUND_S = 60
"""Before and after an alarm, shown of its channel."""
MOST_S = 600
SOUND_AROUND_S, MOST_SOUND_S = 5, 60
LOW_CUT_HZ = 5.0
"""Drift below is no sound."""
LOUD = 0.9
LOUDEST = 0.9
"""Quantile of a window's frames above which they are its loudest."""
FASTEST = 32


@dataclass(frozen=True)
class Place:
    """Where and when an alarm is strongest, and which of it is looked at: ns since 1970."""

    day: str
    fibre: str
    channel: int
    peak_ns: int
    start_ns: int
    end_ns: int


def spectrogram(root: str, place: Place, settings: Settings) -> dict[str, Any]:
    """Return whitened levels of the peak channel around an alarm.

    Returns
    -------
    dict
        ``values``: float32, shape (frames, bands), NaN where there is none; ``start_ns`` and ``step_ns`` of
        frames; ``hz``: centres of the bands; ``unit``.
    """
    store = Store(root)
    first, last = _around(place)
    for channel in _white(store, place, settings):
        rows = slice(*np.searchsorted(channel.start_ns, [first, last]))
        frames = channel.rows.shape[1]
        seconds = (last - first) // SECOND_NS
        values = np.full((seconds, frames, channel.rows.shape[2]), np.nan, np.float32)
        values[(channel.start_ns[rows] - first) // SECOND_NS] = channel.rows[rows]
        return {
            "values": values.reshape(seconds * frames, -1),
            "start_ns": first,
            "step_ns": SECOND_NS // frames,
            "hz": _hz(store, place),
            "unit": "spreads above usual",
        }
    raise LookupError(f"channel {place.channel} of {place.fibre} has no levels on {place.day}")


def spectrum(root: str, place: Place, settings: Settings) -> dict[str, Any]:
    """Return the levels of an alarm's strongest window beside what is usual for its channel and hour, dB.

    Strokes are short: the mean of a window hides them. So its loudest frames are told by themselves, those whose
    levels are most above usual over all bands.

    Returns
    -------
    dict
        By band: ``loudest`` and ``alarm``, the mean of the loudest tenth of the frames and of all; ``usual`` and
        ``spread``, median and 1.4826 MAD; ``hz``, the centres.
    """
    from dasanom_assets.spectrograms.grids import DayGrids
    from dasanom_assets.spectrograms.white_rows import reference_rows

    store = Store(root)
    frames = channel_rows(store, place.day, place.fibre, place.channel)
    peak = np.array([place.peak_ns // SECOND_NS * SECOND_NS])
    rows = slice(*np.searchsorted(frames.start_ns, [peak[0], peak[0] + settings.window.seconds * SECOND_NS]))
    power = frames.power_db[rows].reshape(-1, frames.power_db.shape[-1])
    power = power[np.isfinite(power).all(axis=1)]
    if not len(power):
        raise LookupError(f"channel {place.channel} of {place.fibre} has no levels at the alarm's peak")
    usual, note = store.read_day("background", place.day), store.metadata("background", place.day)
    own = usual.filter(pc.and_(pc.equal(usual["fibre"], place.fibre), pc.equal(usual["channel"], place.channel)))
    classes, n_grids = note.get("hour_classes", 1), note.get("n_grids", 1)
    grid = DayGrids(store.metadata("spectrograms", place.day)).of_rows(place.fibre, place.channel, peak)
    median, mad = (
        reference_rows(stack(own[name])[0], classes, peak, n_grids, grid).reshape(-1)
        for name in ("median_db", "mad_db")
    )
    above = ((power - median) / (1.4826 * mad + settings.background.scale_floor_db)).mean(axis=1)
    loudest = power[above >= np.quantile(above, LOUDEST)]
    return {
        "hz": _hz(store, place),
        "loudest": np.round(loudest.mean(axis=0), 2).tolist(),
        "alarm": np.round(power.mean(axis=0), 2).tolist(),
        "usual": np.round(median, 2).tolist(),
        "spread": np.round(1.4826 * mad, 2).tolist(),
    }


def through_network(root: str, place: Place, settings: Settings, vae_version: str) -> dict[str, np.ndarray]:
    """Return the strongest window as the VAE sees it, what it makes of it, and what is left.

    Returns
    -------
    dict
        ``input``, ``reconstruction``, ``residual``: float32, shape (frames, bands).
    """
    import torch

    from dasanom_assets.models.training import load_vae

    store = Store(root)
    spectrogram_of_day = SpectrogramSettings(**store.metadata("spectrograms", place.day)["settings"])
    for channel in _white(store, place, settings):
        first = int(np.searchsorted(channel.start_ns, place.peak_ns))
        rows = channel.rows[first : first + settings.window.seconds]
        if len(rows) < settings.window.seconds:
            break
        start = channel.start_ns[first : first + 1]
        window = make_bank(rows, np.zeros(1, np.int64), start, spectrogram_of_day, settings.window).window(0)
        vae = load_vae(store, vae_version).eval()
        with torch.no_grad():
            x = torch.from_numpy(np.ascontiguousarray(window, dtype=np.float32))[None, None]
            mean = vae.mean(vae.decode(vae.encode(x)[0]))[0, 0].float().numpy()
        return {"input": window, "reconstruction": mean, "residual": window - mean}
    raise LookupError("the window is not whole: nothing went through the network")


def sound(root: str, place: Place, speed: float) -> tuple[bytes, dict[str, Any]]:
    """Return what the peak channel recorded around an alarm as WAV, sped up, and what was done to it.

    Drift below `LOW_CUT_HZ` is taken off, and the loudest sample set to `LOUD` of the scale.

    Raises
    ------
    LookupError
        Where the recording is not there.
    """
    from scipy import signal

    from dasanom_assets.recordings.signal import stretches

    store = Store(root)
    middle = min(max(place.peak_ns + 4 * SECOND_NS, place.start_ns), place.end_ns)
    half = MOST_SOUND_S * SECOND_NS // 2
    begin = max(place.start_ns - SOUND_AROUND_S * SECOND_NS, middle - half)
    end = min(place.end_ns + SOUND_AROUND_S * SECOND_NS, middle + half)
    recordings = store.read_day("recordings", place.day)
    start, stop = (recordings[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    mine = (
        pc.equal(recordings["fibre"], place.fibre).to_numpy(zero_copy_only=False) & (start < end) & (stop > begin)
    )
    for stretch in stretches(store, recordings.filter(pa.array(mine))):
        column = np.flatnonzero(stretch.channels == place.channel)
        rate = stretch.sampling_rate_hz
        first, last = (
            int(np.clip(round((t - stretch.start_ns) * rate / 1e9), 0, stretch.n_samples)) for t in (begin, end)
        )
        if not len(column) or last - first < rate:
            continue
        # A second at a time: all channels of it come along.
        edges = [*range(first, last, max(1, int(rate))), last]
        x = np.concatenate([stretch.read(a, b)[:, column[0]].astype(np.float64) for a, b in pairwise(edges)])
        x = np.nan_to_num(x - np.nanmedian(x))
        if rate > 4 * LOW_CUT_HZ:
            x = signal.sosfiltfilt(signal.butter(4, LOW_CUT_HZ, "highpass", fs=rate, output="sos"), x)
        x *= LOUD / max(float(np.abs(x).max()), 1e-30)
        out, played = io.BytesIO(), round(rate * speed)
        if played < 3000 or played > 192_000:  # what players take
            target = int(np.clip(played, 8000, 48_000))
            x = signal.resample(x, max(1, round(len(x) * target / played)))
            x *= LOUD / max(float(np.abs(x).max()), 1e-30)
            played = target
        with wave.open(out, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(played)
            file.writeframes((x * 32767).astype("<i2").tobytes())
        told = {"seconds": (last - first) / rate, "speed": speed, "rate_hz": rate, "low_cut_hz": LOW_CUT_HZ}
        return out.getvalue(), told | {"begin_ns": stretch.start_ns + round(first * 1e9 / rate)}
    raise LookupError("the recording of this alarm is not in landing/ any more")


def _around(place: Place) -> tuple[int, int]:
    """Return begin and end of what is shown, whole seconds."""
    first = max(place.start_ns, place.peak_ns - MOST_S // 2 * SECOND_NS) - AROUND_S * SECOND_NS
    last = min(place.end_ns, place.peak_ns + MOST_S // 2 * SECOND_NS) + AROUND_S * SECOND_NS
    return first // SECOND_NS * SECOND_NS, -(-last // SECOND_NS) * SECOND_NS


def _white(store: Store, place: Place, settings: Settings) -> Iterator["WhiteChannel"]:
    from dasanom_assets.spectrograms.whitening import WhiteDay

    plan = WhiteDay(store, place.day, settings.background, settings.window, bad=True)
    row = place.channel // plan.spectrogram.group_channels * plan.spectrogram.group_channels
    yield from plan.channels([key for key in plan.keys if key == (place.fibre, row)])


def _hz(store: Store, place: Place) -> list[float]:
    from dasanom_assets.spectrograms.grids import DayGrids

    grids = DayGrids(store.metadata("spectrograms", place.day))
    number = grids.of_rows(place.fibre, place.channel, np.array([place.peak_ns // SECOND_NS * SECOND_NS]))
    return [float(hz) for hz in grids.of(place.fibre)[int(number[0])].centre_hz]


def on_row(place: Place, size: int) -> Place:
    """Return the place with the channel that its row of levels is named by."""
    return replace(place, channel=place.channel // size * size)
