"""All detectors side by side: agreement with the contractor and each other, and clusterings of the same data."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from dasanom_assets.evaluation.choice import FUSED, clusterings, disagreement, flagged_events, gather
from dasanom_assets.evaluation.choice_report import report
from dasanom_assets.evaluation.labelled import means
from dasanom_assets.settings import DetectionSettings, Settings
from dasanom_assets.tables.schemas import SCHEMAS, TIME, vector, with_detectors
from dasanom_assets.tables.store import Store

DAY = "2026-01-05"
T0 = 1_767_571_200
SECOND = 1_000_000_000
CHANNELS, SECONDS = 12, 400
SETTINGS = Settings(detection=DetectionSettings(cluster_windows=400))


def windows(detectors: dict[str, np.ndarray], fused: np.ndarray) -> pa.Table:
    """Rows of `anomaly_scores` with p-values by detector and the fused one, shape (channels, seconds)."""
    channel, second = (
        grid.ravel() for grid in np.meshgrid(np.arange(100, 100 + CHANNELS), np.arange(SECONDS), indexing="ij")
    )
    n = len(channel)
    columns = {
        "fibre": pa.array(["north"] * n),
        "channel": pa.array(channel, pa.int32()),
        "start": pa.array((T0 + second) * SECOND, pa.int64()).cast(TIME),
        "end": pa.array((T0 + second + 8) * SECOND, pa.int64()).cast(TIME),
        "score": pa.array(-np.log10(fused.ravel()), pa.float32()),
        "p_value": pa.array(fused.ravel()),
        "is_anomaly": pa.array(np.zeros(n, bool)),
        "model_version": pa.array(["m"] * n),
        "invalid": pa.array([None] * n, pa.string()),
    }
    for name, p in detectors.items():
        columns |= {
            f"score_{name}": pa.array(-np.log10(p.ravel()), pa.float32()),
            f"p_{name}": pa.array(p.ravel()),
        }
    schema = with_detectors(list(detectors))
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A day on which `good` finds what the contractor reports, `blind` does not, and `mute` says nothing."""
    store = Store(str(tmp_path))
    rng = np.random.default_rng(0)
    good, blind = rng.uniform(0.01, 1, (2, CHANNELS, SECONDS))
    good[4:7, 100:120] = blind[1:3, 300:310] = 1e-5
    detectors = {"good": good, "blind": blind, "mute": np.full(good.shape, 0.5)}
    scores = windows(detectors, np.minimum(good, blind))
    store.write_day("anomaly_scores", DAY, scores)
    n = scores.num_rows
    rows = {name: scores[name] for name in ("fibre", "channel", "start", "end")}
    mu = np.concatenate([rng.normal(-4, 1, (n // 2, 3)), rng.normal(4, 1, (n - n // 2, 3))])
    rows |= {"mu": vector(mu), "logvar": vector(np.zeros_like(mu))}
    rows |= {name: pa.array(np.zeros(n), pa.float32()) for name in ("reconstruction_error", "kl")}
    store.write_day("embeddings", DAY, pa.table(rows))
    channel, row = (
        grid.ravel() for grid in np.meshgrid(np.arange(100, 112), np.arange(SECONDS * 5), indexing="ij")
    )
    alarm = (channel >= 104) & (channel <= 106) & (row >= 520) & (row < 620)
    start = T0 * SECOND + row * (SECOND // 5)
    theirs = {
        "fibre": pa.array(["north"] * len(row)),
        "channel": pa.array(channel, pa.int32()),
        "start": pa.array(start, pa.int64()).cast(TIME),
        "end": pa.array(start + SECOND // 5, pa.int64()).cast(TIME),
        "power": pa.array(np.ones(len(row)), pa.float32()),
    }
    theirs |= {
        f"p_{name}": pa.array(np.zeros(len(row)), pa.float32()) for name in ("walking", "cutting", "machine")
    }
    theirs |= {"p_digging": pa.array(alarm, pa.float32()), "p_noise": pa.array(~alarm, pa.float32())}
    schema = SCHEMAS["contractor_scores"]
    store.write_day(
        "contractor_scores", DAY, pa.table({name: theirs[name] for name in schema.names}, schema=schema)
    )
    event = {
        "fibre": ["north"],
        "event_id": ["c"],
        "start": pa.array([(T0 + 104) * SECOND], pa.int64()).cast(TIME),
        "end": pa.array([(T0 + 124) * SECOND], pa.int64()).cast(TIME),
        "first_channel": [104],
        "last_channel": [106],
        "contractor_class": ["digging"],
        "probability": [1.0],
    }
    store.write_day("contractor_events", DAY, pa.table(event, schema=SCHEMAS["contractor_events"]))
    return store


def test_detectors_stand_beside_the_contractor_and_each_other(store: Store) -> None:
    figures = gather(store, [DAY], SETTINGS, print)
    assert figures["detectors"] == ["good", "blind", "mute", FUSED]
    rows = {row["detector"]: row for row in figures["agreement"]}
    assert (rows["good"]["events_both"], rows["good"]["events_only_us"]) == (1, 0)
    assert (rows["blind"]["events_both"], rows["blind"]["events_only_contractor"]) == (0, 1)
    assert (rows[FUSED]["events_both"], rows[FUSED]["events_only_us"]) == (1, 1)
    assert rows["mute"]["flagged_share"] == 0
    assert rows["good"]["flagged_share"] == pytest.approx(60 / (CHANNELS * SECONDS))
    assert rows["good"]["windows_kappa"] > 0.9 > rows["blind"]["windows_kappa"]
    assert rows["good"]["auc_against_contractor"] > 0.95
    assert rows["mute"]["auc_against_contractor"] == 0.5
    assert rows["good"]["events_an_hour"] == pytest.approx(3600 / SECONDS)
    assert {row["method"] for row in figures["clusterings"]} == {"HDBSCAN", "DBSCAN", "K-Means"}
    page = report(figures)["html"].decode()
    assert "materialize <code>mimii_benchmark</code>" in page
    assert json.loads(report(figures)["json"])["days"] == [DAY]


def test_a_day_without_the_contractor_or_with_other_detectors_does_not_stop_the_rest(store: Store) -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(0.01, 1, (CHANNELS, SECONDS))
    store.write_day("anomaly_scores", "2026-01-06", windows({"good": p}, p))
    said: list[str] = []
    figures = gather(store, [DAY, "2026-01-06"], SETTINGS, said.append)
    assert figures["days"] == [DAY]
    assert any("2026-01-06 is left out" in line for line in said)
    assert gather(store, [], SETTINGS, print)["days"] == []
    assert b"No day has scores" in report(gather(store, [], SETTINGS, print))["html"]


def test_labelled_sets_that_have_results_are_part_of_the_page(store: Store) -> None:
    row = {"snr": "6_dB", "machine": "fan", "id": "id_00", "published_auc": 0.766, "scored_channel_seconds": 200}
    row |= dict.fromkeys(
        ("auc", "partial_auc", "recall", "f1", "accuracy", "precision", "false_alarm_rate"), 0.875
    )
    row |= {"train_seconds": 3.0, "score_seconds": 0.5, "dcase_auc": 0.652, "dcase_partial_auc": 0.526}
    rows = [row | {"detector": name} for name in ("good", FUSED, "dense_autoencoder")]
    labelled = {"set": "part", "rows": rows, "means": means(rows), "published_set": True, "missing": ["much"]}
    labelled |= {"not_scored": [], "false_alarm_rate_asked": 0.1, "machine": {"processor": "x", "cores": 2}}
    store.write_json("reports/mimii_benchmark/part.json", labelled)
    figures = gather(store, [], SETTINGS, print)
    page = report(figures)["html"].decode()
    assert "Labelled: part" in page
    assert "figures of the full set are not yet measured" in page
    assert "0.875" in page
    assert "2.500" in page  # seconds for a thousand channel-seconds


def test_disagreement_is_spearmans_and_the_share_of_the_strangest() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.001, 1, (2, CHANNELS * SECONDS))
    table = pa.table({"p_a": a, "p_b": np.minimum(a, b), "p_c": np.full(len(a), np.nan), "p_value": a})
    result = disagreement(table, ["a", "b", "c", FUSED])
    expected = stats.spearmanr(a, np.minimum(a, b)).statistic
    assert result["rank_correlation"][0][1] == pytest.approx(expected, abs=1e-3)
    assert result["rank_correlation"][0][3] == result["top_overlap"][0][3] == 1.0
    assert result["rank_correlation"][2] == result["top_overlap"][2] == [None] * 4
    top = [set(np.argsort(p)[: result["n_top"]]) for p in (a, np.minimum(a, b))]
    assert result["top_overlap"][0][1] == pytest.approx(len(top[0] & top[1]) / result["n_top"], abs=1e-4)


def test_flagged_windows_that_hang_together_are_one_event() -> None:
    flagged = np.zeros((CHANNELS, SECONDS), bool)
    flagged[2:4, 50:60] = flagged[8, 200:202] = True
    ones = np.ones(flagged.shape)
    events = flagged_events(windows({"a": ones}, ones), flagged.ravel(), SETTINGS)
    event, other = sorted(events.to_pylist(), key=lambda row: row["first_channel"])
    assert (event["first_channel"], event["last_channel"]) == (102, 103)
    assert (event["end"] - event["start"]).total_seconds() == 17
    assert event["start"].timestamp() == T0 + 50
    assert (other["first_channel"], other["last_channel"]) == (108, 108)


def test_clusterings_of_the_same_windows_are_judged_alike() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(centre, 0.3, (150, 3)) for centre in (-3, 0, 3)]).astype(np.float32)
    rows = {row["method"]: row for row in clusterings(points, SETTINGS)}
    assert rows["HDBSCAN"]["n_clusters"] == 3
    assert rows["HDBSCAN"]["silhouette"] > 0.7
    assert rows["K-Means"]["noise_share"] == 0
    assert rows["K-Means"]["n_clusters"] == 8
    assert all(row["windows"] == 450 and row["seconds"] > 0 for row in rows.values())
