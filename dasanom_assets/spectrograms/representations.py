"""One event and one quiet stretch of a day in every representation, side by side."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from pydantic import ValidationError

from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.engine import CHUNK_SECONDS, levels_of, parts_of_day, unfit
from dasanom_assets.spectrograms.transform import Transform
from dasanom_assets.spectrograms.whitening import WhiteChannel, white_day
from dasanom_assets.spectrograms.windows import SECOND_NS, area_shares, first_frame, frames_there, window_rows
from dasanom_assets.tables.metadata import thumbnail
from dasanom_assets.tables.store import Store

if TYPE_CHECKING:  # its module loads DASCore
    from dasanom_assets.recordings.signal import Stretch

VARIANTS: dict[str, dict[str, Any]] = {
    "mel (HTK)": {"representation": "mel", "mel_scale": "htk"},
    "mel (Slaney)": {"representation": "mel", "mel_scale": "slaney"},
    "linear": {"representation": "linear"},
    "third-octave": {"representation": "third_octave"},
    "Fourier power": {"representation": "power"},
    "MFCC": {"representation": "mfcc"},
}
"""What is drawn, and by which settings it differs from the day's."""

SHADES = ("magma", "gray")
"""Colour maps, even to the eye: colour, and grey as a network sees it."""

CELLS = 256
"""Cells a side of a panel, at most, which is what paper shows; more are means of neighbours."""
THUMBNAIL_CELLS = 40
"""The same for the thumbnail, where noise costs bytes."""

ROWS_AT_ONCE = 4096
"""Rows that are looked at together, so that a day of one channel is not copied whole."""


class NoStretchError(LookupError):
    """No channel of the day has an event and a quiet stretch as asked for."""


@dataclass(frozen=True)
class Choice:
    """Two stretches of one channel.

    Attributes
    ----------
    fibre : str
    channel : int
    event, quiet : int
        First second of each stretch, since 1970 UTC.
    seconds : int
        Length of both.
    """

    fibre: str
    channel: int
    event: int
    quiet: int
    seconds: int


def choose(
    channels: Iterable[WhiteChannel], seconds: int, event: int | None = None, quiet: int | None = None
) -> Choice | None:
    """Choose the loudest stretch of a day, and the most usual one of the same channel.

    The event is where the loudest band of each second, against what is usual for it, is highest in the mean over
    `seconds`; Hann weights put it in the middle of its stretch. A mean over all bands would miss what is loud in a
    few. The quiet stretch is where levels depart least from what is usual, in the mean over all bands. Both lie in
    signal without a gap and do not overlap. Where no channel has room for two stretches of `seconds`, they are as
    long as a channel has room for.

    Parameters
    ----------
    channels : iterable of WhiteChannel
        Taken one at a time.
    seconds : int
        Length of a stretch, s, at most.
    event, quiet : int, optional
        First second of a stretch, since 1970 UTC, where it is not to be chosen.

    Returns
    -------
    Choice or None
        None where no channel has two such stretches.
    """
    best: tuple[int, float] = (0, -np.inf)
    found = None
    for white in channels:
        length = min(seconds, _room(white))
        if not length:
            continue
        first = window_rows(white.start_ns, white.usable, WindowSettings(seconds=length))
        start = white.start_ns[first] // SECOND_NS
        quiets = np.ones(len(start), bool) if quiet is None else start == quiet
        if not quiets.any():
            continue
        apart = (start[quiets][0] <= start - length) | (start[quiets][-1] >= start + length)
        events = apart if event is None else apart & (start == event)
        if not events.any():
            continue
        weights = np.hanning(length + 2)[1:-1]
        loudest = _each_row(white.rows, lambda rows: rows.mean(axis=1).max(axis=1))
        loudness = np.convolve(loudest, weights / weights.sum(), "valid")[first]
        at = int(np.where(events, loudness, -np.inf).argmax())
        if (length, loudness[at]) <= best:
            continue
        best = length, float(loudness[at])
        unusual = _each_row(white.rows, lambda rows: np.abs(rows).mean(axis=(1, 2)))
        departure = np.convolve(unusual, np.full(length, 1 / length), "valid")[first]
        calm = int(np.where(quiets & (abs(start - start[at]) >= length), departure, np.inf).argmin())
        found = Choice(white.fibre, white.channel, int(start[at]), int(start[calm]), length)
    return found


