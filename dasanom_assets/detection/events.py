"""Windows to events: what hangs together in time and along the fibre is one alarm."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.spatial import KDTree

from dasanom_assets.detection.components import SLACK, components, members
from dasanom_assets.detection.detectors import detector_classes
from dasanom_assets.detection.support import TIME_NS, WIDTH_CHANNELS
from dasanom_assets.recordings.landing import shifted
from dasanom_assets.settings import DetectionSettings, WindowSettings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import SCHEMAS, TIME, empty, with_score
from dasanom_assets.tables.store import Store

ORDER = [("start", "ascending"), ("fibre", "ascending"), ("first_channel", "ascending")]
"""How events are sorted."""

KEY = ["fibre", "channel", "start"]

LOOK_BACK_NS = 1800 * SECOND_NS
"""What an event of a day may have had before midnight; one that is longer begins there."""

BY_ITSELF_P_VALUE = 3e-4
"""To a detector, where a window is unusual without its surroundings: such windows make the core of an event."""

CORE_GAP_NS = TIME_NS
"""Windows of one core follow each other within this, on the same channel or the next."""

THREATS = ("digging", "walking", "cutting", "machine")
"""The contractor's classes that are alarms, as its columns ``p_<class>`` name them."""


def event_id(fibre: str, start_ns: int, first_channel: int, last_channel: int) -> str:
    """Return the id of an event: the same place and time have the same id whenever they are found again."""
    text = f"{fibre}\t{start_ns}\t{first_channel}\t{last_channel}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_events(
    scores: pa.Table,
    labels: pa.Table | None,
    contractor: pa.Table | None,
    settings: DetectionSettings,
    window: WindowSettings,
    group_channels: int = 1,
    before: pa.Table | None = None,
) -> pa.Table:
    """Return the rows of `anomaly_events` of a day.

    Flagged windows open an event, neighbouring ones below ``extend_p_value`` lengthen it, and those that touch in
    time or channel belong together. They are several events where they have several cores, windows that some
    detector finds unusual by themselves: surroundings lift what lies between two causes. Each of them has the
    windows nearest to its core. An event reaches from the first to the last window of its core (where it has none,
    of those unusual by themselves, or of all), and from the end of the first to the beginning of the last, so that
    it is not longer than its cause by a window at each end.

    Parameters
    ----------
    scores : pyarrow.Table
        Rows of `anomaly_scores`.
    labels : pyarrow.Table or None
        Rows of `cluster_labels`, one for each of `scores` in the same order.
    contractor : pyarrow.Table or None
        Rows of `contractor_scores`.
    settings : DetectionSettings
    window : WindowSettings
    group_channels : int
        Channels that a row of `scores` stands for, from its own number on.
    before : pyarrow.Table, optional
        Rows of `anomaly_scores` of the end of the day before: an event that began there is told whole, but for its
        peak, which is that of the day, and events that ended there are left out.

    Raises
    ------
    ValueError
        Where `labels` are of other windows.
    """
    scores = with_score(scores)
    if labels is not None and not labels.select(KEY).equals(scores.select(KEY)):
        raise ValueError("cluster_labels are of other windows than anomaly_scores: materialize both again")
    if not (n_today := scores.num_rows):
        return empty("anomaly_events")
    if before is not None and before.num_rows:
        before = with_score(before)
        common = [name for name in scores.column_names if name in before.column_names]
        scores = pa.concat_tables([scores.select(common), before.select(common)])
    step, length = window.shift_seconds * SECOND_NS, window.seconds * SECOND_NS
    flagged = scores["is_anomaly"].to_numpy(zero_copy_only=False)
    extends = scores["p_value"].to_numpy() < settings.extend_p_value  # NaN does not
    taking_part = np.flatnonzero(flagged | extends)
    # By time and channel, so that the first of equal peaks is the same one whatever the order of the rows.
    taking_part = taking_part[np.lexsort([scores[name].take(taking_part) for name in ("channel", "start")])]
    taken = scores.take(taking_part)
    flagged = flagged[taking_part]
    fibre, version = (taken[name].to_pylist() for name in ("fibre", "model_version"))
    channel, score, p_value = (taken[name].to_numpy() for name in ("channel", "score", "p_value"))
    start = taken["start"].cast(pa.int64()).to_numpy()
    today = taking_part < n_today
    # No window lies across midnight: the last before it and the first after it are as near as two in a row.
    near = start + np.where(today, 0, length - step)
    placed = taken.set_column(taken.column_names.index("start"), "start", pa.array(near).cast(TIME))
    by_itself = _unusual_by_itself(taken, settings)
    reach = int(SLACK * step)
    core = _cores(placed, by_itself, flagged, max(reach, CORE_GAP_NS), group_channels, settings.min_windows)
    part = _nearest_core(components(placed, reach, group_channels), core, near, channel / group_channels)
    cluster = None if labels is None else labels["label"].to_numpy()[np.minimum(taking_part, max(n_today - 1, 0))]
    view = _ContractorsView(contractor)
    rows = []
    for at in members(part):
        extent = next(some for some in (at[core[at] >= 0], at[by_itself[at]], at) if len(some))
        if np.count_nonzero(flagged[at]) < settings.min_windows or not today[extent].any():
            continue
        peak = _peak(at[today[at]], score, channel, start)
        first_channel, last_channel = int(channel[extent].min()), int(channel[extent].max()) + group_channels - 1
        begin, end = _cause(int(start[extent].min()), int(start[extent].max()), window)
        kind, probability = view.of(fibre[peak], begin, end, first_channel, last_channel)
        rows.append(
            {
                "fibre": fibre[peak],
                "event_id": event_id(fibre[peak], begin, first_channel, last_channel),
                "start": begin,
                "end": end,
                "first_channel": first_channel,
                "last_channel": last_channel,
                "peak_start": int(start[peak]),
                "peak_channel": int(channel[peak]),
                "score": float(score[peak]),
                "p_value": float(p_value[peak]),
                "n_windows": len(at),
                "cluster": None if cluster is None else _most_frequent(cluster[at[today[at]]]),
                "contractor_class": kind,
                "contractor_probability": probability,
                "model_version": version[peak],
            }
        )
    if not rows:
        return empty("anomaly_events")
    return pa.Table.from_pylist(rows, SCHEMAS["anomaly_events"]).sort_by(ORDER)


