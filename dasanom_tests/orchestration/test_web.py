"""A day is materialized by hand: in a real browser, in the real UI."""

import shutil
import time
from pathlib import Path

import pytest

from dasanom_assets.benchmarks.servers import free_port
from dasanom_assets.orchestration.run import PROJECT, wait_until_loaded
from dasanom_assets.orchestration.services import services
from dasanom_assets.tables.store import Store
from dasanom_tests.conftest import DAYS

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.mark.slow
def test_an_engineer_materializes_a_day_in_the_browser(
    landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser: install Debian's chromium")
    from playwright.sync_api import expect, sync_playwright

    data, home, day, port = tmp_path / "data", tmp_path / "home", DAYS[0], free_port()
    data.mkdir()
    home.mkdir()
    (data / "landing").symlink_to(landing / "landing")
    shutil.copy(PROJECT / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DASANOM_DATA", str(data))
    # Deliveries just made are left alone for a minute, so that the sensor does not come before the engineer.
    for path in (landing / "landing" / day).rglob("*"):
        path.touch()
    store = Store(str(data))
    with services(port) as (_, log), sync_playwright() as play:
        wait_until_loaded(port, log)
        browser = play.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": 1600, "height": 950})
        page.set_default_timeout(120_000)  # others may use the machine
        page.goto(f"http://127.0.0.1:{port}/assets/recordings?view=partitions&partition={day}")
        page.get_by_role("button", name="Materialize").first.click()
        page.get_by_role("button", name="Confirm").click()  # the step makes `fibres`, too
        page.get_by_role("button", name="Launch 1 run").click()
        deadline = time.monotonic() + 120
        while not store.has_day("recordings", day) and time.monotonic() < deadline:
            page.wait_for_timeout(500)
        assert store.read_day("recordings", day).num_rows > 0
        page.goto(f"http://127.0.0.1:{port}/assets/recordings?view=partitions&partition={day}")
        expect(page.get_by_text("Materialized").first).to_be_visible(timeout=60_000)
        browser.close()
