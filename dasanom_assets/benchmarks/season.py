"""A season without a hand: days arrive as they do, and the daemon, its sensors and its schedules see to them.

``dasanom bench season`` starts what `make run` starts, on an empty data root, and sets its clock from one moment
to the next at which something happens: files come in the night, late, twice, corrected, damaged, of another day or
of the future, or not at all; runs and the daemon are killed; a model is trained, and another later. Then it says
what became of each day, and holds the tables to those that one process makes of the same files, one day after the
other.

The clock is that of the processes' environment (`season_clock.c`, compiled by the system's ``cc``).
"""

import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import typer
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.scheduler.instigation import TickStatus
from dagster_graphql import DagsterGraphQLClient

from dasanom_assets import chain
from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.detection.reference.model import promote
from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration.attempts import UNFINISHED
from dasanom_assets.orchestration.launcher import process_of
from dasanom_assets.orchestration.news import failures
from dasanom_assets.orchestration.run import PROJECT, Chain, wait_until_loaded
from dasanom_assets.orchestration.services import Services, services
from dasanom_assets.recordings.simulation.simulate import simulate
from dasanom_assets.recordings.simulation.sites import Line, without_threats
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.tables.records import read_record
from dasanom_assets.tables.store import Store

FIRST_DAY = date(2028, 2, 8)
"""So that a season has a leap day, and a change to summer time."""
LINE = Line(zones=((100, 115),), minutes=4, file_minutes=2, sampling_rate_hz=500, seed=11)
SETTINGS = {
    "DASANOM_DEVICE": "cpu",
    "DASANOM_VAE__WINDOWS_PER_EPOCH": "4096",
    "DASANOM_DETECTION__BUDGET": "1000",
    "DASANOM_REPORTS__URL": "",
}
LEARNED_DAYS = 5
TABLES = tuple(
    table
    for step in (*chain.INGEST, *chain.SCORE, *chain.COMPARE)
    for table in step.tables
    if table != "contractor_comparison"
)
SENSORS, SCHEDULES = ("new_recordings", "scoring_again", "tell", "closed_files"), ("daily_rescoring",)
PATIENCE = 900.0
"""Seconds within which what a moment brings is seen to."""
EACH_SO_MANY = 3
"""Mornings of which one is waited for until the night's tidying and the digest are done."""
TRAINED = (7, 34)
"""Days of the season after which a model is trained."""


@dataclass
class Delivery:
    """What comes of a day.

    Attributes
    ----------
    day : date
        Of the recordings.
    after : int
        Days after its own on which it comes, soon after midnight; none for a day that is withheld.
    trouble : str
        What else is wrong; see `plan`.
    """

    day: date
    after: int | None = 1
    trouble: str = ""


