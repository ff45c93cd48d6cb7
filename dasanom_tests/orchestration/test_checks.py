"""What the checks say, as plain functions."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.models import checkpoints
from dasanom_assets.orchestration.checks import (
    KEPT_DAYS,
    contract_violations,
    counts_of_last_days,
    no_rows_because,
)
from dasanom_assets.recordings import steps as recordings
from dasanom_assets.recordings.landing import shifted
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms import steps
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.tables.schemas import SCHEMAS, empty
from dasanom_assets.tables.store import Store
from dasanom_tests.recordings.test_measured import patch

DAY = "2026-01-30"
NOON = int(np.datetime64(f"{DAY}T12", "ns").astype(np.int64))
SCORED = {"channel": 1, "score": -0.5, "p_value": 1.0, "is_anomaly": False, "model_version": "m"}
TOLD = {
    "event_id": "e",
    "score": 3.0,
    "rate_per_km_day": 0.5,
    "rate_low": 0.0,
    "rate_high": 2.0,
    "n_windows": 1,
    "beyond_reference": False,
}


def violations(store: Store, table: str, row: dict[str, Any]) -> list[str]:
    when = {"fibre": "north", "start": NOON, "end": NOON + 1_000_000_000}
    store.write_day(table, DAY, pa.Table.from_pylist([when | row], SCHEMAS[table]))
    return contract_violations(store, table, DAY)


@pytest.mark.parametrize(
    ("table", "row", "wrong"),
    [
        ("anomaly_scores", SCORED, []),
        ("anomaly_scores", SCORED | {"score": np.nan}, ["1 values of score are not between -inf and inf"]),
        ("anomaly_scores", SCORED | {"p_value": 0.0}, ["1 values of p_value are not between 4.94066e-324 and 1"]),
        ("anomaly_scores", SCORED | {"p_value": 1.5}, ["1 values of p_value are not between 4.94066e-324 and 1"]),
        ("anomaly_events", TOLD, []),
        *(
            ("anomaly_events", TOLD | {name: -0.1}, [f"1 values of {name} are not between 0 and inf"])
            for name in ("rate_per_km_day", "rate_low", "rate_high")
        ),
    ],
)
def test_numbers_are_what_they_can_be(tmp_path: Path, table: str, row: dict[str, Any], wrong: list[str]) -> None:
    assert violations(Store(str(tmp_path)), table, row) == wrong


def test_a_promise_is_held_against_recent_days_that_the_model_scored_and_did_not_learn_from(
    tmp_path: Path,
) -> None:
    store = Store(str(tmp_path))
    counts = {"10": {"expected": 0.25, "realised": 1}}

    def scored(day: str, model: str = "live") -> str:
        note = {"model_version": model, "vae_version": vae, "counts": counts}
        store.write_day("anomaly_events", day, empty("anomaly_events"), note)
        return day

    learned = shifted(DAY, -2)
    vae = checkpoints.save(store, "vae", {}, {"days": [learned]})
    wanted = [scored(shifted(DAY, 1 - KEPT_DAYS)), scored(shifted(DAY, -1)), scored(DAY)]
    for day in (shifted(DAY, -KEPT_DAYS), learned, shifted(DAY, 1)):
        scored(day)
    scored(shifted(DAY, -3), "another")
    assert counts_of_last_days(store, DAY) == {day: {10.0: {"expected": 0.25, "realised": 1}} for day in wanted}


def test_a_day_without_rows_says_why(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2000, 2)).astype("<f4")
    patch(tmp_path, "short_1.h5", x[:30], 1_000_000, 36_000.017, day=DAY)
    patch(tmp_path, "loud_1.h5", x * np.float32(1e19), 1_000_000, day=DAY)
    store, settings = Store(str(tmp_path)), Settings()
    recordings.recordings(store, DAY, settings)
    with open_client(settings.dask) as dask:
        steps.spectrograms(store, DAY, settings, dask=dask)
    reason = no_rows_because(store, DAY)
    assert "short: the 0.030 s" in reason
    assert "samples are larger than 1e+15" in reason
