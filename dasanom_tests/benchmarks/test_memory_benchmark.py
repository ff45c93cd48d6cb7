"""The benchmark of memory tells what grows, and what a wide day would take."""

from dasanom_assets.benchmarks.memory import STEPS, table


def row(peak_mb: float, seconds: float) -> dict[str, float]:
    return {"peak_mb": peak_mb, "seconds": seconds, "cpu_seconds": 2 * seconds}


def test_the_time_of_a_wide_day_follows_from_what_more_channels_cost() -> None:
    small = {"spectrograms": row(500, 10), "embeddings": row(600, 20), "training_set": row(900, 1)}
    large = {"spectrograms": row(550, 10 + 4.48), "embeddings": row(600, 20 + 8.96), "training_set": row(900, 500)}
    told = table({"512x1": large, "64x1": small})
    assert "| spectrograms | 500 | 10.0 (20.0) | 550 | 14.5 (29.0) | 1.10 |" in told
    # 0.03 s a channel-hour, of which the day has 96,000.
    assert "4000 channels × 24 h: 0.8 h as they were taken." in told
    assert "0.8 h of CPU time, shared evenly by two cores" in told


def test_what_was_not_measured_is_a_dash() -> None:
    told = table({"64x1": {"spectrograms": row(500, 10)}, "64x4": {"embeddings": row(600, 20)}})
    assert "| spectrograms | 500 | 10.0 (20.0) | – | – | 1.00 |" in told
    assert "4000 channels" not in told


def test_all_steps_of_a_day_are_measured() -> None:
    assert {"recordings", "embeddings", "contractor_scores", "contractor_comparison"} <= set(STEPS)
