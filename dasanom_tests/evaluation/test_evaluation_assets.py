"""Labelled sets and the choice of detectors in Dagster: reports in the data root, and figures in the event."""

from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import soundfile

from dasanom_assets.evaluation.assets import build_assets
from dasanom_assets.settings import DetectionSettings, InfoGanSettings, Settings, VaeSettings
from dasanom_assets.tables.store import Store


@pytest.mark.slow
def test_a_labelled_set_and_the_choice_of_models_are_materialized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dasanom_assets.evaluation.groups.STEPS", 10)
    monkeypatch.setattr("dasanom_assets.evaluation.autoencoder.EPOCHS", 1)
    rng = np.random.default_rng(0)
    for label, n in (("normal", 45), ("abnormal", 4)):
        folder = tmp_path / "sounds" / "6_dB" / "bench" / "id_00" / label
        folder.mkdir(parents=True)
        for i in range(n):
            soundfile.write(folder / f"{i}.wav", rng.normal(0, 0.02 + 0.1 * (n == 4), 4 * 16_000), 16_000)
    vae = VaeSettings(latent=4, widths=(8, 8, 8), max_epochs=1)
    infogan = InfoGanSettings(widths=(8, 8), features=16, max_epochs=1)
    settings = Settings(vae=vae, infogan=infogan, detection=DetectionSettings(detectors=("neighbours", "vae")))
    store = Store(str(tmp_path / "data"))
    config = {"ops": {"mimii_benchmark": {"config": {"root": str(tmp_path / "sounds"), "name": "mine"}}}}
    with dg.instance_for_test() as instance:
        done = dg.materialize(
            build_assets(),
            instance=instance,
            run_config=config,
            resources={"store": store, "settings": settings, "device": "cpu"},
        )
        assert done.success
        (event,) = done.asset_materializations_for_node("mimii_benchmark")
        assert "| 6_dB | bench | 1 | fused | 1.000 |" in event.metadata["means"].value
        assert event.metadata["full_set"].value is False
        (choice,) = done.asset_materializations_for_node("model_choice")
        assert choice.metadata["sets"].value == ["sounds"]
    result = [f["path"] for f in store.listing("reports/mimii_benchmark")]
    assert result == [f"reports/mimii_benchmark/mine.{suffix}" for suffix in ("html", "json", "png")]
    assert b"Labelled: sounds" in store.read_bytes("reports/model_choice/model_choice.html")
