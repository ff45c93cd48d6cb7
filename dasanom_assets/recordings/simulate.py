"""Recordings of a line that does not exist: vendor bundles, the contractor's files, and the truth beside them.

The line is described in `sites`, its signals come from `sources`. What is true is kept in ``truth/``, which the
pipeline never reads; what the contractor says goes with the recordings and is often wrong, as in life.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import special
from tqdm import tqdm

from dasanom_assets.recordings.sites import FAMILIES, Line, draw_site, with_threats, without_threats
from dasanom_assets.recordings.sources import (
    BLOCK_SECONDS,
    FLOOR_DB,
    KINDS,
    ROWS_PER_SECOND,
    Background,
    Event,
    Gains,
    Lasting,
    Plan,
    begin_event,
    plan_events,
)
from dasanom_assets.settings import Settings
from dasanom_assets.tables.schemas import TIME
from dasanom_assets.tables.store import Store

EVENTS = pa.schema(
    [
        ("event_id", pa.string()),
        ("fibre", pa.string()),
        ("kind", pa.string()),
        ("threat", pa.bool_()),
        ("start", TIME),
        ("end", TIME),
        ("first_channel", pa.int32()),
        ("last_channel", pa.int32()),
        ("peak_channel", pa.int32()),
        ("snr_db", pa.float32()),
    ]
)
"""One row an event, real or nuisance; its extent is where its level is above `sources.FLOOR_DB`."""

ACTIVITY = pa.schema(
    [
        ("fibre", pa.string()),
        ("channel", pa.int32()),
        ("start", TIME),
        ("kind", pa.string()),
        ("snr_db", pa.float32()),
    ]
)
"""One row a second and channel on which a threat's level, held for a second, is above `sources.FLOOR_DB`."""

CLASSES = ("kazma", "yurume", "kesici", "makine", "gurultu")
"""The contractor's classes, in the order of its files."""

LAG_ROWS = 6
"""Row i of the class probabilities belongs to power row i + 6."""

ROW_NS = 1_000_000_000 // ROWS_PER_SECOND


class ExistingRecordingsError(FileExistsError):
    """The fibre already has recordings of the day."""


