"""Days that come while servers are killed or away."""

import contextlib
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import fsspec
import psutil
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster_graphql import DagsterGraphQLClient
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from dasanom_assets.benchmarks.kills import left_over
from dasanom_assets.benchmarks.season import listener
from dasanom_assets.benchmarks.season_at_work import SCHEDULES, Season
from dasanom_assets.benchmarks.season_plan import Clock, Delivery
from dasanom_assets.benchmarks.season_verdict import clean_run, verdict
from dasanom_assets.benchmarks.servers import Door, free_port, object_store, postgresql
from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration import retention
from dasanom_assets.orchestration import services as supervision
from dasanom_assets.orchestration.attempts import UNFINISHED
from dasanom_assets.orchestration.run import PROJECT, Chain, wait_until_loaded
from dasanom_assets.orchestration.services import Services, services
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store

BETWEEN_S = (1.0, 50.0)
"""From a kill to the next."""
AWAY_S = {"postgresql-away": 25.0, "s3-away": 60.0}
LEAST_DAYS, BUCKET = 3, "line"
Answer = TypeVar("Answer")


def patiently(ask: Callable[[], Answer], patience: float = 600.0) -> Answer:
    """Return what is asked of the database, which may be away for a while, s."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return ask()
        except (SQLAlchemyError, DagsterPostgresException):
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


class Killer(threading.Thread):
    """Kills a service at random moments: it alone, one of its processes, or it and all of them.

    Parameters
    ----------
    of : Services
        What starts it again.
    name : str
    kills : int
    rng : random.Random
    between : tuple of float
        Least and greatest time until a kill, s.
    ready : callable
        Whether that time begins.
    """

    def __init__(
        self,
        of: Services,
        name: str,
        kills: int,
        rng: random.Random,
        between: tuple[float, float] = BETWEEN_S,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(daemon=True)
        self.of, self.service, self.kills, self.rng, self.between, self.ready = (
            of,
            name,
            kills,
            rng,
            between,
            ready,
        )
        self.done: list[str] = []

    def run(self) -> None:
        """Kill, and wait until it is back."""
        while len(self.done) < self.kills:
            while not self.ready():
                time.sleep(0.1)
            time.sleep(self.rng.uniform(*self.between))
            process = self.of.processes[self.service]
            with contextlib.suppress(psutil.NoSuchProcess):
                server = psutil.Process(process.pid)
                if server.status() == psutil.STATUS_ZOMBIE:  # not started again yet
                    continue
                children = server.children()
                what = self.rng.choice(("server", "all", "child") if children else ("server",))
                one = [self.rng.choice(children)] if what == "child" else [server]
                for process in [server, *children] if what == "all" else one:
                    process.kill()
                self.done.append(what)


class Absence(threading.Thread):
    """Takes a server away for a while once a run of each of some jobs is at work.

    Parameters
    ----------
    instance : DagsterInstance
    door : Door
        To the server.
    seconds : float
    rng : random.Random
    """

    def __init__(self, instance: Any, door: Door, seconds: float, rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.instance, self.door, self.seconds, self.rng = instance, door, seconds, rng
        self.back = threading.Event()
        self.back.set()
        self.done: list[str] = []

    def run(self) -> None:
        """Wait for the runs, and leave."""
        for job in ("ingest", "rescore"):
            at_work = RunsFilter(job_name=job, statuses=[DagsterRunStatus.STARTED])
            while not self.instance.get_runs(at_work, limit=1):
                time.sleep(0.2)
            time.sleep(self.rng.uniform(0, 3))
            self.back.clear()
            self.door.shut()
            time.sleep(self.seconds)
            self.door.open()
            self.back.set()
            self.done.append(f"away during {job}")


class Patient:
    """A Dagster instance whose database may be away."""

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._instance, name)
        return (lambda *a, **more: patiently(lambda: found(*a, **more))) if callable(found) else found


def live(row: str, top: Path, seed: Path, days: list[date], kills: int, rng: random.Random) -> dict[str, Any]:
    """Let days come while a server is killed, or away, and return what became of them.

    Parameters
    ----------
    row : str
        ``daemon``, ``postgresql``, ``postgresql-away`` or ``s3-away``.
    top : pathlib.Path
        An empty folder.
    seed : pathlib.Path
        Data root with the recordings of all days, and a model.
    days : list of datetime.date
        That may come.
    kills : int
    rng : random.Random
        Of the moments.
    """
    home, is_postgresql, is_s3 = top / "home", row.startswith("postgresql"), row.startswith("s3")
    home.mkdir()
    shutil.copy(PROJECT / ("deploy/dagster.yaml" if is_postgresql else "dagster.yaml"), home)
    with ExitStack() as stack:
        clocks = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clocks.chmod(0o755)  # PostgreSQL is another user, and goes by the same clock
        noon = datetime.combine(days[0], datetime.min.time(), UTC) + timedelta(hours=12)
        clock = Clock(clocks / "clock", noon)
        url, told = stack.enter_context(listener())
        os.environ |= clock.preload(clocks) | {
            "DAGSTER_HOME": str(home), "DASANOM_DATA": str(top / "data"), "DASANOM_NOTIFY__URL": url,
            "DASANOM_DASK__THREADS": "2", "DASANOM_FIRST_DAY": days[0].isoformat(),
        }  # fmt: skip
        database: Services | None = None
        door: Door | None = None
        if is_postgresql:
            database, variables = stack.enter_context(postgresql())
            door = Door(int(variables["PGPORT"]))
            os.environ |= variables | {"PGPORT": str(door.port)}
        if is_s3:
            door = Door(int(stack.enter_context(object_store()).rpartition(":")[2]))
            os.environ |= _bucket(door.port)
        settings = Settings()
        store = Store(settings.data)
        for path in filter(Path.is_file, (seed / "models").rglob("*")):
            store.write_bytes(str(path.relative_to(seed)), path.read_bytes())
        stack.enter_context(patch.object(supervision, "LONGEST_PAUSE", 2.0))  # it is killed all the time
        port = free_port()
        instance: Any = Patient(stack.enter_context(DagsterInstance.get()))
        running, log = stack.enter_context(services(port))
        wait_until_loaded(port, log)
        ask = Chain(instance, DagsterGraphQLClient("127.0.0.1", port_number=port), store, port)
        season = Season(store, clock, instance, running, ask, seed)
        trouble: Killer | Absence
        if door and row in AWAY_S:
            trouble = Absence(instance, door, AWAY_S[row], rng)
        else:
            trouble = Killer(database or running, "PostgreSQL" if database else "daemon", kills, rng)
        began = time.monotonic()
        came = _days_come(season, days, trouble)
        minutes = (time.monotonic() - began) / 60
        running.stop()
        version = str(checkpoints.live(store, "reference_model"))
        nights = {(day + timedelta(days=n)).isoformat(): version for day in came for n in (1, 2)}
        figures = verdict(season, [Delivery(day) for day in came], nights, told)
        print(figures, file=sys.stderr)
        named = list(retention.left_over(store, clock.now().timestamp(), 0))
        retention.apply(store, named)  # as `dasanom doctor` says
        held = clean_run(season, top / "clean", settings, seed / "models")
        wrong = [
            *figures["wrong"],
            *(f"{day} was scored {n} times" for day, n in figures["more than one scoring"].items()),
            *(
                f"{t} of {d} is another"
                for t, of in held.items()
                for d, is_same in of.items()
                if is_same != "same"
            ),
            *_left(instance, store, home),
        ]
        shown = {name: figures[name] for name in ("days", "runs", "more than one ingest", "failed", "told")}
        return shown | {
            "named by doctor": len(named),
            "troubles": trouble.done,
            "minutes": round(minutes, 1),
            "wrong": wrong,
        }


def _bucket(port: int) -> dict[str, str]:
    """Make a bucket on an S3 server, and return the variables by which it is the data root."""
    os.environ |= (
        keys := {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key-of-the-benchmark", "AWS_SECRET_ACCESS_KEY": "secret-of-the-benchmark",
        }
    )  # fmt: skip
    fsspec.filesystem("s3").mkdir(BUCKET)
    return keys | {"DASANOM_DATA": f"s3://{BUCKET}/data"}


def _days_come(season: Season, days: list[date], trouble: "Killer | Absence") -> list[date]:
    """Let a day come each morning, and one after the troubles are over, and return those that came."""
    while not set(SCHEDULES) <= {state.instigator_name for state in season.instance.all_instigator_state()}:
        time.sleep(0.5)  # a schedule that is not known yet at its hour is passed over
    trouble.start()
    came: list[date] = []
    for day in days:
        began, morning, in_peace = time.monotonic(), day + timedelta(days=1), not trouble.is_alive()
        if isinstance(trouble, Absence):
            trouble.back.wait()  # nothing is delivered to a store that is away
        season.at(morning, 0, 10)
        season.deliver(Delivery(day))
        season.settle()
        season.at(morning, 3)
        season.settle(schedule=True)
        came.append(day)
        print(f"{day}: {time.monotonic() - began:.0f} s, {len(trouble.done)} troubles by now", file=sys.stderr)
        if in_peace and len(came) >= LEAST_DAYS:
            break
    trouble.join()
    season.at(morning, 7)
    season.settle()
    return came


def _left(instance: Any, store: Store, home: Path) -> list[str]:
    """Return what is left of what was killed: files, runs, places in pools, processes."""
    if store.is_local:
        found = [f"{path} is left over" for path in left_over(Path(store.full("")))]
    else:
        uploads = store.fs.call_s3("list_multipart_uploads", Bucket=BUCKET).get("Uploads", [])
        found = [f"the upload of {upload['Key']} is open" for upload in uploads]
    found += [f"run {run.run_id} has not ended" for run in instance.get_runs(RunsFilter(statuses=UNFINISHED))]
    slots = instance._instance.event_log_storage.get_concurrency_run_ids()
    found += [f"run {run_id} has a place in a pool" for run_id in slots]
    servers = {process.pid for process in psutil.Process().children(recursive=True)}
    return found + [f"process {name} lives on" for name in living(home, but=servers)]


def living(home: Path, patience: float = 10.0, but: Collection[int] = ()) -> list[str]:
    """Return the commands of processes with a DAGSTER_HOME that live after so long, s, but some by their ids."""
    deadline = time.monotonic() + patience
    while True:
        alive = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid not in (os.getpid(), *but) and process.environ().get("DAGSTER_HOME") == str(home):
                    alive.append(" ".join(process.cmdline()))
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.5)
