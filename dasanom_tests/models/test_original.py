"""The settings of 2021 run through the same code: recordings to embeddings."""

from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from dasanom_assets.definitions import build_defs
from dasanom_assets.models.encoding import encode_bank
from dasanom_assets.models.training import train_vae
from dasanom_assets.models.training_set import build_manifest
from dasanom_assets.models.training_windows import load_bank
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.whitening import WhiteDay
from dasanom_assets.spectrograms.windows import make_bank, window_rows
from dasanom_assets.tables.store import Store
from dasanom_tests.conftest import DAYS


@pytest.mark.slow
def test_the_preset_original_makes_images_trains_on_them_and_embeds_a_day(
    landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASANOM_DATA", str(tmp_path))
    monkeypatch.setenv("DASANOM_PRESET", "original")
    monkeypatch.setenv("DASANOM_TRAINING_SET__MAX_CHANNEL_SECONDS", "4000")
    monkeypatch.setenv("DASANOM_VAE__WINDOWS_PER_EPOCH", "512")
    (tmp_path / "landing").symlink_to(landing / "landing")
    store, settings = Store(str(tmp_path)), Settings()
    with dg.instance_for_test() as instance:
        ingest = build_defs(settings).resolve_job_def("ingest")
        assert ingest.execute_in_process(partition_key=DAYS[0], instance=instance).success
    table = store.read_day("spectrograms", DAYS[0])
    assert table["power_db"].type == pa.list_(pa.float32(), 4 * 120)
    manifest = build_manifest(store, [DAYS[0]], settings)
    train, _ = load_bank(store, manifest, "train")
    validation, _ = load_bank(store, manifest, "validation")
    assert train.window_shape == (64, 64)
    images = np.stack([train.window(i) for i in range(0, len(train), 50)])
    np.testing.assert_allclose(images.min(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(images.max(axis=(1, 2)), 1, atol=1e-6)
    trained = train_vae(train, validation, settings.vae.model_copy(update={"max_epochs": 1}), "cpu")
    assert np.isfinite(trained.history[0]["validation_loss"])
    plan = WhiteDay(store, DAYS[0], settings.background, settings.window)
    for channel in plan.channels(plan.keys):
        first = window_rows(channel.start_ns, channel.usable, settings.window)
        bank = make_bank(
            np.asarray(channel.rows), first, channel.start_ns[first], plan.spectrogram, settings.window
        )
        encoded = encode_bank(trained.model, bank, "cpu")
        assert len(encoded.mu) == 8 * 60 - settings.window.seconds + 1
        assert np.isfinite(encoded.reconstruction_error).all()
    assert settings.window.seconds == 10