def simulate(
    line: Line,
    days: Iterable[date],
    root: Path,
    *,
    contractor: bool = True,
    force: bool = False,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Write recordings to ``<root>/landing`` and the truth to ``<root>/truth``.

    Parameters
    ----------
    line : Line
    days : iterable of datetime.date
    root : pathlib.Path
        Data root.
    contractor : bool
        Whether to write the contractor's files.
    force : bool
        Whether recordings of this fibre on these days may be replaced.
    progress : callable, optional
        Called with the number of seconds of signal that were written.

    Raises
    ------
    ExistingRecordingsError
        Where one of the days has recordings of the fibre and `force` is not set; nothing is written then.
    """
    days = list(days)
    if not force:
        _refuse_existing(line.fibre, days, root / "landing")
    for day in days:
        simulate_day(line, day, root / "landing", root / "truth", contractor=contractor, progress=progress)


def _refuse_existing(fibre: str, days: list[date], landing: Path) -> None:
    if taken := [day for day in days if _recordings(landing / f"{day}", fibre)]:
        names = ", ".join(map(str, taken))
        raise ExistingRecordingsError(
            f"{landing} already has recordings of fibre {fibre} on {names}: choose other days or another "
            "fibre, or replace them with --force"
        )


def simulate_day(
    line: Line,
    day: date,
    landing: Path,
    truth: Path,
    contractor: bool = True,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Write a day of the line, replacing what the fibre had on that day.

    The samples depend on the line and the day alone, and on neither the other days nor `file_minutes`. Files are
    written into a hidden folder and moved when all of them are whole, the ``.bin`` of each bundle last.

    Parameters
    ----------
    line : Line
    day : datetime.date
    landing, truth : pathlib.Path
        Folders that hold a folder a day.
    contractor : bool
        Whether to write the contractor's files.
    progress : callable, optional
        Called with the number of seconds of signal that were written.
    """
    partial = landing / f".{line.fibre}-{day}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        events, activity = _write_day(line, day, partial, contractor, progress)
        folder = landing / f"{day}"
        for old in _recordings(folder, line.fibre):
            old.unlink()
        _replace_rows(truth / f"day={day}" / "events.parquet", events, line.fibre)
        _replace_rows(truth / f"day={day}" / "activity.parquet", activity, line.fibre)
        for path in sorted(partial.rglob("*"), key=lambda path: path.suffix == ".bin"):
            if path.is_file():
                target = folder / path.relative_to(partial)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _recordings(folder: Path, fibre: str) -> list[Path]:
    """Return all files of a fibre in a day's folder, the ``.bin`` files first."""
    found = [path for path in folder.rglob(f"{fibre}_*") if path.is_file()]
    return sorted(found, key=lambda path: (path.suffix != ".bin", path))


def _write_day(
    line: Line, day: date, folder: Path, contractor: bool, progress: Callable[[int], object] | None
) -> tuple[pa.Table, pa.Table]:
    """Write the bundles of a day into `folder` and return the truth: events and activity."""
    fibre_seed = line.seed, zlib.crc32(line.fibre.encode())
    day_seed = (*fibre_seed, 1, day.toordinal())
    began = datetime(day.year, day.month, day.day, line.hour, tzinfo=UTC)
    rate, spacing = line.sampling_rate_hz, line.channel_spacing_m
    background = Background(
        (*fibre_seed, 0),
        day_seed,
        line.zones,
        spacing,
        line.gauge_length_m,
        rate,
        line.at(line.pump_position),
        line.ground,
    )
    gains = Gains(line.gain, (*day_seed, 5), len(line.channels), line.seconds)
    place_m = line.channels * spacing
    zones_m = [(first * spacing, last * spacing) for first, last in line.zones]
    road_m = line.at(line.road_position)
    plans = plan_events(
        day_seed,
        zones_m,
        road_m,
        line.hour,
        line.minutes,
        line.events_per_hour,
        line.snrs_db,
        plants_m={(*fibre_seed, 2, i): line.at(share) for i, share in enumerate(line.plant_positions)},
        rush_hour=line.rush_hour,
        ground=line.ground,
    )
    rows, activity, present = [], [], []
    bundles = _Bundles(line, began, folder)
    for index in range(-(-line.seconds // BLOCK_SECONDS)):
        first = index * BLOCK_SECONDS
        while plans and plans[0].first_row < (first + BLOCK_SECONDS) * ROWS_PER_SECOND:
            event = begin_event(plans.pop(0), place_m, background)
            if event.extent:
                present.append(event)
                rows.append(_event_row(line, began, event))
                activity.append(_activity(line, began, event))
        block = background.block(index)
        for event in present:
            event.add_to(block, first * rate, rate)
        gains.apply(block, first * rate, rate)
        seconds = min(BLOCK_SECONDS, line.seconds - first)
        probability = _contractor(line, day_seed, index, present) if contractor else None
        bundles.write(block[:, : seconds * rate], probability)
        end_row = (first + BLOCK_SECONDS) * ROWS_PER_SECOND
        present = [e for e in present if e.plan.first_row + e.plan.n_rows > end_row]
        if progress:
            progress(seconds)
    return pa.Table.from_pylist(rows, EVENTS), pa.concat_tables([ACTIVITY.empty_table(), *activity])


# -- truth ----------------------------------------------------------------------------------------------


def _event_row(line: Line, began: datetime, event: Event | Lasting) -> dict[str, object]:
    extent, channels = event.extent, line.channels
    assert extent
    origin = _ns(began) + event.plan.first_row * ROW_NS
    start, end = origin + extent.rows[0] * ROW_NS, origin + (extent.rows[1] + 1) * ROW_NS
    name = f"{line.fibre}/{event.plan.kind}/{start}/{channels[extent.peak]}/{event.plan.seed}"
    return {
        "event_id": hashlib.sha256(name.encode()).hexdigest()[:16],
        "fibre": line.fibre,
        "kind": event.plan.kind,
        "threat": KINDS[event.plan.kind].threat,
        "start": start,
        "end": end,
        "first_channel": int(channels[extent.columns[0]]),
        "last_channel": int(channels[extent.columns[1]]),
        "peak_channel": int(channels[extent.peak]),
        "snr_db": event.plan.snr_db,
    }


def _activity(line: Line, began: datetime, event: Event | Lasting) -> pa.Table:
    """Return the seconds and channels on which a threat is above the floor; nothing for a nuisance."""
    if isinstance(event, Lasting) or not KINDS[event.plan.kind].threat:
        return ACTIVITY.empty_table()
    lead = event.plan.first_row % ROWS_PER_SECOND
    level = np.pad(
        event.sustained_db,
        ((0, 0), (lead, -(lead + event.plan.n_rows) % ROWS_PER_SECOND)),
        constant_values=-np.inf,
    )
    level = level.reshape(len(level), -1, ROWS_PER_SECOND).max(2)
    column, second = np.nonzero(level > FLOOR_DB)
    start = _ns(began) + (event.plan.first_row // ROWS_PER_SECOND + second) * 1_000_000_000
    columns = [
        pa.array(np.full(len(column), line.fibre, object), pa.string()),
        pa.array(line.channels[event.columns][column]),
        pa.array(start).cast(TIME),
        pa.array(np.full(len(column), event.plan.kind, object), pa.string()),
        pa.array(level[column, second]),
    ]
    return pa.table(columns, schema=ACTIVITY)


def _ns(time: datetime) -> int:
    return int(time.timestamp()) * 1_000_000_000


def _replace_rows(path: Path, rows: pa.Table, fibre: str) -> None:
    """Replace a fibre's rows in a Parquet file and keep those of other fibres."""
    if path.exists():
        old = pq.read_table(path, partitioning=None)
        rows = pa.concat_tables([old.filter(pc.not_equal(old["fibre"], fibre)), rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(rows, partial, compression="zstd")
    os.replace(partial, path)


# -- contractor -----------------------------------------------------------------------------------------

_TAKEN_FOR = {
    "walking": (0.2, 0.75, 0.0, 0.05),
    "pickaxe": (0.8, 0.2, 0.0, 0.0),
    "shovel": (0.7, 0.15, 0.0, 0.15),
    "cutting": (0.0, 0.0, 0.75, 0.25),
    "machine": (0.1, 0.0, 0.1, 0.8),
    "traffic": (0.2, 0.1, 0.0, 0.7),
    "wind": (0.3, 0.5, 0.0, 0.2),
    "vehicle": (0.2, 0.1, 0.0, 0.7),
    "tram": (0.1, 0.0, 0.0, 0.9),
    "plant": (0.0, 0.0, 0.2, 0.8),
    "shower": (0.2, 0.4, 0.3, 0.1),
}
"""How likely the contractor takes a kind for each of its classes but noise, once it raises an alarm."""

_NUISANCE_ALARMS = {"traffic": 0.5, "wind": 0.3, "vehicle": 0.1, "tram": 0.3, "plant": 0.5, "shower": 0.2}
"""How likely it raises an alarm on a nuisance."""


def _opinion(plan: Plan) -> tuple[bool, int]:
    """Return whether the contractor raises an alarm on an event, and the class it takes it for.

    Threats are noticed with a probability that rises with their ratio: one half at 7.5 dB, about 70 % over the
    usual mix of 6, 10 and 15 dB.
    """
    rng = np.random.default_rng((*plan.seed, 1))
    noticed = _NUISANCE_ALARMS.get(plan.kind, special.expit((plan.snr_db - 7.5) / 2))
    return bool(rng.random() < noticed), int(rng.choice(len(CLASSES) - 1, p=_TAKEN_FOR[plan.kind]))


def _contractor(line: Line, day_seed: tuple[int, ...], index: int, events: list[Event | Lasting]) -> np.ndarray:
    """Return the contractor's class probabilities of a block.

    Returns
    -------
    numpy.ndarray
        float32, shape (rows of the block, n_channels, 5), summing to 1 over classes; row i describes power row i.
    """
    first_row, n_rows = index * BLOCK_SECONDS * ROWS_PER_SECOND, BLOCK_SECONDS * ROWS_PER_SECOND
    rng = np.random.default_rng((*day_seed, 4, index))
    logits = 0.5 * rng.standard_normal((n_rows, len(line.channels), len(CLASSES)), dtype=np.float32)
    logits[..., -1] += 3.5
    for event in events:
        alarm, as_class = _opinion(event.plan)
        at = event.plan.first_row - first_row
        begin, end = max(at, 0), min(at + event.plan.n_rows, n_rows)
        columns, level_db = event.levels(begin - at, end - at)
        support = np.clip(level_db / 4, 0, 1) * (6.0 if alarm else 1.0)
        logits[begin:end, columns, as_class] += support.T
    return special.softmax(logits, axis=-1)


# -- files ----------------------------------------------------------------------------------------------


class _Bundles:
    """Cuts the stream of a day into bundles of files.

    Parameters
    ----------
    line : Line
    began : datetime.datetime
        Time of the first sample.
    folder : pathlib.Path
        Where the files go.
    """

    def __init__(self, line: Line, began: datetime, folder: Path) -> None:
        self.line, self.began, self.folder = line, began, folder
        self.seconds = 0
        self._file_seconds = round(line.file_minutes * 60)
        self._stem = ""
        self._power: list[np.ndarray] = []

    def write(self, block: np.ndarray, probability: np.ndarray | None) -> None:
        """Append a block of whole seconds, shape (n_channels, samples), and the contractor's view of it."""
        rate, done = self.line.sampling_rate_hz, 0
        samples = np.clip(np.rint(block), -32768, 32767).astype("<i2").T
        total = len(samples) // rate
        while done < total:
            in_file = self.seconds % self._file_seconds
            if not in_file:
                self._begin_file()
            count = min(total - done, self._file_seconds - in_file)
            part = np.ascontiguousarray(samples[done * rate : (done + count) * rate])
            _append(self.folder / f"{self._stem}.bin", part)
            if probability is not None:
                rows = probability[done * ROWS_PER_SECOND : (done + count) * ROWS_PER_SECOND]
                missing = max(LAG_ROWS - in_file * ROWS_PER_SECOND, 0)
                _append(self._contractor_file("prob.prob"), rows[missing:].astype("<f4"))
                signal = part.reshape(count * ROWS_PER_SECOND, -1, part.shape[1]).astype(np.float32)
                self._power.append(np.einsum("rnc,rnc->rc", signal, signal) / signal.shape[1])
            done += count
            self.seconds += count
            if self._power and (self.seconds % self._file_seconds == 0 or self.seconds == self.line.seconds):
                power = np.concatenate(self._power)
                self._power.clear()
                # Each channel's power as a share of its largest in the file.
                both = np.stack([power, power / np.maximum(power.max(0), np.finfo(np.float32).tiny)])
                _append(self._contractor_file("power.pow"), both.astype("<f4"))

    def _begin_file(self) -> None:
        line, start = self.line, self.began + timedelta(seconds=self.seconds)
        self._stem = f"{line.fibre}_{start:%Y%m%dT%H%M%S}"
        sidecar = {
            "selected_channel_zones": line.zones,
            "number_of_channels_in_one_sample": len(line.channels),
            "sampling_rate_hz": line.sampling_rate_hz,
            "sample_format": "int16",
            "start_time": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "fibre": line.fibre,
            "channel_spacing_m": line.channel_spacing_m,
            "gauge_length_m": line.gauge_length_m,
            "interrogator": "simulated",
        }
        (self.folder / f"{self._stem}.bin.info").write_text(json.dumps(sidecar, indent=1) + "\n", encoding="utf-8")

    def _contractor_file(self, suffix: str) -> Path:
        return self.folder / "Model1" / f"{self._stem}.bin_{suffix}"


def _append(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    with open(path, "ab") as sink:
        sink.write(np.ascontiguousarray(values).data)


# -- command --------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Simulate days of a line; return the exit status."""
    usual = Line.model_fields
    parser = argparse.ArgumentParser(prog="dasanom simulate", description=__doc__)
    add = parser.add_argument
    add("--data", help="data root, a local folder (default: DASANOM_DATA, or data/ beside pyproject.toml)")
    add("--first-day", type=date.fromisoformat, default=date(2026, 1, 5), help="first day (default: %(default)s)")
    add("--days", type=int, default=4, help="number of days (default: %(default)s)")
    add("--threat-days", type=int, default=1, help="threats happen on the last of them (default: %(default)s)")
    add("--hour", type=int, default=usual["hour"].default, help="UTC hour of the start (default: %(default)s)")
    add("--minutes", type=float, default=usual["minutes"].default, help="minutes a day (default: %(default)s)")
    add("--channels", type=int, default=48, help="number of channels, from channel 100 on (default: %(default)s)")
    add("--site", choices=FAMILIES, help="draw the line from a family of sites (default: the line of the README)")
    add("--fibre", help=f"name of the fibre (default: {usual['fibre'].default}, or <site>-<seed>)")
    add(
        "--seed", type=int, default=usual["seed"].default, help="another seed, another line (default: %(default)s)"
    )
    add("--no-contractor", action="store_true", help="leave out the contractor's probabilities and power")
    add("--force", action="store_true", help="replace recordings of this fibre on these days")
    options = parser.parse_args(argv)
    store = Store(options.data or Settings().data)
    if not store.is_local:
        parser.error("--data must be a local folder")
    if not 0 <= options.threat_days <= options.days:
        parser.error(f"--threat-days {options.threat_days} of {options.days} days cannot be")
    try:
        line = _line(options)
    except ValueError as error:
        parser.error(str(error))
    days = [options.first_day + timedelta(days=i) for i in range(options.days)]
    quiet = len(days) - options.threat_days
    root = Path(store.full(""))
    # disable=None: no bar where the output is no terminal.
    with tqdm(total=line.seconds * len(days), unit="s", unit_scale=True, desc="simulating", disable=None) as bar:
        try:
            if not options.force:
                _refuse_existing(line.fibre, days, root / "landing")
            for of, its_days in ((without_threats(line), days[:quiet]), (line, days[quiet:])):
                simulate(of, its_days, root, contractor=not options.no_contractor, force=True, progress=bar.update)
        except OSError as error:
            bar.close()
            print(f"dasanom simulate: {error}", file=sys.stderr)
            return 1
    what = (
        f"{len(days)} days of fibre {line.fibre}, {len(line.channels)} channels and {line.minutes:g} minutes each"
    )
    threats = f"threats on the last {options.threat_days}" if options.threat_days else "no threats"
    print(f"Simulated {what}, {threats}, in {root / 'landing'}; what is true is in {root / 'truth'}")
    return 0


def _line(options: argparse.Namespace) -> Line:
    """Return the line that was asked for, with threats."""
    chosen = {"hour": options.hour, "minutes": options.minutes, "seed": options.seed}
    if options.fibre is not None:
        chosen["fibre"] = options.fibre
    if options.site is None:
        return Line(zones=((100, 99 + options.channels),), **chosen)
    site = with_threats(draw_site(options.site, options.seed, options.channels))
    return Line.model_validate(site.model_dump() | chosen)


if __name__ == "__main__":
    sys.exit(main())
