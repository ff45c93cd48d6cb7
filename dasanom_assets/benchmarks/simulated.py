"""How well scores and events agree with the truth of simulated days.

Only this reads ``truth/``. Windows are judged by how they rank (ROC AUC, average precision), events by what they
find.
"""

import sys
from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from dasanom_assets.settings import Settings
from dasanom_assets.tables.schemas import with_score
from dasanom_assets.tables.store import Store

SECOND_NS = 1_000_000_000

GUARD_CHANNELS, GUARD_SECONDS = 4, 6
"""A quiet window has no threat this close: where it is weaker than the background, it is there still."""


def window_truth(scores: pa.Table, activity: pa.Table, min_seconds: float = 4.0) -> np.ndarray:
    """Say of each window whether a threat was there.

    Parameters
    ----------
    scores : pyarrow.Table
        Windows, with `fibre`, `channel`, `start`, `end`.
    activity : pyarrow.Table
        Truth: a row a second and channel with a threat, with `fibre`, `channel`, `start`.
    min_seconds : float
        Seconds of a window for which a threat must be there; the default is half of a window of 8 s.

    Returns
    -------
    numpy.ndarray
        int8, shape (n_windows,): 1 where a threat is on the channel for at least `min_seconds`; 0 where none is on
        the channel or the `GUARD_CHANNELS` on each side, from `GUARD_SECONDS` before the window to as many after;
        −1 in between.
    """
    out = np.zeros(scores.num_rows, np.int8)
    fibres = scores["fibre"].to_numpy(zero_copy_only=False)
    for fibre in np.unique(fibres):
        rows = np.flatnonzero(fibres == fibre)
        true = activity.filter(pc.equal(activity["fibre"], fibre))
        if not true.num_rows:
            continue
        channel = scores["channel"].to_numpy()[rows].astype(np.int64)
        start = scores["start"].cast(pa.int64()).to_numpy()[rows] // SECOND_NS
        end = -(-scores["end"].cast(pa.int64()).to_numpy()[rows] // SECOND_NS)
        true_channel = true["channel"].to_numpy().astype(np.int64)
        true_second = true["start"].cast(pa.int64()).to_numpy() // SECOND_NS
        origin = min(channel.min(), true_channel.min())
        began = min(start.min(), true_second.min()) - GUARD_SECONDS
        n_channels = max(channel.max(), true_channel.max()) - origin + 1
        n_seconds = max(end.max(), true_second.max() + 1) + GUARD_SECONDS - began
        active = np.zeros((n_channels, n_seconds), bool)
        active[true_channel - origin, true_second - began] = True
        near = ndimage.maximum_filter1d(active, 2 * GUARD_CHANNELS + 1, axis=0, mode="constant")
        row, first, last = channel - origin, start - began, end - began
        inside = _sums(active, row, first, last) >= min_seconds
        disturbed = _sums(near, row, first - GUARD_SECONDS, last + GUARD_SECONDS) > 0
        out[rows] = np.where(inside, 1, np.where(disturbed, -1, 0))
    return out


def _sums(cells: np.ndarray, row: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the number of true cells in ``[first, last)`` of each given row."""
    total = np.pad(np.cumsum(cells, axis=1, dtype=np.int32), ((0, 0), (1, 0)))
    return total[row, last] - total[row, first]


def evaluate_windows(
    scores: pa.Table, activity: pa.Table, column: str = "score", min_seconds: float = 4.0
) -> dict[str, Any]:
    """Say how well a score ranks windows with a threat above quiet ones.

    Parameters
    ----------
    scores : pyarrow.Table
        Rows of `anomaly_scores`.
    activity : pyarrow.Table
        Truth: `fibre`, `channel`, `start`, `kind`.
    column : str
        The score; larger means stranger.
    min_seconds : float
        See `window_truth`.

    Returns
    -------
    dict
        ``auc``, ``average_precision``, ``partial_auc`` (false alarm rate up to 0.1, standardised after McClish),
        ``n_positive``, ``n_negative``, ``auc_by_kind`` (kind → AUC of its windows against all quiet ones). Figures
        that have no positive or no negative window to go by are NaN.
    """
    value = scores[column].to_numpy()
    truth = window_truth(scores, activity, min_seconds)
    quiet = value[truth == 0]
    by_kind = {}
    for kind in sorted(activity["kind"].unique().to_pylist()):
        of_kind = window_truth(scores, activity.filter(pc.equal(activity["kind"], kind)), min_seconds)
        by_kind[kind] = _ranking(value[of_kind == 1], quiet)["auc"]
    figures = _ranking(value[truth == 1], quiet)
    return figures | {"n_positive": int((truth == 1).sum()), "n_negative": len(quiet), "auc_by_kind": by_kind}


def _ranking(positive: np.ndarray, negative: np.ndarray) -> dict[str, float]:
    if not len(positive) or not len(negative):
        return dict.fromkeys(("auc", "average_precision", "partial_auc"), float("nan"))
    truth = np.repeat([1, 0], [len(positive), len(negative)])
    value = np.concatenate([positive, negative])
    return {
        "auc": float(roc_auc_score(truth, value)),
        "average_precision": float(average_precision_score(truth, value)),
        "partial_auc": float(roc_auc_score(truth, value, max_fpr=0.1)),
    }


def evaluate_events(events: pa.Table, truth_events: pa.Table) -> dict[str, Any]:
    """Say which threats were found, and what else was reported.

    An event and a true event belong together where they overlap in time and share a channel.

    Parameters
    ----------
    events : pyarrow.Table
        Rows of `anomaly_events`.
    truth_events : pyarrow.Table
        Truth: `fibre`, `kind`, `threat`, `start`, `end`, `first_channel`, `last_channel`, `peak_channel`.

    Returns
    -------
    dict
        ``n_threats``, ``n_found``, ``recall``, ``recall_by_kind``; ``n_events``, ``false_alarms`` (events that
        belong to no threat), ``false_alarms_on`` (nuisance kind → those of them that belong to one);
        ``onset_errors_s`` and ``channel_errors``: of each threat found, how far the earliest of its events is from
        its start, and the peak channel of the strongest from its own; ``apart``: whether its events belong to
        nothing else; ``found`` and ``durations_s``: of each threat. The recall is NaN where there is nothing to
        find.
    """
    ours, true = frame_of(events), frame_of(truth_events)
    together = overlaps(ours, true)
    threat = true["threat"].to_numpy(dtype=bool)
    found_truths: np.ndarray = np.logical_or.reduce(together, axis=0)
    false_alarm = ~together[:, threat].any(axis=1)
    start, score, peak = (ours[name].to_numpy() for name in ("start", "score", "peak_channel"))
    onset, apart, channel = [], [], []
    for j in np.flatnonzero(found_truths & threat):
        matching = np.flatnonzero(together[:, j])
        onset.append(float(abs(start[matching].min() - true["start"].to_numpy()[j]) / SECOND_NS))
        apart.append(bool(together[matching].sum() == len(matching)))
        channel.append(int(abs(peak[matching[score[matching].argmax()]] - true["peak_channel"].to_numpy()[j])))
    kinds = true["kind"].to_numpy()
    n_threats, n_found = int(threat.sum()), int((found_truths & threat).sum())
    duration = (true["end"].to_numpy() - true["start"].to_numpy()) / SECOND_NS
    return {
        "n_threats": n_threats,
        "n_found": n_found,
        "recall": n_found / n_threats if n_threats else float("nan"),
        "recall_by_kind": {kind: float(found_truths[kinds == kind].mean()) for kind in np.unique(kinds[threat])},
        "n_events": len(ours),
        "false_alarms": int(false_alarm.sum()),
        "false_alarms_on": {
            kind: int((false_alarm & together[:, kinds == kind].any(axis=1)).sum())
            for kind in np.unique(kinds[~threat])
        },
        "onset_errors_s": onset,
        "channel_errors": channel,
        "apart": apart,
        "found": found_truths[threat].tolist(),
        "durations_s": duration[threat].tolist(),
    }


def median_errors(events: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Return the medians over all threats found, from what `evaluate_events` says of several days.

    Returns
    -------
    dict
        ``onset_error_s``, the same of threats whose events belong to nothing else, ``onset_error_apart_s``, and
        ``channel_error``; NaN where there are none.
    """
    days = list(events)
    onset, channel, apart = (
        np.array([value for day in days for value in day[name]])
        for name in ("onset_errors_s", "channel_errors", "apart")
    )
    values = {"onset_error_s": onset, "onset_error_apart_s": onset[apart.astype(bool)], "channel_error": channel}
    return {name: float(np.median(errors)) if len(errors) else float("nan") for name, errors in values.items()}


def frame_of(table: pa.Table) -> pd.DataFrame:
    """Return a data frame with `start` and `end` in ns since 1970."""
    for name in ("start", "end"):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.int64()))
    return table.to_pandas()


