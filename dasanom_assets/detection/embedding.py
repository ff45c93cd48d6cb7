"""A day's spectrograms through the VAE: one row of `embeddings` a window."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.rows import channel_rows
from dasanom_assets.models.encoding import Encoded, encode_bank
from dasanom_assets.models.vae import Vae
from dasanom_assets.settings import Settings, SpectrogramSettings
from dasanom_assets.spectrograms.whitening import white_day
from dasanom_assets.spectrograms.windows import make_bank, window_rows
from dasanom_assets.tables.schemas import SCHEMAS
from dasanom_assets.tables.store import Store


def embeddings(
    store: Store,
    day: str,
    vae: Vae,
    settings: Settings,
    device: str,
    progress: Callable[[int], None] | None = None,
) -> Iterator[pa.Table]:
    """Yield the rows of `embeddings` of a day, one table a channel.

    Dead and saturated channels, seconds with missing frames and silent seconds have no window: a row that is not
    there is not normal, it is unknown.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    vae : Vae
    settings : Settings
    device : str
        Torch device.
    progress : callable, optional
        Called with the windows finished since its last call.
    """
    schema, nothing = SCHEMAS["embeddings"], vars(Encoded.empty(vae.settings.latent))
    yield channel_rows(schema, "", 0, np.empty(0, np.int64), 0, nothing)
    spectrogram = SpectrogramSettings(**store.metadata("spectrograms", day)["settings"])
    for channel in white_day(store, day, settings.background, settings.window):
        first = window_rows(channel.start_ns, channel.usable, settings.window)
        if len(first):
            bank = make_bank(channel.rows, first, channel.start_ns[first], spectrogram, settings.window)
            encoded = encode_bank(vae, bank, device)
            place = (channel.fibre, channel.channel, channel.start_ns[first])
            yield channel_rows(schema, *place, bank.rows_per_window, vars(encoded))
            if progress:
                progress(len(bank))
