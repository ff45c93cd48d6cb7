"""Analysts who judge while the review app is killed."""

import os
import random
import shutil
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import requests

from dasanom_assets.benchmarks.kills import left_over
from dasanom_assets.benchmarks.outages_at_work import Killer, living
from dasanom_assets.benchmarks.servers import free_port
from dasanom_assets.orchestration import services as supervision
from dasanom_assets.orchestration.services import Services
from dasanom_assets.review.serve import token_of
from dasanom_assets.tables import verdicts
from dasanom_assets.tables.store import Store

CLIENTS = 4
BETWEEN_S = (0.0, 6.0)


class Analyst(threading.Thread):
    """Enters verdicts and planned works, each again until it is told that it is stored, and looks at alarms.

    Parameters
    ----------
    number : int
    url : str
        Of the app.
    token : str
    day : str
    events : list of str
    """

    def __init__(self, number: int, url: str, token: str, day: str, events: list[str]) -> None:
        super().__init__(daemon=True)
        self.number, self.url, self.day, self.events = number, url, day, events
        self.session = requests.Session()
        self.session.headers["authorization"] = f"Bearer {token}"
        self.sent: list[str] = []
        self.stored: list[str] = []
        self.wrong: list[str] = []
        self.ended = threading.Event()

    def run(self) -> None:
        """Judge until it is ended; the last entry is seen through."""
        for i in count():
            if self.ended.is_set():
                return
            event, entry = self.events[i % len(self.events)], f"entry-{self.number}-{i:05d}"
            alarm = f"/api/days/{self.day}/alarms/{event}"
            self.sent.append(entry)
            if i % 4:
                body = {"entry_id": entry, "who": "Ada", "verdict": verdicts.VERDICTS[i % 4]}
                self._asked("POST", f"{alarm}/verdicts", body)
            else:
                times = {"start": f"{self.day}T00:05:00Z", "end": f"{self.day}T00:20:00Z"}
                place = {"fibre": "north", "first_m": 90, "last_m": 130, "why": "new valve"}
                self._asked("POST", "/api/planned", {"entry_id": entry, "who": "Ada"} | place | times)
            self.stored.append(entry)
            if i % 16 == self.number:
                self._asked("GET", f"{alarm}/picture?what=spectrogram")

    def _asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                answer = self.session.request(method, self.url + path, json=body, timeout=60)
            except requests.RequestException:
                time.sleep(0.1)
                continue
            if answer.ok:
                return
            self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
            time.sleep(0.1)
        raise TimeoutError(f"{path} was not answered")


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/api/days", timeout=60).ok
    except requests.RequestException:
        return False


def judged(top: Path, seed: Path, day: str, kills: int, rng: random.Random) -> dict[str, Any]:
    """Kill the review app while clients enter verdicts, and return what became of them.

    Parameters
    ----------
    top : pathlib.Path
        An empty folder.
    seed : pathlib.Path
        Data root with a scored day, which is copied.
    day : str
        That day.
    kills : int
    rng : random.Random
        Of the moments.
    """
    home, data, port = top / "home", top / "data", free_port()
    home.mkdir()
    for part in ("tables", "models", "reports"):
        shutil.copytree(seed / part, data / part)
    (data / "landing").symlink_to((seed / "landing").resolve())
    os.environ |= {"DAGSTER_HOME": str(home), "DASANOM_DATA": str(data)}
    store, token = Store(str(data)), token_of(home)
    events = store.read_day("anomaly_events", day, ["event_id"])["event_id"].to_pylist()[:20]
    url = f"http://127.0.0.1:{port}"
    analysts = [Analyst(n, url, token, day, events) for n in range(CLIENTS)]
    command = [sys.executable, "-m", "dasanom_assets.cli", "review", "--verdicts", "--port", str(port)]
    began = time.monotonic()
    with open(top / "log", "a") as log, patch.object(supervision, "LONGEST_PAUSE", 1.0):
        app = Services({"review app": command}, log)
        app.start()
        killer = Killer(app, "review app", kills, rng, BETWEEN_S, lambda: _answers(url))
        for thread in (*analysts, killer):
            thread.start()
        killer.join()
        for analyst in analysts:
            analyst.ended.set()
            analyst.join()
        app.stop()
    wrong = [line for analyst in analysts for line in analyst.wrong]
    stored, sent = ({e for a in analysts for e in of(a)} for of in (lambda a: a.stored, lambda a: a.sent))
    table = verdicts.entries(store, day)["entry_id"].to_pylist()
    there = table + [work["entry_id"] for work in verdicts.planned_works(store)]
    wrong += [f"{entry} was lost" for entry in sorted(stored - set(there))]
    wrong += [f"{entry} is there twice" for entry in sorted(set(there)) if there.count(entry) > 1]
    wrong += [f"{entry} was never sent" for entry in sorted(set(there) - sent)]
    wrong += [f"{path} is left over" for path in left_over(data)] + [f"{name} lives on" for name in living(home)]
    minutes = round((time.monotonic() - began) / 60, 1)
    return {"stored": len(stored), "troubles": killer.done, "minutes": minutes, "wrong": wrong}
