"""Continuous signal to the levels of its frames, on one grid for all days and fibres.

Frame ``k`` has its centre at ``(k + ½) · hop`` after 1970, and is there where its centre lies in the signal. Only
at the ends of a continuous stretch does a frame reach beyond it; the signal is then continued by reflection, as
librosa does. Where files follow each other no frame notices.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dasanom_assets.recordings.measured import nominal_rate
from dasanom_assets.settings import SpectrogramSettings
from dasanom_assets.spectrograms import conditioning
from dasanom_assets.spectrograms.grids import DayGrids, grid_of, grids_note
from dasanom_assets.spectrograms.transform import Transform
from dasanom_assets.spectrograms.windows import SECOND_NS, first_frame

if TYPE_CHECKING:  # its module loads DASCore
    from dasanom_assets.recordings.signal import Stretch

CHUNK_SECONDS, SHORT_CHUNKS = 30, (10, 2, 1)
"""Signal is transformed in chunks on this grid, whatever the parts, so that the last bit of a level does not
depend on how the day was cut. Those of a wide fibre are shorter; each length divides the one before."""
CHUNK_SAMPLES = 1 << 24
"""Samples of all channels of a chunk, at most, unless it is a second: they are in memory together."""
READ_BYTES = 1 << 20
"""Bytes of a file in memory at a time."""


def levels_of(
    signals: "Sequence[Stretch]",
    settings: SpectrogramSettings,
    blocks: Sequence[np.ndarray],
    first_second: int,
    last_second: int,
    before: "Callable[[Any, int, int], object]" = lambda signal, second, seconds: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the levels of some channels of a fibre in some seconds.

    Parameters
    ----------
    signals : sequence of Stretch
        Of one fibre; those that share channels do not overlap.
    settings : SpectrogramSettings
    blocks : sequence of numpy.ndarray
        int32, ascending: absolute channel numbers, whole groups of them; those of one block share a common mode.
    first_second, last_second : int
        Seconds since 1970, on the grid of `CHUNK_SECONDS`; the last one is left out.
    before : callable, optional
        Called with a signal, a second and a number of seconds before these are read.

    Returns
    -------
    rows : numpy.ndarray
        int32, shape (n_rows,): the lowest channel number of each group; the channels without groups.
    levels : numpy.ndarray
        float32, shape (n_rows, seconds, frames a second, bands), dB; NaN where there is no frame.
    """
    rows = np.unique(row_of(np.concatenate(blocks), settings))
    levels = np.full((len(rows), last_second - first_second, *settings.row_shape), np.nan, np.float32)
    owners = _owners(signals, settings, rows, first_second, last_second)
    for number, signal in enumerate(signals):
        seconds = chunk_seconds(signal)
        for second in range(first_second, last_second, seconds):
            if overlaps(signal, second, second + seconds):
                before(signal, second, seconds)
                chunk = slice(second - first_second, second - first_second + seconds)
                if owners is None:
                    _fill(levels[:, chunk], rows, signal, settings, blocks, second)
                    continue
                grid, owner = owners
                own = np.full_like(levels[:, chunk], np.nan)
                _fill(own, rows, signal, settings, blocks, second)
                there = np.isfinite(own) & (owner[:, chunk] == grid[number])[:, :, None, None]
                levels[:, chunk][there] = own[there]
    return rows, levels


def _owners(
    signals: "Sequence[Stretch]", settings: SpectrogramSettings, rows: np.ndarray, first: int, last: int
) -> tuple[list[int], np.ndarray] | None:
    """Return the number of each signal's grid, and of that of each second's rows, shape (rows, seconds).

    A second in which the rate changes belongs to the rate that it begins with: its other frames are not there.
    None where all have one grid.
    """
    if len({(nominal_rate(signal.sampling_rate_hz), signal.units) for signal in signals}) < 2:
        return None
    note = grids_note(signals, settings)
    grids = DayGrids(note)
    if grids.most < 2:
        return None
    start_ns = np.arange(first, last) * SECOND_NS
    owner = np.stack([grids.of_rows(signals[0].fibre, int(row), start_ns) for row in rows])
    numbers = [grids.number(signal.fibre, grid_of(signal, settings)) or 0 for signal in signals]
    return numbers, owner


def chunk_seconds(signal: "Stretch") -> int:
    """Return how many seconds of a signal are transformed together."""
    a_second = len(signal.channels) * signal.sampling_rate_hz
    return next((s for s in (CHUNK_SECONDS, *SHORT_CHUNKS) if s * a_second <= CHUNK_SAMPLES), SHORT_CHUNKS[-1])


def row_channels(signal: "Stretch", settings: SpectrogramSettings) -> np.ndarray:
    """Return the channels of a signal that have levels: with differences, those that have neighbours."""
    return signal.channels if settings.difference == "none" else _neighbours(signal, settings)[0]


