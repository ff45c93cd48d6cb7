"""In a real browser: pictures, rows and address belong together, and nothing leaves the machine."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from dasanom_assets.review.app import create_app
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store
from dasanom_tests.review.conftest import TOKEN
from dasanom_tests.review.made import DAY, MIDNIGHT
from dasanom_tests.review.test_app import PAGES

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium")]
US = 1_000_000


@pytest.fixture(scope="module")
def address(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = shutil.copytree(written, tmp_path_factory.mktemp("browser") / "root")
    app = create_app(Store(str(root)), Settings(data=str(root)), TOKEN)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as play:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address: str) -> Iterator[object]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    # The made day has no recordings to hear or see more of.
    page.on(
        "console",
        lambda line: wrong.append(line.text) if line.type == "error" and "(Not Found)" not in line.text else None,
    )
    page.on(
        "request", lambda r: wrong.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else None
    )
    yield page
    page.close()
    assert wrong == []


def test_no_page_breaks_a_rule_of_accessibility(browser, address: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = browser.new_context(bypass_csp=True)  # axe is put into the page
    page = context.new_page()
    page.goto(f"{address}/enter?token={TOKEN}")
    found = {}
    for path in PAGES:
        page.goto(f"{address}{path}")
        page.wait_for_load_state("networkidle")
        if broken := axe.run(page).response["violations"]:
            found[path] = [(rule["id"], [node["target"] for node in rule["nodes"]]) for rule in broken]
    context.close()
    assert found == {}


def shown(page) -> dict:
    """What of the day is in sight, once its pictures have come."""
    page.wait_for_selector("#panels[data-loaded]")
    page.wait_for_timeout(400)
    return page.evaluate("JSON.parse(document.querySelector('#panels').dataset.loaded)")


def test_a_row_zooms_the_pictures_and_the_address_says_so(page, address: str) -> None:
    page.goto(f"{address}/day/{DAY}")
    whole = shown(page)
    page.locator('#list tr[data-row="dig"]').click(position={"x": 300, "y": 10})
    part = shown(page)
    begin = MIDNIGHT // 1000
    assert part["from"] < begin + 598 * US < begin + 642 * US < part["to"]
    assert part["first"] < 20 < 24 < part["last"]
    assert part["to"] - part["from"] < (whole["to"] - whole["from"]) / 5
    assert "row=dig" in page.url
    assert "view=" in page.url
    page.reload()
    assert shown(page) == part
    assert page.locator('#list tr[data-row="dig"]').get_attribute("class") == "chosen"


def test_metres_are_channel_times_spacing_after_every_zoom(page, address: str) -> None:
    page.goto(f"{address}/day/{DAY}")
    shown(page)
    canvas = page.locator("#panels canvas").first
    for act in ("in", "out", "all", "drag", "double"):
        box = canvas.bounding_box()
        if act == "drag":
            page.mouse.move(box["x"] + 200, box["y"] + 30)
            page.mouse.down()
            page.mouse.move(box["x"] + 500, box["y"] + 120, steps=4)
            page.mouse.up()
        elif act == "double":
            canvas.dblclick(position={"x": 300, "y": 60})
        else:
            page.click(f"#{act}")
        shown(page)
        for y in (20, 80, 140):
            canvas.hover(position={"x": 400, "y": y})
            words = page.locator("#cursor").inner_text()
            channel, metre = (
                float(part.split()[k]) for part, k in zip(words.split(" · ")[1:], (1, 0), strict=True)
            )
            assert metre == pytest.approx(channel * 5)


def test_all_of_a_day_is_reached_by_keyboard(page, address: str) -> None:
    page.goto(f"{address}/day/{DAY}")
    whole = shown(page)
    page.locator("#panels canvas").first.focus()
    page.keyboard.press("+")
    assert shown(page)["to"] - shown(page)["from"] < whole["to"] - whole["from"]
    page.keyboard.press("0")
    assert shown(page) == whole
    page.locator("#list tr[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    second = page.evaluate("document.activeElement.dataset.row")
    assert second == page.locator("#list tbody tr").nth(1).get_attribute("data-row")
    page.keyboard.press("Enter")
    page.wait_for_url("**/alarm/**")
    assert second in page.url


def test_a_verdict_is_given_and_taken_back_on_the_page_of_an_alarm(page, address: str) -> None:
    page.goto(f"{address}/enter?token={TOKEN}")
    page.goto(f"{address}/day/{DAY}/alarm/alone")
    page.fill("#verdict [name=who]", "<b>Ada</b>")
    page.fill("#verdict [name=note]", "<script>alert(1)</script>")
    page.click("#verdict button[value=false]")
    page.wait_for_selector("#said button")
    assert "by <b>Ada</b>: <script>alert(1)</script>" in page.locator("#said").inner_text()
    page.click("#said button")
    page.get_by_text("Nobody has judged it yet").wait_for()
