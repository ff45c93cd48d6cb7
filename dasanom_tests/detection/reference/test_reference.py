"""What scoring needs beside the networks survives storage, and nothing that is weak stops what is strong.

It is one file of more than 350 lines: each test fits the reference of the same small line.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.detection.detectors.base import Detector, Windows
from dasanom_assets.detection.reference.fitting import drawn, fit_reference
from dasanom_assets.detection.reference.model import Reference, load_reference, promote, save_reference
from dasanom_assets.detection.reference.promise import promise
from dasanom_assets.models.checkpoints import CODE, CheckpointError, load, save
from dasanom_assets.models.training import load_vae
from dasanom_assets.models.training_set import WindowIndex, build_manifest
from dasanom_assets.models.vae import Vae
from dasanom_assets.settings import DetectionSettings, ReferenceSettings, Settings, WindowSettings
from dasanom_assets.tables.schemas import TIME, stack, with_score
from dasanom_assets.tables.store import Store
from dasanom_tests.detection.conftest import (
    CHANNELS,
    EVENTFUL,
    FIRST,
    SECOND,
    SECONDS,
    SETTINGS,
    TRAINED,
    Change,
    Ground,
    noon,
    scored,
    write_day,
)

HERE = "dasanom_tests.detection.reference.test_reference"


class Raises(Detector):
    """Cannot learn."""

    name = "raises"

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> "Raises":
        raise RuntimeError("out of luck")

    def score(self, windows: Windows) -> np.ndarray:
        return np.zeros(len(windows), np.float32)

    def state(self) -> tuple[dict, dict]:
        return {}, {}

    @classmethod
    def restore(cls, tensors: dict, values: dict) -> "Raises":
        return cls()


class Nan(Raises):
    """Learns, and has nothing to say."""

    name = "nan"

    @classmethod
    def fit(cls, reference: Windows, settings: Settings) -> "Nan":
        return cls()

    def score(self, windows: Windows) -> np.ndarray:
        return np.full(len(windows), np.nan, np.float32)


class Constant(Nan):
    """Says the same of all."""

    name = "constant"

    def score(self, windows: Windows) -> np.ndarray:
        return np.full(len(windows), 3, np.float32)


class Stumbles(Nan):
    """Learns, and cannot score."""

    name = "stumbles"

    def score(self, windows: Windows) -> np.ndarray:
        raise RuntimeError("fell over")


class Looks(Stumbles):
    """As `Stumbles`, through a network."""

    name = "looks"
    network = True


def manifest_of(ground: Ground) -> tuple[dict, Vae]:
    _, description = load(ground.store, "vae", ground.reference.vae_version)
    _, manifest = load(ground.store, "training_set", description["training_set"])
    return manifest, load_vae(ground.store, ground.reference.vae_version)


def fitted(
    ground: Ground,
    detectors: tuple[str, ...] = ("neighbours", "ranked"),
    store: Store | None = None,
    manifest: dict | None = None,
    vae: Vae | None = None,
    **recipe: Any,
) -> Reference:
    own, network = manifest_of(ground)
    settings = SETTINGS.model_copy(
        update={
            "detection": DetectionSettings(detectors=detectors),
            "reference": SETTINGS.reference.model_copy(update={"windows": 300, "replicates": 10} | recipe),
        }
    )
    version = ground.reference.vae_version
    return fit_reference(store or ground.store, manifest or own, vae or network, version, settings, "cpu")


def test_a_reference_survives_storage(ground: Ground, tmp_path: Path) -> None:
    store, before = Store(str(tmp_path)), ground.reference
    version = save_reference(store, before)
    assert version == before.version  # what is the same has the same name
    after = load_reference(store, version)
    assert list(after.detectors) == list(before.detectors)
    assert after.names == before.names == list(SETTINGS.detection.detectors)
    for name in ("settings", "grids", "note", "least_score", "fused", "vae_version", "infogan_version"):
        assert getattr(after, name) == getattr(before, name)
    for name in ("windows", "usual"):
        for key, values in getattr(before, name).items():
            np.testing.assert_array_equal(getattr(after, name)[key], values)
    for name, conformal in before.conformal.items():
        for one, other in zip(conformal.state(), after.conformal[name].state(), strict=True):
            np.testing.assert_equal(one, other)
    np.testing.assert_equal(before.rates.state(), after.rates.state())
    np.testing.assert_equal(vars(before.crossed.folds), vars(after.crossed.folds))
    for own, stored in zip(before.crossed.detectors, after.crossed.detectors, strict=True):
        assert list(own) == list(stored) == ["neighbours", "ranked", "temporal"]
        for name, detector in own.items():
            np.testing.assert_equal(detector.state(), stored[name].state())
    with pytest.raises(CheckpointError, match="run the job train first"):
        load_reference(store)


def test_the_recipe_is_stored_with_the_model(ground: Ground) -> None:
    fresh = load_reference(ground.store)
    assert fresh.recipe == SETTINGS.reference
    assert ReferenceSettings(**fresh.settings["reference"]) == SETTINGS.reference
    assert set(fresh.settings["reference"]) == set(ReferenceSettings.model_fields)
    for name in ("neighbours", "ranked"):
        assert fresh.detectors[name].recipe == SETTINGS.reference


def test_a_reference_of_another_version_is_refused(ground: Ground, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    save_reference(store, ground.reference)
    tensors, description = load(store, "reference_model", ground.reference.version)
    gone = [{"name": "old", "class": "gone:Gone", "values": {}}]
    changes = (
        {"grids": None},
        {"detectors": gone},
        {"rates": {"days": 2}},
        {"calibrations": {}, "conformal": None},
    )
    for change in changes:
        older = {key: value for key, value in (description | change).items() if value is not None}
        version = save(store, "reference_model", tensors, older)
        with pytest.raises(CheckpointError, match=r"made by another version.*run the job train"):
            load_reference(store, version)


@pytest.mark.parametrize("kind", ["training_set", "vae", "reference_model"])
def test_a_model_of_other_code_neither_scores_nor_is_fitted_on(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    version, code = ground.reference.version, CODE[kind]
    monkeypatch.setitem(CODE, kind, "after")
    with pytest.raises(
        CheckpointError, match=rf"{kind} \w+ was made by code {code}, which is after now: .*the job train"
    ):
        promote(ground.store, version)


def test_usual_levels_are_the_median_of_the_training_days(ground: Ground) -> None:
    usual = ground.reference.usual
    days = [ground.store.read_day("background", day) for day in TRAINED]
    for name in ("median_db", "mad_db"):
        np.testing.assert_allclose(usual[name], np.median([stack(table[name]) for table in days], axis=0))
    assert usual["channel"].tolist() == days[0]["channel"].to_pylist()


def test_a_reference_is_for_the_settings_that_its_training_set_was_made_with(ground: Ground) -> None:
    manifest, vae = manifest_of(ground)
    changed = SETTINGS.model_copy(
        update={
            "window": WindowSettings(seconds=6),
            "detection": DetectionSettings(detectors=("neighbours",)),
            "reference": SETTINGS.reference.model_copy(update={"windows": 300}),
        }
    )
    result = fit_reference(ground.store, manifest, vae, ground.reference.vae_version, changed, "cpu")
    wanted = ground.reference.settings["reference"] | {"windows": 300}
    assert result.settings == ground.reference.settings | {"reference": wanted}


def test_reference_windows_say_where_they_come_from(ground: Ground) -> None:
    windows = ground.reference.windows
    n = ground.reference.note["reference_windows"]
    assert {len(values) for values in windows.values()} == {n}
    assert SETTINGS.reference.windows / 2 < n <= SETTINGS.reference.windows
    assert set(windows["fibre"]) == {"north"}
    day = set((windows["start_ns"] // (86_400 * SECOND)).astype("datetime64[D]").astype(str))
    assert day == set(TRAINED)
    for name in ("neighbours", "ranked"):
        assert ground.reference.detectors[name].kept.max() < n


def test_drawn_windows_share_as_few_seconds_as_possible() -> None:
    start = np.tile(np.arange(1000), 5) * SECOND
    where = WindowIndex(
        np.full(5000, "n", object), np.repeat(np.arange(5), 1000), start, np.full(5000, "d", object)
    )
    window = WindowSettings()
    for n in (5000, 2500, 700, 100):
        sample = drawn(where, n, window, 0)
        apart = min(8, 5000 // n)
        assert n * 0.75 < len(sample) <= n
        for channel in range(5):
            parts = np.sort(where.start_ns[sample][where.channel[sample] == channel] // SECOND)
            assert np.diff(parts).min() >= apart
        assert (np.diff(sample) > 0).all()
        np.testing.assert_array_equal(sample, drawn(where, n, window, 0))


def test_the_score_of_the_reference_is_counted_as_a_days_is(ground: Ground) -> None:
    reference = ground.reference
    assert reference.fused == ("neighbours", "ranked")
    assert reference.conformal["fused"].n == 2 * CHANNELS * (SECONDS - 3)
    p = reference.conformal["fused"].p_values(np.array([reference.least_score]))[0]
    assert p == pytest.approx(SETTINGS.reference.extend_share, rel=0.01)
    assert reference.rates.strength.min() >= reference.least_score
    assert reference.note["events"] == len(reference.rates.strength) > 5
    assert reference.note["left_out"] == {}


# -- nothing weak stops the strong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weak", "why"),
    [
        ("Raises", r"could not be fitted \(out of luck\)"),
        ("Nan", "gives no reference window a score"),
        ("Constant", "gives all reference windows the same score"),
        ("Stumbles", "fell over"),
        ("Looks", "fell over"),
    ],
)
def test_a_detector_that_fails_is_left_out_with_its_reason_and_the_rest_scores(
    ground: Ground, weak: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    single = fitted(ground)
    with caplog.at_level(logging.WARNING):
        result = fitted(ground, ("neighbours", f"{HERE}:{weak}", "ranked"))
    name = weak.lower()
    assert list(result.note["left_out"]) == [name]
    assert re.search(why, result.note["left_out"][name])
    assert any(f"detector {name} is left out" in record.message for record in caplog.records)
    assert result.names == ["neighbours", "ranked"]
    np.testing.assert_equal(result.rates.state(), single.rates.state())
    assert f"detectors left out: {name}" in promise(result, 1.0).sentence
    again = load_reference(ground.store, save_reference(ground.store, result))  # not live
    assert again.note == result.note


def test_where_none_of_the_fusion_is_left_it_says_why(ground: Ground) -> None:
    with pytest.raises(ValueError, match=r"no detector .*nan.*gives no reference window a score"):
        fitted(ground, (f"{HERE}:Nan",))


def test_a_network_that_collapsed_costs_its_detectors_and_no_others(ground: Ground) -> None:
    _, vae = manifest_of(ground)
    for values in vae.state_dict().values():
        values.zero_()
    result = fitted(ground, ("neighbours", "ranked", "vae", "latent"), vae=vae)
    assert {"neighbours", "ranked"} <= set(result.names)
    assert "latent" in result.note["left_out"]
    np.testing.assert_equal(result.rates.state(), fitted(ground).rates.state())


def changed(ground: Ground, later: Store, change: Change, **recipe: Any) -> Reference:
    """A reference of two days on which all ground is changed."""
    for day in TRAINED:
        write_day(later, day, change)
    return fitted(ground, store=later, manifest=build_manifest(later, list(TRAINED), SETTINGS), **recipe)


def silent_channels(power: np.ndarray) -> None:
    power[3:6] = -60


def one_channel(power: np.ndarray) -> None:
    power[1:] = np.nan


def same_bands(power: np.ndarray) -> None:
    power[..., 1:] = power[..., :1]


def one_band(power: np.ndarray) -> None:
    power[..., :7] = -60 + 0.5 * np.round(np.random.default_rng(0).normal(size=power[..., :7].shape))


@pytest.mark.parametrize("change", [silent_channels, one_channel, same_bands, one_band])
def test_poor_ground_is_learned_from_as_far_as_it_goes(
    ground: Ground, later: Store, change: Callable[[np.ndarray], None]
) -> None:
    result = changed(ground, later, change)
    assert result.names
    assert result.rates.km_days > 0
    assert np.isfinite(result.conformal["fused"].spread)
    assert np.isfinite(result.least_score)
    write_loud(later)
    assert flagged(result, later, "2026-01-09").any()


def test_fifty_windows_are_learned_from(ground: Ground) -> None:
    result = fitted(ground, windows=50)
    assert result.note["reference_windows"] <= 50
    assert result.names == ["neighbours", "ranked"]
    assert flagged(result, ground.store, EVENTFUL).any()


def test_twenty_minutes_of_three_channels_are_learned_from_and_say_what_they_resolve(
    ground: Ground, later: Store
) -> None:
    def three(power: np.ndarray) -> None:
        power[3:] = np.nan

    result = changed(ground, later, three)
    km_days = 3 * 0.005 * 2 * (SECONDS - 3) / 86_400
    assert result.rates.km_days == pytest.approx(km_days)
    reported = promise(result, 1.0)
    assert reported.warning
    assert f"resolve {1 / km_days:.3g} a km and day" in reported.sentence
    assert reported.promised >= 1.0
    # Ten thousand a kilometre and day: within what it resolves.
    assert promise(result, 1e4).resolved


def write_loud(store: Store, decibels: float = 15.0, channel: int = 0) -> None:
    def loud(power: np.ndarray) -> None:
        power[channel, 300:320] += decibels

    write_day(store, "2026-01-09", loud)


def flagged(reference: Reference, store: Store, day: str, budget: float | None = None) -> np.ndarray:
    """Which windows, shape (channels, seconds), are anomalies at what the reference resolves."""
    from dasanom_assets import chain
    from dasanom_assets.models.checkpoints import live_set, set_live

    version = save_reference(store, reference)
    before = live_set(store)
    set_live(store, before | {"reference_model": version})
    settings = SETTINGS.model_copy(
        update={
            "detection": DetectionSettings(
                detectors=SETTINGS.detection.detectors, budget=budget or max(1.0, 2 * reference.rates.finest)
            ),
            "reference": reference.recipe,
        }
    )
    if store.has_day("embeddings", day):
        rows = pa.concat_tables(scored(store, day, load_reference(store), settings))
    else:
        chain.score(store, day, settings)
        rows = store.read_day("anomaly_scores", day)
    set_live(store, before)
    rows = with_score(rows)
    out = np.zeros((CHANNELS, SECONDS), bool)
    second = (rows["start"].cast(pa.int64()).to_numpy() - noon(day)) // SECOND
    out[rows["channel"].to_numpy() - FIRST, second] = rows["is_anomaly"].to_numpy(zero_copy_only=False)
    return out


@pytest.mark.parametrize("decibels", [8.0, -8.0])
def test_ground_that_gets_louder_or_quieter_is_found(ground: Ground, later: Store, decibels: float) -> None:
    def other(power: np.ndarray) -> None:
        power[10:14, 250:300] += decibels

    write_day(later, "2026-01-09", other)
    result = flagged(ground.reference, later, "2026-01-09")
    assert result[11:13, 252:294].mean() > 0.9
    result[8:16, 235:315] = False
    assert result.mean() < 0.01


def test_one_strange_event_of_the_reference_costs_one_event_in_the_rate(ground: Ground, later: Store) -> None:
    def strange(power: np.ndarray) -> None:
        power[7:9, 200:220] += 12

    plain = fitted(ground)
    write_day(later, TRAINED[0], strange)
    # Spectrograms of the other day are as they were.
    result = fitted(ground, store=later, manifest=build_manifest(later, list(TRAINED), SETTINGS))
    bulk = np.quantile(plain.rates.strength, 0.5)
    one, other = (parts.rates.pooled(bulk).rate[0] for parts in (plain, result))
    assert other - one <= 6 * plain.rates.finest
    assert result.rates.strength[0] > 2 * plain.rates.strength[0]
    assert result.rates.strength[1] < 1.5 * plain.rates.strength[0]
    # What is stronger than the strange event is still found.
    write_loud(later, 20.0)
    assert flagged(result, later, "2026-01-09", 1.5 * result.rates.finest)[0, 302:314].all()


def test_the_tables_times_are_those_of_the_schema(ground: Ground) -> None:
    assert ground.store.read_day("anomaly_events", EVENTFUL)["start"].type == TIME
    assert replace(ground.reference, version="x").latent is ground.reference.detectors["latent"]
