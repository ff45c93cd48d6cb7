"""The benchmark reads digits as they are, assigns categories in the best way, and runs through."""

import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasanom_assets.benchmarks import mnist


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40))
def test_the_assignment_is_the_best_one_and_counts_every_image(pairs: list[tuple[int, int]]) -> None:
    category, digit = np.array(pairs).T
    confusion = mnist.best_assignment(category, digit)
    assert confusion.sum() == len(pairs)
    np.testing.assert_array_equal(confusion.sum(axis=1), np.bincount(digit, minlength=10))
    # No exchange of two categories makes it better, which is so for the best assignment.
    for i, j in itertools.combinations(range(10), 2):
        assert confusion[i, i] + confusion[j, j] >= confusion[i, j] + confusion[j, i]


def test_renamed_digits_are_all_right() -> None:
    digit = np.random.default_rng(0).integers(0, 10, 500)
    names = np.random.default_rng(1).permutation(10)
    assert np.trace(mnist.best_assignment(names[digit], digit)) == 500


def made(folder: Path, images: int = 12) -> None:
    """Digits that are a bright row each."""
    for digit in range(10):
        image = np.zeros((images, 28, 28))
        image[:, 2 + 2 * digit] = 1
        content = json.dumps({"data": image.ravel().tolist()}).encode()
        (folder / f"{digit}.json.gz").write_bytes(gzip.compress(content))


def test_images_lie_as_spectrograms_do(tmp_path: Path) -> None:
    made(tmp_path)
    images, digits = mnist.read_digits(tmp_path)
    assert images.shape == (120, 28, 28)
    assert images.dtype == np.float32
    for image, digit in zip(images, digits, strict=True):
        # A row from above is a band from below, at all frames.
        assert (np.flatnonzero(image.all(axis=0)) == [27 - 2 - 2 * digit]).all()


def test_the_benchmark_runs_through_and_writes_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made(tmp_path)
    monkeypatch.setattr(mnist, "VALIDATION", 20)
    small = {"batch": 20, "widths": (4, 8), "features": 8}
    monkeypatch.setattr(mnist, "SETTINGS", mnist.SETTINGS.model_copy(update=small))
    out = tmp_path / "mnist.json"
    mnist.main(tmp_path, out, epochs=3, seeds="4")
    (run,) = json.loads(out.read_text())["runs"]
    assert f"seed 4: accuracy {run['accuracy']:.3f} on 12 held-out images" in capsys.readouterr().out
    assert run["trained_on"] == 88
    assert np.array(run["confusion"]).sum() == 12
    assert (tmp_path / "mnist-4.png").stat().st_size > 10_000
