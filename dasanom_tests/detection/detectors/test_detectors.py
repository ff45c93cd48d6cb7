"""Detectors are found by name, one of one's own by module and class, and the example of the docs is one."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.detection.detectors.base import BUILT_IN, Detector, Windows, detector_class, detector_classes
from dasanom_assets.detection.reference.fitting import fit_reference
from dasanom_assets.detection.reference.model import load_reference, save_reference
from dasanom_assets.models import checkpoints
from dasanom_assets.models.encoding import Encoded
from dasanom_assets.models.training import load_vae
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.windows import WindowBank
from dasanom_assets.tables.schemas import with_score
from dasanom_tests.detection.conftest import EVENTFUL, EVENTS, FIRST, SETTINGS, Ground, noon, scored
from dasanom_tests.test_docs import PROJECT, blocks


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_detectors_carry_the_name_they_are_found_by(name: str) -> None:
    assert detector_class(name).name == name
    assert issubclass(detector_class(name), Detector)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nieghbours", r"names 'nieghbours': it takes neighbours, ranked, plain, .*or module:Class"),
        ("no_such_module:Class", "cannot be imported: No module named 'no_such_module'"),
        ("dasanom_assets.detection.detectors.latent:Nothing", "cannot be imported"),
        ("dasanom_assets.detection.detectors.latent:CENTRES", "module:Class of a Detector"),
        ("dasanom_assets.settings:Settings", "module:Class of a Detector"),
        ("json", "module:Class of a Detector"),
    ],
)
def test_what_is_no_detector_is_refused_and_says_what_is(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        detector_class(name)


def test_two_detectors_of_one_name_are_refused() -> None:
    assert list(detector_classes(["vae", "neighbours"])) == ["vae", "neighbours"]
    with pytest.raises(ValueError, match="same name"):
        detector_classes(["vae", "dasanom_assets.detection.detectors.latent:Likelihood"])


@pytest.mark.parametrize("as_mask", [False, True])
def test_a_subset_of_windows_keeps_all_that_belongs_to_them(as_mask: bool) -> None:
    rng = np.random.default_rng(0)
    n, sample = 10, np.array([1, 4, 7])
    bank = WindowBank(rng.normal(size=(14, 2, 3)).astype(np.float32), np.arange(n), 4)
    numbers = rng.normal(size=(4, n, 2)).astype(np.float32)
    encoded = Encoded(numbers[0], numbers[1], numbers[2, :, 0], numbers[3, :, 0])
    windows = Windows(bank, encoded, numbers[0, :, 1], {"more": numbers[1]})
    result = windows.subset(np.isin(np.arange(n), sample) if as_mask else sample)
    assert len(result) == 3
    np.testing.assert_array_equal(result.bank.window(1), bank.window(4))
    np.testing.assert_array_equal(result.encoded.mu, encoded.mu[sample])
    np.testing.assert_array_equal(result.encoded.kl, encoded.kl[sample])
    np.testing.assert_array_equal(result.outlier, windows.outlier[sample])
    np.testing.assert_array_equal(result.more["more"], numbers[1][sample])


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The package of the docs on Python's path, installed, and the settings that their lines make."""
    source = shutil.copytree(PROJECT / "docs" / "examples" / "detector", tmp_path / "source")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*command, "--target", str(tmp_path / "site"), str(source)], check=True)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (lines,) = blocks(PROJECT / "docs" / "detectors.md", "dotenv")
    with monkeypatch.context() as environment:
        for line in lines.strip().splitlines():
            name, value = line.split("=", 1)
            environment.setenv(name, *shlex.split(value))
        detectors = Settings().detection.detectors
    changed = SETTINGS.detection.model_copy(update={"detectors": detectors})
    yield SETTINGS.model_copy(update={"detection": changed})
    sys.modules.pop("covariance_detector", None)


def test_the_detector_of_the_docs_learns_is_stored_and_scores_a_day(ground: Ground, own: Settings) -> None:
    assert own.detection.detectors == ("neighbours", "covariance_detector:Covariance")
    store, vae_version = ground.store, ground.reference.vae_version
    trained = checkpoints.load(store, "vae", vae_version)[1]
    manifest = checkpoints.load(store, "training_set", trained["training_set"])[1]
    fitted = fit_reference(store, manifest, load_vae(store, vae_version), vae_version, own, "cpu")
    reference = load_reference(store, save_reference(store, fitted))  # not live: other tests share the line
    scores = with_score(pa.concat_tables(scored(store, EVENTFUL, reference, own)))
    names = [name for name in scores.column_names if name.startswith(("score_", "p_"))]
    assert names == ["score_neighbours", "score_covariance", "p_neighbours", "p_covariance", "p_value"]
    channels, seconds, _ = EVENTS["high"]
    table = scores.select(["channel", "start", "p_covariance", "is_anomaly"]).to_pandas()
    second = table.start.astype("int64") // 10**9 - noon(EVENTFUL) // 10**9
    inside = table.channel.between(FIRST + channels.start, FIRST + channels.stop - 1)
    inside &= second.between(seconds.start, seconds.stop - 4)
    assert table.p_covariance[inside].max() < 1e-4
    assert table.is_anomaly[inside].all()
    assert 0.3 < table.p_covariance[~inside].median() < 0.7
    levels = np.random.default_rng(0).normal(size=(30, 4, 8)).astype(np.float32)
    sample = Windows(WindowBank(levels, np.arange(20), 4), Encoded.empty(4))
    before, after = (r.detectors["covariance"].score(sample) for r in (fitted, reference))
    np.testing.assert_array_equal(before, after)
