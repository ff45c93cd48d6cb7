"""What is learned from is not evaluated on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasanom_assets.evaluation.split import TooFewError, split


@given(normal=st.integers(4, 300), abnormal=st.integers(1, 300), seed=st.integers(0, 9))
def test_nothing_is_evaluated_on_that_was_learned_from(normal: int, abnormal: int, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat([False, True], [normal, abnormal]))
    parts = split(labels)
    learned = [parts.train, parts.validation, parts.calibration]
    assert all(len(part) and not labels[part].any() for part in learned)
    everything = np.concatenate([*learned, parts.evaluation])
    assert sorted(everything) == list(range(normal + abnormal))
    held_out = parts.evaluation[~labels[parts.evaluation]]
    assert len(held_out) == min(abnormal, max(1, normal // 2), normal - 3)
    assert held_out.max() < min(part.min() for part in learned)


@pytest.mark.parametrize(("normal", "abnormal"), [(3, 5), (50, 0)])
def test_a_group_with_too_few_clips_says_what_it_has(normal: int, abnormal: int) -> None:
    with pytest.raises(TooFewError, match=f"{normal} normal and {abnormal} abnormal clips"):
        split(np.repeat([False, True], [normal, abnormal]))
