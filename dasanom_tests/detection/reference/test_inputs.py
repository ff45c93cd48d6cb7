"""What detectors ask for is computed for those that score, window by window or for a step of time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasanom_assets.detection.detectors.base import Detector
from dasanom_assets.detection.detectors.gan import InfoGan
from dasanom_assets.detection.detectors.neighbours import Neighbours
from dasanom_assets.detection.minutes.temporal import Temporal
from dasanom_assets.detection.minutes.terms import TABLE, TERMS, DayTerms
from dasanom_assets.detection.reference.inputs import Inputs, _every
from dasanom_assets.models.checkpoints import CheckpointError
from dasanom_assets.models.training_set import WindowIndex
from dasanom_assets.spectrograms.windows import WindowBank
from dasanom_tests.detection.conftest import EVENTFUL, FIBRE, QUIET, SECOND, Ground, noon


def index(rows: list[tuple[str, int, int]]) -> WindowIndex:
    day, channel, second = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    fibre = np.full(len(day), FIBRE, object)
    return WindowIndex(
        fibre, np.array(channel, np.int32), np.array(second, np.int64) * SECOND, np.array(day, object)
    )


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 3), st.integers(0, 20)), unique=True, max_size=40
    ),
    seconds=st.integers(1, 5),
)
def test_a_window_is_stood_for_by_the_first_of_its_channel_and_step(
    rows: list[tuple[str, int, int]], seconds: int
) -> None:
    sample, parts = _every(index(rows), seconds)
    for row, stands in zip(rows, parts, strict=True):
        alike = [r for r in rows if r[:2] == row[:2] and r[2] // seconds == row[2] // seconds]
        assert rows[sample[stands]] == min(alike)
    assert len(sample) == len({(d, c, s // seconds) for d, c, s in rows})


def test_terms_of_several_days_and_channels_come_in_the_order_of_the_windows(ground: Ground) -> None:
    rows = [(day, c, noon(day) // SECOND + s) for s in (300, 90) for c in (103, 101) for day in (EVENTFUL, QUIET)]
    where = index(rows)
    bank = WindowBank(np.zeros((40, 4, 8), np.float32), np.arange(len(rows)), 4)
    result = Inputs([Temporal], ground.store, ground.store, None, "cpu").of(bank, where)
    assert list(result) == [TABLE]
    assert result[TABLE].shape == (len(rows), len(TERMS))
    for (day, channel, _), start, terms in zip(rows, where.start_ns, result[TABLE], strict=True):
        one = DayTerms(ground.store, day).of(FIBRE, channel, np.array([start]), np.array([start + 4 * SECOND]))
        np.testing.assert_array_equal(terms, one[0])
    assert np.isfinite(result[TABLE]).any()


def test_nothing_is_computed_for_detectors_that_ask_for_nothing(ground: Ground) -> None:
    inputs = Inputs([Neighbours], ground.store, ground.store, None, "cpu")
    assert inputs.of(WindowBank(np.zeros((4, 4, 8), np.float32), np.arange(1), 4), index([(QUIET, 101, 0)])) == {}


def test_what_is_not_there_is_named_with_what_to_do(ground: Ground) -> None:
    with pytest.raises(CheckpointError, match="materialize infogan_checkpoint first, or leave infogan out"):
        Inputs([InfoGan], ground.store, ground.store, None, "cpu")

    class Odd(Detector):
        inputs = ("moon",)

    with pytest.raises(ValueError, match=f"asks for moon; known inputs are {TABLE}"):
        Inputs([Odd], ground.store, ground.store, None, "cpu")
