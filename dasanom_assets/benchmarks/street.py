"""Real ground with known threats in it: a recorded street, written as bundles that the pipeline ingests.

The recordings are those of https://github.com/shhhQuiettt/moving-objects-DAS-system: 43 minutes of a fibre along a
street with traffic, 52 channels. They come without a licence, so they are read where the user has them, and no
copy is kept here. Times in the names of files are taken as UTC, their day is the caller's; the units are unknown
(all samples are multiples of about 2.507e-9). Threats are those of the simulator, set against this ground.

Develop on files before 09:30:00; later ones are scored once, for the docs.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, field_validator
from scipy import fft, ndimage

from dasanom_assets.recordings.simulation.events import FLOOR_DB, Event, compute_event
from dasanom_assets.recordings.simulation.kinds import KINDS
from dasanom_assets.recordings.simulation.noise import Band
from dasanom_assets.recordings.simulation.plans import ROWS_PER_SECOND, Plan
from dasanom_assets.recordings.simulation.simulate import ExistingRecordingsError
from dasanom_assets.recordings.simulation.sites import Line
from dasanom_assets.recordings.simulation.truth import ACTIVITY, EVENTS, event_activity, event_row, replace_rows

DEVELOP_UNTIL = "093000"
"""Files from this time of day on are held back."""

RATE, FILE_SECONDS = 625, 10
LINE = Line(fibre="street", zones=((0, 51),), channel_spacing_m=5.1065)
BUNDLE_FILES = 18
"""Files without a gap that are joined into one bundle: three minutes."""

PASS_HZ, PASS_ORDER = 275, 24
"""A Butterworth filter that falls off as the noise of the recordings does: 3 dB at 275 Hz, 10 dB at 290 Hz."""

PRESENT_DB = 6.0
"""A threat counts as present where its bursts are within this of its strongest one, dB."""

APART_SECONDS, APART_CHANNELS = 20, 10
"""Two threats are at least this far apart, in time or along the fibre."""

FILE_SAMPLES, FILE_ROWS = FILE_SECONDS * RATE, FILE_SECONDS * ROWS_PER_SECOND
ROW_SAMPLES, BURST_SAMPLES = RATE // ROWS_PER_SECOND, RATE // 10
ATTEMPTS = 1000


class Planting(BaseModel):
    """Which threats are planted into a recording."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_each: int = Field(8, ge=1, description="threats at each strength")
    strengths: tuple[float, ...] = Field(
        (1.0, 2.0, 4.0), min_length=1, description="rms of the strongest second to the channel's median one"
    )
    seconds: tuple[float, float] = Field((15.0, 45.0), description="shortest and longest duration")
    kinds: tuple[str, ...] = Field(
        ("walking", "pickaxe", "shovel", "cutting", "machine"), min_length=1, description="take turns"
    )
    seed: int = Field(0, ge=0)

    @field_validator("strengths")
    @classmethod
    def _positive(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if min(strengths) <= 0:
            raise ValueError("must be above 0")
        return strengths

    @field_validator("seconds")
    @classmethod
    def _ascending(cls, seconds: tuple[float, float]) -> tuple[float, float]:
        if not 1 <= seconds[0] <= seconds[1]:
            raise ValueError("must ascend from at least 1 s")
        return seconds

    @field_validator("kinds")
    @classmethod
    def _threats(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        known = [name for name, kind in KINDS.items() if kind.threat]
        if unknown := set(kinds) - set(known):
            raise ValueError(f"names {sorted(unknown)}; threats are {', '.join(known)}")
        return kinds


@dataclass
class _Ground:
    """What `compute_event` asks of a background."""

    rate: int
    coupling: np.ndarray
    rms: np.ndarray

    def band_rms(self, band_hz: Band) -> np.ndarray:
        """Return the median rms of each channel's seconds, whatever the band, float64, shape (n_channels,)."""
        return self.rms


def write_street(
    folder: Path, root: Path, day: date, first: str, until: str, threats: Planting | None = None
) -> None:
    """Write recordings of the street below ``<root>/landing``, and what is planted below ``<root>/truth``.

    Files that follow each other without a gap are joined, up to three minutes a bundle. Without threats, the
    samples are those of the files. The strength of a threat is the largest ratio, over channels, of the rms of
    its strongest second to the median rms that the channel's seconds have in all that is written, its mean
    taken off. Threats pass the same filter as the recordings, so that none betrays itself above 275 Hz, where
    the ground is silent. In the truth, the extent of a threat in time and channels, and its activity, are
    where its bursts are within `PRESENT_DB` of its strongest one, whatever its strength; `snr_db` is 20 log10
    of the strength.

    Parameters
    ----------
    folder : pathlib.Path
        Holds ``HHMMSS.npy``: float32, shape (6250, 52), samples × channels, 10 s at 625 Hz.
    root : pathlib.Path
        Data root.
    day : datetime.date
        The day on which the recordings shall be.
    first, until : str
        ``HHMMSS``: files from the one to before the other are written.
    threats : Planting, optional
        What to plant; the same planting gives the same bytes.

    Raises
    ------
    FileNotFoundError
        Where the folder has no file of that time.
    ExistingRecordingsError
        Where the root has recordings of the street on that day.
    ValueError
        Where a file holds something else, or the threats do not fit.
    """
    landing = root / "landing" / f"{day}"
    if any(landing.glob(f"{LINE.fibre}_*")):
        raise ExistingRecordingsError(
            f"{landing} already has recordings of fibre {LINE.fibre}: choose another day or root, or delete them"
        )
    paths = sorted(path for path in folder.glob("[0-9]" * 6 + ".npy") if first <= path.stem < until)
    if not paths:
        raise FileNotFoundError(
            f"{folder} has no files HHMMSS.npy from {first} until {until}: clone "
            "https://github.com/shhhQuiettt/moving-objects-DAS-system and name the folder that holds them"
        )
    starts = [datetime.strptime(f"{day:%Y%m%d}{path.stem}", "%Y%m%d%H%M%S").replace(tzinfo=UTC) for path in paths]
    length = timedelta(seconds=FILE_SECONDS)
    gaps = [i for i in range(1, len(paths)) if starts[i] != starts[i - 1] + length]
    data = np.concatenate([_samples(path) for path in paths])
    if threats is not None:
        rows, activity = [], [ACTIVITY.empty_table()]
        for event in _plant(data, threats, gaps):
            file = event.plan.first_row // FILE_ROWS
            # The time that the first of all rows would have if there were no gap before the threat.
            began = starts[file] - file * length
            # The simulator takes for true what is above its floor.
            shift = np.float32(FLOOR_DB + PRESENT_DB - event.plan.snr_db)
            seen = replace(event, level_db=event.level_db + shift)
            rows.append(event_row(LINE, began, seen))
            of_event = event_activity(LINE, began, seen)
            level = pc.subtract(of_event["snr_db"], pa.scalar(shift, pa.float32()))
            activity.append(of_event.set_column(ACTIVITY.get_field_index("snr_db"), "snr_db", level))
        truth = root / "truth" / f"day={day}"
        replace_rows(truth / "events.parquet", pa.Table.from_pylist(rows, EVENTS), LINE.fibre)
        replace_rows(truth / "activity.parquet", pa.concat_tables(activity), LINE.fibre)
    landing.mkdir(parents=True, exist_ok=True)
    for begin, end in zip([0, *gaps], [*gaps, len(paths)], strict=True):
        for i in range(begin, end, BUNDLE_FILES):
            _write_bundle(landing, starts[i], data[i * FILE_SAMPLES : min(i + BUNDLE_FILES, end) * FILE_SAMPLES])


def _samples(path: Path) -> np.ndarray:
    """Return the samples of a file, float32, shape (6250, n_channels)."""
    try:
        data = np.load(path)
    except ValueError as error:  # such as a text file that stands in for a large one
        raise ValueError(f"{path} is no array of NumPy: fetch it again") from error
    shape = FILE_SAMPLES, len(LINE.channels)
    if data.dtype != np.float32 or data.shape != shape:
        raise ValueError(
            f"{path} holds {data.dtype} of shape {data.shape}, but a recording of the street is float32 of shape "
            f"{shape}: fetch it again, or move it out of the folder"
        )
    return data


def _write_bundle(landing: Path, start: datetime, data: np.ndarray) -> None:
    """Write a bundle, its ``.bin`` last."""
    stem = f"{LINE.fibre}_{start:%Y%m%dT%H%M%S}"
    sidecar = {
        "selected_channel_zones": LINE.zones,
        "number_of_channels_in_one_sample": len(LINE.channels),
        "sampling_rate_hz": RATE,
        "sample_format": "float32",
        "start_time": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "fibre": LINE.fibre,
        "channel_spacing_m": LINE.channel_spacing_m,
    }
    (landing / f"{stem}.bin.info").write_text(json.dumps(sidecar, indent=1) + "\n", encoding="utf-8")
    partial = landing / f".{stem}.partial"
    data.astype("<f4", copy=False).tofile(partial)
    partial.replace(landing / f"{stem}.bin")


# -- threats --------------------------------------------------------------------------------------------


def _plant(data: np.ndarray, planting: Planting, gaps: list[int]) -> Iterator[Event]:
    """Add threats to `data`, shape (n_samples, n_channels), and give them, in the order of their start."""
    place_m = LINE.channels * LINE.channel_spacing_m
    ground = data.T - data.T.mean(1, keepdims=True, dtype=float)
    usual = np.median(np.sqrt(np.mean(np.square(ground.reshape(len(ground), -1, RATE)), axis=2)), axis=1)
    known = _Ground(RATE, np.ones(len(place_m)), usual)
    for plan in _plans(planting, gaps, len(data) // ROW_SAMPLES):
        event = _recorded(compute_event(plan, place_m, known), usual)
        event.add_to(data.T, 0, RATE)
        yield event


def _recorded(event: Event, usual: np.ndarray) -> Event:
    """Return an event as it passes the filter of the recordings, as strong as planned."""
    n = event.signal.shape[1]
    frequency = fft.rfftfreq(n, 1 / RATE)
    passed = 1 / np.sqrt(1 + (frequency / PASS_HZ) ** (2 * PASS_ORDER))
    wave = fft.irfft(fft.rfft(event.signal.astype(float)) * passed, n)
    second = np.sqrt(ndimage.uniform_filter1d(np.square(wave), RATE, axis=1, mode="constant"))
    scale = 10 ** (event.plan.snr_db / 20) / (second / usual[event.columns, None]).max()
    ratio = _burst_rms(wave).max(2) / usual[event.columns, None]
    with np.errstate(divide="ignore"):
        level_db = event.plan.snr_db + 20 * np.log10(ratio / ratio.max())
    return Event(event.plan, event.columns, (wave * scale).astype(np.float32), level_db.astype(np.float32))


def _burst_rms(x: np.ndarray) -> np.ndarray:
    """Return the rms of the two bursts of each row, shape (n_channels, n_rows, 2); x (n_channels, n_samples)."""
    rows = x.reshape(len(x), -1, ROW_SAMPLES)
    bursts = np.stack([rows[..., :BURST_SAMPLES], rows[..., -BURST_SAMPLES:]], axis=2)
    return np.sqrt(np.mean(np.square(bursts), axis=-1))


def _plans(planting: Planting, gaps: list[int], n_rows: int) -> list[Plan]:
    """Decide when and where threats are: one in each of as many slots of time, and of the fibre, as there are."""
    rng = np.random.default_rng((planting.seed, 0))
    for _ in range(ATTEMPTS):
        if plans := _drawn(rng, planting, gaps, n_rows):
            return plans
    raise ValueError(
        f"{planting.n_each * len(planting.strengths)} threats of up to {planting.seconds[1]:g} s do not fit into "
        f"{n_rows / ROWS_PER_SECOND:g} s of {len(LINE.channels)} channels without coming closer than "
        f"{APART_SECONDS} s and {APART_CHANNELS} channels: plant fewer, or write more files"
    )


def _drawn(rng: np.random.Generator, planting: Planting, gaps: list[int], n_rows: int) -> list[Plan]:
    """Draw threats in the order of their slots of time; none where one has no place left."""
    n, spacing = planting.n_each * len(planting.strengths), LINE.channel_spacing_m
    width = len(LINE.channels) * spacing / n
    latest = n_rows - round(planting.seconds[1] * ROWS_PER_SECOND)
    places = rng.permutation(n).tolist()
    plans: list[Plan] = []
    taken: list[tuple[float, float, float, float]] = []
    for slot, which in enumerate(rng.permutation(n).tolist()):
        name = planting.kinds[which % len(planting.kinds)]
        snr_db = 20 * np.log10(planting.strengths[which // planting.n_each])
        for place in places:
            rows = round(rng.uniform(*planting.seconds) * ROWS_PER_SECOND)
            first_row = int((slot + rng.random()) * latest / n)
            origin = (place + rng.random()) * width - spacing / 2
            speed, lateral = rng.uniform(*KINDS[name].speed_m_s), rng.uniform(2, 8)
            if origin > LINE.at(0.5):  # walkers go away from the nearer end
                speed = -speed
            path = sorted((origin, origin + speed * rows / ROWS_PER_SECOND))
            box = first_row / ROWS_PER_SECOND, (first_row + rows) / ROWS_PER_SECOND, *path
            in_gap = any(first_row < gap * FILE_ROWS < first_row + rows for gap in gaps)
            if latest >= 0 and not in_gap and not any(_close(box, other) for other in taken):
                seed = planting.seed, 1, which
                plans.append(Plan(name, first_row, rows, origin, speed, 0.0, lateral, float(snr_db), seed))
                taken.append(box)
                places.remove(place)
                break
        else:
            return []
    return plans


def _close(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    """Whether two stretches (start and end in s, first and last place in m) come too close to each other."""
    seconds, metres = max(a[0] - b[1], b[0] - a[1]), max(a[2] - b[3], b[2] - a[3])
    return seconds < APART_SECONDS and metres < APART_CHANNELS * LINE.channel_spacing_m
