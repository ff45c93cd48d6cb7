"""Windows are encoded as the networks are, in batches of any size, and none of them is nothing."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dasanom_assets.models.encoding import Encoded, encode_bank, encode_gan
from dasanom_assets.models.infogan import InfoGan
from dasanom_assets.models.infogan_training import train_infogan
from dasanom_assets.models.training import train_vae
from dasanom_assets.models.vae import Vae, kl
from dasanom_tests.models import test_infogan_training, test_training
from dasanom_tests.models.test_infogan_training import bank as tones
from dasanom_tests.models.test_infogan_training import weights
from dasanom_tests.models.test_training import bank


@pytest.fixture(scope="module")
def vae() -> Vae:
    settings = test_training.SETTINGS.model_copy(update={"max_epochs": 2})
    return train_vae(bank(0)[0], bank(1)[0], settings, "cpu").model


@pytest.fixture(scope="module")
def gan() -> InfoGan:
    settings = test_infogan_training.SETTINGS.model_copy(update={"max_epochs": 4})
    return train_infogan(tones(0)[0], tones(1)[0], settings, "cpu").model


def test_encoding_is_the_likelihood_and_divergence_of_each_window(vae: Vae) -> None:
    windows, _ = bank(5, 60)
    encoded = encode_bank(vae, windows, "cpu", batch=25)
    x = torch.from_numpy(np.stack([windows.window(i) for i in range(len(windows))]))[:, None]
    with torch.no_grad():
        mu, logvar = vae.encode(x)
        error = vae.negative_log_likelihood(x, vae.decode(mu))
    expected = Encoded(mu.numpy(), logvar.numpy(), error.numpy(), kl(mu, logvar).sum(dim=1).numpy())
    for name in ("mu", "logvar", "reconstruction_error", "kl"):
        values, wanted = getattr(encoded, name), getattr(expected, name)
        assert values.dtype == np.float32
        # In bfloat16, where there are instructions for it, by which no window changes places.
        assert np.abs(values - wanted).max() < 0.1 * wanted.std(axis=0).max()
        np.testing.assert_array_equal(values, getattr(encode_bank(vae, windows, "cpu", batch=25), name))


def test_no_windows_encode_to_no_rows(vae: Vae) -> None:
    none, _ = bank(5, 60)
    encoded = encode_bank(vae, replace(none, first=none.first[:0]), "cpu")
    assert encoded.mu.shape == encoded.logvar.shape == (0, 8)
    assert encoded.reconstruction_error.shape == encoded.kl.shape == (0,)


def test_infogan_encodes_in_eval_mode_and_each_window_by_itself(gan: InfoGan) -> None:
    windows, _ = tones(5, 60)
    gan.train()
    statistics = weights(gan)
    encoded, again = (encode_gan(gan, windows, "cpu", batch=size) for size in (25, 60))
    np.testing.assert_array_equal(weights(gan), statistics)
    assert encoded.features.shape == (60, 16)
    x = torch.from_numpy(np.stack([windows.window(i) for i in range(60)]))[:, None]
    with torch.no_grad():
        real = gan.scaled(x)
        back = gan.unscaled(gan.generator(gan.encoder(real)))
    error = (back - x).square().mean(dim=(1, 2, 3)).numpy()
    # Where networks compute in bfloat16, batches of other sizes may be rounded otherwise.
    assert np.abs(encoded.reconstruction_error - error).max() < 0.1 * error.std()
    for name in ("features", "reconstruction_error", "category"):
        values, others = getattr(encoded, name), getattr(again, name)
        assert values.dtype == np.float32
        assert np.abs(values - others).max() < 0.1 * values.std(axis=0).max()
        assert not len(getattr(encode_gan(gan, replace(windows, first=windows.first[:0]), "cpu"), name))


AT_ONCE = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import torch
from dasanom_assets.models.encoding import encode_bank
from dasanom_assets.models.vae import Vae
from dasanom_assets.settings import VaeSettings
from dasanom_assets.spectrograms.windows import WindowBank

torch.set_num_threads(1)
rows = np.random.default_rng(0).normal(size=(40, 8, 64)).astype(np.float32)
bank, model = WindowBank(rows, np.arange(33), 8), Vae(64, 64, VaeSettings(latent=3, widths=(4, 8)))
with ThreadPoolExecutor(4) as threads:
    sums = threads.map(lambda i: float(encode_bank(model, bank, "cpu").mu.sum()), range(600))
    print(len(set(sums)))
"""


def test_threads_that_encode_at_once_do_not_wait_for_each_other_for_ever() -> None:
    run = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, timeout=300)
    assert (run.returncode, run.stdout.strip()) == (0, "1"), run.stderr
