"""What happens on a day: when and where events begin, how they move and how strong they are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from dasanom_assets.recordings.simulation.ground import USUAL_GROUND, WAVE_SPEED_M_S, Ground
from dasanom_assets.recordings.simulation.kinds import KINDS, Kind
from dasanom_assets.recordings.simulation.noise import Band

ROWS_PER_SECOND = 5
"""Grid of event starts and of levels, as in the contractor's files."""

LOAD_BAND_HZ: Band = (1.0, 8.0)
"""Where the load of passing wheels is set against the background."""

REACH_DECAYS = 6.0
"""Distance over which a source is heard, in lengths over which its waves lose a factor e: 52 dB."""

SHOWER_S = 180.0, 900.0
"""Range of the length of a shower, s."""

TRAFFIC_BY_HOUR = np.repeat([0.15, 0.5, 1.2, 1.0, 1.3, 0.6, 0.25], [5, 1, 4, 6, 3, 3, 2])
"""Vehicles of each hour (UTC) as a share of the usual rate by day."""

RUSH = {-1: 0.5, 0: 1.5, 1: 0.5}
"""What the hours around a rush hour have more."""


def traffic_by_hour(rush_hour: int | None) -> np.ndarray:
    """Return the traffic of each hour (UTC) as a share of the usual rate, shape (24,)."""
    shares = TRAFFIC_BY_HOUR.copy()
    if rush_hour is not None:
        for hour, more in RUSH.items():
            shares[(rush_hour + hour) % 24] += more
    return shares


@dataclass(frozen=True)
class Plan:
    """What is decided about an event before it is computed.

    Attributes
    ----------
    kind : str
    first_row, n_rows : int
        Start after the beginning of the recordings, and duration, in rows of 0.2 s.
    origin_m : float
        Place along the fibre at the start, m.
    along_m_s, across_m_s : float
        Speed along the fibre, and across it where the path crosses it half-way.
    lateral_m : float
        Least distance from the fibre; for wind half the length of the stretch, m.
    snr_db : float
        Ratio that the event shall reach.
    seed : tuple of int
    wave_speed_m_s, decay_scale : float
        Of the ground, see `Ground`.
    axles_m : tuple of float
        Places of the axles of what rolls along the fibre, ahead of its middle, m.
    load_db : float
        Largest strain below those axles as a ratio to the rms of the background in `LOAD_BAND_HZ`.
    voice : tuple of int
        Seed of what a machine sounds like on all days; a source that comes once has none.
    """

    kind: str
    first_row: int
    n_rows: int
    origin_m: float
    along_m_s: float
    across_m_s: float
    lateral_m: float
    snr_db: float
    seed: tuple[int, ...]
    wave_speed_m_s: float = WAVE_SPEED_M_S
    decay_scale: float = 1.0
    axles_m: tuple[float, ...] = ()
    load_db: float = 0.0
    voice: tuple[int, ...] = ()

    @property
    def decay_m(self) -> float:
        """Distance over which its waves lose a factor e here, beside their spreading."""
        return KINDS[self.kind].decay_m * self.decay_scale


