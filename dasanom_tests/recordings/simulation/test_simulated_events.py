"""Events reach the ratios that were planned, at any rate, and fade along the fibre."""

import numpy as np
import pytest
from scipy import signal

from dasanom_assets.recordings.simulation.events import compute_event
from dasanom_assets.recordings.simulation.kinds import KINDS
from dasanom_assets.recordings.simulation.plans import plan_events
from dasanom_assets.recordings.simulation.sites import Line
from dasanom_tests.recordings.simulation.conftest import SHORT, background


@pytest.mark.parametrize("kind", SHORT)
def test_an_event_reaches_its_ratio_and_fades_along_the_fibre(kind: str) -> None:
    line = Line()
    noise = background(line)
    plans = plan_events((5, 6), [(500.0, 735.0)], 560.0, 10, 10.0, {kind: 12}, (12.0,))
    assert plans
    for plan in plans[:2]:
        event = compute_event(plan, line.channels * 5.0, noise)
        assert event.level_db.max() == pytest.approx(plan.snr_db, abs=0.01)
        burst = event.signal.reshape(len(event.signal), -1, 200)
        ratio = (
            np.sqrt((burst.astype(float) ** 2).mean(2)) / noise.band_rms(KINDS[kind].band_hz)[event.columns, None]
        )
        assert 20 * np.log10(ratio.max()) == pytest.approx(plan.snr_db, abs=0.01)
        frequency, power = signal.periodogram(event.signal, 2000)
        low, high = KINDS[kind].band_hz
        assert power[:, (frequency > low / 2) & (frequency < high * 2)].sum() > 0.9 * power.sum()
        strongest = event.level_db.max(1)
        if kind not in ("wind", "walking"):
            peak = strongest.argmax()
            far = np.abs(np.arange(len(strongest)) - peak) > 100 / 5
            assert (strongest[far] < strongest[peak] - 20).all()


class Measured:
    """A background that somebody measured: the same noise on all channels and in all bands."""

    def __init__(self, rate: int) -> None:
        self.rate, self.coupling = rate, np.ones(48)

    def band_rms(self, band_hz: tuple[float, float]) -> np.ndarray:
        assert 0 < band_hz[0] < band_hz[1] <= 0.45 * self.rate
        return np.full(48, 20.0)


@pytest.mark.parametrize("rate", [500, 625, 1000, 4000])
@pytest.mark.parametrize("kind", SHORT)
def test_an_event_reaches_its_ratio_at_any_rate(kind: str, rate: int) -> None:
    for plan in plan_events((5, 6), [(500.0, 735.0)], 560.0, 10, 10.0, {kind: 36}, (12.0,))[:4]:
        event = compute_event(plan, Line().channels * 5.0, Measured(rate))
        assert event.signal.shape[1] == plan.n_rows * rate // 5
        rows = event.signal.reshape(len(event.signal), plan.n_rows, rate // 5).astype(float)
        bursts = rows[..., : rate // 10], rows[..., rate // 10 :]
        level = 20 * np.log10(np.maximum(*(np.sqrt((burst**2).mean(2)) for burst in bursts)) / 20 + 1e-20)
        present = level > -40
        np.testing.assert_allclose(event.level_db[present], level[present], atol=0.01)
        assert event.level_db.max() == pytest.approx(plan.snr_db, abs=0.01)


def test_a_walker_moves_along_the_fibre() -> None:
    plan = plan_events((7, 8), [(500.0, 735.0)], 560.0, 10, 10.0, {"walking": 6}, (15.0,))[0]
    line = Line()
    event = compute_event(plan, line.channels * 5.0, background(line))
    centre = event.level_db.reshape(len(event.level_db), -1)
    half = centre.shape[1] // 2
    early, late = centre[:, :half].max(1).argmax(), centre[:, half:].max(1).argmax()
    assert np.sign(late - early) == np.sign(plan.along_m_s)
    assert abs(plan.along_m_s) == pytest.approx(1.4, abs=0.3)
