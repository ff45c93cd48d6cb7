"""Embeddings to clusters, scores and p-values, one channel at a time."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from dasanom_assets.detection.clustering import assign
from dasanom_assets.detection.detectors import Windows
from dasanom_assets.detection.fusion import fuse, settled, strength
from dasanom_assets.detection.inputs import Inputs
from dasanom_assets.detection.reference import Reference, require_fit, terms_of
from dasanom_assets.detection.streams import ahead
from dasanom_assets.detection.support import REACH, ChannelScores, supported
from dasanom_assets.models.training import Encoded
from dasanom_assets.models.training_set import WindowIndex
from dasanom_assets.settings import DetectionSettings, Settings, SpectrogramSettings
from dasanom_assets.spectrograms.whitening import WhiteChannel, white_day
from dasanom_assets.spectrograms.windows import SECOND_NS, make_bank, window_rows
from dasanom_assets.tables.schemas import SCHEMAS, TIME, stack, with_detectors
from dasanom_assets.tables.store import Store

T = TypeVar("T")
INTERVAL = ["fibre", "channel", "start", "end"]
DAY_SECONDS = 86_400


def cluster_labels(store: Store, day: str, reference: Reference) -> Iterator[pa.Table]:
    """Yield the rows of `cluster_labels` of a day: nearest cluster of the reference, and GLOSH outlier score."""
    for rows in store.iter_day("embeddings", day, [*INTERVAL, "mu"]):
        label, probability, outlier = assign(reference.latent.clusters, stack(rows["mu"]))
        columns = {"label": label, "probability": probability, "outlier_score": outlier}
        yield _extended(SCHEMAS["cluster_labels"], rows, columns)


def anomaly_scores(
    store: Store, day: str, reference: Reference, settings: Settings, inputs: Inputs
) -> Iterator[pa.Table]:
    """Yield the rows of `anomaly_scores` of a day, one table a channel.

    Windows that a part of which is missing or not to be trusted have no score; `invalid` says why.

    Raises
    ------
    IncompatibleModelError
        Where the reference model is not for the day's spectrograms or the settings in force.
    ValueError
        Where `cluster_labels` or `spectrograms` belong to other windows than `embeddings`.
    """
    require_fit(reference, store.metadata("spectrograms", day), settings, day)
    limit = thresholds(reference, settings.detection, spacing_m(store, day, settings))[
        settings.detection.threshold
    ]
    step = reference.settings["spectrogram"]["group_channels"]
    names = list(reference.votes)
    schema = with_detectors(names)
    yield schema.empty_table()
    scored = ahead(_one_blas_thread(_scored(store, day, reference, settings, inputs)))
    for (rows, scores, invalid, channel), neighbours in _with_neighbours(scored, REACH):
        beside = [neighbour[3] for neighbour in neighbours]
        calibrations = reference.of(channel.fibre, channel.channel)
        around = supported(channel, beside, step)
        means = settled(calibrations, around.means, around.width, settings.window.shift_seconds)
        p_value = calibrations["fused"].p_values(strength(calibrations, means))
        score = -np.log10(p_value)
        columns: dict[str, Any] = {f"score_{name}": scores[:, i] for i, name in enumerate(names)}
        columns |= {f"p_{name}": calibrations[name].p_values(scores[:, i]) for i, name in enumerate(names)}
        columns |= {"score": score.astype(np.float32), "p_value": p_value, "is_anomaly": score >= limit}
        columns["model_version"] = np.full(len(score), reference.version, object)
        columns["invalid"] = np.full(len(score), None, object)
        table = _extended(schema, rows, columns)
        yield pa.concat_tables([table, invalid]).sort_by("start") if invalid.num_rows else table


def _one_blas_thread(items: Iterator[T]) -> Iterator[T]:
    """Yield items that are made while NumPy's matrix products keep to one thread.

    Its other threads go on turning for a while after a product, on the cores that torch's networks then lack.
    The limit is that of the whole process, and is lifted after each item.
    """
    while True:
        with threadpool_limits(1, user_api="blas"):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def _scored(
    store: Store, day: str, reference: Reference, settings: Settings, inputs: Inputs
) -> Iterator[tuple[pa.Table, np.ndarray, pa.Table, ChannelScores]]:
    """Yield the rows of a channel, its scores by detector, its rows without a score, and the fusion."""
    spectrogram = SpectrogramSettings(**store.metadata("spectrograms", day)["settings"])
    names, shift = list(reference.votes), settings.window.shift_seconds * SECOND_NS
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
            none = ChannelScores(channel.fibre, channel.channel, channel.start_ns[first], np.empty(0), shift)
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
        n = len(start)
        where = WindowIndex(np.full(n, channel.fibre), np.full(n, channel.channel), start, np.full(n, day))
        windows = Windows(bank, latent, rows["outlier"].to_numpy(), inputs.of(bank, where))
        scores = np.stack([reference.detectors[name].score(windows) for name in names], axis=1)
        fused = fuse(reference.of(channel.fibre, channel.channel), reference.votes, scores)
        terms = terms_of([reference.detectors[name] for name in names], windows)
        yield rows, scores, invalid, ChannelScores(channel.fibre, channel.channel, start, fused, shift, terms)
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
    some = np.setdiff1d(begins, first)
    reasons = np.full(len(some), None, object)
    if len(some):
        last = np.searchsorted(second, second[some] + n, side="left")
        whole = last - some == n
        for name, bad in channel.unusable.items():
            total = np.concatenate([[0], np.cumsum(bad)])
            hit = (total[last] > total[some]) & (reasons == None)  # noqa: E711
            reasons[hit] = name
        gap = ~whole & (last < len(second))
        reasons[gap & (reasons == None)] = "incomplete"  # noqa: E711
        told = (reasons != None) & (whole | gap)  # noqa: E711
        some, reasons = some[told], reasons[told]
    schema = with_detectors(list(reference.votes))
    start = channel.start_ns[some]
    table = pa.table(
        {
            "fibre": pa.array(np.full(len(some), channel.fibre, object), pa.string()),
            "channel": pa.array(np.full(len(some), channel.channel, np.int32)),
            "start": pa.array(start, pa.int64()).cast(TIME),
            "end": pa.array(start + n * SECOND_NS, pa.int64()).cast(TIME),
            "is_anomaly": pa.array(np.zeros(len(some), bool)),
            "model_version": pa.array(np.full(len(some), reference.version, object), pa.string()),
            "invalid": pa.array(reasons, pa.string()),
        }
    )
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(some), field.type))
    return table.select(schema.names)


def _with_neighbours(items: Iterable[T], reach: int) -> Iterator[tuple[T, list[T]]]:
    """Yield each item with up to `reach` items before it and as many after it."""
    upcoming = iter(items)
    before: deque[T] = deque(maxlen=reach)
    after: deque[T] = deque(itertools.islice(upcoming, reach + 1))
    while after:
        here = after.popleft()
        yield here, [*before, *after]
        before.append(here)
        after.extend(itertools.islice(upcoming, 1))


def spacing_m(store: Store, day: str, settings: Settings) -> float:
    """Return the distance of neighbouring channels, m: the median over the files of a day that say it."""
    told = store.read_day("recordings", day, ["channel_spacing_m"])["channel_spacing_m"].drop_null().to_numpy()
    return float(np.median(told)) if len(told) else settings.detection.channel_spacing_m


def thresholds(reference: Reference, settings: DetectionSettings, spacing: float) -> dict[str, float]:
    """Return the threshold of each kind in units of ``score``, −log10 of the fused p-value.

    ``budget`` counts false alarm events, not windows: a kilometre has ``1000 / spacing / group_channels`` rows a
    shift, and what hangs together by chance is one alarm of `windows_per_alarm` windows.

    Parameters
    ----------
    reference : Reference
    settings : DetectionSettings
    spacing : float
        Distance of channels, m.
    """
    fused = reference.calibrations["usual"]["fused"]
    raw = [
        fused.threshold(kind, settings.false_alarm_rate, settings.quantile) for kind in ("gaussian", "quantile")
    ]
    gaussian, quantile = fused.p_values(np.array(raw))
    rows = 1000 / (spacing * reference.settings["spectrogram"]["group_channels"])
    windows = rows * DAY_SECONDS / reference.settings["window"]["shift_seconds"]
    budget = settings.budget * reference.note["windows_per_alarm"] / windows
    kinds = {"budget": budget, "conformal": settings.false_alarm_rate, "gaussian": gaussian, "quantile": quantile}
    return {kind: float(-np.log10(p_value)) for kind, p_value in kinds.items()}


def _extended(schema: pa.Schema, rows: pa.Table, columns: dict[str, np.ndarray]) -> pa.Table:
    out = rows.select(INTERVAL)
    for name, values in columns.items():
        out = out.append_column(name, pa.array(values, schema.field(name).type))
    return out.select(schema.names)
