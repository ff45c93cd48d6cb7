"""The contractor's files as tables, and its alarms as events."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.comparison.contractor_files import (
    POWERS,
    MisfitError,
    read_power,
    read_probabilities,
    require_fit,
)
from dasanom_assets.detection.events.components import STEPS_APART, components, members
from dasanom_assets.detection.events.outlines import KEY, ORDER, THREATS, event_id
from dasanom_assets.recordings.bundle import contractor_files
from dasanom_assets.recordings.identity import below_day
from dasanom_assets.recordings.listing import closed, entries, why_closed
from dasanom_assets.recordings.opened import stored_sidecar
from dasanom_assets.recordings.places import parsed
from dasanom_assets.recordings.reasons import reason_of
from dasanom_assets.recordings.sidecar import BundleError, Sidecar
from dasanom_assets.recordings.site_rules import read_sites, rule_for
from dasanom_assets.settings import ComparisonSettings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import SCHEMAS, TIME, empty
from dasanom_assets.tables.store import Store

CLASSES = (*THREATS, "noise")
"""Digging, walking, cutting, machine, noise: `kazma`, `yurume`, `kesici`, `makine`, `gurultu` in the files."""
SUM_TOLERANCE = 0.01


def contractor_scores(
    store: Store,
    recordings: pa.Table,
    settings: ComparisonSettings,
    model: int | None = None,
    day: str | None = None,
) -> tuple[pa.Table, dict[str, Any]]:
    """Return what the contractor's files say of a day.

    Row ``i`` of the probabilities belongs to row ``i + contractor_lag_rows`` of the power, and that covers
    ``[i, i + 1) / rows_per_second`` of the recording; the rule of the site that fits it may have other numbers. A
    row has null where one of the two files has none, or does not fit the recording: see `contractor_files`.

    Parameters
    ----------
    store : Store
    recordings : pyarrow.Table
        Rows of `recordings`.
    settings : ComparisonSettings
    model : int, optional
        Number of the contractor's model; default: the lowest that a recording has.
    day : str, optional
        ISO day: only rows that start on it. A recording that runs past midnight belongs to two days.

    Returns
    -------
    table : pyarrow.Table
        Rows of `contractor_scores`, by fibre, channel and start; none where the day has no contractor files.
        Where recordings overlap, the one that started earlier counts.
    notes : dict
        ``files`` read, ``left_out`` with reasons, ``rows_sum_to_one``: whether every row of probabilities does,
        and ``share_summing_to_one``; None without any.
    """
    parts: list[pa.Table] = []
    notes: dict[str, Any] = {"files": [], "left_out": [], "rows_sum_to_one": None, "share_summing_to_one": None}
    listings: dict[str, dict[str, dict[str, Any]]] = {}
    rules = read_sites(store)
    rows = recordings.sort_by([("start", "ascending"), ("path", "ascending")])
    rows = rows.set_column(rows.column_names.index("start"), "start", rows["start"].cast(pa.int64()))
    for recording in rows.to_pylist():
        path, fibre = recording["path"], recording["fibre"]
        if not path.endswith(".bin"):
            continue
        folder = path.rpartition("/")[0]
        if folder not in listings:
            listings[folder] = {entry["path"]: entry for entry in entries(store, folder)}
        models = [m for m in contractor_files(path, listings[folder]) if model is None or m[0] == model]
        if not models:
            continue
        try:
            sidecar = stored_sidecar(store, path)
        except (OSError, BundleError) as error:
            notes["left_out"].append(f"{path}: {reason_of(error)}")
            continue
        _, rule = rule_for(rules, below_day(path), vars(sidecar) | sidecar.extra)
        rows_per_second, lag = settings.rows_per_second, settings.contractor_lag_rows
        if rule is not None:
            rows_per_second = rows_per_second if rule.rows_per_second is None else rule.rows_per_second
            lag = lag if rule.lag_rows is None else rule.lag_rows
        # Whose channels they are, and when, may be a rule of the site: see `recordings.identity`.
        channels = parsed(recording["channels"])
        sidecar = replace(sidecar, fibre=fibre, start_ns=recording["start"], channels=channels)
        _, prob_path, power_path = models[0]
        n_channels = len(sidecar.channels)
        # The margin keeps rounding from adding a row of no length.
        n_rows = int(np.ceil(sidecar.n_samples / sidecar.sampling_rate_hz * rows_per_second - 1e-6))
        power = np.full((n_rows, n_channels), np.nan, np.float32)
        prob = np.full((n_rows, n_channels, len(CLASSES)), np.nan, np.float32)
        for name, target in ((power_path, power), (prob_path, prob[lag:])):
            if name is None:
                continue
            try:
                if problem := listings[folder][name]["problem"] or closed(store, name):
                    raise MisfitError(problem)
                # Before it is read: it may be of any size.
                wide, behind = (POWERS, 0) if name == power_path else (len(CLASSES), lag)
                require_fit(listings[folder][name]["size"], wide, prob.shape, rows_per_second, behind)
                content = store.read_bytes(name)
                if name == power_path:
                    values, remark = read_power(content, (n_rows, n_channels), rows_per_second)
                else:
                    values, remark = read_probabilities(content, prob.shape, rows_per_second, lag)
            except (OSError, MisfitError) as error:
                reason = why_closed(error) if isinstance(error, OSError) else str(error)
                notes["left_out"].append(f"{name}: {reason}")
                continue
            if remark:
                notes["left_out"].append(f"{name}: {remark}")
            n = min(len(values), len(target))
            target[:n] = values[:n]
            notes["files"].append(name)
        parts.append(_rows(fibre, sidecar, power, prob, rows_per_second))
    table = _sorted_once(pa.concat_tables(parts), day) if parts else empty("contractor_scores")
    sums = _classes(table).sum(axis=1)
    if len(sums := sums[np.isfinite(sums)]):
        to_one = np.abs(sums - 1) <= SUM_TOLERANCE
        notes |= {"rows_sum_to_one": bool(to_one.all()), "share_summing_to_one": round(float(to_one.mean()), 6)}
    return table, notes


def _sorted_once(table: pa.Table, day: str | None) -> pa.Table:
    """Sort rows, leave out those of other days, and of rows with the same key keep the first."""
    if day is not None:
        on_day = table["start"].cast(pa.timestamp("ns")).to_numpy().astype("datetime64[D]") == np.datetime64(day)
        table = table.filter(pa.array(on_day))
    table = table.take(pc.sort_indices(table, [(name, "ascending") for name in KEY]))
    keys = [table[name].to_numpy(zero_copy_only=False) for name in KEY]
    again = np.all([column[1:] == column[:-1] for column in keys], axis=0)
    return table.filter(pa.array(np.concatenate([np.ones(min(len(table), 1), bool), ~again])))


def _classes(scores: pa.Table) -> np.ndarray:
    """Return the probabilities of all classes, float32, shape (n_rows, 5), NaN where null."""
    return np.stack([scores[f"p_{name}"].to_numpy().astype(np.float32) for name in CLASSES], axis=1)


def _rows(fibre: str, sidecar: Sidecar, power: np.ndarray, prob: np.ndarray, rows_per_second: float) -> pa.Table:
    """Return the rows of one recording, by channel and time; rows without any value are left out."""
    n_rows = len(power)
    edge = np.rint(np.arange(n_rows + 1) * (SECOND_NS / rows_per_second)).astype(np.int64)
    end_ns = round(sidecar.n_samples / sidecar.sampling_rate_hz * SECOND_NS)
    edge = sidecar.start_ns + np.minimum(edge, end_ns)
    known = np.isfinite(power.T) | np.isfinite(prob[:, :, 0].T)
    channel, row = np.nonzero(known)
    columns = {
        "fibre": pa.array(np.full(len(row), fibre, object), pa.string()),
        "channel": pa.array(sidecar.channels[channel]),
        "start": pa.array(edge[row], pa.int64()).cast(TIME),
        "end": pa.array(edge[row + 1], pa.int64()).cast(TIME),
        "power": pa.array(power[row, channel], pa.float32(), from_pandas=True),
    }
    for k, name in enumerate(CLASSES):
        columns[f"p_{name}"] = pa.array(prob[row, channel, k], pa.float32(), from_pandas=True)
    return pa.table(columns).select(SCHEMAS["contractor_scores"].names)


def threat(scores: pa.Table) -> np.ndarray:
    """Return the probability that something other than noise is there, float32, shape (n_rows,), NaN if unknown.

    Where the classes of a row sum to 1 that is one less noise; where they do not, they are separate verdicts, and
    it is the largest of the threats. The sum over all classes would say nothing.
    """
    p = _classes(scores)
    total = p.sum(axis=1)
    return np.where(np.abs(total - 1) <= SUM_TOLERANCE, 1 - p[:, -1], p[:, :-1].max(axis=1))


def row_lengths(scores: pa.Table) -> dict[str, int]:
    """Return how long a row of each fibre is, ns: the last of a recording may be shorter.

    Parameters
    ----------
    scores : pyarrow.Table
        Rows of `contractor_scores`.
    """
    start, end = (scores[name].cast(pa.int64()) for name in ("start", "end"))
    lengths = pa.table({"fibre": scores["fibre"], "ns": pc.subtract(end, start)})
    longest = lengths.group_by("fibre").aggregate([("ns", "max")])
    return dict(zip(longest["fibre"].to_pylist(), longest["ns_max"].to_pylist(), strict=True))


def contractor_events(scores: pa.Table, settings: ComparisonSettings) -> pa.Table:
    """Return the rows of `contractor_events`: alarmed rows that touch in time or channel.

    Rows of one channel, or of neighbours, touch where no more than ``join_seconds`` lie between them.

    Parameters
    ----------
    scores : pyarrow.Table
        Rows of `contractor_scores`.
    settings : ComparisonSettings
    """
    probability = threat(scores)
    alarmed = np.flatnonzero(probability >= settings.contractor_probability)  # NaN is no alarm
    taken, probability = scores.take(alarmed), probability[alarmed]
    fibre, channel = taken["fibre"].to_numpy(zero_copy_only=False), taken["channel"].to_numpy()
    start, end = (taken[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    by_class = np.stack([taken[f"p_{name}"].to_numpy() for name in THREATS], axis=1)
    rows, lengths = [], row_lengths(scores)
    for name in np.unique(fibre):
        reach = int(settings.join_seconds * SECOND_NS + STEPS_APART * lengths[name])
        of_fibre = np.flatnonzero(fibre == name)
        for event in (of_fibre[rows_of] for rows_of in members(components(taken.take(of_fibre), reach))):
            begin = int(start[event].min())
            first_channel, last_channel = int(channel[event].min()), int(channel[event].max())
            rows.append(
                {
                    "fibre": name,
                    "event_id": event_id(name, begin, first_channel, last_channel),
                    "start": begin,
                    "end": int(end[event].max()),
                    "first_channel": first_channel,
                    "last_channel": last_channel,
                    "contractor_class": THREATS[by_class[event].max(axis=0).argmax()],
                    "probability": float(probability[event].max()),
                }
            )
    if not rows:
        return empty("contractor_events")
    return pa.Table.from_pylist(rows, SCHEMAS["contractor_events"]).sort_by(ORDER)
