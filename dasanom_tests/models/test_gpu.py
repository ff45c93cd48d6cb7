"""Steps of training keep to their device: a tensor that is left on the CPU fails here, where there is no GPU too.

Tensors on the device ``meta`` know their shape, type and device and hold no values; like those of a GPU they are
not mixed with tensors on the CPU.
"""

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dasanom_assets.models.infogan import InfoGan, draw
from dasanom_assets.models.infogan_steps import adversarial_step, encoder_step, warm_up_step
from dasanom_assets.models.loop import DeviceWindows
from dasanom_assets.models.training import _step
from dasanom_assets.models.vae import Vae
from dasanom_assets.settings import InfoGanSettings, SpectrogramSettings, VaeSettings, WindowSettings
from dasanom_assets.spectrograms.windows import make_bank

META = torch.device("meta")
X = torch.rand(6, 1, 16, 16, device=META)


class Numbers:
    """A random number generator of the device, as far as steps ask for one: nothing is drawn there."""

    device = META


@pytest.fixture(autouse=True)
def numbers(monkeypatch: pytest.MonkeyPatch) -> Numbers:
    def on_device(draw: Any) -> Any:
        def drawn(*size: Any, generator: Any = None, **more: Any) -> torch.Tensor:
            assert torch.device(more["device"]) == generator.device
            return draw(*size, **more)

        return drawn

    for name in ("randn", "rand", "randint"):
        monkeypatch.setattr(torch, name, on_device(getattr(torch, name)))
    # It knows neither CPU nor GPU where it is asked for a precision.
    monkeypatch.setattr(torch, "autocast", lambda *settings, **more: contextlib.nullcontext())
    return Numbers()


def gradients(model: nn.Module) -> set[torch.device]:
    return {parameter.grad.device for parameter in model.parameters() if parameter.grad is not None}


def test_a_tensor_left_on_the_cpu_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.ones(2, device=META) + torch.ones(2)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_a_step_of_the_vae_stays_on_its_device(numbers: Numbers, likelihood: str) -> None:
    model = Vae(16, 16, VaeSettings(latent=3, widths=(4, 8), likelihood=likelihood)).to(META)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    loss = _step(model, optimizer, X, 1.0, numbers, bf16=False)
    assert (loss.device, loss.shape, loss.dtype) == (META, (), torch.float32)
    assert gradients(model) == {META}


def test_steps_of_infogan_stay_on_their_device(numbers: Numbers) -> None:
    settings = InfoGanSettings(categories=5, noise=4, widths=(4, 8), features=8)
    model = InfoGan(16, 16, (-5.0, 15.0), settings).to(META)
    optimizers = {
        name: torch.optim.Adam(getattr(model, name).parameters(), rate)
        for name, rate in settings.learning_rates.items()
    }
    losses = [
        warm_up_step(model, optimizers, X, numbers, bf16=False),
        adversarial_step(model, optimizers, X, numbers, bf16=False),
        encoder_step(model, optimizers, X, bf16=False),
    ]
    assert [(loss.device, loss.shape) for loss in losses] == [(META, (4,))] * 3
    assert gradients(model) == {META}
    assert {part.device for part in draw(2, settings, numbers)} == {META}


@pytest.mark.parametrize("scaling", ["background", "minmax"])
def test_windows_are_cut_on_their_device(scaling: str) -> None:
    rows = np.zeros((30, *SpectrogramSettings().row_shape), np.float32)
    first = np.arange(20)
    window = WindowSettings(scaling=scaling)
    bank = make_bank(rows, first, first * 1_000_000_000, SpectrogramSettings(), window)
    windows = DeviceWindows(bank, "meta")
    (x,) = windows.batches(100)
    assert (x.device, x.shape) == (META, (20, 1, *bank.window_shape))