def plan(days: int) -> list[Delivery]:
    """Return what comes of each day of a season, the same for the same number of days.

    From the ninth day on, every third has a trouble, each in its turn.
    """
    troubles = [
        "damaged", "late", "twice", "corrected", "withheld", "ingest killed", "cut short", "of another day",
        "rescore killed", "very late", "of the future", "clock ahead", "daemon killed", "touched",
        "day in two parts",
    ]  # fmt: skip
    made = [Delivery(FIRST_DAY + timedelta(days=n)) for n in range(days)]
    for number, delivery in enumerate(made[8:], 8):
        if number % 3 == 2:
            delivery.trouble = troubles[(number // 3 - 2) % len(troubles)]
            delivery.after = {"late": 3, "very late": 10, "withheld": None}.get(delivery.trouble, 1)
    return made


class Clock:
    """The time of the day in the processes of the season."""

    def __init__(self, file: Path, start: datetime) -> None:
        self._file = file
        self.set(start)

    def now(self) -> datetime:
        """Return what it shows."""
        return datetime.fromtimestamp(time.time() + self._ahead, UTC)

    def set(self, moment: datetime) -> None:
        """Set it; the processes see it at once."""
        self._ahead = round(moment.timestamp() - time.time())
        content = struct.pack("q", self._ahead)
        if self._file.exists():  # mapped: not replaced
            with open(self._file, "r+b") as file:
                file.write(content)
        else:
            self._file.write_bytes(content)

    def preload(self, folder: Path) -> dict[str, str]:
        """Compile the clock, and return the environment of processes that go by it."""
        library = folder / "season_clock.so"
        source = Path(__file__).with_suffix("").with_name("season_clock.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        return {"LD_PRELOAD": str(library), "SEASON_CLOCK": str(self._file)}


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
    killed: list[str] = field(default_factory=list)
    rng: random.Random = field(default_factory=lambda: random.Random(2028))

    def at(self, day: date, hour: int, minute: int = 0) -> None:
        """Set the clock."""
        self.clock.set(datetime(day.year, day.month, day.day, hour, minute, 10, tzinfo=UTC))

    def place(self, source: Path, target: str, age_seconds: float = 300.0) -> None:
        """Deliver a file, that changed so long before now."""
        path = Path(self.store.full(target))
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        changed = self.clock.now().timestamp() - age_seconds
        os.utime(path, (changed, changed))

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
            self.refused.add(f"{other}/again_{first.name}")

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


def live_through(season: Season, deliveries: list[Delivery], say: Callable[[str], Any]) -> dict[str, str]:
    """Let each day come, be ingested and scored; return the model that was live after each night."""
    while not set(SCHEDULES) <= {state.instigator_name for state in season.instance.all_instigator_state()}:
        time.sleep(0.5)  # a schedule that is not known yet at its hour is passed over
    models: dict[str, str] = {}
    by_arrival: dict[date, list[Delivery]] = {}
    for delivery in deliveries:
        if delivery.after is not None:
            by_arrival.setdefault(delivery.day + timedelta(days=delivery.after), []).append(delivery)
    last = max(by_arrival) + timedelta(days=2)
    morning, number, follow = FIRST_DAY + timedelta(days=1), 0, list[Delivery]()
    while morning <= last:
        coming = by_arrival.get(morning, [])
        began = time.monotonic()
        season.at(morning, 0, 10)
        for delivery in follow:
            season.follow_up(delivery)
        for delivery in coming:
            season.deliver(delivery)
        follow = [d for d in coming if d.trouble in ("twice", "touched", "corrected", "day in two parts")]
        troubles = {delivery.trouble for delivery in coming}
        season.settle(season.kill_run("ingest") if "ingest killed" in troubles else lambda: True)
        if "clock ahead" in troubles:
            season.at(morning, 2)
        if "daemon killed" in troubles:
            season.kill_daemon()
        season.at(morning, 3)
        season.settle(season.kill_run("rescore") if "rescore killed" in troubles else lambda: True, schedule=True)
        if number in TRAINED:
            done = [d.day.isoformat() for d in deliveries[: number - 1] if not d.trouble]
            season.at(morning, 6)
            season.train(done[-LEARNED_DAYS:])
        if number % EACH_SO_MANY == 0:
            season.at(morning, 7)
            season.settle()
        models[morning.isoformat()] = str(checkpoints.live(season.store, "reference_model"))
        say(f"{morning} {', '.join(sorted(troubles - {''})) or '-'}: {time.monotonic() - began:.0f} s")
        morning, number = morning + timedelta(days=1), number + 1
    return models


def clean_run(season: Season, folder: Path, settings: Settings) -> dict[str, dict[str, str]]:
    """Make the tables of the files that lie there in one process, in the order and with the models of the season.

    Returns
    -------
    dict
        For each table, ``same`` or ``other`` by day.
    """
    store, clean = season.store, Store(str(folder))
    folder.mkdir()
    (folder / "landing").symlink_to(Path(store.full("landing")))
    shutil.copytree(store.full("models"), folder / "models")
    with open_client(settings.dask) as client:
        for job, day in _last_runs(season.instance):
            if job == "ingest":
                chain.ingest(clean, day, settings, client)
            else:
                promote(clean, _model(store, day))
                chain.score(clean, day, settings)
                chain.compare(clean, day, settings)
    found: dict[str, dict[str, str]] = {table: {} for table in TABLES}
    for table, days in found.items():
        for day in sorted({*store.days(table), *clean.days(table)}):
            both = [s.content_digest(table, day) if s.has_day(table, day) else "" for s in (store, clean)]
            days[day] = "same" if both[0] == both[1] else "other"
    return found


def _last_runs(instance: DagsterInstance) -> list[tuple[str, str]]:
    """Return jobs and days in the order of the last run of each that succeeded: what flows back depends on it."""
    last: dict[tuple[str, str], float] = {}
    for record in instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.SUCCESS])):
        run = record.dagster_run
        if run.job_name in ("ingest", "rescore"):
            key = run.job_name, run.tags["dagster/partition"]
            last[key] = max(last.get(key, 0.0), record.end_time or 0.0)
    return sorted(last, key=lambda key: last[key])


def _model(store: Store, day: str) -> str:
    """Return the reference model that scored a day."""
    record = read_record(store, "anomaly_scores", day)
    return "" if record is None else str(record[1]["inputs"]["the live model"])


