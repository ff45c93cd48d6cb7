"""What is published of MIMII."""

import numpy as np
import pytest

from dasanom_assets.evaluation.published import MIMII_CLIPS, dcase_baseline, mimii_baseline, snr_db


def test_what_is_published_of_mimii() -> None:
    assert [snr_db(f) for f in ("6_dB", "-6_dB", "min6dB", "0_dB_fan", "m")] == [6, -6, -6, 0, None]
    by_machine = [[mimii_baseline(m, "", folder) for m in MIMII_CLIPS] for folder in ("6_dB", "0_dB", "-6_dB")]
    assert by_machine[0] == pytest.approx([0.920, 0.799, 0.857, 0.679], abs=6e-4)
    assert np.mean(by_machine, axis=1) == pytest.approx([0.814, 0.731, 0.661], abs=6e-4)
    assert mimii_baseline("valve", "id_04", "-6_dB") == 0.454
    assert mimii_baseline("made_fan", "", "6_dB") is None
    assert mimii_baseline("fan", "", "3_dB") is None
    assert dcase_baseline("slider") == (0.850, 0.669)
    assert dcase_baseline("lathe") == (None, None)
