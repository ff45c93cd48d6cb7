"""The report in which all detectors stand side by side: one HTML page that opens offline, and its figures."""

import json
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dasanom_assets.comparison.figures import styled
from dasanom_assets.comparison.page import count, html_page, number, plot, table
from dasanom_assets.evaluation.labelled import is_full
from dasanom_assets.evaluation.labelled_report import auc_figure, named


def report(figures: dict[str, Any]) -> dict[str, bytes]:
    """Return ``html`` and ``json`` of the figures; see `choice.gather`."""
    labelled = [
        {key: s[key] for key in ("set", "means", "missing", "not_scored", "machine")} for s in figures["labelled"]
    ]
    return {
        "html": _page(figures).encode(),
        "json": (json.dumps(figures | {"labelled": labelled}, indent=1) + "\n").encode(),
    }


def _page(figures: dict[str, Any]) -> str:
    sets = [s for s in figures["labelled"] if s["rows"]]
    parts = [
        f"""<header><h1>Model choice</h1>
<p class="lead">{count(len(sets), "labelled set")} and {count(len(figures["days"]), "scored day")}, all detectors
side by side.</p>
<p>Labelled sets know the truth of what they hold, which is not a fibre's ground everywhere. Scored days are the
real thing, but nobody knows their truth: the contractor is another opinion there, not the measure. Read quality
above, agreement below, and where detectors disagree before choosing; what is fused profits from detectors that
err apart.</p>
</header>"""
    ]
    if not sets:
        words = "None has results: materialize <code>mimii_benchmark</code>."
        parts.append(f"<section><h2>Labelled sets</h2><p>{words}</p></section>")
    parts += [_labelled(s, i) for i, s in enumerate(sets)]
    if sets:
        parts.append(_cost(sets))
    if figures["days"]:
        parts += [_agreement(figures), _disagreement(figures), _clusterings(figures)]
    else:
        parts.append(
            "<section><h2>Scored days</h2><p>No day has scores: run the job <code>rescore</code>.</p></section>"
        )
    return html_page("Model choice", "\n".join(parts))


def _labelled(s: dict[str, Any], i: int) -> str:
    detectors = list(dict.fromkeys(row["detector"] for row in s["rows"]))
    note = ""
    if s["published_set"] and not is_full(s):
        note = "A part of the published set: figures of the full set are not yet measured. "
    rows = []
    for detector in detectors:
        mine = [row for row in s["rows"] if row["detector"] == detector]
        values = [float(np.mean([row[key] for row in mine])) for key in ("auc", "partial_auc", "recall", "f1")]
        worst = min(mine, key=lambda row: row["auc"])
        where = " ".join(part for part in (worst["snr"], worst["machine"], worst["id"]) if part)
        rows.append(
            [
                named(detector),
                *((number(v, 3), v) for v in values),
                number(float(np.mean([row["false_alarm_rate"] for row in mine])), 3),
                f"{number(worst['auc'], 3)} ({escape(where)})",
            ]
        )
    names = ["detector", "AUC", "pAUC", "recall", "F1", "false alarm rate", "worst group"]
    groups = len({(row["snr"], row["machine"], row["id"]) for row in s["rows"]})
    return f"""<section><h2>Labelled: {escape(s["set"])}</h2>
<p>{note}Means over {count(groups, "group")}; recall, F1 and the rate of false alarms at a threshold from normal
clips alone, which asks for {s["false_alarm_rate_asked"]:g} false alarms a normal clip.</p>
{table(names, rows, "sortable")}{plot(auc_figure(s, detectors), f"labelled-{i}")}</section>"""


def _cost(sets: list[dict[str, Any]]) -> str:
    """Return what detectors cost, with the networks that they need."""
    rows = []
    for s in sets:
        for detector in dict.fromkeys(row["detector"] for row in s["rows"]):
            mine = [row for row in s["rows"] if row["detector"] == detector]
            scored = sum(row["scored_channel_seconds"] for row in mine)
            taken = sum(row["score_seconds"] for row in mine)
            train = float(np.mean([row["train_seconds"] for row in mine]))
            pace = 1e3 * taken / max(scored, 1)
            auc = float(np.mean([row["auc"] for row in mine]))
            rows.append(
                [
                    escape(s["set"]),
                    named(detector),
                    (number(train, 1), train),
                    (number(pace, 3), pace),
                    number(auc, 3),
                ]
            )
    names = ["set", "detector", "training a group, s", "scoring 1,000 channel-seconds, s", "AUC"]
    machine = sets[0]["machine"]
    return f"""<section><h2>Cost</h2>
<p>Measured while the labelled sets were scored, networks included for those that need one, on
{escape(machine["processor"])} with {count(machine["cores"], "core")}; reading and transforming the signal, which
all share, left out.</p>{table(names, rows, "sortable")}</section>"""


