"""A month of days, each with what an analyst chooses one by."""

import math
from functools import lru_cache
from typing import Any

from dasanom_assets.comparison.scorecard import scorecard
from dasanom_assets.review.app import Review
from dasanom_assets.review.heard import heard_of
from dasanom_assets.settings import Settings
from dasanom_assets.tables.store import Store

TREND_BINS = 12
"""Equal stretches of a fibre that alarms are counted in."""


def month_of(review: Review, month: str | None) -> dict[str, Any]:
    """Return the days of a month, ``YYYY-MM``; by default of the last that has any."""
    store = review.store
    there = sorted({*store.days("recordings"), *store.days("anomaly_events")})
    months = sorted({day[:7] for day in there})
    chosen = month if month in months else (months[-1] if months else "")
    days = [_summary(store, day) for day in there if day[:7] == chosen]
    trends = _trends(store, [day["day"] for day in days])
    return {
        "month": chosen,
        "months": months,
        "days": days,
        "trends": trends,
        "scorecard": _scorecard(review, chosen),
    }


def _summary(store: Store, day: str) -> dict[str, Any]:
    """Return what is told of a day."""
    if not store.has_day("anomaly_events", day):
        return {"day": day, "scored": False}
    names = ("anomaly_events", "agreement")
    digests = tuple(store.content_digest(name, day) if store.has_day(name, day) else "" for name in names)
    heard = heard_of(store, day)
    return _counted(store, day, digests) | {
        "not_heard_km_hours": heard and heard["km_hours"]["not_scored"],
        "breaks": len(heard["breaks"]) if heard else 0,
    }


@lru_cache(400)
def _counted(store: Store, day: str, digests: tuple[str, ...]) -> dict[str, Any]:
    note = store.metadata("anomaly_events", day)
    with store.open_day("anomaly_events", day) as file:
        alarms = file.metadata.num_rows
    out: dict[str, Any] = {"day": day, "scored": True, "alarms": alarms, "contractor": None, "agreement": None}
    for row in store.read_day("agreement", day).to_pylist() if store.has_day("agreement", day) else []:
        n = row["ours"] + row["theirs"]
        out["contractor"] = row["theirs"]
        out["agreement"] = (row["ours_matched"] + row["theirs_matched"]) / n if n else None
    # Of several budgets the one that most events are expected at tells most.
    counts = sorted(note.get("counts", {}).items(), key=lambda item: float(item[0]))
    for budget, n in counts:
        if n["expected"] >= 1 or (budget, n) == counts[-1]:
            out |= {"budget": float(budget), "expected": n["expected"], "realised": n["realised"]}
            out["drift"] = math.log2((n["realised"] + 0.5) / (n["expected"] + 0.5))
            break
    return out


def _scorecard(review: Review, month: str) -> dict[str, Any] | None:
    """Return the contractor's month, made anew where one of its tables has changed; None without a month."""
    if not month:
        return None
    store = review.store
    days = store.days("recordings", f"{month}-01", f"{month}-31")
    digests = tuple(
        store.content_digest(name, day) if store.has_day(name, day) else ""
        for day in days
        for name in ("agreement", "heard", "verdicts")
    )
    return _made_scorecard(store, month, review.settings.model_dump_json(), digests)


@lru_cache(24)
def _made_scorecard(store: Store, month: str, settings: str, digests: tuple[str, ...]) -> dict[str, Any]:
    return scorecard(store, month, Settings.model_validate_json(settings))


def _trends(store: Store, days: list[str]) -> list[dict[str, Any]]:
    """Return alarms by stretch of fibre and day: for each fibre its stretches, and a count a day of each."""
    import numpy as np

    seen: dict[str, dict[str, np.ndarray]] = {}
    for day in days:
        if store.has_day("anomaly_events", day):
            table = store.read_day("anomaly_events", day, ["fibre", "peak_channel"])
            fibre = np.array(table["fibre"].to_pylist(), object)
            for name in set(fibre.tolist()):
                seen.setdefault(name, {})[day] = table["peak_channel"].to_numpy()[fibre == name]
    out = []
    for name, by_day in sorted(seen.items()):
        every = np.concatenate(list(by_day.values()))
        edges = np.linspace(every.min(), every.max() + 1, min(TREND_BINS, int(np.ptp(every)) + 1) + 1)
        counts = {day: np.histogram(by_day.get(day, []), edges)[0].tolist() for day in days}
        out.append({"fibre": name, "edges": [round(float(edge)) for edge in edges], "counts": counts})
    return out
