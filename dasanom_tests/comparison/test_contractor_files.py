"""The contractor's files are looked at in pieces, and what happens meanwhile is told."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dasanom_assets.comparison import contractor_files
from dasanom_assets.comparison.contractor_files import MisfitError, look_at_power, look_at_probabilities


def test_what_is_told_does_not_depend_on_the_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, shape = np.random.default_rng(0), (100, 3, 5)
    p = rng.dirichlet(np.ones(5), shape[:2]).astype("<f4")
    p[:7, 1], p[20, 2] = np.nan, [0.5, 0, 0, 0, 0]
    prob, power = tmp_path / "a.prob", tmp_path / "a.pow"
    p.tofile(prob)
    np.append(np.full((100, 3), 2.0), np.full((100, 3), np.nan)).astype("<f4").tofile(power)
    first, turned = tmp_path / "first.prob", tmp_path / "turned.prob"
    p.transpose(2, 0, 1).tofile(first)
    p.astype(">f4").tofile(turned)
    for at_once in (1, 7, 1000, 1 << 20):
        monkeypatch.setattr(contractor_files, "NUMBERS_AT_ONCE", at_once)
        remark = "7 of its 300 values are not finite, and left out"
        assert look_at_probabilities(prob, shape, 10, 0) == (293, 292, remark)
        assert look_at_power(power, shape[:2], 10) == ""
        with pytest.raises(MisfitError, match="classes come first"):
            look_at_probabilities(first, shape, 10, 0)
        with pytest.raises(MisfitError, match="big-endian"):
            look_at_probabilities(turned, shape, 10, 0)


def test_a_file_that_is_cut_while_it_is_read_is_a_misfit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, shape = tmp_path / "a.prob", (100, 3, 5)
    np.full(shape, 0.2, "<f4").tofile(path)
    assert look_at_probabilities(path, shape, 10, 0) == (300, 300, "")
    whole = np.fromfile

    def cut(*asked: Any, **more: Any) -> np.ndarray:
        os.truncate(path, 4 * 700)
        return whole(*asked, **more)

    monkeypatch.setattr(np, "fromfile", cut)
    with pytest.raises(MisfitError, match="became shorter"):
        look_at_probabilities(path, shape, 10, 0)
