"""The dense autoencoder that detectors of machine sound stand beside."""

import numpy as np

from dasanom_assets.evaluation.autoencoder import FRAMES, Autoencoder, vectors


def test_the_autoencoder_sees_five_frames_in_a_row_and_learns_what_it_sees() -> None:
    levels = np.arange(24, dtype=np.float32).reshape(8, 3)
    x = vectors(levels)
    assert x.shape == (4, 3 * FRAMES)
    assert sorted(x[1]) == levels[1:6].ravel().tolist()
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(3, 40)).astype(np.float32)
    normal = rng.normal(size=(3000, 3)).astype(np.float32) @ basis
    network = Autoencoder.fit(normal[:2000], seed=0, device="cpu")
    again = Autoencoder.fit(normal[:2000], seed=0, device="cpu")
    assert np.array_equal(network.errors(normal[:10]), again.errors(normal[:10]))
    strange = rng.normal(size=(500, 40)).astype(np.float32) * normal.std()
    assert network.errors(normal[2000:]).mean() < 0.2 * network.errors(strange).mean()
