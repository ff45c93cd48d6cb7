"""A team's instance of real parts: PostgreSQL holds it, nginx is before it, and it comes back from a backup."""

import base64
import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest
import requests
import uvicorn
import yaml

from dasanom_assets.benchmarks.servers import BINARIES, free_port, postgresql
from dasanom_assets.orchestration.gate import own_hosts
from dasanom_assets.orchestration.webserver import gated_app
from dasanom_assets.review.app import create_app
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store
from dasanom_tests.orchestration.test_gate import ATTACKS
from dasanom_tests.orchestration.test_launcher import within
from dasanom_tests.review.conftest import TOKEN
from dasanom_tests.review.made import DAY, ours, write

DEPLOY = Path(__file__).parents[2] / "deploy"
SESSION = requests.Session()
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def database() -> Iterator[dict[str, str]]:
    """A PostgreSQL server of its own with an empty database; gives the variables by which it is found."""
    if not BINARIES:
        pytest.skip("no PostgreSQL: install Debian's postgresql")
    with postgresql(durable=False) as (_, variables):
        yield variables


@pytest.fixture
def home(database: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with the team's `dagster.yaml`, and the environment of the services."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(DEPLOY / "dagster.yaml", home)
    variables = {"DAGSTER_HOME": str(home), "DASANOM_DATA": str(tmp_path / "data"), **database}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return home


@dg.asset
def table() -> dg.MaterializeResult:
    """A table."""
    return dg.MaterializeResult(metadata={"rows": 7})


def test_the_instance_is_in_postgresql_and_comes_back_with_the_data_from_a_backup(
    home: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for name in ("tables/recordings", "landing/2026-01-05", "verdicts"):
        (data / name).mkdir(parents=True)
        (data / name / "file").write_text(name)
    with dg.DagsterInstance.get() as instance:
        assert type(instance.run_storage).__name__ == "PostgresRunStorage"
        run = dg.materialize([table], instance=instance).run_id
    done = subprocess.run([DEPLOY / "backup", tmp_path / "kept"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "hidden" not in done.stdout + done.stderr

    with dg.DagsterInstance.get() as instance:
        instance.delete_run(run)
        later = dg.materialize([table], instance=instance).run_id
    shutil.rmtree(data / "tables")
    shutil.rmtree(data / "verdicts")
    done = subprocess.run([DEPLOY / "restore", tmp_path / "kept"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with dg.DagsterInstance.get() as instance:
        assert instance.get_run_by_id(run).is_success
        assert instance.get_run_by_id(later) is None
        event = instance.get_latest_materialization_event(table.key)
        assert event.asset_materialization.metadata["rows"].value == 7
    assert (data / "tables/recordings/file").read_text() == "tables/recordings"
    assert (data / "verdicts/file").read_text() == "verdicts"
    assert (data / "landing/2026-01-05/file").exists()  # was never touched

    (tmp_path / "kept" / "data.tar").write_bytes(b"damaged")
    done = subprocess.run([DEPLOY / "restore", tmp_path / "kept"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "data.tar" in done.stdout + done.stderr


@contextlib.contextmanager
def served(app: object, port: int) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert within(30, lambda: server.started)
        yield
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def proxy() -> Iterator[int]:
    """The shipped nginx.conf before both web servers, with files and ports of the test; gives its port."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import EmptyWorkspaceTarget

    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("no proxy: install Debian's nginx-light")
    port, operators, analysts, review = (free_port() for _ in range(4))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dasanom-nginx-")))
        folder.chmod(0o755)  # its workers are another user's
        names = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
        request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=das.example.org"]
        subprocess.run(["openssl", *request, *names], check=True, capture_output=True)
        for name in ("operators", "analysts"):
            hashed = subprocess.run(["openssl", "passwd", "-apr1", name], capture_output=True, text=True).stdout
            (folder / name).write_text(f"{name}:{hashed}")
        text = (DEPLOY / "nginx.conf").read_text()
        for before, after in {
            "/etc/dasanom/tls": str(folder),
            "/etc/dasanom": str(folder),
            "listen 443": f"listen 127.0.0.1:{port}",
            "127.0.0.1:3000": f"127.0.0.1:{operators}",
            "127.0.0.1:3001": f"127.0.0.1:{analysts}",
            "127.0.0.1:3002": f"127.0.0.1:{review}",
        }.items():
            assert before in text
            text = text.replace(before, after)
        main = f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\nevents {{}}\n"
        temporary = "".join(
            f"{n}_temp_path {folder}/{n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "main.conf").write_text(
            f"{main}http {{ access_log {folder}/access.log; {temporary}\n{text} }}\n"
        )
        instance = stack.enter_context(dg.instance_for_test())
        for server_port, host, read_only in (
            (operators, "das.example.org", False),
            (analysts, "analysts.das.example.org", True),
        ):
            context = WorkspaceProcessContext(instance, EmptyWorkspaceTarget(), "0", read_only=read_only)
            hosts = own_hosts(server_port, [f"{host}:{port}"])
            app = gated_app(stack.enter_context(context), hosts, read_only=read_only)
            stack.enter_context(served(app, server_port))
        store = Store(str(stack.enter_context(tempfile.TemporaryDirectory())))
        write(store, events=[ours(600, 40, 20, 24, event_id="dig")])
        stack.enter_context(served(create_app(store, Settings(data=store.full("")), TOKEN), review))
        running = subprocess.Popen([nginx, "-c", folder / "main.conf"], stderr=subprocess.PIPE, text=True)
        try:
            assert within(30, lambda: running.poll() is not None or answers(port)), "nginx does not answer"
            assert running.poll() is None, running.stderr.read()
            yield port
            assert TOKEN not in (folder / "access.log").read_text()
        finally:
            running.terminate()
            running.wait(20)


def answers(port: int) -> bool:
    time.sleep(0.1)
    try:
        return requests.get(f"https://127.0.0.1:{port}/", verify=False, timeout=5).status_code == 421
    except requests.ConnectionError:
        return False


HOSTS = {"operators": "das.example.org", "analysts": "analysts.das.example.org"}
REVIEW = "review.das.example.org"


def asked(port: int, name: str, method: str, path: str, headers: dict[str, str], **more) -> int:
    login = base64.b64encode(f"{name}:{name}".encode()).decode()
    sent = {"Host": f"{HOSTS[name]}:{port}", "Authorization": f"Basic {login}"} | headers
    sent = {key: value for key, value in sent.items() if value}
    url = f"https://127.0.0.1:{port}{path}"
    return SESSION.request(method, url, headers=sent, verify=False, timeout=60, **more).status_code


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
def test_nothing_passes_the_proxy_but_json_from_its_own_pages_after_a_login(proxy: int) -> None:
    evil, plain = {"Origin": "https://evil.example"}, {"Content-Type": "text/plain"}
    for name in ("operators", "analysts"):
        for text in ATTACKS.values():
            body, address = {"query": text}, f"/graphql?query={quote(text)}"
            statuses = [
                asked(proxy, name, "GET", address, {}),
                asked(proxy, name, "POST", "/graphql", plain, data=text),
                asked(proxy, name, "POST", "/graphql", evil, json=body),
                asked(proxy, name, "POST", "/graphql", {"Origin": "null"}, json=body),
                asked(proxy, name, "POST", "/graphql", {"Host": "evil.example"}, json=body),
                asked(proxy, name, "POST", "/graphql", {"Authorization": ""}, json=body),
            ]
            assert statuses == [405, 415, 403, 403, 421, 401], (name, text)
            if name == "analysts":
                assert asked(proxy, name, "POST", "/graphql", {}, json=body) == 403


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
def test_its_own_pages_work_for_who_has_a_login(proxy: int) -> None:
    for name, host in (("operators", "das.example.org"), ("analysts", "analysts.das.example.org")):
        own = {"Origin": f"https://{host}:{proxy}"}
        assert asked(proxy, name, "POST", "/graphql", own, json={"query": "{ version }"}) == 200
        assert asked(proxy, name, "GET", "/runs", {}) == 200
    own = {"Origin": f"https://das.example.org:{proxy}"}
    assert asked(proxy, "operators", "POST", "/graphql", own, json={"query": "mutation { setNuxSeen }"}) == 200


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
def test_the_review_app_is_read_after_a_login_and_written_from_its_own_pages_by_who_opened_the_link(
    proxy: int,
) -> None:
    here, way = {"Host": f"{REVIEW}:{proxy}"}, f"/api/days/{DAY}/alarms/dig/verdicts"
    own = here | {"Origin": f"https://{REVIEW}:{proxy}"}
    body = {"entry_id": "entry-0001", "who": "Ada", "verdict": "true"}
    assert asked(proxy, "analysts", "GET", "/days", here) == 200
    for refused in (
        {"Authorization": ""},
        {"Authorization": "Basic " + base64.b64encode(b"operators:x").decode()},
    ):
        assert asked(proxy, "analysts", "GET", "/days", here | refused) == 401
        assert asked(proxy, "analysts", "POST", way, own | refused, json=body) == 401
    assert asked(proxy, "analysts", "POST", way, own, json=body) == 403  # without the link
    entered = requests.get(
        f"https://127.0.0.1:{proxy}/enter",
        params={"token": TOKEN},
        headers=here,
        auth=("analysts", "analysts"),
        verify=False,
        allow_redirects=False,
        timeout=60,
    )
    assert (entered.status_code, entered.headers["location"]) == (303, "/days")
    cookie = entered.headers["set-cookie"]
    assert all(word in cookie.lower() for word in ("secure", "httponly", "samesite=strict"))
    own |= {"Cookie": cookie.split(";")[0]}
    evil = {"Origin": "https://evil.example"}
    assert asked(proxy, "analysts", "POST", way, own | evil, json=body) == 403
    assert asked(proxy, "analysts", "POST", way, own | {"Origin": "null"}, json=body) == 403
    assert asked(proxy, "analysts", "POST", way, own | {"Sec-Fetch-Site": "cross-site"}, json=body) == 403
    assert (
        asked(proxy, "analysts", "POST", way, own | {"Content-Type": "text/plain"}, data=json.dumps(body)) == 415
    )
    assert asked(proxy, "analysts", "POST", way, own, data=body) == 415  # a form
    assert asked(proxy, "analysts", "PUT", way, own, json=body) == 415
    assert asked(proxy, "analysts", "POST", way, own | {"Host": "evil.example"}, json=body) in (403, 421)
    assert asked(proxy, "analysts", "POST", way, own, json=body) == 200


def test_units_listen_on_this_machine_only_and_containers_publish_the_proxy_alone() -> None:
    units = {path.stem: path.read_text() for path in (DEPLOY / "systemd").glob("*.service")}
    assert units.keys() >= {"dasanom-code", "dasanom-web", "dasanom-analysts", "dasanom-daemon", "dasanom-review"}
    assert not any("0.0.0.0" in text for text in units.values())
    assert "--read-only" in units["dasanom-analysts"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    proxied = set(re.findall(r"proxy_pass http://127.0.0.1:(\d+)", (DEPLOY / "nginx.conf").read_text()))
    commands = [service.get("command", []) for service in compose["services"].values()]
    for port in proxied:  # each has something behind it
        assert any(f"--port {port}" in text for text in units.values())
        assert any(port in command for command in commands)
    assert [name for name, service in compose["services"].items() if service.get("ports")] == ["nginx"]
    team, own = (
        yaml.safe_load(path.read_text()) for path in (DEPLOY / "dagster.yaml", DEPLOY.parent / "dagster.yaml")
    )
    assert {key: value for key, value in team.items() if key != "storage"} == own
    for values in (DEPLOY / "helm").glob("*.yaml"):
        assert yaml.safe_load(values.read_text())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    units = []
    for path in (DEPLOY / "systemd").glob("*.service"):
        text = (
            path.read_text().replace("/opt/dasanom/.venv/bin/", "/bin/true #").replace("User=dasanom", "User=root")
        )
        (tmp_path / path.name).write_text(text)
        units.append(str(tmp_path / path.name))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "dasanom" in line and "postgresql" not in line]
    assert said == []
