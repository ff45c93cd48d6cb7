"""Why an event is one: its bands and seconds, its exact edges, the nearest normal windows, and its like."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import stats

from dasanom_assets.detection.detectors.neighbours import Neighbours
from dasanom_assets.detection.events.outlines import event_id
from dasanom_assets.detection.reference.model import Reference
from dasanom_assets.settings import Settings, SpectrogramSettings
from dasanom_assets.spectrograms.grids import DayGrids
from dasanom_assets.spectrograms.white_rows import WhiteChannel
from dasanom_assets.spectrograms.whitening import white_day
from dasanom_assets.spectrograms.windows import SECOND_NS, make_bank
from dasanom_assets.tables.schemas import SCHEMAS, vector
from dasanom_assets.tables.store import Store

AROUND_NS = 60 * SECOND_NS
"""Before and after an event, what its channel usually does is looked at for so long."""
EDGE_SLACK_NS = 3 * SECOND_NS
"""Edges are looked for from so long before to so long after what the windows say."""
WINDOW_REACH_NS = 12 * SECOND_NS
"""A window and its support reach less far: an edge that moves inwards by more is that of another part."""
BURST_SPREADS, BURST_SHARE = 4.0, 0.05
"""What a burst of an event is taken for: spreads above usual, and its share of the frames."""
CHANCE = 0.01
"""How often quiet frames may seem to hold an edge."""
LISTED = 5
"""Bands, seconds and normal windows told of an event."""
ALIKE = 0.9
"""Cosine between the profiles of events from which one resembles the other."""

_NOT_KNOWN: dict[str, Any] = {
    field.name: [] for field in SCHEMAS["event_explanations"] if pa.types.is_list(field.type)
}


def explain(
    store: Store, day: str, events: pa.Table, scores: pa.Table, reference: Reference, settings: Settings
) -> tuple[pa.Table, pa.Table]:
    """Return the rows of `anomaly_events` with their exact edges, and those of `event_explanations`.

    The profile of an event is the mean whitened level of each band in its strongest window, where it is positive.
    Held against those before and after the event, frames along it say when it most likely begins (on its strongest
    channel, or that whose windows begin first) and ends (or that whose windows end last): strokes and the pauses
    between them. Windows alone cannot: each is seconds long, and leans on its neighbours.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    events : pyarrow.Table
        From `events.find_events`.
    scores : pyarrow.Table
        The windows that they were found in; flagged ones are enough.
    reference : Reference
    settings : Settings
    """
    midnight = int(np.datetime64(day, "ns").astype(np.int64))
    rows = events.to_pylist()
    for row, start, end, peak in zip(
        rows, *(_ns(events[name]) for name in ("start", "end", "peak_start")), strict=True
    ):
        row |= {"start": start, "end": end, "peak_start": peak}
    grids = DayGrids(store.metadata("spectrograms", day))
    spectrogram = SpectrogramSettings(**store.metadata("spectrograms", day)["settings"])
    bands = spectrogram.row_shape[1]
    explained = [_NOT_KNOWN.copy() for _ in rows]
    profiles = [np.zeros(bands, np.float32) for _ in rows]
    edges: list[dict[int, tuple[int, int]]] = [{} for _ in rows]  # of an event, by channel
    peaks = [(row["fibre"], [row["peak_channel"]]) for row in rows]
    for channel, numbers in _channels(store, day, settings, peaks):
        for i in numbers:
            peak_second = np.array([rows[i]["peak_start"] // SECOND_NS * SECOND_NS])
            number = int(grids.of_rows(channel.fibre, channel.channel, peak_second)[0])
            hz = grids.of(channel.fibre)[number].centre_hz
            loudest, profiles[i] = _explanation(rows[i], channel, np.array(hz, np.float32), settings)
            explained[i] |= loudest | _normal(rows[i], channel, reference, spectrogram, settings)
            edges[i] |= _edges(rows[i], channel, profiles[i])
    places = _first_and_last(rows, scores)
    others = [(row["fibre"], {*pair} - {row["peak_channel"]}) for row, pair in zip(rows, places, strict=True)]
    for channel, numbers in _channels(store, day, settings, others):
        for i in numbers:
            edges[i] |= _edges(rows[i], channel, profiles[i])
    for row, (first, last), by_channel, explanation in zip(rows, places, edges, explained, strict=True):
        peak = row["peak_channel"]
        begin = min((by_channel[c][0] for c in (peak, first) if c in by_channel), default=row["start"])
        end = max((by_channel[c][1] for c in (peak, last) if c in by_channel), default=row["end"])
        # The frames of an event that began on the day before are not all here.
        complete = midnight <= row["start"] and begin <= row["start"] + WINDOW_REACH_NS
        begin = begin if complete else row["start"]
        end = end if end >= row["end"] - WINDOW_REACH_NS else row["end"]
        if begin < end:
            row |= {"start": begin, "end": end}
        explanation["window_start"] = row["peak_start"]
        row["peak_start"] = _loudest_second(row, explanation, settings.window.seconds * SECOND_NS)
        row["event_id"] = event_id(row["fibre"], row["start"], row["first_channel"], row["last_channel"])
        explanation |= {"fibre": row["fibre"], "event_id": row["event_id"]}
    _resemblance(explained, profiles)
    schema = SCHEMAS["event_explanations"]
    column, plain = schema.get_field_index("profile"), pa.Table.from_pylist(explained, schema)
    profile = vector(np.array(profiles, np.float32).reshape(-1, bands), bands)
    return pa.Table.from_pylist(rows, SCHEMAS["anomaly_events"]), plain.set_column(column, "profile", profile)


def _loudest_second(row: dict[str, Any], explanation: dict[str, Any], length: int) -> int:
    """Return the second within an event, and its strongest window, that weighs most, ns.

    Where edges leave none of those that are told, it is where window and event meet first.
    """
    window = row["peak_start"]
    first, last = max(row["start"], window), min(row["end"], window + length)
    inside = (second for second in explanation.get("seconds", ()) if first <= second < last)
    return int(next(inside, min(first, row["end"] - 1)))


def _ns(column: pa.ChunkedArray) -> list[int]:
    return column.cast(pa.int64()).to_pylist()


def _channels(
    store: Store, day: str, settings: Settings, places: Iterable[tuple[str, Iterable[int]]]
) -> Iterator[tuple[WhiteChannel, list[int]]]:
    """Yield each channel that events want, and which of them do; one is in memory while the next is read.

    `places` has fibre and channels of each event.
    """
    numbers: dict[tuple[str, int], list[int]] = {}
    for i, (fibre, channels) in enumerate(places):
        for channel in channels:
            numbers.setdefault((fibre, channel), []).append(i)
    if numbers:
        for white in white_day(store, day, settings.background, settings.window, lambda *key: key in numbers):
            yield white, numbers[white.fibre, white.channel]


def _first_and_last(rows: list[dict[str, Any]], scores: pa.Table) -> list[tuple[int, int]]:
    """Return the channels whose flagged windows begin first and last, by event; of several, the strongest."""
    flagged = scores.filter(scores["is_anomaly"]).sort_by("start")
    start, end = (np.array(_ns(flagged[name]), np.int64) for name in ("start", "end"))
    channel, score = flagged["channel"].to_numpy(), flagged["score"].to_numpy()
    fibre = flagged["fibre"].to_numpy(zero_copy_only=False)
    longest = int((end - start).max(initial=0))
    out = []
    for row in rows:
        near = np.arange(*np.searchsorted(start, [row["start"] - longest, row["end"]]))
        inside = (end[near] > row["start"]) & (fibre[near] == row["fibre"])
        inside &= (channel[near] >= row["first_channel"]) & (channel[near] <= row["last_channel"])
        windows = near[inside]
        if not len(windows):
            out.append((row["peak_channel"], row["peak_channel"]))
            continue
        first, last = (windows[np.lexsort((-score[windows], side * start[windows]))[0]] for side in (1, -1))
        out.append((int(channel[first]), int(channel[last])))
    return out


def _explanation(
    row: dict[str, Any], channel: WhiteChannel, hz: np.ndarray, settings: Settings
) -> tuple[dict[str, Any], np.ndarray]:
    """Return the bands and seconds that weigh most, and the profile, float32, shape (bands,), of length 1 or 0."""
    explanation: dict[str, Any] = {}
    ends = row["peak_start"] + np.array([0, settings.window.seconds * SECOND_NS])
    peak = slice(*np.searchsorted(channel.start_ns, ends))
    level = np.zeros(channel.rows.shape[2])
    if peak.stop > peak.start:
        level = np.maximum(np.nanmean(channel.rows[peak], axis=(0, 1)), 0)
    profile = (level / max(float(np.linalg.norm(level)), 1e-6)).astype(np.float32)
    share = profile**2
    best = np.argsort(-share, kind="stable")[:LISTED]
    best = best[share[best] > 0]
    if len(hz) == len(share):  # coefficients of `mfcc` have no frequency
        explanation |= {"band_hz": hz[best].tolist(), "band_weight": share[best].tolist()}
    event = slice(*np.searchsorted(channel.start_ns, [row["start"], row["end"]]))
    weight = np.maximum(np.nan_to_num(channel.rows[event]).mean(axis=1) @ profile, 0)
    loudest = np.argsort(-weight, kind="stable")[:LISTED]
    total = max(float(weight.sum()), 1e-6)
    explanation["seconds"] = channel.start_ns[event][loudest].tolist()
    explanation["second_weight"] = (weight[loudest] / total).tolist()
    return explanation, profile


def _normal(
    row: dict[str, Any],
    channel: WhiteChannel,
    reference: Reference,
    spectrogram: SpectrogramSettings,
    settings: Settings,
) -> dict[str, Any]:
    """Return the reference windows that lie nearest to the event's strongest one."""
    neighbours = next((d for d in reference.detectors.values() if isinstance(d, Neighbours)), None)
    first = int(np.searchsorted(channel.start_ns, row["peak_start"]))
    window = slice(first, first + settings.window.seconds)
    if neighbours is None or window.stop > len(channel.rows):
        return {}
    start = channel.start_ns[first : first + 1]
    bank = make_bank(channel.rows[window], np.zeros(1, np.int64), start, spectrogram, settings.window)
    distance, which = neighbours.nearest(bank)
    fibre, number, start_ns = (reference.windows[name][which[0]] for name in ("fibre", "channel", "start_ns"))
    normal = {"fibre": fibre, "channel": number, "start": start_ns, "distance": distance[0]}
    return {f"normal_{name}": value.tolist() for name, value in normal.items()}