def verdict(season: Season, deliveries: list[Delivery], models: dict[str, str], told: list[str]) -> dict[str, Any]:
    """Return what became of the season: figures, and under ``wrong`` what should not be."""
    store, instance = season.store, season.instance
    wrong: list[str] = []
    for delivery in deliveries:
        if delivery.after is None:
            continue
        day = delivery.day.isoformat()
        if not store.has_day("anomaly_events", day):
            wrong.append(f"{day} ({delivery.trouble or 'plain'}) was not scored")
            continue
        # The live model of the first night after its delivery, or one of the week after.
        nights = [delivery.day + timedelta(days=delivery.after + n) for n in range(8)]
        right = {models[night.isoformat()] for night in nights if night.isoformat() in models}
        if _model(store, day) not in right:
            wrong.append(f"{day} was scored by {_model(store, day)}, which was not live in the week after")
    quarantined = {
        store.read_json(file["path"])["path"]: store.read_json(file["path"])["reason"]
        for file in store.listing("quarantine")
    }
    last = max(models)
    due = {path for path in season.refused if path.split("/")[1] < last}
    wrong += [f"{path} is not in quarantine" for path in sorted(due - set(quarantined))]
    wrong += [
        f"{path} is in quarantine: {quarantined[path]}" for path in sorted(set(quarantined) - season.refused)
    ]
    runs = instance.get_runs()
    ends = Counter((run.job_name, run.status.value) for run in runs)
    successes = Counter(
        (run.job_name, run.tags["dagster/partition"])
        for run in runs
        if run.status == DagsterRunStatus.SUCCESS and "dagster/partition" in run.tags
    )
    plain = {d.day.isoformat() for d in deliveries if not d.trouble}
    failed = sorted(
        f"{r.job_name} {r.tags.get('dagster/partition', '')}" for r in runs if r.status.value == "FAILURE"
    )
    titles = Counter(title for title in told if title.endswith(" failed"))
    for name in sorted(set(failed)):
        times = titles[f"{name} failed"]
        if times != 1:
            wrong.append(f"{name} failed, and was told {times} times")
    return {
        "days": len(deliveries),
        "runs": {f"{job} {status}": count for (job, status), count in sorted(ends.items())},
        "ingests of a day without trouble": dict(Counter(successes["ingest", day] for day in plain)),
        "scorings of a day without trouble": dict(Counter(successes["rescore", day] for day in plain)),
        "more than one scoring": {
            day: successes["rescore", day] for day in sorted(plain) if successes["rescore", day] > 1
        },
        "killed": season.killed,
        "failed": failed,
        "quarantine": quarantined,
        "messages": len(told),
        "told": dict(Counter(title.split(" 20")[0] if "alarm" in title else title for title in told)),
        "wrong": wrong,
    }


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    """Yield the address of an HTTP server that notices are sent to, and their titles."""
    titles: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            titles.append(json.loads(content)["title"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_port}/", titles
        server.shutdown()


def main(
    days: Annotated[int, typer.Option(help="recording days")] = 60,
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures")] = None,
    folder: Annotated[Path | None, typer.Option(help="where everything is kept; by default it is removed")] = None,
) -> None:
    """Live through a season."""
    deliveries = plan(days)
    with ExitStack() as stack:
        top = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("home", "data", "source"):
            (top / name).mkdir(parents=True)
        shutil.copy(PROJECT / "dagster.yaml", top / "home")
        ordinary = without_threats(LINE)
        for delivery in deliveries:
            simulate(ordinary if delivery.day.day % 5 else LINE, [delivery.day], top / "source")
        url, told = stack.enter_context(listener())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        clock = Clock(top / "clock", datetime.combine(FIRST_DAY, datetime.min.time(), UTC) + timedelta(hours=12))
        given = SETTINGS | {
            "DAGSTER_HOME": str(top / "home"), "DASANOM_DATA": str(top / "data"), "DASANOM_NOTIFY__URL": url,
            "DASANOM_FIRST_DAY": FIRST_DAY.isoformat(), "DASANOM_DASK__THREADS": "2",
        }  # fmt: skip
        os.environ |= given | clock.preload(top)
        settings = Settings()
        store = Store(settings.data)
        instance = stack.enter_context(DagsterInstance.get())
        running, log = stack.enter_context(services(port))
        wait_until_loaded(port, log)
        ask = Chain(instance, DagsterGraphQLClient("127.0.0.1", port_number=port), store, port)
        season = Season(store, clock, instance, running, ask, top / "source")
        began = time.monotonic()
        models = live_through(season, deliveries, lambda line: print(line, flush=True))
        figures = verdict(season, deliveries, models, told)
        running.stop()
        print("The same files, one day after the other in one process", flush=True)
        held = clean_run(season, top / "clean", settings)
    figures["minutes"] = round((time.monotonic() - began) / 60, 1)
    figures["tables"] = {table: dict(Counter(days.values())) for table, days in held.items()}
    figures["other"] = {
        table: [day for day, is_same in days.items() if is_same == "other"] for table, days in held.items()
    }
    print(json.dumps(figures, indent=1))
    write_figures(out, figures)


if __name__ == "__main__":
    typer.run(main)
