"""Windows of a day to embeddings, cluster labels, scores and p-values: their levels are whitened once for all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from dasanom_assets.detection.calibration.conformal import fused
from dasanom_assets.detection.detectors.base import Windows
from dasanom_assets.detection.detectors.clusters import assign
from dasanom_assets.detection.events.outlines import hour_of
from dasanom_assets.detection.events.support import ChannelScores, reach_channels, supported
from dasanom_assets.detection.reference.inputs import Inputs
from dasanom_assets.detection.reference.model import Reference, require_fit
from dasanom_assets.detection.rows import channel_rows
from dasanom_assets.models.encoding import Encoded, encode_bank
from dasanom_assets.models.training_set import WindowIndex
from dasanom_assets.models.vae import Vae
from dasanom_assets.settings import Settings
from dasanom_assets.spectrograms.grids import DayGrids
from dasanom_assets.spectrograms.streams import Neighbours, blocks, spread
from dasanom_assets.spectrograms.white_rows import WhiteChannel, hourly_banks
from dasanom_assets.spectrograms.whitening import WhiteDay
from dasanom_assets.spectrograms.windows import SECOND_NS, WindowBank, window_rows
from dasanom_assets.tables.schemas import SCHEMAS, with_detectors
from dasanom_assets.tables.store import Store

if TYPE_CHECKING:
    from distributed import Client

TABLES = ("embeddings", "cluster_labels", "anomaly_scores")
INTERVAL = ["fibre", "channel", "start", "end"]


PLACED = ("label", "probability", "outlier_score")
Said = tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]
"""Arrays of some windows by name: what the network makes of them, their place among clusters, and scores."""


class _Scored(NamedTuple):
    """Scores of the windows of one channel, which wait for those of its neighbours."""

    scores: dict[str, np.ndarray]
    invalid: pa.Table
    fusion: ChannelScores


class Judged(NamedTuple):
    """What is said of the windows of one channel before its neighbours are heard."""

    encoded: Encoded
    placed: dict[str, np.ndarray]
    scored: _Scored


@dataclass(frozen=True)
class Judge:
    """All that it takes to score any channels of a day, on this machine or another.

    Attributes
    ----------
    day : str
        ISO day.
    levels : WhiteDay
    settings : Settings
    reference : Reference
    vae : Vae
    inputs : Inputs
    device : str
        Torch device.
    """

    day: str
    levels: WhiteDay
    settings: Settings
    reference: Reference
    vae: Vae
    inputs: Inputs
    device: str

    def __call__(self, keys: list[tuple[str, int]]) -> list[Judged]:
        """Return what is said of each of some channels."""
        import torch

        torch.set_num_threads(1)  # channels are scored side by side
        return [self._judged(self._of_known_bands(channel)) for channel in self.levels.channels(keys)]

    def _of_known_bands(self, channel: WhiteChannel) -> WhiteChannel:
        """Return a channel without the rows whose bands mean other frequencies than the model's."""
        grids = DayGrids(self.levels.frames.note)
        known = np.array([self.reference.knows(grid.centre_hz) for grid in grids.of(channel.fibre)])
        if known.all():
            return channel
        other = ~known[grids.of_rows(channel.fibre, channel.channel, channel.start_ns)]
        return replace(
            channel, usable=channel.usable & ~other, unusable={"other bands": other, **channel.unusable}
        )

    def _judged(self, channel: WhiteChannel) -> Judged:
        reference, window = self.reference, self.settings.window
        first = window_rows(channel.start_ns, channel.usable, window)
        start, shift = channel.start_ns[first], window.shift_seconds * SECOND_NS
        banks = hourly_banks(channel, first, self.levels.spectrogram, window)
        hours = [self._hour(channel, bank, start[windows]) for windows, bank in banks]
        encoded, placed, scores = (_in_a_row(parts) for parts in zip(self._nothing(), *hours, strict=True))
        fusion = fused({name: reference.conformal[name] for name in reference.fused}, scores)
        place = channel.fibre, channel.channel, start
        return Judged(
            Encoded(**encoded),
            placed,
            _Scored(
                scores,
                _invalid(channel, first, self.settings, reference),
                ChannelScores(*place, fusion, reference.recipe, shift),
            ),
        )

    def _hour(self, channel: WhiteChannel, bank: WindowBank, start_ns: np.ndarray) -> Said:
        """Return what is said of the windows of a bank."""
        encoded = encode_bank(self.vae, bank, self.device)
        n, latent = len(bank), self.reference.latent
        placed = (np.full(n, -1, np.int32), np.zeros(n, np.float32), np.full(n, np.nan, np.float32))
        if latent is not None:
            placed = assign(latent.clusters, encoded.mu)
        index = WindowIndex.of_channel(channel.fibre, channel.channel, start_ns, self.day)
        windows = Windows(bank, encoded, placed[2], self.inputs.of(bank, index))
        scores = self.reference.score(windows, self.day, start_ns)
        return vars(encoded), dict(zip(PLACED, placed, strict=True)), scores

    def _nothing(self) -> Said:
        """Return what is said of no window."""
        none = np.empty(0, np.float32)
        placed = dict(zip(PLACED, (np.empty(0, np.int32), none, none), strict=True))
        return vars(Encoded.empty(self.vae.settings.latent)), placed, dict.fromkeys(self.reference.names, none)


