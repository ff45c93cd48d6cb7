"""The questions of the docs run as they are written, and DuckDB, Polars and pandas answer alike."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dasanom_assets.tables.schemas import ANALYSTS, KEYS, SCHEMAS, with_detectors
from dasanom_assets.tables.store import Store
from dasanom_assets.tables.verdicts import record_verdict
from dasanom_tests.review.made import MIDNIGHT, SECOND, event, ours, write

PAGE = (Path(__file__).parents[1] / "docs/questions.md").read_text()
HEAD, *PARTS = re.split(r"^## ", PAGE, flags=re.M)
QUESTIONS = {part.splitlines()[0]: re.findall(r"```(sql|python)\n(.*?)```", part, flags=re.S) for part in PARTS}
PREPARED = re.findall(r"```python\n(.*?)```", HEAD, flags=re.S)[0]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    store = Store(str(folder / "data"))
    for day in ("2026-02-27", "2026-03-02", "2026-03-03"):
        mine = [ours(600 + 4000 * k, 40, 20 + k, 24 + k, rate=0.1 * k, event_id=f"{day}-{k}") for k in range(6)]
        theirs = [
            event(605 + 4000 * k, 30, 20 + k, 24 + k, event_id=f"{day}-c{k}")
            | {"contractor_class": "digging" if k % 2 else "walking", "probability": 0.8}
            for k in range(3)
        ] + [event(90, 20, 50, 52, event_id=f"{day}-alone") | {"contractor_class": "cutting", "probability": 0.7}]
        write(store, day, events=mine, theirs=theirs, seconds=7 * 3600)
    start = MIDNIGHT + np.arange(590, 620, 4) * SECOND
    rows = {"fibre": ["north"] * 8, "channel": np.full(8, 21, np.int32), "start": start, "end": start + 8 * SECOND}
    rows |= {"score": np.arange(8, dtype=np.float32), "p_value": np.arange(8) / 8, "is_anomaly": [True] * 8}
    rows |= {"model_version": ["made"] * 8, "invalid": [None] * 8}
    store.write_day("anomaly_scores", "2026-03-02", pa.table(rows, schema=with_detectors([])))
    place = {"fibre": "north", "event_id": "2026-03-02-0", "start": MIDNIGHT, "end": MIDNIGHT + SECOND}
    place |= {"first_channel": 20, "last_channel": 24, "who": "Ada"}
    for name, verdict, undoes in (("1", "true", None), ("2", "false", None), ("3", "undo", "entry-no-2")):
        record_verdict(
            store, "2026-03-02", place | {"entry_id": f"entry-no-{name}", "verdict": verdict, "undoes": undoes}
        )
    return folder


def test_there_are_ten_questions_each_in_three_languages() -> None:
    assert len(QUESTIONS) == 10
    assert {tuple(kind for kind, _ in blocks) for blocks in QUESTIONS.values()} == {("sql", "python", "python")}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_has_one_answer_as_written(question: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    sql, polars, pandas = (text for _, text in QUESTIONS[question])
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    answers: list[Any] = [connection.sql(sql).fetchall()]
    for text in (polars, pandas):
        names: dict[str, Any] = {}
        exec(PREPARED + text, names)
        answer = names["answer"]
        answers.append(
            answer.rows() if isinstance(answer, pl.DataFrame) else list(answer.itertuples(index=False, name=None))
        )
    first, *others = ([tuple(plain(row)) for row in answer] for answer in answers)
    assert first
    for other in others:
        assert other == first


def plain(row: Any) -> Iterator[Any]:
    for value in row:
        if isinstance(value, float | np.floating):
            yield None if np.isnan(value) else round(float(value), 9)
        elif hasattr(value, "isoformat"):
            yield pd.Timestamp(value).timestamp()
        else:
            yield value if isinstance(value, str) or value is None else int(value)


@pytest.mark.parametrize("table", sorted(ANALYSTS))
def test_duckdb_computes_with_the_times_of_the_tables_that_people_compute_with(table: str, tmp_path: Path) -> None:
    rows = SCHEMAS[table].empty_table() if table != "anomaly_scores" else with_detectors([]).empty_table()
    fixed = {
        field.name: pa.list_(pa.float32(), 2) for field in rows.schema if field.type == pa.list_(pa.float32())
    }
    rows = rows.cast(pa.schema([f.with_type(fixed.get(f.name, f.type)) for f in rows.schema]))
    store = Store(str(tmp_path))
    store.write_day(table, "2026-03-02", rows)
    assert store.read_day(table, "2026-03-02").schema.equals(rows.schema)
    file = tmp_path / store.day_path(table, "2026-03-02")
    times = [field.name for field in SCHEMAS[table] if pa.types.is_timestamp(field.type)]
    for name in times:
        sums = f"""date_trunc('hour', "{name}"), "{name}" - "{name}", "{name}" + INTERVAL 1 HOUR"""
        duckdb.sql(f"SELECT {sums} FROM '{file}'")
    assert times or not {"start"} & set(KEYS[table])


def test_times_are_cut_to_microseconds_in_files_and_nanoseconds_stay_where_samples_need_them(
    tmp_path: Path,
) -> None:
    store = Store(str(tmp_path))
    ns = MIDNIGHT + 310_771_334
    write(store, "2026-03-02", events=[ours(1, 2, 3, 4) | {"start": ns}])
    assert store.read_day("anomaly_events", "2026-03-02")["start"].cast(pa.int64())[0].as_py() == ns // 1000 * 1000
    row = store.read_day("recordings", "2026-03-02")
    column = row.schema.get_field_index("start")
    store.write_day(
        "recordings",
        "2026-03-02",
        row.set_column(column, "start", pa.array([ns]).cast(row.schema.field(column).type)),
    )
    assert store.read_day("recordings", "2026-03-02")["start"].cast(pa.int64()).to_pylist() == [ns]