def _cores(
    scores: pa.Table, by_itself: np.ndarray, flagged: np.ndarray, reach_ns: int, group_channels: int, least: int
) -> np.ndarray:
    """Number the cores, int64, shape (n_windows,): windows unusual by themselves, `least` of them flagged.

    −1 stands for windows that are of none.
    """
    core = np.full(scores.num_rows, -1)
    at = np.flatnonzero(by_itself)
    for one in members(components(scores.take(at), reach_ns, group_channels)):
        if np.count_nonzero(flagged[at[one]]) >= least:
            core[at[one]] = at[one[0]]
    return core


def _nearest_core(whole: np.ndarray, core: np.ndarray, start: np.ndarray, lane: np.ndarray) -> np.ndarray:
    """Number the parts of components, int64, shape (n_windows,): each has the windows nearest to one core.

    Distances are in units of the surroundings' widths in time and along the fibre. A component without cores is
    one part.
    """
    part = np.empty(len(whole), np.int64)
    place = np.stack([start / TIME_NS, lane / WIDTH_CHANNELS], axis=1)
    n = 0
    for at in members(whole):
        of_core = at[core[at] >= 0]
        names, own = np.unique(core[of_core], return_inverse=True)
        nearest = own[KDTree(place[of_core]).query(place[at])[1]] if len(names) > 1 else 0
        part[at] = n + nearest
        n += max(1, len(names))
    return part


def _unusual_by_itself(scores: pa.Table, settings: DetectionSettings) -> np.ndarray:
    """Return which windows a detector finds unusual without their surroundings, bool, shape (n_windows,).

    Those that raise no alarm alone are not asked.
    """
    out = np.zeros(scores.num_rows, bool)
    for name, of in detector_classes(settings.detectors).items():
        if of.least_p < BY_ITSELF_P_VALUE and f"p_{name}" in scores.column_names:
            out |= scores[f"p_{name}"].to_numpy() < BY_ITSELF_P_VALUE  # NaN is not
    return out


