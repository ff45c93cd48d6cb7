"""Windows that share rows are encoded as each by itself, whichever of them come together."""

import numpy as np
import pytest
import torch

from dasanom_assets.models.overlapping import can_share, sharing
from dasanom_assets.models.vae import Vae
from dasanom_assets.settings import SpectrogramSettings, VaeSettings, WindowSettings
from dasanom_assets.spectrograms.windows import WindowBank, make_bank


def bank(rows: int = 60, slots: int = 8, bands: int = 32) -> WindowBank:
    levels = np.random.default_rng(0).normal(size=(rows, slots, bands)).astype(np.float32)
    return WindowBank(levels, np.arange(rows - 7), 8)


def vae(frames: int = 64, **settings: object) -> Vae:
    torch.manual_seed(0)
    return Vae(frames, 32, VaeSettings(latent=4, widths=(4, 8, 8), **settings)).eval()


@pytest.mark.parametrize("slots", [4, 8, 12])  # one, two and three patches a row, for strides of two and four
@pytest.mark.parametrize("which", ["all", "with gaps", "one", "shuffled"])
def test_each_window_is_encoded_as_by_itself(which: str, slots: int) -> None:
    windows, model = bank(slots=slots), vae(8 * slots)
    model.band_spread.data += torch.linspace(-1, 1, 32)
    order = np.random.default_rng(1).permutation(len(windows))
    subset = {"all": np.arange(len(windows)), "with gaps": np.sort(order[:9]), "one": order[:1], "shuffled": order}
    some = windows.subset(subset[which])
    assert can_share(model, some, "cpu")
    with torch.inference_mode():
        encoded = sharing(model, some)(slice(0, len(some)))
        x = torch.from_numpy(np.stack([some.window(i) for i in range(len(some))]))[:, None]
        mu, logvar = model.encode(x)
        error = model.negative_log_likelihood(x, model.decode(mu))
        for values, wanted in zip(encoded, (mu, logvar, error), strict=True):
            torch.testing.assert_close(values, wanted, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_read_bit_by_bit() -> None:
    windows, model = bank(), vae()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        x = torch.from_numpy(np.stack([windows.window(i) for i in range(20)]))[:, None]
        mu, logvar, error = sharing(model, windows)(slice(0, 20))
        decoded = model.decode(mu)
        assert decoded.dtype == torch.bfloat16
        wanted = model.encode(x)
        torch.testing.assert_close((mu, logvar), wanted, rtol=1e-2, atol=1e-2, check_dtype=False)
    torch.testing.assert_close(error, model.negative_log_likelihood(x, decoded), rtol=1e-5, atol=0)


def test_only_whole_patches_of_plain_rows_are_shared() -> None:
    windows = bank()
    image = WindowSettings(image=(20, 20))
    resampled = make_bank(windows.rows, windows.first, windows.first * 10**9, SpectrogramSettings(bands=32), image)
    assert not can_share(vae(), resampled, "cpu")
    assert not can_share(vae(), bank(slots=6), "cpu")
    assert not can_share(vae(), windows, "cuda")
    assert not can_share(vae(likelihood="bernoulli"), windows, "cpu")
    assert not can_share(Vae(64, 30, VaeSettings(widths=(4, 8, 8))), bank(bands=30), "cpu")
