"""The contractor's files become rows at the right time and channel, and its alarms become events."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.comparison import contractor
from dasanom_assets.comparison import steps as comparison
from dasanom_assets.comparison.contractor import contractor_events, threat
from dasanom_assets.recordings import steps as recordings_steps
from dasanom_assets.recordings.catalogue import catalogue_files
from dasanom_assets.settings import ComparisonSettings, Settings
from dasanom_assets.tables.schemas import SCHEMAS, mismatch
from dasanom_assets.tables.store import Store

SETTINGS = ComparisonSettings()
SECOND = 1_000_000_000
BEGAN = 1_767_571_200 * SECOND  # 2026-01-05T00:00:00Z
RATE, ZONES, CHANNELS = 100, [[10, 11], [40, 40]], [10, 11, 40]
LAG = SETTINGS.contractor_lag_rows
FOLDER = "landing/2026-01-05"


def contractor_scores(*given: Any, **more: Any) -> tuple[pa.Table, dict[str, Any]]:
    """What the files say as one table, and the notes."""
    tables, notes = contractor.contractor_scores(*given, **more)
    return pa.concat_tables(tables), notes


def deliver(
    root: Path,
    *,
    stem: str = "north_a",
    start: str = "2026-01-05T10:00:00Z",
    samples: int = 4 * RATE,
    prob: np.ndarray | None = None,
    power: np.ndarray | None = None,
    model: int = 1,
) -> Store:
    folder = root / FOLDER
    (folder / f"Model{model}").mkdir(parents=True, exist_ok=True)
    np.zeros((samples, 3), "<i2").tofile(folder / f"{stem}.bin")
    sidecar = {"selected_channel_zones": ZONES, "sampling_rate_hz": RATE, "start_time": start}
    (folder / f"{stem}.bin.info").write_text(json.dumps(sidecar))
    for name, values in (("prob.prob", prob), ("power.pow", power)):
        if values is not None:
            values.astype(np.float32).tofile(folder / f"Model{model}" / f"{stem}.bin_{name}")
    return Store(str(root))


def recordings(store: Store) -> pa.Table:
    return catalogue_files(store, [f["path"] for f in store.listing(FOLDER, recursive=True)]).recordings


def probabilities(n_rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(5), (n_rows, 3)).astype(np.float32)


def powers(n_rows: int) -> np.ndarray:
    real = np.arange(n_rows * 3, dtype=np.float32).reshape(n_rows, 3)
    return np.stack([real, real / real.max()])


def rows_of(table: pa.Table, channel: int) -> list[dict]:
    return [row for row in table.to_pylist() if row["channel"] == channel]


def test_probabilities_lag_the_power_and_both_stand_at_their_channel_and_time(tmp_path: Path) -> None:
    prob, power = probabilities(20 - LAG), powers(20)
    store = deliver(tmp_path, prob=prob, power=power)
    table, notes = contractor_scores(store, recordings(store), SETTINGS)
    assert mismatch("contractor_scores", table.schema) is None
    assert table.num_rows == 60
    assert sorted(set(table["channel"].to_pylist())) == CHANNELS
    assert notes["left_out"] == []
    assert len(notes["files"]) == 2
    assert notes["rows_sum_to_one"] is True
    assert json.loads(json.dumps(notes)) == notes
    for index, channel in enumerate(CHANNELS):
        rows = rows_of(table, channel)
        first = rows[0]["start"].value
        assert first == BEGAN + 10 * 3600 * SECOND
        assert [row["start"].value - first for row in rows] == [k * SECOND // 5 for k in range(20)]
        assert [row["end"].value for row in rows[:-1]] == [row["start"].value for row in rows[1:]]
        np.testing.assert_array_equal([row["power"] for row in rows], power[0, :, index])
        assert all(row["p_noise"] is None for row in rows[:LAG])
        for k, name in enumerate(("p_digging", "p_walking", "p_cutting", "p_machine", "p_noise")):
            np.testing.assert_array_equal([row[name] for row in rows[LAG:]], prob[:, index, k])


def test_rows_end_with_the_recording(tmp_path: Path) -> None:
    store = deliver(tmp_path, samples=4 * RATE + 10, prob=probabilities(21), power=powers(21))
    table, _ = contractor_scores(store, recordings(store), SETTINGS)
    rows = rows_of(table, 40)
    assert len(rows) == 21
    assert rows[-1]["end"].value - rows[0]["start"].value == round(4.1 * SECOND)
    assert (rows[-1]["end"] - rows[-1]["start"]).value == SECOND // 10


def test_rows_of_another_day_can_be_left_out(tmp_path: Path) -> None:
    store = deliver(tmp_path, start="2026-01-05T23:59:58Z", power=powers(20))
    before, after = (contractor_scores(store, recordings(store), SETTINGS, day=f"2026-01-0{d}")[0] for d in (5, 6))
    assert (before.num_rows, after.num_rows) == (30, 30)
    assert max(before["end"].to_pylist()) == min(after["start"].to_pylist())


def test_overlapping_recordings_give_each_row_once(tmp_path: Path) -> None:
    deliver(tmp_path, power=powers(20))
    store = deliver(tmp_path, stem="north_a_2", start="2026-01-05T10:00:03Z", power=powers(20) + 1000)
    table, _ = contractor_scores(store, recordings(store), SETTINGS)
    keys = table.group_by(["fibre", "channel", "start"]).aggregate([])
    assert table.num_rows == keys.num_rows == 3 * 35
    power = [row["power"] for row in rows_of(table, 10)]
    assert power[19] == 19 * 3
    assert power[20] == 1000 + 5 * 3


@pytest.mark.parametrize("damaged", ["prob", "power"])
def test_a_damaged_file_is_named_and_the_other_side_stays(tmp_path: Path, damaged: str) -> None:
    store = deliver(tmp_path, prob=probabilities(20 - LAG), power=powers(20))
    (path,) = (tmp_path / FOLDER / "Model1").glob(f"*_{damaged}.*")
    path.write_bytes(path.read_bytes()[:-4])
    table, notes = contractor_scores(store, recordings(store), SETTINGS)
    (note,) = notes["left_out"]
    assert path.name in note
    assert "whole rows" in note
    missing, kept = ("p_noise", "power") if damaged == "prob" else ("power", "p_noise")
    assert table[missing].null_count == table.num_rows
    assert table[kept].null_count < table.num_rows


def test_what_are_no_probabilities_is_left_out_and_rounding_is_not(tmp_path: Path) -> None:
    store = deliver(tmp_path, prob=probabilities(20) * 7, power=powers(20))
    table, notes = contractor_scores(store, recordings(store), SETTINGS)
    assert "not probabilities" in notes["left_out"][0]
    assert table["p_noise"].null_count == table.num_rows
    almost = np.zeros((14, 3, 5), np.float32)
    almost[..., 4] = np.nextafter(np.float32(1), np.float32(2))
    store = deliver(tmp_path, prob=almost, power=powers(20))
    table, notes = contractor_scores(store, recordings(store), SETTINGS)
    assert notes["left_out"] == []
    assert max(p for p in table["p_noise"].to_pylist() if p is not None) == 1


def quiet(n_rows: int, channels: int = 3) -> np.ndarray:
    prob = np.zeros((n_rows, channels, 5), np.float32)
    prob[..., 4] = 1
    return prob


@pytest.mark.parametrize(
    ("prob", "reason"),
    [
        (quiet(40), "it has 40 rows of 3 channels, and its recording 20 rows, at 5 a second, or 14 with the lag"),
        (quiet(10), "it has 10 rows of 3 channels"),
        (quiet(20, 6), "it has 40 rows of 3 channels"),
        (quiet(20).byteswap(), "big-endian"),
        (probabilities(20).byteswap(), "big-endian"),
        (quiet(20) * np.nan, "none of its numbers is finite"),
        (quiet(20) - 0.5, "not probabilities, they run from -0.5 to 0.5"),
        (probabilities(20).transpose(2, 0, 1), "its classes come first"),
        (quiet(20) * 0, "all of its numbers are 0"),
    ],
)
def test_probabilities_that_do_not_fit_are_left_out(tmp_path: Path, prob: np.ndarray, reason: str) -> None:
    store = deliver(tmp_path, prob=prob, power=powers(20))
    table, notes = contractor_scores(store, recordings(store), SETTINGS)
    (left_out,) = notes["left_out"]
    assert reason in left_out
    assert table["p_noise"].null_count == table.num_rows == 60


@pytest.mark.parametrize(
    ("power", "reason"),
    [
        (powers(21), "it has 21 rows of 3 channels, and its recording 20 rows, at 5 a second"),
        ((powers(20) + np.pi).byteswap(), "big-endian"),
        (powers(20) - 1, "not power, it runs down to -1"),
        (powers(20) * 0, "all of its numbers are 0"),
    ],
)
def test_power_that_does_not_fit_is_left_out(tmp_path: Path, power: np.ndarray, reason: str) -> None:
    store = deliver(tmp_path, prob=probabilities(20), power=power)
    table, notes = contractor_scores(store, recordings(store), SETTINGS)
    (left_out,) = notes["left_out"]
    assert reason in left_out
    assert table["power"].null_count == table.num_rows == 42


def test_rows_of_another_number_of_channels_are_told_from_rows_that_are_missing(tmp_path: Path) -> None:
    deliver(tmp_path, samples=400 * RATE, power=powers(1998))  # a little short
    store = Store(str(tmp_path))
    assert contractor_scores(store, recordings(store), SETTINGS)[1]["left_out"] == []
    table, notes = contractor_scores(
        deliver(tmp_path, samples=6 * RATE, power=np.ones((2, 30, 2))), recordings(store), SETTINGS
    )
    assert table.num_rows == 0
    assert "it has 20 rows of 3 channels" in notes["left_out"][0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_left_out_and_told(tmp_path: Path, value: float) -> None:
    prob, power = probabilities(20), powers(20)
    prob[3, 1, 2], power[0, 8, 0] = value, value
    store = deliver(tmp_path, prob=prob, power=power)
    table, notes = contractor_scores(store, recordings(store), SETTINGS)
    assert [note.partition(": ")[2] for note in notes["left_out"]] == [
        "1 of its 60 values are not finite, and left out"
    ] * 2
    assert rows_of(table, 11)[3 + LAG]["p_digging"] is None
    assert rows_of(table, 10)[8]["power"] is None


@pytest.mark.timeout(20)
def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    store = deliver(tmp_path, power=powers(20))
    os.mkfifo(tmp_path / FOLDER / "Model1" / "north_a.bin_prob.prob")
    catalogued = catalogue_files(store, [f"{FOLDER}/north_a.bin", f"{FOLDER}/north_a.bin.info"]).recordings
    table, notes = contractor_scores(store, catalogued, SETTINGS)
    assert table.num_rows == 60
    assert "a pipe, no file" in notes["left_out"][0]


def test_a_site_may_have_other_rows_and_lag(tmp_path: Path) -> None:
    store = deliver(tmp_path, prob=probabilities(40), power=powers(40))
    (tmp_path / "sites.toml").write_text('[[site]]\nfibre = "north"\nrows_per_second = 10\nlag_rows = 0')
    table, notes = contractor_scores(store, recordings(store), SETTINGS)
    assert notes["left_out"] == []
    rows = rows_of(table, 40)
    assert len(rows) == 40
    assert rows[0]["p_noise"] is not None
    assert (rows[-1]["end"] - rows[-1]["start"]).value == SECOND // 10


def test_the_lowest_model_counts_unless_another_is_named(tmp_path: Path) -> None:
    deliver(tmp_path, model=2, power=powers(20) + 2)
    store = deliver(tmp_path, model=10, power=powers(20) + 10)
    for model, first in ((None, 2), (10, 10)):
        table, _ = contractor_scores(store, recordings(store), SETTINGS, model=model)
        assert rows_of(table, 10)[0]["power"] == first
    assert contractor_scores(store, recordings(store), SETTINGS, model=3)[0].num_rows == 0


def test_a_day_without_contractor_files_has_no_rows(tmp_path: Path) -> None:
    store = deliver(tmp_path)
    table, notes = contractor_scores(store, recordings(store), SETTINGS)
    assert table.schema == SCHEMAS["contractor_scores"]
    assert table.num_rows == 0
    assert notes["rows_sum_to_one"] is None
    assert contractor_events(lambda names: [table.select(names)], SETTINGS).schema == SCHEMAS["contractor_events"]


def scores(rows: list[tuple[int, float, list[float | None]]], fibre: str = "north") -> pa.Table:
    names = ("p_digging", "p_walking", "p_cutting", "p_machine", "p_noise")
    table = []
    for channel, second, p in rows:
        start = BEGAN + round(second * SECOND)
        row = {"fibre": fibre, "channel": channel, "start": start, "end": start + SECOND // 5, "power": 1.0}
        table.append(row | dict(zip(names, p, strict=True)))
    return pa.Table.from_pylist(table, SCHEMAS["contractor_scores"])


def test_threat_is_what_is_not_noise() -> None:
    table = scores(
        [
            (1, 0, [0.2, 0.2, 0.2, 0.1, 0.3]),
            (1, 1, [0.2, 0.9, 0.1, 0.8, 0.9]),  # separate verdicts, which do not sum to 1
            (1, 2, [0.0, 0.0, 0.0, 0.0, 1.0]),
            (1, 3, [None] * 5),
        ]
    )
    values = threat(table)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [0.7, 0.9, 0.0, np.nan], atol=1e-6)


DIG, WALK, NOISE = [0.6, 0.1, 0.1, 0.1, 0.1], [0.0, 0.95, 0.0, 0.0, 0.05], [0.0, 0.0, 0.0, 0.1, 0.9]


def test_alarms_this_close_are_one_event() -> None:
    rows = [(5, k / 5, NOISE) for k in range(100)]
    rows[10] = (5, 2.0, DIG)
    rows[21] = (5, 4.2, WALK)  # 2.0 s after the end of the one before
    rows[33] = (5, 6.6, DIG)  # 2.2 s after
    rows += [(6, 6.6, DIG), (8, 6.6, DIG)]
    events = contractor_events(lambda names: [scores(rows).select(names)], SETTINGS).to_pylist()
    assert [(e["start"].value - BEGAN, e["end"].value - BEGAN) for e in events] == [
        (2 * SECOND, round(4.4 * SECOND)),
        (round(6.6 * SECOND), round(6.8 * SECOND)),
        (round(6.6 * SECOND), round(6.8 * SECOND)),
    ]
    assert [(e["first_channel"], e["last_channel"]) for e in events] == [(5, 5), (5, 6), (8, 8)]
    assert [e["contractor_class"] for e in events] == ["walking", "digging", "digging"]
    np.testing.assert_allclose([e["probability"] for e in events], [0.95, 0.9, 0.9], rtol=1e-6)
    assert len({e["event_id"] for e in events}) == 3


def test_without_joining_only_rows_that_follow_each_other_are_one_event() -> None:
    rows = [(5, 2.0, DIG), (5, 2.2, DIG), (5, 2.6, DIG)]
    assert contractor_events(lambda names: [scores(rows).select(names)], SETTINGS).num_rows == 1
    assert (
        contractor_events(lambda names: [scores(rows).select(names)], ComparisonSettings(join_seconds=0)).num_rows
        == 2
    )


def test_fibres_do_not_touch_and_noise_is_no_alarm() -> None:
    table = pa.concat_tables([scores([(5, 2.0, DIG)]), scores([(5, 2.0, DIG), (5, 2.2, NOISE)], "south")])
    assert contractor_events(lambda names: [table.select(names)], SETTINGS)["fibre"].to_pylist() == [
        "north",
        "south",
    ]


def test_what_comes_without_a_recording_is_left_out_with_the_reason(tmp_path: Path) -> None:
    day = FOLDER.rpartition("/")[2]
    store = deliver(tmp_path, prob=probabilities(20 - LAG))
    for stem in ("north_b", "north_c"):
        deliver(tmp_path, stem=stem, start="2026-01-05T11:00:00Z", prob=probabilities(20 - LAG), power=powers(20))
    for ending in ("", ".info"):
        (tmp_path / FOLDER / f"north_b.bin{ending}").unlink()
    (tmp_path / FOLDER / "north_c.bin").write_bytes(b"odd")
    recordings_steps.recordings(store, day, Settings())
    comparison.contractor_scores(store, day, Settings())
    left_out = store.metadata("contractor_scores", day)["left_out"]
    assert [(line.rpartition("/")[2].split(":")[0], "truncated" in line) for line in sorted(left_out)] == [
        ("north_b.bin_power.pow", False),
        ("north_b.bin_prob.prob", False),
        ("north_c.bin_power.pow", True),
        ("north_c.bin_prob.prob", True),
    ]
    assert store.metadata("contractor_scores", day)["files"] == [f"{FOLDER}/Model1/north_a.bin_prob.prob"]
