"""Training learns what is usual, finds what is not, and gives the same network for the same windows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from dasanom_assets.models import checkpoints, training
from dasanom_assets.models.encoding import encode_bank
from dasanom_assets.models.loop import DeviceWindows
from dasanom_assets.models.training import TrainedVae, collapse_report, load_vae, save_vae, train_vae
from dasanom_assets.settings import VaeSettings
from dasanom_assets.spectrograms.windows import Imaging, WindowBank
from dasanom_assets.tables.store import Store

SETTINGS = VaeSettings(
    latent=8, widths=(8, 16), batch=64, max_epochs=8, windows_per_epoch=1024, validation_windows=256, seed=3
)


def bank(seed: int, n_rows: int = 1300, blobs: float = 0.0) -> tuple[WindowBank, np.ndarray]:
    """Windows of 16 frames × 16 bands with two sounds that come and go, and blobs in some rows."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_rows, 4, 16))
    time, band = np.arange(n_rows * 4).reshape(n_rows, 4, 1), np.arange(16)
    for centre, width, period in ((4, 2.0, 9.0), (11, 1.0, 23.0)):
        rows += 2 * np.sin(time / period + rng.uniform(0, 6)) * np.exp(-(((band - centre) / width) ** 2))
    marked = rng.random(n_rows) < blobs
    rows[marked, 1:3, 6:11] += 4
    first = np.arange(n_rows - 3)
    has_blob = np.array([marked[i : i + 4].any() for i in first])
    return WindowBank(rows.astype(np.float32), first, 4), has_blob


@pytest.fixture(scope="module")
def trained() -> TrainedVae:
    return train_vae(bank(0, blobs=0.003)[0], bank(1)[0], SETTINGS, "cpu")


def weights(model: torch.nn.Module) -> np.ndarray:
    return torch.cat([value.flatten() for value in model.state_dict().values()]).numpy()


def test_losses_fall_and_the_latent_space_is_used(trained: TrainedVae) -> None:
    first, best = trained.history[0], trained.history[trained.best_epoch]
    assert best["train_loss"] < first["train_loss"] - 5
    assert best["validation_loss"] < first["validation_loss"] - 5
    assert best["validation_loss"] == min(row["validation_loss"] for row in trained.history)
    assert not best["collapsed"]
    assert best["active_units"] >= 2
    assert not trained.model.training
    assert {p.device.type for p in trained.model.parameters()} == {"cpu"}


def test_unusual_windows_are_less_likely(trained: TrainedVae) -> None:
    windows, has_blob = bank(2, blobs=0.02)
    encoded = encode_bank(trained.model, windows, "cpu")
    assert 0.02 < has_blob.mean() < 0.2
    assert roc_auc_score(has_blob, encoded.reconstruction_error) > 0.95


