"""A small made day, and the app on it."""

import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dasanom_assets.review.app import create_app
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store
from dasanom_tests.review.made import DAY, event, ours, write

TOKEN = "a-token-of-the-test"
BASE = "http://127.0.0.1"


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day with a dig of both sides, a lorry in pieces, a lone alarm of ours, and single cells."""
    root = tmp_path_factory.mktemp("day")
    store = Store(str(root))
    dig = ours(600, 40, 20, 24, rate=1e-4, event_id="dig")
    lorry = [ours(1000 + i, 3, 40 + 4 * i, 44 + 4 * i, rate=0.01, event_id=f"lorry-{i}") for i in range(3)]
    alone = ours(2000, 30, 10, 12, rate=0.5, event_id="alone")
    theirs = [
        event(598, 44, 20, 24, event_id="their-dig") | {"contractor_class": "digging", "probability": 0.99},
        *(
            event(100 * i, 0.2, 50, 50, event_id=f"cell-{i}") | {"contractor_class": "walking", "probability": 0.6}
            for i in range(4)
        ),
    ]
    planted = {layer: [(slice(30, 31), slice(1234, 1235), 200)] for layer in ("power", "contractor", "ours")}
    write(store, events=[dig, *lorry, alone], theirs=theirs, cells=planted)
    return root


@pytest.fixture
def store(written: Path, tmp_path: Path) -> Store:
    """A copy of that day, to change."""
    shutil.copytree(written, tmp_path / "root")
    return Store(str(tmp_path / "root"))


@pytest.fixture
def reader(store: Store) -> TestClient:
    """Of a server that only reads."""
    return TestClient(create_app(store, Settings(data=store.full(""))), base_url=BASE)


@pytest.fixture
def writer(store: Store) -> TestClient:
    """Of a server with verdicts, who has the token."""
    app = create_app(store, Settings(data=store.full("")), TOKEN)
    return TestClient(app, base_url=BASE, headers={"authorization": f"Bearer {TOKEN}"})


def rows_of(client: TestClient, day: str = DAY, **query: str) -> list[dict]:
    answer = client.get(f"/api/days/{day}/alarms", params={"limit": "500", **query})
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"]


def judge(client: TestClient, event_id: str, verdict: str, entry: str, **more: str):
    body = {"entry_id": entry, "who": "Ada", "verdict": verdict} | more
    return client.post(f"/api/days/{DAY}/alarms/{event_id}/verdicts", json=body)