def _edges(row: dict[str, Any], channel: WhiteChannel, profile: np.ndarray) -> dict[int, tuple[int, int]]:
    """Return begin and end of the event on a channel, ns, by its number; nothing where its frames do not tell."""
    if not profile.any():
        return {}
    nearby = slice(*np.searchsorted(channel.start_ns, [row["start"] - AROUND_NS, row["end"] + AROUND_NS]))
    rows = channel.rows[nearby]
    frames = rows.shape[1]
    along = (rows @ profile).ravel()
    time = (channel.start_ns[nearby, None] + np.arange(frames) * SECOND_NS // frames).ravel()
    far = (time < row["start"] - 2 * EDGE_SLACK_NS) | (time >= row["end"] + 2 * EDGE_SLACK_NS)
    noise = along[far & np.isfinite(along)]
    spread = stats.median_abs_deviation(noise, scale="normal") if len(noise) >= 10 * frames else 0
    if not spread:
        return {}
    near = (time >= row["start"] - EDGE_SLACK_NS) & (time < row["end"] + EDGE_SLACK_NS)
    if not near.any():
        return {}
    z = (along[near] - np.median(noise)) / spread
    ratio = np.where(np.isfinite(z), log_ratio(np.nan_to_num(z), BURST_SPREADS, BURST_SHARE), 0)
    total = np.concatenate([[0], np.cumsum(ratio)])
    # The stretch with the greatest sum (Kadane's algorithm): strokes, and the pauses that they outweigh.
    last = int(np.argmax(total - np.minimum.accumulate(total)))
    first = last - int(np.argmin(total[last::-1]))
    # exp(total) is a martingale where all is quiet: Ville's inequality, for each frame that it may start at.
    if total[last] - total[first] < np.log(len(ratio) / CHANCE):
        return {}
    return {channel.channel: (int(time[near][first]), int(time[near][last - 1]) + SECOND_NS // frames)}


def log_ratio(z: np.ndarray, strength: float, share: float) -> np.ndarray:
    """Return the log-likelihood ratio, nats, of frames that are among bursts to quiet ones.

    Parameters
    ----------
    z : numpy.ndarray
        Level of each frame, standard normal where it is quiet.
    strength, share : float
        Of a burst: what its level is greater by, and how many of the frames it has.
    """
    return np.logaddexp(np.log1p(-share), np.log(share) + strength * z - strength**2 / 2)


def _resemblance(explained: list[dict[str, Any]], profiles: list[np.ndarray]) -> None:
    """Say which earlier event of the day each resembles most, where it is not the first of its kind."""
    for i, row in enumerate(explained):
        alike = [float(profile @ profiles[i]) for profile in profiles[:i]]
        if alike and max(alike) >= ALIKE:
            row |= {"resembles": explained[int(np.argmax(alike))]["event_id"], "similarity": max(alike)}