def _in_a_row(parts: tuple[dict[str, np.ndarray], ...]) -> dict[str, np.ndarray]:
    """Return arrays of the same names, one behind the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def score_day(
    store: Store,
    day: str,
    vae: Vae,
    reference: Reference,
    settings: Settings,
    inputs: Inputs,
    device: str,
    client: "Client | None" = None,
    progress: Callable[[int], Any] | None = None,
) -> Iterator[dict[str, pa.Table]]:
    """Yield the rows of `TABLES` of a day, by name, one channel at a time.

    Dead and saturated channels, seconds with missing frames and silent seconds have no window in `embeddings` and
    `cluster_labels`: a row that is not there is not normal, it is unknown. Without clusters (`latent` could not be
    fitted) all windows are noise, and have no outlier score.

    ``score`` is that of all detectors and a window's surroundings, in standard deviations above what is usual on
    the reference. ``is_anomaly`` says whether reference ground, there and at that hour, has an event as strong no
    more often than ``detection.budget``. Windows that a part of which is missing or not to be trusted have no
    score; `invalid` says why.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    vae : Vae
    reference : Reference
    settings : Settings
    inputs : Inputs
    device : str
        Torch device.
    client : distributed.Client, optional
        Scores blocks of channels on its workers, which must reach the store; threads of this process by default.
        The rows are the same.
    progress : callable, optional
        Called with the windows finished since its last call.

    Raises
    ------
    IncompatibleModelError
        Where the reference model is not for the day's spectrograms or the settings in force. Of a day that holds
        other bands, too, only these have no score.
    """
    levels = WhiteDay(store, day, settings.background, settings.window, bad=True)
    require_fit(reference, levels.frames.note, settings, day)
    schemas = {table: SCHEMAS[table] for table in TABLES[:2]} | {TABLES[2]: with_detectors(reference.names)}
    nothing = vars(Encoded.empty(vae.settings.latent))
    none = {"embeddings": channel_rows(schemas["embeddings"], "", 0, np.empty(0, np.int64), 0, nothing)}
    yield {table: schema.empty_table() for table, schema in schemas.items()} | none
    judge = Judge(day, levels, settings, reference, vae, inputs, device)
    waiting = Neighbours[_Scored](reach_channels(reference.recipe))

    def scored(one: _Scored, beside: list[_Scored]) -> dict[str, pa.Table]:
        fusions = (other.fusion for other in beside)
        strength = supported(one.fusion, fusions, levels.spectrogram.group_channels).astype(np.float32)
        if progress:
            progress(len(strength))
        return {"anomaly_scores": _scores_table(one, strength, reference, settings, schemas["anomaly_scores"])}

    for judged in spread(judge, blocks(levels.keys, levels.frames.seconds), client):
        one = judged.scored
        of_tables = {"embeddings": vars(judged.encoded), "cluster_labels": judged.placed}
        place = one.fusion.fibre, one.fusion.channel, one.fusion.start_ns, settings.window.seconds
        # What waits for neighbours is a third of what there is.
        yield {table: channel_rows(schemas[table], *place, values) for table, values in of_tables.items()}
        for complete in waiting.add(one):
            yield scored(*complete)
    for complete in waiting.rest():
        yield scored(*complete)


def _scores_table(
    scored: _Scored, strength: np.ndarray, reference: Reference, settings: Settings, schema: pa.Schema
) -> pa.Table:
    """Return the rows of `anomaly_scores` of one channel; `strength` is float32, shape (n_windows,)."""
    fibre, channel, start = scored.fusion.fibre, scored.fusion.channel, scored.fusion.start_ns
    limit = reference.rates.thresholds(settings.detection.budget, fibre, channel)
    columns: dict[str, Any] = {f"score_{name}": scores for name, scores in scored.scores.items()}
    columns |= {f"p_{name}": reference.conformal[name].p_values(s) for name, s in scored.scores.items()}
    columns |= {"score": strength, "p_value": reference.conformal["fused"].p_values(strength)}
    columns["is_anomaly"] = strength >= limit[hour_of(start)]
    columns["model_version"] = np.full(len(strength), reference.version, object)
    columns["invalid"] = np.full(len(strength), None, object)
    columns["invalid"][~np.isfinite(strength)] = "not scored"
    rows = channel_rows(schema, fibre, channel, start, settings.window.seconds, columns)
    return pa.concat_tables([rows, scored.invalid]).sort_by("start") if scored.invalid.num_rows else rows


def _invalid(channel: WhiteChannel, first: np.ndarray, settings: Settings, reference: Reference) -> pa.Table:
    """Return rows for the windows that begin at a row of the channel and have no score."""
    n = settings.window.seconds
    second = channel.start_ns // SECOND_NS
    begins = np.flatnonzero(second % settings.window.shift_seconds == 0)
    # The last windows of a stretch that reach over its end are not there at all, as they never were.
    rows = np.setdiff1d(begins, first)
    last = np.searchsorted(second, second[rows] + n)
    gap = (last - rows < n) & (last < len(second))
    reasons = np.where(gap, "incomplete", "")
    for name, bad in reversed(channel.unusable.items()):
        total = np.concatenate([[0], np.cumsum(bad)])
        reasons = np.where(total[last] > total[rows], name, reasons)
    known = (reasons != "") & (gap | (last - rows == n))
    rows, reasons = rows[known], reasons[known]
    columns = {
        "is_anomaly": np.zeros(len(rows), bool),
        "model_version": np.full(len(rows), reference.version, object),
        "invalid": reasons.astype(object),
    }
    place = (channel.fibre, channel.channel, channel.start_ns[rows])
    return channel_rows(with_detectors(reference.names), *place, n, columns)
