"""Embeddings to clusters, scores and p-values, one channel at a time."""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from dasanom_assets.detection.calibration.conformal import fused
from dasanom_assets.detection.detectors.base import Windows
from dasanom_assets.detection.detectors.clusters import assign
from dasanom_assets.detection.events.outlines import hour_of
from dasanom_assets.detection.events.support import ChannelScores, with_support
from dasanom_assets.detection.reference.inputs import Inputs
from dasanom_assets.detection.reference.model import Reference, require_fit
from dasanom_assets.detection.rows import channel_rows
from dasanom_assets.detection.streams import ahead
from dasanom_assets.models.encoding import Encoded
from dasanom_assets.models.training_set import WindowIndex
from dasanom_assets.settings import Settings, SpectrogramSettings
from dasanom_assets.spectrograms.whitening import WhiteChannel, white_day
from dasanom_assets.spectrograms.windows import SECOND_NS, make_bank, window_rows
from dasanom_assets.tables.schemas import SCHEMAS, stack, with_detectors
from dasanom_assets.tables.store import Store

T = TypeVar("T")
INTERVAL = ["fibre", "channel", "start", "end"]


def cluster_labels(store: Store, day: str, reference: Reference) -> Iterator[pa.Table]:
    """Yield the rows of `cluster_labels` of a day: nearest cluster of the reference, and GLOSH outlier score.

    Without clusters (`latent` could not be fitted) all windows are noise, and have no outlier score.
    """
    for rows in store.iter_day("embeddings", day, [*INTERVAL, "mu"]):
        n = rows.num_rows
        placed = (np.full(n, -1, np.int32), np.zeros(n, np.float32), np.full(n, np.nan, np.float32))
        if reference.latent is not None:
            placed = assign(reference.latent.clusters, stack(rows["mu"]))
        columns = dict(zip(("label", "probability", "outlier_score"), placed, strict=True))
        yield _extended(SCHEMAS["cluster_labels"], rows, columns)


def anomaly_scores(
    store: Store, day: str, reference: Reference, settings: Settings, inputs: Inputs
) -> Iterator[pa.Table]:
    """Yield the rows of `anomaly_scores` of a day, one table a channel.

    ``score`` is that of all detectors and a window's surroundings, in standard deviations above what is usual on
    the reference. ``is_anomaly`` says whether reference ground, there and at that hour, has an event as strong no
    more often than ``detection.budget``. Windows that a part of which is missing or not to be trusted have no
    score; `invalid` says why.

    Raises
    ------
    IncompatibleModelError
        Where the reference model is not for the day's spectrograms or the settings in force.
    ValueError
        Where `cluster_labels` or `spectrograms` belong to other windows than `embeddings`.
    """
    require_fit(reference, store.metadata("spectrograms", day), settings, day)
    step = reference.settings["spectrogram"]["group_channels"]
    names = reference.names
    schema = with_detectors(names)
    yield schema.empty_table()
    scored = ahead(_one_blas_thread(_scored(store, day, reference, settings, inputs)))
    waiting: dict[tuple[str, int], tuple[pa.Table, np.ndarray, pa.Table]] = {}

    def channels() -> Iterator[ChannelScores]:
        for rows, scores, invalid, channel in scored:
            waiting[channel.fibre, channel.channel] = rows, scores, invalid
            yield channel

    for channel, strength in with_support(channels(), reference.recipe, step):
        rows, scores, invalid = waiting.pop((channel.fibre, channel.channel))
        strength = strength.astype(np.float32)
        limit = reference.rates.thresholds(settings.detection.budget, channel.fibre, channel.channel)
        columns: dict[str, Any] = {f"score_{name}": scores[:, i] for i, name in enumerate(names)}
        columns |= {f"p_{name}": reference.conformal[name].p_values(scores[:, i]) for i, name in enumerate(names)}
        columns |= {"score": strength, "p_value": reference.conformal["fused"].p_values(strength)}
        columns["is_anomaly"] = strength >= limit[hour_of(channel.start_ns)]
        columns["model_version"] = np.full(len(strength), reference.version, object)
        columns["invalid"] = np.full(len(strength), None, object)
        columns["invalid"][~np.isfinite(strength)] = "not scored"
        table = _extended(schema, rows, columns)
        yield pa.concat_tables([table, invalid]).sort_by("start") if invalid.num_rows else table


