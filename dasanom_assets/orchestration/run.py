"""`make run`: the whole chain through Dagster's own jobs, with the UI to watch it in."""

import fcntl
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError

from dasanom_assets import chain
from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration.attempts import UNFINISHED
from dasanom_assets.orchestration.doctor import RUN_LOCK
from dasanom_assets.orchestration.launcher import GRACE_SECONDS, end, process_of
from dasanom_assets.orchestration.news import News
from dasanom_assets.orchestration.reviewing import review_command
from dasanom_assets.orchestration.services import LOCATION, services
from dasanom_assets.orchestration.summary import summary
from dasanom_assets.recordings.landing import delivered_days, misplaced, recordings_notes
from dasanom_assets.recordings.listing import children
from dasanom_assets.settings import Settings
from dasanom_assets.tables.assets import STALE_ONLY
from dasanom_assets.tables.provenance import Freshness, Step
from dasanom_assets.tables.store import Store

PROJECT = Path(__file__).resolve().parents[2]
DEMO_DAYS = 5
"""Days that are simulated; the last one is yesterday, so that Dagster's plots and partitions end with them."""
TAG = {"dasanom/started_by": "make run", STALE_ONLY: "true"}


REQUEST = "dasanom/request"
"""Tag of a run that `make run` asked for: another value each time."""
PATIENCE = 120.0
"""Seconds for the servers to come up, or to come back."""
NOT_YET = "DagsterUserCodeUnreachableError"
"""The code location is still loading."""


class RunError(RuntimeError):
    """What stops `make run`, in words that say what to do next."""


def run(port: int, *, keep: bool) -> int:
    """Run the chain, keep the UI until it is interrupted or nothing is left to do; return the exit status.

    DAGSTER_HOME must be set.
    """
    settings = Settings()
    # SIGTERM ends the servers too, and SIGINT where a shell that started this in the background ignores it.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    try:
        _require_free(port)
        with _only_one(), DagsterInstance.get() as instance:
            _drop_leftovers(instance)
            ui = f"http://127.0.0.1:{port}"
            os.environ.setdefault("DASANOM_NOTIFY__BASE_URL", ui)  # for links of notices and of the review app
            review = review_command(settings.reports.url)
            with services(port, {"review app": review} if review else {}) as (_, log), _runs_ended(instance):
                _simulate_if_empty(settings)  # while they start
                wait_until_loaded(port, log)
                print(f"Watch it on {ui}/runs\n", flush=True)
                client = DagsterGraphQLClient("127.0.0.1", port_number=port)
                failed = Chain(instance, client, Store(settings.data), port).materialize()
                print("\n" + summary(Store(settings.data)), flush=True)
                print(f"\nThe UI is on {ui}", flush=True)
                if review:
                    print(f"Look at the days on {settings.reports.url}", flush=True)
                if keep:
                    print("Ctrl-C stops it.", flush=True)
                    signal.pause()
        return 1 if failed else 0
    except RunError as error:
        print(f"dasanom run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What was materialized stays; run again, and it goes on from there.")
        return 130


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RunError(
                f"port {port} of 127.0.0.1 is in use, perhaps by an earlier `make run`. "
                f"Stop that program, or choose another port: make run PORT={port + 1}"
            ) from error


@contextmanager
def _only_one() -> Iterator[None]:
    """Hold a lock beside Dagster's storage, so that what an earlier run left there is known to be left over."""
    with open(Path(os.environ["DAGSTER_HOME"]) / RUN_LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError("another `make run` is at work in this DAGSTER_HOME; let it end or stop it") from error
        yield


def _simulate_if_empty(settings: Settings) -> None:
    store = Store(settings.data)
    wrong = misplaced(store, settings.first_day)
    for thing in wrong:
        print(f"{thing.problem}: {thing.remedy}", flush=True)
    if wrong or children(store, "landing"):  # hidden files too: perhaps a delivery that has just begun
        return
    if not store.is_local:
        raise RunError(f"{settings.data} has no recordings: put some into landing/<YYYY-MM-DD>/ and run again")
    from dasanom_assets.recordings.simulation import simulate
    from dasanom_assets.recordings.simulation.sites import Line

    print("landing/ is empty: simulating recordings of a short line", flush=True)
    # Four ordinary days to learn from, and one with threats.
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=i) for i in range(DEMO_DAYS, 0, -1)]
    try:
        simulate.simulate_days(Line(), days, Path(store.full("")))
    except OSError as error:
        raise RunError(f"the simulator failed: {error}") from error


