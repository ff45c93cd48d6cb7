"""`make run`, with the real web server and daemon: it does what is missing, and says what is in its way."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest
import requests
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, instance_for_test

from dasanom_assets.benchmarks.servers import free_port
from dasanom_assets.detection.reference.promise import ENOUGH_DAYS
from dasanom_assets.orchestration.run import PROJECT, TAG, _drop_leftovers, _simulate_if_empty
from dasanom_assets.recordings.simulation import simulate
from dasanom_assets.settings import Settings
from dasanom_tests.conftest import DAYS, QUICKER
from dasanom_tests.orchestration.test_launcher import within

RUN = [sys.executable, "-m", "dasanom_assets.cli", "run", "--exit"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", home)
    return (
        os.environ
        | QUICKER
        | {"DAGSTER_HOME": str(home), "DASANOM_DATA": str(tmp_path / "data"), "DASANOM_REPORTS__URL": ""}
    )


def test_a_busy_port_is_named_with_what_to_do(environment: dict[str, str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run([*RUN, "--port", str(port)], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr
    assert f"make run PORT={port + 1}" in done.stderr


def test_a_second_make_run_beside_the_first_is_refused(environment: dict[str, str]) -> None:
    import fcntl

    with open(Path(environment["DAGSTER_HOME"]) / ".dasanom-run.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run([*RUN, "--port", str(free_port())], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "another `make run` is at work" in done.stderr


def test_an_empty_landing_gets_days_enough_to_learn_from_and_one_with_threats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[date], Path]] = []
    monkeypatch.setattr(simulate, "simulate_days", lambda line, days, root: asked.append((days, root)))
    before = datetime.now(UTC).date()
    _simulate_if_empty(Settings(data=str(tmp_path)))
    ((days, root),) = asked
    assert (len(days), root) == (ENOUGH_DAYS + 1, tmp_path)
    assert days == sorted(days)
    assert days[-1] + timedelta(days=1) in (before, datetime.now(UTC).date())  # yesterday, also around midnight
    (tmp_path / "landing" / DAYS[0]).mkdir(parents=True)
    (tmp_path / "landing" / DAYS[0] / "some.bin").write_bytes(b"a delivery")
    _simulate_if_empty(Settings(data=str(tmp_path)))
    assert len(asked) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_keeps_its_doors_shut_its_servers_up_and_takes_them_with_it(environment: dict[str, str]) -> None:
    foreign = Path(environment["DASANOM_DATA"]) / "landing" / DAYS[0] / "foreign.bin"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"no recording")
    (Path(environment["DAGSTER_HOME"]) / "logs").mkdir()
    (Path(environment["DAGSTER_HOME"]) / "logs" / "event.log").write_text("what Dagster would post")
    posted: list[str] = []
    port, review_port = free_port(), free_port()
    url, review = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{review_port}"
    command = [argument for argument in RUN if argument != "--exit"]
    with (
        listener(posted) as telemetry,
        subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment | {"DAGSTER_TELEMETRY_URL": telemetry, "DASANOM_REPORTS__URL": review},
            stdout=subprocess.PIPE,
            text=True,
        ) as running,
    ):
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("Watch it on"):
                break
        family = psutil.Process(running.pid).children(recursive=True)
        listening = {c.laddr for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        assert ("127.0.0.1", port) in listening
        assert {address.ip for address in listening} == {"127.0.0.1"}

        assert requests.get(f"{url}/graphql?query=mutation{{setNuxSeen}}", timeout=30).status_code == 405
        evil = {"Host": f"evil.example:{port}"}
        assert requests.get(f"{url}/server_info", headers=evil, timeout=30).status_code == 421

        found = {name: next(p for p in family if name in p.cmdline()) for name in ("web", "review")}
        for name, what, address in (
            ("web", "the web server", f"{url}/server_info"),
            ("review", "the review app", f"{review}/api/days"),
        ):
            found[name].kill()
            for line in running.stdout:
                if line.startswith(f"{what} ended"):
                    break
            assert within(120, lambda: answers(address))  # noqa: B023, it is called here

        running.terminate()
        reported = running.stdout.read()
        assert running.wait(60) == 130
    assert "Stopped." in reported
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))
    assert not [process for process in family if process.is_running()]
    assert posted == []
    assert (Path(environment["DAGSTER_HOME"]) / "logs" / "event.log").exists()
    assert not (Path(environment["DAGSTER_HOME"]) / ".telemetry").exists()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).ok
    except requests.ConnectionError:
        return False


@contextmanager
def listener(posted: list[str]) -> Iterator[str]:
    """An HTTP server that notes what is posted to it, at the address that is given."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["content-length"])).decode(errors="replace"))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_it_materializes_what_is_missing_and_nothing_else(environment: dict[str, str], landing: Path) -> None:
    data = Path(environment["DASANOM_DATA"])
    data.mkdir()
    shutil.copytree(landing / "landing", data / "landing", copy_function=os.link)
    shutil.rmtree(data / "landing" / DAYS[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", environment["DAGSTER_HOME"])
        with DagsterInstance.get() as instance:  # as a killed run leaves it
            left_over = instance.create_run_for_job(_noop(), status=DagsterRunStatus.STARTED, tags=TAG)

        first = subprocess.run([*RUN, "--port", str(free_port())], env=environment, capture_output=True, text=True)
        assert first.returncode == 0, first.stdout + first.stderr
        for line in (
            "ingest 2026-01-06: spectrograms",
            "train: epoch 1 of 8",
            "rescore 2026-01-07: contractor_compar",
        ):
            assert line in first.stdout
        assert "only contractor" in first.stdout
        assert (data / "reports/contractor_comparison/day=2026-01-07/report.html").exists()
        with DagsterInstance.get() as instance:
            assert instance.get_run_by_id(left_over.run_id).status == DagsterRunStatus.CANCELED
            n_runs = instance.get_runs_count()
            by_day = {(run.job_name, run.tags.get("dagster/partition")) for run in instance.get_runs()}
            assert {("ingest", DAYS[1]), ("train", None), ("rescore", DAYS[2])} <= by_day

        again = subprocess.run([*RUN, "--port", str(free_port())], env=environment, capture_output=True, text=True)
        assert again.returncode == 0, again.stdout + again.stderr
        assert "ingest: nothing is missing" in again.stdout
        assert "rescore: nothing is missing" in again.stdout
        with DagsterInstance.get() as instance:
            assert instance.get_runs_count() == n_runs


def _noop():
    from dagster import job

    @job
    def noop() -> None:
        """Do nothing."""

    return noop


def test_a_killed_step_loses_its_place_in_its_pool(tmp_path: Path) -> None:
    limits = {"concurrency": {"pools": {"default_limit": 1}}}
    with instance_for_test(overrides=limits, temp_dir=str(tmp_path)) as instance:
        storage = instance.event_log_storage
        killed, at_work = (
            instance.add_run(DagsterRun(job_name="train", status=status))
            for status in (DagsterRunStatus.CANCELED, DagsterRunStatus.STARTED)
        )
        for run, pool in ((killed, "gpu"), (at_work, "events_so_far")):
            storage.initialize_concurrency_limit_to_default(pool)
            assert storage.claim_concurrency_slot(pool, run.run_id, "step").is_claimed
        _drop_leftovers(instance)
        claimed = {pool: storage.get_concurrency_info(pool).claimed_slots for pool in ("gpu", "events_so_far")}
        assert claimed["gpu"] == []
        assert [slot.run_id for slot in claimed["events_so_far"]] == [at_work.run_id]
