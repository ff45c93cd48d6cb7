"""Who flagged what: events matched one to one, windows side by side, and figures of agreement without a truth."""

from typing import Any

import numpy as np
import pyarrow as pa
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import cohen_kappa_score

from dasanom_assets.comparison.contractor import alarmed, row_lengths
from dasanom_assets.settings import ComparisonSettings
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import SCHEMAS, empty

TIME_TOLERANCE_S = 2.0
CHANNEL_TOLERANCE = 2
"""Events whose borders miss each other by less than this still meet: the two sides cut time differently."""

NEITHER, BOTH, ONLY_US, ONLY_CONTRACTOR = range(4)


def match_events(ours: pa.Table, theirs: pa.Table) -> pa.Table:
    """Match events one to one by overlap in time and channel.

    Among all one-to-one matchings the one with the largest summed overlap, in channel-seconds, is taken (Kuhn
    1955).

    Parameters
    ----------
    ours, theirs : pyarrow.Table
        Rows of `anomaly_events` and `contractor_events`.

    Returns
    -------
    pyarrow.Table
        Rows of `event_matches`: one a pair, and one for each event that has none.
    """
    rows = []
    fibres = sorted({*ours["fibre"].to_pylist(), *theirs["fibre"].to_pylist()})
    for fibre in fibres:
        a, b = (_boxes(table, fibre) for table in (ours, theirs))
        overlap = _overlap(a, b)
        i, j = linear_sum_assignment(overlap, maximize=True)
        overlaps = overlap[i, j] > 0
        pairs = dict(zip(i[overlaps], j[overlaps], strict=True))
        rows += [(fibre, a["id"][k], b["id"][m], "both") for k, m in pairs.items()]
        rows += [(fibre, a["id"][k], None, "only_us") for k in range(len(a["id"])) if k not in pairs]
        matched = set(pairs.values())
        rows += [(fibre, None, b["id"][m], "only_contractor") for m in range(len(b["id"])) if m not in matched]
    if not rows:
        return empty("event_matches")
    schema = SCHEMAS["event_matches"]
    return pa.table(list(map(list, zip(*rows, strict=True))), schema=schema)


def _boxes(table: pa.Table, fibre: str) -> dict[str, Any]:
    events = table.filter(pa.array([name == fibre for name in table["fibre"].to_pylist()], pa.bool_()))
    seconds = {name: events[name].cast(pa.int64()).to_numpy() / SECOND_NS for name in ("start", "end")}
    return {
        "id": events["event_id"].to_pylist(),
        "start": seconds["start"],
        "end": seconds["end"],
        "first": events["first_channel"].to_numpy(),
        "last": events["last_channel"].to_numpy(),
    }


def _overlap(a: dict[str, Any], b: dict[str, Any]) -> np.ndarray:
    """Return the overlap of every pair, borders widened by the tolerances, channel-seconds; 0 where they miss."""
    time = np.minimum.outer(a["end"], b["end"]) - np.maximum.outer(a["start"], b["start"]) + TIME_TOLERANCE_S
    width = (
        np.minimum.outer(a["last"], b["last"]) - np.maximum.outer(a["first"], b["first"]) + 1 + CHANNEL_TOLERANCE
    )
    return np.maximum(time, 0) * np.maximum(width, 0)


def agreement_summary(matches: pa.Table, hours: float, km: float | None = None) -> dict[str, float | int | None]:
    """Return counts, alarms an hour, and positive agreement, 2·both / (2·both + only us + only contractor).

    Parameters
    ----------
    matches : pyarrow.Table
        Rows of `event_matches`.
    hours : float
        Recorded time.
    km : float, optional
        Length of the fibre; alarms a kilometre and hour where it is known.
    """
    names = matches["agreement"].to_pylist()
    both, us, them = (names.count(name) for name in ("both", "only_us", "only_contractor"))
    total = 2 * both + us + them
    out: dict[str, float | int | None] = {
        "both": both,
        "only_us": us,
        "only_contractor": them,
        "positive_agreement": 2 * both / total if total else None,
    }
    for side, n in (("ours", both + us), ("contractors", both + them)):
        out[f"{side}_an_hour"] = n / hours if hours else None
        if km:
            out[f"{side}_a_km_and_hour"] = n / hours / km if hours else None
    return out


