"""A season without a hand: days arrive as they do, and the daemon, its sensors and its schedules see to them.

``dasanom bench season`` starts what `make run` starts, on an empty data root, and sets its clock from one moment
to the next at which something happens: files come in the night, late, twice, corrected, damaged, of another day or
of the future, or not at all; runs and the daemon are killed; a model is trained, and another later. Then it says
what became of each day, and holds the tables to those that one process makes of the same files in the same order.

The clock is that of the processes' environment (`season_clock.c`, compiled by the system's ``cc``).
"""

import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import typer
from dagster import DagsterInstance
from dagster_graphql import DagsterGraphQLClient

from dasanom_assets.benchmarks.machine import write_figures
from dasanom_assets.benchmarks.season_at_work import SCHEDULES, Season
from dasanom_assets.benchmarks.season_plan import FIRST_DAY, Clock, Delivery, plan
from dasanom_assets.benchmarks.season_verdict import clean_run, verdict
from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration.run import PROJECT, Chain, wait_until_loaded
from dasanom_assets.orchestration.services import services
from dasanom_assets.recordings.simulation.simulate import simulate
from dasanom_assets.recordings.simulation.sites import Line, without_threats
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store

LINE = Line(zones=((100, 115),), minutes=4, file_minutes=2, sampling_rate_hz=500, seed=11)
SETTINGS = {
    "DASANOM_DEVICE": "cpu",
    "DASANOM_VAE__WINDOWS_PER_EPOCH": "4096",
    "DASANOM_DETECTION__BUDGET": "1000",
    "DASANOM_REPORTS__URL": "",
    "DASANOM_TRAINING_SET__BLOCK_SECONDS": "20",  # days are short, and five of them hold all splits
}
LEARNED_DAYS = 5
EACH_SO_MANY = 3
"""Mornings of which one is waited for until the night's tidying and the digest are done."""
TRAINED = (7, 34)
"""Days of the season after which a model is trained."""


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
        print("The same once more in one process", flush=True)
        held = clean_run(season, top / "clean", settings, top / "data/models")
    figures["minutes"] = round((time.monotonic() - began) / 60, 1)
    figures["tables"] = {table: dict(Counter(days.values())) for table, days in held.items()}
    figures["other"] = {
        table: [day for day, is_same in days.items() if is_same == "other"] for table, days in held.items()
    }
    print(json.dumps(figures, indent=1))
    write_figures(out, figures)


if __name__ == "__main__":
    typer.run(main)
