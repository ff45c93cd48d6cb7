"""A season at work: files are delivered, runs are killed, and what that brings is waited for."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.scheduler.instigation import TickStatus

from dasanom_assets.benchmarks.season_plan import Clock, Delivery
from dasanom_assets.orchestration.attempts import UNFINISHED
from dasanom_assets.orchestration.launcher import process_of
from dasanom_assets.orchestration.news import failures
from dasanom_assets.orchestration.run import Chain
from dasanom_assets.orchestration.services import Services
from dasanom_assets.tables.store import Store

SENSORS, SCHEDULES = ("new_recordings", "scoring_again", "tell", "closed_files"), ("daily_rescoring",)
PATIENCE = 900.0
"""Seconds within which what a moment brings is seen to."""


@dataclass(frozen=True)
class Placed:
    """A file that was delivered.

    Attributes
    ----------
    moment, changed : float
        When it was placed and when it was changed last, seconds since 1970 by the clock of the season.
    target : str
        Path below the data root.
    kept : Path
        A copy of it as it was.
    """

    moment: float
    changed: float
    target: str
    kept: Path

    def place(self, store: Store) -> None:
        """Deliver it."""
        store.write_bytes(self.target, self.kept.read_bytes())
        if store.is_local:
            os.utime(store.full(self.target), (self.changed, self.changed))


@dataclass
class Season:
    """A season at work.

    Attributes
    ----------
    store : Store
    clock : Clock
    instance : DagsterInstance
    running : Services
    ask : Chain
        By which an engineer asks for a training.
    source : Path
        Where recordings lie until they come.
    refused : dict
        Paths that must be in quarantine at the end.
    placed : list of Placed
        What was delivered.
    killed : list of str
        What was killed.
    rng : random.Random
    """

    store: Store
    clock: Clock
    instance: DagsterInstance
    running: Services
    ask: Chain
    source: Path
    refused: set[str] = field(default_factory=set)
    placed: list[Placed] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    rng: random.Random = field(default_factory=lambda: random.Random(2028))

    def at(self, day: date, hour: int, minute: int = 0) -> None:
        """Set the clock."""
        self.clock.set(datetime(day.year, day.month, day.day, hour, minute, 10, tzinfo=UTC))

    def place(self, source: Path, target: str, age_seconds: float = 300.0) -> None:
        """Deliver a file, that changed so long before now."""
        now, kept = self.clock.now().timestamp(), self.source / "placed" / f"{len(self.placed)}"
        kept.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, kept)
        self.placed.append(Placed(now, now - age_seconds, target, kept))
        self.placed[-1].place(self.store)

    def deliver(self, delivery: Delivery) -> None:
        """Deliver a day, with its trouble."""
        day, folder = delivery.day.isoformat(), self.source / "landing" / delivery.day.isoformat()
        ahead = 7200.0 if delivery.trouble == "clock ahead" else 0.0
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        stems = sorted({path.name.split(".")[0] for path in files})
        if delivery.trouble == "day in two parts":
            files = [path for path in files if path.name.startswith(stems[0])]
        for path in files:
            self.place(path, f"landing/{day}/{path.relative_to(folder)}", 300 - ahead)
        first = next(path for path in files if path.name == f"{stems[0]}.bin")
        if delivery.trouble == "damaged":
            self._bad(f"landing/{day}/north_damaged.h5", b"\x89HDF\r\n\x1a\n" + self.rng.randbytes(5000))
        if delivery.trouble == "cut short":
            self._bad(f"landing/{day}/{stems[0]}x.bin", first.read_bytes()[:-7])
            self.place(first.with_name(first.name + ".info"), f"landing/{day}/{stems[0]}x.bin.info")
        if delivery.trouble in ("of another day", "of the future"):
            # Each of another folder than that of the day on which it starts.
            shift = -1 if delivery.trouble == "of another day" else 20
            other = f"landing/{delivery.day + timedelta(days=shift)}"
            for path in files:
                if path.name.startswith(f"{stems[0]}.bin"):
                    self.place(path, f"{other}/again_{path.name}")
                    if path.suffix != ".info":  # the contractor's files lie in Model<k>, too
                        self.refused.add(f"{other}/again_{path.name}")

    def follow_up(self, delivery: Delivery) -> None:
        """Do what comes a day after a delivery: it comes again, corrected, or its second part."""
        day, folder = delivery.day.isoformat(), self.source / "landing" / delivery.day.isoformat()
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files:
            target = f"landing/{day}/{path.relative_to(folder)}"
            if delivery.trouble == "twice":
                self.place(path, f"landing/{day}/copy/{path.relative_to(folder)}")
            if delivery.trouble in ("touched", "day in two parts"):
                self.place(path, target)
            if delivery.trouble == "corrected" and path.name.endswith(".bin"):
                samples = bytearray(path.read_bytes())
                samples[:40_000] = bytes(40_000)
                path.write_bytes(samples)
                self.place(path, target)

    def _bad(self, target: str, content: bytes) -> None:
        scratch = self.source / "bad"
        scratch.write_bytes(content)
        self.place(scratch, target)
        self.refused.add(target)

    def settle(self, meanwhile: Callable[[], bool] = lambda: True, schedule: bool = False) -> None:
        """Go on by minutes until every watcher has looked and asks for nothing more, and nothing is at work.

        Parameters
        ----------
        meanwhile : callable
            Called until it says that it is done.
        schedule : bool
            Whether the clock has just come to the hour of the daily schedule.
        """
        deadline, done = time.monotonic() + PATIENCE, False
        since, asked = self.clock.now().timestamp(), self.instance.get_runs_count()
        watchers = [*SENSORS, *(SCHEDULES if schedule else ())]
        while time.monotonic() < deadline:
            time.sleep(0.5)
            done = done or meanwhile()
            if self.instance.get_runs(RunsFilter(statuses=UNFINISHED), limit=1) or not self._looked(
                watchers, since
            ):
                continue
            if done and self.instance.get_runs_count() == asked:
                return
            self.clock.set(self.clock.now() + timedelta(minutes=2))
            since, asked, watchers = self.clock.now().timestamp(), self.instance.get_runs_count(), [*SENSORS]
        raise RuntimeError(f"something is at work {PATIENCE:.0f} s after it should have ended: {self.clock.now()}")

    def _looked(self, watchers: Iterable[str], since: float) -> bool:
        """Whether each of some sensors and schedules has looked since a time of the clock."""
        latest = {}
        for state in self.instance.all_instigator_state():
            ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            if ticks and ticks[0].status != TickStatus.STARTED:
                latest[state.instigator_name] = ticks[0].timestamp
        # A schedule's tick has the time of the hour.
        return all(latest.get(name, 0.0) >= since - (60 if name in SCHEDULES else 0) for name in watchers)

    def kill_run(self, job: str) -> Callable[[], bool]:
        """Return what kills one run of a job in its middle, once it is at work."""
        delay = self.rng.uniform(1.0, 6.0)

        def once() -> bool:
            for run in self.instance.get_runs(RunsFilter(job_name=job, statuses=[DagsterRunStatus.STARTED])):
                process = process_of(run)
                if process is not None:
                    time.sleep(delay)
                    for part in (process, *process.children(recursive=True)):
                        part.send_signal(signal.SIGKILL)
                    self.killed.append(f"{job} {run.tags['dagster/partition']}")
                    return True
            return False

        return once

    def kill_daemon(self) -> bool:
        """Kill the daemon; what keeps it at work starts it again."""
        self.running.processes["daemon"].kill()
        self.killed.append("daemon")
        return True

    def train(self, days: list[str]) -> None:
        """Train as an engineer does."""
        asked = {"ops": {"training_set": {"config": {"days": days}}}}
        run_id = self.ask.submit("train", asked, {})
        self.settle(lambda: self._ended(run_id))
        run = self.instance.get_run_by_id(run_id)
        if run is None or run.status != DagsterRunStatus.SUCCESS:
            raise RuntimeError(f"the training did not succeed: {'; '.join(failures(self.instance, run_id))}")

    def _ended(self, run_id: str) -> bool:
        run = self.instance.get_run_by_id(run_id)
        return run is not None and run.is_finished
