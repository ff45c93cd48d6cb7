"""A thousand names made to be run, followed or taken for a path are names, wherever they are read and shown."""

import ast
import csv
import io
import random
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from unicodedata import category

import dagster as dg
import markdown
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

import dasanom_assets
from dasanom_assets.comparison.report import day_report
from dasanom_assets.recordings import steps
from dasanom_assets.recordings.assets import _files
from dasanom_assets.recordings.identity import NAMELESS
from dasanom_assets.recordings.listing import UNSEEN
from dasanom_assets.recordings.site_rules import composed
from dasanom_assets.review.app import create_app
from dasanom_assets.settings import Settings
from dasanom_assets.tables import verdicts
from dasanom_assets.tables.metadata import inert
from dasanom_assets.tables.store import Store
from dasanom_tests.comparison.made_days import findings
from dasanom_tests.hostile import hostile
from dasanom_tests.recordings.test_faults import bundle
from dasanom_tests.recordings.test_identity import DAY as DELIVERED
from dasanom_tests.review.conftest import BASE
from dasanom_tests.review.made import DAY, event, ours, write

NAMES = hostile(1000)
FIBRES = [composed(name) or NAMELESS for name in NAMES]
"""As deliveries are read."""
ADDRESSES = ("href", "src", "action", "formaction", "poster", "srcdoc")


class Page(HTMLParser):
    """Counts elements with the names of their attributes, and keeps the addresses that they name."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements = Counter[str]()
        self.addresses: set[str] = set()
        self.drawn = Counter[str]()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[" ".join([tag, *sorted(name for name, _ in attrs)])] += 1
        self.addresses |= {value or "" for name, value in attrs if name in ADDRESSES}

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script":  # Plotly draws some elements of HTML in its texts
            self.drawn.update(re.findall(r"(?<!\\)\\u003c[a-zA-Z!]+", data))

    def handle_comment(self, data: str) -> None:
        self.elements["a comment"] += 1


def as_file(text: str) -> str:
    """Return a text as part of a file's name, as far as the system takes it."""
    return text.replace("/", "∕").replace("\0", "").encode()[:200].decode(errors="ignore")


def test_deliveries_stay_in_their_folders_and_what_is_not_seen_is_told_by_its_code(tmp_path: Path) -> None:
    root, rng = tmp_path / "root", random.Random(1)
    for i, name in enumerate(NAMES[:300]):
        fibre, unit = rng.choice(NAMES), rng.choice(NAMES)
        folder = f"f{as_file(unit)}" if i % 3 == 0 else "f"
        bundle(root, f"{folder}/n{as_file(name)}{i}.bin", samples=2, fibre=fibre, units=unit)
    store, settings = Store(str(root)), Settings(data=str(root))
    steps.recordings(store, DELIVERED, settings)
    rows = store.read_day("recordings", DELIVERED).to_pylist()
    refused = store.metadata("recordings", DELIVERED)["refused"]
    assert len(rows) + sum(path.endswith(".bin") for path, _ in refused) == 300
    assert len(rows) > 150
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    told = [*refused, *([row["fibre"], row["units"] or "", row["path"], *row["issues"]] for row in rows)]
    assert not [text for line in told for text in line if any(category(c) in UNSEEN for c in text)]
    shown = _files(store, DELIVERED, settings).values()
    assert not [value for value in shown if isinstance(value, dg.MarkdownMetadataValue | dg.UrlMetadataValue)]


