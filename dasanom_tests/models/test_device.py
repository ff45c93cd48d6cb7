"""The device that a setting names is found or refused."""

import pytest
import torch

from dasanom_assets.models.device import resolve_device


def test_a_device_is_found_or_refused_in_words() -> None:
    there = torch.cuda.device_count()
    assert resolve_device("auto") == ("cuda" if there else "cpu")
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(ValueError, match=f"torch sees {there} GPUs"):
        resolve_device(f"cuda:{there}")
    for wrong in ("gpu", "cuda:", "cuda:x", "cpu:0", ""):
        with pytest.raises(ValueError, match="none of"):
            resolve_device(wrong)
