"""The tables of docs/detectors.md, from the figures of the benchmark of detection."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dasanom_assets.benchmarks.simulated import median_errors
from dasanom_assets.detection.calibration.rates import poisson_ratio
from dasanom_assets.settings import Settings

FIGURES = ("auc", "average_precision", "partial_auc")
STREET_BUDGET = 1000.0
"""Of the goal for threats that are planted in the street, a kilometre and day."""


def summary(grounds: Sequence[dict[str, Any]]) -> str:
    """Return the tables in Markdown: the ranking of scores, then rates and events where a ground has them."""
    lines = _ranking(grounds)
    if scored := [ground for ground in grounds if "found" in ground]:
        lines += [*_threats(scored), ""]
        left_out = {name: reason for ground in scored for name, reason in ground["left_out"].items()}
        lines += [f"Left out somewhere: {name}, {reason}." for name, reason in left_out.items()]
    if full := [ground for ground in grounds if "counts" in ground]:
        lines += [*_windows(full), "", *_rates(full)]
        pace = [ground["cost"]["channel_seconds"] / sum(ground["cost"]["seconds"].values()) for ground in full]
        peak = max(ground["cost"]["peak_mb"] for ground in full)
        lines += ["", f"Scoring: {interval(pace, 0)} channel-seconds a second, peak memory {peak:.0f} MB."]
    return "\n".join(lines)


def interval(values: Sequence[float], digits: int = 3) -> str:
    """Return the mean of the grounds, and the least and the greatest."""
    if not np.isfinite(values).any():
        return "–"
    return f"{np.nanmean(values):.{digits}f} ({np.nanmin(values):.{digits}f}–{np.nanmax(values):.{digits}f})"


def _ranking(grounds: Sequence[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for kind in dict.fromkeys(kind for ground in grounds for kind in ground["ranking"]):
        rankings = [ground["ranking"][kind] for ground in grounds if kind in ground["ranking"]]
        lines += [f"**{kind}**", "", "| score | grounds | AUC | AP | partial AUC |", "|---" * 5 + "|"]
        for name in dict.fromkeys(name for ranking in rankings for name in ranking):
            rows = [ranking[name] for ranking in rankings if name in ranking]
            cells = [interval([row.get(figure, np.nan) for row in rows]) for figure in FIGURES]
            lines.append(f"| {name} | {len(rows)} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def _windows(grounds: Sequence[dict[str, Any]]) -> list[str]:
    asked = [float(name) for name in grounds[0]["windows"] if name != "n"]
    header = " | ".join(f"window p ≤ {share:g}, realised ÷ asked" for share in asked)
    lines = [f"| ground | reference, km·days | events | {header} |", "|---" * (3 + len(asked)) + "|"]
    for ground in grounds:
        ratios = " | ".join(f"{ground['windows'][f'{share:g}'] / share:.2f}" for share in asked)
        lines.append(f"| {ground['ground']} | {ground['km_days']:.3g} | {ground['events']} | {ratios} |")
    return lines


def _rates(grounds: Sequence[dict[str, Any]]) -> list[str]:
    lines = ["| budget, a km and day | due | there were | realised ÷ asked (95 %) |", "|---|---|---|---|"]
    counts = [count for ground in grounds for count in ground["counts"]]
    for budget in sorted({count["budget"] for count in counts}):
        expected = sum(count["expected"] for count in counts if count["budget"] == budget)
        realised = sum(count["realised"] for count in counts if count["budget"] == budget)
        ratio, low, high = poisson_ratio(realised, expected)
        lines.append(f"| {budget:g} | {expected:.1f} | {realised} | {ratio:.2f} ({low:.2f}–{high:.2f}) |")
    return lines


def _threats(grounds: Sequence[dict[str, Any]]) -> list[str]:
    lines = ["| threats | budget, a km and day | found | other events | onset, s | channel |", "|---" * 6 + "|"]
    budgets = ("the finest resolved", f"{STREET_BUDGET:g}", f"{Settings().detection.budget:g}")
    for kind in ("faint", "usual", "planted"):
        by_ground = [ground["found"][kind] for ground in grounds if kind in ground["found"]]
        for i, budget in enumerate(budgets if by_ground else ()):
            rows = [row[i] for row in by_ground]
            detected, threats, false = (
                sum(row[name] for row in rows) for name in ("n_found", "n_threats", "false_alarms")
            )
            onset, _, channel = median_errors(rows).values()
            lines.append(
                f"| {kind} | {budget} | {detected} of {threats} | {false} | {onset:.1f} | {channel:.0f} |"
            )
    return lines