def _cause(first_ns: int, last_ns: int, window: WindowSettings) -> tuple[int, int]:
    """Return begin and end of what windows from a first to a last one hold, ns since 1970.

    The first window that notices it has it at its end, the last at its beginning; where they are fewer than all
    that overlap it, it is about their middle.
    """
    step, length = window.shift_seconds * SECOND_NS, window.seconds * SECOND_NS
    early = min(length - step, (last_ns - first_ns + length - step) // 2)
    return first_ns + early, last_ns + length - early


def _peak(at: np.ndarray, score: np.ndarray, channel: np.ndarray, start: np.ndarray) -> int:
    """Return the strongest of the windows `at`: of those that reach the largest score there is, the middle one."""
    top = at[score[at] == score[at].max()]
    off_channel, off_time = (np.abs(x[top] - np.median(x[top])) for x in (channel, start - start[top[0]]))
    return int(top[np.lexsort((off_time, off_channel))[0]])


def taking_part(store: Store, day: str, settings: DetectionSettings) -> tuple[pa.Table, pa.Table]:
    """Return the rows of `anomaly_scores` of a day that can be part of an event, and their `cluster_labels`.

    Read one channel at a time: of a day, few windows are unusual.

    Raises
    ------
    ValueError
        Where `cluster_labels` are of other windows.
    """
    some, labels = [empty_scores(store, day)], [empty("cluster_labels")]
    labelled = (rows for rows in store.iter_day("cluster_labels", day) if rows.num_rows)
    for rows in store.iter_day("anomaly_scores", day):
        if not (rows := with_score(rows)).num_rows:
            continue
        label = next(labelled, None)
        if label is None or not label.select(KEY).equals(rows.select(KEY)):
            raise ValueError("cluster_labels are of other windows than anomaly_scores: materialize both again")
        unusual = pc.or_(rows["is_anomaly"], pc.less(rows["p_value"], settings.extend_p_value))
        some.append(rows.filter(unusual))
        labels.append(label.filter(unusual))
    return pa.concat_tables(some).replace_schema_metadata(), pa.concat_tables(labels).replace_schema_metadata()


def at_midnight(scores: pa.Table | None, day: str) -> str:
    """Return a digest of the windows at the end of a day, where what they are part of may go on the next day.

    It is empty where none of them reaches midnight: the next day's events are the same without them.

    Parameters
    ----------
    scores : pyarrow.Table or None
        Rows of `anomaly_scores`, those that can be part of an event: see `taking_part`, `end_of_day_before`.
    day : str
        ISO day, at whose end it is.
    """
    midnight = int((np.datetime64(day, "ns") + np.timedelta64(1, "D")).astype(np.int64))
    if scores is None or not scores.num_rows:
        return ""
    late = scores.filter(pc.greater_equal(scores["start"].cast(pa.int64()), midnight - LOOK_BACK_NS))
    if not pc.any(pc.greater(late["end"].cast(pa.int64()), midnight - 2 * CORE_GAP_NS)).as_py():
        return ""
    rows = late.select([*KEY, "p_value"]).sort_by([(name, "ascending") for name in KEY])
    return hashlib.sha256(repr(rows.to_pydict()).encode()).hexdigest()[:16]


def empty_scores(store: Store, day: str) -> pa.Table:
    """Return no rows of `anomaly_scores`, with the columns of a day."""
    with store.open_day("anomaly_scores", day) as file:
        return file.schema_arrow.empty_table()


def end_of_day_before(
    store: Store, day: str, note: dict[str, Any], settings: DetectionSettings
) -> pa.Table | None:
    """Return what `taking_part` would of the end of the day before, or None where another model scored it.

    Parameters
    ----------
    store : Store
    day : str
        ISO day.
    note : dict
        Metadata of the day's `anomaly_scores`.
    settings : DetectionSettings
    """
    yesterday = shifted(day, -1)
    if not store.has_day("anomaly_scores", yesterday):
        return None
    if store.metadata("anomaly_scores", yesterday)["model_version"] != note["model_version"]:
        return None
    midnight = int(np.datetime64(day, "ns").astype(np.int64))
    late = pc.field("start") >= pa.scalar(midnight - LOOK_BACK_NS, pa.int64()).cast(TIME)
    unusual = pc.field("is_anomaly") | (pc.field("p_value") < settings.extend_p_value)
    tables = [rows.filter(late & unusual) for rows in store.iter_day("anomaly_scores", yesterday)]
    return pa.concat_tables(tables)


def _most_frequent(labels: np.ndarray) -> int:
    names, count = np.unique(labels, return_counts=True)
    return int(names[count.argmax()])


class _ContractorsView:
    """What the contractor says of a stretch of time and channels; `contractor` are rows of `contractor_scores`."""

    def __init__(self, contractor: pa.Table | None) -> None:
        self._fibres: dict[str, tuple[np.ndarray, ...]] = {}
        if contractor is None or not contractor.num_rows:
            return
        fibre = contractor["fibre"].to_numpy(zero_copy_only=False)
        start, end = (contractor[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
        channel = contractor["channel"].to_numpy()
        p = np.stack([contractor[f"p_{name}"].to_numpy() for name in THREATS], axis=1)
        for name in np.unique(fibre):
            rows = np.flatnonzero(fibre == name)
            rows = rows[np.argsort(start[rows], kind="stable")]
            self._fibres[name] = start[rows], end[rows], channel[rows], p[rows]

    def of(
        self, fibre: str, begin: int, end: int, first_channel: int, last_channel: int
    ) -> tuple[str | None, float | None]:
        """Return the most probable threat and its probability, or None where the contractor has no rows."""
        if fibre not in self._fibres:
            return None, None
        start, stop, channel, p = self._fibres[fibre]
        longest = int((stop - start).max())
        some = slice(*np.searchsorted(start, [begin - longest, end]))
        inside = (stop[some] > begin) & (channel[some] >= first_channel) & (channel[some] <= last_channel)
        # Rows of power alone have no probabilities.
        largest = np.max(p[some][inside], axis=0, initial=-np.inf, where=np.isfinite(p[some][inside]))
        if not np.isfinite(largest).any():
            return None, None
        return THREATS[largest.argmax()], float(largest.max())
