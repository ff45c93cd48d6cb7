"""Who flagged what: events matched by overlap, windows side by side, and figures of agreement without a truth."""

from typing import Any

import numpy as np
import pyarrow as pa

from dasanom_assets.comparison.matching import by_chance, overlapping
from dasanom_assets.comparison.their_alarms import TheirAlarms, by_channel
from dasanom_assets.spectrograms.windows import SECOND_NS
from dasanom_assets.tables.schemas import SCHEMAS, empty

NEITHER, BOTH, ONLY_US, ONLY_CONTRACTOR = range(4)


def match_events(ours: pa.Table, theirs: pa.Table) -> pa.Table:
    """Match events many to many, by the least overlap that counts; see `matching.overlapping`.

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
        a, b = (boxes_of(table, fibre) for table in (ours, theirs))
        i, j = overlapping(a, b, 1 / SECOND_NS)
        rows += [(fibre, a["id"][k], b["id"][m], "both") for k, m in zip(i, j, strict=True)]
        for name, side, matched in (("only_us", a, i), ("only_contractor", b, j)):
            alone = np.setdiff1d(np.arange(len(side["id"])), matched)
            places = (0, None) if name == "only_us" else (None, 0)
            rows += [(fibre, *(None if p is None else side["id"][k] for p in places), name) for k in alone]
    if not rows:
        return empty("event_matches")
    schema = SCHEMAS["event_matches"]
    return pa.table(list(map(list, zip(*rows, strict=True))), schema=schema)


def chance_agreement(ours: pa.Table, theirs: pa.Table, period: tuple[int, int]) -> dict[str, float]:
    """Return how many events of each side would match by chance, if the times of one side meant nothing.

    Parameters
    ----------
    ours, theirs : pyarrow.Table
        Rows of `anomaly_events` and `contractor_events`.
    period : tuple of int
        Begin and end of what was recorded, ns since 1970.

    Returns
    -------
    dict
        ``ours`` and ``theirs``.
    """
    total = np.zeros(2)
    for fibre in {*ours["fibre"].to_pylist()} & {*theirs["fibre"].to_pylist()}:
        a, b = (boxes_of(table, fibre) for table in (ours, theirs))
        total += by_chance(a, b, 1 / SECOND_NS, period)
    return {"ours": float(total[0]), "theirs": float(total[1])}


def boxes_of(table: pa.Table, fibre: str) -> dict[str, Any]:
    """Return the boxes of a fibre as `matching` takes them, with times in ns, and their ``id``."""
    events = table.filter(pa.array([name == fibre for name in table["fibre"].to_pylist()], pa.bool_()))
    times = {name: events[name].cast(pa.int64()).to_numpy() for name in ("start", "end")}
    channels = {name: events[name].to_numpy() for name in ("first_channel", "last_channel")}
    return {"id": events["event_id"].to_pylist()} | times | channels


def agreement_summary(matches: pa.Table, hours: float, km: float | None = None) -> dict[str, float | int | None]:
    """Return counts, alarms an hour, and positive agreement: the share of all alarms that the other side has, too.

    Parameters
    ----------
    matches : pyarrow.Table
        Rows of `event_matches`.
    hours : float
        Recorded time.
    km : float, optional
        Length of the fibre; alarms a kilometre and hour where it is known.

    Returns
    -------
    dict
        ``both`` and ``both_contractors`` are our events, and the contractor's, that have a match.
    """
    names = matches["agreement"].to_pylist()
    us, them = (names.count(name) for name in ("only_us", "only_contractor"))
    paired = [pair == "both" for pair in names]
    both, theirs = (
        len(set(matches[column].filter(pa.array(paired, pa.bool_())).to_pylist()))
        for column in ("event_id", "contractor_event_id")
    )
    total = both + theirs + us + them
    out: dict[str, float | int | None] = {
        "both": both,
        "both_contractors": theirs,
        "only_us": us,
        "only_contractor": them,
        "positive_agreement": (both + theirs) / total if total else None,
    }
    for side, n in (("ours", both + us), ("contractors", theirs + them)):
        out[f"{side}_an_hour"] = n / hours if hours else None
        if km:
            out[f"{side}_a_km_and_hour"] = n / hours / km if hours else None
    return out


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
    counts = counts.astype(float)
    for name, measure in (("kappa", kappa), ("ac1", ac1)):
        value = float(measure(counts))
        out[name] = value if np.isfinite(value) else None
    return out


def kappa(counts: np.ndarray) -> np.ndarray:
    """Return Cohen's κ (1960) of counts or durations; NaN where chance explains all, as with one answer alone.

    Parameters
    ----------
    counts : numpy.ndarray
        float64, shape (..., 4): how much of each kind that `who_flagged` tells apart.

    Examples
    --------
    >>> round(float(kappa(np.array([40.0, 30.0, 20.0, 10.0]))), 3)
    0.4
    """
    observed, ours, theirs = _shares(counts)
    by_chance = ours * theirs + (1 - ours) * (1 - theirs)
    return _beyond(observed, by_chance)


def ac1(counts: np.ndarray) -> np.ndarray:
    """Return Gwet's AC1 (2008), which stays meaningful where alarms are rare; takes what `kappa` takes."""
    observed, ours, theirs = _shares(counts)
    share = (ours + theirs) / 2
    return _beyond(observed, 2 * share * (1 - share))


def positive(counts: np.ndarray) -> np.ndarray:
    """Return the share that both flag of what each flags, added (Dice 1945); takes what `kappa` takes."""
    both, either = counts[..., BOTH], counts[..., ONLY_US] + counts[..., ONLY_CONTRACTOR]
    with np.errstate(invalid="ignore"):
        return 2 * both / (2 * both + either)


def _shares(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return shares of what both sides answer alike, and of what each flags."""
    with np.errstate(invalid="ignore"):
        share = counts / counts.sum(axis=-1, keepdims=True)
    both = share[..., BOTH]
    return share[..., NEITHER] + both, both + share[..., ONLY_US], both + share[..., ONLY_CONTRACTOR]


def _beyond(observed: np.ndarray, by_chance: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        beyond = np.where(by_chance < 1, (observed - by_chance) / (1 - by_chance), np.nan)
    return np.round(beyond, 12) + 0.0  # what is 0 is not −1e−17
