"""Take the README's pictures of the product as it is: the report and the stages of the last `make run`.

Needs Debian's chromium (`apt-get install chromium`), and the results of `make run`; starts its own web server.
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


@contextlib.contextmanager
def web_server() -> Iterator[str]:
    """Run a read-only web server on a free port and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        Path(sys.executable).with_name("dagster-webserver"),
        "--read-only",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    server = subprocess.Popen([*command, "-w", PROJECT / "workspace.yaml"], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(360):
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{url}/server_info", timeout=5).ok:
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


def main() -> int:
    """Write `report.png` and `assets.png` beside this file."""
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
        with web_server() as url:
            shoot(page, f"{url}/asset-groups", "assets.png", 25, sorted(STAGES))
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