def _drop_leftovers(instance: DagsterInstance) -> None:
    """End the runs that `make run` leaves behind, or that a killed one has left: they hold places."""
    for run in instance.get_runs(RunsFilter(statuses=UNFINISHED)):
        if run.tags.keys() & {*TAG, "dagster/sensor_name", "dagster/schedule_name"}:
            if process := process_of(run):
                end(process, GRACE_SECONDS)
            unfinished = instance.get_run_by_id(run.run_id)
            if unfinished and not unfinished.is_finished:
                instance.report_run_canceled(run, "Left over by a `make run` that was stopped.")
    # A killed step keeps its place in its pool, and the next one would wait for it for ever.
    for run_id in instance.event_log_storage.get_concurrency_run_ids():
        holder = instance.get_run_by_id(run_id)
        if holder is None or holder.is_finished:
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)


@contextmanager
def _runs_ended(instance: DagsterInstance) -> Iterator[None]:
    """End the runs that are at work when `make run` is stopped."""
    try:
        yield
    finally:
        _drop_leftovers(instance)


def wait_until_loaded(port: int, log: Path, patience: float = PATIENCE) -> None:
    """Wait until the web server answers and the code location is loaded.

    Raises
    ------
    RunError
        Where it does not load, or takes longer than `patience`, s.
    """
    entry = "locationEntries{locationOrLoadError{__typename ... on PythonError{message}}}"
    query = f"{{workspaceOrError{{... on Workspace{{{entry}}}}}}}"
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            answer = requests.post(f"http://127.0.0.1:{port}/graphql", json={"query": query}, timeout=10).json()
        except requests.ConnectionError:
            time.sleep(0.5)
            continue
        entries = answer["data"]["workspaceOrError"].get("locationEntries", [])
        loaded = [entry["locationOrLoadError"] for entry in entries]
        if loaded and all(loaded):
            errors = [entry["message"] for entry in loaded if entry["__typename"] == "PythonError"]
            if not errors:
                return
            if NOT_YET not in errors[0]:
                raise RunError(f"the code location does not load: {errors[0]}")
        time.sleep(0.5)
    raise RunError(
        f"Dagster did not come up within {patience:.0f} s; the end of {log}:\n{log.read_text()[-2000:]}"
    )


