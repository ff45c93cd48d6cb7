"""Lines that do not exist: one by its own description, and families of sites whose values are drawn from ranges.

The ranges are plausible, not measured. They are wide, so that a detector which does well on some families has to
do well on ground that it has not seen to do well on the others.
"""

import zlib
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dasanom_assets.recordings.simulation.events import FLOOR_DB
from dasanom_assets.recordings.simulation.gain import Gain
from dasanom_assets.recordings.simulation.ground import Ground
from dasanom_assets.recordings.simulation.kinds import KINDS
from dasanom_assets.recordings.simulation.noise import Band

THREATS_PER_HOUR = {"walking": 6.0, "pickaxe": 6.0, "shovel": 4.0, "cutting": 4.0, "machine": 4.0}
"""Rates of threats on a line that has them, unless told otherwise."""

SNRS_DB = (6.0, 10.0, 15.0)
"""Their ratios: strongest 0.1-s burst to background."""


class Line(BaseModel):
    """A fibre line and what happens on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fibre: str = Field(
        "north", pattern=r"^[A-Za-z0-9-]+$", description="name; the stem of files up to the first _"
    )
    zones: tuple[tuple[int, int], ...] = Field(
        ((100, 147),), min_length=1, description="first and last absolute channel of each recorded stretch"
    )
    channel_spacing_m: float = Field(5.0, gt=0)
    gauge_length_m: float = Field(10.0, gt=0)
    sampling_rate_hz: int = Field(2000, ge=500, le=4000, multiple_of=5)
    hour: int = Field(10, ge=0, le=23, description="hour of the day at which recording starts, UTC")
    minutes: float = Field(10.0, ge=1, description="recorded each day; whole seconds")
    file_minutes: float = Field(2.5, gt=0, description="length of a file, minutes; whole seconds")
    events_per_hour: dict[str, float] = Field(
        {**THREATS_PER_HOUR, "traffic": 48, "wind": 12},
        description="rate of each kind; traffic, vehicles and trams by day, they are fewer at night; plants each",
    )
    snrs_db: tuple[float, ...] = Field(
        SNRS_DB, min_length=1, description="ratios of threats: strongest 0.1-s burst to background"
    )
    road_position: float = Field(0.25, ge=0, le=1, description="where a road crosses, share of the line")
    pump_position: float = Field(0.8, ge=0, le=1, description="where a pump stands, share of the line")
    plant_positions: tuple[float, ...] = Field((), description="where machines start and stop, shares of the line")
    rush_hour: int | None = Field(None, ge=0, le=23, description="hour (UTC) of a rush of the site's own")
    ground: Ground = Ground()
    gain: Gain = Gain()
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> "Line":
        flat = [channel for zone in self.zones for channel in zone]
        if flat[0] < 0 or any(first > last for first, last in self.zones) or sorted(set(flat[1::2])) != flat[1::2]:
            raise ValueError(f"zones {self.zones} are not ascending stretches of channels")
        if any(a[1] >= b[0] for a, b in zip(self.zones, self.zones[1:], strict=False)):
            raise ValueError(f"zones {self.zones} overlap")
        for name in ("minutes", "file_minutes"):
            if not float(getattr(self, name) * 60).is_integer():
                raise ValueError(f"{name} {getattr(self, name)} is not a whole number of seconds")
        if self.hour * 60 + self.minutes > 24 * 60:
            raise ValueError(f"{self.minutes:g} minutes from {self.hour}:00 run past midnight")
        if unknown := set(self.events_per_hour) - set(KINDS):
            raise ValueError(f"events_per_hour names {sorted(unknown)}; kinds are {', '.join(KINDS)}")
        if min(self.snrs_db) <= FLOOR_DB or min(self.events_per_hour.values(), default=0) < 0:
            raise ValueError(f"snrs_db must be above {FLOOR_DB:g} dB, and events_per_hour at least 0")
        if self.events_per_hour.get("plant") and not self.plant_positions:
            raise ValueError("events_per_hour has plants, but plant_positions has no place for them")
        return self

    @property
    def channels(self) -> np.ndarray:
        """Absolute numbers of the channels, int32, shape (n_channels,)."""
        return np.concatenate([np.arange(first, last + 1, dtype=np.int32) for first, last in self.zones])

    @property
    def seconds(self) -> int:
        """Recorded seconds of a day."""
        return round(self.minutes * 60)

    def at(self, share: float) -> float:
        """Return the place, in m along the fibre, at a share of the line's length."""
        first, last = self.zones[0][0], self.zones[-1][1]
        return (first + share * (last - first)) * self.channel_spacing_m


