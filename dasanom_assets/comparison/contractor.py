"""The contractor's files as tables, and its alarms as events."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dasanom_assets.comparison.contractor_files import (
    POWERS,
    SUM_TOLERANCE,
    MisfitError,
    look_at_power,
    look_at_probabilities,
    read_rows,
    require_fit,
)
from dasanom_assets.comparison.turned import Turned
from dasanom_assets.detection.events.components import STEPS_APART, apart, components, members
from dasanom_assets.detection.events.outlines import ORDER, THREATS, event_id
from dasanom_assets.recordings.bundle_files import CONTRACTOR_ENDINGS, contractor_files
from dasanom_assets.recordings.identity import below_day
from dasanom_assets.recordings.listing import closed, entries, of_network, why_closed
from dasanom_assets.recordings.of_day import extent
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
PLACED = ["fibre", "channel", "start", "end"]
"""Columns that say where and when a row is."""


def contractor_scores(
    store: Store,
    recordings: pa.Table,
    settings: ComparisonSettings,
    model: int | None = None,
    day: str | None = None,
) -> tuple[Iterator[pa.Table], dict[str, Any]]:
    """Return what the contractor's files say of a day.

    Each file is looked at from end to end, to see whether it fits; then its channels are read, a few at a time.

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
    tables : iterator of pyarrow.Table
        Rows of `contractor_scores`, by fibre, channel and start, one table a channel after an empty one.
        Where recordings overlap, the one that started earlier counts.
    notes : dict
        ``files`` read, ``left_out`` with reasons, ``rows_sum_to_one``: whether every row of probabilities does,
        and ``share_summing_to_one``; None without any.
    """
    notes: dict[str, Any] = {"files": [], "left_out": [], "rows_sum_to_one": None, "share_summing_to_one": None}
    listings: dict[str, dict[str, dict[str, Any]]] = {}
    rules = read_sites(store)
    rows = recordings.sort_by([("start", "ascending"), ("path", "ascending")])
    rows = rows.set_column(rows.column_names.index("start"), "start", rows["start"].cast(pa.int64()))
    delivered: list[_Delivered] = []
    sums = np.zeros(2, np.int64)  # rows with all classes, and those of them that sum to one
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
            if of_network(error, store):
                raise
            notes["left_out"].append(f"{path}: {reason_of(error)}")
            continue
        _, rule = rule_for(rules, below_day(path), vars(sidecar) | sidecar.extra)
        rate, lag = settings.rows_per_second, settings.contractor_lag_rows
        if rule is not None:
            rate = rate if rule.rows_per_second is None else rule.rows_per_second
            lag = lag if rule.lag_rows is None else rule.lag_rows
        # Whose channels they are, and when, may be a rule of the site: see `recordings.identity`.
        channels = parsed(recording["channels"])
        sidecar = replace(sidecar, fibre=fibre, start_ns=recording["start"], channels=channels)
        _, prob_path, power_path = models[0]
        # The margin keeps rounding from adding a row of no length.
        n_rows = int(np.ceil(sidecar.n_samples / sidecar.sampling_rate_hz * rate - 1e-6))
        shape = n_rows, len(channels), len(CLASSES)
        fits: dict[str, tuple[str, int] | None] = {"power": None, "prob": None}
        for kind, name in (("power", power_path), ("prob", prob_path)):
            if name is None:
                continue
            try:
                if problem := listings[folder][name]["problem"] or closed(store, name):
                    raise MisfitError(problem)
                # Before it is read: it may be of any size.
                wide, behind = (POWERS, 0) if kind == "power" else (len(CLASSES), lag)
                require_fit(listings[folder][name]["size"], wide, shape, rate, behind)
                with store.local(name) as content:
                    if kind == "power":
                        remark = look_at_power(content, shape[:2], rate)
                    else:
                        *of_file, remark = look_at_probabilities(content, shape, rate, lag)
                        sums += of_file
            except (OSError, MisfitError) as error:
                if of_network(error, store):
                    raise
                reason = why_closed(error) if isinstance(error, OSError) else str(error)
                notes["left_out"].append(f"{name}: {reason}")
                continue
            if remark:
                notes["left_out"].append(f"{name}: {remark}")
            notes["files"].append(name)
            fits[kind] = name, listings[folder][name]["size"]
        delivered.append(_Delivered(fibre, sidecar, rate, lag, n_rows, **fits))
    if sums[0]:
        share = round(float(sums[1] / sums[0]), 6)
        notes |= {"rows_sum_to_one": bool(sums[0] == sums[1]), "share_summing_to_one": share}
    return _tables(store, delivered, day), notes


def without_recording(store: Store, refused: Iterable[tuple[str, str]]) -> list[str]:
    """Return, in words, which of the contractor's files have no recording that can be used.

    Parameters
    ----------
    store : Store
    refused : iterable of (str, str)
        Paths of the day that were refused, with the reasons.
    """
    told = []
    listings: dict[str, list[str]] = {}
    for path, reason in refused:
        if path.endswith(CONTRACTOR_ENDINGS):
            told.append(f"{path}: {reason}")
        elif path.endswith(".bin"):
            folder = path.rpartition("/")[0]
            if folder not in listings:
                listings[folder] = [entry["path"] for entry in entries(store, folder)]
            for _, *names in contractor_files(path, listings[folder]):
                told += [f"{name}: its recording is refused: {reason}" for name in names if name]
    return told


@dataclass(frozen=True)
class _Delivered:
    """A recording, and the contractor's files that fit it, with their bytes."""

    fibre: str
    sidecar: Sidecar
    rows_per_second: float
    lag: int
    n_rows: int
    power: tuple[str, int] | None
    prob: tuple[str, int] | None

    def turn(self, store: Store, channels: np.ndarray, first_row: int, turned: Turned) -> None:
        """Give the rows of power and classes, NaN where one is missing, to `turned`; each file is read once."""
        place = np.searchsorted(channels, self.sidecar.channels)
        for first, power in self._rows(store, self.power, POWERS, self.n_rows):
            power[~np.isfinite(power)] = np.nan
            turned.add(first_row + first, place, power)
        for first, prob in self._rows(store, self.prob, len(CLASSES), self.n_rows - self.lag):
            prob[~np.isfinite(prob).all(axis=2)] = np.nan
            np.clip(prob, 0, 1, out=prob)
            turned.add(first_row + self.lag + first, place, prob, column=1)

    def _rows(
        self, store: Store, file: tuple[str, int] | None, per_channel: int, most: int
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield rows of a file as `read_rows` does; of power, which comes before normalised power, alone."""
        if file is None:
            return
        (name, size), n_channels = file, len(self.sidecar.channels)
        rows = min(most, size // (4 * per_channel * n_channels))
        with store.local(name) as path:
            try:
                if path.stat().st_size != size:
                    raise MisfitError("it changed while it was read")
                yield from read_rows(path, rows, n_channels, 1 if per_channel == POWERS else per_channel)
            except MisfitError as error:
                raise MisfitError(f"{name}: {error}; materialize contractor_scores again") from error

    def edges(self) -> np.ndarray:
        """Return where rows begin and end, int64, shape (n_rows + 1,), ns since 1970."""
        edge = np.rint(np.arange(self.n_rows + 1) * (SECOND_NS / self.rows_per_second)).astype(np.int64)
        end_ns = round(self.sidecar.n_samples / self.sidecar.sampling_rate_hz * SECOND_NS)
        return self.sidecar.start_ns + np.minimum(edge, end_ns)


def _tables(store: Store, delivered: Sequence[_Delivered], day: str | None) -> Iterator[pa.Table]:
    """Yield the rows of each channel, sorted; without those of other days, and of the same start the first."""
    yield empty("contractor_scores")
    first, last = (-(2**63), 2**63 - 1) if day is None else extent(day)
    for fibre in sorted({one.fibre for one in delivered}):
        of_fibre = [one for one in delivered if one.fibre == fibre]
        channels = np.unique(np.concatenate([one.sidecar.channels for one in of_fibre]))
        edges = [one.edges() for one in of_fibre]
        start, end = (np.concatenate(side) for side in ([e[:-1] for e in edges], [e[1:] for e in edges]))
        on_day = (start >= first) & (start < last)
        with Turned(len(channels), len(start), 1 + len(CLASSES)) as turned:
            for one, last_row in zip(of_fibre, accumulate(one.n_rows for one in of_fibre), strict=True):
                one.turn(store, channels, last_row - one.n_rows, turned)
            for place, channel in enumerate(channels.tolist()):
                own = turned.of(place)
                # Rows without any value are left out.
                known = np.flatnonzero(on_day & (np.isfinite(own[:, 0]) | np.isfinite(own[:, 1])))
                starts, index = np.unique(start[known], return_index=True)
                if len(starts):
                    rows = known[index]
                    yield _rows(fibre, channel, starts, end[rows], own[rows])


def _rows(fibre: str, channel: int, start_ns: np.ndarray, end_ns: np.ndarray, values: np.ndarray) -> pa.Table:
    """Return the rows of one channel; `values` has the shape (n, 1 + classes)."""
    n = len(start_ns)
    names = ("power", *(f"p_{name}" for name in CLASSES))
    columns = {
        "fibre": pa.repeat(fibre, n),
        "channel": pa.repeat(pa.scalar(channel, pa.int32()), n),
        "start": pa.array(start_ns, pa.int64()).cast(TIME),
        "end": pa.array(end_ns, pa.int64()).cast(TIME),
    }
    columns |= {
        name: pa.array(np.ascontiguousarray(column), pa.float32(), from_pandas=True)
        for name, column in zip(names, values.T, strict=True)
    }
    return pa.table(columns).select(SCHEMAS["contractor_scores"].names)


def _classes(scores: pa.Table) -> np.ndarray:
    """Return the probabilities of all classes, float32, shape (n_rows, 5), NaN where null."""
    return np.stack([scores[f"p_{name}"].to_numpy().astype(np.float32) for name in CLASSES], axis=1)


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


def alarmed(rows: pa.Table, settings: ComparisonSettings) -> pa.Table:
    """Return the rows of `contractor_scores` by which the contractor alarms; NaN is no alarm."""
    return rows.filter(pa.array(threat(rows) >= settings.contractor_probability, pa.bool_()))


def contractor_events(tables: Callable[[list[str]], Iterable[pa.Table]], settings: ComparisonSettings) -> pa.Table:
    """Return the rows of `contractor_events`: alarmed rows that touch in time or channel.

    Rows of one channel, or of neighbours, touch where no more than ``join_seconds`` lie between them.

    Parameters
    ----------
    tables : callable
        Returns columns of the rows of `contractor_scores`, ascending by fibre and channel from table to table.
    settings : ComparisonSettings
    """
    reach: dict[str, int] = {}
    for rows in tables(PLACED):
        for fibre, length in row_lengths(rows).items():
            here = int(settings.join_seconds * SECOND_NS + STEPS_APART * length)
            reach[fibre] = max(here, reach.get(fibre, 0))
    alarms = (alarmed(rows, settings) for rows in tables([*PLACED, *(f"p_{name}" for name in CLASSES)]))
    parts = apart(alarms, max(reach.values(), default=0))
    events = [event for part in parts for event in _events_of(part, reach)]
    if not events:
        return empty("contractor_events")
    return pa.Table.from_pylist(events, SCHEMAS["contractor_events"]).sort_by(ORDER)


def _events_of(taken: pa.Table, reach: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Yield the events that alarmed rows form, by how far rows of each fibre reach, ns."""
    probability = threat(taken)
    fibre, channel = taken["fibre"].to_numpy(zero_copy_only=False), taken["channel"].to_numpy()
    start, end = (taken[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    by_class = np.stack([taken[f"p_{name}"].to_numpy() for name in THREATS], axis=1)
    for name in np.unique(fibre):
        of_fibre = np.flatnonzero(fibre == name)
        labels = components(taken.take(of_fibre), reach[name])
        for event in (of_fibre[rows_of] for rows_of in members(labels)):
            begin = int(start[event].min())
            first_channel, last_channel = int(channel[event].min()), int(channel[event].max())
            yield {
                "fibre": name,
                "event_id": event_id(name, begin, first_channel, last_channel),
                "start": begin,
                "end": int(end[event].max()),
                "first_channel": first_channel,
                "last_channel": last_channel,
                "contractor_class": THREATS[by_class[event].max(axis=0).argmax()],
                "probability": float(probability[event].max()),
            }