class Chain:
    """The runs that are missing, in their order.

    Parameters
    ----------
    instance : DagsterInstance
        Where their events are read.
    client : DagsterGraphQLClient
        By which they are launched.
    store : Store
        Tells what is missing.
    port : int
        Of the UI, for links.
    """

    def __init__(self, instance: DagsterInstance, client: DagsterGraphQLClient, store: Store, port: int) -> None:
        self.instance, self.client, self.store, self.port = instance, client, store, port
        self.began = time.monotonic()

    def materialize(self) -> bool:
        """Run `ingest`, `train` and `rescore` where their results are missing; return whether any failed."""
        days = self.days()
        self.say(f"{len(days)} days in landing/: {', '.join(days)}")
        if not days:
            self.say(
                "nothing to ingest: put recordings into landing/<YYYY-MM-DD>/; dasanom doctor says what is wrong"
            )
            return True
        todo = self.stale(days, chain.INGEST)
        failed = self.launch("ingest", todo)
        # A recording that runs past midnight is of the next day too, as the ingest of its own has told by now; and
        # of two days that were ingested at once, the later one may have been before the earlier one was there.
        last: list[str] = []
        while again := self.stale((day for day in self.days() if not (failed and day in todo)), chain.INGEST):
            if again == last:
                break
            failed |= self.launch("ingest", again)
            todo, last = [*todo, *again], again
        days = self.days()
        ready = [day for day in days if self.store.has_day("background", day)]
        if not ready:
            self.say("no day could be ingested: see quarantine/ for the reasons")
            return True
        if checkpoints.live(self.store, "reference_model") is None:
            # The last day is kept out, so that at least one report is about a day the model has not seen.
            learned = ready[:-1] or ready
            config = {"ops": {"training_set": {"config": {"days": learned}}}}
            failed |= self.launch("train", [None], config)
        live = checkpoints.live(self.store, "reference_model")
        if live is None:
            return True
        for _ in range(2):  # an event over midnight goes on on a day that may have been scored at the same time
            todo = self.stale(ready, (*chain.SCORE, *chain.COMPARE))
            failed |= self.launch("rescore", todo)
            if failed or not todo:
                break
        return failed

    def days(self) -> list[str]:
        """Return the days that have recordings, as far as ingests have told."""
        notes = recordings_notes(self.store, self.store.days("recordings"))
        return delivered_days(self.store, notes, Settings().first_day)

    def stale(self, days: Iterable[str], steps: Iterable[Step]) -> list[str]:
        """Return the days some tables of which are not what they would be now."""
        settings, steps = Settings(), tuple(steps)
        fresh = Freshness(self.store, settings)
        return [day for day in days if chain.stale(self.store, day, settings, steps, fresh)]

    def launch(self, job: str, days: list[str] | list[None], config: dict[str, Any] | None = None) -> bool:
        """Submit one run a day, follow them to their ends, and return whether any failed."""
        if not days:
            self.say(f"{job}: nothing is missing")
            return False
        names: dict[str, str] = {}
        for day in days:
            tags = TAG | ({"dagster/partition": day} if day else {})
            run_id = self.submit(job, config or {}, tags)
            names[run_id] = f"{job} {day}" if day else job
        news = {run_id: News(self.instance, run_id, name) for run_id, name in names.items()}
        failed = False
        while names:
            time.sleep(0.5)
            for run_id in list(names):
                run = self.instance.get_run_by_id(run_id)  # before its news: none comes after its end
                for line in news[run_id].lines():
                    self.say(line)
                if run is not None and run.is_finished:
                    failed |= not self.ended_well(run, names.pop(run_id))
        return failed

    def submit(self, job: str, config: dict[str, Any], tags: dict[str, str]) -> str:
        """Ask the web server for a run and return its id; where that is away, wait until it is back.

        Raises
        ------
        RunError
            Where it stays away.
        """
        mark, deadline = {REQUEST: str(uuid.uuid4())}, time.monotonic() + PATIENCE
        while True:
            try:
                return self.client.submit_job_execution(
                    job, repository_location_name=LOCATION, run_config=config, tags=tags | mark
                )
            except DagsterGraphQLClientError as error:
                if known := self.instance.get_runs(RunsFilter(tags=mark)):  # only the answer was lost
                    return known[0].run_id
                if time.monotonic() > deadline:
                    raise RunError(f"Dagster takes no run of {job}: {error}") from error
                time.sleep(1)

    def ended_well(self, run: DagsterRun, name: str) -> bool:
        """Say how a run ended where it did not succeed."""
        if run.status == DagsterRunStatus.SUCCESS:
            return True
        self.say(f"{name} ended as {run.status.value}: http://127.0.0.1:{self.port}/runs/{run.run_id}")
        return False

    def say(self, line: str) -> None:
        """Print a line with the time since the start."""
        seconds = round(time.monotonic() - self.began)
        print(f"{seconds // 60:3d}:{seconds % 60:02d}  {line}", flush=True)
