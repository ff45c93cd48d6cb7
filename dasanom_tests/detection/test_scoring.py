"""Scores lean on their surroundings, and what has no score says why."""

import itertools
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dasanom_assets import chain
from dasanom_assets.detection.calibration.conformal import fused
from dasanom_assets.detection.events.outlines import hour_of
from dasanom_assets.detection.events.support import ChannelScores, reach_channels, supported
from dasanom_assets.detection.reference.crossfit import CrossFitted, Folds
from dasanom_assets.detection.reference.fitting import fit_reference
from dasanom_assets.detection.reference.model import (
    IncompatibleModelError,
)
from dasanom_assets.detection.scoring import TABLES
from dasanom_assets.models.training_set import build_manifest
from dasanom_assets.settings import (
    BackgroundSettings,
    DaskSettings,
    DetectionSettings,
)
from dasanom_assets.spectrograms import streams
from dasanom_assets.spectrograms.cluster import open_client
from dasanom_assets.tables.schemas import SCHEMAS, TIME, mismatch, with_score
from dasanom_assets.tables.store import Store
from dasanom_tests.detection.conftest import (
    CHANNELS,
    EVENTFUL,
    EVENTS,
    FIBRE,
    FIRST,
    GRID,
    QUIET,
    SECOND,
    SECONDS,
    SETTINGS,
    TRAINED,
    Ground,
    judged,
    made_by_hand,
    noon,
    scored,
    write_day,
)
from dasanom_tests.memory import memory_of

DAY = "2026-01-09"
SILENT, MISSING, GAP, CLIPPED = 100, 200, 300, 400
"""Seconds of channel 103 that are of one level, lack a frame, are not there, and are clipped."""


