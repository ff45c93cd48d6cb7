"""A training that was stopped goes on as if it had not been, and only with what it was begun with."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dasanom_assets.models.training import TrainedVae, train_vae
from dasanom_assets.models.unfinished import (
    Interrupted,
    Unfinished,
    optimizer_tensors,
    restore_optimizer,
    stop_on_signals,
)
from dasanom_assets.settings import VaeSettings
from dasanom_assets.spectrograms.windows import WindowBank
from dasanom_assets.tables.store import Store

SETTINGS = VaeSettings(latent=4, widths=(4, 8), batch=32, max_epochs=4, windows_per_epoch=256, patience=2)
STEPS = 8
"""An epoch."""


def bank(seed: int) -> WindowBank:
    rows = np.random.default_rng(seed).normal(size=(300, 4, 16)).astype(np.float32)
    return WindowBank(rows, np.arange(297), 4)


def weights(trained: TrainedVae) -> np.ndarray:
    return torch.cat([value.flatten() for value in trained.model.state_dict().values()]).numpy()


def without_clock(trained: TrainedVae) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in trained.history]


def after(steps: int):
    """Say stop at the n-th time of asking."""
    asked = iter(range(steps))
    return lambda: next(asked, None) is None


@pytest.fixture
def unfinished(tmp_path: Path) -> Unfinished:
    return Unfinished(Store(str(tmp_path)), "vae", {"settings": SETTINGS.model_dump()})


@pytest.fixture(scope="module")
def uninterrupted() -> TrainedVae:
    return train_vae(bank(0), bank(1), SETTINGS, "cpu")


@pytest.mark.parametrize("stops", [[0], [3], [STEPS], [STEPS + 5, 1, 2 * STEPS - 3], [1] * (4 * STEPS - 1)])
def test_a_training_goes_on_from_any_step_to_the_weights_of_one_that_was_never_stopped(
    stops: list[int], unfinished: Unfinished, uninterrupted: TrainedVae
) -> None:
    for steps in stops:
        with pytest.raises(Interrupted, match=r"epoch \d of 4: run it again with the same settings"):
            train_vae(bank(0), bank(1), SETTINGS, "cpu", unfinished=unfinished, stop=after(steps))
    resumed = train_vae(bank(0), bank(1), SETTINGS, "cpu", unfinished=unfinished)
    np.testing.assert_array_equal(weights(resumed), weights(uninterrupted))
    assert without_clock(resumed) == without_clock(uninterrupted)
    assert resumed.best_epoch == uninterrupted.best_epoch


def test_a_stop_loses_no_step_and_a_finished_training_takes_none(unfinished: Unfinished) -> None:
    asked = []
    with pytest.raises(Interrupted):
        train_vae(bank(0), bank(1), SETTINGS, "cpu", unfinished=unfinished, stop=after(11))
    for _ in range(2):
        train_vae(bank(0), bank(1), SETTINGS, "cpu", unfinished=unfinished, stop=lambda: bool(asked.append(1)))
        assert len(asked) == 4 * STEPS - 11


def test_without_a_place_to_keep_it_a_stop_says_so() -> None:
    with pytest.raises(Interrupted, match="epoch 1 of 4: nothing of it was kept"):
        train_vae(bank(0), bank(1), SETTINGS, "cpu", stop=after(3))


@pytest.mark.parametrize("root", ["local", "memory"])
def test_a_state_comes_back_and_is_another_for_other_settings(root: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path) if root == "local" else f"memory://{tmp_path.name}-{id(tmp_path)}")
    state = Unfinished(store, "vae", {"settings": {"seed": 1, "latent": 2}})
    assert state.load() is None
    state.discard()
    state.save({"a": np.arange(3)}, {"loss": float("nan")})
    state.save(
        {"a": torch.arange(4.0)[None], "b": torch.tensor(7)}, {"epoch": 3, "history": [{"loss": 0.1 + 0.2}]}
    )
    tensors, values = Unfinished(store, "vae", {"settings": {"latent": 2, "seed": 1}}).load()
    assert values == {"epoch": 3, "history": [{"loss": 0.1 + 0.2}]}
    np.testing.assert_array_equal(tensors["a"], np.arange(4, dtype=np.float32)[None], strict=True)
    np.testing.assert_array_equal(tensors["b"], np.array(7))
    assert Unfinished(store, "vae", {"settings": {"latent": 2, "seed": 2}}).load() is None
    assert Unfinished(store, "infogan", {"settings": {"latent": 2, "seed": 1}}).load() is None
    state.discard()
    assert state.load() is None


def test_an_optimizer_goes_on_with_moments_in_the_layout_of_their_parameters() -> None:
    def network() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        model = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return model, torch.optim.Adam(model.parameters(), 0.1)

    model, optimizer = network()
    model(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    kept = {name: value.numpy() for name, value in optimizer_tensors(optimizer, "g").items()}
    _, other = network()
    restore_optimizer(other, {**kept, "d.0.step": np.array(9.0)}, "g")
    for mine, theirs in zip(optimizer.state.values(), other.state.values(), strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert torch.equal(mine[name], theirs[name])
            assert mine[name].stride() == theirs[name].stride()


def test_signals_are_told_and_their_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for number in (signal.SIGINT, signal.SIGTERM):
        with stop_on_signals() as stop:
            assert not stop()
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            assert stop()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_told_to_end_saves_and_leaves_and_another_goes_on(
    number: signal.Signals, tmp_path: Path, unfinished: Unfinished, uninterrupted: TrainedVae
) -> None:
    program = """
import sys
from dasanom_assets.models.training import train_vae
from dasanom_assets.models.unfinished import Interrupted, Unfinished, stop_on_signals
from dasanom_assets.tables.store import Store
from dasanom_tests.models.test_unfinished import SETTINGS, bank

unfinished = Unfinished(Store(sys.argv[1]), "vae", {"settings": SETTINGS.model_dump()})
with stop_on_signals() as stop:
    def wait_for_the_signal(report):
        print("epoch", flush=True)
        while not stop():
            pass
    try:
        train_vae(bank(0), bank(1), SETTINGS, "cpu", wait_for_the_signal, unfinished=unfinished, stop=stop)
    except Interrupted as interrupted:
        sys.exit(str(interrupted))
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "epoch\n"
    child.send_signal(number)
    _, reported = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "interrupted in epoch 2 of 4: run it again" in reported
    resumed = train_vae(bank(0), bank(1), SETTINGS, "cpu", unfinished=unfinished)
    np.testing.assert_array_equal(weights(resumed), weights(uninterrupted))
