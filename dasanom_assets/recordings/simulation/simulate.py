"""Recordings of a line that does not exist: vendor bundles, the contractor's files, and the truth beside them.

The line is described in `sites`; `plans` decides what happens on it. What is true is kept in ``truth/``, which the
pipeline never reads; what the contractor says goes with the recordings and is often wrong, as in life.
"""

import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, date, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from dasanom_assets.recordings.simulation.bundle_writer import BundleWriter
from dasanom_assets.recordings.simulation.contractor import class_probabilities
from dasanom_assets.recordings.simulation.gain import Gains
from dasanom_assets.recordings.simulation.ground import BLOCK_SECONDS, Background
from dasanom_assets.recordings.simulation.lasting import begin_event
from dasanom_assets.recordings.simulation.plans import ROWS_PER_SECOND, plan_events
from dasanom_assets.recordings.simulation.sites import FAMILIES, Line, draw_site, with_threats, without_threats
from dasanom_assets.recordings.simulation.truth import ACTIVITY, EVENTS, event_activity, event_row, replace_rows


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

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> line = Line(zones=((100, 103),), minutes=1, sampling_rate_hz=500)
    >>> with TemporaryDirectory() as root:
    ...     simulate(line, [date(2026, 1, 5)], Path(root), contractor=False)
    ...     sorted(str(path.relative_to(root)) for path in Path(root).rglob("*.*"))
    ['landing/2026-01-05/north_20260105T100000.bin', 'landing/2026-01-05/north_20260105T100000.bin.info',
     'truth/day=2026-01-05/activity.parquet', 'truth/day=2026-01-05/events.parquet']
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
        replace_rows(truth / f"day={day}" / "events.parquet", events, line.fibre)
        replace_rows(truth / f"day={day}" / "activity.parquet", activity, line.fibre)
        for path in sorted(partial.rglob("*"), key=lambda path: path.suffix == ".bin"):
            if path.is_file():
                target = folder / path.relative_to(partial)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _recordings(folder: Path, fibre: str) -> list[Path]:
    """Return all files of a fibre in a day's folder, the ``.bin`` files first."""
    paths = [path for path in folder.rglob(f"{fibre}_*") if path.is_file()]
    return sorted(paths, key=lambda path: (path.suffix != ".bin", path))


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
    bundles = BundleWriter(line, began, folder)
    for index in range(-(-line.seconds // BLOCK_SECONDS)):
        first = index * BLOCK_SECONDS
        while plans and plans[0].first_row < (first + BLOCK_SECONDS) * ROWS_PER_SECOND:
            event = begin_event(plans.pop(0), place_m, background)
            if event.extent:
                present.append(event)
                rows.append(event_row(line, began, event))
                activity.append(event_activity(line, began, event))
        block = background.block(index)
        for event in present:
            event.add_to(block, first * rate, rate)
        gains.apply(block, first * rate, rate)
        seconds = min(BLOCK_SECONDS, line.seconds - first)
        probability = class_probabilities(line, day_seed, index, present) if contractor else None
        bundles.write(block[:, : seconds * rate], probability)
        end_row = (first + BLOCK_SECONDS) * ROWS_PER_SECOND
        present = [e for e in present if e.plan.first_row + e.plan.n_rows > end_row]
        if progress:
            progress(seconds)
    return pa.Table.from_pylist(rows, EVENTS), pa.concat_tables([ACTIVITY.empty_table(), *activity])


def simulate_days(
    line: Line,
    days: Sequence[date],
    root: Path,
    *,
    threat_days: int = 1,
    contractor: bool = True,
    force: bool = False,
) -> None:
    """Write days of a line, threats on the last of them alone, on all cores and with a bar of progress.

    Parameters
    ----------
    line : Line
    days : sequence of datetime.date
    root : pathlib.Path
        Data root.
    threat_days : int
        Days with threats, at most all of them.
    contractor, force : bool
        See `simulate`.

    Raises
    ------
    ExistingRecordingsError
        Where one of the days has recordings of the fibre and `force` is not set; nothing is written then.
    """
    quiet = len(days) - threat_days
    planned = [without_threats(line)] * quiet + [line] * threat_days
    if not force:
        _refuse_existing(line.fibre, list(days), root / "landing")
    workers = min(len(os.sched_getaffinity(0)), max(1, len(days)))
    folders = root / "landing", root / "truth"
    # disable=None: no bar where the output is no terminal.
    with (
        tqdm(total=line.seconds * len(days), unit="s", unit_scale=True, desc="simulating", disable=None) as bar,
        ProcessPoolExecutor(workers, get_context("spawn")) as pool,
    ):
        written = [
            pool.submit(simulate_day, site, day, *folders, contractor=contractor)
            for site, day in zip(planned, days, strict=True)
        ]
        for done in as_completed(written):
            done.result()
            bar.update(line.seconds)


def drawn_line(site: str | None, channels: int, **chosen: Any) -> Line:
    """Return a line with threats: drawn from a family of sites, or the line of the README.

    Parameters
    ----------
    site : str or None
        One of `FAMILIES`, or the line of the README.
    channels : int
        From channel 100 on.
    **chosen
        Fields of `Line` that are other than usual.

    Raises
    ------
    ValueError
        Where there is no such site, or the line cannot be.
    """
    if site is None:
        return Line(zones=((100, 99 + channels),), **chosen)
    if site not in FAMILIES:
        raise ValueError(f"site {site} is none of {', '.join(FAMILIES)}")
    drawn = with_threats(draw_site(site, chosen.get("seed", Line.model_fields["seed"].default), channels))
    return Line.model_validate(drawn.model_dump() | chosen)
