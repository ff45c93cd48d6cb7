"""The contractor's rows are read in pieces, each file once, and a file that changes meanwhile is told."""

import os
from pathlib import Path

import pytest

from dasanom_assets.comparison import contractor, contractor_files
from dasanom_assets.comparison.contractor_files import MisfitError
from dasanom_tests.comparison.test_contractor import (
    FOLDER,
    LAG,
    SETTINGS,
    contractor_scores,
    deliver,
    powers,
    probabilities,
    recordings,
)


def test_rows_do_not_depend_on_how_many_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(tmp_path, prob=probabilities(20 - LAG), power=powers(20))
    store = deliver(
        tmp_path, stem="north_b", start="2026-01-05T10:00:10Z", prob=probabilities(20, 1), power=powers(18)
    )
    whole, notes = contractor_scores(store, recordings(store), SETTINGS)
    assert whole.num_rows == 120
    for numbers in (1, 40, 64):
        monkeypatch.setattr(contractor_files, "READ_AT_ONCE", numbers)
        table, again = contractor_scores(store, recordings(store), SETTINGS)
        assert table.equals(whole)
        assert again == notes


def test_a_file_that_changes_before_its_rows_are_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    store = deliver(tmp_path, prob=probabilities(20 - LAG), power=powers(20))
    tables, _ = contractor.contractor_scores(store, recordings(store), SETTINGS)
    (path,) = (tmp_path / FOLDER / "Model1").glob("*_prob.prob")
    os.truncate(path, 600)
    with pytest.raises(MisfitError, match=rf"{path.name}: it changed while it was read"):
        list(tables)