def overlaps(ours: pd.DataFrame, true: pd.DataFrame) -> np.ndarray:
    """Return which events overlap which true ones, bool, shape (len(ours), len(true))."""
    a = {name: ours[name].to_numpy()[:, None] for name in ours}
    b = {name: true[name].to_numpy()[None, :] for name in true}
    in_time = (a["start"] < b["end"]) & (a["end"] > b["start"])
    in_space = (a["first_channel"] <= b["last_channel"]) & (a["last_channel"] >= b["first_channel"])
    return np.logical_and.reduce([a["fibre"] == b["fibre"], in_time, in_space])


def read_truth(store: Store, day: str, name: str) -> pa.Table:
    """Return ``events`` or ``activity`` of a simulated day."""
    with store.fs.open(store.full(f"truth/day={day}/{name}.parquet"), "rb") as file:
        return pq.read_table(file)


def main(
    data: Annotated[str | None, typer.Option(help="data root, by default DASANOM_DATA")] = None,
) -> None:
    """Print the figures of every day that has scores and truth."""
    store = Store(data or Settings().data)
    days = [day for day in store.days("anomaly_scores") if store.exists(f"truth/day={day}/events.parquet")]
    if not days:
        print(f"{store.url('')} has no day with both anomaly_scores and truth", file=sys.stderr)
        raise typer.Exit(1)
    windows, events = [], []
    for day in days:
        scores, activity = with_score(store.read_day("anomaly_scores", day)), read_truth(store, day, "activity")
        for column in [name for name in scores.column_names if name.startswith("score")]:
            figures = evaluate_windows(scores, activity, column)
            by_kind = {f"auc {kind}": auc for kind, auc in figures.pop("auc_by_kind").items()}
            windows.append({"day": day, "score": column} | figures | by_kind)
        if store.has_day("anomaly_events", day):
            figures = evaluate_events(store.read_day("anomaly_events", day), read_truth(store, day, "events"))
            figures |= median_errors([figures])
            for name in ("recall_by_kind", "onset_errors_s", "channel_errors", "apart", "found", "durations_s"):
                del figures[name]
            on = {f"false on {kind}": count for kind, count in figures.pop("false_alarms_on").items()}
            events.append({"day": day} | figures | on)
    for rows in filter(None, (windows, events)):
        print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format, na_rep="-"), end="\n\n")