def row_of(channels: np.ndarray, settings: SpectrogramSettings) -> np.ndarray:
    """Return the lowest channel number of each channel's group."""
    return channels // settings.group_channels * settings.group_channels


def unfit(signal: "Stretch", settings: SpectrogramSettings) -> str | None:
    """Say why a signal cannot have the levels that the settings ask for, or None where it can."""
    if (reason := _too_short(signal, settings)) is not None:
        return reason
    try:
        Transform(settings, nominal_rate(signal.sampling_rate_hz))
        if settings.difference != "none":
            row_channels(signal, settings)
    except ValueError as error:
        return f"{signal.fibre}: {error}"
    return None


def _too_short(signal: "Stretch", settings: SpectrogramSettings) -> str | None:
    """Say that a signal is too short to hold the centre of a frame, or None."""
    seconds = signal.n_samples / signal.sampling_rate_hz
    first = -(-(2 * signal.start_ns - settings.hop_ns) // (2 * settings.hop_ns))
    centre_s = ((2 * first + 1) * settings.hop_ns - 2 * signal.start_ns) / (2 * SECOND_NS)
    if round(centre_s * signal.sampling_rate_hz) < signal.n_samples:
        return None
    return (
        f"{signal.fibre}: the {seconds:.3f} s from {np.datetime64(signal.start_ns, 'ns')} lie between two frames, "
        f"which are {settings.hop_seconds:g} s apart; deliver longer recordings"
    )


def _neighbours(signal: "Stretch", settings: SpectrogramSettings) -> np.ndarray:
    """Return what `conditioning.neighbours` does; raises ValueError where no channel has any."""
    away = f"spectrogram.difference_m = {settings.difference_m:g} m"
    if np.isnan(signal.distance_m).all():
        raise ValueError(
            f"no file says where its channels lie, so that none is {away} from another; "
            "add channel_spacing_m to the sidecar, or spacing_m in sites.toml"
        )
    found = conditioning.neighbours(signal.channels, signal.distance_m, settings.difference, settings.difference_m)
    if not found.size:
        sides = "on both sides of it" if len(found) == 3 else "from it"
        raise ValueError(f"none of its channels has another one about {away} {sides}")
    return found


def overlaps(signal: "Stretch", first_second: int, last_second: int) -> bool:
    """Return whether a signal has samples between two seconds since 1970."""
    end_ns = signal.start_ns + signal.n_samples / signal.sampling_rate_hz * SECOND_NS
    return signal.start_ns < last_second * SECOND_NS and end_ns > first_second * SECOND_NS


@lru_cache(maxsize=8)
def _transform(settings: SpectrogramSettings, sampling_rate_hz: float) -> Transform:
    return Transform(settings, sampling_rate_hz)


def _fill(
    levels: np.ndarray,
    rows: np.ndarray,
    signal: "Stretch",
    settings: SpectrogramSettings,
    blocks: Sequence[np.ndarray],
    second: int,
) -> None:
    """Write the frames of `signal` in one chunk to `levels`, shape (rows, chunk seconds, frames, bands)."""
    hop, transform = settings.hop_ns, _transform(settings, nominal_rate(signal.sampling_rate_hz))
    k, centre, there = _frames(signal, settings, second, levels.shape[1])
    of_second = (2 * k + 1) * hop // (2 * SECOND_NS)
    slot = k - first_frame(of_second, hop)
    has_levels = row_channels(signal, settings)
    targets = [channels for block in blocks if len(channels := np.intersect1d(has_levels, block))]
    if not there.any() or not targets:
        return
    # Frames that are not there repeat the first one that is: shapes stay the same, results are dropped.
    first = np.where(there, centre, centre[there][0]) - transform.win_length // 2
    begin, end = int(first.min()), int(first.max()) + transform.win_length
    floor_db, gain_db = transform.floor_db(signal.quantization), 20 * np.log10(signal.scale)
    for channels, x in _conditioned(signal, settings, targets, begin, end):
        power = transform.band_power(x, first - begin)
        group = row_of(channels, settings)
        named = np.unique(group)
        if len(named) < len(group):
            power = np.stack([_mean_power(power[group == row]) for row in named])
        out = transform.decibels(power, floor_db, gain_db)
        target = np.searchsorted(rows, named)
        if out[0].size == levels[0].size and there.all():  # every place has its frame
            levels[target] = out.reshape(-1, *levels.shape[1:])
        else:
            levels[target[:, None], (of_second[there] - second)[None], slot[there][None]] = out[:, there]


def _frames(
    signal: "Stretch", settings: SpectrogramSettings, second: int, seconds: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the frames whose centres (2k + 1)·hop/2 lie in some seconds: k, sample, and whether it is there."""
    hop = settings.hop_ns
    k = np.arange(first_frame(second, hop), first_frame(second + seconds, hop))
    offset = ((2 * k + 1) * hop - 2 * signal.start_ns) / (2 * SECOND_NS)
    centre = np.rint(offset * signal.sampling_rate_hz).astype(np.int64)
    return k, centre, (centre >= 0) & (centre < signal.n_samples)


def samples_of(signal: "Stretch", settings: SpectrogramSettings, second: int, seconds: int) -> tuple[int, int]:
    """Return the first sample that the levels of some seconds are made of, and the one after the last."""
    _, centre, there = _frames(signal, settings, second, seconds)
    if not there.any():
        return 0, 0
    rate, half = nominal_rate(signal.sampling_rate_hz), 0
    if settings.high_pass_hz:
        half = len(conditioning.high_pass_taps(settings.high_pass_hz, rate)) // 2
    length = _transform(settings, rate).win_length
    first = int(centre[there].min()) - length // 2
    last = int(centre[there].max()) - length // 2 + length
    return _within(signal, first - half, last + half)


def _within(signal: "Stretch", first: int, last: int) -> tuple[int, int]:
    """Return the samples of a signal that ``[first, last)`` and its reflections are made of."""
    n = signal.n_samples
    return max(0, min(first, 2 * (n - 1) - (last - 1))), min(n, max(last, 1 - first))


def _mean_power(power: np.ndarray) -> np.ndarray:
    """Return the mean over channels, shape (channels, ...), of those that are finite; NaN where none is."""
    finite = np.isfinite(power)
    n = finite.sum(axis=0)
    total = np.where(finite, power, 0).sum(axis=0, dtype=np.float32)
    return np.where(n, total / np.maximum(n, 1), np.nan).astype(np.float32)


def _conditioned(
    signal: "Stretch", settings: SpectrogramSettings, targets: Sequence[np.ndarray], first: int, last: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield samples ``[first, last)`` of each block of channels, after high-pass, common mode and difference.

    Yields
    ------
    channels : numpy.ndarray
        One of `targets`.
    x : numpy.ndarray
        float32, shape (channels, samples). What lies before the signal or behind it is its reflection.
    """
    taps, margin = None, 0
    partners = [channels[None] for channels in targets]
    if settings.difference != "none":
        found = _neighbours(signal, settings)
        partners = [found[:, np.isin(found[0], channels)] for channels in targets]
    if settings.high_pass_hz:
        taps = conditioning.high_pass_taps(settings.high_pass_hz, nominal_rate(signal.sampling_rate_hz))
        margin = len(taps) // 2
    for channels, of_block in zip(targets, partners, strict=True):
        with_reach = np.unique(of_block)
        x = _read_reflected(signal, _columns(signal, with_reach), first - margin, last + margin)
        if taps is not None:
            x = conditioning.high_pass(x, taps)
        if settings.common_mode_channels:
            x = conditioning.remove_common_mode(x.copy())  # with differences, blocks share channels
        if settings.difference != "none":
            x = conditioning.difference(x, with_reach, of_block)
        yield channels, x


def _read_reflected(signal: "Stretch", columns: np.ndarray, first: int, last: int) -> np.ndarray:
    """Return samples ``[first, last)`` of channels, float32, shape (columns, samples).

    What lies before the signal or behind it is its reflection about its first or last sample.
    """
    n = signal.n_samples
    begin, end = _within(signal, first, last)
    step = max(1, READ_BYTES // (signal.dtype.itemsize * len(signal.channels)))
    exact = signal.dtype.itemsize > 2  # float32 does not hold all digits of what lies far from zero
    x, which = np.empty((len(columns), end - begin), np.float64 if exact else np.float32), _slice(columns)
    for sample in range(begin, end, step):  # a piece that stays in cache is turned several times as fast
        samples = signal.read(sample, min(sample + step, end))
        x[:, sample - begin : sample - begin + len(samples)] = samples[:, which].T
    if exact:
        x = _around_zero(x)
    before, after = max(0, -first), max(0, last - n)
    if before or after:
        x = np.pad(x, ((0, 0), (before, after)), mode="reflect")
    skip = first - begin + before
    return x[:, skip : skip + last - first]


def _around_zero(x: np.ndarray) -> np.ndarray:
    """Take each channel's mean off, which no frame keeps, and return float32."""
    for row in x:
        known = row[np.isfinite(row)]
        if len(known):
            row -= known.mean()
    return x.astype(np.float32)


def _columns(signal: "Stretch", channels: np.ndarray) -> np.ndarray:
    """Return the positions of channels in a signal, whose zones may lie in any order."""
    order = np.argsort(signal.channels, kind="stable")
    return order[np.searchsorted(signal.channels, channels, sorter=order)]


def _slice(columns: np.ndarray) -> Any:
    """Return columns as a slice where they follow each other: that makes a view, not a copy."""
    follow = bool((np.diff(columns) == 1).all())
    return slice(columns[0], columns[-1] + 1) if follow else columns
