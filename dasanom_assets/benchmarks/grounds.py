"""Grounds to measure on: simulated sites, and a recorded street, with days to learn from and days to score."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dasanom_assets.benchmarks import street
from dasanom_assets.recordings.simulation.simulate import simulate
from dasanom_assets.recordings.simulation.sites import Line, draw_site, with_threats, without_threats
from dasanom_assets.recordings.simulation.truth import ACTIVITY
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import TIME
from dasanom_assets.tables.store import Store

FIRST = date(2026, 1, 5)
LEARNED = 4
"""Days that each site is learned from."""
FAINT_DB, USUAL_DB = (2.0, 6.0, 12.0), (6.0, 10.0, 15.0)
"""Strongest 0.1-s burst of a threat against the background of its band: 1.3 to 4, and 2 to 5.6 times its
amplitude."""
THREATS_PER_HOUR = {"walking": 12.0, "pickaxe": 12.0, "shovel": 8.0, "cutting": 8.0, "machine": 8.0}
CHANGE_DB = 8.0
CHANGE_SECONDS, CHANGE_CHANNELS = 20, 4


@dataclass(frozen=True)
class Ground:
    """A data root, and which of its days are what.

    Attributes
    ----------
    name : str
    root : pathlib.Path
    learned : list of str
    days : dict of str to str
        ``ordinary``, and kinds of days with threats.
    """

    name: str
    root: Path
    learned: list[str]
    days: dict[str, str]


def day(i: int) -> date:
    """Return the day that lies `i` days after the first."""
    return FIRST + timedelta(days=i)


def simulated_ground(line: Line, root: Path, minutes: float) -> Ground:
    """Simulate the days of a site below `root`."""
    plain = without_threats(line)
    kinds = ("ordinary", "faint", "usual", "louder", "quieter")
    days = dict(zip(kinds, map(day, range(LEARNED, LEARNED + len(kinds))), strict=True))

    def write(site: Line, dates: Iterable[date], length: float) -> None:
        simulate(site.model_copy(update={"minutes": length}), dates, root, contractor=False)

    write(plain, map(day, range(LEARNED)), minutes)
    write(plain, [days["ordinary"]], 2 * minutes)
    write(with_threats(plain, THREATS_PER_HOUR, FAINT_DB), [days["faint"]], minutes)
    write(with_threats(plain, THREATS_PER_HOUR, USUAL_DB), [days["usual"]], minutes)
    silent = plain.model_copy(update={"events_per_hour": {}})
    for kind, change_db in (("louder", CHANGE_DB), ("quieter", -CHANGE_DB)):
        write(silent, [days[kind]], minutes / 2)
        change_level(root, str(days[kind]), plain, change_db)
    learned = [str(day(i)) for i in range(LEARNED)]
    return Ground(line.fibre, root, learned, {kind: str(scored) for kind, scored in days.items()})


def change_level(root: Path, of_day: str, line: Line, change_db: float) -> None:
    """Raise or lower the samples of some channels for some seconds, and say so in the truth."""
    columns: dict[str, list[Any]] = {"channel": [], "start": []}
    channels = line.channels
    for path in sorted((root / "landing" / of_day).glob("*.bin")):
        note = json.loads(Path(f"{path}.info").read_text())
        rate, began = note["sampling_rate_hz"], datetime.fromisoformat(note["start_time"])
        mapped = np.memmap(path, "<i2", "r+")
        samples = mapped.reshape(-1, len(channels))
        for i, second in enumerate(range(20, len(samples) // rate - CHANGE_SECONDS - 10, 45)):
            # Places take turns over the line, so that none is changed often.
            first = (7 * i + 3) % (len(channels) - CHANGE_CHANNELS)
            part = samples[second * rate : (second + CHANGE_SECONDS) * rate, first : first + CHANGE_CHANNELS]
            part[:] = np.clip(np.rint(part * 10 ** (change_db / 20)), -32768, 32767)
            for channel in channels[first : first + CHANGE_CHANNELS].tolist():
                seconds = int(began.timestamp()) + second + np.arange(CHANGE_SECONDS)
                columns["channel"] += [channel] * CHANGE_SECONDS
                columns["start"] += (seconds * SECOND_NS).tolist()
        mapped.flush()
    n = len(columns["channel"])
    activity = {
        "fibre": [line.fibre] * n,
        "channel": columns["channel"],
        "start": pa.array(columns["start"], pa.int64()).cast(TIME),
        "kind": ["changed"] * n,
        "snr_db": [abs(change_db)] * n,
    }
    store = Store(str(root))
    with store.fs.open(store.full(f"truth/day={of_day}/activity.parquet"), "wb") as file:
        pq.write_table(pa.table(activity, schema=ACTIVITY), file)


def street_ground(folder: Path, root: Path, name: str, seed: int, held_back: bool, counted: bool) -> Ground:
    """Write the recorded street below `root`: what is learned, and what is scored as it is and with threats.

    Parameters
    ----------
    folder : pathlib.Path
        See `street.write_street`.
    root : pathlib.Path
    name : str
        Of the ground.
    seed : int
        Of the planted threats.
    held_back : bool
        Score the files from `street.DEVELOP_UNTIL` on, and learn from all before; otherwise the third of these
        that is last is scored.
    counted : bool
        Whether the street without threats is a day of it, too: it is the same whatever is planted.
    """
    learn_until, until = (street.DEVELOP_UNTIL, "240000") if held_back else ("092000", street.DEVELOP_UNTIL)
    planted = street.Planting(seed=seed)
    street.write_street(folder, root, day(0), "000000", learn_until)
    days = {"planted": str(day(2))}
    street.write_street(folder, root, day(2), learn_until, until, planted)
    if counted:
        street.write_street(folder, root, day(1), learn_until, until)
        days = {"ordinary": str(day(1))} | days
    return Ground(name, root, [str(day(0))], days)


MakeGround = Callable[[Path], Ground]


def grounds_of(
    families: Sequence[str],
    seeds: Sequence[int],
    minutes: float,
    channels: int,
    street: Path | None,
    *,
    develop: bool,
) -> dict[str, MakeGround]:
    """Return what makes each ground in an empty folder, by its name; options are those of `detection`."""
    makers: dict[str, MakeGround] = {}
    for family in families:
        for seed in seeds:
            line = draw_site(family, seed, channels)
            makers[line.fibre] = partial(simulated_ground, line, minutes=minutes)
    if street is not None:
        planted = partial(street_ground, street, held_back=not develop)
        for seed in seeds:
            name = f"street, recorded, planting {seed}"
            makers[name] = partial(planted, name=name, seed=seed, counted=seed == seeds[0])
    return makers