def _one_blas_thread(items: Iterator[T]) -> Iterator[T]:
    """Yield items that are made while NumPy's matrix products keep to one thread.

    Its other threads go on turning for a while after a product, on the cores that torch's networks then lack.
    The limit is that of the whole process, and is lifted after each item.
    """
    end = object()
    take = threadpool_limits.wrap(limits=1, user_api="blas")(lambda: next(items, end))
    while (item := take()) is not end:
        yield item


def _scored(
    store: Store, day: str, reference: Reference, settings: Settings, inputs: Inputs
) -> Iterator[tuple[pa.Table, np.ndarray, pa.Table, ChannelScores]]:
    """Yield the rows of a channel, its scores by detector, its rows without a score, and the fusion."""
    spectrogram = SpectrogramSettings(**store.metadata("spectrograms", day)["settings"])
    names, shift = reference.names, settings.window.shift_seconds * SECOND_NS
    recipe, of_fusion = reference.recipe, {name: reference.conformal[name] for name in reference.fused}
    labelled = store.iter_day("cluster_labels", day, [*INTERVAL[:3], "outlier_score"])
    encoded = (
        rows.append_column("outlier", labels["outlier_score"])
        for rows, labels in zip(store.iter_day("embeddings", day), labelled, strict=True)
        if _same(rows, labels, day) and rows.num_rows
    )
    rows = next(encoded, None)
    for channel in ahead(white_day(store, day, settings.background, settings.window, bad=True)):
        first = window_rows(channel.start_ns, channel.usable, settings.window)
        invalid = _invalid(channel, first, settings, reference)
        if not len(first):
            key = channel.fibre, channel.channel
            none = ChannelScores(*key, channel.start_ns[first], np.empty(0), recipe, shift)
            yield with_detectors(names).empty_table().select(INTERVAL), np.empty((0, len(names))), invalid, none
            continue
        start = channel.start_ns[first]
        if (
            rows is None
            or (rows["fibre"][0].as_py(), rows["channel"][0].as_py()) != (channel.fibre, channel.channel)
            or not np.array_equal(rows["start"].cast(pa.int64()).to_numpy(), start)
        ):
            raise ValueError(f"embeddings of {day} are of other spectrograms: materialize embeddings again")
        bank = make_bank(channel.rows, first, start, spectrogram, settings.window)
        numbers = (rows["reconstruction_error"].to_numpy(), rows["kl"].to_numpy())
        latent = Encoded(stack(rows["mu"]), stack(rows["logvar"]), *numbers)
        index = WindowIndex.of_channel(channel.fibre, channel.channel, start, day)
        windows = Windows(bank, latent, rows["outlier"].to_numpy(), inputs.of(bank, index))
        by_name = reference.score(windows, day, start)
        scores = np.stack(list(by_name.values()), axis=1)
        fusion = fused(of_fusion, by_name)
        yield rows, scores, invalid, ChannelScores(channel.fibre, channel.channel, start, fusion, recipe, shift)
        rows = next(encoded, None)
    if rows is not None:
        raise ValueError(f"embeddings of {day} are of other spectrograms: materialize embeddings again")


def _same(rows: pa.Table, labels: pa.Table, day: str) -> bool:
    if not rows.select(INTERVAL[:3]).equals(labels.select(INTERVAL[:3])):
        raise ValueError(
            f"cluster_labels of {day} are older than its embeddings: materialize cluster_labels again"
        )
    return True


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


def _extended(schema: pa.Schema, rows: pa.Table, columns: dict[str, np.ndarray]) -> pa.Table:
    out = rows.select(INTERVAL)
    for name, values in columns.items():
        out = out.append_column(name, pa.array(values, schema.field(name).type))
    return out.select(schema.names)