def _agreement(figures: dict[str, Any]) -> str:
    names = [
        *("detector", "windows flagged", "events an hour", "both", "only us", "only contractor"),
        *("agreement, events", "κ", "AC1", "AUC, contractor"),
    ]
    rows = [
        [
            named(r["detector"]),
            (f"{r['flagged_share']:.3%}", r["flagged_share"]),
            number(r["events_an_hour"], 1),
            *(f"{r[f'events_{key}']:,}" for key in ("both", "only_us", "only_contractor")),
            number(r["events_positive_agreement"], 3),
            number(r["windows_kappa"], 3),
            number(r["windows_ac1"], 3),
            number(r["auc_against_contractor"], 3),
        ]
        for r in figures["agreement"]
    ]
    days = ", ".join(map(escape, figures["days"]))
    return f"""<section><h2>Against the contractor</h2>
<p>Each detector flags windows whose p-value is at most {figures["rate"]:g}, so on quiet ground all of them would
flag that share: more is events, or false alarms. Events here are flagged windows that hang together, matched one
to one with the contractor's; κ and AC1 are of windows. The last column is the chance that a window which the
contractor flags ranks above one that it does not: agreement, not quality. Days:
{days}.</p>{table(names, rows, "sortable")}</section>"""


def _disagreement(figures: dict[str, Any]) -> str:
    return f"""<section><h2>Where they disagree</h2>
<p>Left: rank correlation (Spearman) of all windows, which on quiet ground is mostly that of noise. Right: of the
{count(figures["n_top"], "window")} that a detector (row) calls strangest, the share that are among the strangest
of the other (column). Low numbers on the right are detectors that see different things.</p>
{plot(disagreement_figure(figures), "disagreement")}</section>"""


def disagreement_figure(figures: dict[str, Any]) -> go.Figure:
    """Return rank correlation and overlap of the strangest windows as two matrices of detectors."""
    names = [named(name) for name in figures["detectors"]]
    titles = ("Rank correlation of windows", "Shared among the strangest 1 %")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.16)
    for column, key in enumerate(("rank_correlation", "top_overlap"), start=1):
        values = np.array(figures[key], float)
        figure.add_trace(
            go.Heatmap(
                z=values,
                x=names,
                y=names,
                zmin=0,
                zmax=1,
                colorscale="Blues",
                coloraxis="coloraxis",
                text=[[number(value) for value in row] for row in values],
                texttemplate="%{text}",
                textfont={"size": 14},
                hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
            ),
            row=1,
            col=column,
        )
        figure.update_yaxes(autorange="reversed", row=1, col=column)
    figure.update_layout(
        height=120 + 62 * len(names),
        coloraxis={"colorscale": "Blues", "cmin": 0, "cmax": 1, "colorbar": {"title": "", "thickness": 16}},
        margin={"l": 90, "r": 20, "t": 50, "b": 50},
    )
    return styled(figure, plot_bgcolor="white")


def _clusterings(figures: dict[str, Any]) -> str:
    rows = [
        [r["method"], r["n_clusters"], f"{r['noise_share']:.1%}"]
        + [number(r[key]) for key in ("silhouette", "davies_bouldin", "calinski_harabasz")]
        + [number(r["seconds"], 2)]
        for r in figures["clusterings"]
    ]
    names = ["method", "clusters", "share of noise", "silhouette (high is good)", "Davies–Bouldin (low)"]
    names += ["Calinski–Harabasz (high)", "fitting, s"]
    return f"""<section><h2>Clusterings</h2>
<p>The same {figures["clusterings"][0]["windows"]:,} windows of the scored days, by their means in the latent
space. The three indices leave out noise and need two clusters, so read them beside the first two columns: few
clusters and much noise make them look good, and K-Means, which has no noise, is judged on all windows. HDBSCAN's
time is that of trying all its parameters.</p>{table(names, rows)}</section>"""