def _room(white: WhiteChannel) -> int:
    """Return the seconds that two separate stretches of usable rows can have."""
    second = white.start_ns[white.usable] // SECOND_NS
    borders = np.flatnonzero(np.diff(second) != 1) + 1
    runs = sorted(np.diff([0, *borders, len(second)]), reverse=True)
    return int(max([runs[0] // 2, *runs[1:2]]))


def _each_row(rows: np.ndarray, value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return a value of each row, shape (n_rows,); what is missing counts as usual."""
    pieces = [rows[at : at + ROWS_AT_ONCE] for at in range(0, len(rows), ROWS_AT_ONCE)]
    return np.concatenate([value(np.nan_to_num(piece)) for piece in pieces])


@dataclass(frozen=True)
class Representation:
    """What both stretches look like by some settings.

    Attributes
    ----------
    name : str
    settings : SpectrogramSettings
    centre_hz : numpy.ndarray
        float64: centre of each band, Hz; of mfcc, those of the mel bands behind it.
    event, quiet : numpy.ndarray
        float32, shape (frames, bands), dB re 1 unit²/Hz.
    """

    name: str
    settings: SpectrogramSettings
    centre_hz: np.ndarray
    event: np.ndarray
    quiet: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """An event and a quiet stretch in several representations.

    Attributes
    ----------
    choice : Choice
    shown : list of Representation
    left_out : list of str
        Reasons why others are not shown.
    unit : str
        Of the samples; "unit" where no file says.
    """

    choice: Choice
    shown: list[Representation]
    left_out: list[str]
    unit: str


def compare(
    store: Store,
    day: str,
    settings: BackgroundSettings,
    seconds: int,
    fibre: str | None = None,
    channel: int | None = None,
    event_start: str | None = None,
    quiet_start: str | None = None,
) -> Comparison:
    """Compute an event and a quiet stretch of a day in every representation, from the recordings.

    Parameters
    ----------
    store : Store
        Must hold `recordings`, `spectrograms`, `background`, `channel_health` and `common_levels` of the day.
    day : str
        ISO day.
    settings : BackgroundSettings
    seconds : int
        Length of each stretch, s, at most.
    fibre : str, optional
        Chosen by `choose` where it is not given, as is what follows.
    channel : int, optional
    event_start, quiet_start : str, optional
        ISO 8601, UTC unless it has a zone; whole seconds.

    Raises
    ------
    MissingDayError
        Where a table lacks the day.
    NoStretchError
        Where no channel has two separate stretches of continuous signal as asked for.
    """
    from dasanom_assets.recordings.catalogue import adjoining
    from dasanom_assets.recordings.signal import stretches

    def wanted(name: str, number: int) -> bool:
        return fibre in (None, name) and channel in (None, number)

    whitened = white_day(store, day, settings, WindowSettings(scaling="background"), wanted)
    starts = [None if text is None else second_of(text) for text in (event_start, quiet_start)]
    choice = choose(whitened, seconds, *starts)
    if choice is None:
        asked = {"fibre": fibre, "channel": channel, "event_start": event_start, "quiet_start": quiet_start}
        given = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
        raise NoStretchError(
            f"{day} has no channel, neither dead nor saturated, with two separate stretches of continuous signal"
            + (f" for {given} and {seconds} s" if given else "")
        )
    base = SpectrogramSettings(**store.metadata("spectrograms", day)["settings"])
    recordings = store.read_day("recordings", day)
    signals = [
        s
        for s in stretches(store, pa.concat_tables([recordings, adjoining(store, day)]))
        if s.fibre == choice.fibre and not unfit(s, base)
    ]
    units = {
        row["units"] for row in recordings.select(["fibre", "units"]).to_pylist() if row["fibre"] == choice.fibre
    }
    unit = units.pop() if len(units) == 1 else None
    return Comparison(choice, *represent(signals, base, day, choice), unit or "unit")


def represent(
    signals: "Sequence[Stretch]", base: SpectrogramSettings, day: str, choice: Choice
) -> tuple[list[Representation], list[str]]:
    """Return both stretches in every representation that their sampling rate carries, and why others are missing.

    Parameters
    ----------
    signals : sequence of Stretch
        All of the fibre and day.
    base : SpectrogramSettings
        Frames, hop, range and conditioning; the representation is varied.
    day : str
        ISO day.
    choice : Choice
    """

    def has_row(channels: np.ndarray) -> bool:
        return bool((channels // base.group_channels * base.group_channels == choice.channel).any())

    blocks = (block for part in parts_of_day(signals, base, day) for block in part.blocks)
    block = next(block for block in blocks if has_row(block))
    heard = [
        s
        for s in signals
        if has_row(s.channels)
        and any(_overlaps(s, start, choice.seconds) for start in (choice.event, choice.quiet))
    ]
    rate = min(s.sampling_rate_hz for s in heard)
    shown, left_out = [], []
    for name, changes in VARIANTS.items():
        try:
            settings = _varied(base, rate, changes)
            reason = next((reason for s in heard if (reason := unfit(s, settings))), None)
        except ValidationError as error:  # no band of this kind lies in the range
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        if reason:
            left_out.append(f"{name}: {reason}")
            continue
        levels = [_levels(heard, settings, block, choice, start) for start in (choice.event, choice.quiet)]
        shown.append(Representation(name, settings, Transform(settings, rate).centre_hz, *levels))
    return shown, left_out


def _varied(base: SpectrogramSettings, rate: float, changes: dict[str, Any]) -> SpectrogramSettings:
    """Return settings of a representation at a sampling rate, Hz, without rounding."""
    fitting = {
        "db_step": 0.0,
        "highest_hz": min(base.highest_hz, rate / 2),
        # A whole number of samples, so that bins have a fixed place.
        "frame_seconds": round(base.frame_seconds * rate) / rate,
        "coefficients": min(base.coefficients, base.bands),
    }
    return SpectrogramSettings(**(base.model_dump() | fitting | changes))


def _overlaps(signal: "Stretch", first_second: int, seconds: int) -> bool:
    end_ns = signal.start_ns + signal.n_samples / signal.sampling_rate_hz * SECOND_NS
    return signal.start_ns < (first_second + seconds) * SECOND_NS and end_ns > first_second * SECOND_NS


def _levels(
    signals: "Sequence[Stretch]", settings: SpectrogramSettings, block: np.ndarray, choice: Choice, start: int
) -> np.ndarray:
    """Return the levels of the chosen channel from second `start` on, float32, shape (frames, bands).

    They are those of a day of `spectrograms`: `block` has all channels whose common mode or mean they share.
    """
    end, grid_start = start + choice.seconds, start // CHUNK_SECONDS * CHUNK_SECONDS
    chunks = []
    for second in range(grid_start, end, CHUNK_SECONDS):
        rows, levels = levels_of(signals, settings, [block], second, second + CHUNK_SECONDS)
        chunks.append(levels[np.searchsorted(rows, choice.channel)])
    levels = np.concatenate(chunks)[start - grid_start : end - grid_start]
    there = frames_there(np.arange(start, end) * SECOND_NS, settings)
    return levels.reshape(-1, levels.shape[2]) if there is None else levels[there]


def second_of(text: str) -> int:
    """Return an ISO 8601 time as seconds since 1970, without its fraction; UTC unless it has a zone."""
    time = datetime.fromisoformat(text)
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def clock(second: int, pattern: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return seconds since 1970 as text, UTC."""
    return datetime.fromtimestamp(second, UTC).strftime(pattern)


def figure_png(comparison: Comparison) -> bytes:
    """Return the figure in colour and grey as PNG, for a page of 11 × 8 inches at 200 dots an inch."""
    sink = io.BytesIO()
    draw(comparison, SHADES, (11, 8), 200, CELLS).savefig(sink, format="png")
    return sink.getvalue()


def thumbnail_png(comparison: Comparison) -> bytes:
    """Return the colour half of the figure as a small PNG, for the Dagster UI."""
    return thumbnail(draw(comparison, SHADES[:1], (8.4, 3.8), 96, THUMBNAIL_CELLS))


def draw(
    comparison: Comparison, shades: Sequence[str], inches: tuple[float, float], dpi: int, cells: int
) -> Figure:
    """Draw a column a representation, and for each shade a row for the event and one for the quiet stretch.

    All levels in dB share one scale of colours; the coefficients of mfcc have another.

    Parameters
    ----------
    comparison : Comparison
    shades : sequence of str
        Colour maps.
    inches : tuple of float
        Width and height.
    dpi : int
    cells : int
        Cells a side that panels are averaged to where they have more.
    """
    choice, shown = comparison.choice, comparison.shown
    figure = Figure(figsize=inches, dpi=dpi, layout="constrained")
    figure.suptitle(
        f"{choice.fibre}, channel {choice.channel}: event from {clock(choice.event)} UTC, "
        f"quiet stretch from {clock(choice.quiet)} UTC",
        fontsize=10,
    )
    figure.supxlabel("time from the start of the stretch (s)", fontsize=9)
    grid = figure.subplots(2 * len(shades), len(shown), sharex=True, sharey="col", squeeze=False)
    mfcc = np.array([_is_mfcc(one) for one in shown])
    for above, below, shade in zip(grid[::2], grid[1::2], shades, strict=True):
        for some, label in ((~mfcc, f"dB re {_squared(comparison.unit)}/Hz"), (mfcc, "MFCC (dB)")):
            columns = np.flatnonzero(some)
            low, high = limits([shown[i] for i in columns])
            for i in columns:
                for axes, name in ((above[i], "event"), (below[i], "quiet")):
                    image = _panel(axes, shown[i], name, choice, cells)
                    image.set(cmap=shade, clim=(low, high))
            # The gap is a share of the columns' width.
            bar = figure.colorbar(
                image, ax=[*above[some], *below[some]], extend="both", aspect=30, pad=0.05 / len(columns)
            )
            bar.set_label(label, fontsize=9)
            bar.ax.tick_params(labelsize=8)
        above[0].set_ylabel("event\nfrequency (Hz)", fontsize=9)
        below[0].set_ylabel("quiet stretch\nfrequency (Hz)", fontsize=9)
    for axes, one in zip(grid[0], shown, strict=True):
        axes.set_title(one.name, fontsize=9)
    return figure


def _panel(axes: Axes, one: Representation, name: str, choice: Choice, cells: int) -> AxesImage:
    """Draw the stretch `name`; frames lie where they are in time, bands one above the other."""
    levels, hop, start = drawn(one, getattr(one, name)), one.settings.hop_ns, getattr(choice, name)
    left = first_frame(start, hop) * hop / SECOND_NS - start
    extent = (left, left + len(levels) * hop / SECOND_NS, 0, levels.shape[1])
    image = axes.imshow(
        _means(_means(levels, cells).T, cells),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=extent,
    )
    seconds = np.linspace(0, choice.seconds, 3)
    axes.set_xlim(0, choice.seconds)
    axes.set_xticks(seconds, [f"{second:g}" for second in seconds])
    axes.set_yticks(*_ticks(one))
    axes.tick_params(labelsize=8)
    if _is_mfcc(one):
        axes.set_ylabel("coefficient", fontsize=9)
    return image


def _is_mfcc(one: Representation) -> bool:
    return one.settings.representation == "mfcc"


def drawn(one: Representation, levels: np.ndarray) -> np.ndarray:
    """Return what is drawn of levels, shape (frames, bands).

    Of mfcc that is all but the first coefficient: it is the mean level, and many times larger than the others.
    """
    return levels[:, 1:] if _is_mfcc(one) else levels


def limits(shown: Sequence[Representation]) -> tuple[float, float]:
    """Return the ends of a scale that all levels of both stretches share, but for the rarest of each kind."""
    ends = [np.percentile(np.concatenate([drawn(r, r.event), drawn(r, r.quiet)]), [2, 99.5]) for r in shown]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _ticks(one: Representation) -> tuple[np.ndarray, list[str]]:
    """Return places on the axis of bands, each of which is 1 high, and the frequencies or coefficients there."""
    hz = one.centre_hz
    if _is_mfcc(one):
        number = np.arange(1, one.settings.coefficients, 3)
        return number - 0.5, [str(n) for n in number]
    if one.settings.representation == "third_octave":
        round_hz = np.outer(10.0 ** np.arange(-1, 6), [1, 2, 5]).ravel()
    else:
        round_hz = np.asarray(MaxNLocator(5).tick_values(hz[0], hz[-1]))
    round_hz = round_hz[(round_hz > hz[0] * 0.99) & (round_hz < hz[-1] * 1.01)]
    return np.interp(round_hz, hz, np.arange(len(hz)) + 0.5), [f"{value:g}" for value in round_hz]


def _means(levels: np.ndarray, cells: int) -> np.ndarray:
    """Return means of neighbours along the first axis, so that at most `cells` remain."""
    n = len(levels)
    if n <= cells:
        return levels
    return area_shares(np.arange(n), np.arange(1, n + 1), np.linspace(0, n, cells + 1)) @ levels


def _squared(unit: str) -> str:
    """Return the square of a unit as text; DASCore writes units with a factor of 1."""
    unit = unit.removeprefix("1.0 ").removeprefix("1 ")
    return f"({unit})²" if " " in unit or "/" in unit else f"{unit}²"
