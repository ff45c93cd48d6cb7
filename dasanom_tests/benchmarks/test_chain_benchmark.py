"""The benchmark of the chain runs whole jobs as users do, keeps what it measured, and tells what follows."""

import json
from pathlib import Path

import pytest

from dasanom_assets.benchmarks import chain, simulated_day
from dasanom_assets.benchmarks.chain import figures_of, main, table
from dasanom_assets.settings import Settings


def job(seconds: float, **more: float) -> dict[str, float]:
    return {"seconds": seconds, "cpu_seconds": 2 * seconds, **more}


def test_figures_are_medians_of_runs_beside_their_peers() -> None:
    runs = [job(s, librosa=30.0, librosa_cpu=30.0) for s in (9, 10, 40)]
    figures = figures_of({"ingest:64x2": runs, "workers:64x1": [{"1": 30.0, "2": 20.0}]})
    ingest = figures["ingest:64x2"]
    assert (ingest["seconds"], ingest["runs"], ingest["times_librosa"]) == (10, 3, 3)
    assert ingest["times_librosa_by_cpu"] == 1.5
    assert ingest["channel_seconds_per_s"] == 64 * 7200 / 10
    assert ingest["mb_per_s"] == pytest.approx(64 * 7200 * 2000 * 2 / 1e6 / 10)
    assert figures["workers:64x1"]["speed_up"] == 1.5
    told = table(figures)
    assert "| ingest:64x2 | 10.0 (20.0) | 184 | 46,080 | 3 |" in told
    assert "| ingest:64x2: times librosa | 3.00 | ≥ 2 | yes |" in told
    assert "| workers:64x1: speed up | 1.50 | ≥ 1.7 | no |" in told


def test_the_time_of_a_wide_day_follows_from_what_more_channels_cost() -> None:
    both = {"ingest:64x1": [job(10)], "rescore:64x1": [job(20)], "ingest:512x1": [job(10 + 4.48)]}
    assert "wide" not in figures_of(both)
    # 0.03 s a channel-hour, of which the day has 96,000; two cores share twice the processor time.
    wide = figures_of(both | {"rescore:512x1": [job(20 + 8.96)]})["wide"]
    assert wide["hours"] == pytest.approx(0.8)
    assert wide["hours_by_cpu_on_two_cores"] == pytest.approx(0.8)


@pytest.mark.slow
def test_rows_run_as_jobs_and_add_to_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def settings_of(root: Path) -> Settings:
        small = {"latent": 4, "widths": (8, 8, 8), "max_epochs": 1, "windows_per_epoch": 512}
        blocks = {"block_seconds": 20}
        return Settings.model_validate({"data": str(root), "vae": small, "training_set": blocks, "device": "cpu"})

    monkeypatch.setattr(simulated_day, "settings_of", settings_of)
    monkeypatch.setattr(simulated_day, "CHANNELS", 4)
    monkeypatch.setattr(simulated_day, "MINUTES", 4)
    monkeypatch.setattr(chain, "CHANNELS", 4)
    monkeypatch.setattr(chain, "RATE_HZ", 500)
    monkeypatch.setattr(chain, "librosa_laps", lambda *size: {"librosa": 1.0, "librosa_cpu": 1.0})
    size = f"8x{4 / 60:.6f}"
    main(tmp_path, rows=f"ingest:{size},rescore:{size},lookup:{size}", runs=1, out=tmp_path / "out.json")
    laps = json.loads((tmp_path / "chain.json").read_text())
    [ingest], [rescore] = laps[f"ingest:{size}"], laps[f"rescore:{size}"]
    assert ingest["seconds"] > ingest["spectrograms"] > 0
    assert rescore["seconds"] > rescore["embeddings"] + rescore["contractor_comparison"] > 0
    assert laps[f"lookup:{size}"][0]["rows"] == 240
    figures = json.loads((tmp_path / "out.json").read_text())["figures"]
    assert figures[f"rescore:{size}"]["channel_seconds_per_s"] == pytest.approx(8 * 240 / rescore["seconds"], 1e-3)
    main(tmp_path, rows=f"lookup:{size}", runs=1)
    assert len(json.loads((tmp_path / "chain.json").read_text())[f"lookup:{size}"]) == 2
