"""Pictures of a reference: how its windows fall into clusters, and how often it has events.

Each is drawn once, small for the Dagster UI or large for a report: see `tables.metadata`.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from dasanom_assets.detection.calibration.rates import Rates
from dasanom_assets.detection.detectors.clusters import Clusters

LABELLED = 12
"""Clusters that are labelled, at most: so many labels fit side by side."""

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")  # Okabe and Ito
_UNSELECTED = "#B8B8B8"
_FIGURES = (("DBCV", "dbcv"), ("stability", "stability"))


def rates_figure(rates: Rates, budget: float) -> Figure:
    """Draw how often the reference has events at least as strong, the tail beyond, its interval and the budget.

    Parameters
    ----------
    rates : Rates
    budget : float
        Events a kilometre and day.
    """
    figure = Figure(figsize=(8, 4), dpi=72, layout="constrained")
    axes = figure.subplots()
    strength, rate, high = rates.curve
    low = rates.pooled(strength).low
    least = 0.3 * min(budget, rates.finest)
    shown = slice(0, int(np.argmax(np.append(high, 0) < least)) + 1)
    count = np.arange(1, len(rates.strength) + 1) / rates.km_days
    axes.fill_between(
        strength[shown],
        np.maximum(low[shown], least),
        np.maximum(high[shown], least),
        color="#56B4E9",
        alpha=0.3,
        linewidth=0,
        label=f"{rates.recipe.confidence:.0%} interval",
    )
    axes.plot(strength[shown], rate[shown], color="#0072B2", label="events as strong")
    axes.plot(rates.strength, count, "k.", markersize=3, label=f"{len(rates.strength):,} reference events")
    axes.axhline(rates.finest, color="#009E73", linestyle="--", label="once in all of the reference")
    axes.axhline(budget, color="#D55E00", label=f"budget: {budget:g} a km and day")
    axes.set_yscale("log")
    axes.set(
        ylim=(least, None),
        xlabel="strength of an event: its peak score, standard deviations above usual",
        ylabel="events a km and day",
        title=f"Rates of {rates.km_days:.3g} km·days of reference ground",
    )
    axes.title.set(fontsize=11, horizontalalignment="left", x=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def condensed_tree(clusters: Clusters) -> Figure:
    """Draw the condensed tree (Campello, Moulavi and Sander 2013), its selected clusters in colour.

    A branch is as wide as the windows that still hang together at a density; they are shed as it grows, and the
    area of a branch is its stability. All that grows from a selected cluster has its colour.
    """
    tree, n, label = clusters.tree, len(clusters.points), clusters.tree.label
    finite = tree.lam[np.isfinite(tree.lam)]
    # The few densest windows would leave the rest of the tree flat.
    deepest = float(np.quantile(finite, 0.999)) if len(finite) else 1.0
    figure = Figure(figsize=(8, 4), dpi=72, layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(0, n)
    tips = []
    for node, (heights, widths, centre) in _branches(clusters).items():
        row = node - tree.root
        colour = _COLOURS[label[row] % len(_COLOURS)] if label[row] >= 0 else _UNSELECTED
        heights = np.minimum(heights, deepest)
        left, right = centre - widths / 2, centre + widths / 2
        axes.fill_betweenx(heights, left, right, step="post", color=colour, linewidth=0.5)
        if label[row] >= 0 and (row == 0 or label[tree.cluster_parent[row] - tree.root] < 0):
            tips.append((centre, float(heights.max()), int(label[row]), colour))
    size = np.bincount(clusters.labels + 1, minlength=2)[1:]  # without noise
    tips = sorted(tips, key=lambda tip: -size[tip[2]])[:LABELLED]
    _label(
        axes, sorted((centre, tip, number, size[number], colour) for centre, tip, number, colour in tips), deepest
    )

    axes.set_ylim(deepest * (1.27 if tips else 1.03), 0)
    axes.set(xlabel="windows (width of a branch)", ylabel="λ = 1 / distance (1 / standard deviation)")
    axes.set_title(_title(clusters), fontsize=11, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_yticks([tick for tick in MaxNLocator(6).tick_values(0, deepest) if 0 <= tick <= deepest])
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _branches(clusters: Clusters) -> dict[int, tuple[np.ndarray, np.ndarray, float]]:
    """Return, by node, parents first, the lambdas at which windows leave, how many are left, and the middle."""
    raw, root = clusters.fitted.condensed_tree_._raw_tree, clusters.tree.root
    n = len(clusters.points)
    centre, born, size = {root: n / 2}, {root: 0.0}, {root: n}
    out = {}
    for node in np.unique(raw["parent"]).tolist():  # numbered from the root down
        rows = np.sort(raw[raw["parent"] == node], order="lambda_val")
        left = size[node] - np.cumsum(rows["child_size"])
        heights = np.concatenate([[born[node]], rows["lambda_val"]])
        out[node] = (heights, np.concatenate([[size[node]], left]), centre[node])
        children = rows[rows["child"] >= n]
        edge = centre[node] - children["child_size"].sum() / 2
        for child in children:
            key = int(child["child"])
            centre[key], edge = edge + child["child_size"] / 2, edge + child["child_size"]
            born[key], size[key] = float(child["lambda_val"]), int(child["child_size"])
    return out


def _label(axes: Axes, tips: list[tuple[float, float, int, int, str]], deepest: float) -> None:
    """Write number and size of clusters side by side under the tree, from left to right, each with a line."""
    places = [tip[0] for tip in tips]
    gap = axes.get_xlim()[1] / LABELLED
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    for i in range(len(places)):
        places[i] = min(places[i], (LABELLED - len(places) + i + 0.5) * gap)
    for x, (centre, tip, number, size, colour) in zip(places, tips, strict=True):
        axes.plot([centre, centre, x], [tip, 1.04 * deepest, 1.1 * deepest], color=colour, linewidth=1)
        axes.text(x, 1.11 * deepest, f"{number}", ha="center", va="top", fontsize=11, fontweight="bold")
        axes.text(x, 1.19 * deepest, f"{size:,}", ha="center", va="top", fontsize=9)


def _title(clusters: Clusters) -> str:
    chosen, n = clusters.chosen, len(clusters.points)
    if not clusters.n_clusters:
        return f"No cluster: all {n:,} windows are noise.\nOutlier score: {chosen['outlier_score']}"
    if clusters.n_clusters == 1:
        count = f"One cluster of all {n:,} windows"
    else:
        noise = (clusters.labels < 0).mean()
        count = f"{clusters.n_clusters} clusters in {n:,} windows, {noise:.0%} noise"
        count += f", {LABELLED} largest labelled" if clusters.n_clusters > LABELLED else ""
    figures = [f"{name} {chosen[key]:.2f}" for name, key in _FIGURES if chosen.get(key) is not None]
    return count + "\n" + ", ".join(figures)
