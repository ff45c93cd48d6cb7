"""Take the pictures of README and docs from the last `make run`: report, stages, and the review app.

Needs Debian's chromium (`apt-get install chromium`), and the results of `make run`; starts its own servers.
"""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import requests
from playwright.sync_api import Page, sync_playwright

from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store

DOCS = Path(__file__).resolve().parent
PROJECT = DOCS.parent
STAGES = ("recordings", "spectrograms", "models", "detection", "comparison", "benchmarks")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


DAGSTER = ("dagster-webserver", "--read-only", "-h", "127.0.0.1", "-w", str(PROJECT / "workspace.yaml"), "-p")
REVIEW = ("dasanom", "review", "--port")
"""Servers that only read, but for their port."""


@contextlib.contextmanager
def served(program: str, *options: str) -> Iterator[str]:
    """Run a server on a free port, which ends its options, and yield its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name(program), *options, str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(360):
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(url, timeout=60).ok:
                    break
            time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def shoot(page: Page, url: str, name: str, seconds: float, unfolded: Sequence[str] = ()) -> None:
    """Open `url`, give it time to draw, unfold groups of the list beside the graph, and keep a picture of it."""
    page.goto(url)
    page.wait_for_timeout(seconds * 1000)
    for group in reversed(unfolded):  # from below: what is unfolded moves the others
        box = page.get_by_text(group, exact=True).first.bounding_box()
        if box is None:
            raise RuntimeError(f"the list of {url} does not show the group {group}")
        page.mouse.click(box["x"] - 40, box["y"] + box["height"] / 2)
        page.wait_for_timeout(500)
    page.mouse.move(page.viewport_size["width"] // 2, 5)  # type: ignore[index]
    page.wait_for_timeout(500)
    page.screenshot(path=DOCS / name)
    print(DOCS / name)


def shoot_review(page: Page, url: str, store: Store) -> None:
    """Keep pictures of the last day that has alarms of ours, and of the one to look at first."""
    days = [day for day in store.days("anomaly_events") if store.read_day("anomaly_events", day).num_rows]
    if not days:
        raise RuntimeError("no day has an alarm of ours to show")
    rows = requests.get(f"{url}/api/days/{days[-1]}/alarms", timeout=120).json()["rows"]
    alarm = next(row["id"] for row in rows if row["agreement"] in ("both", "only_us"))
    page.set_viewport_size({"width": 1440, "height": 1500})
    shoot(page, f"{url}/day/{days[-1]}", "review-day.png", 6)
    page.goto(f"{url}/day/{days[-1]}/alarm/{alarm}")
    page.wait_for_selector("body[data-done]", timeout=120_000)  # now it is quick
    shoot(page, page.url, "review-alarm.png", 6)


def main() -> int:
    """Write `report.png`, `assets.png`, `review-day.png` and `review-alarm.png` beside this file."""
    store = Store(Settings().data)
    days = store.days("event_matches")
    chromium = shutil.which("chromium")
    if not days or chromium is None:
        print("make pictures: needs chromium, and a finished `make run`", file=sys.stderr)
        return 1
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": 1280, "height": 1780})
        folder = f"reports/contractor_comparison/day={days[-1]}"
        (report,) = [f["path"] for f in store.listing(folder) if f["path"].endswith(".html")]
        with store.local(report) as local:
            shoot(page, local.as_uri(), "report.png", 6)
        page.set_viewport_size({"width": 1600, "height": 1280})
        with served(*DAGSTER) as url:
            shoot(page, f"{url}/asset-groups", "assets.png", 40, sorted(STAGES))
        with served(*REVIEW) as url:
            shoot_review(page, url, store)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