def with_threats(
    line: Line, per_hour: dict[str, float] = THREATS_PER_HOUR, snrs_db: tuple[float, ...] = SNRS_DB
) -> Line:
    """Return a line on which threats happen at these rates beside all that happens on it already."""
    events = line.events_per_hour | per_hour
    return Line.model_validate(line.model_dump() | {"events_per_hour": events, "snrs_db": snrs_db})


def without_threats(line: Line) -> Line:
    """Return a line on which nothing happens but nuisances."""
    ordinary = {name: rate for name, rate in line.events_per_hour.items() if not KINDS[name].threat}
    return line.model_copy(update={"events_per_hour": ordinary})


# -- families -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """Ranges that the values of a site are drawn from: evenly, amplitudes and rates of events by their logarithm.

    Attributes
    ----------
    rates_hz : tuple of int
        Sampling rates, one of which is drawn.
    spacing_m : tuple of float
        Distance of channels.
    gauge : tuple of float
        Gauge length in distances of channels.
    ground_rms, white_rms, common_rms, pump_scale : tuple of float
        See `Ground`; white noise is drawn as a share of the ground's.
    coupling_db, slope, resonance_hz, wave_speed_m_s, decay_scale : tuple of float
        See `Ground`; of slope and resonance a narrower range is drawn, that of the site's channels.
    per_hour : dict
        Rate of each nuisance.
    plants : tuple of int
        Least and largest number of machines.
    day_db, stretch_db, steps_per_hour, step_db : tuple of float
        See `Gain`.
    """

    per_hour: dict[str, Band]
    rates_hz: tuple[int, ...] = (500, 1000, 2000)
    spacing_m: Band = (4, 10)
    gauge: Band = (1, 3)
    ground_rms: Band = (80, 300)
    white_rms: Band = (0.03, 0.12)
    common_rms: Band = (0.02, 0.08)
    coupling_db: Band = (1.5, 3.5)
    slope: Band = (0.7, 1.7)
    resonance_hz: Band = (15, 90)
    pump_scale: Band = (0.1, 1)
    wave_speed_m_s: Band = (180, 500)
    decay_scale: Band = (0.7, 1.6)
    plants: tuple[int, int] = (0, 0)
    day_db: Band = (0, 0.5)
    stretch_db: Band = (0, 0.3)
    steps_per_hour: Band = (0, 0)
    step_db: Band = (0.5, 2)


FAMILIES: dict[str, Family] = {
    # A pipe in farmland: quiet, far from anything, gauges long and channels wide apart.
    "field": Family(
        per_hour={"traffic": (2, 12), "wind": (6, 24), "shower": (0.05, 0.3)},
        ground_rms=(40, 150),
        white_rms=(0.06, 0.25),
        wave_speed_m_s=(150, 350),
        decay_scale=(0.6, 1.2),
    ),
    # A pipe beside a busy road: vehicles along the whole fibre.
    "roadside": Family(
        per_hour={"vehicle": (40, 240), "traffic": (4, 24), "wind": (2, 12), "shower": (0.05, 0.3)},
        ground_rms=(100, 350),
        coupling_db=(2, 4),
        wave_speed_m_s=(220, 500),
        decay_scale=(0.8, 1.4),
        day_db=(0, 1),
    ),
    # Below a street in a town: channels close to each other, trams, cars, machines of shops and works.
    "street": Family(
        per_hour={"vehicle": (60, 300), "tram": (6, 24), "traffic": (4, 24), "plant": (2, 8)},
        rates_hz=(500, 625, 1000),
        spacing_m=(1, 4),
        gauge=(2, 5),
        ground_rms=(120, 400),
        coupling_db=(3, 5),
        slope=(0.9, 2.0),
        wave_speed_m_s=(150, 450),
        decay_scale=(0.6, 1.1),
        plants=(1, 3),
        day_db=(0.3, 1.5),
        stretch_db=(0.2, 1),
        steps_per_hour=(0, 0.3),
    ),
    # Wet, open ground: rain and wind, waves that are soon lost.
    "wet": Family(
        per_hour={"shower": (1, 4), "wind": (12, 48), "traffic": (2, 16)},
        rates_hz=(1000, 2000, 4000),
        spacing_m=(2, 8),
        ground_rms=(60, 250),
        slope=(0.5, 1.3),
        resonance_hz=(10, 50),
        wave_speed_m_s=(120, 250),
        decay_scale=(0.5, 0.9),
    ),
    # Industrial ground: machines that start and stop, hum, an interrogator that is retuned.
    "plant": Family(
        per_hour={"plant": (3, 12), "vehicle": (6, 40), "traffic": (4, 24), "wind": (2, 12)},
        rates_hz=(1000, 2000, 4000),
        spacing_m=(2, 8),
        ground_rms=(150, 450),
        common_rms=(0.05, 0.15),
        resonance_hz=(20, 120),
        pump_scale=(0.7, 3),
        wave_speed_m_s=(250, 700),
        decay_scale=(0.9, 1.8),
        plants=(2, 5),
        day_db=(0.5, 2),
        stretch_db=(0.3, 1.5),
        steps_per_hour=(0.2, 1),
        step_db=(1, 3),
    ),
}


def draw_site(family: str, seed: int, channels: int = 48) -> Line:
    """Draw a site without threats.

    Parameters
    ----------
    family : str
        One of `FAMILIES`: ``field`` is quiet farmland, ``roadside`` lies beside a busy road, ``street`` below one
        with trams, ``wet`` in rain and wind, ``plant`` among machines that start and stop. What a family does not
        say of itself is drawn from wide ranges that they share: coupling that spreads by 1.5–3.5 dB, channels
        4–10 m apart, gauges of one to three of these, 500–2000 Hz, surface waves of 180–500 m/s. All ranges are
        plausible, not measured.
    seed : int
        Another seed, another site of the family.
    channels : int
        Number of channels, from channel 100 on.

    Returns
    -------
    Line
        ``<family>-<seed>``, by day, with nuisances alone; see `with_threats`.
    """
    about, rng = FAMILIES[family], np.random.default_rng((zlib.crc32(family.encode()), seed))

    def even(among: Band) -> float:
        return round(float(rng.uniform(*among)), 3)

    def by_ratio(among: Band) -> float:
        return round(float(np.exp(rng.uniform(*np.log(among)))), 3)

    def within(among: Band) -> Band:
        """Draw a range of at least half the width."""
        width = among[1] - among[0]
        return round(among[0] + rng.uniform(0, width / 4), 3), round(among[1] - rng.uniform(0, width / 4), 3)

    spacing, ground_rms = even(about.spacing_m), by_ratio(about.ground_rms)
    ground = Ground(
        ground_rms=ground_rms,
        coupling_db=even(about.coupling_db),
        slope=within(about.slope),
        resonance_hz=within(about.resonance_hz),
        resonance=(0.0, even((1, 5))),
        white_rms=ground_rms * by_ratio(about.white_rms),
        common_rms=ground_rms * by_ratio(about.common_rms),
        pump_hz=even((12, 45)),
        pump_scale=by_ratio(about.pump_scale),
        pump_decay_m=even((5, 20)),
        wave_speed_m_s=even(about.wave_speed_m_s),
        decay_scale=even(about.decay_scale),
    )
    gain = Gain(
        day_db=even(about.day_db),
        stretch_db=even(about.stretch_db),
        stretch_channels=int(rng.integers(8, 41)),
        steps_per_hour=even(about.steps_per_hour),
        step_db=even(about.step_db),
    )
    return Line(
        fibre=f"{family}-{seed}",
        zones=((100, 99 + channels),),
        channel_spacing_m=spacing,
        gauge_length_m=round(spacing * even(about.gauge), 3),
        sampling_rate_hz=int(rng.choice(about.rates_hz)),
        events_per_hour={name: by_ratio(among) for name, among in about.per_hour.items()},
        road_position=even((0.1, 0.9)),
        pump_position=even((0, 1)),
        plant_positions=tuple(even((0, 1)) for _ in range(rng.integers(about.plants[0], about.plants[1] + 1))),
        rush_hour=int(rng.choice([6, 7, 8, 15, 16, 17])),
        ground=ground,
        gain=gain,
        seed=seed,
    )
