"""Windows to events: what hangs together in time and along the fibre is one alarm."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.detection.components import grids, hysteresis_components
from dasanom_assets.settings import DetectionSettings, WindowSettings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import SCHEMAS, empty

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
) -> pa.Table:
    """Return the rows of `anomaly_events` of a day.

    Flagged windows open an event, neighbouring ones below ``extend_p_value`` lengthen it, and those that touch in
    time or channel belong together. A window stands for the shift about its centre, so that an event is not longer
    than its cause by a window at each end.

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
    """
    step = window.shift_seconds * SECOND_NS
    to_centre = (window.seconds * SECOND_NS - step) // 2
    columns = {name: scores[name].to_numpy() for name in ("p_value", "score")}
    flagged = scores["is_anomaly"].to_numpy(zero_copy_only=False)
    start = scores["start"].cast(pa.int64()).to_numpy()
    cluster = None if labels is None else labels["label"].to_numpy()
    low = columns["p_value"] <= settings.extend_p_value
    rows = []
    for grid in grids(scores, step):
        marks, n = hysteresis_components(grid.fill(flagged), grid.fill(low))
        mark = marks[grid.channel_index, grid.time_index]
        members = np.flatnonzero(mark)
        members = members[np.argsort(mark[members], kind="stable")]
        for some in np.split(members, np.searchsorted(mark[members], np.arange(2, n + 1))) if n else []:
            at = grid.rows[some]
            if np.count_nonzero(flagged[at]) < settings.min_windows:
                continue
            peak = at[np.argmax(columns["score"][at])]
            channels = grid.channel_index[some] + grid.first_channel
            first_channel, last_channel = int(channels.min()), int(channels.max())
            begin = int(start[at].min()) + to_centre
            end = int(start[at].max()) + to_centre + step
            kind, probability = _contractors_view(contractor, grid.fibre, begin, end, first_channel, last_channel)
            rows.append(
                {
                    "fibre": grid.fibre,
                    "event_id": event_id(grid.fibre, begin, first_channel, last_channel),
                    "start": begin,
                    "end": end,
                    "first_channel": first_channel,
                    "last_channel": last_channel,
                    "peak_start": int(start[peak]),
                    "peak_channel": scores["channel"][int(peak)].as_py(),
                    "score": float(columns["score"][peak]),
                    "p_value": float(columns["p_value"][peak]),
                    "n_windows": len(at),
                    "cluster": None if cluster is None else _most_frequent(cluster[at]),
                    "contractor_class": kind,
                    "contractor_probability": probability,
                    "model_version": scores["model_version"][int(peak)].as_py(),
                }
            )
    if not rows:
        return empty("anomaly_events")
    return pa.Table.from_pylist(rows, SCHEMAS["anomaly_events"]).sort_by([("start", "ascending")])


def _most_frequent(labels: np.ndarray) -> int:
    names, count = np.unique(labels, return_counts=True)
    return int(names[count.argmax()])


def _contractors_view(
    contractor: pa.Table | None, fibre: str, begin: int, end: int, first_channel: int, last_channel: int
) -> tuple[str | None, float | None]:
    """Return the contractor's most probable threat within an event's extent, or None where it has no rows."""
    if contractor is None or not contractor.num_rows:
        return None, None
    start, stop = (contractor[name].cast(pa.int64()) for name in ("start", "end"))
    inside = pc.and_(
        pc.and_(pc.less(start, end), pc.greater(stop, begin)),
        pc.and_(
            pc.and_(
                pc.greater_equal(contractor["channel"], first_channel),
                pc.less_equal(contractor["channel"], last_channel),
            ),
            pc.equal(contractor["fibre"], fibre),
        ),
    )
    rows = contractor.filter(inside)
    largest = {name: pc.max(rows[f"p_{name}"]).as_py() for name in THREATS}
    if any(value is None for value in largest.values()):
        return None, None
    kind = max(THREATS, key=lambda name: largest[name])
    return kind, float(largest[kind])
