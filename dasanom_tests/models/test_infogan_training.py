"""infoGAN learns its codes and to bring windows back, can be stopped, and is the same for the same windows."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from dasanom_assets.models import checkpoints
from dasanom_assets.models.encoding import encode_gan
from dasanom_assets.models.infogan_figures import infogan_figures
from dasanom_assets.models.infogan_training import (
    InfoGanEpoch,
    TrainedInfoGan,
    load_infogan,
    save_infogan,
    train_infogan,
)
from dasanom_assets.models.process import train_here
from dasanom_assets.models.unfinished import Interrupted, Unfinished
from dasanom_assets.settings import BackgroundSettings, InfoGanSettings
from dasanom_assets.spectrograms.windows import WindowBank
from dasanom_assets.tables.metadata import thumbnail
from dasanom_assets.tables.store import Store
from dasanom_tests.models.test_process import prepared

KINDS = 5
SETTINGS = InfoGanSettings(
    categories=KINDS,
    continuous=1,
    noise=6,
    widths=(8, 16),
    features=16,
    batch=50,
    max_epochs=15,
    windows_per_epoch=600,
    validation_windows=200,
    generator_rate=4e-3,
    discriminator_rate=4e-3,
    encoder_rate=1e-2,
    warm_up_share=0.2,
    encoder_share=0.2,
    seed=3,
)


def bank(seed: int, n: int = 600) -> tuple[WindowBank, np.ndarray]:
    """Windows of 16 frames × 20 bands with one of five tones each, of a strength of its own."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, KINDS, n)
    band = np.arange(20)
    tone = np.exp(-(((band - 2 - 4 * kind[:, None]) / 1.2) ** 2))
    rows = rng.normal(size=(n, 16, 20)) + (rng.uniform(4, 10, (n, 1)) * tone)[:, None]
    return WindowBank(np.clip(rows, -5, 15).astype(np.float32), np.arange(n), 1, levels=(-5.0, 15.0)), kind


@pytest.fixture(scope="module")
def trained() -> TrainedInfoGan:
    return train_infogan(bank(0)[0], bank(1)[0], SETTINGS, "cpu")


def weights(model: torch.nn.Module) -> np.ndarray:
    return torch.cat([value.flatten().double() for value in model.state_dict().values()]).numpy()


def without_clock(trained: TrainedInfoGan) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in trained.history]


def test_information_rises_and_reconstruction_falls(trained: TrainedInfoGan) -> None:
    reported = [row for row in trained.history if row["discriminator_loss"] is not None]
    assert [row["discriminator_loss"] is None for row in trained.history] == 3 * [True] + 9 * [False] + 3 * [True]
    assert reported[-1]["categorical_information"] > reported[0]["categorical_information"] + 0.5
    assert reported[-1]["categorical_information"] > 0.9 * math.log(KINDS)
    assert reported[-1]["continuous_information"] > reported[0]["continuous_information"]
    assert trained.history[-1]["reconstruction"] < 0.8 * reported[-1]["reconstruction"]
    assert trained.note()["categorical_information"] == reported[-1]["categorical_information"]
    assert trained.history[-1]["categories_used"] > 4
    assert trained.usable
    assert not trained.deaf
    assert not trained.model.training


def test_the_category_finds_the_kinds_of_windows(trained: TrainedInfoGan) -> None:
    windows, kind = bank(2)
    category = encode_gan(trained.model, windows, "cpu").category
    np.testing.assert_allclose(category.sum(axis=1), 1, rtol=1e-5)
    counts = np.zeros((KINDS, KINDS), int)
    np.add.at(counts, (kind, category.argmax(axis=1)), 1)
    assert counts[linear_sum_assignment(counts, maximize=True)].sum() > 0.9 * len(kind)