def app_of(root: Path, names: list[str], said: list[str]) -> TestClient:
    """The app on a day with a fibre of each name, an alarm of both sides on it, and what analysts said."""
    store = Store(str(root))
    mine = [ours(10 + i, 3, 1, 4, name, rate=1e-4, event_id=f"e{i}") for i, name in enumerate(names)]
    theirs = [
        event(10 + i, 3, 1, 4, name, event_id=f"t{i}") | {"contractor_class": name, "probability": 0.9}
        for i, name in enumerate(names)
    ]
    write(store, events=mine, theirs=theirs, fibre=names[0], channels=8)
    for name in ("recordings", "fibres", "heard"):
        table = store.read_day(name, DAY)
        rows = [row | {"fibre": fibre} for fibre in dict.fromkeys(names) for row in table.to_pylist()]
        if name == "recordings":
            rows = [row | {"path": f"landing/{DAY}/{row['fibre']}", "issues": [row["fibre"]]} for row in rows]
        store.write_day(name, DAY, pa.Table.from_pylist(rows, table.schema))
    for i, text in enumerate(said):
        entry = {"entry_id": f"entry-{i:05d}", "who": text, "verdict": "unknown", "note": text, "kind": text}
        box = {key: mine[i][key] for key in ("fibre", "event_id", "start", "end", "first_channel", "last_channel")}
        verdicts.record_verdict(store, DAY, entry | box)
        work = {"entry_id": f"entry-{i:05d}", "who": text, "fibre": names[i], "why": text}
        place = {"first_m": 0, "last_m": 50, "start": datetime(2026, 3, 2, tzinfo=UTC)}
        verdicts.record_planned(store, work | place | {"end": datetime(2026, 3, 3, tzinfo=UTC)})
    return TestClient(create_app(store, Settings(data=str(root))), base_url=BASE)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    return app_of(tmp_path_factory.mktemp("hostile"), FIBRES, [f"{name} x" for name in NAMES[:100]])


def test_a_thousand_names_make_no_element_and_no_address_of_a_page(app: TestClient, tmp_path: Path) -> None:
    plain = app_of(tmp_path, [f"n{i}" for i in range(20)], ["said"] * 10)
    known: dict[str, set[str]] = {}
    for path in ("/days", f"/day/{DAY}", f"/day/{DAY}/map", "/planned"):
        known[path] = set(Page(plain.get(path).text).elements)
    alarms = set(Page(plain.get(f"/day/{DAY}/alarm/e0").text).elements)
    known |= {f"/day/{DAY}/alarm/e{i}": alarms for i in range(0, 100, 3)}
    for path, elements in known.items():
        answer = app.get(path)
        assert answer.status_code == 200, path
        page = Page(answer.text)
        assert set(page.elements) <= elements, path
        assert not [to for to in page.addresses if not re.match(r"[/#](?![/\\])", to)], path


def texts(value: object) -> Iterator[str]:
    """Yield the texts in a value of JSON."""
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(item)


def test_programs_get_names_as_they_are_and_spreadsheets_no_formula(app: TestClient) -> None:
    answer = app.get(f"/api/days/{DAY}/alarms", params={"limit": "500"})
    assert answer.headers["content-type"] == "application/json"
    assert len(set(texts(answer.json())) & set(FIBRES)) > 100
    rows = list(csv.reader(io.StringIO(app.get(f"/api/days/{DAY}/events.csv").text, newline="")))
    assert len(rows) > 1000
    cells = [cell.lstrip() for row in rows for whole in row for cell in re.split(r"[;\t\r\n]", whole)]
    number = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?")
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@") and not number.fullmatch(cell)]


def test_a_report_has_the_elements_of_any_other() -> None:
    names = [" ".join(FIBRES[i:80:8]) for i in range(8)]
    found, plain = (
        Page(day_report(findings(of, channels=8, seconds=60)).html.decode())
        for of in (tuple(names), tuple(f"n{i}" for i in range(8)))
    )
    assert found.elements == plain.elements
    assert found.addresses == plain.addresses
    assert found.drawn == plain.drawn
    assert found.drawn["\\u003cbr"]


def test_a_description_holds_no_markup_whatever_is_named() -> None:
    page = Page("".join(markdown.markdown(f"The fibre {inert(name)} is unknown.") for name in NAMES))
    assert set(page.elements) <= {"p", "em", "strong"}


def test_markdown_of_events_is_our_pictures_alone_and_links_lead_to_our_pages() -> None:
    calls = [
        node
        for path in Path(dasanom_assets.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("MetadataValue.md", "MetadataValue.url"))
    ]
    given = {ast.unparse(call.args[0]) for call in calls}
    assert any(text.startswith("image(") for text in given)
    ours_alone = ("image(", "page", "f'{settings.reports.url}/", 'f"{page}/', "'\\n'.join([*head, *lines])")
    assert not [text for text in given if not text.startswith(ours_alone)]
