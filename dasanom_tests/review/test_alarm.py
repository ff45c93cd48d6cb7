"""From an alarm down to its bytes, on a line that was really ingested, learned and scored."""

import io
import json
import wave

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from dasanom_assets.review.app import create_app
from dasanom_assets.settings import NotifySettings, Settings
from dasanom_assets.tables.schemas import with_score
from dasanom_tests.conftest import Line
from dasanom_tests.review.conftest import BASE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alarm(line: Line) -> tuple[TestClient, str, dict]:
    """The app, the address of the strongest alarm of the last day, and its row."""
    settings = Settings(data=str(line.root), notify=NotifySettings(base_url="https://das.example.org/"))
    client = TestClient(create_app(line.store, settings), base_url=BASE)
    day = line.days[-1]
    events = line.store.read_day("anomaly_events", day).sort_by([("score", "descending")])
    event = events.to_pylist()[0]
    event |= {name: events[name].cast(pa.int64())[0].as_py() for name in ("start", "end")}
    return client, f"/api/days/{day}/alarms/{event['event_id']}", event


def test_it_tells_detectors_file_bytes_digest_model_and_days(alarm, line: Line) -> None:
    client, address, event = alarm
    told = client.get(address).json()
    scores = with_score(line.store.read_day("anomaly_scores", line.days[-1]))
    names = [name.removeprefix("score_") for name in scores.schema.names if name.startswith("score_")]
    assert [d["name"] for d in told["detectors"]] == names
    assert all(0 < d["p_value"] <= 1 for d in told["detectors"] if d["p_value"] is not None)
    assert told["model"]["days"] == list(line.days[:-1])
    assert told["model"]["reference_model"] == event["model_version"]
    (file, *_) = told["files"]
    assert file["sha256"] == line.store.digest(file["path"])
    first, last = file["bytes"]
    assert 0 <= first < last <= line.store.fs.size(line.store.full(file["path"]))


def test_it_names_the_run_of_dagster_that_scored_its_day(alarm, line: Line) -> None:
    client, address, _ = alarm
    run = client.get(address).json()["run"]
    assert line.instance.get_run_by_id(run["id"]).tags["dagster/partition"] == line.days[-1]
    assert run["url"] == f"https://das.example.org/runs/{run['id']}"


def test_its_sound_is_what_the_recording_holds_sped_up(alarm, line: Line) -> None:
    client, address, event = alarm
    answer = client.get(f"{address}/sound.wav", params={"speed": "8"})
    told = json.loads(answer.headers["x-sound"])
    with wave.open(io.BytesIO(answer.content)) as file:
        assert file.getframerate() == round(told["rate_hz"] * 8)
        heard = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
    assert len(heard) == round(told["seconds"] * told["rate_hz"])
    # The same samples, from the file that they lie in, go along with it.
    recordings = line.store.read_day("recordings", line.days[-1])
    rows = recordings.set_column(3, "start", recordings["start"].cast(pa.int64())).to_pylist()
    row = next(
        r
        for r in rows
        if r["start"] <= told["begin_ns"] < r["start"] + r["n_samples"] / r["sampling_rate_hz"] * 1e9
    )
    skip = round((told["begin_ns"] - row["start"]) * row["sampling_rate_hz"] / 1e9)
    n = min(len(heard), row["n_samples"] - skip)
    samples = np.fromfile(line.store.full(row["path"]), row["sample_type"]).reshape(-1, row["n_channels"])
    own = samples[skip : skip + n, event["peak_channel"] - row["first_channel"]].astype(float)
    assert np.corrcoef(heard[:n], own)[0, 1] > 0.9


def test_its_spectrogram_is_that_of_its_channel_and_stands_out(alarm) -> None:
    client, address, event = alarm
    answer = client.get(f"{address}/picture", params={"what": "spectrogram"})
    head = json.loads(answer.headers["x-picture"])
    values = np.frombuffer(answer.content, "<f4").reshape(head["rows"], head["columns"])
    assert head["columns"] == len(head["hz"])
    time = head["start"] + (np.arange(head["rows"]) + 0.5) * head["step"]
    inside = (time >= event["start"] // 1000) & (time < event["end"] // 1000)
    assert np.nanmean(values[inside].max(axis=1)) > np.nanmean(values[~inside].max(axis=1)) + 0.5
    spectrum = client.get(f"{address}/spectrum").json()
    loudest, mean = (np.subtract(spectrum[name], spectrum["usual"]) for name in ("loudest", "alarm"))
    assert max(mean) > 3
    assert loudest.mean() > mean.mean()


def test_the_network_s_residual_is_input_less_reconstruction(alarm) -> None:
    client, address, _ = alarm
    parts = {
        what: np.frombuffer(client.get(f"{address}/picture", params={"what": what}).content, "<f4")
        for what in ("input", "reconstruction", "residual")
    }
    np.testing.assert_allclose(parts["input"] - parts["reconstruction"], parts["residual"], atol=1e-5)
    assert parts["input"].any()
