"""What is called true is where and when the recordings are louder."""

from pathlib import Path

import numpy as np
import pytest
from scipy import signal

from dasanom_assets.recordings.simulation.kinds import KINDS
from dasanom_assets.recordings.simulation.simulate import simulate
from dasanom_assets.recordings.simulation.sites import Line
from dasanom_assets.recordings.simulation.truth import ACTIVITY, EVENTS
from dasanom_tests.recordings.simulation.conftest import BUSY, DAY, SMALL, THREATS, samples, truth


def test_truth_fits_its_schemas_and_the_recorded_time(small: Path) -> None:
    events, activity = truth(small, "events"), truth(small, "activity")
    assert events.schema.equals(EVENTS)
    assert activity.schema.equals(ACTIVITY)
    frame = events.to_pandas()
    assert set(frame["kind"]) == set(BUSY)
    assert (frame["threat"] == frame["kind"].isin(THREATS)).all()
    assert (frame["start"] < frame["end"]).all()
    assert frame["start"].min().isoformat() >= "2026-01-05T10:00:00"
    assert frame["end"].max().isoformat() <= "2026-01-05T10:01:00+00:00"
    assert set(frame["first_channel"]) <= set(SMALL.channels.tolist())
    assert (frame["peak_channel"].between(frame["first_channel"], frame["last_channel"])).all()
    active = activity.to_pandas()
    assert set(active["kind"]) == set(THREATS)
    assert (active["snr_db"] > 0).all()
    assert (active["start"].dt.floor("s") == active["start"]).all()
    for _, event in frame[frame["threat"]].iterrows():
        its = active[
            (active["kind"] == event["kind"]) & active["start"].between(event["start"].floor("s"), event["end"])
        ]
        assert set(its["channel"]) <= set(range(event["first_channel"], event["last_channel"] + 1))
        assert its["snr_db"].max() == pytest.approx(event["snr_db"], abs=0.01)


def test_the_recordings_are_louder_where_and_when_a_threat_is(long_line: tuple[Path, Line]) -> None:
    root, line = long_line
    x = samples(root, line).astype(np.float32)
    active = truth(root, "activity").to_pandas()
    second = ((active["start"] - active["start"].dt.normalize()).dt.total_seconds() - 36000).astype(int)
    for kind in THREATS:
        sos = signal.butter(4, KINDS[kind].band_hz, "band", fs=2000, output="sos")
        level = 10 * np.log10(
            (signal.sosfilt(sos, x, axis=0).reshape(-1, 200, 48) ** 2).mean(1).reshape(-1, 10, 48).max(1)
        )
        level -= np.median(level, axis=0)
        strong = (active["kind"] == kind) & (active["snr_db"] > 8)
        assert strong.any()
        assert np.median(level[second[strong], active["channel"][strong] - 100]) > 4


@pytest.mark.parametrize("rate", [500, 625, 4000])
def test_truth_is_where_the_recordings_are_louder_at_any_rate(tmp_path: Path, rate: int) -> None:
    line = Line(
        minutes=1, sampling_rate_hz=rate, events_per_hour={"pickaxe": 60, "cutting": 60}, snrs_db=(25.0,), seed=2
    )
    simulate(line, [DAY], tmp_path)
    x = samples(tmp_path, line).astype(np.float32)
    assert x.shape == (60 * rate, 48)
    active = truth(tmp_path, "activity").to_pandas()
    assert set(active["kind"]) == {"pickaxe", "cutting"}
    for kind, rows in active.groupby("kind"):
        band = KINDS[kind].heard_hz(rate)
        x_band = signal.sosfilt(signal.butter(4, band, "band", fs=rate, output="sos"), x, axis=0)
        level = 10 * np.log10((x_band.reshape(60, rate, 48) ** 2).mean(1))
        level -= np.median(level, axis=0)
        strong = rows[rows["snr_db"] > 20]
        second = ((strong["start"] - strong["start"].dt.normalize()).dt.total_seconds() - 36000).astype(int)
        assert np.median(level[second, strong["channel"] - 100]) > 10
    power = np.fromfile(next(tmp_path.rglob("*.pow")), "<f4")
    assert len(power) == 2 * 300 * 48


@pytest.mark.parametrize("rate", [500, 625, 2000])
@pytest.mark.parametrize("kind", THREATS)
def test_truth_ends_where_a_threat_does_at_any_rate(tmp_path: Path, kind: str, rate: int) -> None:
    line = Line(minutes=1, sampling_rate_hz=rate, events_per_hour={kind: 60}, snrs_db=(20.0,), seed=2)
    quiet = line.model_copy(update={"events_per_hour": {}})
    for name, site in (("with", line), ("without", quiet)):
        simulate(site, [DAY], tmp_path / name, contractor=False)
    x, ground = (samples(tmp_path / name, line).astype(float) for name in ("with", "without"))
    sos = signal.butter(4, KINDS[kind].heard_hz(rate), "band", fs=rate, output="sos")
    usual = signal.sosfiltfilt(sos, ground, axis=0).std(0)
    rows = (x - ground).reshape(300, rate // 5, 48)
    level = 20 * np.log10(
        np.maximum(*(np.sqrt((b**2).mean(1)) for b in np.array_split(rows, 2, axis=1))) / usual + 1e-9
    )
    (event,) = truth(tmp_path / "with", "events").to_pylist()
    began = event["start"].replace(minute=0, second=0, microsecond=0)
    first, last = (round((event[key] - began).total_seconds() * 5) for key in ("start", "end"))
    inside = np.zeros(level.shape, bool)
    inside[first:last, event["first_channel"] - 100 : event["last_channel"] - 99] = True
    assert level[~inside].max() < 2.5
    edges = (
        level[first],
        level[last - 1],
        level[:, event["first_channel"] - 100],
        level[:, event["last_channel"] - 100],
    )
    assert min(edge.max() for edge in edges) > -2.5
    assert level.max() == pytest.approx(20, abs=2.5)
