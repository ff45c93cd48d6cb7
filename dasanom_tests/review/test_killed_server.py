"""A server that is killed again and again loses no verdict that it has confirmed, and enters none twice."""

import contextlib
import multiprocessing
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
import requests

from dasanom_assets.review.serve import serve
from dasanom_assets.settings import Settings
from dasanom_assets.tables import verdicts
from dasanom_assets.tables.store import Store
from dasanom_tests.review.conftest import TOKEN
from dasanom_tests.review.made import DAY

pytestmark = pytest.mark.slow
WRITERS, EACH, KILLS = 8, 25, 10
"""With 125 each and 20 kills it passes, too, in two minutes of a busy machine."""
SERVERS = multiprocessing.get_context("forkserver")
SERVERS.set_forkserver_preload(["dasanom_assets.review.serve", "dasanom_assets.review.openapi"])


def test_verdicts_of_eight_writers_survive_ten_kills(written: Path, tmp_path: Path) -> None:
    root = str(shutil.copytree(written, tmp_path / "root"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    confirmed: list[str] = []
    deadline = time.monotonic() + 240

    def judge_some(number: int) -> None:
        with requests.Session() as session:
            session.headers["authorization"] = f"Bearer {TOKEN}"
            for i in range(EACH):
                name = f"entry-{number}-{i:04d}"
                body = {"entry_id": name, "who": "Ada", "verdict": "false", "note": name}
                at = f"http://127.0.0.1:{port}/api/days/{DAY}/alarms/dig/verdicts"
                while time.monotonic() < deadline:  # as the page does: sent again until it is confirmed
                    with contextlib.suppress(requests.RequestException):
                        if session.post(at, json=body, timeout=30).status_code == 200:
                            confirmed.append(name)
                            break
                    time.sleep(0.02)

    def started() -> multiprocessing.process.BaseProcess:
        server = SERVERS.Process(target=serve, args=(Settings(data=root), port, TOKEN), daemon=True)
        server.start()
        return server

    server = started()
    with ThreadPoolExecutor(WRITERS) as pool:
        work = [pool.submit(judge_some, number) for number in range(WRITERS)]
        for kill in range(1, KILLS + 1):
            while len(confirmed) < kill * WRITERS * EACH // (KILLS + 1) and time.monotonic() < deadline:
                time.sleep(0.005)
            server.kill()
            server.join()
            server = started()
        wait(work)
    server.kill()
    server.join()
    assert [task.exception() for task in work] == [None] * WRITERS
    assert len(confirmed) == WRITERS * EACH
    store = Store(root)
    verdicts.renew(store)
    rows = verdicts.entries(store, DAY).to_pylist()
    assert sorted(row["entry_id"] for row in rows) == sorted(confirmed)
    assert all(row["note"] == row["entry_id"] for row in rows)
