"""One event and one quiet stretch of a day in every representation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from dasanom_assets.recordings.measured import nominal_rate
from dasanom_assets.settings import BackgroundSettings, SpectrogramSettings, WindowSettings
from dasanom_assets.spectrograms.engine import parts_of_day
from dasanom_assets.spectrograms.levels import CHUNK_SECONDS, levels_of, overlaps, unfit
from dasanom_assets.spectrograms.stretch_choice import Choice, choose
from dasanom_assets.spectrograms.transform import Transform
from dasanom_assets.spectrograms.whitening import white_day
from dasanom_assets.spectrograms.windows import SECOND_NS, frames_there
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


class NoStretchError(LookupError):
    """No channel of the day has an event and a quiet stretch as asked for."""


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
    from dasanom_assets.recordings.fibres import places_of
    from dasanom_assets.recordings.signal import stretches

    def may_be_shown(name: str, number: int) -> bool:
        return fibre in (None, name) and channel in (None, number)

    whitened = white_day(store, day, settings, WindowSettings(scaling="background"), may_be_shown)
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
        for s in stretches(store, pa.concat_tables([recordings, adjoining(store, day)]), places_of(store, [day]))
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
        and any(overlaps(s, start, start + choice.seconds) for start in (choice.event, choice.quiet))
    ]
    rate = nominal_rate(min(s.sampling_rate_hz for s in heard))
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