@pytest.fixture(scope="module")
def broken(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Scores of a day on which channel 101 is dead, 102 saturated, and 103 has bad seconds."""
    root = tmp_path_factory.mktemp("broken") / "line"
    shutil.copytree(ground.root, root)
    store = Store(str(root))

    def spoil(power: np.ndarray) -> None:
        power[3, SILENT] = -70
        power[3, MISSING, 2] = np.nan

    write_day(store, DAY, spoil, {101: "dead", 102: "saturated"})
    gone = (pc.field("channel") == 103) & (pc.field("start") == at(GAP))
    rows = store.read_day("spectrograms", DAY).filter(~gone)
    note = store.metadata("spectrograms", DAY)
    parts = [rows.filter(pc.equal(rows["channel"], c)) for c in range(FIRST, FIRST + CHANNELS)]
    parts = (part.replace_schema_metadata() for part in parts)
    made_by_hand(store, "spectrograms", DAY).write("spectrograms", parts, note)
    clipped = {
        "fibre": FIBRE,
        "channel": 103,
        "start": at(CLIPPED),
        "end": at(CLIPPED + 1),
        "clipped_fraction": 0.1,
    }
    clipped_table = pa.Table.from_pylist([clipped], SCHEMAS["clipped_seconds"])
    made_by_hand(store, "clipped_seconds", DAY).write("clipped_seconds", clipped_table)
    for step in chain.INGEST[3:]:
        step(store, DAY, SETTINGS)
    chain.score(store, DAY, SETTINGS)
    return store.read_day("anomaly_scores", DAY)


def at(second: int) -> pa.Scalar:
    return pa.scalar(noon(DAY) + second * SECOND, pa.int64()).cast(TIME)


def reasons(scores: pa.Table, number: int) -> dict[int, str]:
    """Second to reason of the windows of a channel that have no score."""
    rows = scores.filter(pc.and_(pc.equal(scores["channel"], number), pc.is_valid(scores["invalid"])))
    seconds = (rows["start"].cast(pa.int64()).to_numpy() - noon(DAY)) // SECOND
    return dict(zip(seconds.tolist(), rows["invalid"].to_pylist(), strict=True))


def test_windows_that_cannot_be_scored_say_why(broken: pa.Table) -> None:
    wanted = {}
    for second, reason in ((SILENT, "silent"), (MISSING, "incomplete"), (CLIPPED, "clipped")):
        wanted |= dict.fromkeys(range(second - 3, second + 1), reason)
    # The second of the gap has no row that a window could begin at.
    wanted |= dict.fromkeys(range(GAP - 3, GAP), "incomplete")
    assert reasons(broken, 103) == wanted
    assert set(reasons(broken, 101).values()) == {"dead"}
    assert set(reasons(broken, 102).values()) == {"saturated"}
    assert len(reasons(broken, 101)) == SECONDS - 3
    assert not reasons(broken, 104)


def test_a_window_has_a_score_or_a_reason_and_never_both(broken: pa.Table) -> None:
    none = broken.filter(pc.is_valid(broken["invalid"]))
    numbers = [name for name in broken.column_names if name.startswith(("score", "p_"))]
    assert all(none[name].null_count == none.num_rows for name in numbers)
    assert not any(none["is_anomaly"].to_pylist())
    some = with_score(broken)
    assert all(some[name].null_count == 0 for name in numbers)
    assert np.isfinite(some["p_value"].to_numpy()).all()
    assert none.num_rows + some.num_rows == broken.num_rows
    assert contract_problem(broken) is None


def contract_problem(scores: pa.Table) -> str | None:
    keys = scores.group_by(["fibre", "channel", "start"]).aggregate([])
    return mismatch("anomaly_scores", scores.schema) or (None if len(keys) == len(scores) else "repeated keys")


def test_rows_of_a_channel_are_in_order_of_time(broken: pa.Table) -> None:
    rows = broken.filter(pc.equal(broken["channel"], 103))
    assert (np.diff(rows["start"].cast(pa.int64()).to_numpy()) > 0).all()


@pytest.mark.parametrize("dask", [{"threads": 1}, {"threads": 3}, {"processes": 2}])
def test_rows_are_the_same_whoever_makes_them(
    ground: Ground, dask: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BLOCK_SECONDS", 3 * SECONDS)
    with open_client(DaskSettings(**dask)) as client:
        rows = list(judged(ground.store, EVENTFUL, ground.reference, client=client))
    for table in TABLES:
        made = pa.concat_tables(tables[table] for tables in rows if table in tables)
        assert made.equals(ground.store.read_day(table, EVENTFUL).replace_schema_metadata())


def test_channels_that_have_no_window_have_rows_in_the_scores_alone(ground: Ground, later: Store) -> None:
    write_day(later, DAY, None, {FIRST: "dead"})
    chain.score(later, DAY, SETTINGS)
    channels = [set(later.read_day(table, DAY, ["channel"])["channel"].to_pylist()) for table in TABLES]
    everything = {*range(FIRST, FIRST + CHANNELS)}
    assert channels == [everything - {FIRST}, everything - {FIRST}, everything]


def test_a_model_that_does_not_fit_scores_nothing(ground: Ground) -> None:
    other = SETTINGS.model_copy(update={"background": BackgroundSettings(clip_high=9)})
    with pytest.raises(IncompatibleModelError, match=r"background\.clip_high 9.0 \(model: 15.0\)"):
        next(scored(ground.store, QUIET, ground.reference, other))


def test_a_model_of_another_recipe_scores_nothing(ground: Ground) -> None:
    other = SETTINGS.model_copy(
        update={"reference": SETTINGS.reference.model_copy(update={"support_seconds": 4.0, "density": 0.2})}
    )
    words = r"reference\.density 0\.2 \(model: 0\.5\), reference\.support_seconds 4\.0 \(model: 6\.0\)"
    with pytest.raises(IncompatibleModelError, match=words):
        next(scored(ground.store, QUIET, ground.reference, other))


def of_channel(scores: pa.Table, number: int) -> pa.Table:
    return scores.filter(pc.and_(pc.equal(scores["channel"], number), pc.is_valid(scores["score"])))


def test_a_score_is_the_fusion_of_detectors_and_of_what_is_around(ground: Ground) -> None:
    scores, reference = ground.store.read_day("anomaly_scores", EVENTFUL), ground.reference
    of = {}
    reach = reach_channels(reference.recipe)
    for number in range(107 - reach, 107 + reach + 1):
        rows = of_channel(scores, number)
        raw = {name: rows[f"score_{name}"].to_numpy() for name in reference.fused}
        whole = fused({name: reference.conformal[name] for name in reference.fused}, raw)
        of[number] = ChannelScores(
            FIBRE, number, rows["start"].cast(pa.int64()).to_numpy(), whole, reference.recipe
        )
    rows = of_channel(scores, 107)
    wanted = supported(of.pop(107), of.values())
    np.testing.assert_allclose(rows["score"].to_numpy(), wanted, rtol=1e-4, atol=1e-4)
    for name in ("score", *(f"score_{name}" for name in reference.names)):
        conformal = reference.conformal[name.removeprefix("score_") if name != "score" else "fused"]
        p = rows[name.replace("score", "p") if name != "score" else "p_value"].to_numpy()
        np.testing.assert_allclose(p, conformal.p_values(rows[name].to_numpy()))


def test_detectors_outside_the_fusion_have_columns_and_no_say(ground: Ground) -> None:
    scores, reference = with_score(ground.store.read_day("anomaly_scores", EVENTFUL)), ground.reference
    assert set(reference.names) > set(reference.fused)
    assert {f"score_{name}" for name in reference.names} <= set(scores.column_names)
    only = replace(
        reference,
        detectors={name: d for name, d in reference.detectors.items() if name in reference.fused},
        conformal={name: c for name, c in reference.conformal.items() if name in (*reference.fused, "fused")},
    )
    alone = with_score(pa.concat_tables(scored(ground.store, EVENTFUL, only, SETTINGS)))
    assert alone["score"].equals(scores["score"])
    assert alone["is_anomaly"].equals(scores["is_anomaly"])


def test_a_day_that_was_learned_is_judged_by_detectors_that_have_not_seen_it(ground: Ground, later: Store) -> None:
    manifest = build_manifest(later, [*TRAINED, EVENTFUL], SETTINGS)
    settings = SETTINGS.model_copy(update={"detection": DetectionSettings(detectors=("neighbours", "ranked"))})
    reference = fit_reference(later, manifest, None, "", settings, "cpu")
    crossed = with_score(pa.concat_tables(scored(later, EVENTFUL, reference)))
    knowing = replace(reference, crossed=CrossFitted(Folds({}, 0, 0), []))
    in_sample = with_score(pa.concat_tables(scored(later, EVENTFUL, knowing)))
    channels, seconds, _ = EVENTS["high"]
    start = crossed["start"].cast(pa.int64()).to_numpy() - noon(EVENTFUL)
    channel = crossed["channel"].to_numpy() - FIRST
    planted = (channel == channels.start + 1) & (start >= seconds.start * SECOND) & (start < seconds.stop * SECOND)
    for name in ("score_neighbours", "score_ranked", "score"):
        assert crossed[name].to_numpy()[planted].max() > 1.2 * in_sample[name].to_numpy()[planted].max()
    assert reference.crossed.folds.days == [*TRAINED, EVENTFUL]


def test_channels_are_scored_one_at_a_time(ground: Ground) -> None:
    whole = scored_at_once(ground.store, QUIET)

    def score() -> None:
        for _ in scored(ground.store, QUIET, ground.reference, SETTINGS):
            pass

    score()
    # All windows at once would be held twice: as they are, and as the networks see them.
    peak = min(memory_of(score).peak for _ in range(3))  # other threads of the process come and go
    assert peak < 1.8 * whole


def scored_at_once(store: Store, day: str) -> int:
    """Bytes of the windows of a day."""
    with store.open_day("spectrograms", day) as file:
        return file.metadata.num_rows * SETTINGS.window.seconds * int(np.prod(GRID.row_shape)) * 4


@pytest.mark.parametrize("budget", [1.0, 700.0, 10_000.0])
def test_the_budget_decides_at_each_place_and_hour(ground: Ground, budget: float) -> None:
    detection = SETTINGS.detection.model_copy(update={"budget": budget})
    chosen, rates = SETTINGS.model_copy(update={"detection": detection}), ground.reference.rates
    scores = with_score(pa.concat_tables(scored(ground.store, EVENTFUL, ground.reference, chosen)))
    flagged = scores["is_anomaly"].to_numpy(zero_copy_only=False)
    hour = hour_of(scores["start"].cast(pa.int64()).to_numpy())
    channel, strength = (scores[name].to_numpy() for name in ("channel", "score"))
    limit = {c: rates.thresholds(budget, FIBRE, c) for c in np.unique(channel)}
    np.testing.assert_array_equal(flagged, strength >= [limit[c][h] for c, h in zip(channel, hour, strict=True)])
    some = np.flatnonzero(flagged)[:: max(1, flagged.sum() // 200)]
    told = rates.at(strength[some], [FIBRE] * len(some), channel[some], hour[some])
    assert (rates.decisive(told) <= budget).all()
    assert 0 < flagged.mean() < 0.2


def test_a_greater_budget_flags_what_a_smaller_one_does_and_more(ground: Ground) -> None:
    flagged = []
    for budget in (0.01, 1.0, 2_000.0, 40_000.0):
        detection = SETTINGS.detection.model_copy(update={"budget": budget})
        chosen = SETTINGS.model_copy(update={"detection": detection})
        scores = with_score(pa.concat_tables(scored(ground.store, EVENTFUL, ground.reference, chosen)))
        flagged.append(scores["is_anomaly"].to_numpy(zero_copy_only=False))
    for less, more in itertools.pairwise(flagged):
        assert (more >= less).all()
    assert flagged[0].sum() < flagged[-1].sum()