def test_the_same_windows_give_the_same_networks_and_leave_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    short = SETTINGS.model_copy(update={"max_epochs": 3, "windows_per_epoch": 200})
    one, again = (train_infogan(bank(0)[0], bank(1)[0], short, "cpu") for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(weights(one.model), weights(again.model))
    assert without_clock(one) == without_clock(again)
    other = train_infogan(bank(0)[0], bank(1)[0], short.model_copy(update={"seed": 4}), "cpu")
    assert (weights(one.model) != weights(other.model)).any()


@pytest.mark.parametrize("stopped_before", [0, 6, 9])
def test_a_stopped_training_goes_on_to_the_same_networks(tmp_path: Path, stopped_before: int) -> None:
    short = SETTINGS.model_copy(update={"max_epochs": 3, "windows_per_epoch": 200})
    whole = train_infogan(bank(0)[0], bank(1)[0], short, "cpu")
    state = Unfinished(Store(str(tmp_path)), "infogan", {"of": "a test"})
    asked = iter(range(100))
    with pytest.raises(Interrupted, match=f"epoch {stopped_before // 4 + 1} of 3"):
        train_infogan(
            bank(0)[0], bank(1)[0], short, "cpu", unfinished=state, stop=lambda: next(asked) == stopped_before
        )
    resumed = train_infogan(bank(0)[0], bank(1)[0], short, "cpu", unfinished=state)
    np.testing.assert_array_equal(weights(resumed.model), weights(whole.model))
    assert without_clock(resumed) == without_clock(whole)


def test_levels_are_those_that_the_bank_names(trained: TrainedInfoGan) -> None:
    assert trained.model.levels == (-5, 15)
    plain, _ = bank(0, 10)
    with pytest.raises(ValueError, match=r"set WindowBank\.levels"):
        train_infogan(replace(plain, levels=None), plain, SETTINGS, "cpu")


def test_without_consistency_it_is_plain_infogan_from_the_first_step() -> None:
    plain = SETTINGS.model_copy(update={"consistency_weight": 0.0, "max_epochs": 1, "windows_per_epoch": 100})
    reports: list[TrainedInfoGan] = []
    train_infogan(bank(0)[0], bank(1)[0], plain, "cpu", on_epoch=reports.append)
    assert reports[0].history[0]["discriminator_loss"] is not None
    assert reports[0].lines()[0].startswith("epoch 1 of 1: losses")


def test_a_generator_that_is_deaf_to_the_category_says_so(trained: TrainedInfoGan) -> None:
    last = InfoGanEpoch(**trained.history[-1])
    assert last.categorical_information is None
    for information, usable in ((0.1, True), (None, False)):
        row = vars(replace(last, categorical_information=information))
        result = TrainedInfoGan(trained.model, [row, vars(last)])
        assert result.note()["deaf"]
        assert result.usable is usable


def test_windows_that_cannot_be_trained_on_are_refused_in_words() -> None:
    good, _ = bank(0, 60)
    with pytest.raises(ValueError, match="add days"):
        train_infogan(good, replace(good, first=good.first[:0]), SETTINGS, "cpu")
    broken = replace(good, rows=np.full_like(good.rows, np.nan))
    with pytest.raises(FloatingPointError, match=r"lower infogan\.generator_rate"):
        train_infogan(broken, broken, SETTINGS.model_copy(update={"max_epochs": 1}), "cpu")


def test_stored_networks_encode_as_before_and_their_version_does_not_depend_on_time(
    trained: TrainedInfoGan, tmp_path: Path
) -> None:
    store = Store(str(tmp_path))
    version = save_infogan(store, trained, {"training_set": "abc"})
    slower = replace(trained, history=[{**row, "seconds": row["seconds"] + 60} for row in trained.history])
    assert save_infogan(store, slower, {"training_set": "abc"}) == version
    model = load_infogan(store, version)
    assert not model.training
    assert model.levels == trained.model.levels
    windows, _ = bank(6, 80)
    for name in ("features", "reconstruction_error", "category"):
        np.testing.assert_array_equal(
            getattr(encode_gan(model, windows, "cpu"), name),
            getattr(encode_gan(trained.model, windows, "cpu"), name),
        )
    _, description = checkpoints.load(store, "infogan", version)
    assert description["training_set"] == "abc"
    assert description["deaf"] is False
    with pytest.raises(checkpoints.CheckpointError):
        load_infogan(store, "0" * 16)


def test_figures_fit_into_an_event(trained: TrainedInfoGan) -> None:
    for upto in (1, len(trained.history)):
        figures = infogan_figures(replace(trained, history=trained.history[:upto]), bank(1, 20)[0])
        assert set(figures) == {"losses", "samples"}
        for figure in figures.values():
            assert len(thumbnail(figure)) <= 30_000


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_networks_as_good_and_the_same_encoding(trained: TrainedInfoGan) -> None:
    on_gpu = train_infogan(bank(0)[0], bank(1)[0], SETTINGS, "cuda")
    assert on_gpu.history[-1]["categorical_information"] > 0.9 * math.log(KINDS)
    windows, _ = bank(5, 60)
    there, here = (encode_gan(on_gpu.model, windows, device) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(there.features, here.features, atol=2e-2)


@pytest.mark.slow
def test_its_own_process_trains_it_on_the_live_training_set_and_draws_it(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    small = {"widths": [4], "features": 8, "batch": 16, "max_epochs": 5}
    assert train_here("infogan", store.full(""), device="cpu", changes=small) == 0
    model = load_infogan(store, checkpoints.require_latest(store, "infogan", ""))
    assert model.levels == (BackgroundSettings().clip_low, BackgroundSettings().clip_high)
    names = {Path(file["path"]).name for file in store.listing("reports/training/infogan")}
    assert names == {"index.html", "losses.png", "samples.png"}
    assert store.listing("models/infogan/unfinished") == []
