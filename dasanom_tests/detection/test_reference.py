"""What scoring needs beside the networks survives storage, and says where it comes from and what it lacks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dasanom_assets.detection.reference import fit_reference, load_reference, save_reference
from dasanom_assets.detection.thresholds import Calibration
from dasanom_assets.models.checkpoints import CheckpointError, load, save
from dasanom_assets.models.training import load_vae
from dasanom_assets.models.training_set import split_of
from dasanom_assets.settings import DetectionSettings, WindowSettings
from dasanom_assets.tables.schemas import stack
from dasanom_assets.tables.store import Store
from dasanom_tests.detection.conftest import SETTINGS as SETTINGS_OF_GROUND
from dasanom_tests.detection.conftest import TRAINED, Ground


def test_a_reference_survives_storage(ground: Ground, tmp_path: Path) -> None:
    store, before = Store(str(tmp_path)), ground.reference
    version = save_reference(store, before)
    assert version == before.version  # what is the same has the same name
    after = load_reference(store, version)
    assert list(after.detectors) == list(before.detectors)
    assert (after.settings, after.grids, after.note) == (before.settings, before.grids, before.note)
    assert (after.restless, after.vae_version) == (before.restless, before.vae_version)
    for name in ("windows", "usual"):
        for key, values in getattr(before, name).items():
            np.testing.assert_array_equal(getattr(after, name)[key], values)
    for name, calibration in before.calibrations["usual"].items():
        same = after.calibrations["usual"][name]
        np.testing.assert_array_equal(same.scores, calibration.scores)
        assert same.to_dict() == calibration.to_dict()
    with pytest.raises(CheckpointError, match="run the job train first"):
        load_reference(store)


def test_restless_channels_and_their_calibration_survive_storage(ground: Ground, tmp_path: Path) -> None:
    usual = ground.reference.calibrations["usual"]
    both = {"usual": usual, "restless": {**usual, "fused": Calibration.fit(np.arange(500.0), np.inf)}}
    restless = frozenset({("north", 104), ("south", 7)})
    store = Store(str(tmp_path))
    version = save_reference(store, replace(ground.reference, calibrations=both, restless=restless))
    after = load_reference(store, version)
    assert after.restless == restless
    assert after.of("north", 104)["fused"].scores[-1] == 499
    assert after.of("north", 105)["fused"].scores[-1] == usual["fused"].scores[-1]


def test_a_reference_of_another_version_says_to_train(ground: Ground, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    tensors, description = load(ground.store, "reference_model", ground.reference.version)
    without = {
        of: {name: c for name, c in each.items() if not name.startswith("around")}
        for of, each in description["calibrations"].items()
    }
    gone = [{"name": "old", "class": "gone:Gone", "values": {}}]
    for change in ({"grids": None}, {"detectors": gone}, {"calibrations": without}):
        older = {key: value for key, value in (description | change).items() if value is not None}
        version = save(store, "reference_model", tensors, older)
        with pytest.raises(CheckpointError, match=r"made by another version.*run the job train"):
            load_reference(store, version)


def test_usual_levels_are_the_median_of_the_training_days(ground: Ground) -> None:
    usual = ground.reference.usual
    days = [ground.store.read_day("background", day) for day in TRAINED]
    for name in ("median_db", "mad_db"):
        np.testing.assert_allclose(usual[name], np.median([stack(table[name]) for table in days], axis=0))
    assert usual["channel"].tolist() == days[0]["channel"].to_pylist()


def test_a_reference_is_for_the_settings_that_its_training_set_was_made_with(ground: Ground) -> None:
    _, description = load(ground.store, "vae", ground.reference.vae_version)
    _, manifest = load(ground.store, "training_set", description["training_set"])
    vae = load_vae(ground.store, ground.reference.vae_version)
    changed = SETTINGS_OF_GROUND.model_copy(
        update={
            "window": WindowSettings(seconds=6),
            "detection": DetectionSettings(reference_windows=300, detectors=("neighbours",)),
        }
    )
    found = fit_reference(ground.store, manifest, vae, ground.reference.vae_version, changed, "cpu")
    assert found.settings == ground.reference.settings


def test_reference_windows_say_where_they_come_from(ground: Ground) -> None:
    windows = ground.reference.windows
    n = ground.reference.note["reference_windows"]
    assert {len(values) for values in windows.values()} == {n}
    blocks = SETTINGS_OF_GROUND.training_set
    assert set(split_of(windows["start_ns"], blocks)) == {0}  # nothing that is held out
    assert set(windows["fibre"]) == {"north"}