class TheirAlarms:
    """When the contractor alarms, by channel.

    Parameters
    ----------
    contractor : pyarrow.Table
        Rows of `contractor_scores`, or those of them that are alarms.
    settings : ComparisonSettings
    """

    def __init__(self, contractor: pa.Table, settings: ComparisonSettings) -> None:
        rows = alarmed([contractor], settings)
        self._lengths = row_lengths(rows)
        self._times = {key: np.sort(times) for key, (times, _) in by_channel(rows, "start").items()}

    def within(self, fibre: str, channel: int, start_ns: np.ndarray, end_ns: np.ndarray) -> np.ndarray:
        """Return whether a row alarms within the central second of each window, bool, shape (n_windows,)."""
        times = self._times.get((fibre, channel))
        if times is None:
            return np.zeros(len(start_ns), bool)
        half, row_ns = SECOND_NS // 2, self._lengths[fibre]
        middle = (start_ns + end_ns) // 2
        after = np.searchsorted(times, middle - half - row_ns, side="right")
        return np.searchsorted(times, middle + half, side="left") > after


def who_flagged(scores: pa.Table, theirs: TheirAlarms) -> np.ndarray:
    """Return for each window whether neither, both, only we or only the contractor flagged it.

    The contractor flags a window where one of its rows on that channel alarms within the window's central second.

    Parameters
    ----------
    scores : pyarrow.Table
        Rows of `anomaly_scores`.
    theirs : TheirAlarms

    Returns
    -------
    numpy.ndarray
        int8, shape (n_windows,): `NEITHER`, `BOTH`, `ONLY_US` or `ONLY_CONTRACTOR`.
    """
    ours = scores["is_anomaly"].to_numpy(zero_copy_only=False).astype(bool)
    flagged = np.zeros(len(ours), bool)
    ends = scores["end"].cast(pa.int64()).to_numpy()
    for key, (start, rows) in by_channel(scores, "start").items():
        flagged[rows] = theirs.within(*key, start, ends[rows])
    return np.select([ours & flagged, ours, flagged], [BOTH, ONLY_US, ONLY_CONTRACTOR], NEITHER).astype(np.int8)


def by_channel(table: pa.Table, time: str) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """Return times (int64, ns) and row numbers of each fibre and channel."""
    if not table.num_rows:
        return {}
    fibre = table["fibre"].combine_chunks().dictionary_encode()
    codes, names = fibre.indices.to_numpy(zero_copy_only=False), fibre.dictionary.to_pylist()
    channel, times = table["channel"].to_numpy(), table[time].cast(pa.int64()).to_numpy()
    order = np.lexsort((channel, codes))
    border = np.flatnonzero(np.diff(codes[order]) | np.diff(channel[order])) + 1
    groups = np.split(order, border)
    return {(names[codes[rows[0]]], int(channel[rows[0]])): (times[rows], rows) for rows in groups}


def window_agreement(counts: np.ndarray) -> dict[str, float | int | None]:
    """Return counts of windows and chance-corrected agreement of the two sides.

    Parameters
    ----------
    counts : numpy.ndarray
        int64, shape (4,): windows of each kind that `who_flagged` tells apart.

    Returns
    -------
    dict
        ``both``, ``only_us``, ``only_contractor``, ``neither``; ``positive_agreement``; ``kappa`` (Cohen 1960) and
        ``ac1`` (Gwet 2008), which stays meaningful where alarms are rare; None where not defined.
    """
    n = int(counts.sum())
    both, us, them = (int(counts[code]) for code in (BOTH, ONLY_US, ONLY_CONTRACTOR))
    out: dict[str, float | int | None] = {
        "both": both,
        "only_us": us,
        "only_contractor": them,
        "neither": n - both - us - them,
        "positive_agreement": 2 * both / (2 * both + us + them) if both + us + them else None,
        "kappa": None,
        "ac1": None,
    }
    if them or us or 0 < both < n:  # with one answer alone, chance explains all and κ is not defined
        weights = [both, us, them, n - both - us - them]
        out["kappa"] = float(cohen_kappa_score([1, 1, 0, 0], [1, 0, 1, 0], sample_weight=weights))
    if n:
        observed = (n - us - them) / n
        mean = ((both + us) / n + (both + them) / n) / 2
        by_chance = 2 * mean * (1 - mean)
        out["ac1"] = (observed - by_chance) / (1 - by_chance)
    return out