def test_the_same_windows_give_the_same_network_and_leave_the_random_state_alone(trained: TrainedVae) -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    again = train_vae(bank(0, blobs=0.003)[0], bank(1)[0], SETTINGS, "cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    np.testing.assert_array_equal(weights(again.model), weights(trained.model))
    without_clock = [
        [{key: value for key, value in row.items() if key != "seconds"} for row in t.history]
        for t in (again, trained)
    ]
    assert without_clock[0] == without_clock[1]
    other = train_vae(bank(0)[0], bank(1)[0], SETTINGS.model_copy(update={"seed": 4, "max_epochs": 1}), "cpu")
    assert (weights(other.model) != weights(trained.model)).any()


def test_a_huge_kl_weight_collapses_the_posterior_and_is_noticed() -> None:
    crushed = SETTINGS.model_copy(
        update={"kl_weight": 1e4, "free_bits": 0.0, "warm_up_share": 0.0, "max_epochs": 3}
    )
    result = train_vae(bank(0)[0], bank(1)[0], crushed, "cpu")
    assert result.history[result.best_epoch]["collapsed"]
    encoded = encode_bank(result.model, bank(1)[0], "cpu")
    assert collapse_report(encoded.mu, encoded.logvar)["active_units"] == 0


def test_a_network_that_keeps_its_free_bits_and_says_nothing_more_is_noticed_too() -> None:
    crushed = SETTINGS.model_copy(update={"kl_weight": 1e4, "warm_up_share": 0.0, "max_epochs": 3})
    result = train_vae(bank(0)[0], bank(1)[0], crushed, "cpu")
    assert result.best["active_units"] == 0
    assert not result.usable
    encoded = encode_bank(result.model, bank(1)[0], "cpu")
    assert (encoded.mu.var(axis=0) > training.ACTIVE_VARIANCE).any()  # by this alone some would pass


def test_the_weight_of_the_kl_rises_over_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    weights: list[float] = []
    take = training._step

    def step(model, optimizer, x, kl_weight, generator, bf16):
        weights.append(kl_weight)
        return take(model, optimizer, x, kl_weight, generator, bf16)

    monkeypatch.setattr(training, "_step", step)
    settings = SETTINGS.model_copy(update={"max_epochs": 4, "warm_up_share": 0.5, "kl_weight": 0.8})
    train_vae(bank(0, 259)[0], bank(1, 100)[0], settings, "cpu")
    np.testing.assert_allclose(weights, 0.8 * np.minimum(1, np.arange(1, 17) / 8))


def test_networks_compute_in_bfloat16_where_they_are_told_to_and_losses_in_float32() -> None:
    x = torch.from_numpy(bank(0)[0].rows[:256].reshape(64, 1, 16, 16))
    decoded: list[torch.dtype] = []
    losses = []
    for bf16 in (True, False):
        model = training._new_model(16, 16, SETTINGS).train()
        model.decoder.register_forward_hook(lambda _module, _given, out: decoded.append(out.dtype))
        generator, optimizer = torch.Generator().manual_seed(0), torch.optim.Adam(model.parameters())
        losses.append(training._step(model, optimizer, x, 1.0, generator, bf16))
        assert losses[-1].dtype == model.posterior.weight.dtype == torch.float32
    assert decoded == [torch.bfloat16, torch.float32]
    np.testing.assert_allclose(*losses, rtol=2e-3)


def test_a_last_window_alone_in_its_batch_is_left_to_another_epoch() -> None:
    result = train_vae(bank(0, 68)[0], bank(1, 100)[0], SETTINGS.model_copy(update={"max_epochs": 1}), "cpu")
    assert np.isfinite(result.history[0]["train_loss"])  # 65 windows in batches of 64


def test_frames_go_to_the_device_once_and_windows_are_cut_there() -> None:
    windows, _ = bank(0, 500)
    source = DeviceWindows(windows, "cpu")
    assert source.rows.data_ptr() == windows.rows.ctypes.data  # on a CPU not even copied
    sample = torch.tensor([3, 400, 3])
    expected = np.stack([windows.window(i) for i in sample])[:, None]
    np.testing.assert_array_equal(source[sample].numpy(), expected)


def test_a_bernoulli_likelihood_learns_windows_scaled_to_one_and_refuses_others() -> None:
    settings = SETTINGS.model_copy(update={"likelihood": "bernoulli", "max_epochs": 4})
    scaled, held_out = (replace(bank(seed)[0], imaging=Imaging(None, None, minmax=True)) for seed in (0, 1))
    result = train_vae(scaled, held_out, settings, "cpu")
    assert result.history[-1]["validation_loss"] < result.history[0]["validation_loss"]
    encoded = encode_bank(result.model, held_out, "cpu")
    x = torch.from_numpy(np.stack([held_out.window(i) for i in range(50)]))[:, None]
    with torch.no_grad():
        mean = result.model.mean(result.model.decode(torch.from_numpy(encoded.mu[:50])))
    expected = functional.binary_cross_entropy(mean, x, reduction="none").sum(dim=(1, 2, 3))
    np.testing.assert_allclose(encoded.reconstruction_error[:50], expected, rtol=1e-4)
    with pytest.raises(ValueError, match=r"within \[0, 1\]: set window.scaling to minmax"):
        train_vae(bank(0)[0], bank(1)[0], settings, "cpu")


def test_fewer_than_a_quarter_of_the_dimensions_is_a_collapse() -> None:
    rng = np.random.default_rng(0)
    mu, logvar = np.zeros((500, 8), np.float32), np.zeros((500, 8), np.float32)
    mu[:, 0] = rng.normal(size=500)
    mu[:, 5] = 3.0  # far from the prior, but the same for every window
    mu[:, 6] = rng.normal(size=500)  # varies, but is not known better than without the window
    logvar[:, [0, 1]] = -1.0
    report = collapse_report(mu, logvar)
    assert report["active_units"] == 1
    assert report["collapsed"]
    np.testing.assert_allclose(report["kl_per_dimension"][5], 4.5)
    mu[:, 1] = rng.normal(size=500)
    assert not collapse_report(mu, logvar)["collapsed"]


def test_extreme_windows_do_not_steer_the_training() -> None:
    windows, _ = bank(0)
    spoilt = windows.rows.copy()
    spoilt[5] = 15.0  # in 4 of 1297 windows, 0.3 %
    settings = SETTINGS.model_copy(update={"max_epochs": 3, "windows_per_epoch": 1297, "batch": 1297})
    clean, trimmed, untrimmed = (
        train_vae(
            WindowBank(rows, windows.first, 4), bank(1)[0], settings.model_copy(update=change), "cpu"
        ).history[0]
        for rows, change in ((windows.rows, {}), (spoilt, {}), (spoilt, {"trim_share": 0.0}))
    )
    assert abs(trimmed["train_loss"] - clean["train_loss"]) < 5
    assert untrimmed["train_loss"] > clean["train_loss"] + 10


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best_weights() -> None:
    small, held_out = bank(0, 40)[0], bank(1, 300)[0]
    settings = SETTINGS.model_copy(
        update={"max_epochs": 200, "patience": 3, "learning_rate": 2e-2, "batch": 16, "warm_up_share": 0.01}
    )
    reports: list[TrainedVae] = []
    result = train_vae(small, held_out, settings, "cpu", on_epoch=reports.append)
    assert len(result.history) == len(reports) == result.best_epoch + 1 + settings.patience < 200
    sample = np.linspace(0, len(held_out) - 1, 256).astype(int)
    encoded = encode_bank(result.model, WindowBank(held_out.rows, held_out.first[sample], 4), "cpu")
    kept = np.sort(encoded.reconstruction_error + encoded.kl)[:-6]  # ceil(2 % of 256) are left out
    np.testing.assert_allclose(kept.mean(), result.history[result.best_epoch]["validation_loss"], rtol=1e-5)


def test_each_epoch_says_where_training_stands(capsys: pytest.CaptureFixture) -> None:
    lines: list[str] = []
    short = SETTINGS.model_copy(update={"max_epochs": 2})
    train_vae(
        bank(0, 200)[0],
        bank(1, 100)[0],
        short,
        "cpu",
        on_epoch=lambda so_far: lines.append(so_far.lines()[-1]),
        progress=True,
    )
    assert [line.split(":")[0] for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert "step" in capsys.readouterr().err


def test_windows_that_cannot_be_trained_on_are_refused_in_words() -> None:
    good, _ = bank(0, 100)
    empty = replace(good, first=good.first[:0])
    with pytest.raises(ValueError, match="add days"):
        train_vae(good, empty, SETTINGS, "cpu")
    with pytest.raises(ValueError, match="do not go together"):
        train_vae(good, replace(good, first=good.first[:-4], rows_per_window=8), SETTINGS, "cpu")
    broken = replace(good, rows=np.full_like(good.rows, np.nan))
    with pytest.raises(FloatingPointError, match="never finite"):
        train_vae(broken, broken, SETTINGS.model_copy(update={"max_epochs": 1}), "cpu")


def test_a_stored_network_encodes_as_before_and_its_version_does_not_depend_on_time(
    trained: TrainedVae, tmp_path: Path
) -> None:
    store = Store(str(tmp_path))
    version = save_vae(store, trained, {"training_set": "abc", "days": ["2026-01-05"]})
    slower = replace(trained, history=[{**row, "seconds": row["seconds"] + 60} for row in trained.history])
    assert save_vae(store, slower, {"training_set": "abc", "days": ["2026-01-05"]}) == version
    model = load_vae(store, version)
    assert not model.training
    windows, _ = bank(6, 80)
    np.testing.assert_array_equal(
        encode_bank(model, windows, "cpu").reconstruction_error,
        encode_bank(trained.model, windows, "cpu").reconstruction_error,
    )
    _, description = checkpoints.load(store, "vae", version)
    assert description["training_set"] == "abc"
    assert description["collapsed"] is False
    assert description["active_units"] == trained.history[trained.best_epoch]["active_units"]
    with pytest.raises(checkpoints.CheckpointError):
        load_vae(store, "0" * 16)


def test_a_stored_network_that_is_built_otherwise_is_refused_with_what_to_do(
    trained: TrainedVae, tmp_path: Path
) -> None:
    store = Store(str(tmp_path))
    tensors, description = checkpoints.load(store, "vae", save_vae(store, trained, {}))
    renamed = {name.replace("decoder.2.", "decoder.3."): value for name, value in tensors.items()}
    version = checkpoints.save(store, "vae", renamed, description)
    reported = r"(?s)stored Vae .* run the job train again .*decoder\.2"
    with pytest.raises(checkpoints.CheckpointError, match=reported):
        load_vae(store, version)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_a_network_as_good_and_the_same_embeddings(trained: TrainedVae) -> None:
    on_gpu = train_vae(bank(0, blobs=0.003)[0], bank(1)[0], SETTINGS, "cuda")
    loss = [t.history[t.best_epoch]["validation_loss"] for t in (on_gpu, trained)]
    np.testing.assert_allclose(loss[0], loss[1], rtol=0.03)
    windows, _ = bank(5, 60)
    there, here = (encode_bank(on_gpu.model, windows, device) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(there.mu, here.mu, atol=2e-2)
    np.testing.assert_allclose(there.reconstruction_error, here.reconstruction_error, rtol=1e-2)