def plan_events(
    day_seed: tuple[int, ...],
    zones_m: list[Band],
    road_m: float,
    hour: int,
    minutes: float,
    events_per_hour: dict[str, float],
    snrs_db: tuple[float, ...],
    *,
    plants_m: Mapping[tuple[int, ...], float] = MappingProxyType({}),
    rush_hour: int | None = None,
    ground: Ground = USUAL_GROUND,
) -> list[Plan]:
    """Decide what happens on a day, sorted by start.

    Parameters
    ----------
    day_seed : tuple of int
    zones_m : list of (float, float)
        Places of the first and last channel of each zone, m.
    road_m : float
        Where the road crosses, m.
    hour : int
        Hour of the day (UTC) at which the recordings start.
    minutes : float
        Their length.
    events_per_hour : dict
        Rate of each kind, those of traffic by day, that of plants for each of them. A count is the expected one,
        rounded up or down by chance.
    snrs_db : tuple of float
        Ratios of threats; they take turns over days and kinds, so that a few days hold each of them.
    plants_m : mapping
        Place of each machine that starts and stops, m, by its `Plan.voice`.
    rush_hour : int, optional
        Hour (UTC) of a rush that is the site's own.
    ground : Ground
    """
    total_rows = int(minutes * 60 * ROWS_PER_SECOND)
    plans: list[Plan] = []
    for k, (name, kind) in enumerate(KINDS.items()):
        per_hour = events_per_hour.get(name, 0.0)
        if name == "plant":
            for p, (voice, place_m) in enumerate(plants_m.items()):
                plans += _plant_runs((*day_seed, 3, k, p), voice, place_m, per_hour, total_rows, ground)
            continue
        # What lasts may have begun before the recordings.
        lead = int(np.ceil(_longest_s(kind, zones_m, ground) / 60)) if kind.lasting else 0
        minute_of = np.arange(-lead, int(np.ceil(minutes)))
        weight = np.minimum(1.0, minutes - minute_of)
        if kind.by_hour:
            weight = weight * traffic_by_hour(rush_hour)[(hour + minute_of // 60) % 24]
        expected = per_hour * weight.sum() / 60
        for i in range(int(expected + np.random.default_rng((*day_seed, 2, k)).random())):
            seed = (*day_seed, 3, k, i)
            rng = np.random.default_rng(seed)
            minute = rng.choice(len(weight), p=weight / weight.sum()) - lead + rng.random()
            snr_db = snrs_db[(sum(day_seed) + k + i) % len(snrs_db)]
            plans.append(_plan(name, seed, rng, zones_m, road_m, minute * 60, minutes * 60, snr_db, ground))
    recorded = (_recorded(plan, total_rows) for plan in plans)
    return sorted((plan for plan in recorded if plan.n_rows > 0), key=lambda plan: (plan.first_row, plan.seed))


def _recorded(plan: Plan, total_rows: int) -> Plan:
    """Return what of a plan lies within the recordings; its `n_rows` is not positive if nothing does."""
    missed = max(-plan.first_row, 0)
    first_row, last_row = plan.first_row + missed, min(plan.first_row + plan.n_rows, total_rows)
    origin_m = plan.origin_m + plan.along_m_s * missed / ROWS_PER_SECOND
    return replace(plan, first_row=first_row, n_rows=last_row - first_row, origin_m=origin_m)


def _road(kind: Kind, zones_m: list[Band], ground: Ground) -> Band:
    """Return the stretch over which what goes along the whole fibre is heard, m."""
    reach = REACH_DECAYS * kind.decay_m * ground.decay_scale
    return zones_m[0][0] - reach, zones_m[-1][1] + reach


def _longest_s(kind: Kind, zones_m: list[Band], ground: Ground) -> float:
    """Return how long an event of a lasting kind may take, s."""
    if not kind.speed_m_s[0]:
        return SHOWER_S[1]
    first_m, last_m = _road(kind, zones_m, ground)
    return (last_m - first_m) / kind.speed_m_s[0]


def _plant_runs(
    seed: tuple[int, ...], voice: tuple[int, ...], place_m: float, per_hour: float, total_rows: int, ground: Ground
) -> list[Plan]:
    """Plan when a standing machine runs: a third to two thirds of the time, in turns of about the same length."""
    rng, machine = np.random.default_rng(seed), np.random.default_rng(voice)
    lateral_m, snr_db = machine.uniform(3, 10), machine.uniform(*KINDS["plant"].snr_db)
    physics = ground.wave_speed_m_s, ground.decay_scale
    turn = ROWS_PER_SECOND * 3600 / per_hour if per_hour else np.inf
    plans: list[Plan] = []
    row = -turn * rng.random()
    while -np.inf < row < total_rows:
        n_rows, seed_of_run = int(turn * rng.uniform(0.33, 0.67)), (*seed, len(plans))
        about = int(row), n_rows, place_m, 0.0, 0.0, lateral_m, snr_db, seed_of_run
        plans.append(Plan("plant", *about, *physics, voice=voice))
        row += turn * rng.uniform(0.8, 1.2)
    return plans


def _plan(
    name: str,
    seed: tuple[int, ...],
    rng: np.random.Generator,
    zones_m: list[Band],
    road_m: float,
    start_s: float,
    total_s: float,
    threat_snr_db: float,
    ground: Ground,
) -> Plan:
    kind = KINDS[name]
    lengths = np.array([last - first + 1 for first, last in zones_m])
    first_m, last_m = zones_m[rng.choice(len(zones_m), p=lengths / lengths.sum())]
    origin, speed = rng.uniform(first_m, last_m), rng.uniform(*kind.speed_m_s)
    duration, across, lateral = rng.uniform(15, min(60.0, total_s / 2)), 0.0, rng.uniform(2, 8)
    if name == "walking":
        # Away from the nearer end, so that the path stays on the fibre.
        speed *= 1 if origin < (first_m + last_m) / 2 else -1
    elif name == "traffic":
        duration, lateral = 160 / speed, 3.0
        angle = rng.uniform(0.3, 0.5) * np.pi
        across, speed = speed * np.sin(angle), speed * np.cos(angle) * rng.choice([-1, 1])
        origin = road_m - speed * duration / 2
    elif name == "wind":
        lateral = rng.uniform(30, 60)
    elif name == "shower":
        duration = rng.uniform(*SHOWER_S)
    snr = threat_snr_db if kind.threat else rng.uniform(*kind.snr_db)
    axles_m: tuple[float, ...] = ()
    load_db = 0.0
    if kind.lasting and speed:
        first_m, last_m = _road(kind, zones_m, ground)
        duration, lateral, origin = (last_m - first_m) / speed, rng.uniform(3, 6), first_m
        if rng.random() < 0.5:  # the other way, on the farther lane
            speed, lateral, origin = -speed, lateral + 3.5, last_m
        axles_m, load_db = _axles(name, rng, 1 if speed > 0 else -1)
    n_rows = round(duration * ROWS_PER_SECOND)
    first_row = int(np.floor(start_s * ROWS_PER_SECOND))
    if not kind.lasting:
        first_row = min(first_row, int(total_s * ROWS_PER_SECOND) - n_rows)
    return Plan(
        name,
        first_row,
        n_rows,
        float(origin),
        float(speed),
        float(across),
        lateral,
        snr,
        seed,
        ground.wave_speed_m_s,
        ground.decay_scale,
        axles_m,
        load_db,
    )


def _axles(name: str, rng: np.random.Generator, direction: int) -> tuple[tuple[float, ...], float]:
    """Draw a tram, a lorry or a car: the places of its axles ahead of its middle, m, and its load, dB."""
    if name == "tram":
        gaps = np.tile([1.8, rng.uniform(5, 7)], rng.integers(3, 7))[:-1]
        load_db = rng.uniform(14, 22)
    elif rng.random() < 0.15:
        gaps = np.append(rng.uniform(3, 5), rng.uniform(1.3, 5, rng.integers(1, 4)))
        load_db = rng.uniform(8, 16)
    else:
        gaps, load_db = rng.uniform(2.4, 3.0, 1), rng.uniform(-6, 4)
    behind = np.append(0.0, np.cumsum(gaps))
    return tuple(direction * (behind[-1] / 2 - behind)), load_db
